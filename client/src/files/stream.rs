//! Files that are too long for memory: written as they come and hashed on the way, read in pieces.
//!
//! ```text
//!  write(piece) ─▶ bounded queue ─▶ a task of its own: append, hash ─▶ finish: verify, sync, give the name
//!                                                                    └▶ dropped or failed: the file is gone
//! ```
//! Disks are slow at times; no thread of the runtime waits for them here.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use mainstay_core::artifact::FileDigest;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::{Output, create_private_dir, dir_of};
use crate::failpoint::Point;
use crate::work;

/// Bytes of one piece that is read.
pub const PIECE_BYTES: usize = 256 << 10;
/// Pieces between the disk and whoever writes or reads.
const PIECES_WAITING: usize = 2;

/// Length and SHA-256 of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Content {
    pub bytes: u64,
    pub sha256: FileDigest,
}

/// Why a file was not written or read.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        doing: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("it has more than {limit} bytes")]
    TooLong { limit: u64 },
    /// It is not what it should be.
    #[error("it has {} bytes with SHA-256 {}, and should have {} with {}", found.bytes, found.sha256, expected.bytes, expected.sha256)]
    Differs { found: Content, expected: Content },
    #[error("it was broken off")]
    BrokenOff,
}

impl FileError {
    fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FileError {
        let path = path.to_owned();
        move |source| FileError::Io { doing, path, source }
    }

    /// Whether there is no such file.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(self, FileError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// A file that is being written under a temporary name. Dropped before it is finished, it is removed.
#[derive(Debug)]
pub struct Writing {
    orders: mpsc::Sender<Order>,
    task: Option<JoinHandle<Result<Content, FileError>>>,
}

enum Order {
    Piece(Bytes),
    Finish { expected: Option<Content>, path: Option<PathBuf> },
}

impl Writing {
    /// Begins with an empty file of mode 0600. Whatever had the temporary name is gone.
    #[must_use]
    pub fn begin(point: Point, temporary: PathBuf, limit: u64) -> Writing {
        let (orders, receiver) = mpsc::channel(PIECES_WAITING);
        Writing { orders, task: Some(tokio::spawn(write(point, temporary, limit, receiver))) }
    }

    /// Appends a piece; waits while the disk is behind.
    ///
    /// # Errors
    /// Why the file cannot be written on. It is gone then.
    pub async fn write(&mut self, piece: Bytes) -> Result<(), FileError> {
        match self.orders.send(Order::Piece(piece)).await {
            Ok(()) => Ok(()),
            Err(_) => Err(self.ended().await.err().unwrap_or(FileError::BrokenOff)),
        }
    }

    /// Leaves the file under its temporary name, as something that may be lost in a crash.
    ///
    /// # Errors
    /// As [`Writing::write`].
    pub async fn finish(self) -> Result<Content, FileError> {
        self.end(None, None).await
    }

    /// Puts the file in its place, if it is what it should be: whole and on disk, or not at all.
    ///
    /// # Errors
    /// As [`Writing::write`], and when the content is another one than announced.
    pub async fn finish_as(self, path: PathBuf, expected: Content) -> Result<Content, FileError> {
        self.end(Some(expected), Some(path)).await
    }

    async fn end(mut self, expected: Option<Content>, path: Option<PathBuf>) -> Result<Content, FileError> {
        // Where nobody takes the order, the task has ended with the reason.
        let _ = self.orders.send(Order::Finish { expected, path }).await;
        self.ended().await
    }

    async fn ended(&mut self) -> Result<Content, FileError> {
        match self.task.take() {
            Some(task) => task.await.unwrap_or(Err(FileError::BrokenOff)),
            None => Err(FileError::BrokenOff),
        }
    }
}

async fn write(point: Point, temporary: PathBuf, limit: u64, orders: mpsc::Receiver<Order>) -> Result<Content, FileError> {
    let written = append(point, &temporary, limit, orders).await;
    if written.is_err() {
        // The first error is the one to report; what is left over is removed at the next start.
        let _ = work::blocking(move || fs::remove_file(temporary)).await;
    }
    written
}

/// A file as far as it has come.
struct Begun {
    file: Output,
    bytes: u64,
    hasher: Sha256,
}

async fn append(point: Point, temporary: &Path, limit: u64, mut orders: mpsc::Receiver<Order>) -> Result<Content, FileError> {
    let path = temporary.to_owned();
    let made = aside(move || {
        let file = Output::create(point, &path, 0o600).map_err(FileError::io("make", &path))?;
        Ok(Begun { file, bytes: 0, hasher: Sha256::new() })
    });
    let mut begun = made.await?;
    loop {
        match orders.recv().await {
            Some(Order::Piece(piece)) => {
                begun.bytes += piece.len() as u64;
                if begun.bytes > limit {
                    return Err(FileError::TooLong { limit });
                }
                let path = temporary.to_owned();
                let written = aside(move || {
                    begun.file.write_all(&piece).map_err(FileError::io("write", &path))?;
                    begun.hasher.update(&piece);
                    Ok(begun)
                });
                begun = written.await?;
            }
            Some(Order::Finish { expected, path }) => {
                let Begun { file, bytes, hasher } = begun;
                let found = Content { bytes, sha256: FileDigest(hasher.finalize().into()) };
                if let Some(expected) = expected.filter(|expected| *expected != found) {
                    return Err(FileError::Differs { found, expected });
                }
                if let Some(path) = path {
                    aside(move || put_in_place(point, &file, &path).map_err(FileError::io("put in place", &path))).await?;
                }
                return Ok(found);
            }
            None => return Err(FileError::BrokenOff),
        }
    }
}

/// Does what may wait for the disk where it holds up nobody.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> Result<T, FileError> + Send + 'static) -> Result<T, FileError> {
    work::blocking(work).await.unwrap_or(Err(FileError::BrokenOff))
}

/// The name's directory is made if need be; file, name and directory are on disk afterwards.
fn put_in_place(point: Point, file: &Output, path: &Path) -> io::Result<()> {
    create_private_dir(point, dir_of(path))?;
    file.put_in_place(point, path)
}

/// A file that is being read, piece by piece.
#[derive(Debug)]
pub struct Reading {
    pieces: mpsc::Receiver<Result<Bytes, FileError>>,
}

impl Reading {
    /// Reads a file whatever is in it.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub async fn open(path: PathBuf) -> Result<Reading, FileError> {
        Reading::begin(path, None).await
    }

    /// Reads a file of which every byte has been verified before the first one is given out.
    ///
    /// # Errors
    /// When it cannot be read, or is not what it should be.
    pub async fn open_verified(path: PathBuf, expected: Content) -> Result<Reading, FileError> {
        Reading::begin(path, Some(expected)).await
    }

    async fn begin(path: PathBuf, expected: Option<Content>) -> Result<Reading, FileError> {
        let opening = aside(move || {
            let mut file = File::open(&path).map_err(FileError::io("open", &path))?;
            if let Some(expected) = expected {
                let found = content_of(&mut file).map_err(FileError::io("read", &path))?;
                if found != expected {
                    return Err(FileError::Differs { found, expected });
                }
                file.seek(SeekFrom::Start(0)).map_err(FileError::io("read", &path))?;
            }
            Ok((file, path))
        });
        let (file, path) = opening.await?;
        let (send, pieces) = mpsc::channel(PIECES_WAITING);
        // Ends with the file, or when nobody reads on.
        tokio::spawn(read(file, path, send));
        Ok(Reading { pieces })
    }

    /// The next piece; nothing at the end.
    pub async fn next(&mut self) -> Option<Result<Bytes, FileError>> {
        self.pieces.recv().await
    }
}

async fn read(mut file: File, path: PathBuf, pieces: mpsc::Sender<Result<Bytes, FileError>>) {
    let path: Arc<Path> = path.into();
    loop {
        let named = path.clone();
        let reading = aside(move || {
            let mut piece = Vec::with_capacity(PIECE_BYTES);
            (&mut file).take(PIECE_BYTES as u64).read_to_end(&mut piece).map_err(FileError::io("read", &named))?;
            Ok((file, piece))
        });
        let read = match reading.await {
            Ok((_, piece)) if piece.is_empty() => return,
            Ok((back, piece)) => {
                file = back;
                pieces.send(Ok(piece.into())).await
            }
            Err(error) => return drop(pieces.send(Err(error)).await),
        };
        if read.is_err() {
            return;
        }
    }
}

fn content_of(file: &mut File) -> io::Result<Content> {
    let (mut bytes, mut hasher, mut piece) = (0, Sha256::new(), vec![0; PIECE_BYTES]);
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(Content { bytes, sha256: FileDigest(hasher.finalize().into()) }),
            read => {
                bytes += read as u64;
                hasher.update(&piece[..read]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(bytes: &[u8]) -> Content {
        Content { bytes: bytes.len() as u64, sha256: FileDigest(Sha256::digest(bytes).into()) }
    }

    async fn all(mut reading: Reading) -> Vec<u8> {
        let mut bytes = Vec::new();
        while let Some(piece) = reading.next().await {
            bytes.extend_from_slice(&piece.unwrap());
        }
        bytes
    }

    fn names(dir: &Path) -> Vec<String> {
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[tokio::test]
    async fn what_was_written_is_read_again_verified() {
        let dir = tempfile::tempdir().unwrap();
        let (temporary, path) = (dir.path().join("tmp"), dir.path().join("ab").join("file"));
        let bytes: Vec<u8> = (0..3 * PIECE_BYTES + 7).map(|i| (i / 7 % 251) as u8).collect();
        let mut writing = Writing::begin(Point::Saved, temporary.clone(), bytes.len() as u64);
        for piece in bytes.chunks(100_000) {
            writing.write(Bytes::copy_from_slice(piece)).await.unwrap();
        }
        assert_eq!(writing.finish_as(path.clone(), content(&bytes)).await.unwrap(), content(&bytes));
        assert_eq!(names(dir.path()), ["ab"]);
        assert_eq!(all(Reading::open_verified(path.clone(), content(&bytes)).await.unwrap()).await, bytes);

        let mut flipped = bytes.clone();
        flipped[PIECE_BYTES] ^= 1;
        fs::write(&path, &flipped).unwrap();
        let refused = Reading::open_verified(path.clone(), content(&bytes)).await.unwrap_err();
        assert!(matches!(refused, FileError::Differs { .. }), "{refused}");
        assert_eq!(all(Reading::open(path).await.unwrap()).await, flipped);
        assert!(Reading::open(temporary).await.unwrap_err().is_missing());
    }

    #[tokio::test]
    async fn nothing_is_left_of_what_is_too_long_broken_off_or_something_else() {
        let dir = tempfile::tempdir().unwrap();
        let (temporary, path) = (dir.path().join("tmp"), dir.path().join("file"));
        let mut long = Writing::begin(Point::Saved, temporary.clone(), 5);
        long.write(Bytes::from_static(b"123")).await.unwrap();
        long.write(Bytes::from_static(b"456")).await.unwrap();
        let error = long.finish().await.unwrap_err();
        assert!(matches!(error, FileError::TooLong { limit: 5 }), "{error}");

        let mut other = Writing::begin(Point::Saved, temporary.clone(), 5);
        other.write(Bytes::from_static(b"123")).await.unwrap();
        let error = other.finish_as(path.clone(), content(b"124")).await.unwrap_err();
        assert!(matches!(error, FileError::Differs { .. }), "{error}");

        let mut dropped = Writing::begin(Point::Saved, temporary, 5);
        dropped.write(Bytes::from_static(b"123")).await.unwrap();
        let task = dropped.task.take().unwrap();
        drop(dropped);
        assert!(matches!(task.await.unwrap(), Err(FileError::BrokenOff)));
        assert!(names(dir.path()).is_empty());
    }
}
