//! A watcher's view of one lease: as it is, and again after each change. Level-triggered: a slow watcher
//! misses states in between, never the last one.

use std::sync::Arc;
use std::time::Duration;

use mainstay_core::LeaseName;
use mainstay_core::state::lease::Lease;
use mainstay_proto::convert::lease_to_wire;
use mainstay_proto::v1;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::status;
use crate::leader::Office;

/// Longest that a watcher may leave an event unread.
const PATIENCE: Duration = Duration::from_secs(60);

/// Sends until the watcher is gone or this member leads no more.
pub fn follow(office: Arc<Office>, name: LeaseName) -> ReceiverStream<Result<v1::Lease, Status>> {
    let (events, stream) = mpsc::channel(4);
    tokio::spawn(async move {
        let mut applied = office.consensus().applied();
        let mut told: Option<Option<Arc<Lease>>> = None;
        loop {
            let lease = applied.borrow_and_update().state.leases.get(&name).cloned();
            if told.as_ref() != Some(&lease) {
                let wire =
                    lease.as_ref().map_or_else(|| v1::Lease { name: name.to_string(), ..v1::Lease::default() }, |lease| lease_to_wire(&name, lease));
                if events.send_timeout(Ok(wire), PATIENCE).await.is_err() {
                    return;
                }
                told = Some(lease);
            }
            let last = tokio::select! {
                () = events.closed() => return,
                () = office.ended().cancelled() => status::not_leader("the leader has changed: watch again", None),
                changed = applied.changed() => match changed {
                    Ok(()) => continue,
                    Err(_) => status::not_leader("this member stops: watch again", None),
                },
            };
            // A watcher that does not take the last word is gone.
            let _ = events.send_timeout(Err(last), PATIENCE).await;
            return;
        }
    });
    ReceiverStream::new(stream)
}
