//! Writing to the state and reading from it, as the leader.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mainstay_core::{Entry, Reply, State, bounds, codec};
use openraft::LinearizerOption;
use openraft::errors::{ClientWriteError, Fatal, LinearizableReadError, RaftError};
use openraft::impls::ProgressResponder;
use tokio::time::timeout;

use super::consensus::Consensus;
use super::error::{ProposeError, ReadError, StopReason};
use super::leadership::Tenure;
use super::raft::Payload;

/// What an entry's envelope (actor, key, times) may add to its command.
const ENVELOPE_BYTES: usize = 4 << 10;
/// What one permit stands for; a smaller proposal takes a whole one.
pub(super) const PERMIT_BYTES: usize = 4 << 10;

impl Consensus {
    /// Has the entry agreed on and applied, and answers with its reply. The reply comes after the entry is
    /// on the disks of a majority, and after [`Consensus::state`] here shows it.
    pub async fn propose(&self, entry: &Entry) -> Result<Reply, ProposeError> {
        self.submit(None, entry).await
    }

    /// The same, only while this member still leads in `tenure`: what was decided in one tenure is not
    /// proposed in another.
    pub async fn propose_in(&self, tenure: Tenure, entry: &Entry) -> Result<Reply, ProposeError> {
        self.submit(Some(tenure), entry).await
    }

    async fn submit(&self, tenure: Option<Tenure>, entry: &Entry) -> Result<Reply, ProposeError> {
        let inner = &self.inner;
        if let Some(reason) = inner.failure.reason() {
            return Err(ProposeError::Stopped(reason));
        }
        if !self.leadership_now().leads() {
            return Err(ProposeError::NotLeader { leader: self.other_leader() });
        }
        inner.space.admit().map_err(|free| ProposeError::DiskFull { free })?;
        let bytes = codec::encode_entry(entry);
        let limit = bounds::COMMAND_BYTES + ENVELOPE_BYTES;
        if bytes.len() > limit {
            return Err(ProposeError::TooLarge { bytes: bytes.len(), limit });
        }
        let permits = u32::try_from(bytes.len().div_ceil(PERMIT_BYTES)).unwrap_or(u32::MAX);
        let Ok(_permit) = inner.proposals.try_acquire_many(permits) else {
            return Err(ProposeError::Busy { limit: inner.settings.proposal_bytes });
        };

        let (responder, answer) = ProgressResponder::complete_only();
        let mut request = inner.raft.write(Payload(Bytes::from(bytes))).responder(responder);
        if let Some(tenure) = tenure {
            request = request.with_leader(tenure.leader_id());
        }
        let deadline = inner.settings.propose_timeout;
        let answered = timeout(deadline, async {
            request.await.map_err(|fatal| ProposeError::Stopped(self.stop_reason(&fatal)))?;
            // The sender is dropped only when the core ends.
            answer.await.map_err(|_| ProposeError::Stopped(self.stop_reason(&Fatal::Stopped)))
        });
        let Ok(written) = answered.await else {
            return Err(ProposeError::TimedOut(deadline));
        };
        match written? {
            Ok(response) => response.data.ok_or(ProposeError::Stopped(StopReason::Internal("an entry was applied without a reply".into()))),
            Err(ClientWriteError::ForwardToLeader(forward)) => Err(ProposeError::NotLeader { leader: self.leader(forward) }),
            Err(ClientWriteError::LogEntryDiscarded(forward)) => Err(ProposeError::Uncertain { leader: self.leader(forward) }),
            Err(other) => Err(ProposeError::Stopped(StopReason::Internal(other.to_string()))),
        }
    }

    /// The state with everything in it that was acknowledged anywhere before this call began. Only the
    /// leader can say that, and it asks a majority first.
    pub async fn read(&self) -> Result<Arc<State>, ReadError> {
        self.linearize(true).await?;
        Ok(self.inner.applied.borrow().state.clone())
    }

    /// Asks a majority whether this member still leads. To be called by a leader that was paused, before it
    /// decides anything.
    pub async fn confirm_leadership(&self) -> Result<(), ReadError> {
        self.linearize(false).await
    }

    async fn linearize(&self, apply: bool) -> Result<(), ReadError> {
        let inner = &self.inner;
        let deadline = inner.settings.read_timeout;
        let option = LinearizerOption::new(Some(Duration::ZERO), true).with_wait_timeout(deadline);
        let confirmed = timeout(deadline, async {
            let linearizer = inner.raft.get_read_linearizer(option).await?;
            if apply {
                linearizer.await_ready(&inner.raft).await?;
            }
            Ok(())
        });
        match confirmed.await {
            Ok(Ok(())) => Ok(()),
            Err(_) | Ok(Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(_)))) => Err(ReadError::NoMajority(deadline)),
            Ok(Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(forward)))) => {
                Err(ReadError::NotLeader { leader: self.leader(forward) })
            }
            Ok(Err(RaftError::Fatal(fatal))) => Err(ReadError::Stopped(self.stop_reason(&fatal))),
        }
    }
}
