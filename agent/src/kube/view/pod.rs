//! What is kept of a Pod: where it is, whose it is, how it is, and what its containers may use.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mainstay_proto::v1;
use serde::Deserialize;

use super::quantity;
use crate::kube::objects::{Condition, Owner, condition};

/// Longest text that is told of a pod besides its names.
const TEXT_BYTES: usize = 256;
/// Most labels, and most containers, of one pod that are told.
const LABELS: usize = 32;
const CONTAINERS: usize = 64;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RawPod {
    pub metadata: Meta,
    spec: Spec,
    status: Status,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Meta {
    pub name: String,
    pub namespace: String,
    uid: String,
    pub resource_version: String,
    labels: BTreeMap<String, String>,
    annotations: Annotations,
    owner_references: Vec<Owner>,
}

/// A pod from a file of its node is named by this in the node's cgroups and logs, and not by its uid.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Annotations {
    #[serde(rename = "kubernetes.io/config.hash")]
    hash: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    node_name: String,
    containers: Vec<Container>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Container {
    name: String,
    resources: Resources,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Resources {
    requests: Amounts,
    limits: Amounts,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Amounts {
    cpu: String,
    memory: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    phase: String,
    conditions: Vec<Condition>,
    container_statuses: Vec<ContainerStatus>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ContainerStatus {
    name: String,
    restart_count: u32,
    #[serde(rename = "containerID")]
    container_id: String,
}

/// One pod. What many have in common they share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    pub node: Arc<str>,
    uid: Box<str>,
    /// Kind and name of what made it; empty where nothing did.
    workload: (Arc<str>, Arc<str>),
    /// `KEY=VALUE`, separated by line breaks, which neither has.
    labels: Arc<str>,
    phase: Arc<str>,
    ready: bool,
    restarts: u32,
    containers: Box<[OwnContainer]>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct OwnContainer {
    /// Name and amounts, as `name cpu-request cpu-limit memory-request memory-limit`.
    template: Arc<Template>,
    id: Box<str>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Template {
    name: Box<str>,
    cpu_milli: (u64, u64),
    memory_bytes: (u64, u64),
}

/// Texts and containers that are the same in many pods, once.
#[derive(Debug, Default)]
pub struct Shared {
    texts: BTreeSet<Arc<str>>,
    templates: BTreeSet<Arc<Template>>,
}

impl Shared {
    pub fn text(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.texts.get(text) {
            return known.clone();
        }
        let new: Arc<str> = text.into();
        self.texts.insert(new.clone());
        new
    }

    fn template(&mut self, template: Template) -> Arc<Template> {
        if let Some(known) = self.templates.get(&template) {
            return known.clone();
        }
        let new = Arc::new(template);
        self.templates.insert(new.clone());
        new
    }

    /// Forgets what nobody has any more.
    pub fn prune(&mut self) {
        self.texts.retain(|text| Arc::strong_count(text) > 1);
        self.templates.retain(|template| Arc::strong_count(template) > 1);
    }
}

impl RawPod {
    pub fn kept(self, shared: &mut Shared) -> Pod {
        let (kind, name) = self.workload();
        let labels: Vec<String> = self.metadata.labels.iter().take(LABELS).map(|(key, value)| format!("{key}={value}")).collect();
        let status = |name: &str| self.status.container_statuses.iter().find(|status| status.name == name);
        let containers = self.spec.containers.iter().take(CONTAINERS).map(|container| {
            let Resources { requests, limits } = &container.resources;
            let id = status(&container.name).map(|status| status.container_id.rsplit('/').next().unwrap_or_default()).unwrap_or_default();
            OwnContainer {
                template: shared.template(Template {
                    name: container.name.as_str().into(),
                    cpu_milli: (quantity::milli(&requests.cpu), quantity::milli(&limits.cpu)),
                    memory_bytes: (quantity::whole(&requests.memory), quantity::whole(&limits.memory)),
                }),
                id: cut(id).into(),
            }
        });
        let containers = containers.collect();
        let hash = &self.metadata.annotations.hash;
        Pod {
            node: shared.text(&self.spec.node_name),
            uid: cut(if hash.is_empty() { &self.metadata.uid } else { hash }).into(),
            workload: (shared.text(cut(&kind)), shared.text(cut(&name))),
            labels: shared.text(&labels.join("\n")),
            phase: shared.text(cut(&self.status.phase)),
            ready: condition(&self.status.conditions, "Ready").is_some_and(|ready| ready.status == "True"),
            restarts: self.status.container_statuses.iter().map(|status| status.restart_count).sum(),
            containers,
        }
    }

    /// A ReplicaSet is how a Deployment makes its pods, and nothing that anybody looks for.
    fn workload(&self) -> (String, String) {
        let Some(owner) = self.metadata.owner_references.iter().find(|owner| owner.controller) else { return Default::default() };
        let hash = self.metadata.labels.get("pod-template-hash");
        match hash.and_then(|hash| owner.name.strip_suffix(&format!("-{hash}"))).filter(|_| owner.kind == "ReplicaSet") {
            Some(deployment) => ("Deployment".to_owned(), deployment.to_owned()),
            None => (owner.kind.clone(), owner.name.clone()),
        }
    }
}

impl Pod {
    pub fn to_wire(&self, namespace: &str, name: &str) -> v1::PodFact {
        let containers = self.containers.iter().map(|container| v1::ContainerFact {
            name: container.template.name.to_string(),
            id: container.id.to_string(),
            cpu_request_milli: container.template.cpu_milli.0,
            cpu_limit_milli: container.template.cpu_milli.1,
            memory_request_bytes: container.template.memory_bytes.0,
            memory_limit_bytes: container.template.memory_bytes.1,
        });
        v1::PodFact {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            uid: self.uid.to_string(),
            workload_kind: self.workload.0.to_string(),
            workload: self.workload.1.to_string(),
            labels: self.labels.lines().map(str::to_owned).collect(),
            phase: self.phase.to_string(),
            ready: self.ready,
            restarts: self.restarts,
            containers: containers.collect(),
        }
    }
}

fn cut(text: &str) -> &str {
    let mut end = text.len().min(TEXT_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::*;

    fn pod(value: Value) -> v1::PodFact {
        serde_json::from_value::<RawPod>(value).unwrap().kept(&mut Shared::default()).to_wire("shop", "web-5d8-x")
    }

    #[test]
    fn a_pod_is_told_with_its_workload_and_what_its_containers_may_use() {
        let told = pod(json!({
            "metadata": {
                "name": "web-5d8-x", "namespace": "shop", "uid": "u", "labels": {"app": "web", "pod-template-hash": "5d8"},
                "ownerReferences": [{"kind": "ReplicaSet", "name": "web-5d8", "controller": true}],
            },
            "spec": {"nodeName": "n1", "containers": [
                {"name": "app", "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}}},
                {"name": "side"},
            ]},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}], "containerStatuses": [
                {"name": "app", "restartCount": 2, "containerID": "containerd://abc"},
            ]},
        }));
        let container = |name: &str| v1::ContainerFact { name: name.into(), ..v1::ContainerFact::default() };
        let expected = v1::PodFact {
            namespace: "shop".into(),
            name: "web-5d8-x".into(),
            uid: "u".into(),
            workload_kind: "Deployment".into(),
            workload: "web".into(),
            labels: vec!["app=web".into(), "pod-template-hash=5d8".into()],
            phase: "Running".into(),
            ready: true,
            restarts: 2,
            containers: vec![
                v1::ContainerFact {
                    id: "abc".into(),
                    cpu_request_milli: 100,
                    memory_request_bytes: 64 << 20,
                    memory_limit_bytes: 128 << 20,
                    ..container("app")
                },
                container("side"),
            ],
        };
        assert_eq!(told, expected);
    }

    #[test]
    fn whose_a_pod_is() {
        let of = |owner: Value| {
            let told = pod(json!({"metadata": {"labels": {"pod-template-hash": "5d8"}, "ownerReferences": owner}}));
            format!("{}/{}", told.workload_kind, told.workload)
        };
        assert_eq!(of(json!([{"kind": "ReplicaSet", "name": "own", "controller": true}])), "ReplicaSet/own");
        assert_eq!(of(json!([{"kind": "StatefulSet", "name": "db", "controller": true}])), "StatefulSet/db");
        assert_eq!(of(json!([{"kind": "Thing", "name": "x"}])), "/");
        let fixed = pod(json!({"metadata": {"uid": "u", "annotations": {"kubernetes.io/config.hash": "h"}}}));
        assert_eq!(fixed.uid, "h");
    }

    #[test]
    fn what_pods_have_in_common_is_kept_once_and_no_longer_than_they_are() {
        let mut shared = Shared::default();
        let make = |name: &str| {
            serde_json::from_value::<RawPod>(json!({"metadata": {"name": name, "labels": {"app": "web"}}, "spec": {"containers": [{"name": "app"}]}}))
                .unwrap()
        };
        let (a, b) = (make("a").kept(&mut shared), make("b").kept(&mut shared));
        assert!(Arc::ptr_eq(&a.labels, &b.labels) && Arc::ptr_eq(&a.containers[0].template, &b.containers[0].template));
        drop((a, b));
        shared.prune();
        assert!(shared.texts.is_empty() && shared.templates.is_empty());
    }
}
