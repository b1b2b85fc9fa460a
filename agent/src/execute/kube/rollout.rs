//! How far the pods of a workload are what the workload says. Pure.

use serde_json::Value;

use super::work::{number, text};

/// Where a rollout stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rollout {
    Done,
    /// In words, how far it has come.
    Under(String),
    /// It will not come to its end by itself.
    Stuck(String),
}

/// Kinds that roll out.
pub const KINDS: [&str; 3] = ["Deployment", "StatefulSet", "DaemonSet"];

/// Reads it off a Deployment, StatefulSet or DaemonSet.
pub fn of(workload: &Value) -> Rollout {
    if number(workload, "/status/observedGeneration") < number(workload, "/metadata/generation") {
        return Rollout::Under("its controller has not seen the change yet".to_owned());
    }
    let status = |field: &str| number(workload, &format!("/status/{field}"));
    let wanted = if text(workload, "/kind") == "DaemonSet" {
        status("desiredNumberScheduled")
    } else {
        workload.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(1)
    };
    let (updated, all, available) = match text(workload, "/kind") {
        "DaemonSet" => (status("updatedNumberScheduled"), status("currentNumberScheduled"), status("numberAvailable")),
        "StatefulSet" => {
            // Pods below the partition are not to be updated.
            let partition = number(workload, "/spec/updateStrategy/rollingUpdate/partition").min(wanted);
            let is_whole = partition == 0 && text(workload, "/status/currentRevision") == text(workload, "/status/updateRevision");
            (if is_whole { wanted } else { status("updatedReplicas") + partition }, status("replicas"), status("availableReplicas"))
        }
        _ => (status("updatedReplicas"), status("replicas"), status("availableReplicas")),
    };
    if updated >= wanted && all == wanted && available >= wanted {
        return Rollout::Done;
    }
    let is_stuck =
        workload.pointer("/status/conditions").and_then(Value::as_array).into_iter().flatten().any(|condition| {
            condition["type"] == "Progressing" && condition["status"] == "False" && condition["reason"] == "ProgressDeadlineExceeded"
        });
    let words = format!("{} of {wanted} pods are new and {available} are available", updated.min(wanted));
    if is_stuck { Rollout::Stuck(words) } else { Rollout::Under(words) }
}

/// Why a workload would not follow a change of its template.
pub fn hindrance(workload: &Value) -> Option<&'static str> {
    if workload.pointer("/spec/paused") == Some(&Value::Bool(true)) {
        return Some("its rollouts are paused: kubectl rollout resume");
    }
    (text(workload, "/spec/updateStrategy/type") == "OnDelete")
        .then_some("its pods are replaced when somebody deletes them: its updateStrategy is OnDelete")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn it_is_done_when_all_pods_are_new_and_available() {
        let workload = |kind: &str, spec: Value, status: Value| {
            let mut status = status;
            status["observedGeneration"] = json!(2);
            of(&json!({ "kind": kind, "metadata": { "generation": 2 }, "spec": spec, "status": status }))
        };
        let deployment = |updated: i64, all: i64, available: i64| {
            workload("Deployment", json!({ "replicas": 2 }), json!({ "updatedReplicas": updated, "replicas": all, "availableReplicas": available }))
        };
        assert_eq!(deployment(2, 2, 2), Rollout::Done);
        assert_eq!(deployment(2, 3, 2), Rollout::Under("2 of 2 pods are new and 2 are available".to_owned()), "an old one is still there");
        assert_eq!(deployment(1, 3, 2), Rollout::Under("1 of 2 pods are new and 2 are available".to_owned()));
        assert!(matches!(of(&json!({ "metadata": { "generation": 2 }, "status": { "observedGeneration": 1 } })), Rollout::Under(_)));
        let stuck = json!({ "conditions": [{ "type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded" }] });
        assert!(matches!(workload("Deployment", json!({ "replicas": 1 }), stuck), Rollout::Stuck(_)));
        let set = |spec: Value, updated: i64, revision: &str| {
            workload(
                "StatefulSet",
                spec,
                json!({ "replicas": 3, "availableReplicas": 3, "updatedReplicas": updated, "currentRevision": "a", "updateRevision": revision }),
            )
        };
        assert_eq!(set(json!({ "replicas": 3 }), 0, "a"), Rollout::Done);
        assert!(matches!(set(json!({ "replicas": 3 }), 1, "b"), Rollout::Under(_)));
        assert_eq!(set(json!({ "replicas": 3, "updateStrategy": { "rollingUpdate": { "partition": 2 } } }), 1, "b"), Rollout::Done);
        let daemons = |updated: i64, available: i64| {
            workload(
                "DaemonSet",
                json!({}),
                json!({ "desiredNumberScheduled": 2, "currentNumberScheduled": 2, "updatedNumberScheduled": updated, "numberAvailable": available }),
            )
        };
        assert_eq!(daemons(2, 2), Rollout::Done);
        assert!(matches!(daemons(2, 1), Rollout::Under(_)) && matches!(daemons(1, 2), Rollout::Under(_)));
        assert_eq!(workload("Deployment", json!({ "replicas": 0 }), json!({})), Rollout::Done);
    }

    #[test]
    fn what_would_not_follow_says_why() {
        assert!(hindrance(&json!({ "spec": { "paused": true } })).is_some_and(|why| why.contains("paused")));
        assert!(hindrance(&json!({ "spec": { "updateStrategy": { "type": "OnDelete" } } })).is_some_and(|why| why.contains("OnDelete")));
        assert_eq!(hindrance(&json!({ "spec": { "updateStrategy": { "type": "RollingUpdate" } } })), None);
    }
}
