//! The clocks of a simulated machine: one that may run fast or slow, and one that people set.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use mainstay_client::clock::Clock;
use mainstay_core::time::WallTime;

use crate::library;

/// For how long a machine has been up when a simulation begins.
const UPTIME: Duration = Duration::from_secs(3_600);

/// Clones are the same machine's.
#[derive(Debug, Clone)]
pub struct MachineClock {
    /// How much faster than time itself, in millionths.
    drift: i64,
    /// How far the wall clock is ahead, in milliseconds.
    set: Arc<AtomicI64>,
}

impl MachineClock {
    pub fn new(drift: i64) -> MachineClock {
        MachineClock { drift, set: Arc::default() }
    }

    /// Sets the wall clock so far ahead.
    pub fn set(&self, milliseconds: i64) {
        self.set.store(milliseconds, Ordering::SeqCst);
    }

    fn shown(&self, elapsed: Duration) -> Duration {
        let nanos = elapsed.as_nanos() as i128;
        let shown = nanos + nanos * i128::from(self.drift) / 1_000_000;
        UPTIME + Duration::from_nanos(shown as u64)
    }
}

thread_local! {
    /// The moment in which a process is being run: when it began, by the simulation and by the runtime.
    static MOMENT: Cell<Option<(Duration, tokio::time::Instant)>> = const { Cell::new(None) };
}

/// A process is being run from here on.
pub fn run_from(now: Duration, by_runtime: tokio::time::Instant) {
    MOMENT.set(Some((now, by_runtime)));
}

pub fn run_no_more() {
    MOMENT.set(None);
}

/// How much time has passed, to the moment where a process is being run.
pub fn elapsed() -> Duration {
    MOMENT.get().map_or_else(library::now, |(now, began)| now + tokio::time::Instant::now().saturating_duration_since(began))
}

impl Clock for MachineClock {
    fn wall(&self) -> WallTime {
        let now = (library::BEGIN + elapsed()).as_millis() as i64;
        WallTime(now + self.set.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> Duration {
        self.shown(elapsed())
    }
}
