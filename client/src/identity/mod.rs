//! X.509 identities: how they are made, granted, kept on disk and read from a peer.
//!
//! ```text
//!  Root (offline file) ──signs──▶ Issuer (one per coordinator) ──issues──▶ leaf (24 h, one SPIFFE URI)
//!                                                                            │  key never leaves its owner: NewKey
//!  JoinToken (root's fingerprint + secret) ──▶ first leaf                    ▼
//!                                                     Bundle = key + leaf + issuer + roots, one file on disk
//! ```
//!
//! Who a certificate is for is decided by the issuer alone: names in a request are not read. What a certificate may do
//! is decided elsewhere, by the authorization table; here is only who somebody is.
//!
//! Name constraints would keep an issuer to its mesh by themselves, but the TLS stack refuses every URI below a CA
//! that carries one for URIs. Each mesh therefore has a root of its own, and each verifier compares the mesh's name.

mod bundle;
mod certificate;
mod fingerprint;
mod issuer;
mod key;
mod peer;
mod root;
mod store;
mod token;

use mainstay_core::time::Millis;

pub use bundle::{Bundle, BundleError};
pub use certificate::{Certificate, CertificateError};
pub use fingerprint::{Fingerprint, FingerprintError};
pub use issuer::{Grant, IssueError, Issued, Issuer};
pub use key::NewKey;
pub use peer::PeerIdentity;
pub use root::Root;
pub use store::{IDENTITY_FILE, StoreError};
pub use token::{JoinToken, TokenError};

/// How long a leaf is good for: short, so that one that was stolen soon is not.
pub const LEAF_VALIDITY: Millis = Millis::from_secs(24 * 3_600);
/// How long an issuer is good for.
pub const ISSUER_VALIDITY: Millis = Millis::from_secs(366 * 24 * 3_600);
/// How long a root is good for.
pub const ROOT_VALIDITY: Millis = Millis::from_secs(3_653 * 24 * 3_600);
/// For how long after its end a leaf may still ask for its successor, so that an outage heals itself.
pub const RENEWABLE_AFTER_EXPIRY: Millis = Millis::from_secs(30 * 24 * 3_600);
/// How far the start of a certificate lies in the past, for peers whose clock is behind.
const BACKDATED: Millis = Millis::from_secs(5 * 60);
