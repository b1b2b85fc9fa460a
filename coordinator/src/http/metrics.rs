//! The numbers that `/metrics` shows. Gauges are read when somebody asks; distributions and counters stand
//! beside the code that they measure.

use std::fmt;

use mainstay_core::report::Verdict;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::artifacts::ArtifactMetrics;
use crate::leader::LeaderMetrics;
use crate::store::{Consensus, StopReason};

/// Entries that a member may be behind the commit index and still count as up to date.
const BEHIND: u64 = 1_000;

/// All metrics of one member.
pub struct Metrics {
    registry: Registry,
    consensus: Consensus,
    gauges: Gauges,
}

#[derive(Default)]
struct Gauges {
    term: Gauge,
    applied_index: Gauge,
    committed_index: Gauge,
    is_leader: Gauge,
    log_bytes: Gauge,
    free_bytes: Gauge,
    disk_full: Gauge,
    members: Gauge,
    agents_up: Gauge,
    agents: Gauge,
    runs_open: Gauge,
    leases_held: Gauge,
    state_bytes: Gauge,
    findings: Family<Severity, Gauge>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Severity {
    severity: &'static str,
}

impl Metrics {
    #[must_use]
    pub fn new(consensus: Consensus, leader: &LeaderMetrics, artifacts: &ArtifactMetrics, version: &'static str) -> Metrics {
        let mut registry = Registry::with_prefix("mainstay");
        let gauges = Gauges::default();
        registry.register("build", "What runs here", Info::new([("version", version)]));
        registry.register("raft_term", "Term of the last election that this member knows", gauges.term.clone());
        registry.register("raft_applied_index", "Last entry that this member has applied", gauges.applied_index.clone());
        registry.register("raft_committed_index", "Last entry that this member knows to be agreed on", gauges.committed_index.clone());
        registry.register("raft_is_leader", "1 on the member that leads", gauges.is_leader.clone());
        registry.register_with_unit("raft_log", "Entries in the log", Unit::Bytes, gauges.log_bytes.clone());
        registry.register_with_unit("disk_free", "Free space of the file system that holds the log", Unit::Bytes, gauges.free_bytes.clone());
        registry.register("disk_full", "1 while proposals are refused for lack of space", gauges.disk_full.clone());
        registry.register("members", "Members of the group, learners included", gauges.members.clone());
        registry.register("agents_up", "Agents with a link", gauges.agents_up.clone());
        registry.register("agents", "Agents that are enrolled", gauges.agents.clone());
        registry.register("runs_open", "Runs that have not ended", gauges.runs_open.clone());
        registry.register("leases_held", "Leases that somebody holds", gauges.leases_held.clone());
        registry.register_with_unit("state", "Weight of the replicated state, near enough", Unit::Bytes, gauges.state_bytes.clone());
        registry.register("findings", "Open findings by severity", gauges.findings.clone());
        consensus.metrics().register(&mut registry);
        leader.register(&mut registry);
        artifacts.register(&mut registry);
        Metrics { registry, consensus, gauges }
    }

    /// Everything, in the OpenMetrics text format.
    pub fn text(&self) -> Result<String, fmt::Error> {
        self.look();
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }

    /// Why the store has failed, if it has.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        let stopped = self.consensus.stopped();
        let reason = stopped.borrow().clone();
        reason.filter(|reason| *reason != StopReason::Asked).map(|reason| format!("the store has failed: {reason}"))
    }

    /// Whether this member takes part: it knows a leader and has applied nearly all that is agreed on.
    pub fn readiness(&self) -> Result<&'static str, String> {
        if let Some(failure) = self.failure() {
            return Err(failure);
        }
        if self.consensus.leadership().borrow().leader.is_none() {
            return Err("the mesh has no leader that this member knows".to_owned());
        }
        let gauges = self.consensus.gauges();
        let behind = gauges.committed_index.saturating_sub(gauges.applied_index);
        if behind > BEHIND {
            return Err(format!("{behind} entries are still to be applied"));
        }
        if self.consensus.state().state.mesh.is_none() {
            return Err("the mesh is not founded yet".to_owned());
        }
        if !self.consensus.group().voters.contains_key(&self.consensus.member()) {
            return Err("this member does not vote yet".to_owned());
        }
        Ok("ready")
    }

    fn look(&self) {
        let raft = self.consensus.gauges();
        let state = self.consensus.state().state;
        let group = self.consensus.group();
        let gauges = &self.gauges;
        gauges.term.set(whole(raft.term));
        gauges.applied_index.set(whole(raft.applied_index));
        gauges.committed_index.set(whole(raft.committed_index));
        gauges.is_leader.set(i64::from(raft.leads));
        gauges.log_bytes.set(whole(raft.log_bytes));
        gauges.free_bytes.set(whole(raft.free_bytes));
        gauges.disk_full.set(i64::from(raft.disk_full));
        gauges.members.set(counted(group.voters.len() + group.learners.len()));
        gauges.agents_up.set(counted(state.agents.values().filter(|agent| agent.is_up()).count()));
        gauges.agents.set(counted(state.agents.len()));
        gauges.runs_open.set(counted(state.runs.values().filter(|run| !run.is_ended()).count()));
        gauges.leases_held.set(counted(state.leases.values().filter(|lease| !lease.held.is_empty()).count()));
        gauges.state_bytes.set(whole(state.weight));
        for (severity, word) in [(Verdict::Warning, "warning"), (Verdict::Unknown, "unknown"), (Verdict::Critical, "critical")] {
            let open = state.findings.open.values().filter(|finding| finding.severity == severity).count();
            gauges.findings.get_or_create(&Severity { severity: word }).set(counted(open));
        }
    }
}

fn whole(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn counted(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
