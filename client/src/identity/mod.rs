//! Who a process is: keys, certificates, and the embedded certificate authority.
//!
//! ```text
//!  root (offline, 10 years) ──signs──▶ issuer (one per coordinator, 1 year) ──signs──▶ leaf (24 hours)
//! ```
//! A leaf names its holder by exactly one SPIFFE URI, which the issuer chooses; names in a request are not
//! looked at. What is revoked is the mesh's state, not a list in here.

mod authority;
mod bundle;
mod client_identity;
mod elsewhere;
mod join;
mod peer;
mod roots;

pub use authority::{ISSUER_LIFE, Issuer, LEAF_LIFE, Root};
pub use bundle::{Age, Bundle, NewKey};
pub use client_identity::ClientIdentity;
pub use elsewhere::{IdentityFiles, keep_reloaded};
pub use join::{Invitation, JoinToken};
pub use peer::{PeerIdentity, root_sha256, root_sha256s};
pub use roots::{RootCertificate, Roots, ids_of};

use std::path::PathBuf;

use mainstay_core::id::NameError;

/// What goes wrong with keys and certificates.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The file with the identity cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// The file with the identity cannot be written; the former one is as it was.
    #[error("cannot write {path}: {source}")]
    Write {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// A key, certificate, request or token is damaged, or something else.
    #[error("{what} is not what it should be: {problem}")]
    Malformed { what: &'static str, problem: String },
    /// The SPIFFE id is not one of a mesh.
    #[error("the certificate names nobody in this mesh: {0}")]
    Name(#[from] NameError),
    /// A key or certificate could not be made or read.
    #[error("the certificate authority failed: {0}")]
    Authority(#[from] rcgen::Error),
    /// TLS does not take key, chain and roots together.
    #[error("the key and certificate do not work together: {0}")]
    Tls(#[from] rustls::Error),
}

impl IdentityError {
    fn malformed(what: &'static str, problem: impl std::fmt::Display) -> IdentityError {
        IdentityError::Malformed { what, problem: problem.to_string() }
    }
}

pub(crate) use peer::certificates as certificates_of;
pub(crate) use peer::sha256 as sha256_of;

pub(crate) fn renewable_for() -> mainstay_core::time::Millis {
    peer::RENEWABLE_FOR
}
