//! A snapshot as it comes: passed on, looked at, and its keys counted.

use std::io;

use bytes::BytesMut;

use super::walk::{self, Tally};
use super::wire::Wire;
use super::{ANSWERS_WITHIN, MARK, rdb};
use crate::pipe::{self, CHUNK, Mouth};
use crate::seam;

/// How the end of a snapshot is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Length {
    Bytes(u64),
    Mark([u8; MARK]),
}

/// What came.
#[derive(Debug, Clone)]
pub(super) struct Received {
    pub seen: rdb::Seen,
    /// Nothing where there is something in it that is not known here.
    pub keys: Option<Tally>,
}

/// Passes the snapshot on as it comes, and says what it was; an error when it is not right.
pub(super) async fn pass_on(wire: &mut Wire, length: Length, mouth: &Mouth) -> io::Result<Received> {
    let mut check = rdb::Check::default();
    // In a thread of its own: neither waits for the other's work. Where it meets what it does not know, it reads no further.
    let (to_count, tap) = pipe::to_thread();
    let counting = seam::blocking(move || walk::count(tap));
    let mut buffer = BytesMut::new();
    let mut left = match length {
        Length::Bytes(bytes) => bytes,
        Length::Mark(_) => u64::MAX,
    };
    while left > 0 {
        buffer.reserve(CHUNK);
        let read = tokio::time::timeout(ANSWERS_WITHIN, wire.read(&mut buffer, left)).await;
        let read = read.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "the server has stopped sending"))??;
        if read == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server broke off in the middle of its snapshot"));
        }
        let ready = match &length {
            Length::Bytes(_) => {
                left -= read as u64;
                buffer.split()
            }
            Length::Mark(mark) => {
                // What may be the mark is held back.
                let ended = buffer.ends_with(mark);
                let ready = buffer.split_to(buffer.len().saturating_sub(MARK));
                if ended {
                    left = 0;
                }
                ready
            }
        };
        check.add(&ready);
        let ready = ready.freeze();
        // Whoever counts may have come to the end, or have given up.
        let _ = to_count.send(ready.clone()).await;
        mouth.send(ready).await?;
    }
    to_count.end(Ok(())).await;
    let seen = check.end().map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    let keys = match counting.await.map_err(io::Error::other)? {
        Ok(tally) => Some(tally),
        Err(error) => {
            tracing::info!(%error, "the keys of a snapshot are not counted by type");
            None
        }
    };
    Ok(Received { seen, keys })
}
