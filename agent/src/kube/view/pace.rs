//! How fast the API server is asked: at most [`BURST`] requests at once, and [`PER_SECOND`] after that, whatever goes
//! wrong; and not at all while it has asked for a pause.
#![allow(clippy::disallowed_methods, reason = "how long to sleep is counted on the clock that sleeps go by")]

use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

/// Requests a second in the long run. A list of 50,000 pods is a hundred.
pub const PER_SECOND: u32 = 10;
/// Requests that may follow each other at once.
pub const BURST: u32 = 10;
/// Longest pause that an API server can ask for: what it says may be wrong.
const HOLD_MAX: Duration = Duration::from_secs(60);

/// Shared by all that ask.
#[derive(Debug)]
pub struct Pace {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// When all of the burst is there again.
    full_at: Instant,
    hold_until: Instant,
}

impl Default for Pace {
    fn default() -> Pace {
        let now = Instant::now();
        Pace { state: Mutex::new(State { full_at: now, hold_until: now }) }
    }
}

impl Pace {
    /// Returns when a request may be made.
    pub async fn wait(&self) {
        let every = Duration::from_secs(1) / PER_SECOND;
        // Held while waiting: who came first goes first.
        let mut state = self.state.lock().await;
        loop {
            let now = Instant::now();
            let turn = (state.full_at + every).checked_sub(every * BURST).unwrap_or(now);
            let at = turn.max(state.hold_until);
            if at <= now {
                state.full_at = state.full_at.max(now) + every;
                return;
            }
            tokio::time::sleep_until(at).await;
        }
    }

    /// The API server wants nobody to ask for so long.
    pub async fn hold(&self, pause: Duration) {
        let mut state = self.state.lock().await;
        state.hold_until = state.hold_until.max(Instant::now() + pause.min(HOLD_MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn asked(pace: &Pace, times: u32) -> Duration {
        let begun = Instant::now();
        for _ in 0..times {
            pace.wait().await;
        }
        begun.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_goes_at_once_and_what_follows_at_its_pace() {
        let pace = Pace::default();
        assert_eq!(asked(&pace, BURST).await, Duration::ZERO);
        let took = asked(&pace, 3 * PER_SECOND).await;
        assert!((2_990..=3_050).contains(&took.as_millis()), "{took:?}");
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(asked(&pace, BURST).await, Duration::ZERO, "a pause gives the burst back");
        assert!(asked(&pace, 1).await > Duration::from_millis(90), "and no more than that");
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_asks_while_the_server_wants_a_pause() {
        let pace = Pace::default();
        pace.hold(Duration::from_secs(7)).await;
        let took = asked(&pace, 1).await;
        assert!((7_000..7_010).contains(&took.as_millis()), "{took:?}");
        pace.hold(Duration::from_secs(86_400)).await;
        assert!(asked(&pace, 1).await <= HOLD_MAX + Duration::from_millis(10));
    }
}
