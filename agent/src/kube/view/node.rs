//! What is kept of a Node: its fact, and what Mainstay has written to it.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use mainstay_core::condition::write::Present;
use mainstay_core::condition::{self, Kind};
use mainstay_core::fact::NodeFact;
use mainstay_core::time::WallTime;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::quantity;
use crate::kube::objects::{Condition, condition};

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Node {
    pub metadata: Meta,
    spec: Spec,
    status: Status,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Meta {
    pub name: Arc<str>,
    pub uid: String,
    pub resource_version: String,
    labels: Labels,
    managed_fields: Vec<Managed>,
}

/// Whose fields of the object are.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Managed {
    manager: String,
    fields_v1: Fields,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Fields {
    #[serde(rename = "f:status")]
    status: StatusFields,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct StatusFields {
    /// By `k:{"type":"TYPE"}`, and `.` for the list itself.
    #[serde(rename = "f:conditions")]
    conditions: BTreeMap<String, IgnoredAny>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Labels {
    #[serde(rename = "topology.kubernetes.io/zone")]
    zone: Arc<str>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    unschedulable: bool,
    taints: Vec<Taint>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Taint {
    key: String,
    value: String,
    effect: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    allocatable: BTreeMap<String, String>,
    conditions: Vec<Condition>,
    node_info: Info,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Info {
    #[serde(rename = "bootID")]
    boot_id: String,
    kubelet_version: Arc<str>,
}

impl Node {
    /// Heartbeats change the object many times a minute, and none of this.
    #[must_use]
    pub fn fact(self) -> NodeFact {
        let ready = condition(&self.status.conditions, "Ready");
        let is_ready = ready.is_some_and(|ready| ready.status == "True");
        let amount = |name: &str| self.status.allocatable.get(name).map(String::as_str).unwrap_or_default();
        let wrong = self.status.conditions.iter().filter(|condition| condition.r#type != "Ready" && condition.status == "True");
        let fact = NodeFact {
            name: self.metadata.name,
            uid: self.metadata.uid,
            ready: is_ready,
            not_ready_reason: match ready {
                None => "its kubelet has never said how it is".to_owned(),
                Some(_) if is_ready => String::new(),
                Some(ready) => said(ready),
            },
            ready_since_unix_ms: ready.and_then(|ready| ready.last_transition_time).map_or(0, Timestamp::as_millisecond),
            cordoned: self.spec.unschedulable,
            zone: self.metadata.labels.zone,
            kubelet_version: self.status.node_info.kubelet_version.clone(),
            boot_id: self.status.node_info.boot_id.clone(),
            taints: self.spec.taints.iter().map(|taint| format!("{}={}:{}", taint.key, taint.value, taint.effect)).collect(),
            conditions: wrong.map(|condition| format!("{}: {}", condition.r#type, condition.reason)).collect(),
            allocatable_cpu_milli: quantity::milli(amount("cpu")),
            allocatable_memory_bytes: quantity::whole(amount("memory")),
            allocatable_pods: u32::try_from(quantity::whole(amount("pods"))).unwrap_or(u32::MAX),
        };
        fact.bounded()
    }
}

impl Node {
    /// The conditions of Mainstay's that it has; those are own that this manager has written.
    #[must_use]
    pub fn marks(&self, manager: &str) -> Vec<Present> {
        let at = |time: Option<Timestamp>| WallTime(time.map_or(0, Timestamp::as_millisecond));
        let present = |condition: &Condition| {
            let kind = Kind::of(&condition.r#type)?;
            let key = format!("k:{{\"type\":\"{}\"}}", condition.r#type);
            let mut managers = self.metadata.managed_fields.iter().filter(|managed| managed.fields_v1.status.conditions.contains_key(&key));
            let (heartbeat, transition) = (at(condition.last_heartbeat_time), at(condition.last_transition_time));
            let (status, reason, message) = (condition::Status::of(&condition.status), condition.reason.clone(), condition.message.clone());
            let own = managers.any(|managed| managed.manager == manager);
            Some(Present { condition: condition::Condition { kind, status, reason, message }, heartbeat, transition, own })
        };
        self.status.conditions.iter().filter_map(present).collect()
    }
}

fn said(condition: &Condition) -> String {
    if condition.message.is_empty() { condition.reason.clone() } else { format!("{}: {}", condition.reason, condition.message) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::*;

    fn fact(value: Value) -> NodeFact {
        serde_json::from_value::<Node>(value).unwrap().fact()
    }

    #[test]
    fn a_node_is_told_with_what_is_wrong_with_it() {
        let lost = fact(json!({
            "metadata": {"name": "n1", "uid": "u", "resourceVersion": "7", "labels": {"topology.kubernetes.io/zone": "z1", "a": "b"}},
            "spec": {"unschedulable": true, "taints": [{"key": "node.kubernetes.io/unreachable", "effect": "NoExecute", "timeAdded": "2026-11-29T00:00:00Z"}]},
            "status": {
                "allocatable": {"cpu": "1930m", "memory": "8Gi", "pods": "110"},
                "nodeInfo": {"bootID": "b", "kubeletVersion": "v1.36.2"},
                "conditions": [
                    {"type": "DiskPressure", "status": "True", "reason": "KubeletHasDiskPressure"},
                    {"type": "PIDPressure", "status": "False", "reason": "KubeletHasSufficientPID"},
                    {"type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown", "message": "Kubelet stopped posting node status.", "lastTransitionTime": "1970-01-01T00:00:01Z", "lastHeartbeatTime": "2026-11-29T00:00:00Z"},
                ],
            },
        }));
        let expected = NodeFact {
            name: "n1".into(),
            uid: "u".into(),
            ready: false,
            not_ready_reason: "NodeStatusUnknown: Kubelet stopped posting node status.".into(),
            ready_since_unix_ms: 1_000,
            cordoned: true,
            zone: "z1".into(),
            kubelet_version: "v1.36.2".into(),
            boot_id: "b".into(),
            taints: vec!["node.kubernetes.io/unreachable=:NoExecute".into()],
            conditions: vec!["DiskPressure: KubeletHasDiskPressure".into()],
            allocatable_cpu_milli: 1_930,
            allocatable_memory_bytes: 8 << 30,
            allocatable_pods: 110,
        };
        assert_eq!(lost, expected);
    }

    #[test]
    fn what_is_this_meshs_the_api_server_says() {
        let condition = |kind: &str, status: &str| json!({"type": kind, "status": status, "reason": "R", "message": "m", "lastHeartbeatTime": "1970-01-01T00:00:02Z", "lastTransitionTime": "1970-01-01T00:00:01Z"});
        let fields = |kind: &str| json!({"f:status": {"f:conditions": {".": {}, format!("k:{{\"type\":\"{kind}\"}}"): {".": {}, "f:reason": {}}}}});
        let node: Node = serde_json::from_value(json!({
            "metadata": {"name": "n1", "managedFields": [
                {"manager": "kubelet", "operation": "Update", "fieldsType": "FieldsV1", "fieldsV1": {"f:metadata": {"f:labels": {".": {}}}}},
                {"manager": "mainstay-conditions-prod", "operation": "Apply", "subresource": "status", "fieldsV1": fields("MainstayDiskTrouble")},
                {"manager": "mainstay-conditions-other", "operation": "Apply", "subresource": "status", "fieldsV1": fields("MainstayKubeletUnhealthy")},
            ]},
            "status": {"conditions": [condition("Ready", "True"), condition("MainstayDiskTrouble", "True"), condition("MainstayKubeletUnhealthy", "odd")]},
        }))
        .unwrap();
        let marks = node.marks("mainstay-conditions-prod");
        let told: Vec<_> = marks.iter().map(|mark| (mark.condition.kind, mark.condition.status, mark.own)).collect();
        assert_eq!(told, [(Kind::Disk, condition::Status::True, true), (Kind::Kubelet, condition::Status::Unknown, false)]);
        assert_eq!((marks[0].heartbeat, marks[0].transition, marks[0].condition.reason.as_str()), (WallTime(2_000), WallTime(1_000), "R"));
    }

    #[test]
    fn a_heartbeat_changes_nothing() {
        let at = |time: &str| {
            let ready = json!({"type": "Ready", "status": "True", "lastTransitionTime": "2026-11-29T00:00:00Z", "lastHeartbeatTime": time});
            fact(json!({"metadata": {"name": "n1", "resourceVersion": time}, "status": {"conditions": [ready]}}))
        };
        assert_eq!(at("2026-11-29T00:00:00Z"), at("2026-11-29T00:05:00Z"));
        assert!(at("2026-11-29T00:00:00Z").ready);
    }

    #[test]
    fn a_node_that_has_said_nothing_yet_is_not_ready() {
        let new = fact(json!({"metadata": {"name": "n1"}, "spec": {}, "status": {}}));
        assert_eq!((new.ready, new.not_ready_reason.as_str(), new.allocatable_pods), (false, "its kubelet has never said how it is", 0));
    }
}
