//! A bundle on disk.
//!
//! Mainstay's own form is one file, [`IDENTITY_FILE`], with key, chain and roots: it is replaced by one rename, so that a
//! crash leaves the old identity or the new one, never the key of one with the certificate of the other. A directory
//! without it may hold what others put there (cert-manager, a SPIRE helper): `tls.crt`, `tls.key` and `ca.crt`. Those are
//! read, never written; a mixture of two renewals is noticed, since the key then does not fit.

use std::path::{Path, PathBuf};

use super::bundle::{Bundle, BundleError};
use crate::files::{self, FileError};

/// Name of the file within an identity's directory.
pub const IDENTITY_FILE: &str = "identity.pem";
const FOREIGN_CHAIN: &str = "tls.crt";
const FOREIGN_KEY: &str = "tls.key";
const FOREIGN_ROOTS: &str = "ca.crt";
/// Far more than any chain needs.
const FILE_MAX: usize = 256 << 10;

/// Why an identity could not be loaded or stored.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("there is no identity in {path}: neither {IDENTITY_FILE} nor {FOREIGN_CHAIN}; enrol first, with a join token", path = path.display())]
    Absent { path: PathBuf },
    #[error("the identity in {path} cannot be used: {source}", path = path.display())]
    Unusable { path: PathBuf, source: BundleError },
    #[error("{path} can be read by others; it holds a private key: chmod 600 it", path = path.display())]
    Exposed { path: PathBuf },
}

impl Bundle {
    /// Loads the identity in `directory`.
    pub fn load(directory: &Path) -> Result<Self, StoreError> {
        let unusable = |source| StoreError::Unusable { path: directory.to_owned(), source };
        let own = directory.join(IDENTITY_FILE);
        if let Some(pem) = files::read_if_there(&own, FILE_MAX)? {
            if files::is_readable_by_others(&own)? {
                return Err(StoreError::Exposed { path: own });
            }
            return Bundle::from_pem(&pem).map_err(unusable);
        }
        let Some(chain) = files::read_if_there(&directory.join(FOREIGN_CHAIN), FILE_MAX)? else {
            return Err(StoreError::Absent { path: directory.to_owned() });
        };
        // Mounted secrets are often readable by a group, and their mode is not ours to choose.
        let key = files::read_bounded(&directory.join(FOREIGN_KEY), FILE_MAX)?;
        let roots = files::read_bounded(&directory.join(FOREIGN_ROOTS), FILE_MAX)?;
        Bundle::from_pems(&chain, &key, &roots).map_err(unusable)
    }

    /// Stores the identity in `directory`, which is made if need be. On the disk when this returns.
    pub fn store(&self, directory: &Path) -> Result<(), StoreError> {
        files::create_private_dir(directory)?;
        files::write_atomic(&directory.join(IDENTITY_FILE), self.to_pem().as_bytes(), files::PRIVATE)?;
        Ok(())
    }
}
