//! What the agents of a cluster's nodes say, as the mesh hands it on.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mainstay_core::bounds;
use mainstay_core::condition::Condition;
use mainstay_proto::convert::conditions_from_wire;
use mainstay_proto::v1;
use tokio::sync::Notify;

/// A cheap handle; clones share what they know.
#[derive(Debug, Clone, Default)]
pub struct Told {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    state: Mutex<State>,
    changed: Notify,
}

type Nodes = BTreeMap<String, Arc<[Condition]>>;

#[derive(Debug, Default)]
struct State {
    /// Nothing before all of it was told on this link.
    all: Option<Nodes>,
    /// All of it anew, not in force before the last of it has come.
    coming: Option<Nodes>,
    changed: Changed,
}

/// Of which nodes there may be something new.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changed {
    pub all: bool,
    pub nodes: BTreeSet<String>,
}

/// What is known of one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Word {
    /// Nobody has told what is said.
    Unknown,
    /// Its agent is not linked with the mesh, or has said nothing.
    Silent,
    Said(Arc<[Condition]>),
}

impl Told {
    /// Takes a message. What goes on with nothing is left out: all of it follows.
    pub fn put(&self, message: v1::ConditionsKnown) {
        let mut state = self.state();
        let State { all, coming, changed } = &mut *state;
        if message.begins {
            *coming = Some(Nodes::new());
        }
        let Some(nodes) = coming.as_mut().or(all.as_mut()) else { return };
        for node in message.silent {
            nodes.remove(&node);
            changed.nodes.insert(node);
        }
        for said in message.nodes {
            if nodes.len() < bounds::CLUSTER_NODES || nodes.contains_key(&said.node) {
                nodes.insert(said.node.clone(), conditions_from_wire(said.conditions).into());
                changed.nodes.insert(said.node);
            }
        }
        if message.ends
            && let Some(whole) = coming.take()
        {
            *all = Some(whole);
            *changed = Changed { all: true, nodes: BTreeSet::new() };
        }
        drop(state);
        self.inner.changed.notify_one();
    }

    /// The link has ended: what was said on it may not be so any more.
    pub fn unlinked(&self) {
        *self.state() = State::default();
    }

    #[must_use]
    pub fn of(&self, node: &str) -> Word {
        match &self.state().all {
            None => Word::Unknown,
            Some(all) => all.get(node).map_or(Word::Silent, |said| Word::Said(said.clone())),
        }
    }

    /// Returns when something has changed that nobody has taken.
    pub async fn changed(&self) {
        loop {
            if self.state().changed != Changed::default() {
                return;
            }
            self.inner.changed.notified().await;
        }
    }

    #[must_use]
    pub fn take_changed(&self) -> Changed {
        mem::take(&mut self.state().changed)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each operation leaves it whole.
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(nodes: &[&str]) -> v1::ConditionsKnown {
        let condition = v1::NodeCondition { r#type: "MainstayDiskTrouble".into(), ..v1::NodeCondition::default() };
        let nodes = nodes.iter().map(|node| v1::NodeConditions { node: (*node).into(), conditions: vec![condition.clone()] });
        v1::ConditionsKnown { nodes: nodes.collect(), ..v1::ConditionsKnown::default() }
    }

    fn words(told: &Told) -> String {
        ["a", "b", "c"]
            .map(|node| match told.of(node) {
                Word::Unknown => '?',
                Word::Silent => '-',
                Word::Said(said) if said.len() == 1 => '+',
                Word::Said(_) => '!',
            })
            .into_iter()
            .collect()
    }

    #[tokio::test]
    async fn nothing_is_known_before_all_of_it_was_told_on_this_link() {
        let told = Told::default();
        told.put(said(&["a"]));
        assert_eq!((words(&told).as_str(), told.take_changed()), ("???", Changed::default()));
        told.put(v1::ConditionsKnown { begins: true, ..said(&["a"]) });
        assert_eq!(words(&told), "???");
        told.put(v1::ConditionsKnown { ends: true, ..said(&["b"]) });
        told.changed().await;
        assert_eq!((words(&told).as_str(), told.take_changed()), ("++-", Changed { all: true, nodes: BTreeSet::new() }));
        told.put(v1::ConditionsKnown { silent: vec!["a".into()], ..said(&["c"]) });
        assert_eq!((words(&told).as_str(), told.take_changed().nodes), ("-++", ["a".to_owned(), "c".to_owned()].into()));
        told.put(v1::ConditionsKnown { begins: true, ..said(&["a"]) });
        assert_eq!(words(&told), "-++", "what is known stays until all has come anew");
        told.put(v1::ConditionsKnown { ends: true, ..v1::ConditionsKnown::default() });
        assert_eq!(words(&told), "+--");
        told.unlinked();
        told.put(said(&["b"]));
        assert_eq!(words(&told), "???");
    }

    #[test]
    fn what_the_mesh_can_make_an_agent_keep_is_bounded() {
        let told = Told::default();
        let names: Vec<String> = (0..=bounds::CLUSTER_NODES).map(|node| format!("n{node}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        told.put(v1::ConditionsKnown { begins: true, ends: true, ..said(&names) });
        assert_eq!(told.state().all.as_ref().map(Nodes::len), Some(bounds::CLUSTER_NODES));
    }
}
