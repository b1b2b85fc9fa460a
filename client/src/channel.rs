//! HTTP/2 channels over mutual TLS.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;

use crate::error::ConnectError;
use crate::identity::ClientIdentity;
use crate::network::{self, Socket};
use crate::tls;

/// How long opening a connection may take, handshake included.
const CONNECT: Duration = Duration::from_secs(3);
/// How often an idle connection is probed, and how long the answer may take: a dead peer shows in 15 s.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(5));

/// Connects to a coordinator as `identity`. Each new connection takes the identity's newest certificate.
pub async fn connect(address: &str, identity: &ClientIdentity) -> Result<Channel, ConnectError> {
    let identity = identity.clone();
    // Sent as SNI only; the verifier goes by SPIFFE ids.
    open(address, "mesh.mainstay.invalid", move || identity.client_config()).await
}

/// Connects to an enrolment listener, knowing only its root's digest.
pub async fn connect_pinned(address: &str, root_sha256: &str) -> Result<Channel, ConnectError> {
    let config = tls::pinned_config(root_sha256).map_err(|error| ConnectError::new(address, &error))?;
    let config = Arc::new(config);
    open(address, &tls::name_of_root(root_sha256), move || config.clone()).await
}

/// `config` is asked for each time the channel dials, which it does again by itself after a connection broke.
async fn open(address: &str, name: &str, config: impl Fn() -> Arc<ClientConfig> + Send + Sync + 'static) -> Result<Channel, ConnectError> {
    let target: Arc<str> = address.into();
    let name = ServerName::try_from(name.to_owned()).map_err(|error| ConnectError::new(address, &error))?;
    // The scheme is plain because TLS is done by the connector below; the name is not looked up.
    let endpoint = Endpoint::from_static("http://mesh.mainstay.invalid")
        .connect_timeout(CONNECT)
        .http2_keep_alive_interval(KEEPALIVE.0)
        .keep_alive_timeout(KEEPALIVE.1)
        .keep_alive_while_idle(true);
    let connector = service_fn(move |_: Uri| {
        let (target, name, config) = (target.clone(), name.clone(), config());
        async move { dial(&target, name, config).await.map(TokioIo::new) }
    });
    match tokio::time::timeout(CONNECT, endpoint.connect_with_connector(connector)).await {
        Ok(channel) => channel.map_err(|error| ConnectError::new(address, &error)),
        Err(_) => Err(ConnectError::new(address, &io::Error::new(io::ErrorKind::TimedOut, format!("no connection within {CONNECT:?}")))),
    }
}

async fn dial(address: &str, name: ServerName<'static>, config: Arc<ClientConfig>) -> io::Result<TlsStream<Socket>> {
    let socket = network::connect(address).await?;
    TlsConnector::from(config).connect(name, socket).await
}
