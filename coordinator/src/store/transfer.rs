//! Giving leadership to another member.

use std::time::Duration;

use mainstay_core::MemberId;
use tokio::time::timeout;

use super::consensus::Consensus;
use super::error::{ChangeError, StopReason, TransferError};
use super::raft::{Peer, node};

/// Entries that a member may lack when it is asked to lead: as many as are sent to it in one message. It has the time of
/// an election for them; one that needs longer does not take over, and by then nobody leads any more.
const CLOSE: u64 = 512;

impl Consensus {
    /// Gives leadership to `to`, or to the best of those that can lead: room on its disk, little lacking, which is waited
    /// for. Succeeds when another member leads.
    pub async fn transfer_leadership(&self, to: Option<MemberId>) -> Result<MemberId, TransferError> {
        self.transfer_within(to, self.inner.settings.change_timeout).await
    }

    /// Who [`Consensus::transfer_leadership`] would have lead now.
    pub async fn would_lead(&self, to: Option<MemberId>) -> Result<MemberId, TransferError> {
        if !self.leadership_now().leads() {
            return Err(TransferError::NotLeader { leader: self.other_leader() });
        }
        self.successor(to).await
    }

    pub(super) async fn transfer_within(&self, to: Option<MemberId>, deadline: Duration) -> Result<MemberId, TransferError> {
        // As long for what it lacks as for its election.
        let half = deadline / 2;
        let target = self.would_lead(to).await?;
        self.await_lag(target, CLOSE, half).await.map_err(|error| match error {
            ChangeError::NotLeader { leader } => TransferError::NotLeader { leader },
            ChangeError::Stopped(reason) => TransferError::Stopped(reason),
            ChangeError::NotCaughtUp { lag, waited, .. } => {
                TransferError::NoCandidate(format!("{target} still lacks {lag} entries after {waited:?}"))
            }
            other => TransferError::NoCandidate(format!("{target}: {other}")),
        })?;
        self.inner.raft.trigger().transfer_leader(node(target)).await.map_err(|fatal| TransferError::Stopped(self.stop_reason(&fatal)))?;
        let mut leadership = self.leadership();
        let me = self.inner.member;
        let passed = timeout(half, leadership.wait_for(|now| now.leader.as_ref().is_some_and(|leader| leader.id != me)));
        let found = match passed.await {
            Ok(Ok(now)) => now.leader.as_ref().map(|leader| leader.id),
            Ok(Err(_)) => return Err(TransferError::Stopped(self.inner.failure.reason().unwrap_or(StopReason::Asked))),
            Err(_) => None,
        };
        found.ok_or(TransferError::TimedOut { to: target, waited: half })
    }

    /// Of the voters that are asked, furthest first, the first that says that it could lead.
    async fn successor(&self, wanted: Option<MemberId>) -> Result<MemberId, TransferError> {
        let group = self.group();
        let progress = self.progress();
        let mut candidates: Vec<(MemberId, Peer)> =
            group.voters.into_iter().filter(|(id, _)| *id != self.inner.member && wanted.is_none_or(|only| only == *id)).collect();
        candidates.sort_by_key(|(id, _)| std::cmp::Reverse(progress.as_ref().and_then(|p| p.matched(*id))));
        let mut refusals = Vec::new();
        for (id, peer) in candidates {
            match self.inner.dialer.readiness(id, &peer).await {
                Ok(true) => return Ok(id),
                Ok(false) => refusals.push(format!("{id} has no room on its disk")),
                Err(error) => refusals.push(format!("{id}: {error}")),
            }
        }
        if refusals.is_empty() {
            refusals.push(wanted.map_or_else(|| "there is no other voter".into(), |id| format!("{id} is no other voter")));
        }
        Err(TransferError::NoCandidate(refusals.join("; ")))
    }
}
