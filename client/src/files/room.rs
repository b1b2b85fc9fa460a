//! Room on a disk: some of it stays free, and what is on its way has its share of the rest.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Who may still write how much to one file system.
#[derive(Debug)]
pub struct Room {
    dir: PathBuf,
    reserve: u64,
    promised: Arc<AtomicU64>,
}

/// Room that is taken until the value is dropped.
#[derive(Debug)]
pub struct RoomTaken {
    bytes: u64,
    promised: Arc<AtomicU64>,
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub enum RoomError {
    #[error("there is no room for {wanted} bytes: {free} are free, and {reserve} of them are kept for what matters more")]
    Full { wanted: u64, free: u64, reserve: u64 },
    #[error("cannot find out how much room there is at {}: {source}", dir.display())]
    Unknown {
        dir: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl Room {
    /// Room on the file system that holds `dir`, of which `reserve` bytes stay free.
    #[must_use]
    pub fn new(dir: &Path, reserve: u64) -> Room {
        Room { dir: dir.to_owned(), reserve, promised: Arc::default() }
    }

    /// Takes room for so many bytes. What was taken before and is being written counts twice for that time:
    /// once as written, once as taken. That errs on the safe side.
    pub fn take(&self, bytes: u64) -> Result<RoomTaken, RoomError> {
        let free = super::free_bytes(&self.dir).map_err(|source| RoomError::Unknown { dir: self.dir.clone(), source })?;
        let promised = self.promised.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        let taken = RoomTaken { bytes, promised: Arc::clone(&self.promised) };
        if free < self.reserve.saturating_add(promised) {
            return Err(RoomError::Full { wanted: bytes, free, reserve: self.reserve });
        }
        Ok(taken)
    }
}

impl Drop for RoomTaken {
    fn drop(&mut self) {
        self.promised.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_on_its_way_has_its_share() {
        let dir = tempfile::tempdir().unwrap();
        let free = super::super::free_bytes(dir.path()).unwrap();
        // Half of what is free, so that others on this machine do not decide the test.
        let room = Room::new(dir.path(), free / 2);
        let most = free / 3;
        let taken = room.take(most).unwrap();
        assert!(matches!(room.take(most), Err(RoomError::Full { .. })));
        drop(taken);
        assert!(room.take(most).is_ok(), "also what was refused has given its share back");
        assert!(matches!(Room::new(Path::new("/no/such/place"), 0).take(1), Err(RoomError::Unknown { .. })));
    }
}
