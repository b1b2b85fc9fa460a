//! Keys: to whom a backup is encrypted, and with what it is opened.

use std::fmt;

use age::secrecy::ExposeSecret;
use age::x25519::{Identity, Recipient};

use crate::manifest::{CanOpen, Role};

/// A file of identities has a few lines; what has more is something else.
const IDENTITIES_MAX: usize = 64;

/// Why keys cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// A recipient that is none.
    #[error("`{0}` is not a public key: those begin with `age1` (age-keygen -y FILE prints it)")]
    NotARecipient(String),
    /// Nobody could ever open it.
    #[error("nobody could open the backup: name a break-glass key, kept offline, or a drill key")]
    Nobody,
    /// A file of identities without one.
    #[error("there is no secret key in it: those begin with `AGE-SECRET-KEY-1` (age-keygen makes one)")]
    NotAnIdentity,
}

/// To whom a backup is encrypted, beside the one who checks it.
#[derive(Debug, Clone)]
pub struct Recipients(Vec<(Role, Recipient)>);

impl Recipients {
    /// Public keys by what they are for.
    ///
    /// # Errors
    /// When one is no key, or nobody is left who could open it later.
    pub fn read<'a>(keys: impl IntoIterator<Item = (Role, &'a str)>) -> Result<Recipients, KeyError> {
        let read = |(role, key): (Role, &str)| {
            let recipient = key.trim().parse::<Recipient>().map_err(|_| KeyError::NotARecipient(key.trim().to_owned()))?;
            Ok((role, recipient))
        };
        let read: Vec<(Role, Recipient)> = keys.into_iter().filter(|(role, _)| *role != Role::Check).map(read).collect::<Result<_, KeyError>>()?;
        if read.is_empty() { Err(KeyError::Nobody) } else { Ok(Recipients(read)) }
    }

    /// Is there a key that is kept offline? Without one, who loses the machines loses the backups.
    #[must_use]
    pub fn has_break_glass(&self) -> bool {
        self.0.iter().any(|(role, _)| *role == Role::BreakGlass)
    }

    /// With a key for the check, made now.
    pub(crate) fn with_check(&self) -> (Vec<(Role, Recipient)>, Identities) {
        let check = Identity::generate();
        let mut all = self.0.clone();
        all.push((Role::Check, check.to_public()));
        (all, Identities(vec![check]))
    }
}

/// For the manifest.
pub(crate) fn who_can_open(recipients: &[(Role, Recipient)]) -> Vec<CanOpen> {
    recipients.iter().map(|(role, key)| CanOpen { role: *role, key: key.to_string() }).collect()
}

/// Secret keys that open backups. They are never shown.
#[derive(Clone)]
pub struct Identities(Vec<Identity>);

impl fmt::Debug for Identities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.public()).finish()
    }
}

impl Identities {
    /// From a file as `age-keygen` writes it: one a line, `#` begins a comment.
    ///
    /// # Errors
    /// When there is none in it.
    pub fn read(text: &str) -> Result<Identities, KeyError> {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).take(IDENTITIES_MAX);
        let read: Vec<Identity> = lines.map(|line| line.parse().map_err(|_| KeyError::NotAnIdentity)).collect::<Result<_, KeyError>>()?;
        if read.is_empty() { Err(KeyError::NotAnIdentity) } else { Ok(Identities(read)) }
    }

    /// A new one, and the file to keep it in.
    #[must_use]
    pub fn generate() -> (Identities, age::secrecy::SecretString) {
        let identity = Identity::generate();
        let file = format!("# public key: {}\n{}\n", identity.to_public(), identity.to_string().expose_secret());
        (Identities(vec![identity]), file.into())
    }

    /// The public halves.
    #[must_use]
    pub fn public(&self) -> Vec<String> {
        self.0.iter().map(|identity| identity.to_public().to_string()).collect()
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &dyn age::Identity> {
        self.0.iter().map(|identity| identity as &dyn age::Identity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_from_the_file_it_is_kept_in() {
        let (made, file) = Identities::generate();
        let read = Identities::read(file.expose_secret()).unwrap();
        assert_eq!(read.public(), made.public());
        assert!(!format!("{read:?}").contains("SECRET"));
    }

    #[test]
    fn somebody_can_always_open_it() {
        let (key, _) = Identities::generate();
        let public = key.public().remove(0);
        assert_eq!(Recipients::read([]).unwrap_err(), KeyError::Nobody);
        assert_eq!(Recipients::read([(Role::Check, public.as_str())]).unwrap_err(), KeyError::Nobody);
        assert_eq!(Recipients::read([(Role::Drill, "age1x")]).unwrap_err(), KeyError::NotARecipient("age1x".to_owned()));
        assert!(!Recipients::read([(Role::Drill, public.as_str())]).unwrap().has_break_glass());
        assert!(Recipients::read([(Role::BreakGlass, public.as_str())]).unwrap().has_break_glass());
    }

    #[test]
    fn a_public_key_is_no_identity() {
        let (key, _) = Identities::generate();
        assert_eq!(Identities::read(&key.public()[0]).unwrap_err(), KeyError::NotAnIdentity);
        assert_eq!(Identities::read("# nothing\n").unwrap_err(), KeyError::NotAnIdentity);
    }
}
