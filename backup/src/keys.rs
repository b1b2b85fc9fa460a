//! Keys: to whom a backup is encrypted, and with what it is opened.

use std::fmt;
use std::sync::Arc;

use age::secrecy::ExposeSecret;
use age::x25519::{Identity, Recipient};

use crate::manifest::{CanOpen, Role};
use crate::receipt::{Sign, Verify};

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

/// Who can open a backup, beside the one who checks it: the target's key is encrypted to them.
#[derive(Debug, Clone)]
pub struct Recipients {
    keys: Vec<(Role, Recipient)>,
    voucher: Option<Voucher>,
}

/// Whoever vouches for keys of targets, and whose word for them counts.
#[derive(Clone)]
pub(crate) struct Voucher {
    pub sign: Arc<dyn Sign>,
    pub known: Arc<dyn Verify>,
}

impl fmt::Debug for Voucher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Voucher({})", self.sign.signer())
    }
}

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
        if read.is_empty() { Err(KeyError::Nobody) } else { Ok(Recipients { keys: read, voucher: None }) }
    }

    /// With somebody who vouches for the keys of targets. A writer cannot open such a key and takes its public half from the
    /// store, where whoever may write could put one of their own: so it uses only a key for which somebody vouches whose word
    /// counts. Without this, each backup makes a key of its own.
    #[must_use]
    pub fn vouched_by(self, sign: Arc<dyn Sign>, known: Arc<dyn Verify>) -> Recipients {
        Recipients { voucher: Some(Voucher { sign, known }), ..self }
    }

    /// Is there a key that is kept offline? Without one, who loses the machines loses the backups.
    #[must_use]
    pub fn has_break_glass(&self) -> bool {
        self.keys.iter().any(|(role, _)| *role == Role::BreakGlass)
    }

    pub(crate) fn voucher(&self) -> Option<&Voucher> {
        self.voucher.as_ref()
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &Recipient> {
        self.keys.iter().map(|(_, key)| key)
    }

    /// For records: in one order, each once.
    #[must_use]
    pub fn who_can_open(&self) -> Vec<CanOpen> {
        let mut all: Vec<(Role, String)> = self.keys.iter().map(|(role, key)| (*role, key.to_string())).collect();
        all.sort();
        all.dedup();
        all.into_iter().map(|(role, key)| CanOpen { role, key }).collect()
    }
}

/// A key for the check, made now.
pub(crate) fn for_check() -> (Recipient, Identities) {
    let check = Identity::generate();
    (check.to_public(), Identities(vec![check]))
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

    /// The public half of the first, to encrypt to.
    pub(crate) fn recipient(&self) -> Option<Recipient> {
        self.0.first().map(Identity::to_public)
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
