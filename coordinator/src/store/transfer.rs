//! Giving leadership to another member.

use std::time::Duration;

use mainstay_core::MemberId;
use tokio::time::timeout;

use super::consensus::Consensus;
use super::error::{StopReason, TransferError};
use super::raft::{Peer, node};

impl Consensus {
    /// Gives leadership to `to`, or to the best of those that can lead: room on its disk, nothing lacking.
    /// Succeeds when another member leads.
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
        let target = self.would_lead(to).await?;
        self.inner.raft.trigger().transfer_leader(node(target)).await.map_err(|fatal| TransferError::Stopped(self.stop_reason(&fatal)))?;
        let mut leadership = self.leadership();
        let me = self.inner.member;
        let passed = timeout(deadline, leadership.wait_for(|now| now.leader.as_ref().is_some_and(|leader| leader.id != me)));
        let found = match passed.await {
            Ok(Ok(now)) => now.leader.as_ref().map(|leader| leader.id),
            Ok(Err(_)) => return Err(TransferError::Stopped(self.inner.failure.reason().unwrap_or(StopReason::Asked))),
            Err(_) => None,
        };
        found.ok_or(TransferError::TimedOut { to: target, waited: deadline })
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
