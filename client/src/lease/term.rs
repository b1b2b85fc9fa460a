//! How long a holder may be sure of its lease.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::clock::Clock;

/// Longest that a timer is trusted. The runtime's timers stand still while the machine is suspended, the
/// [`Clock`] does not: so it is looked at as often as this, whatever is waited for.
const LOOK: Duration = Duration::from_secs(1);
/// For a claim, which no time ends.
const ENDLESS: u64 = u64::MAX;

/// The end of a lease as its holder sees it: moved by each renewal, final once it has passed.
#[derive(Clone)]
pub(super) struct Term {
    clock: Arc<dyn Clock>,
    /// In milliseconds of [`Clock::monotonic`].
    sure_until: Arc<AtomicU64>,
    lost: CancellationToken,
}

impl Term {
    pub fn endless(clock: Arc<dyn Clock>) -> Term {
        Term { clock, sure_until: Arc::new(AtomicU64::new(ENDLESS)), lost: CancellationToken::new() }
    }

    /// `sent`: when the request was sent whose answer granted the lease.
    pub fn new(clock: Arc<dyn Clock>, sent: Duration, ttl: Duration) -> Term {
        Term { clock, sure_until: Arc::new(AtomicU64::new(end(sent, ttl))), lost: CancellationToken::new() }
    }

    /// A renewal sent at `sent` was answered. What has been lost stays lost.
    pub fn extend(&self, sent: Duration, ttl: Duration) {
        if self.sure_until.load(Ordering::SeqCst) != ENDLESS {
            self.sure_until.fetch_max(end(sent, ttl), Ordering::SeqCst);
        }
    }

    pub fn lose(&self) {
        self.lost.cancel();
    }

    /// What is left of it; nothing once it is lost, `None` for a claim.
    pub fn left(&self) -> Option<Duration> {
        match self.sure_until.load(Ordering::SeqCst) {
            _ if self.lost.is_cancelled() => Some(Duration::ZERO),
            ENDLESS => None,
            end => Some(Duration::from_millis(end).saturating_sub(self.clock.monotonic())),
        }
    }

    /// Looks at the clock, so that it is right also in the first moment after a suspend.
    pub fn is_over(&self) -> bool {
        let over = self.left().is_some_and(|left| left.is_zero());
        if over {
            self.lose();
        }
        over
    }

    /// Waits for the end.
    pub async fn over(&self) {
        while !self.is_over() {
            let pause = self.left().unwrap_or(LOOK).min(LOOK);
            tokio::select! {
                () = self.lost.cancelled() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }
}

/// A tenth of the TTL before the mesh may hand the lease on.
fn end(sent: Duration, ttl: Duration) -> u64 {
    u64::try_from((sent + ttl - ttl / 10).as_millis()).unwrap_or(ENDLESS - 1).min(ENDLESS - 1)
}

/// Waits until `clock` shows `moment`.
pub(super) async fn until(clock: &Arc<dyn Clock>, moment: Duration) {
    loop {
        let left = moment.saturating_sub(clock.monotonic());
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left.min(LOOK)).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use mainstay_core::time::WallTime;

    use super::*;

    struct SetClock(Mutex<Duration>);

    impl Clock for SetClock {
        fn wall(&self) -> WallTime {
            WallTime(0)
        }

        fn monotonic(&self) -> Duration {
            *self.0.lock().unwrap()
        }
    }

    const TTL: Duration = Duration::from_secs(30);

    fn at(seconds: u64) -> (Arc<SetClock>, Term) {
        let clock = Arc::new(SetClock(Mutex::new(Duration::from_secs(seconds))));
        (clock.clone(), Term::new(clock, Duration::from_secs(100), TTL))
    }

    #[test]
    fn it_ends_a_tenth_of_the_ttl_early_and_counts_from_the_request() {
        let (clock, term) = at(105);
        assert_eq!(term.left(), Some(Duration::from_secs(22)));
        *clock.0.lock().unwrap() = Duration::from_millis(126_999);
        assert!(!term.is_over());
        *clock.0.lock().unwrap() = Duration::from_secs(127);
        assert!(term.is_over());
    }

    #[test]
    fn what_is_lost_stays_lost() {
        let (clock, term) = at(200);
        assert!(term.is_over());
        term.extend(Duration::from_secs(199), TTL);
        *clock.0.lock().unwrap() = Duration::from_secs(100);
        assert!(term.is_over());
    }

    #[test]
    fn an_answer_that_was_overtaken_shortens_nothing() {
        let (_, term) = at(110);
        term.extend(Duration::from_secs(108), TTL);
        term.extend(Duration::from_secs(104), TTL);
        assert_eq!(term.left(), Some(Duration::from_secs(25)));
    }

    #[test]
    fn no_time_ends_a_claim() {
        let clock = Arc::new(SetClock(Mutex::new(Duration::from_secs(1 << 40))));
        let term = Term::endless(clock);
        term.extend(Duration::ZERO, TTL);
        assert_eq!((term.left(), term.is_over()), (None, false));
        term.lose();
        assert!(term.is_over());
    }
}
