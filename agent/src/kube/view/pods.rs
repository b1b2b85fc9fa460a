//! The pods of the cluster as they are known, and those nodes whose own pods are to be told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mainstay_core::bounds;
use mainstay_proto::v1;
use tokio::sync::Notify;

use super::follow::Sink;
use super::pod::{Pod, RawPod, Shared};

/// A cheap handle; clones share what they know.
#[derive(Debug, Clone, Default)]
pub struct Pods {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    known: Mutex<Known>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Known {
    /// By `NAMESPACE/NAME`.
    all: BTreeMap<Arc<str>, (Pod, u64)>,
    by_node: BTreeMap<Arc<str>, BTreeSet<Arc<str>>>,
    shared: Shared,
    /// Nodes whose agents are to know their pods.
    wanted: BTreeSet<Arc<str>>,
    /// Those of them that are to be told.
    due: BTreeSet<Arc<str>>,
    round: u64,
    is_whole: bool,
}

impl Known {
    fn put(&mut self, raw: RawPod) {
        let key: Arc<str> = format!("{}/{}", raw.metadata.namespace, raw.metadata.name).into();
        let pod = raw.kept(&mut self.shared);
        match self.all.get_mut(&key) {
            Some((known, round)) if *known == pod => {
                *round = self.round;
                return;
            }
            Some((known, _)) if known.node != pod.node => {
                self.remove(&key);
            }
            _ => {}
        }
        let node = pod.node.clone();
        self.all.insert(key.clone(), (pod, self.round));
        if !node.is_empty() {
            self.by_node.entry(node.clone()).or_default().insert(key);
            self.touch(&node);
        }
    }

    fn remove(&mut self, key: &str) {
        let Some((pod, _)) = self.all.remove(key) else { return };
        if let Some(of_node) = self.by_node.get_mut(&pod.node) {
            of_node.remove(key);
            if of_node.is_empty() {
                self.by_node.remove(&pod.node);
            }
        }
        self.touch(&pod.node);
    }

    fn touch(&mut self, node: &Arc<str>) {
        if self.wanted.contains(node) {
            self.due.insert(node.clone());
        }
    }
}

impl Pods {
    /// Ends when the pods of some node are to be told.
    pub async fn due(&self) {
        loop {
            {
                let known = self.known();
                if known.is_whole && !known.due.is_empty() {
                    return;
                }
            }
            self.inner.changed.notified().await;
        }
    }

    /// All pods of a node that is to be told of them.
    pub fn take(&self) -> Option<(String, Vec<v1::PodFact>)> {
        let mut known = self.known();
        if !known.is_whole {
            return None;
        }
        let node = known.due.pop_first()?;
        let keys = known.by_node.get(&node).into_iter().flatten().take(bounds::NODE_PODS);
        let told = keys.filter_map(|key| Some((key.split_once('/')?, &known.all.get(key)?.0)));
        Some((node.to_string(), told.map(|((namespace, name), pod)| pod.to_wire(namespace, name)).collect()))
    }

    /// The agents of these nodes are there, and know nothing.
    pub fn want(&self, nodes: Vec<String>) {
        let mut known = self.known();
        for node in nodes {
            let node: Arc<str> = node.into();
            known.wanted.insert(node.clone());
            known.due.insert(node);
        }
        drop(known);
        self.inner.changed.notify_one();
    }

    /// The agent of this node is gone.
    pub fn spare(&self, node: &str) {
        let mut known = self.known();
        known.wanted.remove(node);
        known.due.remove(node);
    }

    /// Whoever said who is there is gone.
    pub fn spare_all(&self) {
        let mut known = self.known();
        known.wanted.clear();
        known.due.clear();
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Each operation leaves it whole.
        self.inner.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink for Pods {
    type Object = RawPod;

    fn begins(&mut self) {
        self.known().round += 1;
    }

    fn put(&mut self, pod: RawPod) {
        let mut known = self.known();
        known.put(pod);
        let tell = !known.due.is_empty();
        drop(known);
        if tell {
            self.inner.changed.notify_one();
        }
    }

    fn gone(&mut self, pod: &RawPod) {
        self.known().remove(&format!("{}/{}", pod.metadata.namespace, pod.metadata.name));
        self.inner.changed.notify_one();
    }

    fn ends(&mut self) {
        let mut known = self.known();
        let round = known.round;
        let gone: Vec<Arc<str>> = known.all.iter().filter(|(_, (_, seen))| *seen != round).map(|(key, _)| key.clone()).collect();
        gone.iter().for_each(|key| known.remove(key));
        known.shared.prune();
        known.is_whole = true;
        drop(known);
        self.inner.changed.notify_one();
    }

    fn version(pod: &RawPod) -> &str {
        &pod.metadata.resource_version
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn pod(name: &str, node: &str, phase: &str) -> RawPod {
        serde_json::from_value(json!({"metadata": {"namespace": "shop", "name": name}, "spec": {"nodeName": node}, "status": {"phase": phase}}))
            .unwrap()
    }

    fn taken(pods: &Pods) -> Vec<(String, Vec<String>)> {
        std::iter::from_fn(|| pods.take())
            .map(|(node, pods)| (node, pods.into_iter().map(|pod| format!("{} {}", pod.name, pod.phase)).collect()))
            .collect()
    }

    fn of(node: &str, pods: &[&str]) -> (String, Vec<String>) {
        (node.to_owned(), pods.iter().map(|pod| (*pod).to_owned()).collect())
    }

    #[tokio::test]
    async fn a_node_is_told_all_of_its_own_pods_whenever_one_changes() {
        let mut pods = Pods::default();
        pods.begins();
        [("a", "n1"), ("b", "n1"), ("c", "n2"), ("d", "")].into_iter().for_each(|(name, node)| pods.put(pod(name, node, "Pending")));
        pods.want(vec!["n1".into(), "n9".into()]);
        assert_eq!(taken(&pods), [], "not before all are known");
        pods.ends();
        pods.due().await;
        assert_eq!(taken(&pods), [of("n1", &["a Pending", "b Pending"]), of("n9", &[])]);

        pods.put(pod("a", "n1", "Pending"));
        pods.put(pod("c", "n2", "Running"));
        assert_eq!(taken(&pods), [], "nothing has changed on a node that is to be told");
        pods.put(pod("a", "n1", "Running"));
        pods.put(pod("d", "n1", "Pending"));
        pods.gone(&pod("b", "n1", "Pending"));
        pods.due().await;
        assert_eq!(taken(&pods), [of("n1", &["a Running", "d Pending"])]);
        pods.spare("n1");
        pods.put(pod("a", "n1", "Failed"));
        assert_eq!(taken(&pods), []);
    }

    #[test]
    fn what_a_new_list_does_not_name_is_gone() {
        let mut pods = Pods::default();
        pods.begins();
        ["a", "b"].into_iter().for_each(|name| pods.put(pod(name, "n1", "Running")));
        pods.ends();
        pods.want(vec!["n1".into()]);
        assert_eq!(taken(&pods).len(), 1);
        pods.begins();
        pods.put(pod("a", "n1", "Running"));
        pods.ends();
        assert_eq!(taken(&pods), [of("n1", &["a Running"])]);
    }
}
