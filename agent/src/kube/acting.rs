//! Which of a cluster's agents acts: the one that holds the lease `agent/CLUSTER`.
//!
//! The mesh gives the cluster's steps to its holder, and to nobody else. A replica that has lost it carries what it has
//! begun to its end: each kind is protected by something of its own.

use std::time::Duration;

use mainstay_client::Mesh;
use mainstay_client::lease::HoldOptions;
use mainstay_client::random::Backoff;
use mainstay_core::id::{ClusterName, LeaseName};
use mainstay_core::state::lease::{LeaseKind, LeaseSpec};
use mainstay_core::time::Millis;
use tokio::sync::watch;

/// How long after its holder has fallen silent another one acts.
const TTL: Millis = Millis::from_secs(15);
/// One wait for the lease, after which it is asked for anew.
const WAIT: Duration = Duration::from_secs(60);
/// Between tries that failed.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(15));

/// Holds the lease whenever it can be had, and says when it does. Ends with the task that runs it.
pub async fn keep(mesh: Mesh, cluster: ClusterName, acts: watch::Sender<bool>) {
    let name = LeaseName::acting(&cluster);
    let spec = LeaseSpec { slots: 1, ttl: TTL, kind: LeaseKind::Ttl };
    let mut pauses = Backoff::new(PAUSES.0, PAUSES.1);
    loop {
        // What an earlier process of this replica held ends with its TTL.
        let options = HoldOptions { spec: Some(spec), wait: WAIT, ..HoldOptions::default() };
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
