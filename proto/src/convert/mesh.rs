//! Nodes, findings and the audit log.

use std::collections::BTreeMap;

use mainstay_core::State;
use mainstay_core::id::AgentId;
use mainstay_core::state::agent::{Agent, Link};
use mainstay_core::state::audit::Record;
use mainstay_core::state::finding::Finding;
use mainstay_core::state::shortage::MissingConnection;

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
        name: id.name(),
        link: link.into(),
        since_unix_ms: since.0,
        version: hello.map(|hello| hello.version.clone()).unwrap_or_default(),
        host: agent.speaks_for_host(),
        kinds: hello.map(|hello| hello.kinds.clone()).unwrap_or_default(),
        cluster_agent: id.is_replica(),
        hands: id.is_hands(),
        acts: state.acting(&id.cluster).as_ref() == Some(id),
        steps_open: state.open_attempts.get(id).map_or(0, |open| u32::try_from(open.len()).unwrap_or(u32::MAX)),
    }
}

/// Nodes that are named of one connection; the rest is counted.
const NODES_NAMED: usize = 50;
/// Connections in one answer: what fits into a message, and more than anybody reads.
const CONNECTIONS_TOLD: usize = 5_000;

/// Every connection that some agent has told of, with who has it.
#[must_use]
pub fn connections_to_wire(state: &State) -> Vec<v1::KnownConnection> {
    let mut known: BTreeMap<(&str, &str), v1::KnownConnection> = BTreeMap::new();
    for (id, agent) in &state.agents {
        for own in agent.hello.iter().flat_map(|hello| &hello.connections) {
            let connection = known.entry((own.name.as_str(), own.kind.as_str())).or_insert_with(|| v1::KnownConnection {
                name: own.name.to_string(),
                kind: own.kind.clone(),
                ..v1::KnownConnection::default()
            });
            let (count, nodes) =
                if agent.is_up() { (&mut connection.agents_up, &mut connection.up) } else { (&mut connection.agents_away, &mut connection.away) };
            *count += 1;
            if nodes.len() < NODES_NAMED {
                nodes.push(id.to_string());
            }
        }
    }
    known.into_values().take(CONNECTIONS_TOLD).collect()
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
pub fn missing_connection_to_wire(missing: MissingConnection) -> v1::MissingConnection {
    v1::MissingConnection {
        plan: missing.plan.to_string(),
        step: missing.step.to_string(),
        connection: missing.connection,
        kinds: missing.kinds.iter().map(|kind| (*kind).to_owned()).collect(),
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use mainstay_core::id::LedgerId;
    use mainstay_core::state::agent::{Connection, Hello};
    use mainstay_core::{Actor, Command, Entry, MeshTime, WallTime};

    use super::*;

    #[test]
    fn a_connection_is_told_once_with_all_who_have_it() {
        let mut state = State::default();
        let apply =
            |state: &mut State, command| drop(state.apply(&Entry { at: MeshTime(1), wall: WallTime(1), by: Actor::Mesh, key: None, command }));
        let connection = |(name, kind): &(&str, &str)| Connection { name: name.parse().unwrap(), kind: (*kind).to_owned() };
        let mut connect = |agent: &str, connections: &[(&str, &str)]| {
            let hello = Hello {
                ledger: LedgerId("l".into()),
                incarnation: "p".into(),
                version: "0.1.0".into(),
                feature_level: 2,
                host: true,
                kinds: Vec::new(),
                boot_id: String::new(),
                connections: connections.iter().map(connection).collect(),
            };
            apply(&mut state, Command::ConnectAgent { agent: agent.parse().unwrap(), hello });
        };
        connect("c/a", &[("cache", "redis"), ("db", "postgres")]);
        connect("c/b", &[("db", "postgres")]);
        connect("c/d", &[("db", "redis")]);
        let lost: AgentId = "c/b".parse().unwrap();
        let epoch = state.agents[&lost].epoch;
        apply(&mut state, Command::LoseAgent { agent: lost, epoch });
        let told: Vec<_> = connections_to_wire(&state).into_iter().map(|own| (own.name, own.kind, own.up, own.away, own.agents_up)).collect();
        let texts = |nodes: &[&str]| nodes.iter().map(|&node| node.to_owned()).collect::<Vec<_>>();
        assert_eq!(
            told,
            [
                ("cache".to_owned(), "redis".to_owned(), texts(&["c/a"]), texts(&[]), 1),
                ("db".to_owned(), "postgres".to_owned(), texts(&["c/a"]), texts(&["c/b"]), 1),
                ("db".to_owned(), "redis".to_owned(), texts(&["c/d"]), texts(&[]), 1),
            ]
        );
    }
}
