//! What is counted about files.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

/// Numbers of one member's files. A clone counts into the same ones.
#[derive(Debug, Clone, Default)]
pub struct ArtifactMetrics {
    pub(super) files: Gauge,
    pub(super) bytes: Gauge,
    pub(super) missing: Gauge,
    uploads: Family<UploadLabels, Counter>,
    pub(super) fetched: Counter,
    pub(super) damaged: Counter,
    pub(super) removed: Counter,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct UploadLabels {
    outcome: &'static str,
}

impl ArtifactMetrics {
    /// Names them within `registry`, whose prefix says whose they are.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("artifacts_files", "Files of steps on this member's disk", self.files.clone());
        registry.register_with_unit("artifacts", "Length of the files of steps on this member's disk", Unit::Bytes, self.bytes.clone());
        registry.register("artifacts_missing", "Files that are recorded and that this member does not have", self.missing.clone());
        registry.register("artifacts_uploads", "Uploads of agents that this member took in as the leader, by outcome", self.uploads.clone());
        registry.register("artifacts_fetched", "Files that this member had to fetch from another", self.fetched.clone());
        registry.register("artifacts_damaged", "Files that were found to be something else than was stored", self.damaged.clone());
        registry.register("artifacts_removed", "Files removed because no record names them any more", self.removed.clone());
    }

    /// An upload has ended: `stored`, `refused` or `failed`.
    pub fn uploaded(&self, outcome: &'static str) {
        self.uploads.get_or_create(&UploadLabels { outcome }).inc();
    }
}
