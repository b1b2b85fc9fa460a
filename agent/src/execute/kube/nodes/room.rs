//! Whether the pods of a node would find a place on other nodes, by what they request, by node selectors and by taints. Pure.
//!
//! It is no scheduler: affinity and spread are not looked at, and pods are placed one after the other, the largest first.
//! So what finds no place here finds none there either, or only by luck; what does may still find none.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::sort::{Amounts, Pod, Toleration};
use crate::kube::objects::{Condition, condition};
use crate::kube::view::quantity::{milli, whole};

/// A node, as far as it is looked at here.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Node {
    pub metadata: Meta,
    spec: Spec,
    status: Status,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Meta {
    pub name: String,
    labels: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Spec {
    unschedulable: bool,
    taints: Vec<Taint>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Taint {
    key: String,
    value: String,
    effect: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Status {
    allocatable: Amounts,
    conditions: Vec<Condition>,
}

/// What there is, or is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
struct Size {
    memory: u64,
    cpu_milli: u64,
    pods: u64,
}

impl Size {
    fn of(pod: &Pod) -> Size {
        let requests = || pod.spec.containers.iter().map(|container| &container.resources.requests);
        Size {
            memory: requests().map(|amounts| whole(&amounts.memory)).sum(),
            cpu_milli: requests().map(|amounts| milli(&amounts.cpu)).sum(),
            pods: 1,
        }
    }

    fn fits(self, room: Size) -> bool {
        self.memory <= room.memory && self.cpu_milli <= room.cpu_milli && self.pods <= room.pods
    }

    fn less(self, taken: Size) -> Size {
        Size {
            memory: self.memory.saturating_sub(taken.memory),
            cpu_milli: self.cpu_milli.saturating_sub(taken.cpu_milli),
            pods: self.pods.saturating_sub(taken.pods),
        }
    }
}

impl Node {
    fn takes_pods(&self) -> bool {
        !self.spec.unschedulable && condition(&self.status.conditions, "Ready").is_some_and(|ready| ready.status == "True")
    }

    fn size(&self) -> Size {
        let amounts = &self.status.allocatable;
        Size { memory: whole(&amounts.memory), cpu_milli: milli(&amounts.cpu), pods: whole(&amounts.pods) }
    }

    fn suits(&self, pod: &Pod) -> bool {
        let has_labels = pod.spec.node_selector.iter().all(|(name, value)| self.metadata.labels.get(name) == Some(value));
        let mut keeping_off = self.spec.taints.iter().filter(|taint| taint.effect != "PreferNoSchedule");
        has_labels && keeping_off.all(|taint| pod.spec.tolerations.iter().any(|toleration| tolerates(toleration, taint)))
    }
}

fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let of_key = toleration.key == taint.key || (toleration.key.is_empty() && toleration.operator == "Exists");
    let of_effect = toleration.effect.is_empty() || toleration.effect == taint.effect;
    of_key && of_effect && (toleration.operator == "Exists" || toleration.value == taint.value)
}

/// The room that nodes have besides what runs on them.
pub struct Room<'n>(Vec<(&'n Node, Size)>);

impl<'n> Room<'n> {
    pub fn of(nodes: &'n [Node], pods: &[Pod]) -> Room<'n> {
        let mut taken: BTreeMap<&str, Size> = BTreeMap::new();
        for pod in pods.iter().filter(|pod| !pod.has_ended()) {
            let (size, sum) = (Size::of(pod), taken.entry(&pod.spec.node_name).or_default());
            *sum = Size { memory: sum.memory + size.memory, cpu_milli: sum.cpu_milli + size.cpu_milli, pods: sum.pods + size.pods };
        }
        let left = |node: &'n Node| (node, node.size().less(taken.get(&*node.metadata.name).copied().unwrap_or_default()));
        Room(nodes.iter().filter(|node| node.takes_pods()).map(left).collect())
    }

    /// Names of those of these pods that find no place on another node than this one.
    pub fn without(&self, node: &str, pods: &[Pod]) -> Vec<String> {
        let mut room: Vec<(&Node, Size)> = self.0.iter().filter(|(other, _)| other.metadata.name != node).copied().collect();
        let mut pods: Vec<(Size, &Pod)> = pods.iter().map(|pod| (Size::of(pod), pod)).collect();
        pods.sort_by_key(|(size, pod)| (std::cmp::Reverse(*size), pod.full_name()));
        let mut left = Vec::new();
        for (size, pod) in pods {
            match room.iter_mut().find(|(other, free)| size.fits(*free) && other.suits(pod)) {
                Some((_, free)) => *free = free.less(size),
                None => left.push(pod.full_name()),
            }
        }
        left
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::*;

    fn node(name: &str, memory: &str, spec: &Value) -> Node {
        serde_json::from_value(json!({
            "metadata": { "name": name, "labels": { "disk": "ssd" } }, "spec": spec,
            "status": { "allocatable": { "cpu": "2", "memory": memory, "pods": "3" }, "conditions": [{ "type": "Ready", "status": "True" }] },
        }))
        .unwrap()
    }

    fn pod(name: &str, on: &str, memory: &str, more: &Value) -> Pod {
        let mut pod = json!({
            "metadata": { "namespace": "shop", "name": name }, "status": { "phase": "Running" },
            "spec": { "nodeName": on, "containers": [{ "resources": { "requests": { "memory": memory, "cpu": "100m" } } }] },
        });
        for (field, value) in more.as_object().unwrap() {
            pod["spec"][field] = value.clone();
        }
        serde_json::from_value(pod).unwrap()
    }

    /// Which pods of n1 find no place.
    fn left(others: Vec<Node>, pods: Vec<Pod>) -> Vec<String> {
        let nodes = [vec![node("n1", "8Gi", &json!({}))], others].concat();
        let own: Vec<Pod> = pods.iter().filter(|pod| pod.spec.node_name == "n1").cloned().collect();
        Room::of(&nodes, &pods).without("n1", &own)
    }

    #[test]
    fn pods_find_a_place_where_there_is_room() {
        let nothing = json!({});
        let web = |name: &str| pod(name, "n1", "1Gi", &nothing);
        let n2 = || node("n2", "4Gi", &json!({}));
        assert_eq!(left(vec![n2()], vec![web("a"), web("b")]), Vec::<String>::new());
        assert_eq!(left(vec![], vec![web("a")]), ["shop/a"], "not on its own node");
        assert_eq!(left(vec![n2()], vec![web("a"), pod("big", "n2", "3584Mi", &nothing)]), ["shop/a"], "what runs there takes its room");
        assert_eq!(left(vec![n2()], vec![pod("huge", "n1", "4Gi", &nothing), web("a")]), ["shop/a"], "the largest goes first");
        assert_eq!(left(vec![n2()], ["a", "b", "c", "d"].map(web).to_vec()), ["shop/d"], "a node has only so many pods");
        assert_eq!(left(vec![n2(), node("n3", "1Gi", &json!({}))], ["a", "b", "c", "d"].map(web).to_vec()), Vec::<String>::new());
    }

    #[test]
    fn nodes_that_take_no_pods_or_not_these_are_no_place() {
        let cordoned = node("n2", "8Gi", &json!({ "unschedulable": true }));
        let tainted = node("n2", "8Gi", &json!({ "taints": [{ "key": "gpu", "value": "yes", "effect": "NoSchedule" }] }));
        let plain = || vec![pod("a", "n1", "1Gi", &json!({}))];
        assert_eq!((left(vec![cordoned], plain()), left(vec![tainted.clone()], plain())), (vec!["shop/a".to_owned()], vec!["shop/a".to_owned()]));
        for toleration in [
            json!({ "operator": "Exists" }),
            json!({ "key": "gpu", "value": "yes", "effect": "NoSchedule" }),
            json!({ "key": "gpu", "operator": "Exists" }),
        ] {
            let tolerating = vec![pod("a", "n1", "1Gi", &json!({ "tolerations": [toleration] }))];
            assert_eq!(left(vec![tainted.clone()], tolerating), Vec::<String>::new());
        }
        let selecting = |disk: &str| vec![pod("a", "n1", "1Gi", &json!({ "nodeSelector": { "disk": disk } }))];
        let n2 = || vec![node("n2", "8Gi", &json!({}))];
        assert_eq!((left(n2(), selecting("ssd")).len(), left(n2(), selecting("hdd")).len()), (0, 1));
    }
}
