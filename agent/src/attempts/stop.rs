//! Asking one attempt to stop, and remembering why.

use std::sync::{Arc, OnceLock};

use tokio_util::sync::CancellationToken;

/// Why an attempt is to stop. The first reason counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopReason {
    /// Its run was aborted, or the mesh does not want it any more.
    CalledOff,
    /// It has had its time, by the mesh's clock or by this agent's.
    TimedOut,
    /// This agent ends.
    Leaving,
}

/// A cheap handle; clones mean the same attempt.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    token: CancellationToken,
    reason: Arc<OnceLock<StopReason>>,
}

impl Stop {
    /// Asks it to stop. Asking again changes nothing.
    pub fn stop(&self, reason: StopReason) {
        self.reason.get_or_init(|| reason);
        self.token.cancel();
    }

    #[must_use]
    pub fn reason(&self) -> Option<StopReason> {
        self.reason.get().copied()
    }

    /// Ends when it has been asked.
    pub async fn stopped(&self) {
        self.token.cancelled().await;
    }

    /// What executors listen to.
    #[must_use]
    pub fn token(&self) -> CancellationToken {
        self.token.clone()
    }
}
