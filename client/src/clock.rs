//! The clock seam: the only place that reads a clock.
#![allow(clippy::disallowed_methods, reason = "this module is the seam")]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mainstay_core::time::WallTime;
use rustix::time::{ClockId, clock_gettime};

/// Both clocks of a machine.
pub trait Clock: Send + Sync + 'static {
    /// Wall clock; may jump in either direction.
    fn wall(&self) -> WallTime;
    /// Since boot. Never goes back, and counts the time in which the machine was suspended: a lease runs out
    /// while a laptop sleeps.
    fn monotonic(&self) -> Duration;
}

/// The machine's own clocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn wall(&self) -> WallTime {
        // By way of the C library, as every other program asks: so that a clock can be set for one process only.
        let since = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(after) => WallTime(since(after)),
            Err(before) => WallTime(-since(before.duration())),
        }
    }

    fn monotonic(&self) -> Duration {
        let now = clock_gettime(ClockId::Boottime);
        Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0))
    }
}
