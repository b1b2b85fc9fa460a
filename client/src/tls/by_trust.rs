//! Which of several own certificates a caller is shown, while one root takes the place of another: the first
//! whose root the caller says it trusts.

use std::sync::Arc;

use mainstay_core::state::trust::RootId;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::CertificateDer;

use super::config::{chain, key, provider};
use crate::identity::{Bundle, IdentityError, Roots};

/// A newcomer knows a root by its digest only, and asks for it by this name: `ROOT.root.mainstay.invalid`.
const ROOT_NAME: &str = ".root.mainstay.invalid";

/// The server name by which a newcomer asks for a certificate of the root that it pins.
#[must_use]
pub fn name_of_root(root_sha256: &str) -> String {
    format!("{}{ROOT_NAME}", root_sha256.get(..16).unwrap_or(root_sha256))
}

/// Own certificates, those of newer roots first.
#[derive(Debug)]
pub struct ByTrust {
    leaves: Vec<Leaf>,
}

#[derive(Debug)]
struct Leaf {
    root: Option<(RootId, Vec<u8>)>,
    certified: Arc<CertifiedKey>,
}

impl ByTrust {
    /// `shows_root`: the root goes with the chain, for those who know its digest only.
    pub fn new(bundles: &[&Bundle], roots: &Roots, shows_root: bool) -> Result<ByTrust, IdentityError> {
        let leaf = |bundle: &&Bundle| -> Result<Leaf, IdentityError> {
            let mut shown = chain(bundle)?;
            let root = roots.of_chain(&shown);
            if shows_root {
                shown.extend(root.map_or_else(|| super::verify::certificates(&bundle.roots_pem), |root| super::verify::certificates(&root.pem))?);
            }
            let root = root.map(|root| (root.id, root.subject().to_vec()));
            Ok(Leaf { root, certified: Arc::new(certified(shown, bundle)?) })
        };
        Ok(ByTrust { leaves: bundles.iter().map(leaf).collect::<Result<_, _>>()? })
    }
}

fn certified(chain: Vec<CertificateDer<'static>>, bundle: &Bundle) -> Result<CertifiedKey, IdentityError> {
    Ok(CertifiedKey::from_der(chain, key(bundle)?, &provider())?)
}

impl ResolvesServerCert for ByTrust {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let pinned = hello.server_name().and_then(|name| name.strip_suffix(ROOT_NAME)).and_then(|id| id.parse::<RootId>().ok());
        let trusted = hello.certificate_authorities();
        let fits = |leaf: &&Leaf| match (&leaf.root, pinned, trusted) {
            (Some((id, _)), Some(pinned), _) => *id == pinned,
            (Some((_, subject)), None, Some(names)) => names.iter().any(|name| name.as_ref() == subject.as_slice()),
            _ => false,
        };
        // Who does not say what it trusts, and who trusts none of these, is most likely of before the newer ones.
        self.leaves.iter().find(fits).or(self.leaves.last()).map(|leaf| leaf.certified.clone())
    }
}
