//! The receipt: a signed word that whoever keeps the catalogue counts a backup. It is written after the catalogue's entry
//! has been committed, so that a store alone says which backups were counted when everything else is lost.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use ring::rand::SystemRandom;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::manifest::VERSION;
use crate::name::Id;
use crate::seam;

/// What is signed begins with this, so that no signature of something else passes for one.
const DOMAIN: &str = "mainstay backup receipt 1";

/// That a backup counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Receipt {
    /// Of the format.
    pub version: u32,
    /// Which backup.
    pub backup: Id,
    /// SHA-256 of its `manifest.json`.
    pub manifest: String,
    /// Who signed.
    pub signer: String,
    /// Over all of this, in hexadecimal.
    pub signature: String,
}

/// Who signs receipts.
pub trait Sign: Send + Sync {
    /// Whose signature it is, as whoever verifies knows them.
    fn signer(&self) -> String;
    /// Over these bytes.
    ///
    /// # Errors
    /// In words, when it cannot sign.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, String>;
}

impl<T: Sign + ?Sized> Sign for Arc<T> {
    fn signer(&self) -> String {
        (**self).signer()
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, String> {
        (**self).sign(message)
    }
}

/// Who knows whose signatures count.
pub trait Verify: Send + Sync {
    /// Is it this signer's signature over these bytes, and does it count?
    ///
    /// # Errors
    /// In words, when it does not.
    fn verify(&self, signer: &str, message: &[u8], signature: &[u8]) -> Result<(), String>;
}

/// What a signature is over: each on a line of its own, and none of them can have a line break.
fn message(backup: &Id, manifest: &str, signer: &str) -> Vec<u8> {
    format!("{DOMAIN}\n{backup}\n{manifest}\n{signer}\n").into_bytes()
}

impl Receipt {
    /// Signs that this backup, with this manifest, counts.
    ///
    /// # Errors
    /// In words, when it cannot be signed.
    pub fn sign(backup: Id, manifest: String, by: &dyn Sign) -> Result<Receipt, String> {
        let (signer, signature) = signed(by, |signer| message(&backup, &manifest, signer))?;
        Ok(Receipt { version: VERSION, backup, manifest, signer, signature })
    }

    /// Is it for this backup with this manifest, by somebody whose word counts?
    ///
    /// # Errors
    /// In words, when it is not.
    pub fn holds(&self, backup: &Id, manifest: &str, known: &dyn Verify) -> Result<(), String> {
        if self.backup != *backup {
            return Err(format!("it is for {}", self.backup));
        }
        if self.manifest != manifest {
            return Err("it is for another manifest".to_owned());
        }
        verified(known, &self.signer, &message(backup, manifest, &self.signer), &self.signature)
    }
}

/// Who signed, and the signature in hexadecimal over the message that names them.
pub(crate) fn signed(by: &dyn Sign, message: impl FnOnce(&str) -> Vec<u8>) -> Result<(String, String), String> {
    let signer = by.signer();
    if signer.contains('\n') {
        return Err("the name of a signer is one line".to_owned());
    }
    let signature = seam::hex(&by.sign(&message(&signer))?);
    Ok((signer, signature))
}

/// Is it this signer's signature, in hexadecimal, and does it count?
pub(crate) fn verified(known: &dyn Verify, signer: &str, message: &[u8], signature: &str) -> Result<(), String> {
    let signature = from_hex(signature).ok_or("its signature is no hexadecimal number")?;
    known.verify(signer, message, &signature)
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text.chars().map(|digit| digit.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0)?;
    Some(digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

/// A key that signs receipts where there is no mesh. Whose word counts is told by its public half.
pub struct SigningKey {
    key: Ed25519KeyPair,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.signer())
    }
}

impl SigningKey {
    /// A new one, as it is to be kept (PKCS #8).
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn generate() -> Result<Zeroizing<Vec<u8>>, String> {
        let made = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|_| "the system gave no random numbers".to_owned())?;
        Ok(Zeroizing::new(made.as_ref().to_vec()))
    }

    /// From what was kept; `from` is where, for words.
    ///
    /// # Errors
    /// When it is no such key.
    pub fn read(kept: &[u8], from: &Path) -> Result<SigningKey, String> {
        // Without the public half too, as `openssl genpkey` writes it.
        let key =
            Ed25519KeyPair::from_pkcs8_maybe_unchecked(kept).map_err(|why| format!("{} is not a key that signs receipts: {why}", from.display()))?;
        Ok(SigningKey { key })
    }

    /// What others verify with.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey(self.key.public_key().as_ref().to_vec())
    }
}

impl Sign for SigningKey {
    fn signer(&self) -> String {
        self.public().to_string()
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, String> {
        Ok(self.key.sign(message).as_ref().to_vec())
    }
}

/// The public half of a [`SigningKey`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey(Vec<u8>);

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ed25519:{}", seam::hex(&self.0))
    }
}

impl std::str::FromStr for PublicKey {
    type Err = String;

    fn from_str(text: &str) -> Result<PublicKey, String> {
        let key = text.strip_prefix("ed25519:").and_then(from_hex).filter(|key| key.len() == 32);
        key.map(PublicKey).ok_or_else(|| format!("`{text}` is not a public key, ed25519:…"))
    }
}

/// The signatures of these keys count.
impl Verify for [PublicKey] {
    fn verify(&self, signer: &str, message: &[u8], signature: &[u8]) -> Result<(), String> {
        let key = self.iter().find(|key| key.to_string() == signer).ok_or_else(|| format!("{signer} is nobody whose word counts here"))?;
        UnparsedPublicKey::new(&ED25519, &key.0).verify(message, signature).map_err(|_| "its signature is wrong".to_owned())
    }
}

/// Nobody's word counts: without a key and without a mesh, what is there is unconfirmed at best.
#[derive(Debug, Clone, Copy)]
pub struct Nobody;

impl Verify for Nobody {
    fn verify(&self, signer: &str, _: &[u8], _: &[u8]) -> Result<(), String> {
        Err(format!("whether {signer} may say so is not known here"))
    }
}

/// As [`PublicKey`]s in a slice.
impl Verify for Vec<PublicKey> {
    fn verify(&self, signer: &str, message: &[u8], signature: &[u8]) -> Result<(), String> {
        self.as_slice().verify(signer, message, signature)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> SigningKey {
        SigningKey::read(&SigningKey::generate().unwrap(), Path::new("here")).unwrap()
    }

    #[test]
    fn a_receipt_holds_for_what_was_signed_and_nothing_else() {
        let (ours, theirs) = (key(), key());
        let known = vec![ours.public()];
        let backup: Id = "a/b/20261130T020000Z-1.1".parse().unwrap();
        let other: Id = "a/b/20261130T020000Z-1.2".parse().unwrap();
        let receipt = Receipt::sign(backup.clone(), "ab".to_owned(), &ours).unwrap();
        assert_eq!(receipt.holds(&backup, "ab", &known), Ok(()));
        assert!(receipt.holds(&other, "ab", &known).is_err());
        assert!(receipt.holds(&backup, "ac", &known).is_err());
        assert!(receipt.holds(&backup, "ab", &vec![theirs.public()]).unwrap_err().contains("nobody whose word counts"));
        assert!(receipt.holds(&backup, "ab", &Nobody).is_err());
        let moved = Receipt { backup: other.clone(), ..receipt.clone() };
        assert!(moved.holds(&other, "ab", &known).unwrap_err().contains("wrong"));
        let renamed = Receipt { signer: theirs.signer(), ..receipt };
        assert!(renamed.holds(&backup, "ab", &vec![ours.public(), theirs.public()]).unwrap_err().contains("wrong"));
    }

    #[test]
    fn a_public_key_is_read_as_it_is_written() {
        let public = key().public();
        assert_eq!(public.to_string().parse(), Ok(public));
        assert!("ed25519:00".parse::<PublicKey>().is_err());
    }
}
