//! The way to a declared system: its socket, and TLS on it.
//!
//! In: a connection. Out: a stream that is open, or why there is none, told apart by whether the system was
//! looked at: what this agent could not even ask says nothing about the system. Secrets are not this module's.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use mainstay_client::files;
use rustls::RootCertStore;
use rustls::client::{ClientConfig, danger::ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;
use zeroize::Zeroizing;

use super::{Context, OutgoingError, outgoing, trust};
use crate::connections::{Connection, Place, TlsMode};

/// A PEM file is not larger than this.
const PEM_MAX: u64 = 4 << 20;

/// A socket in plain text.
pub(super) type Socket = Either<TcpStream, UnixStream>;

/// Why there is no stream.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum DialError {
    /// Nobody was asked: settings or files of this agent are in the way.
    #[error("not asked: {0}")]
    NotAsked(String),
    /// The system does not answer as it should.
    #[error("{0}")]
    Down(String),
}

impl From<OutgoingError> for DialError {
    fn from(error: OutgoingError) -> DialError {
        match error {
            OutgoingError::Refused { .. } | OutgoingError::NotAnAddress(_) => DialError::NotAsked(error.to_string()),
            other => DialError::Down(other.to_string()),
        }
    }
}

/// An open socket, in plain text.
///
/// # Errors
/// Why there is none.
pub(super) async fn socket(connection: &Connection, context: &Context, within: Duration) -> Result<Socket, DialError> {
    Ok(match &connection.address.place {
        Place::Tcp { host, port } => Either::Left(context.outgoing.declared(host).connect(host, *port, within).await?),
        Place::Socket(path) => Either::Right(outgoing::connect_socket(path, within).await?),
        Place::Dir(_) | Place::Bucket(_) | Place::Cluster | Place::Mesh => {
            return Err(DialError::NotAsked(format!("{} has no socket", connection.address.place_in_words())));
        }
    })
}

/// An open socket to a server that the one of a connection names, such as another one of its cluster. That is declared only
/// where it is on the same host: elsewhere it goes where this agent may go without.
///
/// # Errors
/// Why there is none.
pub(super) async fn socket_named_by(
    connection: &Connection,
    host: &str,
    port: u16,
    context: &Context,
    within: Duration,
) -> Result<Socket, DialError> {
    let is_declared = matches!(&connection.address.place, Place::Tcp { host: declared, .. } if declared == host);
    let outgoing = if is_declared { context.outgoing.declared(host) } else { context.outgoing.clone() };
    Ok(Either::Left(outgoing.connect(host, port, within).await?))
}

/// TLS on a stream, as the connection wants it.
///
/// # Errors
/// Why the other side is not taken for what it should be.
pub(super) async fn encrypted(socket: Socket, connection: &Connection, context: &Context) -> Result<TlsStream<Socket>, DialError> {
    let config = tls_config(connection, context)?;
    let name = ServerName::try_from(server_name(connection)).map_err(|error| DialError::NotAsked(error.to_string()))?;
    let connected = TlsConnector::from(Arc::new(config)).connect(name, socket).await;
    connected.map_err(|error| DialError::Down(format!("TLS: {}", explain(&error, context))))
}

/// The name that the server is to prove.
pub(super) fn server_name(connection: &Connection) -> String {
    match (&connection.tls.server_name, &connection.address.place) {
        (Some(name), _) => name.clone(),
        (None, Place::Tcp { host, .. }) => host.clone(),
        (None, Place::Socket(_) | Place::Dir(_) | Place::Bucket(_) | Place::Cluster | Place::Mesh) => "localhost".to_owned(),
    }
}

/// Whom to trust and what to show.
///
/// # Errors
/// A file that cannot be used.
pub(super) fn tls_config(connection: &Connection, context: &Context) -> Result<ClientConfig, DialError> {
    let tls = &connection.tls;
    let verifier: Arc<dyn ServerCertVerifier> = if tls.mode == TlsMode::Require {
        Arc::new(trust::AnyServer::default())
    } else {
        roots(connection, context).and_then(trust::verifier).map_err(DialError::NotAsked)?
    };
    let shown = tls.client.as_ref().map(|(cert, key)| own(cert, key)).transpose().map_err(DialError::NotAsked)?;
    match shown {
        None => trust::client(verifier),
        Some((chain, key)) => trust::client_with(verifier, chain, key),
    }
    .map_err(DialError::NotAsked)
}

/// The authorities that a server's chain must end in.
///
/// # Errors
/// In words, when a file cannot be used.
pub(super) fn roots(connection: &Connection, context: &Context) -> Result<RootCertStore, String> {
    let Some(path) = &connection.tls.ca else { return trust::roots(context) };
    let mut roots = RootCertStore::empty();
    trust::add_pem(&mut roots, &read(path)?, &path.display().to_string())?;
    Ok(roots)
}

/// Certificate and key of this side.
fn own(cert: &Path, key: &Path) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), String> {
    let (cert_text, key_text) = (read(cert)?, read(key)?);
    let chain: Vec<_> = CertificateDer::pem_slice_iter(cert_text.as_bytes()).flatten().collect();
    if chain.is_empty() {
        return Err(format!("there is no certificate in {}", cert.display()));
    }
    let key = PrivateKeyDer::from_pem_slice(key_text.as_bytes()).map_err(|_| format!("there is no private key in {}", key.display()))?;
    Ok((chain, key))
}

fn read(path: &Path) -> Result<Zeroizing<String>, String> {
    files::read_text(path, PEM_MAX).map(Zeroizing::new).map_err(|error| format!("{}: {}", path.display(), outgoing::plain_cause(&error)))
}

/// Why a handshake failed.
pub(super) fn explain(error: &(dyn std::error::Error + 'static), context: &Context) -> String {
    if let Some(tls) = trust::find::<rustls::Error>(error) {
        return trust::explain(tls, context.host.wall());
    }
    match trust::find::<std::io::Error>(error) {
        Some(io) if io.kind() == std::io::ErrorKind::UnexpectedEof => "the connection was closed in the handshake; does it speak TLS?".to_owned(),
        Some(io) => outgoing::plain_cause(io),
        None => trust::root_cause(error),
    }
}
