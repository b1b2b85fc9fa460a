//! An identity in use: the private key, its certificate with those of its issuers, and the roots to trust.

use std::fmt;

use mainstay_core::Identity;
use mainstay_core::id::MeshName;
use mainstay_core::time::{Millis, WallTime};
use rustls::server::WebPkiClientVerifier;
use rustls::sign::CertifiedKey;
use rustls::{CertificateError as TlsCertificateError, Error as TlsError, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};

use super::certificate::{self, Certificate, CertificateError, line_feeds};
use super::fingerprint::Fingerprint;
use super::issuer::IssueError;
use super::root::millis;
use crate::tls;

/// Why key, chain and roots do not make an identity.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    #[error("the certificate chain cannot be used: {0}")]
    Chain(CertificateError),
    #[error("the roots cannot be used: {0}")]
    Roots(CertificateError),
    #[error("the private key cannot be used: {0}")]
    Key(String),
    #[error("the private key is not that of the certificate: key and certificate are of different renewals")]
    KeyMismatch,
    #[error("the certificate does not come from any of the roots beside it: {0}")]
    ForeignChain(String),
    #[error(transparent)]
    Issue(#[from] IssueError),
}

/// Key, chain and roots that fit together: the key is that of the leaf, the leaf names one identity, and its chain
/// leads to one of the roots. The leaf may have ended meanwhile.
pub struct Bundle {
    key: PrivateKeyDer<'static>,
    chain: Vec<CertificateDer<'static>>,
    roots: Vec<CertificateDer<'static>>,
    identity: Identity,
    mesh: MeshName,
    leaf: Certificate,
}

impl Bundle {
    /// Reads one PEM text with the private key, the leaf, its issuers, and the roots (those certificates that name
    /// themselves as their issuer).
    pub fn from_pem(pem: &[u8]) -> Result<Self, BundleError> {
        let (mut chain, mut roots) = (Vec::new(), Vec::new());
        for der in certificate::from_pem(pem).map_err(BundleError::Chain)? {
            let is_root = Certificate::read(&der).map_err(BundleError::Chain)?.self_issued;
            if is_root { roots.push(der) } else { chain.push(der) }
        }
        Bundle::assemble(chain, read_key(pem)?, roots)
    }

    /// Puts together what was issued elsewhere: three PEM texts.
    pub fn from_pems(chain: &[u8], key: &[u8], roots: &[u8]) -> Result<Self, BundleError> {
        Bundle::from_parts(chain, read_key(key)?, roots)
    }

    pub(super) fn from_parts(chain: &[u8], key: PrivateKeyDer<'static>, roots: &[u8]) -> Result<Self, BundleError> {
        let chain = certificate::from_pem(chain).map_err(BundleError::Chain)?;
        let roots = certificate::from_pem(roots).map_err(BundleError::Roots)?;
        Bundle::assemble(chain, key, roots)
    }

    fn assemble(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        roots: Vec<CertificateDer<'static>>,
    ) -> Result<Self, BundleError> {
        let leaf = chain.first().ok_or(BundleError::Chain(CertificateError::Empty))?;
        let leaf = Certificate::read(leaf).map_err(BundleError::Chain)?;
        let uri = leaf.uri().map_err(BundleError::Chain)?;
        let (mesh, identity) = Identity::from_uri(uri).map_err(|e| BundleError::Chain(e.into()))?;
        let bundle = Bundle { key, chain, roots, identity, mesh, leaf };
        bundle.certified_key()?;
        bundle.check_chain()?;
        Ok(bundle)
    }

    /// Checks the chain at the moment at which the leaf began, so that one that has ended is still known for its own.
    fn check_chain(&self) -> Result<(), BundleError> {
        let verifier = WebPkiClientVerifier::builder_with_provider(self.root_store()?.into(), tls::provider())
            .build()
            .map_err(|_| BundleError::Roots(CertificateError::Empty))?;
        verifier.verify_client_cert(&self.chain[0], &self.chain[1..], unix_time(self.leaf.not_before)).map(|_| ()).map_err(|e| {
            BundleError::ForeignChain(match e {
                TlsError::InvalidCertificate(TlsCertificateError::UnknownIssuer) => "its issuer is unknown to them".into(),
                other => other.to_string(),
            })
        })
    }

    /// Who this is.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    #[must_use]
    pub fn mesh(&self) -> &MeshName {
        &self.mesh
    }

    /// Last moment of the leaf's validity.
    #[must_use]
    pub fn expires(&self) -> WallTime {
        self.leaf.not_after
    }

    #[must_use]
    pub fn is_expired(&self, now: WallTime) -> bool {
        self.leaf.not_after < now
    }

    /// When to ask for the successor: `jitter` after a third of the lifetime, at most after half of it.
    #[must_use]
    pub fn renew_at(&self, jitter: Millis) -> WallTime {
        let (start, end) = (self.leaf.not_before.0, self.leaf.not_after.0);
        let lifetime = end.saturating_sub(start);
        WallTime(start.saturating_add((lifetime / 3).saturating_add(millis(jitter)).min(lifetime / 2)))
    }

    /// SHA-256 of the leaf.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.leaf.fingerprint
    }

    /// Serial number of the leaf, hexadecimal.
    #[must_use]
    pub fn serial(&self) -> &str {
        &self.leaf.serial
    }

    /// SHA-256 of every root it trusts.
    pub fn root_fingerprints(&self) -> impl Iterator<Item = Fingerprint> + '_ {
        self.roots.iter().map(|root| Fingerprint::of(root))
    }

    /// The leaf and its issuers.
    #[must_use]
    pub fn chain_pem(&self) -> String {
        certificate::to_pem(&self.chain)
    }

    /// The roots it trusts.
    #[must_use]
    pub fn roots_pem(&self) -> String {
        certificate::to_pem(&self.roots)
    }

    /// The same identity, trusting these roots: how a root rotation begins (old and new) and ends (new alone).
    pub fn with_roots(&self, roots_pem: &str) -> Result<Self, BundleError> {
        let roots = certificate::from_pem(roots_pem.as_bytes()).map_err(BundleError::Roots)?;
        Bundle::assemble(self.chain.clone(), self.key.clone_key(), roots)
    }

    /// All of it, the private key included, as [`Bundle::from_pem`] reads it.
    #[must_use]
    pub fn to_pem(&self) -> String {
        let label = match self.key {
            PrivateKeyDer::Pkcs1(_) => "RSA PRIVATE KEY",
            PrivateKeyDer::Sec1(_) => "EC PRIVATE KEY",
            _ => "PRIVATE KEY",
        };
        let key = pem::encode_config(&pem::Pem::new(label, self.key.secret_der()), line_feeds());
        key + &self.chain_pem() + &self.roots_pem()
    }

    pub(crate) fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    pub(crate) fn roots(&self) -> &[CertificateDer<'static>] {
        &self.roots
    }

    pub(crate) fn root_store(&self) -> Result<RootCertStore, BundleError> {
        let mut store = RootCertStore::empty();
        for root in &self.roots {
            store.add(root.clone()).map_err(|e| BundleError::Roots(CertificateError::Malformed(e.to_string())))?;
        }
        Ok(store)
    }

    /// The key as the TLS stack uses it, compared with the leaf.
    pub(crate) fn certified_key(&self) -> Result<CertifiedKey, BundleError> {
        CertifiedKey::from_der(self.chain.clone(), self.key.clone_key(), &tls::provider()).map_err(|error| match error {
            TlsError::InconsistentKeys(_) => BundleError::KeyMismatch,
            other => BundleError::Key(other.to_string()),
        })
    }
}

impl fmt::Debug for Bundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bundle")
            .field("identity", &self.identity.uri(&self.mesh))
            .field("not_after", &self.leaf.not_after)
            .field("serial", &self.leaf.serial)
            .finish_non_exhaustive()
    }
}

fn read_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, BundleError> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|e| BundleError::Key(e.to_string()))
}

/// A moment as the TLS stack counts it; before 1970 is 1970.
pub(crate) fn unix_time(at: WallTime) -> UnixTime {
    UnixTime::since_unix_epoch(std::time::Duration::from_secs(u64::try_from(at.0.div_euclid(1_000)).unwrap_or(0)))
}
