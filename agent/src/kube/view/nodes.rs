//! The nodes of the cluster as they are known, which of them are to be told, and which have other conditions of
//! Mainstay's than before.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mainstay_core::condition::write::Present;
use mainstay_core::fact::NodeFact;
use tokio::sync::Notify;

use super::follow::Sink;
use super::node::Node;

/// A cheap handle; clones share what they know.
#[derive(Debug, Clone, Default)]
pub struct Nodes {
    inner: Arc<Inner>,
    /// Which conditions are this mesh's.
    manager: Arc<str>,
}

#[derive(Debug, Default)]
struct Inner {
    known: Mutex<Known>,
    changed: Notify,
    marked: Notify,
}

#[derive(Debug, Default)]
struct Known {
    all: BTreeMap<Arc<str>, Entry>,
    /// Since they were last taken: there is something new of them, or they are gone.
    changed: BTreeSet<Arc<str>>,
    /// Since they were last taken: conditions of Mainstay's have changed, or it has come, or is gone.
    marked: BTreeSet<Arc<str>>,
    /// Number of the list that is read now, or was read last.
    round: u64,
    /// A list has been read to its end.
    is_whole: bool,
}

#[derive(Debug)]
struct Entry {
    fact: NodeFact,
    present: Vec<Present>,
    round: u64,
}

/// One node, and what conditions of Mainstay's stand on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marks {
    pub uid: String,
    pub present: Vec<Present>,
}

/// What has changed: facts, and names of those that are gone.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    pub nodes: Vec<NodeFact>,
    pub gone: Vec<String>,
}

impl Nodes {
    /// None yet, of which those conditions are this mesh's that this manager has written.
    #[must_use]
    pub fn managed_by(manager: Arc<str>) -> Nodes {
        Nodes { manager, ..Nodes::default() }
    }

    /// Whether there is all of it, or at least was once.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.known().is_whole
    }

    /// Ends when something has changed that nobody has taken.
    pub async fn changed(&self) {
        loop {
            if !self.known().changed.is_empty() {
                return;
            }
            self.inner.changed.notified().await;
        }
    }

    /// All of them; what comes later is a change.
    #[must_use]
    pub fn take_all(&self) -> Vec<NodeFact> {
        let mut known = self.known();
        known.changed.clear();
        known.all.values().map(|entry| entry.fact.clone()).collect()
    }

    /// At most so many changes.
    #[must_use]
    pub fn take_changes(&self, most: usize) -> Changes {
        let mut known = self.known();
        let mut changes = Changes::default();
        for _ in 0..most {
            let Some(name) = known.changed.pop_first() else { break };
            match known.all.get(&name) {
                Some(entry) => changes.nodes.push(entry.fact.clone()),
                None => changes.gone.push(name.to_string()),
            }
        }
        changes
    }

    /// Ends when conditions have changed, and nobody has taken that.
    pub async fn marked(&self) {
        loop {
            if !self.known().marked.is_empty() {
                return;
            }
            self.inner.marked.notified().await;
        }
    }

    /// The nodes of which that is so.
    #[must_use]
    pub fn take_marked(&self) -> BTreeSet<Arc<str>> {
        std::mem::take(&mut self.known().marked)
    }

    #[must_use]
    pub fn marks(&self, name: &str) -> Option<Marks> {
        self.known().all.get(name).map(|entry| Marks { uid: entry.fact.uid.clone(), present: entry.present.clone() })
    }

    #[must_use]
    pub fn names(&self) -> Vec<Arc<str>> {
        self.known().all.keys().cloned().collect()
    }

    #[must_use]
    pub fn count(&self) -> usize {
        self.known().all.len()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Each operation leaves it whole.
        self.inner.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink for Nodes {
    type Object = Node;

    fn begins(&mut self) {
        self.known().round += 1;
    }

    fn put(&mut self, node: Node) {
        let present = node.marks(&self.manager);
        let fact = node.fact();
        let mut known = self.known();
        let (round, name) = (known.round, fact.name.clone());
        let is_new = known.all.get(&name).is_none_or(|entry| entry.fact != fact);
        let is_marked = known.all.get(&name).is_none_or(|entry| entry.fact.uid != fact.uid || entry.present != present);
        known.all.insert(name.clone(), Entry { fact, present, round });
        if is_marked {
            known.marked.insert(name.clone());
            self.inner.marked.notify_one();
        }
        if is_new {
            known.changed.insert(name);
            drop(known);
            self.inner.changed.notify_one();
        }
    }

    fn gone(&mut self, node: &Node) {
        let mut known = self.known();
        if let Some((name, _)) = known.all.remove_entry(&node.metadata.name) {
            known.marked.insert(name.clone());
            known.changed.insert(name);
            drop(known);
            self.inner.changed.notify_one();
            self.inner.marked.notify_one();
        }
    }

    fn ends(&mut self) {
        let mut known = self.known();
        let Known { all, changed, marked, round, is_whole } = &mut *known;
        all.retain(|name, entry| {
            let is_there = entry.round == *round;
            if !is_there {
                changed.insert(name.clone());
                marked.insert(name.clone());
            }
            is_there
        });
        *is_whole = true;
        drop(known);
        self.inner.changed.notify_one();
        self.inner.marked.notify_one();
    }

    fn version(node: &Node) -> &str {
        &node.metadata.resource_version
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn node(name: &str, cordoned: bool) -> Node {
        serde_json::from_value(json!({"metadata": {"name": name}, "spec": {"unschedulable": cordoned}})).unwrap()
    }

    fn names(changes: &Changes) -> (Vec<(&str, bool)>, Vec<&str>) {
        (changes.nodes.iter().map(|node| (&*node.name, node.cordoned)).collect(), changes.gone.iter().map(String::as_str).collect())
    }

    #[tokio::test]
    async fn what_changes_is_taken_once_and_what_does_not_is_not() {
        let mut nodes = Nodes::default();
        nodes.begins();
        ["a", "b", "c"].into_iter().for_each(|name| nodes.put(node(name, false)));
        assert!(!nodes.is_whole());
        nodes.ends();
        assert!(nodes.is_whole());
        assert_eq!(nodes.take_all().len(), 3);
        assert_eq!(nodes.take_changes(10), Changes::default());

        nodes.put(node("a", false));
        nodes.put(node("b", true));
        nodes.gone(&node("c", false));
        nodes.gone(&node("never", false));
        nodes.put(node("d", false));
        nodes.changed().await;
        assert_eq!(names(&nodes.take_changes(2)), (vec![("b", true)], vec!["c"]));
        assert_eq!(names(&nodes.take_changes(2)), (vec![("d", false)], vec![]));
        assert_eq!(nodes.take_changes(2), Changes::default());
    }

    #[test]
    fn what_a_new_list_does_not_name_is_gone() {
        let mut nodes = Nodes::default();
        nodes.begins();
        ["a", "b"].into_iter().for_each(|name| nodes.put(node(name, false)));
        nodes.ends();
        assert_eq!(nodes.take_all().len(), 2);
        nodes.begins();
        nodes.put(node("a", false));
        assert_eq!(nodes.take_changes(9), Changes::default(), "a list that is not read to its end takes nothing away");
        nodes.begins();
        nodes.put(node("a", false));
        nodes.ends();
        assert_eq!(names(&nodes.take_changes(9)), (vec![], vec!["b"]));
    }
}
