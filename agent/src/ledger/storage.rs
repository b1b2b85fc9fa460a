//! The file under the store, with room that is taken in advance: an agent must not stop working, of all
//! times, when its node's disk is full.
#![allow(clippy::disallowed_methods)] // this module is the seam to the ledger's file

use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Bound;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use redb::backends::FileBackend;
use redb::{BackendError, StorageBackend};
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

/// Taken in advance. A ledger of a usual day has a twentieth of it.
const RESERVE: u64 = 1 << 20;

/// A file that its owner alone can read.
#[derive(Debug)]
pub(super) struct Storage {
    file: FileBackend,
    /// The same file, for its room.
    room: File,
}

impl Storage {
    pub fn open(path: &Path) -> Result<Storage, redb::Error> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        // A ledger that was just made must not vanish with what is written into it next.
        if let Some(dir) = path.parent() {
            File::open(dir)?.sync_all()?;
        }
        let room = file.try_clone()?;
        take_room(&room, RESERVE);
        Ok(Storage { file: FileBackend::new(file)?, room })
    }
}

/// Takes room on the disk without making the file longer. Without such room, or a file system that can take
/// it, the ledger works all the same until the disk is full.
fn take_room(file: &File, len: u64) {
    match fallocate(file, FallocateFlags::KEEP_SIZE, 0, len) {
        Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => {}
        Err(error) => tracing::warn!(%error, "the disk has no room to keep for the ledger: when it is full, this agent stops"),
    }
}

impl StorageBackend for Storage {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)?;
        // Making it shorter has given back what was beyond its end.
        take_room(&self.room, RESERVE.max(len));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(start, end)
    }
}
