//! What cluster agents tell of their nodes.

use mainstay_core::fact::{ClusterFacts, NodeFact, STALE, Told};
use mainstay_core::id::ClusterName;
use mainstay_core::time::{MeshTime, Millis};

use crate::v1;

#[must_use]
pub fn fact_to_wire(fact: &NodeFact) -> v1::NodeFact {
    v1::NodeFact {
        name: fact.name.to_string(),
        uid: fact.uid.clone(),
        ready: fact.ready,
        not_ready_reason: fact.not_ready_reason.clone(),
        ready_since_unix_ms: fact.ready_since_unix_ms,
        cordoned: fact.cordoned,
        zone: fact.zone.to_string(),
        kubelet_version: fact.kubelet_version.to_string(),
        boot_id: fact.boot_id.clone(),
        taints: fact.taints.clone(),
        conditions: fact.conditions.clone(),
        allocatable_cpu_milli: fact.allocatable_cpu_milli,
        allocatable_memory_bytes: fact.allocatable_memory_bytes,
        allocatable_pods: fact.allocatable_pods,
    }
}

/// Its size is not checked here: that is part of taking it.
#[must_use]
pub fn fact_from_wire(fact: v1::NodeFact) -> NodeFact {
    NodeFact {
        name: fact.name.into(),
        uid: fact.uid,
        ready: fact.ready,
        not_ready_reason: fact.not_ready_reason,
        ready_since_unix_ms: fact.ready_since_unix_ms,
        cordoned: fact.cordoned,
        zone: fact.zone.into(),
        kubelet_version: fact.kubelet_version.into(),
        boot_id: fact.boot_id,
        taints: fact.taints,
        conditions: fact.conditions,
        allocatable_cpu_milli: fact.allocatable_cpu_milli,
        allocatable_memory_bytes: fact.allocatable_memory_bytes,
        allocatable_pods: fact.allocatable_pods,
    }
}

#[must_use]
pub fn told_from_wire(facts: v1::NodeFacts) -> Told {
    Told {
        sequence: facts.sequence,
        begins: facts.begins,
        ends: facts.ends,
        silent: Millis(facts.silent_ms),
        nodes: facts.nodes.into_iter().map(fact_from_wire).collect(),
        gone: facts.gone,
    }
}

/// What is known of a cluster, with what a list shows of each node; nothing before all of them have been told once.
#[must_use]
pub fn known_to_wire(cluster: &ClusterName, facts: &ClusterFacts, now: MeshTime) -> Option<v1::KnownCluster> {
    let age = facts.age(now)?;
    let listed = |fact: &NodeFact| v1::NodeFact {
        name: fact.name.to_string(),
        ready: fact.ready,
        not_ready_reason: fact.not_ready_reason.split(':').next().unwrap_or_default().to_owned(),
        cordoned: fact.cordoned,
        zone: fact.zone.to_string(),
        kubelet_version: fact.kubelet_version.to_string(),
        ..v1::NodeFact::default()
    };
    Some(v1::KnownCluster {
        cluster: cluster.to_string(),
        told_by: facts.by.to_string(),
        age_ms: age.0,
        stale: age > STALE,
        nodes: facts.nodes().values().map(|fact| listed(fact)).collect(),
    })
}
