//! openraft's suite for storages, over the real log and state machine.

use std::sync::Arc;

use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use tempfile::TempDir;

use mainstay_core::MemberId;

use crate::store::digest::Digests;
use crate::store::disk::Disk;
use crate::store::failure::Failure;
use crate::store::host::Host;
use crate::store::log::LogStore;
use crate::store::machine::Machine;
use crate::store::metrics::StoreMetrics;
use crate::store::raft::Types;
use crate::store::settings::Settings;
use crate::store::snapshot::Snapshots;
use crate::store::space::Space;

struct Builder;

impl StoreBuilder<Types, LogStore, Machine, TempDir> for Builder {
    async fn build(&self) -> Result<(TempDir, LogStore, Machine), StorageError<Types>> {
        let dir = TempDir::new().unwrap();
        let disk = Disk::open(dir.path(), MemberId(1)).unwrap();
        let (host, settings, metrics, failure) = (Host::default(), Settings::default(), StoreMetrics::default(), Failure::default());
        let space = Arc::new(Space::new(&disk, host.clone(), &settings));
        let snapshots = Arc::new(Snapshots::new(&disk, metrics.clone(), space));
        let log = LogStore::open(&disk, &host, metrics, failure.clone()).await.unwrap();
        let restored = snapshots.restore(log.first_index()).await.unwrap();
        let (machine, _) = Machine::new(snapshots, restored, Digests::new(1_000, disk, failure.clone()), failure);
        Ok((dir, log, machine))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_storage_suite_of_openraft_passes() {
    Suite::test_all(Builder).await.unwrap();
}
