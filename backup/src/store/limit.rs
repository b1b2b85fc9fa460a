//! A limit of bytes a second, shared by all that goes to and comes from a store.

use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Interval, MissedTickBehavior, interval};

/// How often there is something to give out.
const TICK: Duration = Duration::from_millis(20);
/// Ticks in a second: what was not used for longer than that is gone.
const TICKS: u64 = 50;

/// Who passes waits until enough has been given out. One at a time waits, so that a large piece is not overtaken for ever.
pub(super) struct Limit {
    bytes_per_second: u64,
    left: Mutex<Left>,
}

struct Left {
    /// Begins when somebody passes for the first time: before that there may be no runtime.
    ticks: Option<Interval>,
    bytes: u64,
}

impl Limit {
    pub fn new(bytes_per_second: u64) -> Limit {
        Limit { bytes_per_second: bytes_per_second.max(TICKS), left: Mutex::new(Left { ticks: None, bytes: 0 }) }
    }

    pub async fn pass(&self, mut bytes: u64) {
        let mut left = self.left.lock().await;
        let Left { ticks, bytes: given } = &mut *left;
        let ticks = ticks.get_or_insert_with(|| {
            let mut ticks = interval(TICK);
            // What passed while a store was slow was not used, and may be made up for.
            ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
            ticks
        });
        while *given < bytes {
            bytes -= *given;
            *given = 0;
            ticks.tick().await;
            *given = self.bytes_per_second / TICKS;
        }
        *given -= bytes;
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    #[allow(clippy::disallowed_methods, reason = "the clock of a test that has one of its own")]
    async fn a_second_passes_for_what_may_pass_in_a_second() {
        let limit = Limit::new(1_000_000);
        let began = Instant::now();
        for _ in 0..20 {
            limit.pass(100_000).await;
        }
        let took = began.elapsed();
        assert!(took >= Duration::from_millis(1900) && took <= Duration::from_millis(2100), "{took:?}");
    }
}
