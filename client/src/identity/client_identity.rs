//! An identity in use: it can be replaced while connections are open; new ones take the new certificate.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use mainstay_core::Identity;
use mainstay_core::id::MeshName;
use rustls::{ClientConfig, ServerConfig};

use super::{Bundle, IdentityError};
use crate::clock::{Clock, SystemClock};
use crate::tls;

/// A key, its certificate and the roots that its holder trusts, ready for both sides of a connection.
#[derive(Clone)]
pub struct ClientIdentity {
    current: Arc<ArcSwap<Current>>,
    clock: Arc<dyn Clock>,
}

struct Current {
    bundle: Bundle,
    mesh: MeshName,
    identity: Identity,
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
    enrolment: Arc<ServerConfig>,
}

impl Current {
    fn of(bundle: Bundle, clock: &Arc<dyn Clock>) -> Result<Current, IdentityError> {
        let (mesh, identity) = bundle.identity()?;
        Ok(Current {
            client: Arc::new(tls::client_config(&bundle, &mesh, clock)?),
            server: Arc::new(tls::server_config(&bundle, &mesh, clock)?),
            enrolment: Arc::new(tls::enrolment_config(&bundle)?),
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
        let current = Current::of(bundle, &clock)?;
        Ok(ClientIdentity { current: Arc::new(ArcSwap::from_pointee(current)), clock })
    }

    /// Connections made from here on use this key and these roots. When they do not fit together, the former
    /// ones stay in use.
    pub fn replace(&self, bundle: Bundle) -> Result<(), IdentityError> {
        self.current.store(Arc::new(Current::of(bundle, &self.clock)?));
        Ok(())
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
