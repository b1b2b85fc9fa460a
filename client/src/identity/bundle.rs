//! A process's own key and certificates, on disk as one file so that a crash never leaves a mixed pair.

use std::fmt;
use std::io;
use std::path::Path;

use mainstay_core::Identity;
use mainstay_core::id::MeshName;
use mainstay_core::time::WallTime;
use rcgen::{CertificateParams, KeyPair};

use super::IdentityError;
use super::peer::{self, PeerIdentity};
use crate::failpoint::Point;
use crate::files;

/// Name of the file within its directory.
const FILE: &str = "identity.pem";
/// Largest such file: a key, a chain, and the roots of a rotation.
const FILE_MAX: u64 = 256 << 10;

/// Key, chain (leaf, then issuer) and trusted roots, each as PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Bundle {
    /// The private key: never printed, never sent.
    pub key_pem: String,
    /// The leaf, then the issuer that signed it.
    pub chain_pem: String,
    /// Whom its holder trusts; more than one during a rotation.
    pub roots_pem: String,
}

impl fmt::Debug for Bundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bundle").field("identity", &self.identity().map(|(mesh, identity)| identity.uri(&mesh))).finish_non_exhaustive()
    }
}

impl Bundle {
    /// Reads `identity.pem` of a directory.
    pub fn load(dir: &Path) -> Result<Bundle, IdentityError> {
        let path = dir.join(FILE);
        let text = files::read_sealed(&path, FILE_MAX).map_err(|source| match source.kind() {
            io::ErrorKind::InvalidData => IdentityError::malformed("the identity on disk", format!("{source}; or enrol again with a join token")),
            _ => IdentityError::Read { path: path.clone(), source },
        })?;
        Bundle::parse(&text).map_err(|error| {
            let problem = format!("{error}; put back a copy of {}, or enrol again with a join token", path.display());
            IdentityError::malformed("the identity on disk", problem)
        })
    }

    /// Whether a directory has an identity.
    #[must_use]
    pub fn is_in(dir: &Path) -> bool {
        files::exists(&dir.join(FILE))
    }

    /// Replaces `identity.pem` of a directory as a whole, readable by its owner only.
    pub fn store(&self, dir: &Path) -> Result<(), IdentityError> {
        let path = dir.join(FILE);
        files::write_sealed(Point::Identity, &path, &self.text(), 0o600).map_err(|source| IdentityError::Write { path, source })
    }

    /// All of it as one text, its key included.
    #[must_use]
    pub fn text(&self) -> String {
        let own = [self.key_pem.as_str(), self.chain_pem.as_str()].map(with_newline).concat();
        format!("{own}{ROOTS_BELOW}\n{}", with_newline(&self.roots_pem))
    }

    /// What [`Bundle::text`] made.
    ///
    /// # Errors
    /// When something is missing, or its parts do not belong together.
    pub fn parse(text: &str) -> Result<Bundle, IdentityError> {
        let malformed = |problem: &str| IdentityError::malformed("identity.pem", problem);
        let (own, roots) = text.split_once(ROOTS_BELOW).ok_or_else(|| malformed("the line before the roots is missing"))?;
        let chain_at = own.find("-----BEGIN CERTIFICATE-----").ok_or_else(|| malformed("there is no certificate in it"))?;
        let bundle = Bundle { key_pem: own[..chain_at].to_owned(), chain_pem: own[chain_at..].to_owned(), roots_pem: roots.trim_start().to_owned() };
        bundle.identity()?;
        let key = KeyPair::from_pem(&bundle.key_pem).map_err(|_| malformed("its private key is damaged"))?;
        if peer::public_key(&bundle.chain_pem)? != key.public_key_raw() {
            return Err(malformed("its key and its certificate do not belong together"));
        }
        Ok(bundle)
    }

    /// Whom the leaf names.
    pub fn identity(&self) -> Result<(MeshName, Identity), IdentityError> {
        let peer = PeerIdentity::of(&peer::certificates(&self.chain_pem)?[0], WallTime(0))?;
        Ok((peer.mesh, peer.identity))
    }

    /// Whether the root of this digest is one of those that its holder trusts.
    #[must_use]
    pub fn trusts(&self, root_sha256: &str) -> bool {
        peer::certificates(&self.roots_pem).is_ok_and(|roots| roots.iter().any(|root| peer::sha256(root) == root_sha256))
    }

    /// From when to when the leaf is good.
    pub fn validity(&self) -> Result<(WallTime, WallTime), IdentityError> {
        peer::validity(&self.chain_pem)
    }

    /// When to ask for the next leaf: after a third of its life. `spread`, from 0 to 1, moves that by up to
    /// a tenth of its life, so that a fleet does not renew at once.
    pub fn renew_at(&self, spread: f64) -> Result<WallTime, IdentityError> {
        let (from, to) = self.validity()?;
        let life = (to.0 - from.0) as f64;
        Ok(WallTime(from.0 + (life * (1.0 / 3.0 + spread.clamp(0.0, 1.0) / 10.0)) as i64))
    }

    /// What its holder is to do about the leaf at a time.
    pub fn age(&self, now: WallTime) -> Result<Age, IdentityError> {
        let (_, end) = self.validity()?;
        Ok(if now >= WallTime(end.0.saturating_add_unsigned(peer::RENEWABLE_FOR.0)) {
            Age::TooOld { end }
        } else if now >= end {
            Age::Expired
        } else if now >= self.renew_at(0.0)? {
            Age::Due
        } else {
            Age::Fresh
        })
    }
}

/// How far a leaf is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Age {
    /// It need not be renewed yet.
    Fresh,
    /// It works, and it is time for the next.
    Due,
    /// It has ended, and does nothing but have itself renewed.
    Expired,
    /// It ended so long ago that it is not renewed any more.
    TooOld { end: WallTime },
}

const ROOTS_BELOW: &str = "# trusted roots";

fn with_newline(text: &str) -> String {
    format!("{}\n", text.trim_end())
}

/// A key that has no certificate yet.
pub struct NewKey {
    key: KeyPair,
}

impl NewKey {
    /// A new key from the crypto provider's own generator.
    pub fn generate() -> Result<NewKey, IdentityError> {
        Ok(NewKey { key: KeyPair::generate()? })
    }

    /// A key that was made earlier.
    pub fn from_pem(key_pem: &str) -> Result<NewKey, IdentityError> {
        Ok(NewKey { key: KeyPair::from_pem(key_pem)? })
    }

    /// The private key, to be kept until there is a certificate for it.
    #[must_use]
    pub fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }

    /// A request that proves possession of the key and asks for no name.
    pub fn csr_pem(&self) -> Result<String, IdentityError> {
        Ok(CertificateParams::default().serialize_request(&self.key)?.pem()?)
    }

    /// The key with the certificate that it was given.
    #[must_use]
    pub fn into_bundle(self, chain_pem: String, roots_pem: String) -> Bundle {
        Bundle { key_pem: self.key.serialize_pem(), chain_pem, roots_pem }
    }
}
