//! Calls of other members.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mainstay_client::failpoint::Point;
use mainstay_client::files::{self, Output};
use mainstay_client::work;
use mainstay_core::MemberId;
use openraft::Snapshot;
use openraft::async_runtime::watch::WatchReceiver;
use tokio::sync::Mutex;

use super::disk::Disk;
use super::error::StopReason;
use super::failure::Failure;
use super::host;
use super::log::LogStore;
use super::raft::{AppendRequest, Raft, SnapshotResponse, TransferRequest, Vote, VoteRequest};
use super::signs::Signs;
use super::snapshot::{SnapshotFile, Snapshots};
use super::space::Space;
use super::transport::{CallError, CallKind, RaftCall};
use super::wire::{Append, Leads, LeadsQuestion, Piece, PieceAnswer, Readiness, ReadinessQuestion, decode_call, encode_answer, open_call};

/// Answers for one member.
pub struct Incoming {
    pub me: MemberId,
    pub raft: Raft,
    pub log: LogStore,
    pub snapshots: Arc<Snapshots>,
    pub space: Arc<Space>,
    pub disk: Disk,
    pub failure: Failure,
    /// When other members were last heard to lead.
    pub signs: Signs,
    /// The snapshot that is being received: one at a time.
    pub receiving: Mutex<Option<Receiving>>,
    pub patience: Duration,
}

/// A snapshot file of which the first part is here.
pub struct Receiving {
    total: u64,
    digest: [u8; 32],
    have: u64,
    file: Arc<Output>,
}

impl Incoming {
    pub async fn handle(&self, call: RaftCall) -> Result<Bytes, CallError> {
        let (envelope, source) = open_call(call.body)?;
        if envelope.to != self.me {
            return Err(CallError::NotMe { wanted: envelope.to, actual: self.me });
        }
        match call.kind {
            CallKind::Append => {
                let Append { heartbeat, request } = decode_call(source)?;
                self.signs.heard(envelope.from);
                if heartbeat {
                    self.check_memory(&request)?;
                }
                if !request.entries.is_empty() && self.space.is_critical() {
                    return Err(CallError::DiskFull);
                }
                self.raft.append_entries(request).await.map(|answer| encode_answer(&answer)).map_err(stopped)
            }
            CallKind::Vote => {
                let request: VoteRequest = decode_call(source)?;
                self.raft.vote(request).await.map(|answer| encode_answer(&answer)).map_err(stopped)
            }
            CallKind::PreVote => {
                let request: VoteRequest = decode_call(source)?;
                self.raft.pre_vote(request).await.map(|answer| encode_answer(&answer)).map_err(stopped)
            }
            CallKind::TransferLeader => {
                let request: TransferRequest = decode_call(source)?;
                self.raft.handle_transfer_leader(request).await.map(|answer| encode_answer(&answer)).map_err(stopped)
            }
            CallKind::Readiness => {
                let ReadinessQuestion = decode_call(source)?;
                Ok(encode_answer(&Readiness(!self.space.is_full())))
            }
            CallKind::Leads => {
                let LeadsQuestion { term } = decode_call(source)?;
                let metrics = self.raft.metrics();
                let metrics = metrics.borrow_watched();
                Ok(encode_answer(&Leads(metrics.state.is_leader() && metrics.current_term == term)))
            }
            CallKind::Snapshot => {
                self.signs.heard(envelope.from);
                let answer = self.receive(decode_call(source)?).await?;
                Ok(encode_answer(&answer))
            }
        }
    }

    /// What a leader knows that this member has acknowledged to it, this member must have: it synced the
    /// leader's vote and the entries first, and gives neither up while that leader leads.
    fn check_memory(&self, heartbeat: &AppendRequest) -> Result<(), CallError> {
        let Some(had) = heartbeat.prev_log_id else { return Ok(()) };
        let vote = self.log.vote();
        let last = self.log.last().max(self.snapshots.current().and_then(|snapshot| snapshot.meta.last_log_id));
        if vote > Some(heartbeat.vote) || (vote == Some(heartbeat.vote) && last >= Some(had)) {
            return Ok(());
        }
        let or_none = |found: Option<String>| found.unwrap_or_else(|| "none".into());
        let has = format!("entry {} and vote {}", or_none(last.map(|id| id.to_string())), or_none(vote.map(|vote| vote.to_string())));
        let reason = StopReason::WentBack { had: format!("entry {had} and vote {}", heartbeat.vote), has };
        self.disk.distrust(&reason);
        self.failure.stop(reason);
        Err(CallError::Stopped)
    }

    async fn receive(&self, piece: Piece) -> Result<PieceAnswer, CallError> {
        let mine = self.raft.metrics().borrow_watched().vote;
        if mine > piece.vote {
            return Ok(PieceAnswer::Done(mine));
        }
        let Ok(mut receiving) = tokio::time::timeout(self.patience, self.receiving.lock()).await else {
            return Err(CallError::Snapshot("another piece is being received".into()));
        };
        // Here already: only the answer was lost.
        if let Some(present) = self.snapshots.current().filter(|present| present.digest == piece.digest && present.meta.last_log_id == piece.last) {
            *receiving = None;
            return self.hand_over(piece.vote, present).await;
        }
        let same = receiving.as_ref().is_some_and(|r| r.total == piece.total && r.digest == piece.digest);
        if !same {
            *receiving = Some(self.begin(&piece).await?);
        }
        let Some(now) = receiving.as_mut() else {
            return Err(CallError::Snapshot("it was not begun".into()));
        };
        if piece.offset != now.have {
            return Ok(PieceAnswer::Have(now.have));
        }
        let (file, data, offset) = (now.file.clone(), piece.data.clone(), piece.offset);
        let written = work::blocking(move || file.write_at(offset, &data)).await;
        written.map_err(snapshot)?.map_err(snapshot)?;
        now.have += piece.data.len() as u64;
        if now.have < now.total {
            return Ok(PieceAnswer::Have(now.have));
        }
        *receiving = None;
        self.install(&piece).await
    }

    async fn begin(&self, piece: &Piece) -> Result<Receiving, CallError> {
        if self.space.is_critical() || self.space.free() < piece.total.saturating_mul(2) {
            return Err(CallError::DiskFull);
        }
        let path = self.snapshots.incoming();
        let created = work::blocking(move || {
            // Another file, not the same one emptied: a write of a call that was given up may still come.
            files::remove(Point::SnapshotReceive, &path)?;
            host::create(Point::SnapshotReceive, &path)
        });
        let file = created.await.map_err(snapshot)?.map_err(snapshot)?;
        Ok(Receiving { total: piece.total, digest: piece.digest, have: 0, file: Arc::new(file) })
    }

    /// Checks the whole file before anything is done with it.
    async fn install(&self, piece: &Piece) -> Result<PieceAnswer, CallError> {
        let path = self.snapshots.incoming();
        let checked = work::blocking(move || SnapshotFile::open(&path)).await;
        let file = checked.map_err(snapshot)?.map_err(snapshot)?;
        if file.digest != piece.digest || file.meta.last_log_id != piece.last {
            return Err(CallError::Snapshot("it is not the one that was announced".into()));
        }
        self.hand_over(piece.vote, file).await
    }

    async fn hand_over(&self, vote: Vote, file: SnapshotFile) -> Result<PieceAnswer, CallError> {
        let whole = Snapshot { meta: file.meta.clone(), snapshot: file };
        let SnapshotResponse { vote } = self.raft.install_full_snapshot(vote, whole).await.map_err(stopped)?;
        Ok(PieceAnswer::Done(vote))
    }
}

fn snapshot(error: impl std::fmt::Display) -> CallError {
    CallError::Snapshot(error.to_string())
}

fn stopped(error: impl std::fmt::Display) -> CallError {
    tracing::debug!(%error, "a call came to a member that has stopped");
    CallError::Stopped
}
