//! Keeps [`Vigil`] over the leader of a member that follows: what it decides is carried out here.

use mainstay_core::MemberId;
use openraft::async_runtime::watch::WatchReceiver;
use tokio_util::sync::CancellationToken;

use super::consensus::{Consensus, Inner};
use super::leadership::Tenure;
use super::raft::{Metrics, Peer, TransferRequest, node};
use super::vigil::{Step, Vigil};

/// Watches until `end`.
pub fn watch(consensus: &Consensus, end: &CancellationToken) {
    let member = std::sync::Arc::downgrade(&consensus.inner);
    let end = end.clone();
    let heartbeat = consensus.inner.settings.heartbeat;
    consensus.tasks().spawn(async move {
        let mut vigil = Vigil::new(heartbeat);
        loop {
            let Some(inner) = member.upgrade() else { return };
            let (leader, signs) = (inner.followed(), inner.signs.clone());
            let last_sign = leader.as_ref().and_then(|followed| signs.last_of(followed.tenure.member));
            let step = vigil.next(signs.now(), leader.as_ref().map(|followed| followed.tenure), last_sign);
            let done = async {
                match (step, leader) {
                    (Step::Ask(tenure), Some(followed)) => {
                        let word = inner.dialer.leads(tenure, &followed.peer, heartbeat * 2).await;
                        if vigil.told(signs.now(), tenure, word, followed.turn) {
                            tracing::info!(leader = %tenure.member, term = tenure.term, "the leader's process has ended: it is not waited for");
                            inner.let_go(tenure).await;
                        }
                    }
                    (Step::Stand, _) => inner.stand().await,
                    (Step::Look(after), _) => {
                        // The member may end meanwhile.
                        drop(inner);
                        tokio::time::sleep(after).await;
                    }
                    (Step::Ask(_), None) => {}
                }
            };
            if end.run_until_cancelled(done).await.is_none() {
                return;
            }
        }
    });
}

/// Whom a voter follows.
struct Followed {
    tenure: Tenure,
    peer: Peer,
    /// This member's place among the voters that may follow the leader.
    turn: u32,
}

impl Inner {
    fn followed(&self) -> Option<Followed> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        followed(self.member, &metrics)
    }

    /// The lease of a leader whose process has ended keeps nobody from a vote any longer. That is what openraft does on
    /// the leader's own word that it gives leadership to another one; here it goes to nobody in particular.
    async fn let_go(&self, tenure: Tenure) {
        let vote = self.raft.metrics().borrow_watched().vote;
        if Tenure::of(vote.leader_id()) != tenure {
            return;
        }
        let gone = TransferRequest::new(vote, node(tenure.member), None);
        if let Err(error) = self.raft.handle_transfer_leader(gone).await {
            tracing::debug!(%error, "the leader's lease stays");
        }
    }

    async fn stand(&self) {
        if let Err(error) = self.raft.trigger().elect(true).await {
            tracing::debug!(%error, "this member does not stand for election");
        }
    }
}

fn followed(me: MemberId, metrics: &Metrics) -> Option<Followed> {
    let tenure = Tenure::of(metrics.vote.leader_id());
    if !metrics.vote.is_committed() || tenure.member == me {
        return None;
    }
    let mut heirs: Vec<u64> = metrics.membership_config.voter_ids().filter(|id| *id != node(tenure.member)).collect();
    heirs.sort_unstable();
    let turn = heirs.iter().position(|id| *id == node(me))?;
    let peer = metrics.membership_config.get_node(&node(tenure.member))?.clone();
    Some(Followed { tenure, peer, turn: u32::try_from(turn).ok()? })
}
