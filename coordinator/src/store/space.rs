//! Room on the disk. Proposals are refused while there is still some, so that a write never has to fail.
//!
//! | free space | what happens |
//! | --- | --- |
//! | below `free_bytes` and the next snapshot | *full*: proposals and snapshots are refused, leadership is given away |
//! | below [`CRITICAL`] | the reserve is given up, so that what others agree on, votes and members can still be written |
//! | below [`CRITICAL`] without a reserve | entries of a leader are refused too: this member only votes |
//! | enough for all of that, and the reserve | all is taken again, the reserve first |

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use mainstay_client::failpoint::Point;
use mainstay_client::files;

use super::disk::Disk;
use super::host::{self, Host};
use super::settings::Settings;

/// What votes, and entries that are on their way, need at most until somebody looks again.
const CRITICAL: u64 = 8 << 20;

/// How much room there is, as of the last look.
#[derive(Debug)]
pub struct Space {
    dir: PathBuf,
    reserve: PathBuf,
    host: Host,
    floor: u64,
    reserve_bytes: u64,
    snapshot_bytes: AtomicU64,
    free: AtomicU64,
    full: AtomicBool,
    critical: AtomicBool,
}

impl Space {
    pub fn new(disk: &Disk, host: Host, settings: &Settings) -> Space {
        Space {
            dir: disk.dir().to_owned(),
            reserve: disk.reserve_file(),
            host,
            floor: settings.free_bytes,
            reserve_bytes: settings.reserve_bytes,
            snapshot_bytes: AtomicU64::new(0),
            free: AtomicU64::new(0),
            full: AtomicBool::new(false),
            critical: AtomicBool::new(false),
        }
    }

    /// Looks at the disk, gives the reserve up or takes it back. Says whether the disk became full just now.
    pub fn look(&self) -> bool {
        let free = match (self.host.free_bytes)(&self.dir) {
            Ok(free) => free,
            Err(error) => {
                tracing::warn!(dir = %self.dir.display(), %error, "cannot find out how much room there is");
                return false;
            }
        };
        self.free.store(free, Ordering::Relaxed);
        let was_full = self.full.load(Ordering::Relaxed);
        let enough = self.floor + self.snapshot_bytes.load(Ordering::Relaxed);
        // A little more than enough before all is taken again: no flapping at the edge.
        let full = free < if was_full { enough + enough / 8 } else { enough };
        let has_reserve = host::exists(&self.reserve);
        if free < CRITICAL && has_reserve {
            self.give_up_reserve();
        } else if !full && !has_reserve && free >= enough + self.reserve_bytes {
            self.take_reserve();
        }
        self.critical.store(free < CRITICAL && !has_reserve, Ordering::Relaxed);
        self.full.store(full, Ordering::Relaxed);
        if full && !was_full {
            tracing::error!(dir = %self.dir.display(), free, needed = enough, "the disk is full: proposals are refused until there is room again");
        } else if was_full && !full {
            tracing::info!(dir = %self.dir.display(), free, "there is room on the disk again");
        }
        full && !was_full
    }

    /// Whether proposals may be taken; if not, how many bytes are free.
    pub fn admit(&self) -> Result<(), u64> {
        if self.is_full() { Err(self.free()) } else { Ok(()) }
    }

    pub fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    /// Whether not even a leader's entries can be taken.
    pub fn is_critical(&self) -> bool {
        self.critical.load(Ordering::Relaxed)
    }

    pub fn free(&self) -> u64 {
        self.free.load(Ordering::Relaxed)
    }

    /// The next snapshot will be about this long.
    pub fn expect_snapshot(&self, bytes: u64) {
        self.snapshot_bytes.store(bytes, Ordering::Relaxed);
    }

    fn give_up_reserve(&self) {
        match files::remove(Point::StoreGiveUp, &self.reserve) {
            Ok(()) => tracing::error!(bytes = self.reserve_bytes, "the reserve on the disk is given up"),
            Err(error) => tracing::error!(file = %self.reserve.display(), %error, "the reserve on the disk cannot be given up"),
        }
    }

    fn take_reserve(&self) {
        if let Err(error) = host::allocate(Point::StoreReserve, &self.reserve, self.reserve_bytes) {
            tracing::warn!(file = %self.reserve.display(), %error, "no reserve can be taken on the disk");
            // Half a reserve is none.
            if let Err(error) = files::remove(Point::StoreGiveUp, &self.reserve) {
                tracing::warn!(file = %self.reserve.display(), %error, "the rest of it cannot be removed");
            }
        }
    }
}
