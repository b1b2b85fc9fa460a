//! Counters of the leader.

use mainstay_core::Reply;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use crate::store::ProposeError;

/// What became of proposals. A clone counts into the same ones.
#[derive(Debug, Clone, Default)]
pub struct LeaderMetrics {
    proposals: Family<ProposalLabels, Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ProposalLabels {
    outcome: &'static str,
}

impl LeaderMetrics {
    pub fn register(&self, registry: &mut Registry) {
        registry.register("proposals", "Commands proposed by this member, by outcome", self.proposals.clone());
    }

    pub(super) fn count(&self, answer: &Result<Reply, ProposeError>) {
        let outcome = match answer {
            Ok(Reply::Refused(_)) => "refused",
            Ok(Reply::Stale(_)) => "stale",
            Ok(_) => "done",
            Err(error) if error.outcome_unknown() => "unknown",
            Err(_) => "not_taken",
        };
        self.proposals.get_or_create(&ProposalLabels { outcome }).inc();
    }
}
