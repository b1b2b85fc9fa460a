//! The seam between members: calls of bytes, with their kind beside them so that a transport can count
//! them and give each a connection of its own. What the bytes mean is this store's business alone.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use mainstay_core::MemberId;

use super::raft::Peer;

/// What a call is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CallKind {
    /// Entries, or none: a heartbeat.
    Append,
    Vote,
    PreVote,
    /// One piece of a snapshot, at most [`super::Settings::snapshot_chunk_bytes`] and a small header.
    Snapshot,
    /// "Stand for election now."
    TransferLeader,
    /// "Could you lead?"
    Readiness,
    /// "Do you still lead?"
    Leads,
}

impl CallKind {
    pub const ALL: [CallKind; 7] =
        [CallKind::Append, CallKind::Vote, CallKind::PreVote, CallKind::Snapshot, CallKind::TransferLeader, CallKind::Readiness, CallKind::Leads];

    /// The word for metrics and traces.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            CallKind::Append => "append",
            CallKind::Vote => "vote",
            CallKind::PreVote => "pre_vote",
            CallKind::Snapshot => "snapshot",
            CallKind::TransferLeader => "transfer_leader",
            CallKind::Readiness => "readiness",
            CallKind::Leads => "leads",
        }
    }

    /// The number on the wire. Numbers are never used again for something else.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            CallKind::Append => 1,
            CallKind::Vote => 2,
            CallKind::PreVote => 3,
            CallKind::Snapshot => 4,
            CallKind::TransferLeader => 5,
            CallKind::Readiness => 6,
            CallKind::Leads => 7,
        }
    }

    /// The kind with this number, or `None` for one that only a newer version knows.
    #[must_use]
    pub fn from_number(number: u32) -> Option<CallKind> {
        CallKind::ALL.into_iter().find(|kind| u32::from(kind.number()) == number)
    }
}

/// One call from member to member. `body` is at most about 1 MiB.
#[derive(Debug, Clone)]
pub struct RaftCall {
    pub kind: CallKind,
    pub body: Bytes,
}

/// Why a call has no answer. Whether the other member has seen it is unknown unless it says `Unreachable` or `Gone`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// The call did not get there: no connection, name, or trust.
    #[error("cannot reach it: {0}")]
    Unreachable(String),
    /// The machine answers, and says that nothing listens there: the member's process has ended. Never said of one
    /// that is slow, stopped or cut off.
    #[error("nothing listens there: {0}")]
    Gone(String),
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    /// It got there and was refused: [`CallError`] of the other side, in words.
    #[error("it refused: {0}")]
    Refused(String),
}

/// Why a member does not answer a call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    #[error("this is member {actual}, and the call is for member {wanted}: another member lives at this address now")]
    NotMe { wanted: MemberId, actual: MemberId },
    #[error("the call cannot be read: {0}")]
    Unreadable(#[from] super::encoding::EncodingError),
    #[error("the disk is full: this member takes no entries until there is room again")]
    DiskFull,
    #[error("this member has stopped")]
    Stopped,
    #[error("the snapshot cannot be received: {0}")]
    Snapshot(String),
}

/// What carries an answer back.
pub type CallFuture = Pin<Box<dyn Future<Output = Result<Bytes, TransportError>> + Send>>;

/// Carries calls to other members. Keeps no order between calls; makes no retries of its own.
pub trait Transport: Send + Sync + 'static {
    /// Calls `to`, which is thought to live at `peer`. Ends within `deadline`.
    fn call(&self, to: MemberId, peer: &Peer, call: RaftCall, deadline: Duration) -> CallFuture;
}
