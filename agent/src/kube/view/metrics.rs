//! What looking at a cluster costs it.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

/// Clones count together.
#[derive(Debug, Clone, Default)]
pub struct ViewMetrics {
    pub(in crate::kube) requests: Counter,
    pub(in crate::kube) writes: Counter,
}

impl ViewMetrics {
    pub fn register(&self, registry: &mut Registry) {
        registry.register("mainstay_agent_cluster_requests", "Lists and watches that the API server was asked for", self.requests.clone());
        registry.register("mainstay_agent_condition_writes", "Writes of nodes' conditions that the API server was asked for", self.writes.clone());
    }
}
