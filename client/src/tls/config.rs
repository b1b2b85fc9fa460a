//! rustls configurations from a bundle. No session is resumed: each connection is judged anew.

use std::fmt;
use std::sync::Arc;

use mainstay_core::id::MeshName;
use rustls::client::Resumption;
use rustls::time_provider::TimeProvider;
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};

use super::by_trust::ByTrust;
use super::verify::{CoordinatorVerifier, MeshClientVerifier, PinnedVerifier};
use crate::clock::{Clock, SystemClock};
use crate::identity::{Bundle, IdentityError, Roots};

/// For the caller's side within a mesh: shows its certificate, expects a coordinator's.
pub fn client_config(bundle: &Bundle, mesh: &MeshName, clock: &Arc<dyn Clock>) -> Result<ClientConfig, IdentityError> {
    let verifier = Arc::new(CoordinatorVerifier::new(roots(bundle)?, mesh.clone()));
    let builder = ClientConfig::builder_with_details(provider(), Arc::new(MeshTimeProvider(clock.clone())));
    let mut config = builder
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_auth_cert(chain(bundle)?, key(bundle)?)?;
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

/// For enrolment: no certificate of its own, and the root known by its digest only.
pub fn pinned_config(root_sha256: &str) -> Result<ClientConfig, IdentityError> {
    let verifier = Arc::new(PinnedVerifier::new(root_sha256));
    let mut config = ClientConfig::builder_with_details(provider(), Arc::new(MeshTimeProvider(Arc::new(SystemClock))))
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

/// For a coordinator's main listener: a certificate of this mesh is demanded. `leaves` are the listener's own.
pub fn server_config(leaves: &[&Bundle], roots: &Roots, mesh: &MeshName, clock: &Arc<dyn Clock>) -> Result<ServerConfig, IdentityError> {
    let trusted = store(leaves)?;
    let verifier = Arc::new(MeshClientVerifier::new(trusted, mesh.clone())?);
    let builder = ServerConfig::builder_with_details(provider(), Arc::new(MeshTimeProvider(clock.clone())));
    let resolver = Arc::new(ByTrust::new(leaves, roots, false)?);
    let mut config = builder.with_protocol_versions(&[&TLS13])?.with_client_cert_verifier(verifier).with_cert_resolver(resolver);
    config.send_tls13_tickets = 0;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

/// For the enrolment listener: no certificate is asked for, and the root is shown, so that a newcomer who
/// knows its digest can check it.
pub fn enrolment_config(leaves: &[&Bundle], roots: &Roots) -> Result<ServerConfig, IdentityError> {
    let resolver = Arc::new(ByTrust::new(leaves, roots, true)?);
    let mut config =
        ServerConfig::builder_with_provider(provider()).with_protocol_versions(&[&TLS13])?.with_no_client_auth().with_cert_resolver(resolver);
    config.send_tls13_tickets = 0;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

pub(super) fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// The roots of the first leaf: all leaves have one holder.
fn store(leaves: &[&Bundle]) -> Result<RootCertStore, IdentityError> {
    leaves.first().map_or_else(|| Ok(RootCertStore::empty()), |bundle| roots(bundle))
}

fn roots(bundle: &Bundle) -> Result<RootCertStore, IdentityError> {
    let mut store = RootCertStore::empty();
    for root in super::verify::certificates(&bundle.roots_pem)? {
        store.add(root)?;
    }
    Ok(store)
}

pub(super) fn chain(bundle: &Bundle) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    super::verify::certificates(&bundle.chain_pem)
}

pub(super) fn key(bundle: &Bundle) -> Result<PrivateKeyDer<'static>, IdentityError> {
    PrivateKeyDer::from_pem_slice(bundle.key_pem.as_bytes())
        .map_err(|error| IdentityError::Malformed { what: "the private key", problem: error.to_string() })
}

/// Certificates are judged by the clock that the program was given.
struct MeshTimeProvider(Arc<dyn Clock>);

impl TimeProvider for MeshTimeProvider {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = u64::try_from(self.0.wall().0.div_euclid(1_000)).ok()?;
        Some(UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds)))
    }
}

impl fmt::Debug for MeshTimeProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MeshTimeProvider")
    }
}
