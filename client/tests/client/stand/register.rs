//! What the members of one test share: who asked what, and one lease.

use std::sync::{Arc, Mutex, MutexGuard};

use mainstay_client::identity::PeerIdentity;
use mainstay_proto::v1;
use tokio::sync::watch;

use super::within;

/// One request, as a member saw it.
#[derive(Debug, Clone)]
pub struct Asked {
    pub member: String,
    pub method: &'static str,
    pub key: Option<String>,
    pub peer: Option<PeerIdentity>,
    pub incarnation: String,
    pub wait_ms: u64,
}

#[derive(Debug, Default)]
pub struct Table {
    pub asked: Vec<Asked>,
    /// Incarnation and token of the holder.
    pub held: Option<(String, u64)>,
    pub spec: v1::LeaseSpec,
    pub granted: u64,
    /// Names of the leases that were renewed by one call, for each such call.
    pub together: Vec<Vec<String>>,
}

/// Cheap to clone; clones share.
#[derive(Debug, Clone)]
pub struct Register {
    table: Arc<Mutex<Table>>,
    changed: watch::Sender<()>,
}

impl Register {
    /// With a lease of this TTL and kind.
    pub fn new(ttl_ms: u64, kind: v1::LeaseKind) -> Register {
        let spec = v1::LeaseSpec { slots: 1, ttl_ms, kind: kind.into() };
        Register { table: Arc::new(Mutex::new(Table { spec, ..Table::default() })), changed: watch::Sender::new(()) }
    }

    pub fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap()
    }

    pub fn change<T>(&self, change: impl FnOnce(&mut Table) -> T) -> T {
        let changed = change(&mut self.table());
        self.changed.send_replace(());
        changed
    }

    /// How often a method was asked for.
    pub fn count(&self, method: &str) -> usize {
        self.table().asked.iter().filter(|asked| asked.method == method).count()
    }

    /// Waits until the table is as wanted.
    pub async fn until(&self, what: &str, wanted: impl Fn(&Table) -> bool) {
        let mut changes = self.changed.subscribe();
        within(what, async {
            while !wanted(&self.table()) {
                changes.changed().await.unwrap();
            }
        })
        .await;
    }
}
