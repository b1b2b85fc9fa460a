//! A bounded pipe of bytes from who makes them to who reads them, which tells an end from a break: a writer that is gone
//! without a word has not come to the end.

use std::io::{self, BufRead};

use bytes::{Buf, Bytes};
use futures::stream::{BoxStream, StreamExt, unfold};
use tokio::sync::mpsc;
use tokio_util::io::StreamReader;

/// Size of what is passed on at a time: large enough to be cheap, small enough that a few of them are little.
pub(crate) const CHUNK: usize = 256 << 10;
/// So many wait at a time.
const DEPTH: usize = 8;

enum Said {
    Bytes(Bytes),
    End,
    Failed(io::Error),
}

/// The end that is written to.
#[derive(Clone)]
pub(crate) struct Mouth(mpsc::Sender<Said>);

/// The end that is read, in an async task. Dropping it stops who writes.
pub(crate) type Flow = StreamReader<BoxStream<'static, io::Result<Bytes>>, Bytes>;

/// The end that is read, in a thread.
pub(crate) struct Tap {
    queue: mpsc::Receiver<Said>,
    now: Bytes,
    ended: bool,
}

/// Nobody reads any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unread;

impl From<Unread> for io::Error {
    fn from(_: Unread) -> io::Error {
        io::Error::new(io::ErrorKind::BrokenPipe, "nobody reads any more")
    }
}

fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "it broke off without an end")
}

/// Written and read by tasks.
pub(crate) fn to_task() -> (Mouth, Flow) {
    let (mouth, queue) = mpsc::channel(DEPTH);
    (Mouth(mouth), StreamReader::new(pieces(queue).boxed()))
}

/// Read by a thread.
pub(crate) fn to_thread() -> (Mouth, Tap) {
    let (mouth, queue) = mpsc::channel(DEPTH);
    (Mouth(mouth), Tap { queue, now: Bytes::new(), ended: false })
}

fn pieces(queue: mpsc::Receiver<Said>) -> impl futures::Stream<Item = io::Result<Bytes>> + Send {
    unfold(Some(queue), |queue| async {
        let mut queue = queue?;
        match queue.recv().await {
            Some(Said::Bytes(bytes)) => Some((Ok(bytes), Some(queue))),
            Some(Said::End) => None,
            Some(Said::Failed(error)) => Some((Err(error), None)),
            None => Some((Err(broken()), None)),
        }
    })
}

impl Mouth {
    /// From a task.
    pub async fn send(&self, bytes: Bytes) -> Result<(), Unread> {
        // Nothing would be an end to some readers.
        if bytes.is_empty() { Ok(()) } else { self.0.send(Said::Bytes(bytes)).await.map_err(|_| Unread) }
    }

    /// From a thread.
    pub fn put(&self, bytes: Bytes) -> Result<(), Unread> {
        if bytes.is_empty() { Ok(()) } else { self.0.blocking_send(Said::Bytes(bytes)).map_err(|_| Unread) }
    }

    /// That was all, or it failed. From a task.
    pub async fn end(self, outcome: io::Result<()>) {
        // Who does not read any more needs no end.
        let _ = self.0.send(outcome.map_or_else(Said::Failed, |()| Said::End)).await;
    }

    /// That was all, or it failed. From a thread.
    pub fn put_end(self, outcome: io::Result<()>) {
        let _ = self.0.blocking_send(outcome.map_or_else(Said::Failed, |()| Said::End));
    }

    /// Gone when nobody reads any more.
    pub async fn unread(&self) {
        self.0.closed().await;
    }
}

impl Tap {
    /// The next piece; nothing at the end.
    pub fn next(&mut self) -> io::Result<Option<Bytes>> {
        if self.ended {
            return Ok(None);
        }
        match self.queue.blocking_recv() {
            Some(Said::Bytes(bytes)) => Ok(Some(bytes)),
            Some(Said::End) => {
                self.ended = true;
                Ok(None)
            }
            Some(Said::Failed(error)) => Err(error),
            None => Err(broken()),
        }
    }
}

impl io::Read for Tap {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let there = self.fill_buf()?;
        let taken = into.len().min(there.len());
        into[..taken].copy_from_slice(&there[..taken]);
        self.consume(taken);
        Ok(taken)
    }
}

impl BufRead for Tap {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.now.is_empty() {
            let Some(next) = self.next()? else { break };
            self.now = next;
        }
        Ok(&self.now)
    }

    fn consume(&mut self, bytes: usize) {
        self.now.advance(bytes);
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn an_end_is_an_end_and_a_break_is_an_error() {
        let (mouth, mut flow) = to_task();
        mouth.send(Bytes::from_static(b"ab")).await.unwrap();
        mouth.end(Ok(())).await;
        let mut read = Vec::new();
        flow.read_to_end(&mut read).await.unwrap();
        assert_eq!(read, b"ab");

        let (mouth, mut flow) = to_task();
        mouth.send(Bytes::from_static(b"ab")).await.unwrap();
        drop(mouth);
        assert_eq!(flow.read_to_end(&mut read).await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[tokio::test]
    async fn who_is_not_read_learns_of_it() {
        let (mouth, flow) = to_task();
        drop(flow);
        mouth.unread().await;
        assert_eq!(mouth.send(Bytes::from_static(b"a")).await, Err(Unread));
    }
}
