//! When this member last heard another one lead.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mainstay_core::MemberId;

use super::host::Stopwatch;

/// The last sign of a leader. A clone is the same.
#[derive(Clone)]
pub struct Signs {
    inner: Arc<Inner>,
}

struct Inner {
    watch: Stopwatch,
    last: Mutex<Option<(MemberId, Duration)>>,
}

impl Signs {
    pub fn new() -> Signs {
        Signs { inner: Arc::new(Inner { watch: Stopwatch::start(), last: Mutex::default() }) }
    }

    /// Time since this was made; all times here are of this clock.
    pub fn now(&self) -> Duration {
        self.inner.watch.elapsed()
    }

    /// A call has come that only a leader makes.
    pub fn heard(&self, leader: MemberId) {
        *self.inner.last.lock().unwrap_or_else(PoisonError::into_inner) = Some((leader, self.now()));
    }

    /// When that member was last heard, if it was the last one to be.
    pub fn last_of(&self, leader: MemberId) -> Option<Duration> {
        let last = *self.inner.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.filter(|(heard, _)| *heard == leader).map(|(_, at)| at)
    }
}
