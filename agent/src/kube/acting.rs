//! Which of a cluster's agents acts: the one that holds the lease `agent/CLUSTER`.
//!
//! With the lease the mesh is told on which node the holder is, so that this one comes last where nodes are drained.
//!
//! The mesh gives the cluster's steps to its holder, and to nobody else. A replica that has lost it carries what it has
//! begun to its end: each kind is protected by something of its own.

use std::collections::BTreeMap;
use std::time::Duration;

use mainstay_client::Mesh;
use mainstay_client::lease::HoldOptions;
use mainstay_client::random::Backoff;
use mainstay_core::AgentId;
use mainstay_core::id::{LeaseName, SpeaksFor};
use mainstay_core::state::lease::{LeaseKind, LeaseSpec, NODE, POD};
use mainstay_core::time::Millis;
use tokio::sync::watch;

use super::objects::Pod;
use super::{Cluster, Selected};

/// How long after its holder has fallen silent another one acts.
const TTL: Millis = Millis::from_secs(15);
/// One wait for the lease, after which it is asked for anew.
const WAIT: Duration = Duration::from_secs(60);
/// Between tries that failed.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(15));

/// For finding out on which node this agent is. Who acts does not depend on it.
const LOOK: Duration = Duration::from_secs(5);

/// Holds the lease whenever it can be had, and says when it does. Ends with the task that runs it.
pub async fn keep(mesh: Mesh, own: Cluster, agent: AgentId, acts: watch::Sender<bool>) {
    let cluster = agent.cluster.clone();
    let name = LeaseName::acting(&cluster);
    let mut place = BTreeMap::new();
    let spec = LeaseSpec { slots: 1, ttl: TTL, kind: LeaseKind::Ttl };
    let mut pauses = Backoff::new(PAUSES.0, PAUSES.1);
    loop {
        if place.is_empty() {
            place = tokio::time::timeout(LOOK, place_of(&own, &agent)).await.unwrap_or_default();
        }
        // What an earlier process of this replica held ends with its TTL.
        let options = HoldOptions { spec: Some(spec), wait: WAIT, attributes: place.clone(), ..HoldOptions::default() };
        match mesh.hold_lease(name.as_str(), options).await {
            Ok(held) => {
                pauses.reset();
                tracing::info!(%cluster, token = held.token(), "this agent acts for its cluster");
                acts.send_replace(true);
                held.lost().await;
                acts.send_replace(false);
                tracing::warn!(%cluster, "this agent does not act for its cluster any more: its lease was lost");
            }
            Err(error) => {
                tracing::debug!(%cluster, %error, "another agent acts for the cluster, or the mesh does not answer");
                tokio::time::sleep(pauses.pause()).await;
            }
        }
    }
}

/// The pod and the node that this agent is in; nothing where it is in none.
async fn place_of(cluster: &Cluster, agent: &AgentId) -> BTreeMap<String, String> {
    let SpeaksFor::Cluster(id) = &agent.speaks_for else { return BTreeMap::new() };
    let (path, field) = (format!("/api/v1/namespaces/{}/pods", cluster.home()), format!("metadata.name={id}"));
    let found: Vec<Pod> = cluster.list(&path, Selected { fields: Some(&field), ..Selected::default() }).await.unwrap_or_default();
    let place = |pod: Pod| [(POD.to_owned(), pod.metadata.name), (NODE.to_owned(), pod.spec.node_name)].into();
    found.into_iter().next().map(place).unwrap_or_default()
}
