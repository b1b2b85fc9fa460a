//! Reading certificates.

use mainstay_core::Identity;
use mainstay_core::id::MeshName;
use mainstay_core::state::trust::RootId;
use mainstay_core::time::{Millis, WallTime};
use rustls_pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::IdentityError;

/// For so long after its end a leaf may still ask for its renewal, so that an outage heals itself.
pub const RENEWABLE_FOR: Millis = Millis(30 * 86_400_000);

/// The other end of a connection, as its verified certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerIdentity {
    /// The mesh that the certificate is of.
    pub mesh: MeshName,
    /// Who it is within that mesh.
    pub identity: Identity,
    /// The end of its certificate.
    pub not_after: WallTime,
    /// Past its end when the connection was made; such a peer may only renew.
    pub expired: bool,
    /// The root that its chain leads to, where that has been looked up.
    pub root: Option<RootId>,
}

impl PeerIdentity {
    /// Reads a leaf that has been verified. It names exactly one SPIFFE URI and nothing else by URI.
    pub fn of(leaf: &CertificateDer<'_>, now: WallTime) -> Result<PeerIdentity, IdentityError> {
        let (_, certificate) = X509Certificate::from_der(leaf).map_err(|error| IdentityError::malformed("the certificate", error))?;
        let names = certificate.subject_alternative_name().map_err(|error| IdentityError::malformed("the certificate", error))?;
        let uris: Vec<&str> = names
            .iter()
            .flat_map(|names| &names.value.general_names)
            .filter_map(|name| match name {
                GeneralName::URI(uri) => Some(*uri),
                _ => None,
            })
            .collect();
        let [uri] = uris.as_slice() else {
            return Err(IdentityError::malformed("the certificate", format!("it has {} URIs, and should have one SPIFFE id", uris.len())));
        };
        let (mesh, identity) = Identity::from_uri(uri)?;
        let not_after = WallTime(certificate.validity().not_after.timestamp().saturating_mul(1_000));
        Ok(PeerIdentity { mesh, identity, not_after, expired: now > not_after, root: None })
    }
}

/// From when to when the first certificate of a PEM text is good.
pub fn validity(pem: &str) -> Result<(WallTime, WallTime), IdentityError> {
    let der = certificates(pem)?;
    let (_, certificate) = X509Certificate::from_der(&der[0]).map_err(|error| IdentityError::malformed("the certificate", error))?;
    let wall = |time: x509_parser::time::ASN1Time| WallTime(time.timestamp().saturating_mul(1_000));
    Ok((wall(certificate.validity().not_before), wall(certificate.validity().not_after)))
}

/// The public key of the first certificate of a PEM text, without its wrapping.
pub fn public_key(pem: &str) -> Result<Vec<u8>, IdentityError> {
    let der = certificates(pem)?;
    let (_, certificate) = X509Certificate::from_der(&der[0]).map_err(|error| IdentityError::malformed("the certificate", error))?;
    Ok(certificate.public_key().subject_public_key.data.to_vec())
}

/// All certificates of a PEM text, at least one.
pub fn certificates(pem_text: &str) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    let blocks = pem::parse_many(pem_text).map_err(|error| IdentityError::malformed("the certificate file", error))?;
    let found: Vec<_> =
        blocks.into_iter().filter(|block| block.tag() == "CERTIFICATE").map(|block| CertificateDer::from(block.into_contents())).collect();
    if found.is_empty() {
        return Err(IdentityError::malformed("the certificate file", "there is no certificate in it"));
    }
    Ok(found)
}

/// SHA-256 of a root certificate, in hexadecimal: what a join token pins.
pub fn root_sha256(cert_pem: &str) -> Result<String, IdentityError> {
    Ok(sha256(&certificates(cert_pem)?[0]))
}

/// The same of each of several roots.
pub fn root_sha256s(certs_pem: &str) -> Result<Vec<String>, IdentityError> {
    Ok(certificates(certs_pem)?.iter().map(|der| sha256(der)).collect())
}

pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
