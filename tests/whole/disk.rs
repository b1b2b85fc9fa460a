//! The disks of simulated machines: how slow and how full they are, and what a power cut leaves of them.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mainstay_client::failpoint::outage::{self, Loss};

use crate::{chance, trace};

/// Room on a disk that is not full.
const ROOM: u64 = 8 << 30;

#[derive(Default)]
struct Disks {
    /// Machines whose disk is full, by their directory.
    full: BTreeSet<String>,
    /// How many times slower a machine's disk is.
    slower: BTreeMap<String, u32>,
}

thread_local! {
    static DISKS: RefCell<Disks> = RefCell::default();
}

static SEED: AtomicU64 = AtomicU64::new(0);
/// Pieces of work that were done, for the time that the next one takes.
static WORKED: AtomicU64 = AtomicU64::new(0);

/// From here on, disks are as this module says.
pub fn begin(seed: u64) {
    SEED.store(seed, Ordering::Relaxed);
    outage::keep_account();
    mainstay_client::work::take_turns(pause);
    mainstay_client::files::measure_room_by(room);
}

/// How long a disk, or a long computation, takes: a fraction of a millisecond mostly.
fn pause() -> Duration {
    let drawn = chance::mixed(SEED.load(Ordering::Relaxed), WORKED.fetch_add(1, Ordering::Relaxed));
    let usual = Duration::from_micros(if drawn.is_multiple_of(64) { 1_000 + drawn / 64 % 9_000 } else { drawn / 64 % 900 });
    let slower = trace::machine().and_then(|machine| DISKS.with_borrow(|disks| disks.slower.get(&machine).copied()));
    usual * slower.unwrap_or(1)
}

#[allow(clippy::unnecessary_wraps, reason = "as a file system answers")]
fn room(path: &Path) -> io::Result<u64> {
    let is_full = DISKS.with_borrow(|disks| disks.full.iter().any(|machine| path.components().any(|part| part.as_os_str() == machine.as_str())));
    Ok(if is_full { 1 << 20 } else { ROOM })
}

pub fn fill(machine: &str, full: bool) {
    DISKS.with_borrow_mut(|disks| if full { disks.full.insert(machine.to_owned()) } else { disks.full.remove(machine) });
}

pub fn slow_down(machine: &str, times: u32) {
    DISKS.with_borrow_mut(|disks| disks.slower.insert(machine.to_owned(), times));
}

/// Everything is as it should be again.
pub fn mend() {
    DISKS.with_borrow_mut(|disks| *disks = Disks::default());
}

/// What a machine that stops now finds when it starts again; it is put aside, since whoever has files open writes on until
/// it has stopped.
pub fn keep(dir: &Path, power_cut: Option<u64>) {
    if let Some(seed) = power_cut {
        outage::cut_power(dir, if seed.is_multiple_of(2) { Loss::All } else { Loss::Some { seed } });
    }
    let aside = dir.with_extension("next");
    copy(dir, &aside).expect("a directory in memory is copied");
}

/// It has stopped.
pub fn put_back(dir: &Path) {
    outage::settle(dir);
    fs::remove_dir_all(dir).expect("a directory in memory is removed");
    fs::rename(dir.with_extension("next"), dir).expect("a directory in memory is renamed");
}

pub fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let name = to.join(entry.file_name());
        if entry.file_type()?.is_dir() { copy(&entry.path(), &name)? } else { fs::copy(entry.path(), name).map(drop)? }
    }
    Ok(())
}
