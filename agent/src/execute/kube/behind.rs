//! Who is behind a selector: pods, how many of them are ready, and what they are of.

use std::collections::BTreeSet;

use serde::Deserialize;

use crate::kube::objects::{Meta, PodStatus, condition};
use crate::kube::{Cluster, ClusterError, Selected, escaped};

const TEMPLATE_HASH: &str = "pod-template-hash";

/// The pods that a selector fits, but for those that have ended or are going.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Behind {
    pub pods: BTreeSet<String>,
    /// Those of them that are ready.
    pub ready: BTreeSet<String>,
    /// Kind and name of what they are of, where all are of one.
    pub workload: Option<(&'static str, String)>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Pod {
    metadata: Meta,
    status: PodStatus,
}

/// Looks.
///
/// # Errors
/// When the API server refuses or does not answer.
pub async fn of(cluster: &Cluster, namespace: &str, selector: &str) -> Result<Behind, ClusterError> {
    let path = format!("/api/v1/namespaces/{}/pods", escaped(namespace));
    Ok(judge(cluster.list(&path, Selected { labels: Some(selector), ..Selected::default() }).await?))
}

fn judge(pods: Vec<Pod>) -> Behind {
    let mut behind = Behind::default();
    let mut workloads = BTreeSet::new();
    for pod in pods {
        if pod.metadata.deletion_timestamp.is_some() || matches!(pod.status.phase.as_str(), "Succeeded" | "Failed") {
            continue;
        }
        behind.pods.insert(pod.metadata.name.clone());
        workloads.insert(workload(&pod.metadata));
        if condition(&pod.status.conditions, "Ready").is_some_and(|ready| ready.status == "True") {
            behind.ready.insert(pod.metadata.name);
        }
    }
    behind.workload = if workloads.len() == 1 { workloads.pop_first().flatten() } else { None };
    behind
}

fn workload(pod: &Meta) -> Option<(&'static str, String)> {
    let owner = pod.controller()?;
    match owner.kind.as_str() {
        "ReplicaSet" => {
            let hash = pod.labels.get(TEMPLATE_HASH)?;
            let name = owner.name.strip_suffix(hash)?.strip_suffix('-')?;
            Some(("Deployment", name.to_owned()))
        }
        "StatefulSet" => Some(("StatefulSet", owner.name.clone())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::*;

    fn pod(name: &str, set: &str, ready: &str) -> Value {
        json!({
            "metadata": { "name": name, "labels": { "pod-template-hash": "5d8" }, "ownerReferences": [{ "kind": "ReplicaSet", "name": set, "controller": true }] },
            "status": { "phase": "Running", "conditions": [{ "type": "Ready", "status": ready }] },
        })
    }

    fn judged(pods: Vec<Value>) -> Behind {
        judge(pods.into_iter().map(|pod| serde_json::from_value(pod).unwrap()).collect())
    }

    #[test]
    fn pods_that_go_or_have_ended_are_not_there() {
        let mut going = pod("web-2", "web-5d8", "True");
        going["metadata"]["deletionTimestamp"] = json!("2026-11-28T12:00:00Z");
        let mut ended = pod("web-3", "web-5d8", "False");
        ended["status"]["phase"] = json!("Failed");
        let behind = judged(vec![pod("web-0", "web-5d8", "True"), pod("web-1", "web-5d8", "False"), going, ended]);
        assert_eq!((behind.pods.len(), behind.ready.iter().map(String::as_str).collect::<Vec<_>>()), (2, vec!["web-0"]));
        assert_eq!(behind.workload, Some(("Deployment", "web".to_owned())));
        assert_eq!(judged(vec![pod("a", "web-5d8", "True"), pod("b", "other-5d8", "True")]).workload, None, "of two");
        assert_eq!(judged(vec![pod("a", "by-hand", "True")]).workload, None, "of no Deployment");
        assert_eq!(judged(vec![]), Behind::default());
    }
}
