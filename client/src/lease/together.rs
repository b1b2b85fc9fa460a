//! Renewals of one client, sent together: in, one renewal of each lease as it falls due; out, few calls of many.
//!
//! ```text
//!   keepers ── renew ──▶ waiting ── 20 ms, or 500 of them ──▶ one call ──▶ to each keeper its own answer
//! ```
//!
//! A lease's time counts from before its renewal came here, so that what it waits is on the safe side.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use mainstay_proto::v1;
use tokio::sync::{Notify, oneshot};
use tonic::Code;

use crate::error::CallError;
use crate::mesh::Mesh;

/// How long the first renewal waits for others. Well below a third of the shortest TTL, which is 2 s.
const GATHER: Duration = Duration::from_millis(20);
/// Renewals of one call: what the mesh takes at most.
const CALL_MAX: usize = 500;
/// Renewals that are on their way together where each needs a call of its own.
const AT_ONCE: usize = 32;

/// Renewals that wait for their call, of all clones of one client.
#[derive(Default)]
pub(crate) struct Together {
    waiting: Mutex<Vec<Waiting>>,
    /// There are enough for a call.
    full: Notify,
}

struct Waiting {
    request: v1::RenewRequest,
    deadline: Duration,
    answer: oneshot::Sender<Answer>,
}

type Answer = Result<v1::RenewResponse, CallError>;

impl Together {
    fn waiting(&self) -> MutexGuard<'_, Vec<Waiting>> {
        // A list is whole after each change.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds to those that wait; says whether it is the first, whose part it is to have them sent.
    fn add(&self, waiting: Waiting) -> bool {
        let mut all = self.waiting();
        all.push(waiting);
        if all.len() >= CALL_MAX {
            self.full.notify_one();
        }
        all.len() == 1
    }
}

/// Renews a lease, together with others of the same client. Ends within `deadline`, or the shortest of those that
/// are sent with it, and the time that it waits for them.
pub(super) async fn renew(mesh: &Mesh, request: v1::RenewRequest, deadline: Duration) -> Answer {
    let (answer, answered) = oneshot::channel();
    if mesh.together().add(Waiting { request, deadline, answer }) {
        tokio::spawn(send_soon(mesh.clone()));
    }
    // Dropped only with the runtime.
    answered.await.unwrap_or(Err(CallError::DeadlineExceeded(deadline)))
}

async fn send_soon(mesh: Mesh) {
    tokio::select! {
        () = tokio::time::sleep(GATHER) => {}
        () = mesh.together().full.notified() => {}
    }
    let mut all = std::mem::take(&mut *mesh.together().waiting());
    while !all.is_empty() {
        let rest = all.split_off(all.len().min(CALL_MAX));
        tokio::spawn(send(mesh.clone(), all));
        all = rest;
    }
}

/// One call, if the mesh takes it, else one for each.
async fn send(mesh: Mesh, mut all: Vec<Waiting>) {
    // Whoever stopped waiting wants no renewal.
    all.retain(|waiting| !waiting.answer.is_closed());
    let Some(deadline) = all.iter().map(|waiting| waiting.deadline).min() else { return };
    if all.len() > 1 {
        let request = v1::RenewManyRequest { leases: all.iter().map(|waiting| waiting.request.clone()).collect() };
        match mesh.clone().with_deadline(deadline).renew_leases(request).await {
            Ok(answer) if answer.renewals.len() == all.len() => {
                for (waiting, renewal) in all.into_iter().zip(answer.renewals) {
                    // Whoever waited may be gone.
                    drop(waiting.answer.send(told(renewal)));
                }
                return;
            }
            // A no to all is not the answer to any of them: it may be about one, and each hears its own below. A
            // coordinator of an older version does not know the call.
            Ok(_) => tracing::warn!("the mesh answered another number of renewals than it was asked for: each is asked for by itself"),
            Err(error) if is_no(&error) => tracing::debug!(%error, "leases are renewed one by one"),
            Err(error) => {
                all.into_iter().for_each(|waiting| drop(waiting.answer.send(Err(error.clone()))));
                return;
            }
        }
    }
    let renew = |waiting: Waiting| {
        let mesh = mesh.clone().with_deadline(waiting.deadline);
        async move { drop(waiting.answer.send(mesh.renew_lease(waiting.request).await)) }
    };
    futures::stream::iter(all).for_each_concurrent(AT_ONCE, renew).await;
}

fn is_no(error: &CallError) -> bool {
    !error.is_transient() && matches!(error, CallError::Refused { .. })
}

/// As the call for one lease says it.
fn told(renewal: v1::Renewal) -> Answer {
    match renewal {
        v1::Renewal { ttl_ms: 0, lost } => Err(CallError::Refused { code: Code::FailedPrecondition, message: lost }),
        v1::Renewal { ttl_ms, .. } => Ok(v1::RenewResponse { ttl_ms }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_lease_has_its_own_answer() {
        assert_eq!(told(v1::Renewal { ttl_ms: 2_000, lost: String::new() }).unwrap().ttl_ms, 2_000);
        let lost = told(v1::Renewal { ttl_ms: 0, lost: "it is lost".into() }).unwrap_err();
        assert_eq!((lost.code(), lost.to_string().as_str()), (Some(Code::FailedPrecondition), "it is lost"));
    }

    #[test]
    fn a_call_that_is_not_known_and_one_that_is_refused_are_made_one_by_one() {
        let refused = |code| CallError::Refused { code, message: String::new() };
        assert!([Code::Unimplemented, Code::PermissionDenied, Code::FailedPrecondition].into_iter().all(|code| is_no(&refused(code))));
        assert!(![Code::Unavailable, Code::ResourceExhausted].into_iter().any(|code| is_no(&refused(code))));
        assert!(!is_no(&CallError::DeadlineExceeded(GATHER)));
    }
}
