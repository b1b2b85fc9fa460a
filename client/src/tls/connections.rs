//! Which connections are open, by whom and under which root; so that those of a revoked identity or a retired root are
//! ended, and nobody has too many.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use mainstay_core::Identity;
use mainstay_core::state::trust::RootId;
use tokio_util::sync::CancellationToken;

use crate::identity::Roots;

/// All open connections of a listener. Clones share the list.
#[derive(Debug, Clone, Default)]
pub struct Connections {
    open: Arc<Mutex<Open>>,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    by_identity: BTreeMap<Identity, BTreeMap<u64, Connection>>,
}

#[derive(Debug)]
struct Connection {
    /// What its caller showed leads to this root; nothing where that is not known.
    root: Option<RootId>,
    ended: CancellationToken,
}

/// An entry that leaves the list with its connection.
#[derive(Debug)]
pub struct Entry {
    connections: Connections,
    identity: Identity,
    number: u64,
    ended: CancellationToken,
}

impl Connections {
    fn open(&self) -> std::sync::MutexGuard<'_, Open> {
        // The list is whole after each operation, so a panic elsewhere does not spoil it.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a connection; nothing when the identity has `max` already.
    pub(super) fn enter(&self, identity: &Identity, root: Option<RootId>, max: usize) -> Option<Entry> {
        let mut open = self.open();
        open.next += 1;
        let number = open.next;
        let own = open.by_identity.entry(identity.clone()).or_default();
        if own.len() >= max {
            return None;
        }
        let ended = CancellationToken::new();
        own.insert(number, Connection { root, ended: ended.clone() });
        Some(Entry { connections: self.clone(), identity: identity.clone(), number, ended })
    }

    /// Ends every connection of an identity.
    pub fn close_identity(&self, identity: &Identity) {
        for connection in self.open().by_identity.get(identity).into_iter().flat_map(BTreeMap::values) {
            connection.ended.cancel();
        }
    }

    /// Ends every connection whose caller showed a certificate of a root that is none of these.
    pub fn close_all_but_of(&self, roots: &Roots) {
        let open = self.open();
        let all = open.by_identity.values().flat_map(BTreeMap::values);
        for connection in all.filter(|connection| connection.root.is_some_and(|root| !roots.contains(root))) {
            connection.ended.cancel();
        }
    }

    /// Open connections of known identities.
    #[must_use]
    pub fn count(&self) -> usize {
        self.open().by_identity.values().map(BTreeMap::len).sum()
    }
}

impl Entry {
    pub(super) fn ended(&self) -> CancellationToken {
        self.ended.clone()
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut open = self.connections.open();
        if let Some(own) = open.by_identity.get_mut(&self.identity) {
            own.remove(&self.number);
            if own.is_empty() {
                open.by_identity.remove(&self.identity);
            }
        }
    }
}
