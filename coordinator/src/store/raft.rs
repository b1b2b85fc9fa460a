//! The types openraft runs with, pinned once. No other module spells out its generics.

use std::fmt;

use bytes::Bytes;
use mainstay_core::{MemberId, Reply};
use openraft::alias;

use super::machine::Machine;

/// Where a member can be called.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Peer {
    /// `host:port` of its gRPC listener.
    pub address: String,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.address)
    }
}

/// An encoded `core::Entry`. Encoded once by whoever proposes it, decoded only to be applied.
#[derive(Clone, PartialEq, Eq)]
pub struct Payload(pub Bytes);

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl fmt::Display for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

openraft::declare_raft_types!(
    /// A leader is named by term and member, so that two candidates of one term need no second election.
    pub Types:
        D = Payload,
        R = Option<Reply>,
        NodeId = u64,
        Node = Peer,
        LeaderId = openraft::impls::leader_id_adv::LeaderId<u64, u64>,
        AsyncRuntime = openraft_rt_tokio::TokioRuntime,
);

pub type Raft = openraft::Raft<Types, Machine>;
pub type LeaderId = alias::LeaderIdOf<Types>;
pub type LogId = alias::LogIdOf<Types>;
pub type Vote = alias::VoteOf<Types>;
pub type LogEntry = alias::EntryOf<Types>;
pub type EntryPayload = alias::PayloadOf<Types>;
pub type Membership = openraft::Membership<u64, Peer>;
pub type StoredMembership = alias::StoredMembershipOf<Types>;
pub type SnapshotMeta = alias::SnapshotMetaOf<Types>;
pub type AppendRequest = openraft::raft::AppendEntriesRequest<Types>;
pub type AppendResponse = openraft::raft::AppendEntriesResponse<Types>;
pub type VoteRequest = openraft::raft::VoteRequest<Types>;
pub type VoteResponse = openraft::raft::VoteResponse<Types>;
pub type SnapshotResponse = openraft::raft::SnapshotResponse<Types>;
pub type TransferRequest = openraft::raft::TransferLeaderRequest<Types>;
pub type TransferResponse = openraft::raft::TransferLeaderResponse<Types>;
pub type Metrics = openraft::RaftMetrics<Types>;
pub type Standing = openraft::metrics::RaftServerMetrics<Types>;

/// The id that openraft knows a member by.
#[must_use]
pub fn node(member: MemberId) -> u64 {
    member.0
}
