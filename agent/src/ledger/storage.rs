//! The file under the store, with room that is taken in advance: an agent must not stop working, of all
//! times, when its node's disk is full.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Bound;
use std::path::Path;

use mainstay_client::failpoint::{Doing, Point};
use mainstay_client::files::{self, Output, dir_of};
use redb::backends::FileBackend;
use redb::{BackendError, StorageBackend};
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

/// Taken in advance. A ledger of a usual day has a twentieth of it.
const RESERVE: u64 = 1 << 20;

/// A file that its owner alone can read.
#[derive(Debug)]
pub(super) struct Storage {
    /// To read and lock it.
    file: FileBackend,
    /// The same file, to change it.
    output: Output,
}

impl Storage {
    /// The writes count for whatever `doing` says then.
    pub fn open(path: &Path, doing: Doing) -> Result<Storage, redb::Error> {
        let output = Output::open(doing, path, 0o600)?;
        if is_unfinished(output.file(), path) {
            tracing::warn!(ledger = %path.display(), "this ledger was never finished: it is made again");
            output.set_len(0)?;
        }
        // A ledger that was just made must not vanish with what is written into it next.
        files::sync_dir(Point::LedgerOpen, dir_of(path))?;
        take_room(output.file(), RESERVE);
        Ok(Storage { file: FileBackend::new(output.file().try_clone()?)?, output })
    }
}

/// Whether the process that made this ledger died before it was one: the store writes how a ledger begins last, and
/// nothing is written into one that does not begin so. One that has been a ledger has its mark beside it.
fn is_unfinished(file: &File, path: &Path) -> bool {
    let mut start = Vec::new();
    let read = file.take(8).read_to_end(&mut start);
    read.is_ok() && !start.is_empty() && start.iter().all(|byte| *byte == 0) && !files::exists(&path.with_extension("mark"))
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
        self.output.set_len(len)?;
        // Making it shorter has given back what was beyond its end.
        take_room(self.output.file(), RESERVE.max(len));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.output.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.output.write_at(offset, data)
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
