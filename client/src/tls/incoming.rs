//! The accept loop: each handshake in its own task, bounded in number and time.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::Stream;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::WaitForCancellationFutureOwned;
use tonic::transport::server::Connected;

use super::connections::{Connections, Entry};
use crate::identity::{ClientIdentity, PeerIdentity, Roots};
use crate::network::{Listener, Socket};

/// Bytes that are read from a caller who has been refused: more than one sends before it reads the refusal.
const SEEN_OFF_MAX: usize = 256 << 10;

/// What one listener takes on.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// How long a handshake may take; after that the connection is dropped.
    pub handshake: Duration,
    /// Handshakes under way; further callers wait in the system's own queue.
    pub handshakes_at_once: usize,
    /// Open connections of one identity; one more is refused.
    pub connections_per_identity: usize,
}

impl Default for Limits {
    /// A client needs one connection, and one more while it moves to a new certificate; a fleet that comes
    /// back at once is taken in as fast as two cores can do handshakes.
    fn default() -> Limits {
        Limits { handshake: Duration::from_secs(5), handshakes_at_once: 256, connections_per_identity: 64 }
    }
}

/// Who is at the other end; in the extensions of every request.
#[derive(Debug, Clone)]
pub struct PeerInfo {
    /// Nobody on the enrolment listener.
    pub peer: Option<PeerIdentity>,
    /// Where the connection comes from.
    pub remote: SocketAddr,
}

/// An accepted connection.
pub struct TlsConnection {
    stream: TlsStream<Socket>,
    info: PeerInfo,
    ended: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    _entry: Option<Entry>,
}

/// Connections with a certificate of the mesh.
pub fn incoming(
    listener: Listener,
    identity: ClientIdentity,
    connections: Connections,
    limits: Limits,
) -> impl Stream<Item = io::Result<TlsConnection>> + Send + Unpin {
    accept(listener, identity, Some(connections), limits)
}

/// Connections without one.
pub fn enrol_incoming(listener: Listener, identity: ClientIdentity, limits: Limits) -> impl Stream<Item = io::Result<TlsConnection>> + Send + Unpin {
    accept(listener, identity, None, limits)
}

/// The listener belongs to the stream, and to no task of its own: whoever drops the stream can listen there again at
/// once.
fn accept(
    listener: Listener,
    identity: ClientIdentity,
    connections: Option<Connections>,
    limits: Limits,
) -> impl Stream<Item = io::Result<TlsConnection>> + Send + Unpin {
    Box::pin(futures::stream::unfold((listener, JoinSet::new()), move |(listener, mut handshakes)| {
        let (identity, connections) = (identity.clone(), connections.clone());
        async move {
            loop {
                let accepted = tokio::select! {
                    Some(done) = handshakes.join_next() => match done {
                        Ok(Some(connection)) => return Some((Ok(connection), (listener, handshakes))),
                        // Refused, which was logged where it was; a panic has been reported by its own means.
                        Ok(None) | Err(_) => continue,
                    },
                    accepted = listener.accept(), if handshakes.len() < limits.handshakes_at_once => accepted,
                };
                match accepted {
                    Ok((socket, remote)) => {
                        handshakes.spawn(within(socket, remote, connections.clone(), identity.clone(), limits));
                    }
                    Err(error) => {
                        // Out of descriptors, most likely: those that are open will end.
                        tracing::warn!(%error, "cannot accept a connection");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                }
            }
        }
    }))
}

/// A handshake in the time that it may take; nothing when it came to nothing.
async fn within(
    socket: Socket,
    remote: SocketAddr,
    connections: Option<Connections>,
    identity: ClientIdentity,
    limits: Limits,
) -> Option<TlsConnection> {
    // Taken anew for each connection, so that a renewed certificate is used at once.
    let roots = identity.roots();
    let config = if connections.is_some() { identity.server_config() } else { identity.enrolment_config() };
    match tokio::time::timeout(limits.handshake, handshake(socket, remote, (config, roots), connections, &identity, limits)).await {
        Ok(Ok(connection)) => Some(connection),
        Ok(Err(error)) => {
            tracing::info!(%remote, %error, "connection refused");
            None
        }
        Err(_) => {
            tracing::info!(%remote, "no handshake within {:?}", limits.handshake);
            None
        }
    }
}

async fn handshake(
    socket: Socket,
    remote: SocketAddr,
    (config, roots): (Arc<ServerConfig>, Roots),
    connections: Option<Connections>,
    identity: &ClientIdentity,
    limits: Limits,
) -> io::Result<TlsConnection> {
    let stream = match TlsAcceptor::from(config).accept(socket).into_fallible().await {
        Ok(stream) => stream,
        Err((error, mut socket)) => {
            see_off(&mut socket).await;
            return Err(error);
        }
    };
    let Some(connections) = connections else {
        return Ok(TlsConnection { stream, info: PeerInfo { peer: None, remote }, ended: None, _entry: None });
    };
    let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let leaf = chain.first().ok_or_else(|| io::Error::other("the caller showed no certificate"))?;
    let peer = PeerIdentity::of(leaf, identity.clock().wall()).map_err(io::Error::other)?;
    // By what was trusted when the certificate was verified.
    let root = roots.of_chain(chain).map(|root| root.id).or_else(|| identity.root_of(chain));
    let peer = PeerIdentity { root, ..peer };
    let Some(entry) = connections.enter(&peer.identity, root, limits.connections_per_identity) else {
        let mut stream = stream;
        see_off(&mut stream).await;
        return Err(io::Error::other(format!("{} has {} connections already", peer.identity, limits.connections_per_identity)));
    };
    // Retired since then: whoever ended the connections under it did not see this one.
    if root.is_some_and(|root| !identity.roots().contains(root)) {
        let mut stream = stream;
        see_off(&mut stream).await;
        return Err(io::Error::other(format!("the root of the certificate of {} is not trusted any more", peer.identity)));
    }
    let ended = Some(Box::pin(entry.ended().cancelled_owned()));
    Ok(TlsConnection { stream, info: PeerInfo { peer: Some(peer), remote }, ended, _entry: Some(entry) })
}

/// Ends a connection so that the other end can read why. A socket that is closed with unread bytes in it resets
/// the connection, and the alert is lost with it; so it is read empty, for no longer than a handshake may take.
async fn see_off(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) {
    let mut unread = [0; 1024];
    let mut left = SEEN_OFF_MAX;
    // Nobody is left to tell about an error in here: the refusal itself is what is logged.
    if stream.shutdown().await.is_ok() {
        while let Ok(read @ 1..) = stream.read(&mut unread).await {
            left = left.saturating_sub(read);
            if left == 0 {
                return;
            }
        }
    }
}

impl TlsConnection {
    fn poll_ended(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.ended.as_mut().map(|ended| ended.as_mut().poll(cx)) {
            Some(Poll::Ready(())) => Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the caller was shut out")),
            _ => Ok(()),
        }
    }
}

impl Connected for TlsConnection {
    type ConnectInfo = PeerInfo;

    fn connect_info(&self) -> PeerInfo {
        self.info.clone()
    }
}

impl AsyncRead for TlsConnection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.poll_ended(cx)?;
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for TlsConnection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_ended(cx)?;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
