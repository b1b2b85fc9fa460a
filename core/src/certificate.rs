//! The certificate of a root, read. Whoever decides or asks reads it; what it says goes into a command, so that
//! applying an entry never reads one.

use pem::{EncodeConfig, LineEnding, Pem};
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::state::trust::RootId;
use crate::time::WallTime;

/// One root certificate, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootCertificate {
    pub id: RootId,
    /// As it is written everywhere, however it was given.
    pub pem: String,
    pub ends: WallTime,
    /// The whole digest, as a join token pins it.
    pub sha256: String,
    subject: Vec<u8>,
}

/// Why a text is not the certificate of a root.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this is not the certificate of a root: {0}")]
pub struct NotARoot(String);

impl RootCertificate {
    /// The one root of a PEM text.
    pub fn read(pem_text: &str) -> Result<RootCertificate, NotARoot> {
        let wrong = |problem: &str| NotARoot(problem.to_owned());
        let blocks = pem::parse_many(pem_text).map_err(|error| NotARoot(error.to_string()))?;
        let mut found = blocks.iter().filter(|block| block.tag() == "CERTIFICATE").map(Pem::contents);
        let der = found.next().ok_or_else(|| wrong("there is no certificate in it"))?;
        if found.next().is_some() {
            return Err(wrong("there should be one certificate in it, and there are several"));
        }
        let (_, certificate) = X509Certificate::from_der(der).map_err(|error| NotARoot(error.to_string()))?;
        let signs = certificate.basic_constraints().ok().flatten().is_some_and(|constraints| constraints.value.ca);
        if !signs || certificate.issuer().as_raw() != certificate.subject().as_raw() {
            return Err(wrong("it is not of an authority that signed itself; `mainstay mesh root new` makes one"));
        }
        RootCertificate::of(der)
    }

    /// One that is trusted already.
    pub fn of(der: &[u8]) -> Result<RootCertificate, NotARoot> {
        let (_, certificate) = X509Certificate::from_der(der).map_err(|error| NotARoot(error.to_string()))?;
        let sha256: String = Sha256::digest(der).iter().map(|byte| format!("{byte:02x}")).collect();
        // Sixteen hexadecimal digits always are a number of 64 bits.
        let id = sha256.get(..16).and_then(|short| short.parse().ok()).unwrap_or(RootId(0));
        let ends = WallTime(certificate.validity().not_after.timestamp().saturating_mul(1_000));
        let subject = certificate.subject().as_raw().to_vec();
        let pem = pem::encode_config(&Pem::new("CERTIFICATE", der.to_vec()), EncodeConfig::new().set_line_ending(LineEnding::LF));
        Ok(RootCertificate { id, pem, ends, sha256, subject })
    }

    /// The subject, as certificates under it name it.
    #[must_use]
    pub fn subject(&self) -> &[u8] {
        &self.subject
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: &str = include_str!("../tests/fixtures/root.pem");
    const LEAF: &str = include_str!("../tests/fixtures/leaf.pem");

    #[test]
    fn it_is_the_same_however_it_was_given() {
        let read = RootCertificate::read(ROOT).unwrap();
        assert!(read.sha256.starts_with(&read.id.to_string()));
        assert_eq!(RootCertificate::read(&format!("a word before\r\n{}", ROOT.replace('\n', "\r\n"))).unwrap(), read);
        assert_eq!(RootCertificate::read(ROOT.trim_end()).unwrap(), read, "as a shell hands it over");
        assert_eq!(RootCertificate::read(&read.pem).unwrap(), read);
    }

    #[test]
    fn only_a_root_is_taken_for_one() {
        let problem = |text: &str| RootCertificate::read(text).unwrap_err().to_string();
        assert!(problem(LEAF).contains("signed itself"));
        assert!(problem(&format!("{ROOT}{ROOT}")).contains("several"));
        assert!(problem("nothing").contains("there is no certificate in it"));
        assert!(problem("-----BEGIN CERTIFICATE-----\nbm90aGluZw==\n-----END CERTIFICATE-----\n").starts_with("this is not the certificate"));
    }
}
