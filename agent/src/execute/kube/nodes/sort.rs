//! Which pods of a node are evicted, and which are not. Pure.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::super::super::backup::worker::WORKER;
use crate::kube::objects::Owner;

/// On a pod that the kubelet makes of a file on its node: nobody else can end it.
const MIRROR: &str = "kubernetes.io/config.mirror";
/// Pods that a message names.
const NAMED: usize = 5;
pub const HOW_TO_LOSE: &str = "end them by hand, or say `barePods: evict` or `emptyDir: evict`";

/// A pod, as far as it is looked at here.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Pod {
    pub metadata: Meta,
    pub spec: Spec,
    status: Status,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Meta {
    pub name: String,
    pub namespace: String,
    pub uid: String,
    pub labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    deletion_timestamp: Option<String>,
    owner_references: Vec<Owner>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Spec {
    pub node_name: String,
    pub node_selector: BTreeMap<String, String>,
    pub tolerations: Vec<Toleration>,
    pub containers: Vec<Container>,
    volumes: Vec<Volume>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Toleration {
    pub key: String,
    pub operator: String,
    pub value: String,
    pub effect: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Container {
    pub resources: Resources,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Resources {
    pub requests: Amounts,
}

/// Of one thing that pods ask for, and nodes have.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Amounts {
    pub cpu: String,
    pub memory: String,
    pub pods: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Volume {
    empty_dir: Option<Value>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Status {
    phase: String,
}

/// What a step does with pods that lose something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Loss {
    #[default]
    Refuse,
    Evict,
}

/// What a step has declared.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rules<'a> {
    pub bare_pods: Loss,
    pub empty_dir: Loss,
    /// The pod in which the agent runs that does this: it goes last, since another one has to go on from there.
    pub own: Option<(&'a str, &'a str)>,
}

/// The pods of one node.
#[derive(Debug, Default)]
pub struct Sorted {
    /// To be evicted, in this order.
    pub evict: Vec<Pod>,
    /// The agent's own, once nothing else is left.
    pub own: Option<Pod>,
    /// Workers of Mainstay, which would have to begin anew: they are waited for.
    pub working: Vec<Pod>,
    /// About to end.
    pub ending: Vec<Pod>,
    /// They stay.
    pub left: usize,
    /// Why nothing is to be evicted.
    refused: Vec<String>,
}

impl Pod {
    /// `shop/web-1`.
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.metadata.namespace, self.metadata.name)
    }

    fn controller(&self) -> Option<&Owner> {
        self.metadata.owner_references.iter().find(|owner| owner.controller)
    }

    /// Whether it is of the node, or has ended: nothing is lost when it stays.
    fn stays(&self) -> bool {
        self.metadata.annotations.contains_key(MIRROR) || self.controller().is_some_and(|owner| owner.kind == "DaemonSet") || self.has_ended()
    }

    pub fn has_ended(&self) -> bool {
        ["Succeeded", "Failed"].contains(&&*self.status.phase)
    }

    fn loses(&self, rules: Rules<'_>) -> Option<&'static str> {
        if rules.bare_pods == Loss::Refuse && self.controller().is_none() {
            Some("nothing would make it again")
        } else if rules.empty_dir == Loss::Refuse && self.spec.volumes.iter().any(|volume| volume.empty_dir.is_some()) {
            Some("what is in its emptyDir would be lost")
        } else {
            None
        }
    }
}

/// Sorts the pods of a node.
pub fn sort(pods: Vec<Pod>, rules: Rules<'_>) -> Sorted {
    let mut sorted = Sorted::default();
    for pod in pods {
        let is_own = rules.own == Some((&*pod.metadata.namespace, &*pod.metadata.name));
        if pod.stays() {
            sorted.left += 1;
        } else if pod.metadata.deletion_timestamp.is_some() {
            sorted.ending.push(pod);
        } else if pod.metadata.labels.contains_key(WORKER) {
            sorted.working.push(pod);
        } else if let Some(why) = pod.loses(rules).filter(|_| !is_own) {
            sorted.refused.push(format!("{}: {why}", pod.full_name()));
        } else if is_own {
            sorted.own = Some(pod);
        } else {
            sorted.evict.push(pod);
        }
    }
    sorted.evict.sort_by_key(Pod::full_name);
    sorted.refused.sort();
    sorted
}

impl Sorted {
    pub fn is_done(&self) -> bool {
        self.evict.is_empty() && self.own.is_none() && self.ending.is_empty() && self.working.is_empty()
    }

    /// Why nothing is evicted, and what to do.
    pub fn refusal(&self) -> Option<String> {
        self.would_lose().map(|named| format!("nothing was evicted: {named}: {HOW_TO_LOSE}"))
    }

    /// The pods that would lose something.
    pub fn would_lose(&self) -> Option<String> {
        (!self.refused.is_empty()).then(|| some(&self.refused))
    }
}

/// The first of several, and how many more there are.
pub fn some(all: &[String]) -> String {
    let more = all.len().saturating_sub(NAMED);
    let named = all.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join("; ");
    if more == 0 { named } else { format!("{named}; and {more} more") }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn pod(name: &str, more: &Value) -> Pod {
        let mut pod = json!({
            "metadata": { "namespace": "shop", "name": name, "uid": name, "ownerReferences": [{ "kind": "ReplicaSet", "name": "rs", "controller": true }] },
            "status": { "phase": "Running" },
        });
        for (part, fields) in more.as_object().unwrap() {
            for (field, value) in fields.as_object().unwrap() {
                pod[part][field] = value.clone();
            }
        }
        serde_json::from_value(pod).unwrap()
    }

    fn names(pods: &[Pod]) -> Vec<&str> {
        pods.iter().map(|pod| &*pod.metadata.name).collect()
    }

    #[test]
    fn what_belongs_to_the_node_stays_and_what_is_made_again_goes() {
        let owner = |kind: &str| json!([{ "kind": kind, "name": "o", "controller": true }]);
        let pods = vec![
            pod("web-2", &json!({})),
            pod("web-1", &json!({})),
            pod("log", &json!({ "metadata": { "ownerReferences": owner("DaemonSet") } })),
            pod("etcd", &json!({ "metadata": { "annotations": { MIRROR: "x" }, "ownerReferences": owner("Node") } })),
            pod("tidy", &json!({ "metadata": { "ownerReferences": owner("Job") }, "status": { "phase": "Succeeded" } })),
            pod("web-0", &json!({ "metadata": { "deletionTimestamp": "2026-11-28T12:00:00Z" } })),
            pod("agent-0", &json!({ "metadata": { "namespace": "mainstay", "ownerReferences": [] }, "spec": { "volumes": [{ "emptyDir": {} }] } })),
        ];
        let sorted = sort(pods, Rules { own: Some(("mainstay", "agent-0")), ..Rules::default() });
        assert_eq!((names(&sorted.evict), names(&sorted.ending), sorted.left), (vec!["web-1", "web-2"], vec!["web-0"], 3));
        assert_eq!((sorted.own.as_ref().unwrap().full_name(), sorted.refusal()), ("mainstay/agent-0".to_owned(), None));
        assert!(!sorted.is_done() && sort(Vec::new(), Rules::default()).is_done());
    }

    #[test]
    fn a_worker_is_waited_for_and_not_evicted() {
        let worker = |phase: &str| {
            let scratch = json!({ "volumes": [{ "emptyDir": {} }] });
            pod("w", &json!({ "metadata": { "labels": { WORKER: "backup" } }, "spec": scratch, "status": { "phase": phase } }))
        };
        let sorted = sort(vec![worker("Running")], Rules::default());
        assert_eq!((names(&sorted.working), sorted.refusal(), sorted.is_done()), (vec!["w"], None, false));
        assert!(sort(vec![worker("Succeeded")], Rules::default()).is_done());
    }

    #[test]
    fn what_would_be_lost_is_refused_unless_it_is_declared() {
        let bare = || pod("bare", &json!({ "metadata": { "ownerReferences": [] } }));
        let scratch = || pod("scratch", &json!({ "spec": { "volumes": [{ "emptyDir": { "medium": "Memory" } }, {}] } }));
        let all = || vec![bare(), scratch(), pod("web", &json!({}))];
        let refusal = sort(all(), Rules::default()).refusal().unwrap();
        assert_eq!(
            refusal,
            "nothing was evicted: shop/bare: nothing would make it again; shop/scratch: what is in its emptyDir would be lost: end them by hand, or \
             say `barePods: evict` or `emptyDir: evict`"
        );
        let half = sort(all(), Rules { bare_pods: Loss::Evict, ..Rules::default() });
        assert!(half.refusal().is_some_and(|why| !why.contains("shop/bare")));
        let whole = sort(all(), Rules { bare_pods: Loss::Evict, empty_dir: Loss::Evict, own: None });
        assert_eq!((names(&whole.evict), whole.refusal()), (vec!["bare", "scratch", "web"], None));
        let ending = pod("bare", &json!({ "metadata": { "ownerReferences": [], "deletionTimestamp": "2026-11-28T12:00:00Z" } }));
        assert_eq!(sort(vec![ending], Rules::default()).refusal(), None, "somebody else ends it");
    }
}
