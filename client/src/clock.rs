//! The clock seam: the only place that reads a clock.
#![allow(clippy::disallowed_methods, reason = "this module is the seam")]

use std::time::Duration;

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
        let now = clock_gettime(ClockId::Realtime);
        WallTime(now.tv_sec.saturating_mul(1_000).saturating_add(now.tv_nsec / 1_000_000))
    }

    fn monotonic(&self) -> Duration {
        let now = clock_gettime(ClockId::Boottime);
        Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0))
    }
}
