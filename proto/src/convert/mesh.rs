//! Nodes, findings and the audit log.

use mainstay_core::State;
use mainstay_core::id::AgentId;
use mainstay_core::state::agent::{Agent, Link};
use mainstay_core::state::audit::Record;
use mainstay_core::state::finding::Finding;

use super::report::verdict_to_wire;
use crate::v1;

#[must_use]
pub fn node_to_wire(id: &AgentId, agent: &Agent, state: &State) -> v1::Node {
    let (link, since) = match agent.link {
        Link::Never => (v1::LinkState::Never, agent.enrolled),
        Link::Up { since } => (v1::LinkState::Up, since),
        Link::Lost { since, .. } => (v1::LinkState::Lost, since),
    };
    let hello = agent.hello.as_ref();
    v1::Node {
        cluster: id.cluster.to_string(),
        name: id.node.to_string(),
        link: link.into(),
        since_unix_ms: since.0,
        version: hello.map(|hello| hello.version.clone()).unwrap_or_default(),
        host: agent.speaks_for_host(),
        kinds: hello.map(|hello| hello.kinds.clone()).unwrap_or_default(),
        steps_open: state.open_attempts.get(id).map_or(0, |open| u32::try_from(open.len()).unwrap_or(u32::MAX)),
    }
}

#[must_use]
pub fn finding_to_wire(finding: &Finding) -> v1::Finding {
    v1::Finding {
        fingerprint: finding.fingerprint.to_string(),
        target: finding.target.clone(),
        check: finding.check.clone(),
        subject: finding.subject.clone(),
        severity: verdict_to_wire(finding.severity).into(),
        message: finding.message.clone(),
        hint: finding.hint.clone(),
        first_seen_unix_ms: finding.first_seen.0,
        last_seen_unix_ms: finding.last_seen.0,
        seen: finding.seen,
        cleared_unix_ms: finding.cleared.map_or(0, |at| at.0),
        run: finding.run.clone(),
    }
}

#[must_use]
pub fn audit_to_wire(record: &Record) -> v1::AuditRecord {
    v1::AuditRecord {
        number: record.number,
        unix_ms: record.wall.0,
        by: record.by.clone(),
        what: record.what.clone(),
        outcome: record.outcome.clone(),
        hash: record.hash.iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}
