//! How far a node is that a run takes out of use, as conditions on it: for whoever looks at the cluster and not at the mesh.
//!
//! ```text
//!   cordoned   MaintenancePlanned        drained   Drained, MaintenanceInProgress
//!   draining   DrainInProgress           back      none of them
//! ```
//! They are told, and nothing is decided by them: what the run has done stands in the node's annotations ([`super::mark`]).

use serde_json::{Value, json};

use super::super::work::{text, version};

/// All that there are.
const ALL: [&str; 4] = ["MaintenancePlanned", "DrainInProgress", "Drained", "MaintenanceInProgress"];

/// How far a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    Cordoned,
    Draining,
    Drained,
    Back,
}

impl Stage {
    fn conditions(self) -> &'static [&'static str] {
        match self {
            Stage::Cordoned => &["MaintenancePlanned"],
            Stage::Draining => &["DrainInProgress"],
            Stage::Drained => &["Drained", "MaintenanceInProgress"],
            Stage::Back => &[],
        }
    }
}

fn holds<'n>(node: &'n Value, kind: &str) -> Option<&'n Value> {
    let mut conditions = node.pointer("/status/conditions").and_then(Value::as_array).into_iter().flatten();
    conditions.find(|condition| condition["type"] == kind && condition["status"] == "True")
}

/// What to write on the node's status as it was read, as a strategic merge patch; nothing where it stands there already.
pub fn change(node: &Value, stage: Stage, run: &str, at: &str) -> Option<Value> {
    let message = format!("run {run}");
    let wanted = stage.conditions();
    let is_so = |kind: &&str| match holds(node, kind) {
        Some(condition) => wanted.contains(kind) && text(condition, "/message") == message,
        None => !wanted.contains(kind),
    };
    if ALL.iter().all(is_so) {
        return None;
    }
    let conditions: Vec<Value> = ALL
        .iter()
        .map(|kind| match holds(node, kind) {
            _ if !wanted.contains(kind) => json!({ "$patch": "delete", "type": kind }),
            before => json!({
                "type": kind,
                "status": "True",
                "reason": "Maintenance",
                "message": message,
                "lastHeartbeatTime": at,
                "lastTransitionTime": before.map_or(at, |before| text(before, "/lastTransitionTime")),
            }),
        })
        .collect();
    Some(json!({ "metadata": { "resourceVersion": version(node) }, "status": { "conditions": conditions } }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const AT: &str = "2026-11-30T08:00:00Z";

    fn node(conditions: &Value) -> Value {
        json!({ "metadata": { "name": "n1", "resourceVersion": "7" }, "status": { "conditions": conditions } })
    }

    #[test]
    fn a_node_has_the_conditions_of_its_stage_and_no_others() {
        let ready = json!([{ "type": "Ready", "status": "True" }]);
        assert_eq!(change(&node(&ready), Stage::Back, "r-1", AT), None, "nothing is there to be taken away");
        let patch = change(&node(&ready), Stage::Drained, "r-1", AT).unwrap();
        assert_eq!(patch["metadata"]["resourceVersion"], "7", "what was read is what is changed");
        let conditions = patch["status"]["conditions"].as_array().unwrap();
        let of = |kind: &str| conditions.iter().find(|condition| condition["type"] == kind).unwrap();
        assert_eq!((of("Drained")["status"].as_str(), of("MaintenanceInProgress")["message"].as_str()), (Some("True"), Some("run r-1")));
        assert_eq!((&of("DrainInProgress")["$patch"], &of("MaintenancePlanned")["$patch"]), (&json!("delete"), &json!("delete")));
        assert!(conditions.iter().all(|condition| condition["type"] != "Ready"), "what the kubelet says is left alone");
    }

    #[test]
    fn what_stands_there_is_not_written_again_unless_it_is_of_another_run() {
        let there =
            node(&json!([{ "type": "DrainInProgress", "status": "True", "message": "run r-1", "lastTransitionTime": "2026-11-30T07:00:00Z" }]));
        assert_eq!(change(&there, Stage::Draining, "r-1", AT), None);
        let patch = change(&there, Stage::Draining, "r-2", AT).unwrap();
        assert_eq!(patch["status"]["conditions"][1]["lastTransitionTime"], "2026-11-30T07:00:00Z");
        assert_eq!(change(&there, Stage::Back, "r-1", AT).unwrap()["status"]["conditions"][1]["$patch"], "delete");
    }
}
