//! A certificate authority for one test.

use std::sync::Arc;

use mainstay_client::clock::{Clock, SystemClock};
use mainstay_client::identity::{Bundle, ClientIdentity, Issuer, LEAF_LIFE, NewKey, Root};
use mainstay_core::Identity;
use mainstay_core::id::MeshName;
use mainstay_core::time::WallTime;
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, KeyPair, SanType};

pub const COORDINATOR: &str = "coordinator/00000000000000aa";

pub struct Authority {
    pub mesh: MeshName,
    pub root: Root,
    pub issuer: Issuer,
}

pub fn identity(path: &str) -> Identity {
    path.parse().unwrap()
}

impl Authority {
    /// Made 60 days ago, so that leaves of any age within that can be issued.
    pub fn new(mesh: &str) -> Authority {
        mainstay_client::tls::install_provider();
        let mesh: MeshName = mesh.parse().unwrap();
        let made = days_ago(60);
        let root = Root::create(&mesh, made).unwrap();
        let issuer = root.issuer("00000000000000aa", made).unwrap();
        Authority { mesh, root, issuer }
    }

    /// A bundle whose leaf was issued at `at`.
    pub fn bundle_at(&self, path: &str, at: WallTime) -> Bundle {
        let key = NewKey::generate().unwrap();
        let chain = self.issuer.issue(&key.csr_pem().unwrap(), &self.mesh, &identity(path), at, LEAF_LIFE).unwrap();
        key.into_bundle(chain, self.root.cert_pem().to_owned())
    }

    pub fn bundle(&self, path: &str) -> Bundle {
        self.bundle_at(path, SystemClock.wall())
    }

    pub fn client(&self, path: &str) -> ClientIdentity {
        ClientIdentity::new(self.bundle(path)).unwrap()
    }

    pub fn client_with(&self, path: &str, clock: Arc<dyn Clock>) -> ClientIdentity {
        ClientIdentity::with_clock(self.bundle_at(path, clock.wall()), clock).unwrap()
    }

    /// A leaf that may serve whatever its name, as an authority outside of the mesh might issue it.
    pub fn server(&self, path: &str) -> ClientIdentity {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::URI(identity(path).uri(&self.mesh).as_str().try_into().unwrap())];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let (issuer_pem, issuer_key) = (self.issuer.cert_pem(), KeyPair::from_pem(&self.issuer.key_pem()).unwrap());
        let leaf = params.signed_by(&key, &rcgen::Issuer::from_ca_cert_pem(issuer_pem, issuer_key).unwrap()).unwrap();
        let chain_pem = format!("{}{issuer_pem}", leaf.pem());
        let roots_pem = self.root.cert_pem().to_owned();
        ClientIdentity::new(Bundle { key_pem: key.serialize_pem(), chain_pem, roots_pem }).unwrap()
    }

    pub fn coordinator(&self) -> ClientIdentity {
        self.client(COORDINATOR)
    }
}

/// The wall clock so many days ago.
pub fn days_ago(days: i64) -> WallTime {
    WallTime(SystemClock.wall().0 - days * 86_400_000)
}
