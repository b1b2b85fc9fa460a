//! Join tokens: what a new node, operator or program shows to be let in.

use std::fmt;
use std::str::FromStr;

use mainstay_core::state::enrolment::TokenId;

use super::IdentityError;
use super::peer::sha256;
use crate::random;

/// `mst1.ROOT.SECRET`: pins the root's SHA-256, so that the newcomer knows whom it talks to, and carries a
/// secret of which the mesh keeps a digest.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    root_sha256: String,
    secret: String,
}

impl JoinToken {
    /// A token with a new secret of 256 bits.
    #[must_use]
    pub fn create(root_sha256: &str) -> JoinToken {
        JoinToken { root_sha256: root_sha256.to_owned(), secret: random::token(32) }
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
        write!(f, "mst1.{}.{}", self.root_sha256, self.secret)
    }
}

impl FromStr for JoinToken {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<JoinToken, IdentityError> {
        // The text itself is a secret and does not go into the error.
        let wrong = || IdentityError::malformed("the join token", "it should read mst1.ROOT.SECRET; make one with `mainstay token create`");
        let mut parts = text.trim().split('.');
        let (Some("mst1"), Some(root), Some(secret), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else { return Err(wrong()) };
        let hex = |text: &str| text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if !hex(root) || !hex(secret) {
            return Err(wrong());
        }
        Ok(JoinToken { root_sha256: root.to_owned(), secret: secret.to_owned() })
    }
}
