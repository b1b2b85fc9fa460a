//! A coordinator's own CA: it grants leaves. The identity in a leaf is the one that the caller of [`Issuer::issue`] has
//! authorized; of a request only the key is taken, and the proof that the sender has it.

use std::fmt;

use mainstay_core::Identity;
use mainstay_core::id::MeshName;
use mainstay_core::time::{Millis, WallTime};
use rcgen::{CertificateParams, CertificateSigningRequestParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, SanType};
use rcgen::{PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519};
use rustls_pki_types::{CertificateDer, ServerName};

use super::certificate::{self, Certificate, CertificateError};
use super::key::NewKey;
use super::root::{mesh_of, millis, moment, read_authority, serial};
use super::{BACKDATED, Bundle, BundleError};
use crate::random::Random;

/// Longest request that is read: one with a key of the largest accepted kind is under 1 KiB.
const REQUEST_MAX: usize = 8 << 10;
/// Most addresses of one coordinator.
const HOSTS_MAX: usize = 32;
/// A coordinator can always be reached by these from its own machine.
const LOCAL: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// Why a certificate could not be made.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    #[error("the certificate request is refused: {0}")]
    Request(String),
    #[error("`{0}` is not a host name or address that a certificate can carry")]
    Host(String),
    #[error("only a coordinator's certificate names hosts, not that of {0}")]
    HostsOfOther(Identity),
    #[error("more than {HOSTS_MAX} hosts for one certificate")]
    TooManyHosts,
    #[error("the {what} ended at {ended:?} (Unix ms): a new one is needed, signed with the key of what is above it")]
    Expired { what: &'static str, ended: WallTime },
    #[error("{0:?} (Unix ms) is no time that a certificate can carry: check this machine's clock")]
    Clock(WallTime),
    #[error("the key of a CA cannot be used: {0}")]
    Key(String),
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    #[error("the certificate could not be made: {0}")]
    Crypto(#[from] rcgen::Error),
}

/// What an issuer grants.
#[derive(Debug, Clone)]
pub struct Grant {
    pub identity: Identity,
    /// Host names and addresses of a coordinator's listeners; those of the own machine are always added. Empty for
    /// everybody else.
    pub hosts: Vec<String>,
    /// For how long from now; cut to the end of the issuer's own validity.
    pub validity: Millis,
}

/// A leaf that was issued.
#[derive(Debug, Clone)]
pub struct Issued {
    /// The leaf, then its issuer.
    pub chain_pem: String,
    /// The roots to trust.
    pub roots_pem: String,
    /// Last moment of the leaf's validity.
    pub not_after: WallTime,
    /// Serial number of the leaf, hexadecimal.
    pub serial: String,
}

/// One coordinator's CA.
pub struct Issuer {
    mesh: MeshName,
    certificate: CertificateDer<'static>,
    not_before: WallTime,
    not_after: WallTime,
    roots: Vec<CertificateDer<'static>>,
    signer: rcgen::Issuer<'static, KeyPair>,
}

impl Issuer {
    pub(super) fn new(
        mesh: MeshName,
        certificate: CertificateDer<'static>,
        roots: Vec<CertificateDer<'static>>,
        key: KeyPair,
    ) -> Result<Self, IssueError> {
        let Certificate { not_before, not_after, .. } = Certificate::read(&certificate)?;
        let signer = rcgen::Issuer::from_ca_cert_der(&certificate, key)?;
        Ok(Issuer { mesh, certificate, not_before, not_after, roots, signer })
    }

    /// Reads what [`Issuer::to_pem`] wrote.
    pub fn from_pem(pem: &str) -> Result<Self, IssueError> {
        let (mut certificates, key) = read_authority(pem)?;
        let certificate = certificates.remove(0);
        if certificates.is_empty() {
            return Err(IssueError::Key("the root is missing beside the issuer".into()));
        }
        Issuer::new(mesh_of(&certificate)?, certificate, certificates, key)
    }

    /// Issuer, roots and private key: for a file that only the coordinator can read.
    #[must_use]
    pub fn to_pem(&self) -> String {
        certificate::to_pem(std::slice::from_ref(&self.certificate)) + &self.roots_pem() + &self.signer.key().serialize_pem()
    }

    #[must_use]
    pub fn mesh(&self) -> &MeshName {
        &self.mesh
    }

    /// The roots that it tells others to trust.
    #[must_use]
    pub fn roots_pem(&self) -> String {
        certificate::to_pem(&self.roots)
    }

    /// Last moment of its own validity.
    #[must_use]
    pub fn expires(&self) -> WallTime {
        self.not_after
    }

    /// Issues a leaf for the key in `csr_pem`.
    ///
    /// # Errors
    /// When the request is malformed, not signed by its own key, or of a kind of key that is not accepted; when the
    /// issuer itself has ended.
    pub fn issue(&self, csr_pem: &str, grant: &Grant, now: WallTime, random: &dyn Random) -> Result<Issued, IssueError> {
        let asked = request(csr_pem)?;
        let params = self.leaf(grant, now, random)?;
        let leaf: CertificateDer<'static> = params.signed_by(&asked.public_key, &self.signer)?.into();
        let read = Certificate::read(&leaf)?;
        Ok(Issued {
            chain_pem: certificate::to_pem(&[leaf, self.certificate.clone()]),
            roots_pem: self.roots_pem(),
            not_after: read.not_after,
            serial: read.serial,
        })
    }

    /// A bundle with a new key: what a coordinator gives itself, and what a mesh on one machine starts from.
    pub fn bundle(&self, grant: &Grant, now: WallTime, random: &dyn Random) -> Result<Bundle, BundleError> {
        let key = NewKey::generate().map_err(IssueError::from)?;
        let csr = key.csr().map_err(IssueError::from)?;
        let issued = self.issue(&csr, grant, now, random)?;
        key.into_bundle(&issued.chain_pem, &issued.roots_pem)
    }

    fn leaf(&self, grant: &Grant, now: WallTime, random: &dyn Random) -> Result<CertificateParams, IssueError> {
        if self.not_after <= now {
            return Err(IssueError::Expired { what: "issuer", ended: self.not_after });
        }
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, self.mesh.as_str());
        params.distinguished_name.push(DnType::CommonName, grant.identity.role());
        params.subject_alt_names = names(&grant.identity, &self.mesh, &grant.hosts)?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        if matches!(grant.identity, Identity::Coordinator(_)) {
            params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
        }
        params.use_authority_key_identifier_extension = true;
        params.serial_number = Some(serial(random));
        let start = now.0.saturating_sub(millis(BACKDATED)).max(self.not_before.0);
        let end = now.0.saturating_add(millis(grant.validity)).min(self.not_after.0);
        params.not_before = moment(WallTime(start))?;
        params.not_after = moment(WallTime(end))?;
        Ok(params)
    }
}

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issuer").field("mesh", &self.mesh).field("not_after", &self.not_after).finish_non_exhaustive()
    }
}

fn request(csr_pem: &str) -> Result<CertificateSigningRequestParams, IssueError> {
    if csr_pem.len() > REQUEST_MAX {
        return Err(IssueError::Request(format!("longer than {REQUEST_MAX} bytes")));
    }
    // Parsing checks the signature of the request by its own key.
    let asked = CertificateSigningRequestParams::from_pem(csr_pem).map_err(|e| IssueError::Request(e.to_string()))?;
    let accepted = [&PKCS_ECDSA_P256_SHA256, &PKCS_ECDSA_P384_SHA384, &PKCS_ED25519];
    if !accepted.contains(&rcgen::PublicKeyData::algorithm(&asked.public_key)) {
        return Err(IssueError::Request("its key is neither ECDSA P-256, ECDSA P-384 nor Ed25519".into()));
    }
    Ok(asked)
}

fn names(identity: &Identity, mesh: &MeshName, hosts: &[String]) -> Result<Vec<SanType>, IssueError> {
    let mut names = vec![SanType::URI(identity.uri(mesh).try_into()?)];
    if !matches!(identity, Identity::Coordinator(_)) {
        return if hosts.is_empty() { Ok(names) } else { Err(IssueError::HostsOfOther(identity.clone())) };
    }
    if hosts.len() > HOSTS_MAX {
        return Err(IssueError::TooManyHosts);
    }
    for host in LOCAL.into_iter().chain(hosts.iter().map(String::as_str)) {
        let name = host_name(host)?;
        if !names.contains(&name) {
            names.push(name);
        }
    }
    Ok(names)
}

fn host_name(host: &str) -> Result<SanType, IssueError> {
    match ServerName::try_from(host) {
        Ok(ServerName::IpAddress(address)) => Ok(SanType::IpAddress(std::net::IpAddr::from(address))),
        Ok(ServerName::DnsName(name)) => Ok(SanType::DnsName(name.as_ref().try_into()?)),
        _ => Err(IssueError::Host(host.chars().take(255).collect())),
    }
}
