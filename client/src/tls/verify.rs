//! Who is let in: chains to the mesh's roots, and SPIFFE ids of the right mesh and role.

use std::sync::Arc;

use mainstay_core::Identity;
use mainstay_core::id::MeshName;
use mainstay_core::time::WallTime;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::identity::{Bundle, IdentityError, PeerIdentity};
use crate::identity::{certificates_of, renewable_for, sha256_of};

/// All certificates of a PEM text.
pub(super) fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    certificates_of(pem)
}

fn algorithms() -> WebPkiSupportedAlgorithms {
    ring::default_provider().signature_verification_algorithms
}

fn wall(now: UnixTime) -> WallTime {
    WallTime(i64::try_from(now.as_secs()).unwrap_or(i64::MAX / 1_000).saturating_mul(1_000))
}

/// A refusal in words, carried through rustls to whoever logs or prints it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub String);

fn refused(words: impl Into<String>) -> Error {
    Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(Refused(words.into())))))
}

/// Whether a coordinator's chain holds under its own roots: what others will ask of it.
pub fn holds(bundle: &Bundle, now: WallTime) -> Result<(), IdentityError> {
    let mut roots = RootCertStore::empty();
    for root in certificates(&bundle.roots_pem)? {
        roots.add(root)?;
    }
    let chain = certificates(&bundle.chain_pem)?;
    let seconds = u64::try_from(now.0.div_euclid(1_000)).unwrap_or(0);
    let at = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
    let leaf = ParsedCertificate::try_from(&chain[0])?;
    Ok(verify_server_cert_signed_by_trust_anchor(&leaf, &roots, &chain[1..], at, algorithms().all)?)
}

fn judged(leaf: &CertificateDer<'_>, now: UnixTime, mesh: &MeshName) -> Result<PeerIdentity, Error> {
    let peer = PeerIdentity::of(leaf, wall(now)).map_err(|error| refused(error.to_string()))?;
    if peer.mesh != *mesh {
        return Err(refused(format!("the other end's certificate is of mesh {}, and this end's of mesh {mesh}: check the address", peer.mesh)));
    }
    Ok(peer)
}

macro_rules! handshake_signatures {
    () => {
        fn verify_tls12_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_tls12_signature(message, cert, dss, &algorithms())
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_tls13_signature(message, cert, dss, &algorithms())
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            algorithms().supported_schemes()
        }
    };
}

/// On the caller's side: the other end must be a coordinator of the mesh. Host names do not count, since
/// members are found by address.
#[derive(Debug)]
pub struct CoordinatorVerifier {
    /// Told to the other end, which may have certificates of several roots.
    subjects: Vec<DistinguishedName>,
    roots: RootCertStore,
    mesh: MeshName,
}

impl CoordinatorVerifier {
    pub fn new(roots: RootCertStore, mesh: MeshName) -> CoordinatorVerifier {
        CoordinatorVerifier { subjects: roots.subjects(), roots, mesh }
    }
}

impl ServerCertVerifier for CoordinatorVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        verify_server_cert_signed_by_trust_anchor(&ParsedCertificate::try_from(leaf)?, &self.roots, intermediates, now, algorithms().all)?;
        match judged(leaf, now, &self.mesh)?.identity {
            Identity::Coordinator(_) => Ok(ServerCertVerified::assertion()),
            other => Err(refused(format!("the other end is not a coordinator, it is {other}: check the address"))),
        }
    }

    fn root_hint_subjects(&self) -> Option<&[DistinguishedName]> {
        Some(&self.subjects)
    }

    handshake_signatures!();
}

/// At enrolment: the chain must end in a root with the digest that the join token pins, and the other end
/// must be a coordinator.
#[derive(Debug)]
pub struct PinnedVerifier {
    root_sha256: String,
}

impl PinnedVerifier {
    pub fn new(root_sha256: &str) -> PinnedVerifier {
        PinnedVerifier { root_sha256: root_sha256.to_owned() }
    }
}

impl ServerCertVerifier for PinnedVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        shown: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let root = shown.iter().find(|certificate| sha256_of(certificate) == self.root_sha256);
        let root =
            root.ok_or_else(|| refused("the other end is not of the mesh that made this join token, or it is not an enrolment address: check both"))?;
        let mut roots = RootCertStore::empty();
        roots.add(root.clone().into_owned())?;
        verify_server_cert_signed_by_trust_anchor(&ParsedCertificate::try_from(leaf)?, &roots, shown, now, algorithms().all)?;
        match PeerIdentity::of(leaf, wall(now)).map_err(|error| refused(error.to_string()))?.identity {
            Identity::Coordinator(_) => Ok(ServerCertVerified::assertion()),
            other => Err(refused(format!("the other end is not a coordinator, it is {other}: check the address"))),
        }
    }

    handshake_signatures!();
}

/// On a coordinator's side: anybody with a certificate of this mesh. One that has ended lately passes, and
/// is marked: it may renew and nothing else.
#[derive(Debug)]
pub struct MeshClientVerifier {
    chains: Arc<dyn ClientCertVerifier>,
    mesh: MeshName,
}

impl MeshClientVerifier {
    pub fn new(roots: RootCertStore, mesh: MeshName) -> Result<MeshClientVerifier, IdentityError> {
        let provider: Arc<CryptoProvider> = Arc::new(ring::default_provider());
        let chains = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(|error| IdentityError::Malformed { what: "the roots", problem: error.to_string() })?;
        Ok(MeshClientVerifier { chains, mesh })
    }
}

impl ClientCertVerifier for MeshClientVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chains.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let peer = judged(leaf, now, &self.mesh)?;
        let late = wall(now).0.saturating_sub(peer.not_after.0);
        let as_of = if late > 0 && late <= renewable_for().0 as i64 {
            UnixTime::since_unix_epoch(std::time::Duration::from_millis(u64::try_from(peer.not_after.0).unwrap_or(0)))
        } else {
            now
        };
        self.chains.verify_client_cert(leaf, intermediates, as_of)
    }

    handshake_signatures!();
}
