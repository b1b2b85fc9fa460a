//! Mesh time, as a leader tells it.

use std::time::Duration;

use mainstay_core::MeshTime;

/// The mesh time at which this member began to lead, and its own monotonic progress since. The wall clock has
/// no part in it; without a leader mesh time stands still.
#[derive(Debug, Clone, Copy)]
pub struct MeshClock {
    base: MeshTime,
    since: Duration,
}

impl MeshClock {
    /// Goes on from `base`, the newest entry's time, at `monotonic` of this machine's clock.
    #[must_use]
    pub fn starting(base: MeshTime, monotonic: Duration) -> MeshClock {
        MeshClock { base, since: monotonic }
    }

    /// Mesh time at `monotonic`.
    #[must_use]
    pub fn at(&self, monotonic: Duration) -> MeshTime {
        let progress = monotonic.saturating_sub(self.since).as_millis();
        MeshTime(self.base.0.saturating_add(u64::try_from(progress).unwrap_or(u64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_on_from_the_last_entry_and_never_back() {
        let clock = MeshClock::starting(MeshTime(5_000), Duration::from_secs(100));
        assert_eq!(clock.at(Duration::from_secs(100)), MeshTime(5_000));
        assert_eq!(clock.at(Duration::from_millis(101_250)), MeshTime(6_250));
        assert_eq!(clock.at(Duration::from_secs(99)), MeshTime(5_000), "a clock that goes back does not take mesh time with it");
        assert_eq!(clock.at(Duration::MAX), MeshTime(u64::MAX));
    }
}
