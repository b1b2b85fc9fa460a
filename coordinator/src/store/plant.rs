//! The first snapshot of a disk that begins with a state: the disk of a mesh that was recovered.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use mainstay_core::State;

use super::disk::{Disk, disk};
use super::error::StartError;
use super::host::Host;
use super::metrics::StoreMetrics;
use super::raft::{LeaderId, LogId, Membership, Peer, SnapshotMeta, StoredMembership, node};
use super::settings::Settings;
use super::snapshot::Snapshots;
use super::space::Space;

impl Disk {
    /// Has the member that is born here begin with `state`, as if it had applied `index` entries, in a group of
    /// which it is the only member, called at `peer`. Doing it twice is doing it once; a disk that has had a log
    /// is refused. Blocks.
    pub fn plant(&self, peer: Peer, index: u64, state: &State) -> Result<(), StartError> {
        if !self.is_new() {
            return Err(StartError::NotEmpty { dir: self.dir().to_owned() });
        }
        let me = node(self.member());
        // Term 0 comes before every election, so that the first one goes on from here.
        let last = LogId::new(LeaderId { term: 0, node_id: me }, index);
        let wrong = |error: &dyn std::fmt::Display| StartError::Setting { name: "recovered.snapshot", why: error.to_string() };
        let members = Membership::new(vec![BTreeSet::from([me])], BTreeMap::from([(me, peer)])).map_err(|error| wrong(&error))?;
        let meta = SnapshotMeta { last_log_id: Some(last), last_membership: StoredMembership::new(Some(last), members) };
        let space = Arc::new(Space::new(self, Host::default(), &Settings::default()));
        let snapshots = Snapshots::new(self, StoreMetrics::default(), space);
        let dir: &Path = snapshots.dir();
        snapshots.build(meta, state).map(|_| ()).map_err(disk("write a snapshot into", dir))
    }
}
