//! Roots, told apart: by a short digest for people and the wire, by their subject in a chain.

pub use mainstay_core::certificate::RootCertificate;
use mainstay_core::state::trust::RootId;
use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::IdentityError;
use super::peer::certificates;

/// The roots of one bundle.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Roots {
    all: Vec<RootCertificate>,
}

impl Roots {
    /// All certificates of a PEM text, in its order.
    pub fn of(pem_text: &str) -> Result<Roots, IdentityError> {
        let read = |der: &CertificateDer<'_>| RootCertificate::of(der).map_err(|error| IdentityError::malformed("the file of roots", error));
        let all = certificates(pem_text)?.iter().map(read).collect::<Result<_, _>>()?;
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
        self.all.iter().find(|root| root.subject() == issuer)
    }

    /// As [`Roots::of_chain`], for PEM.
    #[must_use]
    pub fn of_chain_pem(&self, chain_pem: &str) -> Option<&RootCertificate> {
        self.of_chain(&certificates(chain_pem).ok()?)
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
    use mainstay_core::WallTime;
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
}
