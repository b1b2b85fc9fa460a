//! What the link counts.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Clones count together.
#[derive(Debug, Clone, Default)]
pub struct LinkMetrics {
    pub(super) up: Gauge,
    pub(super) lost: Counter,
    pub(super) refused: Counter,
}

impl LinkMetrics {
    pub fn register(&self, registry: &mut Registry) {
        registry.register("mainstay_agent_link_up", "1 while there is a link to the mesh", self.up.clone());
        registry.register("mainstay_agent_reconnects", "Links that ended or could not be opened, each followed by another try", self.lost.clone());
        registry.register(
            "mainstay_agent_desired_refused",
            "Desired sets that were older than one seen before, or made no sense",
            self.refused.clone(),
        );
    }
}
