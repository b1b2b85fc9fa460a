//! A mesh's root: the key that signs issuers, and nothing else. It is made once, given to the operator as a file, and
//! kept away from the mesh.

use std::fmt;

use mainstay_core::id::{MemberId, MeshName};
use mainstay_core::time::{Millis, WallTime};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, KeyUsagePurpose, SerialNumber};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use time::OffsetDateTime;

use super::certificate::{self, Certificate};
use super::fingerprint::{Fingerprint, to_hex};
use super::issuer::{IssueError, Issuer};
use super::key::NewKey;
use super::{BACKDATED, ISSUER_VALIDITY, ROOT_VALIDITY};
use crate::random::{self, Random};

/// A root certificate with its key.
pub struct Root {
    mesh: MeshName,
    certificate: CertificateDer<'static>,
    key: KeyPair,
}

impl Root {
    /// Makes the root of a new mesh, or its next one.
    pub fn create(mesh: &MeshName, now: WallTime, random: &dyn Random) -> Result<Self, IssueError> {
        let key = NewKey::generate()?.into_pair();
        let params = authority(mesh, "Mainstay root", 1, (now, ROOT_VALIDITY), random)?;
        let certificate = params.self_signed(&key)?.into();
        Ok(Root { mesh: mesh.clone(), certificate, key })
    }

    /// Reads what [`Root::to_pem`] wrote.
    pub fn from_pem(pem: &str) -> Result<Self, IssueError> {
        let (mut certificates, key) = read_authority(pem)?;
        let certificate = certificates.swap_remove(0);
        let mesh = mesh_of(&certificate)?;
        Ok(Root { mesh, certificate, key })
    }

    /// Certificate and private key: for a file that only the operator has.
    #[must_use]
    pub fn to_pem(&self) -> String {
        certificate::to_pem(std::slice::from_ref(&self.certificate)) + &self.key.serialize_pem()
    }

    /// The certificate alone: what everybody in the mesh trusts.
    #[must_use]
    pub fn certificate_pem(&self) -> String {
        certificate::to_pem(std::slice::from_ref(&self.certificate))
    }

    #[must_use]
    pub fn mesh(&self) -> &MeshName {
        &self.mesh
    }

    /// SHA-256 of the certificate: what a join token pins.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.certificate)
    }

    /// Makes the issuer of one coordinator: a CA of its own name that can sign leaves, but no further CA.
    pub fn issuer(&self, member: MemberId, now: WallTime, random: &dyn Random) -> Result<Issuer, IssueError> {
        let end = Certificate::read(&self.certificate)?.not_after;
        if end <= now {
            return Err(IssueError::Expired { what: "root", ended: end });
        }
        let validity = Millis(ISSUER_VALIDITY.0.min(u64::try_from(end.0.saturating_sub(now.0)).unwrap_or(0)));
        let key = NewKey::generate()?.into_pair();
        let params = authority(&self.mesh, &format!("Mainstay issuer {member}"), 0, (now, validity), random)?;
        let signer = rcgen::Issuer::from_ca_cert_der(&self.certificate, &self.key)?;
        let issued = params.signed_by(&key, &signer)?.into();
        Issuer::new(self.mesh.clone(), issued, vec![self.certificate.clone()], key)
    }
}

impl fmt::Debug for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Root({}, {})", self.mesh, self.fingerprint())
    }
}

/// What any CA of a mesh looks like. Its subject carries a random part, so that no two CAs share a name: a verifier that
/// meets two by one name may try the wrong key.
fn authority(
    mesh: &MeshName,
    role: &str,
    below: u8,
    (now, validity): (WallTime, Millis),
    random: &dyn Random,
) -> Result<CertificateParams, IssueError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, mesh.as_str());
    params.distinguished_name.push(DnType::CommonName, format!("{role} {}", to_hex(&random::bytes::<4>(random))));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(below));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.use_authority_key_identifier_extension = true;
    params.serial_number = Some(serial(random));
    params.not_before = moment(WallTime(now.0.saturating_sub(millis(BACKDATED))))?;
    params.not_after = moment(WallTime(now.0.saturating_add(millis(validity))))?;
    Ok(params)
}

/// 126 random bits below a fixed top: positive, and always of the same length.
pub(super) fn serial(random: &dyn Random) -> SerialNumber {
    let mut bytes = random::bytes::<16>(random);
    bytes[0] = bytes[0] & 0x3f | 0x40;
    SerialNumber::from_slice(&bytes)
}

pub(super) fn millis(length: Millis) -> i64 {
    i64::try_from(length.0).unwrap_or(i64::MAX)
}

/// A moment as a certificate holds it: whole seconds, rounded down.
pub(super) fn moment(at: WallTime) -> Result<OffsetDateTime, IssueError> {
    // The last year that X.509 can write is 9999.
    const LAST: i64 = 253_402_300_799;
    let secs = at.0.div_euclid(1_000);
    (0..=LAST).contains(&secs).then(|| OffsetDateTime::from_unix_timestamp(secs).ok()).flatten().ok_or(IssueError::Clock(at))
}

/// The certificates and the key of a CA's file.
pub(super) fn read_authority(pem: &str) -> Result<(Vec<CertificateDer<'static>>, KeyPair), IssueError> {
    let certificates = certificate::from_pem(pem.as_bytes())?;
    let key = rustls_pki_types::PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|e| IssueError::Key(e.to_string()))?;
    let key = KeyPair::try_from(&key)?;
    let (_, parsed) = x509_parser::parse_x509_certificate(&certificates[0]).map_err(|e| IssueError::Key(e.to_string()))?;
    if parsed.public_key().subject_public_key.data.as_ref() != key.public_key_raw() {
        return Err(IssueError::Key("it is not the key of the certificate beside it".into()));
    }
    Ok((certificates, key))
}

/// The mesh that a CA is of: the organization in its subject.
pub(super) fn mesh_of(certificate: &CertificateDer<'_>) -> Result<MeshName, IssueError> {
    let malformed = |reason: &str| IssueError::Key(format!("the certificate is not one of a mesh's CA: {reason}"));
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).map_err(|e| malformed(&e.to_string()))?;
    let organization = parsed.subject().iter_organization().next().and_then(|o| o.as_str().ok()).ok_or_else(|| malformed("no organization"))?;
    Ok(organization.parse().map_err(certificate::CertificateError::from)?)
}
