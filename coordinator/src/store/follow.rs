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
use super::raft::{Raft, Standing};

/// Keeps the answer up to date until `end`.
pub fn leadership(
    tasks: &TaskTracker,
    end: CancellationToken,
    me: MemberId,
    raft: Raft,
    mut applied: watch::Receiver<Applied>,
    failure: Failure,
) -> watch::Receiver<Leadership> {
    // The metrics as a whole change with every entry, and this does not.
    let mut standing = raft.server_metrics();
    let mut tenure = applied.borrow_and_update().tenure;
    let (told, leadership) = watch::channel(derive(me, &standing.borrow_and_update(), tenure));
    tasks.spawn(async move {
        let mut failed = failure.watch();
        loop {
            let changed = async {
                tokio::select! {
                    changed = standing.changed() => changed.is_ok(),
                    changed = applied.wait_for(|now| now.tenure != tenure) => changed.is_ok(),
                    _ = failed.wait_for(Option::is_some) => false,
                }
            };
            let alive = end.run_until_cancelled(changed).await.unwrap_or(false);
            tenure = applied.borrow_and_update().tenure;
            let now = derive(me, &standing.borrow_and_update(), tenure);
            if !alive || now.role == Role::Stopped {
                break;
            }
            told.send_if_modified(|before| std::mem::replace(before, now.clone()) != now);
        }
        if failure.reason().is_none() && !end.is_cancelled() {
            let running = raft.metrics().borrow_watched().running_state.clone();
            failure.stop(StopReason::Internal(running.err().map_or_else(|| "consensus ended".into(), |fatal| fatal.to_string())));
        }
        told.send_modify(|before| before.role = Role::Stopped);
        if let Err(error) = raft.shutdown().await {
            tracing::warn!(%error, "consensus did not end cleanly");
        }
    });
    leadership
}

fn derive(me: MemberId, standing: &Standing, applied: Tenure) -> Leadership {
    let tenure = Tenure::of(standing.vote.leader_id());
    let role = match standing.state {
        ServerState::Leader if standing.vote.is_committed() && tenure.member == me => Role::Leading { tenure, settled: tenure == applied },
        ServerState::Leader | ServerState::Candidate => Role::Campaigning,
        ServerState::Follower => Role::Following,
        ServerState::Learner => Role::Learning,
        ServerState::Shutdown => Role::Stopped,
    };
    let leader = standing.current_leader.map(|id| Leader { id: MemberId(id), peer: standing.membership_config.get_node(&id).cloned() });
    Leadership { term: tenure.term, leader, role }
}
