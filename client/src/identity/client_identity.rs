//! An identity in use: it can be replaced while connections are open; new ones take the new certificate.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use mainstay_core::Identity;
use mainstay_core::id::MeshName;
use mainstay_core::state::trust::RootId;
use rustls::{ClientConfig, ServerConfig};
use rustls_pki_types::CertificateDer;
use tokio::sync::watch;

use super::{Bundle, IdentityError, Roots};
use crate::clock::{Clock, SystemClock};
use crate::tls;

/// A key, its certificate and the roots that its holder trusts, ready for both sides of a connection.
#[derive(Clone)]
pub struct ClientIdentity {
    current: Arc<ArcSwap<Current>>,
    clock: Arc<dyn Clock>,
    /// Counts replacements.
    replaced: Arc<watch::Sender<u64>>,
}

struct Current {
    bundle: Bundle,
    roots: Roots,
    trusts: String,
    mesh: MeshName,
    identity: Identity,
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
    enrolment: Arc<ServerConfig>,
}

impl Current {
    /// `beside`: further leaves of the same holder, each of another root, for callers who do not trust the
    /// first one's.
    fn of(bundle: Bundle, beside: &[Bundle], clock: &Arc<dyn Clock>) -> Result<Current, IdentityError> {
        let (mesh, identity) = bundle.identity()?;
        let roots = Roots::of(&bundle.roots_pem)?;
        let leaves: Vec<&Bundle> = std::iter::once(&bundle).chain(beside).collect();
        Ok(Current {
            client: Arc::new(tls::client_config(&bundle, &mesh, clock)?),
            server: Arc::new(tls::server_config(&leaves, &roots, &mesh, clock)?),
            enrolment: Arc::new(tls::enrolment_config(&leaves, &roots)?),
            trusts: roots.words(),
            roots,
            bundle,
            mesh,
            identity,
        })
    }
}

impl ClientIdentity {
    /// Checks that key, chain and roots fit together. Certificates count by the machine's clock.
    pub fn new(bundle: Bundle) -> Result<ClientIdentity, IdentityError> {
        ClientIdentity::with_clock(bundle, Arc::new(SystemClock))
    }

    /// `clock` decides which certificates are in force.
    pub fn with_clock(bundle: Bundle, clock: Arc<dyn Clock>) -> Result<ClientIdentity, IdentityError> {
        let current = Current::of(bundle, &[], &clock)?;
        Ok(ClientIdentity { current: Arc::new(ArcSwap::from_pointee(current)), clock, replaced: Arc::default() })
    }

    /// Connections made from here on use this key and these roots. When they do not fit together, the former
    /// ones stay in use.
    pub fn replace(&self, bundle: Bundle) -> Result<(), IdentityError> {
        self.replace_all(bundle, &[])
    }

    /// As [`ClientIdentity::replace`], with further leaves, each of another root, newer roots before older
    /// ones: whoever connects is shown the first whose root it says it trusts, and else the last.
    pub fn replace_all(&self, bundle: Bundle, beside: &[Bundle]) -> Result<(), IdentityError> {
        self.current.store(Arc::new(Current::of(bundle, beside, &self.clock)?));
        self.replaced.send_modify(|count| *count += 1);
        Ok(())
    }

    /// Changes with each replacement.
    #[must_use]
    pub fn replacements(&self) -> watch::Receiver<u64> {
        self.replaced.subscribe()
    }

    /// The roots that it trusts.
    #[must_use]
    pub fn roots(&self) -> Roots {
        self.current.load().roots.clone()
    }

    /// The same, as they are told on the wire.
    #[must_use]
    pub fn trusts(&self) -> String {
        self.current.load().trusts.clone()
    }

    /// The root that the chain of another end leads to, which has been verified by these roots.
    pub(crate) fn root_of(&self, chain: &[CertificateDer<'_>]) -> Option<RootId> {
        self.current.load().roots.of_chain(chain).map(|root| root.id)
    }

    /// Whom the certificate names.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.current.load().identity.clone()
    }

    /// The mesh that it belongs to.
    #[must_use]
    pub fn mesh(&self) -> MeshName {
        self.current.load().mesh.clone()
    }

    /// What is in use now, private key included.
    #[must_use]
    pub fn bundle(&self) -> Bundle {
        self.current.load().bundle.clone()
    }

    /// The clock that decides which certificates are in force.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    pub(crate) fn client_config(&self) -> Arc<ClientConfig> {
        self.current.load().client.clone()
    }

    pub(crate) fn server_config(&self) -> Arc<ServerConfig> {
        self.current.load().server.clone()
    }

    pub(crate) fn enrolment_config(&self) -> Arc<ServerConfig> {
        self.current.load().enrolment.clone()
    }
}

impl fmt::Debug for ClientIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ClientIdentity").field(&self.identity().to_string()).finish()
    }
}
