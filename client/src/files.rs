//! The file-system seam for settings, identities and locks: small files that are read whole, and written whole or not
//! at all. Stores with a log of their own (the Raft log, an agent's ledger) stand behind their database instead.

// This module is the seam that the rest of the project is held to.
#![allow(clippy::disallowed_methods)]

use std::ffi::OsString;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Mode of a file that only its owner may read: keys, identities, state.
pub const PRIVATE: u32 = 0o600;
/// Mode of a file that others may read.
pub const PUBLIC: u32 = 0o644;

/// Why a file could not be read, written or locked.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("cannot {action} {path}: {source}", path = path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("{path} is larger than {max} bytes, the most that is read of it: is it the right file?", path = path.display())]
    TooLarge { path: PathBuf, max: usize },
    #[error("{path} is not a regular file", path = path.display())]
    NotAFile { path: PathBuf },
    #[error("{path} is locked by another process: is Mainstay already running on this directory?", path = path.display())]
    Locked { path: PathBuf },
}

impl FileError {
    /// Whether the file is simply not there.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        matches!(self, FileError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FileError {
    move |source| FileError::Io { action, path: path.to_owned(), source }
}

/// Reads a regular file of at most `max` bytes. Never waits for a pipe's other end.
pub fn read_bounded(path: &Path, max: usize) -> Result<Vec<u8>, FileError> {
    let nonblocking = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0);
    let file = OpenOptions::new().read(true).custom_flags(nonblocking).open(path).map_err(failed("open", path))?;
    if !file.metadata().map_err(failed("read", path))?.is_file() {
        return Err(FileError::NotAFile { path: path.to_owned() });
    }
    let mut bytes = Vec::new();
    file.take(max as u64 + 1).read_to_end(&mut bytes).map_err(failed("read", path))?;
    if bytes.len() > max {
        return Err(FileError::TooLarge { path: path.to_owned(), max });
    }
    Ok(bytes)
}

/// As [`read_bounded`]; `None` when there is no such file.
pub fn read_if_there(path: &Path, max: usize) -> Result<Option<Vec<u8>>, FileError> {
    match read_bounded(path, max) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.is_absent() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Puts `bytes` at `path` with `mode` (narrowed by the umask). After a crash at any point the file holds what it held
/// before, or all of `bytes`. When this returns `Ok`, it is on the disk.
///
/// Two writers of one path at one time are the caller's to prevent (see [`lock_exclusive`]).
pub fn write_atomic(path: &Path, bytes: &[u8], mode: u32) -> Result<(), FileError> {
    let temporary = beside(path);
    // What a crash left behind may have another mode: it goes first, so that the new file is born with the right one.
    remove_if_there(&temporary)?;
    let written = write_new(&temporary, bytes, mode).and_then(|()| std::fs::rename(&temporary, path)).map_err(failed("write", path));
    if written.is_err() {
        // The first error is the one that says what is wrong; the leftover goes with the next write.
        let _ = std::fs::remove_file(&temporary);
    }
    written.and_then(|()| sync_dir(parent(path)))
}

fn write_new(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn beside(path: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".new");
    path.with_file_name(name)
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Makes a rename or a removal in `directory` durable.
pub fn sync_dir(directory: &Path) -> Result<(), FileError> {
    File::open(directory).and_then(|opened| opened.sync_all()).map_err(failed("sync", directory))
}

/// Makes a directory and those above it, for the owner alone. One that is there keeps its mode.
pub fn create_private_dir(path: &Path) -> Result<(), FileError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed("create", path))
}

/// Removes a file; its absence is success.
pub fn remove_if_there(path: &Path) -> Result<(), FileError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", path)(error)),
        _ => Ok(()),
    }
}

/// Whether group or others may read the file: what a file with a secret in it should not allow.
pub fn is_readable_by_others(path: &Path) -> Result<bool, FileError> {
    let metadata = std::fs::metadata(path).map_err(failed("read", path))?;
    Ok(metadata.permissions().mode() & 0o044 != 0)
}

/// An exclusive lock on a file, held until dropped. The kernel frees it when the process ends, however it ends.
#[derive(Debug)]
pub struct Lock {
    // Only kept open: closing it frees the lock.
    _file: File,
}

/// Takes the lock of `path` (the file is made if need be, and stays), or says at once that another process has it.
pub fn lock_exclusive(path: &Path) -> Result<Lock, FileError> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(PRIVATE).open(path).map_err(failed("open", path))?;
    match file.try_lock() {
        Ok(()) => Ok(Lock { _file: file }),
        Err(TryLockError::WouldBlock) => Err(FileError::Locked { path: path.to_owned() }),
        Err(TryLockError::Error(error)) => Err(failed("lock", path)(error)),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_write_replaces_the_whole_file_with_its_mode_and_leaves_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("identity.pem");
        write_atomic(&path, b"a long first version", PUBLIC).unwrap();
        // As a crash between write and rename leaves it.
        std::fs::write(dir.path().join(".identity.pem.new"), b"half").unwrap();
        write_atomic(&path, b"second", PRIVATE).unwrap();
        assert_eq!(read_bounded(&path, 100).unwrap(), b"second");
        assert_eq!(mode(&path), 0o600);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_write_that_cannot_be_done_keeps_what_was_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("taken");
        std::fs::create_dir(&path).unwrap();
        std::fs::write(path.join("inside"), b"kept").unwrap();
        let error = write_atomic(&path, b"new", PRIVATE).unwrap_err();
        assert!(error.to_string().starts_with("cannot write "), "{error}");
        assert_eq!(std::fs::read(path.join("inside")).unwrap(), b"kept");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_read_is_bounded_and_wants_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("settings.toml");
        std::fs::write(&path, b"12345").unwrap();
        assert_eq!(read_bounded(&path, 5).unwrap(), b"12345");
        assert!(matches!(read_bounded(&path, 4), Err(FileError::TooLarge { max: 4, .. })));
        assert!(matches!(read_bounded(dir.path(), 4), Err(FileError::NotAFile { .. })));
        assert!(read_bounded(&dir.path().join("absent"), 4).unwrap_err().is_absent());
        assert_eq!(read_if_there(&dir.path().join("absent"), 4).unwrap(), None);
    }

    #[test]
    fn a_pipe_without_a_writer_is_refused_instead_of_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
        assert!(made.success());
        assert!(matches!(read_bounded(&path, 4), Err(FileError::NotAFile { .. })));
    }

    #[test]
    fn a_lock_is_had_once_and_freed_when_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let lock = lock_exclusive(&path).unwrap();
        assert!(matches!(lock_exclusive(&path), Err(FileError::Locked { .. })));
        drop(lock);
        lock_exclusive(&path).unwrap();
    }

    #[test]
    fn a_private_file_is_told_from_one_that_others_can_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/er/key.pem");
        create_private_dir(path.parent().unwrap()).unwrap();
        assert_eq!(mode(&dir.path().join("deep")), 0o700);
        write_atomic(&path, b"key", PRIVATE).unwrap();
        assert!(!is_readable_by_others(&path).unwrap());
        write_atomic(&path, b"key", PUBLIC).unwrap();
        assert!(is_readable_by_others(&path).unwrap());
        remove_if_there(&path).unwrap();
        remove_if_there(&path).unwrap();
    }
}
