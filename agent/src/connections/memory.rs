//! Counters of servers and names as an earlier look saw them, so that a later one can say what has come since, or gone.
//!
//! Kept in memory only, and by this process: another agent that looks next, or a restart, knows nothing yet.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use mainstay_core::Millis;
use mainstay_core::id::ConnectionName;

/// Counters and names of the last look, for each connection and name. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    seen: Arc<Mutex<BTreeMap<(ConnectionName, &'static str), Seen>>>,
    named: Arc<Mutex<BTreeMap<(ConnectionName, &'static str), String>>>,
}

#[derive(Debug, Clone)]
struct Seen {
    /// Of which life of the server: its counters begin again with another.
    life: String,
    value: u64,
    at_ms: u64,
}

impl Memory {
    /// Keeps a counter, and says by how much it has grown since the last look, and how long ago that was.
    /// Nothing at the first look, and nothing when the server has begun another life in between.
    pub fn grown(&self, connection: &ConnectionName, counter: &'static str, life: &str, value: u64, now_ms: u64) -> Option<(u64, Millis)> {
        let now = Seen { life: life.to_owned(), value, at_ms: now_ms };
        let before = self.seen.lock().unwrap_or_else(PoisonError::into_inner).insert((connection.clone(), counter), now)?;
        let grown = value.checked_sub(before.value)?;
        (before.life == life).then(|| (grown, Millis(now_ms.saturating_sub(before.at_ms))))
    }

    /// Keeps what something is called now, and says what it was called at the last look.
    pub fn replaced(&self, connection: &ConnectionName, what: &'static str, name: Option<String>) -> Option<String> {
        let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (connection.clone(), what);
        match name {
            Some(name) => named.insert(key, name),
            None => named.remove(&key),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn growth_is_known_within_one_life() {
        let (memory, name) = (Memory::default(), "cache".parse().unwrap());
        assert_eq!(memory.grown(&name, "evicted", "a", 10, 1_000), None);
        assert_eq!(memory.grown(&name, "evicted", "a", 13, 61_000), Some((3, Millis(60_000))));
        assert_eq!(memory.grown(&name, "rejected", "a", 1, 61_000), None);
        assert_eq!(memory.grown(&name, "evicted", "b", 20, 62_000), None, "a restart");
        assert_eq!(memory.grown(&name, "evicted", "b", 4, 63_000), None, "counters were reset");
    }

    #[test]
    fn a_name_is_known_until_it_is_replaced() {
        let (memory, name) = (Memory::default(), "cache".parse().unwrap());
        assert_eq!(memory.replaced(&name, "newest", Some("a".to_owned())), None);
        assert_eq!(memory.replaced(&name, "newest", Some("b".to_owned())), Some("a".to_owned()));
        assert_eq!(memory.replaced(&name, "newest", None), Some("b".to_owned()));
        assert_eq!(memory.replaced(&name, "newest", None), None);
    }
}
