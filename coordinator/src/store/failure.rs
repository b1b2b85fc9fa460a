//! The reason for which a member has stopped. The first one stays.

use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;

use tokio::sync::watch;

use super::error::StopReason;

/// Shared by everything that can find a reason to stop. Setting it stops the member.
#[derive(Debug, Clone)]
pub struct Failure(Arc<watch::Sender<Option<StopReason>>>);

impl Default for Failure {
    fn default() -> Failure {
        Failure(Arc::new(watch::channel(None).0))
    }
}

impl Failure {
    pub fn stop(&self, reason: StopReason) {
        self.0.send_if_modified(|present| {
            if present.is_some() {
                return false;
            }
            if reason != StopReason::Asked {
                tracing::error!(%reason, "this member stops");
            }
            *present = Some(reason);
            true
        });
    }

    pub fn write_failed(&self, file: &Path, error: &dyn Display) {
        self.stop(StopReason::WriteFailed { file: file.display().to_string(), error: error.to_string() });
    }

    pub fn damaged(&self, file: &Path, what: &dyn Display) {
        self.stop(StopReason::Damaged { file: file.to_owned(), what: what.to_string() });
    }

    pub fn reason(&self) -> Option<StopReason> {
        self.0.borrow().clone()
    }

    /// The reason, or, if nobody has given one, what the caller has at hand.
    pub fn or_internal(&self, error: &dyn Display) -> StopReason {
        self.reason().unwrap_or_else(|| StopReason::Internal(error.to_string()))
    }

    pub fn watch(&self) -> watch::Receiver<Option<StopReason>> {
        self.0.subscribe()
    }
}
