//! The simulated network, as `mainstay_client::network` wants one.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use mainstay_client::network::{Accept, Listener, Network, Socket};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use turmoil::net::{TcpListener, TcpStream};

use crate::trace;

pub struct Simulated;

impl Network for Simulated {
    fn connect(&self, address: String) -> BoxFuture<'static, io::Result<Socket>> {
        Box::pin(async move {
            let stream = TcpStream::connect(address).await?;
            Ok(Traced::new(stream)? as Socket)
        })
    }

    fn listen(&self, address: String) -> BoxFuture<'static, io::Result<Listener>> {
        Box::pin(async move { Ok(Box::new(Door(TcpListener::bind(address).await?)) as Listener) })
    }
}

struct Door(TcpListener);

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Door").field(&self.0.local_addr()).finish()
    }
}

impl Accept for Door {
    fn accept(&self) -> BoxFuture<'_, io::Result<(Socket, SocketAddr)>> {
        Box::pin(async move {
            let (stream, from) = self.0.accept().await?;
            Ok((Traced::new(stream)? as Socket, from))
        })
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

/// A stream that tells the trace who read and wrote how much of what.
#[derive(Debug)]
struct Traced {
    stream: TcpStream,
    ends: u64,
}

impl Traced {
    fn new(stream: TcpStream) -> io::Result<Box<Traced>> {
        let ends = format!("{}-{}", stream.local_addr()?, stream.peer_addr()?);
        let ends = trace::hash(ends.as_bytes());
        Ok(Box::new(Traced { stream, ends }))
    }
}

impl AsyncRead for Traced {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        if polled.is_ready() {
            let read = trace::hash(&buf.filled()[before..]);
            trace::count(&[1, self.ends, read]);
        }
        polled
    }
}

impl AsyncWrite for Traced {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        if let Poll::Ready(Ok(written)) = &polled {
            trace::count(&[2, self.ends, trace::hash(&bytes[..*written])]);
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
