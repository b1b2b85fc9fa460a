//! Failpoints of a build for tests: what the environment orders, and where a process dies.
#![allow(clippy::disallowed_methods, reason = "this module is a seam of the tests: it reads orders and leaves marks")]

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, OnceLock, PoisonError};

use rustix::process::{Signal, getpid, kill_process};

use super::{Point, Step, effects};

/// Where to die, and what the disk does then.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Order {
    pub point: Point,
    pub step: Step,
    /// At which time, from 1 on.
    pub nth: u64,
    pub loss: Option<Loss>,
}

/// What of that which was not synced a power cut takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    All,
    /// Every name, and about a half of what was written.
    Some {
        seed: u64,
    },
}

impl Order {
    pub(super) fn parse(text: &str) -> Option<Order> {
        let mut parts = text.split(':');
        let (point, step) = (parts.next()?, parts.next()?);
        let point = *Point::ALL.iter().find(|known| known.name() == point)?;
        let step = *Step::ALL.iter().find(|known| known.name() == step)?;
        let mut order = Order { point, step, nth: 1, loss: None };
        for part in parts {
            match part.split_once('=').unwrap_or((part, "")) {
                ("nth", number) => order.nth = number.parse().ok().filter(|nth| *nth > 0)?,
                ("lose", "") => order.loss = Some(Loss::All),
                ("lose", seed) => order.loss = Some(Loss::Some { seed: seed.parse().ok()? }),
                _ => return None,
            }
        }
        Some(order)
    }
}

struct Armed {
    order: Order,
    passed: AtomicU64,
    fired: Option<PathBuf>,
}

static ARMED: LazyLock<Option<Armed>> = LazyLock::new(|| {
    let text = std::env::var("MAINSTAY_FAILPOINT").ok()?;
    let fired = std::env::var_os("MAINSTAY_FAILPOINT_FIRED").map(PathBuf::from);
    if fired.as_deref().is_some_and(Path::exists) {
        return None;
    }
    let order = Order::parse(&text);
    if order.is_none() {
        tracing::error!(order = text, "MAINSTAY_FAILPOINT orders nothing that there is");
    }
    Some(Armed { order: order?, passed: AtomicU64::new(0), fired })
});

struct Seen {
    file: PathBuf,
    pairs: Mutex<BTreeSet<(Point, Step)>>,
}

static SEEN: LazyLock<Option<Seen>> =
    LazyLock::new(|| std::env::var_os("MAINSTAY_FAILPOINTS_SEEN").map(|file| Seen { file: file.into(), pairs: Mutex::default() }));

/// Whether the disk is to forget something when this process dies: then it has to be known what.
pub(super) fn loses() -> bool {
    ARMED.as_ref().is_some_and(|armed| armed.order.loss.is_some())
}

/// Which points the writes to a file count for. Clones change together.
#[derive(Debug, Clone, Default)]
pub struct Doing {
    points: Arc<Mutex<Vec<Point>>>,
}

impl Doing {
    #[must_use]
    pub fn of(point: Point) -> Doing {
        Doing { points: Arc::new(Mutex::new(vec![point])) }
    }

    /// From here on, the writes count for these.
    pub fn now(&self, points: &[Point]) {
        points.clone_into(&mut lock(&self.points));
    }

    /// Says that a write has come so far. An error is the disk's.
    pub(crate) fn reach(&self, step: Step) -> io::Result<()> {
        for point in lock(&self.points).clone() {
            note(point, step);
            if ordered(point, step) {
                die(point, step);
            }
            if let Some(disk) = DISK.get() {
                disk(point, step)?;
            }
        }
        Ok(())
    }

    /// Whether a write is to be torn now; the caller writes a half, and reaches [`Step::Torn`].
    pub(crate) fn is_torn(&self) -> bool {
        let about = |armed: &Armed| armed.order.step == Step::Torn && lock(&self.points).contains(&armed.order.point);
        let torn = ARMED.as_ref().is_some_and(|armed| about(armed) && armed.passed.fetch_add(1, Ordering::Relaxed) + 1 == armed.order.nth);
        for point in lock(&self.points).clone() {
            note(point, Step::Torn);
        }
        torn
    }

    /// The half of a torn write is there.
    pub(crate) fn tear(&self) {
        if let Some(armed) = ARMED.as_ref() {
            die(armed.order.point, Step::Torn);
        }
    }
}

fn ordered(point: Point, step: Step) -> bool {
    let Some(armed) = ARMED.as_ref().filter(|armed| (armed.order.point, armed.order.step) == (point, step)) else { return false };
    step != Step::Torn && armed.passed.fetch_add(1, Ordering::Relaxed) + 1 == armed.order.nth
}

/// Is told of every step that is passed, in the thread that passes it.
static WITNESS: OnceLock<fn(Point, Step)> = OnceLock::new();

/// From here on, a process that simulates several machines is told where each of them stands. Once for a process.
pub fn witness(witness: fn(Point, Step)) {
    // Whoever comes second finds what the first one wanted.
    let _ = WITNESS.set(witness);
}

/// Says for every step that is passed whether the disk takes it.
static DISK: OnceLock<fn(Point, Step) -> io::Result<()>> = OnceLock::new();

/// From here on, the disks of a process that simulates several machines may refuse: what is refused is not written, and
/// not synced. Once for a process.
pub fn refuse_by(disk: fn(Point, Step) -> io::Result<()>) {
    // Whoever comes second finds what the first one wanted.
    let _ = DISK.set(disk);
}

fn note(point: Point, step: Step) {
    if let Some(witness) = WITNESS.get() {
        witness(point, step);
    }
    let Some(seen) = SEEN.as_ref() else { return };
    if lock(&seen.pairs).insert((point, step)) {
        append(&seen.file, &format!("{} {}\n", point.name(), step.name()));
    }
}

/// Ends this process as `kill -9` does, or as a power cut.
fn die(point: Point, step: Step) {
    let Some(armed) = ARMED.as_ref() else { return };
    // Nobody changes the disk from here on.
    let mut held = effects::hold();
    if let Some(loss) = armed.order.loss {
        held.lose(loss);
    }
    if let Some(fired) = &armed.fired {
        append(fired, &format!("{} {}\n", point.name(), step.name()));
    }
    loop {
        // A process may always end itself.
        let _ = kill_process(getpid(), Signal::KILL);
        std::thread::park();
    }
}

fn append(file: &Path, line: &str) {
    // A test finds out that its marks are missing.
    let _ = File::options().create(true).append(true).open(file).and_then(|mut file| file.write_all(line.as_bytes()));
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
