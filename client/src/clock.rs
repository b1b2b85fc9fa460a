//! The clock seam. [`SystemClock`] is the only place of the project that reads a clock.
//!
//! Two clocks, never mixed: [`Clock::wall`] is what certificates, schedules and people use, and may jump either way;
//! [`Clock::monotonic`] is what leases, deadlines and backoff use. The monotonic one counts the time for which the
//! machine was suspended: a laptop that slept for an hour must find its lease gone, not an hour long.
//!
//! Timers (`tokio::time::sleep`) may stand still during a suspend. Whoever holds something by time therefore looks at
//! [`Clock::monotonic`] again after waking, before acting on what it held.

use std::fmt;
use std::ops::Add;
use std::sync::Mutex;
use std::time::Duration;

use mainstay_core::time::WallTime;
use rustix::time::{ClockId, clock_gettime};

/// Where time comes from. Shared as `Arc<dyn Clock>`.
pub trait Clock: fmt::Debug + Send + Sync {
    /// Milliseconds since the Unix epoch. May jump.
    fn wall(&self) -> WallTime;

    /// Time that only grows, suspends included.
    fn monotonic(&self) -> Monotonic;
}

/// A reading of [`Clock::monotonic`]: comparable within one boot of one machine, meaningless elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Monotonic(Duration);

impl Monotonic {
    /// A reading from the time since boot.
    #[must_use]
    pub const fn from_boot(since_boot: Duration) -> Self {
        Monotonic(since_boot)
    }

    /// The time since boot.
    #[must_use]
    pub const fn since_boot(self) -> Duration {
        self.0
    }

    /// How long ago `earlier` was; zero when it lies ahead.
    #[must_use]
    pub fn since(self, earlier: Monotonic) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Monotonic {
    type Output = Monotonic;
    fn add(self, by: Duration) -> Monotonic {
        Monotonic(self.0.saturating_add(by))
    }
}

/// The machine's clocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn wall(&self) -> WallTime {
        let now = clock_gettime(ClockId::Realtime);
        WallTime(now.tv_sec.saturating_mul(1_000).saturating_add(now.tv_nsec / 1_000_000))
    }

    fn monotonic(&self) -> Monotonic {
        let now = clock_gettime(ClockId::Boottime);
        // Neither field is negative on this clock; a kernel that said so would be read as boot.
        let secs = u64::try_from(now.tv_sec).unwrap_or(0);
        let nanos = u32::try_from(now.tv_nsec).unwrap_or(0);
        Monotonic(Duration::new(secs, nanos))
    }
}

/// A clock that stands still until told otherwise, for tests and simulation.
#[derive(Debug)]
pub struct ManualClock(Mutex<(WallTime, Monotonic)>);

impl ManualClock {
    /// A clock that shows `wall`, one hour after boot.
    #[must_use]
    pub fn at(wall: WallTime) -> Self {
        ManualClock(Mutex::new((wall, Monotonic(Duration::from_secs(3_600)))))
    }

    /// Lets time pass: both clocks move.
    pub fn advance(&self, by: Duration) {
        self.change(|(wall, monotonic)| {
            wall.0 = wall.0.saturating_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX));
            *monotonic = *monotonic + by;
        });
    }

    /// Sets the wall clock, in either direction; the monotonic clock does not notice.
    pub fn set_wall(&self, to: WallTime) {
        self.change(|(wall, _)| *wall = to);
    }

    fn change(&self, change: impl FnOnce(&mut (WallTime, Monotonic))) {
        change(&mut self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
    }

    fn read(&self) -> (WallTime, Monotonic) {
        *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Clock for ManualClock {
    fn wall(&self) -> WallTime {
        self.read().0
    }

    fn monotonic(&self) -> Monotonic {
        self.read().1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jump_of_the_wall_clock_does_not_move_the_other() {
        let clock = ManualClock::at(WallTime(1_000_000));
        let before = clock.monotonic();
        clock.set_wall(WallTime(5));
        assert_eq!((clock.wall(), clock.monotonic()), (WallTime(5), before));
        clock.advance(Duration::from_secs(2));
        assert_eq!(clock.wall(), WallTime(2_005));
        assert_eq!(clock.monotonic().since(before), Duration::from_secs(2));
        assert_eq!(before.since(clock.monotonic()), Duration::ZERO);
    }

    #[test]
    fn the_machines_clocks_are_plausible() {
        let (clock, year_2025) = (SystemClock, WallTime(1_735_689_600_000));
        assert!(clock.wall() > year_2025, "{:?}", clock.wall());
        let first = clock.monotonic();
        assert!(clock.monotonic() >= first);
        assert!(first.since_boot() > Duration::ZERO);
    }
}
