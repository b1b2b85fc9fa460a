//! The simulated network, as `mainstay_client::network` wants one.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::future::BoxFuture;
use mainstay_client::network::{Accept, Listener, Network, Socket};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{Mutex, oneshot};

use crate::kernel::{self, Call, Pipe};
use crate::trace;

pub struct Simulated;

impl Network for Simulated {
    fn connect(&self, address: String) -> BoxFuture<'static, io::Result<Socket>> {
        Box::pin(async move {
            let pipe = asked(|answer| Call::Connect { address, answer }).await?;
            Ok(Traced::of(pipe) as Socket)
        })
    }

    fn listen(&self, address: String) -> BoxFuture<'static, io::Result<Listener>> {
        Box::pin(async move {
            let door = asked(|answer| Call::Listen { address, answer }).await?;
            Ok(Box::new(Door { address: door.address, opened: Mutex::new(door.opened) }) as Listener)
        })
    }
}

/// The answer of the kernel of the machine that is being run.
async fn asked<T>(call: impl FnOnce(oneshot::Sender<io::Result<T>>) -> Call) -> io::Result<T> {
    let (answer, answered) = oneshot::channel();
    kernel::ask(&trace::machine().unwrap_or_default(), call(answer));
    answered.await.unwrap_or_else(|_| Err(io::ErrorKind::NetworkDown.into()))
}

struct Door {
    address: SocketAddr,
    opened: Mutex<tokio::sync::mpsc::Receiver<(Pipe, SocketAddr)>>,
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Door").field(&self.address).finish()
    }
}

impl Accept for Door {
    fn accept(&self) -> BoxFuture<'_, io::Result<(Socket, SocketAddr)>> {
        Box::pin(async move {
            let opened = self.opened.lock().await.recv().await;
            let (pipe, from) = opened.ok_or(io::ErrorKind::NetworkDown)?;
            Ok((Traced::of(pipe) as Socket, from))
        })
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}

/// A stream that tells the trace who read and wrote how much of what.
#[derive(Debug)]
struct Traced {
    pipe: Pipe,
    ends: u64,
}

impl Traced {
    fn of(pipe: Pipe) -> Box<Traced> {
        let ends = trace::hash(pipe.ends.as_bytes());
        Box::new(Traced { pipe, ends })
    }

    /// What is wrong with the connection, instead of an end that looks as if it had been meant.
    fn why(&self, error: io::Error) -> io::Error {
        self.pipe.broken.why().map_or(error, io::Error::from)
    }
}

impl AsyncRead for Traced {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.pipe.bytes).poll_read(cx, buf))?;
        let read = &buf.filled()[before..];
        trace::count(&[1, self.ends, trace::hash(read)]);
        if read.is_empty()
            && let Some(why) = self.pipe.broken.why()
        {
            return Poll::Ready(Err(why.into()));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Traced {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.pipe.bytes).poll_write(cx, bytes)).map_err(|error| self.why(error))?;
        trace::count(&[2, self.ends, trace::hash(&bytes[..written])]);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe.bytes).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe.bytes).poll_shutdown(cx)
    }
}
