//! Calls to other members, for openraft: encodes, cuts to size, carries over the [`Transport`], decodes.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use mainstay_client::work;
use mainstay_core::MemberId;
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{Backoff, RPCOption};
use openraft::{OptionalSend, RaftNetworkFactory, RaftNetworkV2};

use super::encoding::EncodingError;
use super::leadership::Tenure;
use super::log::wire_bytes;
use super::raft::{AppendRequest, AppendResponse, Peer, SnapshotResponse, TransferRequest, TransferResponse, Types, Vote, VoteRequest, VoteResponse};
use super::settings::Settings;
use super::snapshot::SnapshotFile;
use super::transport::{CallKind, RaftCall, Transport, TransportError};
use super::vigil::Word;
use super::wire::{Append, Envelope, Leads, LeadsQuestion, Message, Piece, PieceAnswer, Readiness, ReadinessQuestion, decode_answer, encode_call};

/// Makes lines to other members.
#[derive(Clone)]
pub struct Dialer {
    me: MemberId,
    transport: Arc<dyn Transport>,
    settings: Settings,
}

impl Dialer {
    pub fn new(me: MemberId, transport: Arc<dyn Transport>, settings: Settings) -> Dialer {
        Dialer { me, transport, settings }
    }

    fn line(&self, to: MemberId, peer: &Peer) -> Line {
        Line { dialer: self.clone(), to, peer: peer.clone(), heartbeats: false }
    }

    /// Asks a member whether it could lead.
    pub async fn readiness(&self, to: MemberId, peer: &Peer) -> Result<bool, CallFault> {
        let deadline = self.settings.election.0;
        let Readiness(ready) = self.line(to, peer).call(CallKind::Readiness, &ReadinessQuestion, deadline).await?;
        Ok(ready)
    }

    /// Asks the process of a leader whether it still leads.
    pub async fn leads(&self, leader: Tenure, peer: &Peer, deadline: Duration) -> Word {
        let asked = self.line(leader.member, peer).call(CallKind::Leads, &LeadsQuestion { term: leader.term }, deadline).await;
        match asked {
            Ok(Leads(true)) => Word::Leads,
            // It was started again since, or has heard of a later term.
            Ok(Leads(false)) | Err(CallFault::Transport(TransportError::Gone(_))) => Word::Gone,
            Err(fault) => {
                tracing::debug!(leader = %leader.member, %fault, "the leader does not say whether it still leads");
                Word::None
            }
        }
    }
}

/// Why a call has no usable answer.
#[derive(Debug, thiserror::Error)]
pub enum CallFault {
    #[error(transparent)]
    Transport(#[from] TransportError),
    #[error("its answer cannot be read: {0}")]
    Unreadable(#[from] EncodingError),
}

impl RaftNetworkFactory<Types> for Dialer {
    type Network = Line;

    async fn new_client(&mut self, target: u64, node: &Peer) -> Line {
        self.line(MemberId(target), node)
    }

    async fn new_heartbeat_client(&mut self, target: u64, node: &Peer) -> Line {
        Line { heartbeats: true, ..self.line(MemberId(target), node) }
    }
}

/// Calls to one member.
pub struct Line {
    dialer: Dialer,
    to: MemberId,
    peer: Peer,
    /// It carries nothing but heartbeats.
    heartbeats: bool,
}

impl Line {
    async fn call<Q: Message, A: Message>(&self, kind: CallKind, question: &Q, deadline: Duration) -> Result<A, CallFault> {
        let body = encode_call(Envelope { to: self.to, from: self.dialer.me }, question);
        let answer = self.dialer.transport.call(self.to, &self.peer, RaftCall { kind, body }, deadline);
        // The transport keeps the deadline; one that does not must not hold a follower up.
        let answer = tokio::time::timeout(deadline + deadline / 4, answer).await.map_err(|_| TransportError::TimedOut(deadline))?;
        Ok(decode_answer(answer?)?)
    }

    fn fault(&self, action: openraft::network::RPCTypes, deadline: Duration, fault: CallFault) -> RPCError<Types> {
        match fault {
            CallFault::Transport(TransportError::TimedOut(_)) => {
                RPCError::Timeout(openraft::errors::Timeout { action, id: self.dialer.me.0, target: self.to.0, timeout: deadline })
            }
            CallFault::Transport(error) => RPCError::Unreachable(Unreachable::new(&error)),
            CallFault::Unreadable(error) => RPCError::Network(NetworkError::new(&error)),
        }
    }

    /// Keeps as many entries as one message carries.
    fn cut_to_size(&self, request: &mut AppendRequest) -> bool {
        let mut bytes = 0;
        let fitting = request.entries.iter().take_while(|entry| {
            bytes += wire_bytes(entry);
            bytes <= self.dialer.settings.append_bytes
        });
        let fitting = fitting.count().max(1);
        let cut = fitting < request.entries.len();
        request.entries.truncate(fitting);
        cut
    }

    /// Sends the file piece by piece; the receiver says from where it goes on.
    async fn send_snapshot(&self, vote: Vote, snapshot: &SnapshotFile) -> Result<SnapshotResponse, StreamingError<Types>> {
        let settings = &self.dialer.settings;
        let action = openraft::network::RPCTypes::InstallSnapshot;
        let mut offset = 0;
        loop {
            let (file, length) = (snapshot.clone(), settings.snapshot_chunk_bytes);
            let data = work::blocking(move || file.piece(offset, length)).await.map_err(closed)?.map_err(closed)?;
            let next = offset + data.len() as u64;
            let deadline = if next >= snapshot.total { settings.install_timeout } else { settings.rpc_timeout };
            let piece = Piece { vote, last: snapshot.meta.last_log_id, total: snapshot.total, digest: snapshot.digest, offset, data };
            match self.call(CallKind::Snapshot, &piece, deadline).await {
                Ok(PieceAnswer::Done(vote)) => return Ok(SnapshotResponse::new(vote)),
                // Nothing new: the receiver does not get on, and asking again at once would not help.
                Ok(PieceAnswer::Have(have)) if have == offset => {
                    return Err(StreamingError::Unreachable(Unreachable::from_string("the receiver of a snapshot does not get on")));
                }
                Ok(PieceAnswer::Have(have)) => offset = have.min(snapshot.total),
                Err(fault) => return Err(self.fault(action, deadline, fault).into()),
            }
        }
    }
}

fn closed(error: impl std::fmt::Display) -> StreamingError<Types> {
    StreamingError::Unreachable(Unreachable::from_string(format!("a snapshot cannot be read: {error}")))
}

impl RaftNetworkV2<Types> for Line {
    type SnapshotData = SnapshotFile;

    async fn append_entries(&mut self, mut rpc: AppendRequest, option: RPCOption) -> Result<AppendResponse, RPCError<Types>> {
        let deadline = if rpc.entries.is_empty() { option.soft_ttl() } else { self.dialer.settings.rpc_timeout };
        let cut = self.cut_to_size(&mut rpc);
        let sent = rpc.entries.last().map(|entry| entry.log_id);
        let append = Append { heartbeat: self.heartbeats, request: rpc };
        let answer = self.call(CallKind::Append, &append, deadline).await;
        match answer.map_err(|fault| self.fault(openraft::network::RPCTypes::AppendEntries, deadline, fault))? {
            AppendResponse::Success if cut => Ok(AppendResponse::PartialSuccess(sent)),
            other => Ok(other),
        }
    }

    async fn vote(&mut self, rpc: VoteRequest, option: RPCOption) -> Result<VoteResponse, RPCError<Types>> {
        let deadline = option.soft_ttl();
        self.call(CallKind::Vote, &rpc, deadline).await.map_err(|fault| self.fault(openraft::network::RPCTypes::Vote, deadline, fault))
    }

    async fn pre_vote(&mut self, rpc: VoteRequest, option: RPCOption) -> Result<VoteResponse, RPCError<Types>> {
        let deadline = option.soft_ttl();
        self.call(CallKind::PreVote, &rpc, deadline).await.map_err(|fault| self.fault(openraft::network::RPCTypes::Vote, deadline, fault))
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: openraft::alias::SnapshotOf<Types, SnapshotFile>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse, StreamingError<Types>> {
        tokio::select! {
            closed = cancel => Err(StreamingError::Closed(closed)),
            sent = self.send_snapshot(vote, &snapshot.snapshot) => sent,
        }
    }

    async fn transfer_leader(&mut self, req: TransferRequest, option: RPCOption) -> Result<TransferResponse, RPCError<Types>> {
        let deadline = option.soft_ttl();
        let answer = self.call(CallKind::TransferLeader, &req, deadline).await;
        answer.map_err(|fault| self.fault(openraft::network::RPCTypes::TransferLeader, deadline, fault))
    }

    /// 100 ms, doubled up to a second, each a little different for each pair of members.
    fn backoff(&self) -> Option<Backoff> {
        let spread = (self.dialer.me.0 ^ self.to.0.rotate_left(17)) % 50;
        let delays = (0..).map(move |tries: u32| {
            let base = 100u64.saturating_mul(1 << tries.min(4)).min(1_000);
            Duration::from_millis(base + base * spread / 100)
        });
        Some(Backoff::new(delays))
    }
}
