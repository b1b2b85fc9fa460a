//! What attempts count.

use mainstay_core::state::run::Outcome;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Clones count together.
#[derive(Debug, Clone, Default)]
pub struct AttemptMetrics {
    ended: Family<OutcomeLabel, Counter>,
    pub(super) executing: Gauge,
    pub(super) ledger_entries: Gauge,
    pub(super) unreported: Gauge,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: String,
}

impl AttemptMetrics {
    pub fn register(&self, registry: &mut Registry) {
        registry.register("mainstay_agent_attempts", "Attempts that ended here, by outcome", self.ended.clone());
        registry.register("mainstay_agent_attempts_executing", "Attempts being carried out now", self.executing.clone());
        registry.register("mainstay_agent_ledger_entries", "Attempts in the ledger", self.ledger_entries.clone());
        registry.register("mainstay_agent_attempts_unreported", "Outcomes that the mesh has not taken in yet", self.unreported.clone());
    }

    pub(super) fn ended(&self, outcome: &Outcome) {
        self.ended.get_or_create(&OutcomeLabel { outcome: outcome.word().replace(' ', "_") }).inc();
    }
}
