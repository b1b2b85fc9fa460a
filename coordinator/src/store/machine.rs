//! The state machine: applies what was agreed on, publishes the result, and makes snapshots of it.
//!
//! The state is in memory only; at start it comes from the newest good snapshot, and the log gives the rest.

use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;

use futures::{Stream, StreamExt};
use mainstay_client::work;
use mainstay_core::state::FEATURE_LEVEL;
use mainstay_core::{Command, Entry, Reply, State, codec};
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::{OptionalSend, RaftSnapshotBuilder, Snapshot};
use tokio::sync::watch;

use super::digest::Digests;
use super::error::StopReason;
use super::failure::Failure;
use super::leadership::Tenure;
use super::raft::{EntryPayload, LogEntry, LogId, Payload, SnapshotMeta, StoredMembership, Types};
use super::snapshot::{Restored, SnapshotFile, Snapshots};

/// Entries applied before the result is published and their proposers have their replies.
const APPLY_BATCH: usize = 256;

/// What a member has applied: one consistent copy, which all who look share.
#[derive(Debug, Clone, Default)]
pub struct Applied {
    pub state: Arc<State>,
    /// The last entry in it; 0 before anything.
    pub index: u64,
    /// In whose tenure that entry was proposed.
    pub tenure: Tenure,
}

/// Applies entries. Owned by openraft.
pub struct Machine {
    state: State,
    last: Option<LogId>,
    membership: StoredMembership,
    published: watch::Sender<Applied>,
    snapshots: Arc<Snapshots>,
    digests: Digests,
    failure: Failure,
}

type SnapshotOut = openraft::alias::SnapshotOf<Types, SnapshotFile>;

impl Machine {
    pub fn new(snapshots: Arc<Snapshots>, restored: Restored, digests: Digests, failure: Failure) -> (Machine, watch::Receiver<Applied>) {
        let (published, applied) = watch::channel(Applied::default());
        let Restored { meta, state } = restored;
        let machine = Machine { state, last: meta.last_log_id, membership: meta.last_membership, published, snapshots, digests, failure };
        machine.publish();
        (machine, applied)
    }

    fn publish(&self) {
        let tenure = self.last.map_or_else(Tenure::default, |id| Tenure::of(&id.leader_id));
        self.published.send_replace(Applied { state: Arc::new(self.state.clone()), index: self.last.map_or(0, |id| id.index), tenure });
    }

    fn apply_one(&mut self, entry: &LogEntry) -> io::Result<Option<Reply>> {
        let index = entry.log_id.index;
        let reply = match &entry.payload {
            EntryPayload::Blank => None,
            EntryPayload::Membership(membership) => {
                self.membership = StoredMembership::new(Some(entry.log_id), membership.clone());
                None
            }
            EntryPayload::Normal(payload) => {
                let entry = decoded(index, payload).map_err(|reason| self.stopped(reason))?;
                if let Command::RecordDigest { index, digest } = &entry.command {
                    self.digests.claimed(*index, *digest);
                }
                Some(apply(&mut self.state, index, &entry).map_err(|reason| self.stopped(reason))?)
            }
        };
        self.last = Some(entry.log_id);
        self.digests.applied(index, &self.state);
        Ok(reply)
    }

    fn stopped(&self, reason: StopReason) -> io::Error {
        let told = io::Error::new(io::ErrorKind::InvalidData, reason.to_string());
        self.failure.stop(reason);
        told
    }

    fn builder(&self) -> Builder {
        Builder {
            meta: SnapshotMeta { last_log_id: self.last, last_membership: self.membership.clone() },
            state: self.state.clone(),
            snapshots: self.snapshots.clone(),
            failure: self.failure.clone(),
        }
    }
}

/// What a level that this program does not know means cannot be guessed: from there on members would differ.
fn knows(level: u32) -> Result<(), StopReason> {
    if level <= FEATURE_LEVEL { Ok(()) } else { Err(StopReason::TooOld { found: level, known: FEATURE_LEVEL }) }
}

/// What entry `index` says.
pub fn decoded(index: u64, payload: &Payload) -> Result<Entry, StopReason> {
    let entry = codec::decode_entry(&payload.0).map_err(|error| StopReason::Unknown { index, why: error.to_string() })?;
    if let Command::RaiseFeatureLevel { level } = &entry.command {
        knows(*level)?;
    }
    Ok(entry)
}

/// Applies entry `index`. A panic is caught: the state is of no use afterwards.
pub fn apply(state: &mut State, index: u64, entry: &Entry) -> Result<Reply, StopReason> {
    let state = AssertUnwindSafe(state);
    let applied = panic::catch_unwind(move || { state }.apply(entry));
    applied.map_err(|_| StopReason::Internal(format!("applying entry {index} panicked")))
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotData = SnapshotFile;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        Ok((self.last, self.membership.clone()))
    }

    async fn apply<Strm>(&mut self, entries: Strm) -> io::Result<()>
    where
        Strm: Stream<Item = Result<EntryResponder<Types>, io::Error>> + Unpin + OptionalSend,
    {
        let mut batches = entries.ready_chunks(APPLY_BATCH);
        while let Some(batch) = batches.next().await {
            let mut answers = Vec::with_capacity(batch.len());
            for item in batch {
                let (entry, responder) = item?;
                let reply = self.apply_one(&entry)?;
                answers.extend(responder.map(|responder| (responder, reply)));
            }
            // Whoever has a reply finds its effect in the state.
            self.publish();
            for (responder, reply) in answers {
                responder.send(reply);
            }
        }
        Ok(())
    }

    async fn try_create_snapshot_builder(&mut self, force: bool) -> Option<Builder> {
        (force || self.snapshots.has_room()).then(|| self.builder())
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        self.builder()
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: SnapshotFile) -> io::Result<()> {
        let snapshots = self.snapshots.clone();
        let installed = work::blocking(move || {
            let state = snapshot.state()?;
            snapshots.adopt(snapshot)?;
            Ok::<State, io::Error>(state)
        });
        let state = installed.await.map_err(io::Error::other)??;
        knows(state.feature_level).map_err(|reason| self.stopped(reason))?;
        self.state = state;
        self.last = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        self.publish();
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<SnapshotOut>> {
        Ok(self.snapshots.current().map(|file| Snapshot { meta: file.meta.clone(), snapshot: file }))
    }
}

/// Makes one snapshot of what was applied when it was created.
pub struct Builder {
    meta: SnapshotMeta,
    state: State,
    snapshots: Arc<Snapshots>,
    failure: Failure,
}

impl RaftSnapshotBuilder<Types> for Builder {
    type SnapshotData = SnapshotFile;

    async fn build_snapshot(&mut self) -> io::Result<SnapshotOut> {
        let (meta, state, snapshots) = (self.meta.clone(), self.state.clone(), self.snapshots.clone());
        let built = work::blocking(move || snapshots.build(meta, &state)).await.map_err(io::Error::other)?;
        let snapshot = built.inspect_err(|error| self.failure.write_failed(self.snapshots.dir(), error))?;
        Ok(Snapshot { meta: snapshot.meta.clone(), snapshot })
    }
}
