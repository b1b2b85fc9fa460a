//! Numbers about the store, beside the code they measure.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// Distributions and counters. A clone counts into the same ones.
#[derive(Debug, Clone)]
pub struct StoreMetrics {
    /// How long one sync of the log took.
    pub sync_seconds: Histogram,
    /// Entries that one sync made durable.
    pub batch_entries: Histogram,
    /// How long it took to encode and write a snapshot.
    pub snapshot_seconds: Histogram,
    pub snapshots_built: Counter,
    pub snapshots_installed: Counter,
}

impl Default for StoreMetrics {
    fn default() -> StoreMetrics {
        StoreMetrics {
            sync_seconds: Histogram::new(exponential_buckets(0.000_1, 2.0, 16)),
            batch_entries: Histogram::new(exponential_buckets(1.0, 2.0, 12)),
            snapshot_seconds: Histogram::new(exponential_buckets(0.001, 2.0, 16)),
            snapshots_built: Counter::default(),
            snapshots_installed: Counter::default(),
        }
    }
}

impl StoreMetrics {
    /// Names them within `registry`, whose prefix says whose they are.
    pub fn register(&self, registry: &mut Registry) {
        registry.register_with_unit("raft_log_sync", "Time of one sync of the Raft log", Unit::Seconds, self.sync_seconds.clone());
        registry.register("raft_log_batch_entries", "Entries made durable by one sync", self.batch_entries.clone());
        registry.register_with_unit("raft_snapshot_build", "Time to encode and write a snapshot", Unit::Seconds, self.snapshot_seconds.clone());
        registry.register("raft_snapshots_built", "Snapshots written by this member", self.snapshots_built.clone());
        registry.register("raft_snapshots_installed", "Snapshots received from a leader", self.snapshots_installed.clone());
    }
}

/// Where the member stands now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gauges {
    pub term: u64,
    pub leads: bool,
    pub last_index: u64,
    pub committed_index: u64,
    pub applied_index: u64,
    pub snapshot_index: u64,
    pub purged_index: u64,
    /// Bytes of the entries in the log.
    pub log_bytes: u64,
    /// Free bytes of the file system that holds the log.
    pub free_bytes: u64,
    pub disk_full: bool,
}
