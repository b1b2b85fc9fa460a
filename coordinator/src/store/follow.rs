//! Turns what openraft and the state machine tell into [`Leadership`], and stops openraft when somebody
//! else has found a reason to.

use mainstay_core::MemberId;
use openraft::ServerState;
use openraft::async_runtime::watch::WatchReceiver;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::error::StopReason;
use super::failure::Failure;
use super::leadership::{Leader, Leadership, Role, Tenure};
use super::machine::Applied;
use super::raft::{Metrics, Raft};

/// Keeps the answer up to date until `end`.
pub fn leadership(
    tasks: &TaskTracker,
    end: CancellationToken,
    me: MemberId,
    raft: Raft,
    mut applied: watch::Receiver<Applied>,
    failure: Failure,
) -> watch::Receiver<Leadership> {
    let mut metrics = raft.metrics();
    let (told, leadership) = watch::channel(derive(me, &metrics.borrow_watched(), applied.borrow().tenure));
    tasks.spawn(async move {
        let mut failed = failure.watch();
        loop {
            let changed = async {
                tokio::select! {
                    changed = metrics.changed() => changed.is_ok(),
                    changed = applied.changed() => changed.is_ok(),
                    _ = failed.wait_for(Option::is_some) => false,
                }
            };
            let alive = end.run_until_cancelled(changed).await.unwrap_or(false);
            let tenure = applied.borrow_and_update().tenure;
            let now = derive(me, &metrics.borrow_and_update(), tenure);
            if !alive || now.role == Role::Stopped {
                break;
            }
            told.send_if_modified(|before| std::mem::replace(before, now.clone()) != now);
        }
        if failure.reason().is_none() && !end.is_cancelled() {
            let running = metrics.borrow_watched().running_state.clone();
            failure.stop(StopReason::Internal(running.err().map_or_else(|| "consensus ended".into(), |fatal| fatal.to_string())));
        }
        told.send_modify(|before| before.role = Role::Stopped);
        if let Err(error) = raft.shutdown().await {
            tracing::warn!(%error, "consensus did not end cleanly");
        }
    });
    leadership
}

fn derive(me: MemberId, metrics: &Metrics, applied: Tenure) -> Leadership {
    let tenure = Tenure::of(metrics.vote.leader_id());
    let role = match metrics.state {
        ServerState::Leader if metrics.vote.is_committed() && tenure.member == me => Role::Leading { tenure, settled: tenure == applied },
        ServerState::Leader | ServerState::Candidate => Role::Campaigning,
        ServerState::Follower => Role::Following,
        ServerState::Learner => Role::Learning,
        ServerState::Shutdown => Role::Stopped,
    };
    let role = if metrics.running_state.is_err() { Role::Stopped } else { role };
    let leader = metrics.current_leader.map(|id| Leader { id: MemberId(id), peer: metrics.membership_config.get_node(&id).cloned() });
    Leadership { term: metrics.current_term, leader, role }
}
