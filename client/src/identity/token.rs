//! Join tokens: what a newcomer is given to find and be let into a mesh.
//!
//! Written `mst1.ROOT.SECRET`, both hexadecimal. ROOT is the SHA-256 of a root certificate of the mesh: the newcomer
//! believes only a coordinator whose chain ends there. SECRET shows that the newcomer was invited; the mesh keeps only its
//! digest, with what it allows, until when and how often.

use std::fmt;
use std::str::FromStr;

use super::fingerprint::{Fingerprint, from_hex, to_hex};
use crate::random::{self, Random};

const PREFIX: &str = "mst1";
/// 128 bits: beyond guessing, and short enough for a terminal's line.
const SECRET_BYTES: usize = 16;

/// A join token. Its `Debug` hides the secret; its `Display` is the token itself.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    root: Fingerprint,
    secret: [u8; SECRET_BYTES],
}

/// Why a text is not a join token. The text is not repeated, since it may hold most of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error("not a join token: it starts with `{PREFIX}.`; copy it whole, as it was shown")]
    Prefix,
    #[error("the join token is incomplete or changed: copy it whole, as it was shown")]
    Shape,
}

impl JoinToken {
    /// A new token for the mesh with this root.
    #[must_use]
    pub fn new(root: Fingerprint, random: &dyn Random) -> Self {
        JoinToken { root, secret: random::bytes(random) }
    }

    /// SHA-256 of the root certificate to believe.
    #[must_use]
    pub fn root(&self) -> Fingerprint {
        self.root
    }

    /// The secret, as it is sent when enrolling.
    #[must_use]
    pub fn secret(&self) -> String {
        to_hex(&self.secret)
    }

    /// What the mesh stores and calls it by.
    #[must_use]
    pub fn id(&self) -> Fingerprint {
        Self::id_of(&self.secret())
    }

    /// The id of the token with this secret.
    #[must_use]
    pub fn id_of(secret: &str) -> Fingerprint {
        Fingerprint::of(secret.as_bytes())
    }
}

impl fmt::Display for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}.{}.{}", self.root, self.secret())
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinToken({}, secret hidden)", self.id())
    }
}

impl FromStr for JoinToken {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let rest = text.trim().strip_prefix(PREFIX).and_then(|rest| rest.strip_prefix('.')).ok_or(TokenError::Prefix)?;
        let (root, secret) = rest.split_once('.').ok_or(TokenError::Shape)?;
        Ok(JoinToken { root: root.parse().map_err(|_| TokenError::Shape)?, secret: from_hex(secret).ok_or(TokenError::Shape)? })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::random::SeededRandom;

    #[test]
    fn a_token_survives_text_and_hides_its_secret_in_debug() {
        let token = JoinToken::new(Fingerprint::of(b"root"), &SeededRandom::new(1));
        let text = token.to_string();
        assert_eq!(text.len(), "mst1..".len() + 64 + 32);
        assert_eq!(text.parse(), Ok(token.clone()));
        assert_eq!(format!(" {text}\n").parse(), Ok(token.clone()));
        assert!(!format!("{token:?}").contains(&token.secret()));
        assert_eq!(token.id(), JoinToken::id_of(&token.secret()));
    }

    #[test]
    fn what_is_not_whole_is_refused_without_being_repeated() {
        let text = JoinToken::new(Fingerprint::of(b"root"), &SeededRandom::new(1)).to_string();
        for (bad, error) in [
            ("", TokenError::Prefix),
            ("mst2.a.b", TokenError::Prefix),
            ("mst1.", TokenError::Shape),
            (&text[..text.len() - 1], TokenError::Shape),
            (&format!("{text}0"), TokenError::Shape),
            (&text.replacen("mst1.", "mst1.x", 1), TokenError::Shape),
        ] {
            assert_eq!(bad.parse::<JoinToken>(), Err(error), "{bad}");
        }
    }
}
