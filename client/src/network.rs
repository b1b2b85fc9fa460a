//! The seam to the network: streams to other machines, and listeners for them.
//!
//! They are the machine's own TCP, unless the process was given another network, which it is once and at its start.
#![allow(clippy::disallowed_methods, reason = "this module is the seam")]

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::OnceLock;

use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};

/// A stream of bytes to another machine and back.
pub trait Stream: AsyncRead + AsyncWrite + fmt::Debug + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + fmt::Debug + Send + Unpin> Stream for S {}

/// An open one.
pub type Socket = Box<dyn Stream>;

/// Takes in what others open.
pub trait Accept: fmt::Debug + Send + Sync {
    /// The next one, and where it comes from.
    fn accept(&self) -> BoxFuture<'_, io::Result<(Socket, SocketAddr)>>;

    /// Where others find it.
    ///
    /// # Errors
    /// When the machine does not say.
    fn local_addr(&self) -> io::Result<SocketAddr>;
}

/// One that is bound.
pub type Listener = Box<dyn Accept>;

/// A network other than the machine's own.
pub trait Network: Send + Sync {
    /// Opens a stream to `host:port`.
    fn connect(&self, address: String) -> BoxFuture<'static, io::Result<Socket>>;

    /// Listens on `host:port`.
    fn listen(&self, address: String) -> BoxFuture<'static, io::Result<Listener>>;
}

static OTHER: OnceLock<Box<dyn Network>> = OnceLock::new();

/// From here on, this process is on another network. Once for a process.
pub fn join(network: Box<dyn Network>) {
    // Whoever comes second stays on the first one's network.
    let _ = OTHER.set(network);
}

/// Opens a stream to `host:port`.
///
/// # Errors
/// When nobody is found there, or nobody answers.
pub async fn connect(address: &str) -> io::Result<Socket> {
    if let Some(network) = OTHER.get() {
        return network.connect(address.to_owned()).await;
    }
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(Box::new(stream))
}

/// Listens on `host:port`; port 0 takes a free one.
///
/// # Errors
/// When the address is taken, or is not this machine's.
pub async fn listen(address: &str) -> io::Result<Listener> {
    if let Some(network) = OTHER.get() {
        return network.listen(address.to_owned()).await;
    }
    Ok(Box::new(TcpListener::bind(address).await?))
}

impl Accept for TcpListener {
    fn accept(&self) -> BoxFuture<'_, io::Result<(Socket, SocketAddr)>> {
        Box::pin(async move {
            let (stream, from) = TcpListener::accept(self).await?;
            stream.set_nodelay(true)?;
            Ok((Box::new(stream) as Socket, from))
        })
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        TcpListener::local_addr(self)
    }
}
