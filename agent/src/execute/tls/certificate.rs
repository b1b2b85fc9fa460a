//! What a certificate says of itself.

use std::io::Read;
use std::path::Path;

use jiff::Timestamp;
use mainstay_core::{Millis, WallTime};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::oid_registry::{OID_PKCS1_MD5WITHRSAENC, OID_PKCS1_SHA1WITHRSA};
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::X509Name;

use super::FILE_BYTES;
use crate::execute::wording;
use crate::host::Host;

const DAY_S: f64 = 86_400.0;

/// Shortest RSA key that nobody can take apart.
const RSA_BITS_MIN: usize = 2_048;

/// Names and times of one certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::execute) struct Certificate {
    /// Common name, or the first name that it is for, or the whole subject.
    pub(super) name: String,
    /// The same of whoever issued it.
    pub(super) issued_by: String,
    /// Whom it is for and who issued it, as they are compared.
    pub(super) subject: Vec<u8>,
    pub(super) issuer: Vec<u8>,
    /// Seconds since the epoch.
    pub(super) not_before_s: i64,
    pub(super) not_after_s: i64,
    pub(super) self_signed: bool,
    /// Whether it says for which hosts it is, in the one place where clients look.
    pub(super) has_alternative_names: bool,
    /// Why nobody should trust it, whoever issued it.
    pub(super) weakness: Option<String>,
}

/// Every certificate of a PEM or DER file; none when it holds other things only.
pub(super) fn read(host: &Host, path: &Path) -> Result<Vec<Certificate>, String> {
    let mut bytes = Vec::new();
    let read = host.open(path).and_then(|file| file.take(FILE_BYTES).read_to_end(&mut bytes));
    read.map_err(|error| crate::execute::outgoing::plain_cause(&error))?;
    if bytes.windows(11).any(|window| window == b"-----BEGIN ") {
        let broken = |_| "a certificate in it cannot be read".to_owned();
        return CertificateDer::pem_slice_iter(&bytes)
            .map(|der| Certificate::parse(&der.map_err(|error| error.to_string())?).map_err(broken))
            .collect();
    }
    Certificate::parse(&bytes).map(|certificate| vec![certificate]).map_err(|_| "neither PEM nor DER".to_owned())
}

impl Certificate {
    /// Reads one in DER.
    pub(in crate::execute) fn parse(der: &[u8]) -> Result<Certificate, String> {
        let (_, certificate) = X509Certificate::from_der(der).map_err(|error| error.to_string())?;
        let (subject, issuer, validity) = (certificate.subject(), certificate.issuer(), certificate.validity());
        let name = common_name(subject).or_else(|| first_alternative(&certificate)).unwrap_or_else(|| subject.to_string());
        let plain = |name: String| name.chars().filter(|c| !c.is_control()).take(120).collect();
        Ok(Certificate {
            name: plain(name),
            issued_by: plain(common_name(issuer).unwrap_or_else(|| issuer.to_string())),
            subject: subject.as_raw().to_vec(),
            issuer: issuer.as_raw().to_vec(),
            not_before_s: validity.not_before.timestamp(),
            not_after_s: validity.not_after.timestamp(),
            self_signed: subject == issuer,
            has_alternative_names: matches!(certificate.subject_alternative_name(), Ok(Some(_))),
            weakness: weakness(&certificate),
        })
    }

    /// Whom it is for, in a word.
    pub(in crate::execute) fn name(&self) -> &str {
        &self.name
    }

    /// Days until it ends; negative once it has.
    pub(super) fn days_left(&self, now: WallTime) -> f64 {
        (self.not_after_s as f64 - now.0 as f64 / 1_000.0) / DAY_S
    }

    /// Whether it is valid at that time, going by its dates.
    pub(super) fn holds(&self, now: WallTime) -> bool {
        let now_s = now.0.div_euclid(1_000);
        self.not_before_s <= now_s && now_s <= self.not_after_s
    }

    pub(super) fn in_words(&self, now: WallTime) -> String {
        let now_s = now.0.div_euclid(1_000);
        let day =
            |seconds: i64| Timestamp::from_second(seconds).map_or_else(|_| "an unknown day".to_owned(), |time| time.strftime("%Y-%m-%d").to_string());
        let apart = |seconds: i64| wording::span(Millis(now_s.abs_diff(seconds).saturating_mul(1_000)));
        let when = if now_s > self.not_after_s {
            format!("expired {} ago, on {}", apart(self.not_after_s), day(self.not_after_s))
        } else if now_s < self.not_before_s {
            format!("not valid before {}, in {}", day(self.not_before_s), apart(self.not_before_s))
        } else {
            let days = self.days_left(now);
            let left = if days < 2.0 { apart(self.not_after_s) } else { format!("{} days", days.floor()) };
            format!("ends in {left}, on {}", day(self.not_after_s))
        };
        format!("{when} ({}{})", self.name, if self.self_signed { ", self-signed" } else { "" })
    }
}

fn common_name(name: &X509Name<'_>) -> Option<String> {
    name.iter_common_name().find_map(|name| name.as_str().ok()).filter(|name| !name.is_empty()).map(str::to_owned)
}

fn weakness(certificate: &X509Certificate<'_>) -> Option<String> {
    if let Ok(PublicKey::RSA(key)) = certificate.public_key().parsed() {
        // A modulus that has its first bit set is written with a zero before it, and without one by mistake.
        let bits = key.modulus.iter().skip_while(|byte| **byte == 0).count() * 8;
        if bits < RSA_BITS_MIN {
            return Some(format!("an RSA key of {bits} bits, and {RSA_BITS_MIN} are the least that is accepted"));
        }
    }
    let algorithm = &certificate.signature_algorithm.algorithm;
    let broken = [(OID_PKCS1_SHA1WITHRSA, "SHA-1"), (OID_PKCS1_MD5WITHRSAENC, "MD5")];
    let broken = broken.iter().find(|(oid, _)| oid == algorithm).filter(|_| certificate.subject() != certificate.issuer());
    broken.map(|(_, hash)| format!("a signature with {hash}, which can be forged"))
}

fn first_alternative(certificate: &X509Certificate<'_>) -> Option<String> {
    let names = &certificate.subject_alternative_name().ok()??.value.general_names;
    names.iter().find_map(|name| match name {
        GeneralName::DNSName(name) | GeneralName::URI(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => <[u8; 4]>::try_from(*bytes).ok().map(|bytes| std::net::Ipv4Addr::from(bytes).to_string()),
            16 => <[u8; 16]>::try_from(*bytes).ok().map(|bytes| std::net::Ipv6Addr::from(bytes).to_string()),
            _ => None,
        },
        _ => None,
    })
}
