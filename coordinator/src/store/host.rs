//! The machine underneath: files, free space, the monotonic clock. The store touches them only here, and a
//! test can make them fail.
#![allow(clippy::disallowed_methods)] // This module is the seam that the ban points to.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mainstay_client::failpoint::Point;
use mainstay_client::files::{self, FileLock, LockError, Output};
use rustix::fs::{FallocateFlags, fallocate};

type FreeBytes = dyn Fn(&Path) -> io::Result<u64> + Send + Sync;
type BeforeSync = dyn Fn() -> io::Result<()> + Send + Sync;

/// What may go wrong below the store.
#[derive(Clone)]
pub struct Host {
    /// Free bytes of the file system that holds a path.
    pub free_bytes: Arc<FreeBytes>,
    /// Comes before each sync of the log.
    pub before_sync: Arc<BeforeSync>,
}

impl Default for Host {
    fn default() -> Host {
        Host { free_bytes: Arc::new(files::free_bytes), before_sync: Arc::new(|| Ok(())) }
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Host")
    }
}

/// Measures how long something takes.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    pub fn start() -> Stopwatch {
        Stopwatch(Instant::now())
    }

    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// Opens and locks a file; `None` when another process has the lock. It ends with the file.
pub fn lock(path: &Path) -> io::Result<Option<FileLock>> {
    match files::lock_exclusive(path) {
        Ok(lock) => Ok(Some(lock)),
        Err(LockError::Held(_)) => Ok(None),
        Err(LockError::Io(_, error)) => Err(error),
    }
}

/// The whole of a small file; `None` when there is none.
pub fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

pub fn exists(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

/// Whether there is a file with something in it.
pub fn holds_something(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.len() > 0)
}

/// Writes a small file so that it is there whole, or not at all, also after a power cut.
pub fn write_whole(point: Point, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    let mut file = create(point, &temporary)?;
    file.write_all(bytes)?;
    file.put_in_place(point, path)
}

pub fn create(point: Point, path: &Path) -> io::Result<Output> {
    Output::create(point, path, 0o600)
}

pub fn open_to_read(path: &Path) -> io::Result<File> {
    File::open(path)
}

pub fn length(file: &File) -> io::Result<u64> {
    Ok(file.metadata()?.len())
}

pub fn read_at(file: &File, offset: u64, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}

/// Files of a directory, sorted; none when there is no such directory.
pub fn list(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut files = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    files.sort();
    Ok(files)
}

/// Moves a file or directory if it is there, for good.
pub fn rename(point: Point, from: &Path, to: &Path) -> io::Result<()> {
    match files::rename(point, from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        renamed => renamed,
    }
}

/// Makes a file whose bytes are set aside on the disk.
pub fn allocate(point: Point, path: &Path, bytes: u64) -> io::Result<()> {
    let mut file = create(point, path)?;
    match fallocate(file.file(), FallocateFlags::empty(), 0, bytes) {
        Ok(()) => {}
        // Not every file system can; zeros take the room as well.
        Err(rustix::io::Errno::OPNOTSUPP) => {
            let block = vec![0; 64 << 10];
            let mut left = bytes;
            while left > 0 {
                let part = left.min(block.len() as u64) as usize;
                file.write_all(&block[..part])?;
                left -= part as u64;
            }
        }
        Err(error) => return Err(error.into()),
    }
    file.sync()
}
