//! Join tokens: what a new node, operator or program shows to be let in.

use std::fmt;
use std::str::FromStr;

use mainstay_core::Identity;
use mainstay_core::state::enrolment::TokenId;

use super::IdentityError;
use super::peer::sha256;
use crate::random;

/// Longest that is looked at.
const TEXT_MAX: usize = 2 << 10;
/// Most enrolment addresses in one: one that answers is enough.
const ADDRESSES_MAX: usize = 5;

/// `mst1.ROOT.SECRET`: pins the root's SHA-256, so that the newcomer knows whom it talks to, and carries a
/// secret of which the mesh keeps a digest. One for a person or a program goes on with whom it is for and
/// where to enrol, in the open: `mst1.ROOT.SECRET.operator/ana@10.0.0.5:7401,10.0.0.6:7401`.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    root_sha256: String,
    secret: String,
    invitation: Option<Invitation>,
}

/// Whom a join token is for, and where to go with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invitation {
    pub identity: Identity,
    /// Enrolment listeners, `host:port`.
    pub addresses: Vec<String>,
}

impl JoinToken {
    /// A token with a new secret of 256 bits.
    #[must_use]
    pub fn create(root_sha256: &str) -> JoinToken {
        JoinToken { root_sha256: root_sha256.to_owned(), secret: random::token(32), invitation: None }
    }

    /// The same token, which says for whom it is and where to enrol. Addresses that would not survive being
    /// written down are left out, and so are those beyond what anybody needs.
    #[must_use]
    pub fn inviting(self, identity: Identity, addresses: impl IntoIterator<Item = String>) -> JoinToken {
        let mut kept: Vec<String> = Vec::new();
        for address in addresses {
            if is_address(&address) && !kept.contains(&address) && kept.len() < ADDRESSES_MAX {
                kept.push(address);
            }
        }
        let invitation = (!kept.is_empty()).then_some(Invitation { identity, addresses: kept });
        JoinToken { invitation, ..self }
    }

    /// Whom it is for and where to go, where it says so.
    #[must_use]
    pub fn invitation(&self) -> Option<&Invitation> {
        self.invitation.as_ref()
    }

    /// The SHA-256 of the mesh's root certificate, in hexadecimal.
    #[must_use]
    pub fn root_sha256(&self) -> &str {
        &self.root_sha256
    }

    /// What the mesh is shown; whoever has it can enrol.
    #[must_use]
    pub fn secret(&self) -> &str {
        &self.secret
    }

    /// What the mesh knows it by.
    #[must_use]
    pub fn id(&self) -> TokenId {
        JoinToken::id_of(&self.secret)
    }

    /// What the mesh knows the token of that secret by.
    #[must_use]
    pub fn id_of(secret: &str) -> TokenId {
        TokenId(sha256(secret.as_bytes()))
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinToken({})", self.id())
    }
}

/// The whole token, secret included: for the one who is to use it.
impl fmt::Display for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mst1.{}.{}", self.root_sha256, self.secret)?;
        match &self.invitation {
            Some(Invitation { identity, addresses }) => write!(f, ".{identity}@{}", addresses.join(",")),
            None => Ok(()),
        }
    }
}

/// A `host:port` that a shell and the token's own form leave as it is.
fn is_address(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b':' | b'[' | b']');
    let port = text.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0));
    port && text.len() <= 255 && text.bytes().all(plain)
}

fn invitation(text: &str) -> Option<Invitation> {
    let (identity, addresses) = text.split_once('@')?;
    let addresses: Vec<String> = addresses.split(',').map(str::to_owned).collect();
    let good = addresses.len() <= ADDRESSES_MAX && addresses.iter().all(|address| is_address(address));
    good.then_some(Invitation { identity: identity.parse().ok()?, addresses })
}

impl FromStr for JoinToken {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<JoinToken, IdentityError> {
        // The text itself is a secret and does not go into the error.
        let wrong = || IdentityError::malformed("the join token", "it should read mst1.ROOT.SECRET; make one with `mainstay token create`");
        let text = text.trim();
        let mut parts = text.splitn(4, '.');
        let (Some("mst1"), Some(root), Some(secret), rest) = (parts.next(), parts.next(), parts.next(), parts.next()) else { return Err(wrong()) };
        let hex = |text: &str| text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if text.len() > TEXT_MAX || !hex(root) || !hex(secret) {
            return Err(wrong());
        }
        let invitation = match rest {
            None => None,
            Some(rest) => Some(invitation(rest).ok_or_else(|| {
                IdentityError::malformed("the join token", "what follows its secret should read IDENTITY@HOST:PORT; copy all of it, on one line, or make another with `mainstay token create`")
            })?),
        };
        Ok(JoinToken { root_sha256: root.to_owned(), secret: secret.to_owned(), invitation })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> JoinToken {
        JoinToken::create(&"a".repeat(64))
    }

    #[test]
    fn an_invitation_survives_being_copied() {
        let addresses = ["10.0.0.5:7401", "mesh.example:7401", "[::1]:7401"].map(str::to_owned);
        let token = token().inviting("operator/ana".parse().unwrap(), addresses.clone());
        let again: JoinToken = format!("  {token}\n").parse().unwrap();
        assert!(again == token && again.id() == token.id());
        assert_eq!(again.invitation(), Some(&Invitation { identity: "operator/ana".parse().unwrap(), addresses: addresses.to_vec() }));
    }

    #[test]
    fn addresses_that_cannot_be_written_down_are_left_out() {
        let operator = || "operator/ana".parse().unwrap();
        let addresses = ["a b:1", "host", "host:0", "x,y:1", "a:1", "a:1"].map(str::to_owned);
        assert_eq!(token().inviting(operator(), addresses).invitation().unwrap().addresses, ["a:1"]);
        assert_eq!(token().inviting(operator(), Vec::new()).invitation(), None);
    }

    #[test]
    fn a_damaged_one_is_refused_without_its_secret() {
        let whole = token().inviting("operator/ana".parse().unwrap(), ["a:1".to_owned()]);
        for text in [whole.to_string().replace('@', "-"), format!("{}.", token()), format!("{}.operator/ana@", token()), format!("{whole},")] {
            let error = text.parse::<JoinToken>().unwrap_err().to_string();
            assert!(error.contains("copy all of it") && !error.contains(whole.secret()), "{error}");
        }
        assert!("mst1.half".parse::<JoinToken>().is_err());
    }
}
