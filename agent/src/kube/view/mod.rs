//! What the replica that acts knows of its cluster, and tells of it. The others keep nothing and ask nothing.
//!
//! ```text
//!   API server ◀─ ask, at a bounded pace ─ follow ─▶ nodes, pods ─▶ tell ─▶ link ─▶ mesh
//! ```
//! In: that this replica acts. Out: facts of all nodes to the mesh, and through it each node's own pods to its agent. It carries
//! out no step, and changes nothing in the cluster but the conditions of its nodes ([`super::conditions`]), which go by the
//! nodes that are known here.

pub(super) mod ask;
pub(super) mod follow;
pub(super) mod metrics;
mod node;
pub(super) mod nodes;
pub(super) mod pace;
mod pod;
mod pods;
pub(crate) mod quantity;
mod tell;

use tokio::sync::watch;

pub use metrics::ViewMetrics;

use self::ask::Ask;
use self::follow::{Heard, follow};
use self::nodes::Nodes;
use self::pods::Pods;
use self::tell::Telling;
use super::Cluster;
use super::conditions::{Conditions, Writer};
use crate::link::Teller;

/// Looks and tells whenever this replica acts. Ends with the task that runs it.
pub async fn keep(cluster: Cluster, mut acts: watch::Receiver<bool>, mut teller: Teller, conditions: Conditions, metrics: ViewMetrics) {
    let mut sequence = 0;
    loop {
        if acts.wait_for(|acts| *acts).await.is_err() {
            return;
        }
        let ask = Ask::new(cluster.watching.clone(), metrics.requests.clone());
        let (nodes, pods) = (Nodes::managed_by(conditions.manager.clone()), Pods::default());
        let writer = Writer::new(&conditions, &nodes, Ask::new(cluster.watching.clone(), metrics.writes.clone()));
        let (heard, pods_heard) = (Heard::default(), Heard::default());
        let telling = Telling { teller: &mut teller, nodes: &nodes, pods: &pods, heard: &heard, sequence: &mut sequence };
        tokio::select! {
            biased;
            ended = acts.wait_for(|acts| !*acts) => if ended.is_err() { return },
            never = follow(&ask, "/api/v1/nodes", nodes.clone(), &heard) => match never {},
            never = follow(&ask, "/api/v1/pods", pods.clone(), &pods_heard) => match never {},
            never = telling.run() => match never {},
            never = writer.run() => match never {},
        }
    }
}
