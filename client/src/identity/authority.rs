//! The embedded certificate authority.

use mainstay_core::Identity;
use mainstay_core::id::MeshName;
use mainstay_core::time::{Millis, WallTime};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, PublicKeyData, SanType, SerialNumber,
};
use time::OffsetDateTime;

use super::IdentityError;
use crate::random;

const ROOT_LIFE: Millis = Millis(10 * 365 * 86_400_000);
/// How long an issuer signs. Longer than any leaf may be late for its renewal.
pub const ISSUER_LIFE: Millis = Millis(365 * 86_400_000);
/// How long a leaf is good; renewed at a third of it.
pub const LEAF_LIFE: Millis = Millis(86_400_000);
/// Certificates count from a little earlier, for clocks that are behind.
const BACKDATED: Millis = Millis(300_000);

/// The mesh's root. Its key signs issuers and is kept offline.
pub struct Root {
    cert_pem: String,
    key: KeyPair,
    not_after: WallTime,
}

/// A coordinator's issuing authority.
pub struct Issuer {
    cert_pem: String,
    key: KeyPair,
    not_after: WallTime,
}

impl Root {
    /// A new root with a new key, good for ten years.
    pub fn create(mesh: &MeshName, now: WallTime) -> Result<Root, IdentityError> {
        let key = KeyPair::generate()?;
        // One subject name, one authority: two roots of one mesh must not be taken for each other.
        let mut params = authority_params(&format!("Mainstay root of {mesh} {}", random::token(4)), now, ROOT_LIFE, BasicConstraints::Constrained(1));
        params.use_authority_key_identifier_extension = false;
        let cert_pem = params.self_signed(&key)?.pem();
        Ok(Root { cert_pem, key, not_after: WallTime(now.0 + ROOT_LIFE.0 as i64) })
    }

    /// A root that was made earlier. A key of another certificate is refused.
    pub fn from_pem(cert_pem: &str, key_pem: &str) -> Result<Root, IdentityError> {
        let (key, not_after) = pair("the root", cert_pem, key_pem)?;
        Ok(Root { cert_pem: cert_pem.to_owned(), key, not_after })
    }

    /// What everybody in the mesh trusts.
    #[must_use]
    pub fn cert_pem(&self) -> &str {
        &self.cert_pem
    }

    /// The root's private key. Whoever has it can be anybody in the mesh.
    #[must_use]
    pub fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }

    /// A new issuer, which ends with its root at the latest; `name` tells its subject apart from other issuers'.
    pub fn issuer(&self, name: &str, now: WallTime) -> Result<Issuer, IdentityError> {
        let key = KeyPair::generate()?;
        let (cert_pem, not_after) = self.issuer_certificate(&key, name, now)?;
        Ok(Issuer { cert_pem, key, not_after })
    }

    /// The certificate of an issuer whose key stays where it was made: what its request asks for by name is
    /// left out.
    pub fn certify(&self, csr_pem: &str, name: &str, now: WallTime) -> Result<String, IdentityError> {
        let request = CertificateSigningRequestParams::from_pem(csr_pem).map_err(|error| IdentityError::malformed("the issuer's request", error))?;
        Ok(self.issuer_certificate(&request.public_key, name, now)?.0)
    }

    /// Whether this is the key of that certificate.
    #[must_use]
    pub fn is_key_of(key_pem: &str, cert_pem: &str) -> bool {
        KeyPair::from_pem(key_pem).is_ok_and(|key| super::peer::public_key(cert_pem).is_ok_and(|public| public == key.public_key_raw()))
    }

    fn issuer_certificate(&self, key: &impl PublicKeyData, name: &str, now: WallTime) -> Result<(String, WallTime), IdentityError> {
        // Nobody who verifies a chain looks at the end of the root it trusts: it is kept here.
        let not_after = WallTime(now.0.saturating_add(ISSUER_LIFE.0 as i64)).min(self.not_after);
        if not_after <= now {
            return Err(IdentityError::malformed("the mesh's root", "it has expired: make a new one and rotate to it"));
        }
        let life = Millis(not_after.0.abs_diff(now.0));
        let params = authority_params(&format!("Mainstay issuer {name} {}", random::token(4)), now, life, BasicConstraints::Constrained(0));
        let signer = rcgen::Issuer::from_ca_cert_pem(&self.cert_pem, &self.key)?;
        Ok((params.signed_by(key, &signer)?.pem(), not_after))
    }
}

impl Issuer {
    /// An issuer that was made earlier. A key of another certificate is refused.
    pub fn from_pem(cert_pem: &str, key_pem: &str) -> Result<Issuer, IdentityError> {
        let (key, not_after) = pair("the issuer", cert_pem, key_pem)?;
        Ok(Issuer { cert_pem: cert_pem.to_owned(), key, not_after })
    }

    /// Goes with every leaf that it signs.
    #[must_use]
    pub fn cert_pem(&self) -> &str {
        &self.cert_pem
    }

    /// When it ends: what it signs ends by then.
    #[must_use]
    pub fn not_after(&self) -> WallTime {
        self.not_after
    }

    /// Whether this is its private key.
    #[must_use]
    pub fn has_key(&self, key_pem: &str) -> bool {
        KeyPair::from_pem(key_pem).is_ok_and(|key| key.public_key_raw() == self.key.public_key_raw())
    }

    /// Whether less than a third of its life is left: time to have the next one signed.
    #[must_use]
    pub fn is_near_its_end(&self, now: WallTime) -> bool {
        now.0.saturating_add_unsigned(ISSUER_LIFE.0 / 3) > self.not_after.0
    }

    /// The issuer's private key. Whoever has it can be anybody until the issuer ends.
    #[must_use]
    pub fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }

    /// Signs a request for an identity: the chain (leaf, issuer) as PEM. The request proves that its sender
    /// has the key; whatever else it asks for is left out.
    pub fn issue(&self, csr_pem: &str, mesh: &MeshName, identity: &Identity, now: WallTime, life: Millis) -> Result<String, IdentityError> {
        let request =
            CertificateSigningRequestParams::from_pem(csr_pem).map_err(|error| IdentityError::malformed("the certificate request", error))?;
        let end = WallTime(now.0.saturating_add(life.0 as i64)).min(self.not_after);
        if end <= now {
            return Err(IdentityError::malformed("this coordinator's issuer", "it has expired: replace it with one that the root key signs"));
        }
        let mut params = CertificateParams::default();
        params.distinguished_name = named(&identity.to_string());
        params.not_before = moment(WallTime(now.0 - BACKDATED.0 as i64))?;
        params.not_after = moment(end)?;
        params.serial_number = Some(serial());
        params.subject_alt_names = vec![SanType::URI(identity.uri(mesh).as_str().try_into()?)];
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        if matches!(identity, Identity::Coordinator(_)) {
            params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
        }
        params.use_authority_key_identifier_extension = true;
        let signer = rcgen::Issuer::from_ca_cert_pem(&self.cert_pem, &self.key)?;
        let leaf = params.signed_by(&request.public_key, &signer)?;
        Ok(format!("{}{}", leaf.pem(), self.cert_pem))
    }
}

/// A key that belongs to its certificate, and the certificate's end: what a mixed pair signs, nobody takes.
fn pair(what: &'static str, cert_pem: &str, key_pem: &str) -> Result<(KeyPair, WallTime), IdentityError> {
    let key = KeyPair::from_pem(key_pem)?;
    let (_, not_after) = super::peer::validity(cert_pem)?;
    if super::peer::public_key(cert_pem)? != key.public_key_raw() {
        return Err(IdentityError::malformed(what, "its key and its certificate do not belong together: restore both from one place"));
    }
    Ok((key, not_after))
}

fn authority_params(subject: &str, now: WallTime, life: Millis, path: BasicConstraints) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = named(subject);
    // Dates within these lifetimes always exist; the fallbacks are rcgen's own defaults.
    params.not_before = moment(WallTime(now.0 - BACKDATED.0 as i64)).unwrap_or(params.not_before);
    params.not_after = moment(WallTime(now.0 + life.0 as i64)).unwrap_or(params.not_after);
    params.serial_number = Some(serial());
    params.is_ca = IsCa::Ca(path);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.use_authority_key_identifier_extension = true;
    params
}

fn named(subject: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, subject);
    name
}

/// 127 random bits, positive as RFC 5280 wants.
fn serial() -> SerialNumber {
    let mut bytes = [random::number().to_be_bytes(), random::number().to_be_bytes()].concat();
    bytes[0] = (bytes[0] & 0x7f) | 0x01;
    SerialNumber::from_slice(&bytes)
}

fn moment(wall: WallTime) -> Result<OffsetDateTime, IdentityError> {
    OffsetDateTime::from_unix_timestamp(wall.0.div_euclid(1_000)).map_err(|error| IdentityError::malformed("a date", error))
}
