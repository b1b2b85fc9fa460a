//! What a certificate says of itself.

use std::io::Read;
use std::path::Path;

use jiff::Timestamp;
use mainstay_core::{Millis, WallTime};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use super::FILE_BYTES;
use crate::execute::wording;
use crate::host::Host;

const DAY_S: f64 = 86_400.0;

/// Names and times of one certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Certificate {
    /// Common name, or the first name that it is for, or the whole subject.
    pub(super) name: String,
    /// Seconds since the epoch.
    pub(super) not_before_s: i64,
    pub(super) not_after_s: i64,
    pub(super) self_signed: bool,
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
    pub(super) fn parse(der: &[u8]) -> Result<Certificate, String> {
        let (_, certificate) = X509Certificate::from_der(der).map_err(|error| error.to_string())?;
        let common_name = certificate.subject().iter_common_name().find_map(|name| name.as_str().ok()).map(str::to_owned);
        let name = common_name
            .filter(|name| !name.is_empty())
            .or_else(|| first_alternative(&certificate))
            .unwrap_or_else(|| certificate.subject().to_string());
        let validity = certificate.validity();
        Ok(Certificate {
            name: name.chars().filter(|c| !c.is_control()).take(120).collect(),
            not_before_s: validity.not_before.timestamp(),
            not_after_s: validity.not_after.timestamp(),
            self_signed: certificate.subject() == certificate.issuer(),
        })
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
