//! One certificate, read: what is needed of it to tell what it is, and no judgement.

use mainstay_core::time::WallTime;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::fingerprint::{Fingerprint, to_hex};

/// Most certificates that one PEM text may hold: a leaf, its issuers, and the roots of a rotation are far fewer.
const CERTIFICATES_MAX: usize = 32;

/// Why a certificate, or a list of them, cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    #[error("not PEM: {0}")]
    NotPem(String),
    #[error("no certificate in it")]
    Empty,
    #[error("more than {CERTIFICATES_MAX} certificates in it")]
    TooMany,
    #[error("not an X.509 certificate: {0}")]
    Malformed(String),
    #[error("the certificate names nobody: it must have one URI, spiffe://MESH/…, as subject alternative name")]
    NoIdentity,
    #[error("the certificate names more than one URI; exactly one says who it is for")]
    ManyIdentities,
    #[error(transparent)]
    NotAnIdentity(#[from] mainstay_core::id::NameError),
}

/// What a certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// First moment of its validity.
    pub not_before: WallTime,
    /// Last moment of its validity.
    pub not_after: WallTime,
    /// Serial number, hexadecimal.
    pub serial: String,
    /// Subject, as text.
    pub subject: String,
    /// Whether subject and issuer are the same name: a root.
    pub self_issued: bool,
    /// Whether it may sign other certificates.
    pub is_ca: bool,
    /// All URIs among its subject alternative names.
    pub uris: Vec<String>,
    /// All other subject alternative names, as text.
    pub other_names: Vec<String>,
    /// SHA-256 of its DER.
    pub fingerprint: Fingerprint,
}

impl Certificate {
    /// Reads a certificate. Its signature is not looked at.
    pub fn read(der: &CertificateDer<'_>) -> Result<Self, CertificateError> {
        let malformed = |reason: &dyn std::fmt::Display| CertificateError::Malformed(reason.to_string());
        let (rest, parsed) = X509Certificate::from_der(der).map_err(|e| malformed(&e))?;
        if !rest.is_empty() {
            return Err(malformed(&"something follows it"));
        }
        let (mut uris, mut other_names) = (Vec::new(), Vec::new());
        if let Some(names) = parsed.subject_alternative_name().map_err(|e| malformed(&e))? {
            for name in &names.value.general_names {
                match name {
                    GeneralName::URI(uri) => uris.push((*uri).to_owned()),
                    other => other_names.push(other.to_string()),
                }
            }
        }
        Ok(Certificate {
            not_before: WallTime(parsed.validity().not_before.timestamp().saturating_mul(1_000)),
            not_after: WallTime(parsed.validity().not_after.timestamp().saturating_mul(1_000)),
            serial: to_hex(parsed.raw_serial()),
            subject: parsed.subject().to_string(),
            self_issued: parsed.subject().as_raw() == parsed.issuer().as_raw(),
            is_ca: parsed.is_ca(),
            uris,
            other_names,
            fingerprint: Fingerprint::of(der),
        })
    }

    /// The one URI in it.
    pub fn uri(&self) -> Result<&str, CertificateError> {
        match self.uris.as_slice() {
            [uri] => Ok(uri),
            [] => Err(CertificateError::NoIdentity),
            _ => Err(CertificateError::ManyIdentities),
        }
    }
}

/// The certificates of a PEM text, in their order; other sections are passed over.
pub(super) fn from_pem(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let mut found = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        found.push(certificate.map_err(|e| CertificateError::NotPem(e.to_string()))?);
        if found.len() > CERTIFICATES_MAX {
            return Err(CertificateError::TooMany);
        }
    }
    if found.is_empty() { Err(CertificateError::Empty) } else { Ok(found) }
}

/// The certificates as one PEM text.
pub(super) fn to_pem(certificates: &[CertificateDer<'_>]) -> String {
    let sections: Vec<pem::Pem> = certificates.iter().map(|der| pem::Pem::new("CERTIFICATE", der.to_vec())).collect();
    pem::encode_many_config(&sections, line_feeds())
}

/// PEM with the line ends of the systems that Mainstay runs on.
pub(super) fn line_feeds() -> pem::EncodeConfig {
    pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF)
}
