//! Certificates that somebody else issues and renews, cert-manager or SPIRE for example: three files, read
//! again when they change. Judged by the same rules as the mesh's own: a SPIFFE id of the mesh, a chain to a
//! trusted root.

use std::path::{Path, PathBuf};
use std::time::Duration;

use mainstay_core::Identity;
use serde::{Deserialize, Serialize};

use super::{Bundle, ClientIdentity, IdentityError};
use crate::files::{self, Stamp};
use crate::random;
use crate::work;

/// Between two looks at the files. Whoever renews does so hours ahead, and a look costs three calls.
const LOOK: Duration = Duration::from_secs(8);
/// Largest of the files: a bundle of roots.
const FILE_MAX: u64 = 256 << 10;

/// Where the parts of an identity lie, each as PEM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdentityFiles {
    /// The leaf, then what signed it, up to but without the root.
    pub chain: PathBuf,
    pub key: PathBuf,
    /// Whom its holder trusts.
    pub roots: PathBuf,
}

/// What the files were when they were looked at.
type Stamps = [Option<Stamp>; 3];

impl IdentityFiles {
    /// Reads all three. Whether they fit together shows when they are used.
    pub fn load(&self) -> Result<Bundle, IdentityError> {
        let bundle = Bundle { key_pem: read(&self.key)?, chain_pem: read(&self.chain)?, roots_pem: read(&self.roots)? };
        bundle.identity()?;
        Ok(bundle)
    }

    /// The identity in them, which is to be `wanted`.
    pub fn load_as(&self, wanted: &Identity) -> Result<Bundle, IdentityError> {
        let bundle = self.load()?;
        let (_, found) = bundle.identity()?;
        if found != *wanted {
            let problem = format!("it is {found}'s, and {wanted} runs here: have one issued for spiffe://MESH/{wanted}");
            return Err(IdentityError::malformed("the certificate in the file", format!("{problem} ({})", self.chain.display())));
        }
        Ok(bundle)
    }

    fn stamps(&self) -> Stamps {
        [&self.chain, &self.key, &self.roots].map(|path| files::stamp(path).ok())
    }
}

fn read(path: &Path) -> Result<String, IdentityError> {
    files::read_text(path, FILE_MAX).map_err(|source| IdentityError::Read { path: path.to_owned(), source })
}

/// Takes the files anew whenever they change, for ever, and calls `renewed` after that. What does not fit
/// together, because it is being replaced right now, is tried again; until then the former identity is used.
pub async fn keep_reloaded(files: IdentityFiles, identity: ClientIdentity, renewed: impl Fn()) {
    let mut known = None;
    loop {
        let (looked, current) = (files.clone(), identity.clone());
        let outcome = work::blocking(move || look(&looked, &current, known)).await;
        match outcome {
            Ok((stamps, Ok(changed))) => {
                known = Some(stamps);
                if changed {
                    tracing::info!(identity = %identity.identity(), "the certificate was replaced in its files, and is used from now on");
                    renewed();
                }
            }
            // Not noted as known: it is looked at again.
            Ok((_, Err(error))) => {
                tracing::warn!(%error, "the files of this identity are not usable; the former ones are used, and it is tried again")
            }
            Err(error) => tracing::error!(%error, "the look at the files of this identity ended early: it is tried again"),
        }
        tokio::time::sleep(random::jitter(LOOK, 0.25)).await;
    }
}

/// Whether something new was taken, and what the files were before that.
fn look(files: &IdentityFiles, identity: &ClientIdentity, known: Option<Stamps>) -> (Stamps, Result<bool, IdentityError>) {
    let stamps = files.stamps();
    if known == Some(stamps) {
        return (stamps, Ok(false));
    }
    let taken = files.load_as(&identity.identity()).and_then(|bundle| {
        let changed = bundle != identity.bundle();
        if changed {
            identity.replace(bundle)?;
        }
        Ok(changed)
    });
    (stamps, taken)
}

#[cfg(test)]
mod tests {
    use mainstay_core::id::MeshName;

    use super::super::{LEAF_LIFE, NewKey, Root};
    use super::*;
    use crate::clock::{Clock, SystemClock};

    fn bundle(identity: &str) -> Bundle {
        let (mesh, now): (MeshName, _) = ("local".parse().unwrap(), SystemClock.wall());
        let root = Root::create(&mesh, now).unwrap();
        let key = NewKey::generate().unwrap();
        let chain = root.issuer("c1", now).unwrap().issue(&key.csr_pem().unwrap(), &mesh, &identity.parse().unwrap(), now, LEAF_LIFE).unwrap();
        key.into_bundle(chain, root.cert_pem().to_owned())
    }

    fn write(files: &IdentityFiles, bundle: &Bundle) {
        for (path, text) in [(&files.chain, &bundle.chain_pem), (&files.key, &bundle.key_pem), (&files.roots, &bundle.roots_pem)] {
            crate::files::write_atomic(crate::failpoint::Point::Saved, path, text.as_bytes(), 0o600).unwrap();
        }
    }

    #[test]
    fn what_is_replaced_is_taken_when_it_fits_together() {
        let dir = tempfile::tempdir().unwrap();
        let files = IdentityFiles { chain: dir.path().join("tls.crt"), key: dir.path().join("tls.key"), roots: dir.path().join("ca.crt") };
        let first = bundle("client/ci");
        write(&files, &first);
        let identity = ClientIdentity::new(files.load().unwrap()).unwrap();
        let (stamps, changed) = look(&files, &identity, None);
        assert!(!changed.unwrap());
        assert!(!look(&files, &identity, Some(stamps)).1.unwrap());

        // A key that belongs to another certificate is not taken, and is not taken for known either.
        let second = bundle("client/ci");
        crate::files::write_atomic(crate::failpoint::Point::Saved, &files.key, second.key_pem.as_bytes(), 0o600).unwrap();
        assert!(look(&files, &identity, Some(stamps)).1.is_err());
        assert_eq!(identity.bundle(), first);
        write(&files, &second);
        let (after, changed) = look(&files, &identity, Some(stamps));
        assert!(changed.unwrap() && after != stamps);
        assert_eq!(identity.bundle(), second);

        // Nor is somebody else's.
        write(&files, &bundle("client/eve"));
        let error = look(&files, &identity, Some(after)).1.unwrap_err().to_string();
        assert!(error.contains("client/eve's, and client/ci runs here"), "{error}");
        assert_eq!(identity.bundle(), second);
    }
}
