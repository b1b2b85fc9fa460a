//! The machine's clocks with an offset that a test moves, as a suspend does.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use mainstay_client::clock::{Clock, SystemClock};
use mainstay_core::time::WallTime;

#[derive(Clone, Default)]
pub struct ShiftedClock(Arc<AtomicI64>);

impl ShiftedClock {
    /// What a suspend looks like to a process: both clocks jump, and no timer of the runtime fires for it.
    pub fn jump(&self, by: Duration) {
        self.0.fetch_add(i64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
    }
}

impl Clock for ShiftedClock {
    fn wall(&self) -> WallTime {
        WallTime(SystemClock.wall().0 + self.0.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> Duration {
        SystemClock.monotonic() + Duration::from_millis(u64::try_from(self.0.load(Ordering::SeqCst)).unwrap())
    }
}
