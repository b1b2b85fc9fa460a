//! The disks of simulated machines: how slow and how full they are, and what a power cut leaves of them.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mainstay_client::failpoint::outage::{self, Loss};
use mainstay_client::failpoint::{Point, Step};
use mainstay_coordinator::store::Disk;
use mainstay_core::State;

use crate::{chance, trace, watch};

/// Longer than any simulation.
const NEVER: Duration = Duration::from_secs(1 << 20);
/// Room on a disk that is not full.
const ROOM: u64 = 8 << 30;

#[derive(Default)]
struct Disks {
    /// Machines whose disk is full, by their directory.
    full: BTreeSet<String>,
    /// Machines whose power fails at one of their next writes: after how many steps of one, and what they lose.
    doomed: BTreeMap<String, (u32, Option<u64>)>,
    /// Machines whose power has failed in the middle of a moment, of which nobody is to see anything any more.
    dying: BTreeSet<String>,
    /// Machines whose disk has no room for so many of a hundred writes and syncs, of which nobody was told before.
    refusing: BTreeMap<String, u64>,
    /// How many times slower a machine's disk is.
    slower: BTreeMap<String, u32>,
}

thread_local! {
    static DISKS: RefCell<Disks> = RefCell::default();
}

static SEED: AtomicU64 = AtomicU64::new(0);
/// Writes that a disk may have refused.
static ASKED: AtomicU64 = AtomicU64::new(0);
/// Pieces of work that were done, for the time that the next one takes.
static WORKED: AtomicU64 = AtomicU64::new(0);

/// From here on, disks are as this module says.
pub fn begin(seed: u64) {
    SEED.store(seed, Ordering::Relaxed);
    outage::keep_account();
    outage::witness(passed);
    outage::refuse_by(takes);
    mainstay_client::work::take_turns(pause);
    mainstay_client::files::measure_room_by(room);
}

/// How long a disk, or a long computation, takes: a fraction of a millisecond mostly.
fn pause() -> Duration {
    let drawn = chance::mixed(SEED.load(Ordering::Relaxed), WORKED.fetch_add(1, Ordering::Relaxed));
    let usual = Duration::from_micros(if drawn.is_multiple_of(64) { 1_000 + drawn / 64 % 9_000 } else { drawn / 64 % 900 });
    if trace::machine().is_some_and(|machine| is_dying(&machine)) {
        return NEVER;
    }
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

/// Has so many of a hundred writes and syncs of a machine find no room.
pub fn refuse(machine: &str, of_hundred: u64) {
    DISKS.with_borrow_mut(|disks| disks.refusing.insert(machine.to_owned(), of_hundred));
}

/// Whether a disk takes a write, or a sync.
fn takes(_: Point, step: Step) -> io::Result<()> {
    if !matches!(step, Step::Write | Step::Sync) {
        return Ok(());
    }
    let Some(machine) = trace::machine() else { return Ok(()) };
    let Some(of_hundred) = DISKS.with_borrow(|disks| disks.refusing.get(&machine).copied()) else { return Ok(()) };
    if chance::mixed(SEED.load(Ordering::Relaxed), (1 << 40) + ASKED.fetch_add(1, Ordering::Relaxed)) % 100 >= of_hundred {
        return Ok(());
    }
    watch::struck(if step == Step::Write { "a write finds no room" } else { "a sync finds no room" });
    Err(io::ErrorKind::StorageFull.into())
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

/// Has the power of a machine fail so many steps of a write from now.
pub fn doom(machine: &str, after: u32, power_cut: Option<u64>) {
    DISKS.with_borrow_mut(|disks| disks.doomed.insert(machine.to_owned(), (after, power_cut)));
}

/// Whether a machine is being run that has no power any more: what it does until it is stopped does not count.
pub fn is_dying(machine: &str) -> bool {
    DISKS.with_borrow(|disks| disks.dying.contains(machine))
}

/// Whether a machine is to be stopped, of which what it finds when it starts again has been put aside.
pub fn take_dying(machine: &str) -> bool {
    DISKS.with_borrow_mut(|disks| disks.dying.remove(machine))
}

/// A write has come so far.
fn passed(_: Point, _: Step) {
    let Some(machine) = trace::machine() else { return };
    let due = DISKS.with_borrow_mut(|disks| {
        let (left, power_cut) = disks.doomed.get_mut(&machine)?;
        *left = left.saturating_sub(1);
        let due = (*left == 0).then_some(*power_cut);
        if due.is_some() {
            disks.doomed.remove(&machine);
            disks.dying.insert(machine.clone());
        }
        due
    });
    let Some(power_cut) = due else { return };
    let dir = PathBuf::from(&machine);
    let as_it_was = dir.with_extension("was");
    copy(&dir, &as_it_was).expect("a directory in memory is copied");
    keep(&dir, power_cut);
    // Whoever is in the middle of it finds what it has written, and is stopped before anybody can tell.
    write_over(&as_it_was, &dir);
    fs::remove_dir_all(as_it_was).expect("a directory in memory is removed");
}

/// Writes what files have in one directory into those of the same name in another.
fn write_over(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).into_iter().flatten().flatten() {
        let name = to.join(entry.file_name());
        if entry.path().is_dir() {
            write_over(&entry.path(), &name);
        } else if let Ok(bytes) = fs::read(entry.path()) {
            // A name that was lost stays lost.
            let _ = fs::write(name, bytes);
        }
    }
}

/// It has stopped.
pub fn put_back(dir: &Path) {
    outage::settle(dir);
    fs::remove_dir_all(dir).expect("a directory in memory is removed");
    fs::rename(dir.with_extension("next"), dir).expect("a directory in memory is renamed");
}

/// What the disk of a member that has stopped says; nothing where it has not had a log.
pub fn state_of(dir: &Path) -> Option<State> {
    let copied = dir.with_extension("read");
    copy(&dir.join("state"), &copied).ok()?;
    // Whatever waits in there waits for nothing that takes time.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
    let read = Disk::existing(&copied).ok().and_then(|disk| runtime.block_on(disk.salvage()).ok());
    drop(runtime);
    outage::settle(&copied);
    fs::remove_dir_all(copied).expect("a directory in memory is removed");
    read.map(|salvaged| salvaged.state)
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
