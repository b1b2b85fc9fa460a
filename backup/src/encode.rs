//! One part on its way out.
//!
//! ```text
//! source ─▶ task: reads ─▶ thread: SHA-256, zstd ─▶ thread: age, SHA-256 ─▶ task: uploads ─▶ store
//! ```
//!
//! Each arrow is a bounded pipe, so that what is in memory does not grow with what is backed up. Only an end that was said
//! is an end: when one of them breaks off, nothing behind it finishes, and the object is given up.

use std::io::{self, Write};

use age::x25519::Recipient;
use bytes::{Bytes, BytesMut};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::manifest::Sum;
use crate::pipe::{self, CHUNK, Flow, Mouth, Tap};
use crate::progress::Teller;
use crate::seam;
use crate::store::{StoreError, Upload};

/// Fast enough that a database is what is waited for. The next ones take half as long again for a tenth less.
pub(crate) const LEVEL: i32 = 1;

/// Why a part was not stored.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// The source gave an error, or broke off.
    #[error("the source: {0}")]
    Source(#[source] io::Error),
    /// It could not be compressed or encrypted.
    #[error("compressing and encrypting it: {0}")]
    Seal(#[source] io::Error),
    /// The store did not take it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It was called off.
    #[error("it was cancelled")]
    Cancelled,
}

/// Both sums of a part that was stored.
#[derive(Debug)]
pub(crate) struct Stored {
    pub plain: Sum,
    pub stored: Sum,
}

/// Reads a source to its end and stores it. The object is there when this comes back well, and not else.
pub(crate) async fn encode<R>(
    source: R,
    recipients: Vec<Recipient>,
    mut upload: Upload,
    progress: &Teller,
    cancel: &CancellationToken,
) -> Result<Stored, EncodeError>
where
    R: AsyncRead + Send + Unpin,
{
    let (plain_in, plain_out) = pipe::to_thread();
    let (packed_in, packed_out) = pipe::to_thread();
    let (sealed_in, sealed_out) = pipe::to_task();
    let packing = seam::blocking(move || pack(plain_out, packed_in));
    let sealing = seam::blocking(move || seal(packed_out, sealed_in, &recipients));
    let moved = {
        let reading = read(source, plain_in, progress);
        let sending = send(sealed_out, &mut upload, progress);
        // Called off, both are dropped, and the threads between them end at their next piece.
        cancel.run_until_cancelled(async { tokio::join!(reading, sending) }).await
    };
    let ended = |joined: Result<io::Result<Sum>, tokio::task::JoinError>| joined.unwrap_or_else(|broken| Err(io::Error::other(broken)));
    let (packed, sealed) = (ended(packing.await), ended(sealing.await));
    // Who broke first is the cause; the others broke because of it.
    let outcome = match moved {
        None => Err(EncodeError::Cancelled),
        Some((Err(Read::Source(error)), _)) => Err(EncodeError::Source(error)),
        Some((_, Err(Sent::Store(error)))) => Err(EncodeError::Store(error)),
        Some((_, Err(Sent::Sealed(error)))) => Err(EncodeError::Seal(packed.err().or(sealed.err()).unwrap_or(error))),
        Some((Err(Read::Unread), Ok(()))) => Err(EncodeError::Seal(packed.err().or(sealed.err()).unwrap_or_else(|| pipe::Unread.into()))),
        Some((Ok(()), Ok(()))) => packed.and_then(|plain| Ok(Stored { plain, stored: sealed? })).map_err(EncodeError::Seal),
    };
    match outcome {
        Ok(stored) => match upload.finish().await {
            Ok(()) => Ok(stored),
            Err(error) => {
                upload.abandon().await;
                Err(error.into())
            }
        },
        Err(error) => {
            upload.abandon().await;
            Err(error)
        }
    }
}

enum Read {
    Source(io::Error),
    /// Somebody behind has broken, and knows why.
    Unread,
}

async fn read<R: AsyncRead + Unpin>(mut source: R, into: Mouth, progress: &Teller) -> Result<(), Read> {
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(CHUNK);
        // Until a chunk is full: what comes in small pieces is passed on in large ones.
        let ended = loop {
            let room = CHUNK.saturating_sub(buffer.len());
            if room == 0 {
                break false;
            }
            match (&mut source).take(room as u64).read_buf(&mut buffer).await {
                Ok(0) => break true,
                Ok(_) => {}
                Err(error) => {
                    into.end(Err(io::Error::new(error.kind(), "the source broke off"))).await;
                    return Err(Read::Source(error));
                }
            }
        };
        progress.plain(buffer.len());
        into.send(buffer.split().freeze()).await.map_err(|_| Read::Unread)?;
        if ended {
            into.end(Ok(())).await;
            return Ok(());
        }
    }
}

/// The thread that compresses.
fn pack(mut plain: Tap, packed: Mouth) -> io::Result<Sum> {
    let mut sum = Summing::default();
    let outcome = (|| {
        let mut zstd = zstd::stream::write::Encoder::new(Chunks::new(packed.clone(), None), LEVEL)?;
        // Damage is found where the data is restored without Mainstay, too.
        zstd.include_checksum(true)?;
        while let Some(bytes) = plain.next()? {
            sum.add(&bytes);
            zstd.write_all(&bytes)?;
        }
        zstd.finish()?.flush()
    })();
    close(packed, outcome)?;
    Ok(sum.sum())
}

/// The thread that encrypts.
fn seal(mut packed: Tap, sealed: Mouth, recipients: &[Recipient]) -> io::Result<Sum> {
    let mut sum = Summing::default();
    let outcome = (|| {
        let recipients = recipients.iter().map(|recipient| recipient as &dyn age::Recipient);
        let encryptor = age::Encryptor::with_recipients(recipients).map_err(|error| io::Error::other(error.to_string()))?;
        let mut age = encryptor.wrap_output(Chunks::new(sealed.clone(), Some(&mut sum)))?;
        while let Some(bytes) = packed.next()? {
            age.write_all(&bytes)?;
        }
        age.finish()?.flush()
    })();
    close(sealed, outcome)?;
    Ok(sum.sum())
}

/// Passes the outcome on, and keeps it.
fn close(mouth: Mouth, outcome: io::Result<()>) -> io::Result<()> {
    match outcome {
        Ok(()) => {
            mouth.put_end(Ok(()));
            Ok(())
        }
        Err(error) => {
            mouth.put_end(Err(io::Error::new(error.kind(), error.to_string())));
            Err(error)
        }
    }
}

enum Sent {
    Sealed(io::Error),
    Store(StoreError),
}

async fn send(mut sealed: Flow, upload: &mut Upload, progress: &Teller) -> Result<(), Sent> {
    use futures::StreamExt;
    while let Some(bytes) = sealed.get_mut().next().await {
        let bytes = bytes.map_err(Sent::Sealed)?;
        let size = bytes.len();
        upload.write(bytes).await.map_err(Sent::Store)?;
        progress.stored(size);
    }
    Ok(())
}

/// Counts and sums up.
#[derive(Default)]
pub(crate) struct Summing {
    bytes: u64,
    sha256: Sha256,
}

impl Summing {
    pub fn add(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        self.sha256.update(bytes);
    }

    pub fn sum(self) -> Sum {
        Sum { bytes: self.bytes, sha256: seam::hex(&self.sha256.finalize()) }
    }
}

/// Sums up in a thread of its own what another thread makes: neither waits for the other's work.
pub(crate) struct SummingAside {
    bytes: Mouth,
    sum: oneshot::Receiver<io::Result<Sum>>,
}

impl SummingAside {
    pub fn start() -> SummingAside {
        let (bytes, tap) = pipe::to_thread();
        let (tell, sum) = oneshot::channel();
        seam::blocking(move || {
            // Who does not ask any more has found something else wrong.
            let _ = tell.send(sum_of(tap));
        });
        SummingAside { bytes, sum }
    }

    /// From a thread.
    pub fn add(&self, bytes: Bytes) -> io::Result<()> {
        Ok(self.bytes.put(bytes)?)
    }

    /// Of all that was added; waited for by a thread.
    pub fn sum(self) -> io::Result<Sum> {
        self.bytes.put_end(Ok(()));
        self.sum.blocking_recv().map_err(io::Error::other)?
    }
}

fn sum_of(mut tap: Tap) -> io::Result<Sum> {
    let mut sum = Summing::default();
    while let Some(bytes) = tap.next()? {
        sum.add(&bytes);
    }
    Ok(sum.sum())
}

/// Collects what is written in small pieces, and passes it on in large ones.
struct Chunks<'s> {
    mouth: Mouth,
    filling: BytesMut,
    sum: Option<&'s mut Summing>,
}

impl<'s> Chunks<'s> {
    fn new(mouth: Mouth, sum: Option<&'s mut Summing>) -> Chunks<'s> {
        Chunks { mouth, filling: BytesMut::with_capacity(CHUNK), sum }
    }

    fn pass_on(&mut self) -> io::Result<()> {
        let full: Bytes = std::mem::replace(&mut self.filling, BytesMut::with_capacity(CHUNK)).freeze();
        if let Some(sum) = &mut self.sum {
            sum.add(&full);
        }
        Ok(self.mouth.put(full)?)
    }
}

impl Write for Chunks<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(CHUNK - self.filling.len());
        self.filling.extend_from_slice(&bytes[..taken]);
        if self.filling.len() == CHUNK {
            self.pass_on()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.filling.is_empty() { Ok(()) } else { self.pass_on() }
    }
}
