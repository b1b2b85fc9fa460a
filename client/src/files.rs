//! The file-system seam for settings and identity: bounded reads, atomic writes, locks.
#![allow(clippy::disallowed_methods, reason = "this module is the seam")]

mod change;
mod mark;
mod room;
mod sealed;
mod stream;

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rustix::fs::{FlockOperation, flock, statvfs};

use crate::failpoint::{Doing, Point};

pub use change::{Output, create_private_dir, create_public_dir, put_in_place, remove, remove_tree, rename, sync_dir, write_atomic};
pub use mark::Mark;
pub use room::{Room, RoomError, RoomTaken};
pub use sealed::{read_sealed, sealed, unsealed, write_sealed};
pub use stream::{Content, FileError, PIECE_BYTES, Reading, Writing};

/// Reads a whole file of at most `max` bytes; a larger one is an error, not cut.
pub fn read_bounded(path: &Path, max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("{} has more than {max} bytes", path.display())));
    }
    Ok(bytes)
}

/// As [`read_bounded`], for UTF-8 text.
pub fn read_text(path: &Path, max: u64) -> io::Result<String> {
    String::from_utf8(read_bounded(path, max)?)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, format!("{} is not UTF-8 text", path.display())))
}

/// The directory that a path is in.
#[must_use]
pub fn dir_of(path: &Path) -> &Path {
    path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// What is in a directory, with the length of each; nothing where there is no directory.
pub fn list(dir: &Path) -> io::Result<Vec<(PathBuf, u64)>> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    entries.map(|entry| entry.and_then(|entry| Ok((entry.path(), entry.metadata()?.len())))).collect()
}

/// Says how much room there is, in place of the file system.
type Measure = fn(&Path) -> io::Result<u64>;

static MEASURE: OnceLock<Measure> = OnceLock::new();

/// From here on, this process is told by another than the file system how much room there is. Once for a process.
pub fn measure_room_by(measure: Measure) {
    // Whoever comes second finds what the first one wanted.
    let _ = MEASURE.set(measure);
}

/// Free bytes of the file system that holds a path.
pub fn free_bytes(path: &Path) -> io::Result<u64> {
    if let Some(measure) = MEASURE.get() {
        return measure(path);
    }
    let stat = statvfs(path)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Whether there is anything at a path.
#[must_use]
pub fn exists(path: &Path) -> bool {
    path.exists()
}

/// What tells one version of a file from the next, as far as can be seen without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    inode: u64,
    length: u64,
    changed: (i64, i64),
}

/// The stamp of what a path leads to, links followed.
pub fn stamp(path: &Path) -> io::Result<Stamp> {
    let meta = fs::metadata(path)?;
    Ok(Stamp { inode: meta.ino(), length: meta.len(), changed: (meta.ctime(), meta.ctime_nsec()) })
}

/// A lock that ends with the value or with the process.
#[derive(Debug)]
pub struct FileLock {
    _file: File,
}

/// Why a lock was not had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error("{0} is in use by another process: stop that one first, or use another directory")]
    Held(PathBuf),
    /// The file cannot be opened or locked.
    #[error("cannot lock {0}: {1}")]
    Io(PathBuf, #[source] io::Error),
}

/// Takes an exclusive lock on a file, which is made if need be; does not wait.
pub fn lock_exclusive(path: &Path) -> Result<FileLock, LockError> {
    let open = Output::open(Doing::of(Point::Lock), path, 0o600);
    let file = open.map_err(|error| LockError::Io(path.to_owned(), error))?.into_file();
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(FileLock { _file: file }),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(LockError::Held(path.to_owned())),
        Err(error) => Err(LockError::Io(path.to_owned(), error.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_read_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        write_atomic(Point::Saved, &path, b"first", 0o600).unwrap();
        write_atomic(Point::Saved, &path, b"second", 0o600).unwrap();
        assert_eq!(read_text(&path, 6).unwrap(), "second");
        assert_eq!(read_bounded(&path, 5).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left over");
    }

    #[test]
    fn a_lock_is_had_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let held = lock_exclusive(&path).unwrap();
        assert!(matches!(lock_exclusive(&path), Err(LockError::Held(_))));
        drop(held);
        assert!(lock_exclusive(&path).is_ok());
    }
}
