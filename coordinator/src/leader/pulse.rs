//! Notices that this process stood still: stopped, swapped out, or the machine asleep.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use mainstay_client::clock::Clock;

/// Between two beats.
pub(super) const BEAT: Duration = Duration::from_millis(250);
/// A beat so much later than planned means that the process stood still, and others may have been elected.
const LATE: Duration = Duration::from_millis(500);

/// Beats while the process runs.
#[derive(Debug)]
pub struct Pulse {
    state: Mutex<Beats>,
}

#[derive(Debug)]
struct Beats {
    last: Duration,
    stood_still: bool,
}

impl Pulse {
    #[must_use]
    pub fn starting(monotonic: Duration) -> Pulse {
        Pulse { state: Mutex::new(Beats { last: monotonic, stood_still: false }) }
    }

    /// Beats, and says whether the process stood still since that was last [forgiven](Pulse::forgive). Whoever
    /// runs first after standing still finds out.
    pub fn beat(&self, monotonic: Duration) -> bool {
        let mut beats = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        beats.stood_still |= monotonic > beats.last + BEAT + LATE;
        beats.last = monotonic;
        beats.stood_still
    }

    /// A majority has confirmed that this member still leads.
    pub fn forgive(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).stood_still = false;
    }

    /// Beats for ever.
    pub async fn run(&self, clock: &dyn Clock) {
        loop {
            tokio::time::sleep(BEAT).await;
            self.beat(clock.monotonic());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_shows_until_it_is_forgiven() {
        let at = Duration::from_millis;
        let pulse = Pulse::starting(at(0));
        assert!(!pulse.beat(at(250)) && !pulse.beat(at(1_000)));
        assert!(pulse.beat(at(1_751)));
        assert!(pulse.beat(at(1_800)), "a later beat does not hide it");
        pulse.forgive();
        assert!(!pulse.beat(at(2_000)));
    }
}
