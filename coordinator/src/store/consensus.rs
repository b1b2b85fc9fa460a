//! The handle to one member of the group. Cheap to clone; all clones are the same member.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mainstay_core::MemberId;
use mainstay_core::state::FEATURE_LEVEL;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{Fatal, ForwardToLeader, InitializeError, RaftError};
use tokio::sync::{Mutex, Semaphore, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::digest::{self, Digests};
use super::disk::Disk;
use super::error::{FormError, StartError, StopReason};
use super::failure::Failure;
use super::follow;
use super::host::Host;
use super::incoming::Incoming;
use super::leadership::{Leader, Leadership};
use super::log::LogStore;
use super::machine::{Applied, Machine};
use super::metrics::{Gauges, StoreMetrics};
use super::network::Dialer;
use super::propose::PERMIT_BYTES;
use super::raft::{Peer, Raft, Types, node};
use super::settings::Settings;
use super::signs::Signs;
use super::snapshot::Snapshots;
use super::space::Space;
use super::succession;
use super::transport::{CallError, RaftCall, Transport};
use super::upkeep;

/// How long a member that is asked to stop tries to hand leadership over.
const FAREWELL: Duration = Duration::from_secs(2);

/// One member: its log, its state, its part in the group.
#[derive(Clone)]
pub struct Consensus {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) member: MemberId,
    pub(super) settings: Settings,
    pub(super) raft: Raft,
    pub(super) dialer: Dialer,
    /// Membership changes go one at a time.
    pub(super) changing: Mutex<()>,
    pub(super) applied: watch::Receiver<Applied>,
    leadership: watch::Receiver<Leadership>,
    pub(super) failure: Failure,
    pub(super) space: Arc<Space>,
    pub(super) log: LogStore,
    pub(super) signs: Signs,
    incoming: Incoming,
    pub(super) proposals: Semaphore,
    metrics: StoreMetrics,
    disk: Disk,
    tasks: TaskTracker,
    end: End,
}

/// Ends the tasks of a member when its last handle is gone.
struct End(CancellationToken);

impl Drop for End {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

impl Consensus {
    /// Starts the member that lives on `disk`: checks everything, restores the state from the newest good
    /// snapshot and the log, and takes its place in its group, if it has one. A member with an empty disk
    /// waits: for [`Consensus::form`], or to be called by a leader that has added it as a learner.
    pub async fn start(disk: Disk, settings: Settings, transport: Arc<dyn Transport>) -> Result<Consensus, StartError> {
        Consensus::start_on(Host::default(), disk, settings, transport).await
    }

    /// The same on a machine that may misbehave.
    pub(super) async fn start_on(host: Host, disk: Disk, settings: Settings, transport: Arc<dyn Transport>) -> Result<Consensus, StartError> {
        let config = Arc::new(settings.raft_config()?);
        let member = disk.member();
        let metrics = StoreMetrics::default();
        let failure = Failure::default();
        let space = Arc::new(Space::new(&disk, host.clone(), &settings));
        space.look();

        let snapshots = Arc::new(Snapshots::new(&disk, metrics.clone(), space.clone()));
        let log = LogStore::open(&disk, &host, metrics.clone(), failure.clone()).await?;
        let restored = snapshots.restore(log.first_index()).await?;
        if restored.state.feature_level > FEATURE_LEVEL {
            return Err(StartError::TooOld { found: restored.state.feature_level, known: FEATURE_LEVEL });
        }
        let digests = Digests::new(settings.digest_every, disk.clone(), failure.clone());
        let (machine, applied) = Machine::new(snapshots.clone(), restored, digests.clone(), failure.clone());
        disk.clear_leftovers();

        let dialer = Dialer::new(member, transport, settings.clone());
        let raft = match openraft::Raft::new(node(member), config, dialer.clone(), log.clone(), machine).await {
            Ok(raft) => raft,
            Err(fatal) => return Err(StartError::Stopped(failure.or_internal(&fatal))),
        };

        let end = CancellationToken::new();
        let tasks = TaskTracker::new();
        let leadership = follow::leadership(&tasks, end.clone(), member, raft.clone(), applied.clone(), failure.clone());
        let signs = Signs::new();
        let incoming = Incoming {
            me: member,
            raft: raft.clone(),
            log: log.clone(),
            snapshots,
            space: space.clone(),
            disk: disk.clone(),
            failure: failure.clone(),
            signs: signs.clone(),
            receiving: Mutex::default(),
            patience: settings.rpc_timeout,
        };
        let inner = Inner {
            member,
            raft,
            dialer,
            changing: Mutex::new(()),
            applied,
            leadership,
            failure,
            space,
            log,
            signs,
            incoming,
            proposals: Semaphore::new(settings.proposal_bytes.div_ceil(PERMIT_BYTES)),
            metrics,
            disk,
            tasks,
            end: End(end.clone()),
            settings,
        };
        let consensus = Consensus { inner: Arc::new(inner) };
        upkeep::begin(&consensus, &end);
        succession::watch(&consensus, &end);
        digest::propose_while_leading(&consensus, digests, &end);
        Ok(consensus)
    }

    /// The id of this member.
    #[must_use]
    pub fn member(&self) -> MemberId {
        self.inner.member
    }

    /// Makes a new mesh of these members, this one among them, all on empty disks. Only the installer says
    /// so, to one of them; the others are found by it. Refused on a disk that belongs to a mesh.
    pub async fn form(&self, members: BTreeMap<MemberId, Peer>) -> Result<(), FormError> {
        let nodes: BTreeMap<u64, Peer> = members.into_iter().map(|(id, peer)| (node(id), peer)).collect();
        match self.inner.raft.initialize(nodes).await {
            Ok(()) => Ok(()),
            Err(RaftError::APIError(InitializeError::NotAllowed(_))) => Err(FormError::NotEmpty),
            Err(RaftError::APIError(InitializeError::NotInMembers(_))) => Err(FormError::NotAMember(self.inner.member)),
            Err(RaftError::Fatal(fatal)) => Err(FormError::Stopped(self.stop_reason(&fatal))),
        }
    }

    /// Whether this member belongs to a mesh: whether it has a log or a membership.
    #[must_use]
    pub fn is_formed(&self) -> bool {
        let metrics = self.inner.raft.metrics();
        let metrics = metrics.borrow_watched();
        metrics.last_log_index.is_some() || metrics.membership_config.voter_ids().next().is_some()
    }

    /// What this member has applied so far: a copy at no cost, possibly behind the leader.
    #[must_use]
    pub fn state(&self) -> Applied {
        self.inner.applied.borrow().clone()
    }

    /// Changes whenever entries have been applied.
    #[must_use]
    pub fn applied(&self) -> watch::Receiver<Applied> {
        self.inner.applied.clone()
    }

    /// Changes whenever this member learns of a leader, a term, or a role of its own.
    #[must_use]
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.inner.leadership.clone()
    }

    pub(super) fn leadership_now(&self) -> Leadership {
        self.inner.leadership.borrow().clone()
    }

    /// The leader, if it is known and is not this member.
    pub(super) fn other_leader(&self) -> Option<Leader> {
        self.leadership_now().leader.filter(|leader| leader.id != self.inner.member)
    }

    /// Ends this member's part for a reason that somebody else has found; the first one stays.
    pub fn stop(&self, reason: StopReason) {
        self.inner.failure.stop(reason);
    }

    /// Becomes `Some` when the member has stopped, for whatever reason. The process should end then.
    #[must_use]
    pub fn stopped(&self) -> watch::Receiver<Option<StopReason>> {
        self.inner.failure.watch()
    }

    /// Makes a snapshot of what has been applied, soon.
    pub async fn snapshot_now(&self) -> Result<(), StopReason> {
        self.inner.raft.trigger().snapshot().await.map_err(|fatal| self.stop_reason(&fatal))
    }

    /// Answers a call of another member. The caller has been authenticated as a coordinator of this mesh.
    pub async fn handle(&self, call: RaftCall) -> Result<Bytes, CallError> {
        if self.inner.failure.reason().is_some() {
            return Err(CallError::Stopped);
        }
        self.inner.incoming.handle(call).await
    }

    /// Numbers for `/metrics`, as of now.
    #[must_use]
    pub fn gauges(&self) -> Gauges {
        let raft = self.inner.raft.metrics();
        let raft = raft.borrow_watched();
        Gauges {
            term: raft.current_term,
            leads: raft.state.is_leader(),
            last_index: raft.last_log_index.unwrap_or(0),
            applied_index: raft.last_applied.map_or(0, |id| id.index),
            committed_index: raft.local_committed.map_or(0, |id| id.index),
            snapshot_index: raft.snapshot.map_or(0, |id| id.index),
            purged_index: raft.purged.map_or(0, |id| id.index),
            log_bytes: self.inner.log.bytes(),
            free_bytes: self.inner.space.free(),
            disk_full: self.inner.space.is_full(),
        }
    }

    /// Distributions and counters, to be registered once.
    #[must_use]
    pub fn metrics(&self) -> &StoreMetrics {
        &self.inner.metrics
    }

    /// Hands leadership over if there is somebody to take it, writes what is left, and stops. Ends within
    /// a few seconds. The directory is free for another process afterwards.
    pub async fn shutdown(&self) {
        if self.leadership_now().leads()
            && let Err(error) = self.transfer_within(None, FAREWELL).await
        {
            tracing::info!(%error, "leadership is not handed over");
        }
        self.halt().await;
    }

    /// Stops at once, as a crash would, except that what is queued is still written.
    pub(super) async fn halt(&self) {
        self.inner.failure.stop(StopReason::Asked);
        self.inner.end.0.cancel();
        if timeout(FAREWELL, self.inner.raft.shutdown()).await.is_err() {
            tracing::warn!("consensus did not end in time");
        }
        self.inner.tasks.close();
        if timeout(FAREWELL, self.inner.tasks.wait()).await.is_err() {
            tracing::warn!("tasks of the store did not end in time");
        }
        self.inner.log.close().await;
        self.inner.disk.release();
    }

    pub(super) fn tasks(&self) -> &TaskTracker {
        &self.inner.tasks
    }

    pub(super) fn stop_reason(&self, fatal: &Fatal<Types>) -> StopReason {
        self.inner.failure.or_internal(fatal)
    }

    pub(super) fn leader(&self, forward: ForwardToLeader<Types>) -> Option<Leader> {
        forward.leader_id.map(MemberId).filter(|id| *id != self.inner.member).map(|id| Leader { id, peer: forward.leader_node })
    }
}
