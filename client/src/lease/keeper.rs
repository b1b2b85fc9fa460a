//! Renews a lease until it is lost or given up.

use std::sync::Arc;
use std::time::Duration;

use mainstay_proto::v1;
use tokio_util::sync::CancellationToken;
use tonic::Code;

use super::term::{Term, until};
use super::together;
use crate::clock::Clock;
use crate::error::CallError;
use crate::mesh::Mesh;
use crate::random::{self, Backoff};

/// Longest that a renewal may take; one of a lease that ends sooner has what is left of it.
const RENEWAL: Duration = Duration::from_secs(10);

pub(super) struct Keeper {
    pub mesh: Mesh,
    pub request: v1::RenewRequest,
    pub ttl: Duration,
    /// When the request was sent whose answer granted the lease.
    pub sent: Duration,
    pub term: Term,
}

impl Keeper {
    /// Returns when the lease is lost or `stop` says so. However it ends, nobody counts on the lease after.
    pub async fn keep(self, stop: CancellationToken) {
        let _guard = lost_when_dropped(self.term.clone());
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = self.term.over() => {}
            () = self.renew() => {}
        }
    }

    /// Renews at a third of the TTL, until the mesh says that the lease is gone.
    async fn renew(&self) {
        let clock: Arc<dyn Clock> = self.mesh.clock().clone();
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        let mut next = self.sent + random::jitter(self.ttl / 3, 0.1);
        loop {
            until(&clock, next).await;
            let sent = clock.monotonic();
            let deadline = self.term.left().unwrap_or(RENEWAL).min(RENEWAL);
            match together::renew(&self.mesh, self.request.clone(), deadline).await {
                Ok(answer) => {
                    let ttl = if answer.ttl_ms == 0 { self.ttl } else { Duration::from_millis(answer.ttl_ms) };
                    self.term.extend(sent, ttl);
                    backoff.reset();
                    next = sent + random::jitter(ttl / 3, 0.1);
                }
                Err(error) if is_gone(&error) => {
                    tracing::info!(%error, name = self.request.name, "the mesh says that the lease is lost");
                    return;
                }
                Err(error) => {
                    tracing::debug!(%error, name = self.request.name, "could not renew the lease yet");
                    next = clock.monotonic() + backoff.pause();
                }
            }
        }
    }
}

/// Whether the mesh says that the lease is not held under this token.
pub(super) fn is_gone(error: &CallError) -> bool {
    matches!(error.code(), Some(Code::FailedPrecondition | Code::NotFound | Code::PermissionDenied))
}

/// Declares the lease lost when dropped, also by a panic or the runtime's end.
fn lost_when_dropped(term: Term) -> impl Drop {
    struct Lost(Term);
    impl Drop for Lost {
        fn drop(&mut self) {
            self.0.lose();
        }
    }
    Lost(term)
}
