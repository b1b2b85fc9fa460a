//! Roots, told apart: by a short digest for people and the wire, by their subject in a chain.

use mainstay_core::state::trust::RootId;
use mainstay_core::time::WallTime;
use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::IdentityError;
use super::peer::{certificates, sha256};

/// One root certificate, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootCertificate {
    pub id: RootId,
    pub pem: String,
    pub ends: WallTime,
    /// The whole digest, as a join token pins it.
    pub sha256: String,
    subject: Vec<u8>,
}

/// The roots of one bundle.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Roots {
    all: Vec<RootCertificate>,
}

impl Roots {
    /// All certificates of a PEM text, in its order.
    pub fn of(pem_text: &str) -> Result<Roots, IdentityError> {
        let all = certificates(pem_text)?.iter().map(RootCertificate::of).collect::<Result<_, _>>()?;
        Ok(Roots { all })
    }

    /// All of them, in the order of the text.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &RootCertificate> {
        self.all.iter()
    }

    #[must_use]
    pub fn contains(&self, id: RootId) -> bool {
        self.all.iter().any(|root| root.id == id)
    }

    /// All of them as PEM.
    #[must_use]
    pub fn pem(&self) -> String {
        self.all.iter().map(|root| root.pem.as_str()).collect()
    }

    /// Their ids, sorted.
    #[must_use]
    pub fn ids(&self) -> Vec<RootId> {
        let mut ids: Vec<RootId> = self.all.iter().map(|root| root.id).collect();
        ids.sort_unstable();
        ids
    }

    /// As they are told on the wire: ids with commas between.
    #[must_use]
    pub fn words(&self) -> String {
        self.ids().iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
    }

    /// The root to which a chain leads that has been verified: the one that its last certificate names as its
    /// issuer. One subject name is one authority's only.
    #[must_use]
    pub fn of_chain(&self, chain: &[CertificateDer<'_>]) -> Option<&RootCertificate> {
        let (_, last) = X509Certificate::from_der(chain.last()?).ok()?;
        let issuer = last.issuer().as_raw();
        self.all.iter().find(|root| root.subject == issuer)
    }

    /// As [`Roots::of_chain`], for PEM.
    #[must_use]
    pub fn of_chain_pem(&self, chain_pem: &str) -> Option<&RootCertificate> {
        self.of_chain(&certificates(chain_pem).ok()?)
    }
}

impl RootCertificate {
    /// The one root of a PEM text.
    pub fn read(pem_text: &str) -> Result<RootCertificate, IdentityError> {
        let wrong = |problem: &str| IdentityError::malformed("the root certificate", problem);
        let found = certificates(pem_text)?;
        let [der] = found.as_slice() else { return Err(wrong("there should be one certificate in it, and there are several")) };
        let (_, certificate) = X509Certificate::from_der(der).map_err(|error| IdentityError::malformed("the root certificate", error))?;
        let signs = certificate.basic_constraints().ok().flatten().is_some_and(|constraints| constraints.value.ca);
        if !signs || certificate.issuer().as_raw() != certificate.subject().as_raw() {
            return Err(wrong("it is not the certificate of an authority that signed itself; `mainstay mesh root new` makes one"));
        }
        RootCertificate::of(der)
    }

    fn of(der: &CertificateDer<'_>) -> Result<RootCertificate, IdentityError> {
        let (_, certificate) = X509Certificate::from_der(der).map_err(|error| IdentityError::malformed("the root certificate", error))?;
        let digest = sha256(der);
        // Sixteen hexadecimal digits always are a number of 64 bits.
        let id = digest.get(..16).and_then(|short| short.parse().ok()).unwrap_or(RootId(0));
        let ends = WallTime(certificate.validity().not_after.timestamp().saturating_mul(1_000));
        let subject = certificate.subject().as_raw().to_vec();
        let pem = pem::encode_config(&pem::Pem::new("CERTIFICATE", der.to_vec()), pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF));
        Ok(RootCertificate { id, pem, ends, sha256: digest, subject })
    }

    /// The subject, as certificates under it name it.
    pub(crate) fn subject(&self) -> &[u8] {
        &self.subject
    }
}

/// Ids as [`Roots::words`] writes them; what is none is left out, and so is what nobody would need.
#[must_use]
pub fn ids_of(words: &str) -> Vec<RootId> {
    let mut ids: Vec<RootId> = words.split(',').take(mainstay_core::bounds::ROOTS).filter_map(|id| id.trim().parse().ok()).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

#[cfg(test)]
mod tests {
    use mainstay_core::id::MeshName;

    use super::super::{LEAF_LIFE, NewKey, Root, root_sha256};
    use super::*;

    const NOW: WallTime = WallTime(1_790_000_000_000);

    #[test]
    fn a_chain_is_told_by_the_root_that_it_leads_to() {
        let mesh: MeshName = "local".parse().unwrap();
        let (old, new) = (Root::create(&mesh, NOW).unwrap(), Root::create(&mesh, NOW).unwrap());
        let roots = Roots::of(&format!("{}{}", old.cert_pem(), new.cert_pem())).unwrap();
        let id = |root: &Root| RootCertificate::read(root.cert_pem()).unwrap().id;
        assert!(roots.contains(id(&old)) && roots.contains(id(&new)) && id(&old) != id(&new));
        assert!(root_sha256(old.cert_pem()).unwrap().starts_with(&id(&old).to_string()));
        assert_eq!(ids_of(&format!("{}, x", roots.words())), roots.ids());
        for root in [&old, &new] {
            let issuer = root.issuer("c1", NOW).unwrap();
            let csr = NewKey::generate().unwrap().csr_pem().unwrap();
            let chain = issuer.issue(&csr, &mesh, &"operator/ana".parse().unwrap(), NOW, LEAF_LIFE).unwrap();
            assert_eq!(roots.of_chain_pem(&chain).unwrap().id, id(root));
        }
        let read = RootCertificate::read(new.cert_pem()).unwrap();
        assert_eq!(Roots::of(&read.pem).unwrap().ids(), [read.id], "it is the same when it is written again");
    }

    #[test]
    fn only_a_root_is_taken_for_one() {
        let mesh: MeshName = "local".parse().unwrap();
        let root = Root::create(&mesh, NOW).unwrap();
        let issuer = root.issuer("c1", NOW).unwrap();
        assert!(RootCertificate::read(issuer.cert_pem()).unwrap_err().to_string().contains("signed itself"));
        assert!(RootCertificate::read(&format!("{0}{0}", root.cert_pem())).unwrap_err().to_string().contains("several"));
        assert!(RootCertificate::read("nothing").is_err());
    }
}
