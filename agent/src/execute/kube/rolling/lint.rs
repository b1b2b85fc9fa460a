//! What about a workload makes it impossible that its rollout is noticed by nobody. Pure.

use serde_json::Value;

use super::super::work::{number, text};
use super::record::template;

/// One such thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lint {
    pub id: &'static str,
    pub message: String,
    pub hint: &'static str,
}

/// How many pods a rollout may have too many, and too few.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    Rolling {
        surge: i64,
        unavailable: i64,
    },
    /// All pods end before the first new one begins.
    AllAtOnce,
}

/// Everything that can be said beforehand of a workload as it is to be.
pub fn lints(workload: &Value) -> Vec<Lint> {
    let mut lints = Vec::new();
    let mut lint = |id, message: String, hint| lints.push(Lint { id, message, hint });
    let containers = || template(workload).pointer("/spec/containers").and_then(Value::as_array).into_iter().flatten();
    let named = |lacks: &dyn Fn(&Value) -> bool| {
        let names: Vec<&str> = containers().filter(|container| lacks(container)).map(|container| text(container, "/name")).collect();
        (!names.is_empty()).then(|| names.join(", "))
    };
    if let Some(names) = named(&|container| container.get("readinessProbe").is_none()) {
        let message = format!("{names}: no readinessProbe: a new pod is given requests as soon as it runs, whether it answers or not");
        lint("kube.rollout.readiness", message, "give each container that answers requests a readinessProbe");
    }
    let grace = template(workload).pointer("/spec/terminationGracePeriodSeconds").and_then(Value::as_i64);
    if grace == Some(0) {
        let message = "terminationGracePeriodSeconds is 0: a pod that goes is killed in the middle of its requests".to_owned();
        lint("kube.rollout.ending", message, "give it the time that its longest request takes");
    } else if let Some(names) = named(&|container| container.pointer("/lifecycle/preStop").is_none()) {
        let message = format!("{names}: no preStop hook: a pod that goes ends while it is still sent requests, unless it waits by itself");
        lint("kube.rollout.ending", message, "lifecycle: { preStop: { sleep: { seconds: 5 } } }");
    }
    let wanted = replicas(workload);
    match room(workload) {
        Room::AllAtOnce => lint(
            "kube.rollout.room",
            "all of its pods end before the first new one begins: its strategy is Recreate".to_owned(),
            "strategy: { type: RollingUpdate }",
        ),
        Room::Rolling { surge: 0, .. } if wanted == Some(1) => lint(
            "kube.rollout.replicas",
            "it has one pod, which goes before there is another: nobody answers in between".to_owned(),
            "give it a second one, or room for one more while it is rolled out (maxSurge)",
        ),
        Room::Rolling { unavailable, .. } if unavailable > 0 && wanted.is_some_and(|wanted| wanted > 0 && unavailable >= wanted) => lint(
            "kube.rollout.room",
            format!("all of its pods may be away at once: maxUnavailable comes to {unavailable}"),
            "maxUnavailable: 0 and maxSurge: 1, or more pods",
        ),
        Room::Rolling { surge: 0, unavailable } if text(workload, "/kind") == "DaemonSet" => lint(
            "kube.rollout.room",
            format!("on {unavailable} of its nodes at a time there is no pod while it is replaced: maxSurge is 0"),
            "maxUnavailable: 0 and maxSurge: 1, where its pods may stand side by side",
        ),
        Room::Rolling { .. } if wanted == Some(1) => {
            lint("kube.rollout.replicas", "it has one pod: when that fails, or its node does, nobody answers".to_owned(), "give it a second one")
        }
        Room::Rolling { .. } => {}
    }
    let floating: Vec<String> =
        containers().map(|container| text(container, "/image")).filter(|image| is_floating(image)).map(str::to_owned).collect();
    if !floating.is_empty() {
        let message = format!(
            "{}: whatever is newest when a pod begins, so that its pods may differ, and what was there cannot be put back",
            floating.join(", ")
        );
        lint("kube.rollout.image", message, "name a version or a digest");
    }
    lints
}

/// Pods that it is to have; nothing where its nodes decide.
fn replicas(workload: &Value) -> Option<i64> {
    (text(workload, "/kind") != "DaemonSet").then(|| workload.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(1))
}

/// What its strategy leaves room for.
pub fn room(workload: &Value) -> Room {
    let wanted = replicas(workload).unwrap_or_else(|| number(workload, "/status/desiredNumberScheduled"));
    let of = |pointer: &str, default: i64, rounds_up: bool| match workload.pointer(pointer) {
        Some(Value::String(share)) => share.trim_end_matches('%').parse::<i64>().map_or(default, |percent| {
            let hundredths = percent.saturating_mul(wanted);
            if rounds_up { hundredths.saturating_add(99) / 100 } else { hundredths / 100 }
        }),
        Some(count) => count.as_i64().unwrap_or(default),
        None => default,
    };
    match text(workload, "/kind") {
        "StatefulSet" => Room::Rolling { surge: 0, unavailable: of("/spec/updateStrategy/rollingUpdate/maxUnavailable", 1, true).max(1) },
        "DaemonSet" => Room::Rolling {
            surge: of("/spec/updateStrategy/rollingUpdate/maxSurge", 0, true),
            unavailable: of("/spec/updateStrategy/rollingUpdate/maxUnavailable", 1, true),
        },
        _ if text(workload, "/spec/strategy/type") == "Recreate" => Room::AllAtOnce,
        _ => {
            let surge = of("/spec/strategy/rollingUpdate/maxSurge", (wanted.saturating_mul(25) + 99) / 100, true);
            let unavailable = of("/spec/strategy/rollingUpdate/maxUnavailable", wanted.saturating_mul(25) / 100, false);
            // Without either it could not move: the cluster takes one away then.
            Room::Rolling { surge, unavailable: if surge == 0 { unavailable.max(1) } else { unavailable } }
        }
    }
}

/// Whether an image's name says no version: `shop/web`, `shop/web:latest`, but `host:5000/web@sha256:…`.
fn is_floating(image: &str) -> bool {
    let name = image.rsplit('/').next().unwrap_or(image);
    !name.contains('@') && name.split_once(':').is_none_or(|(_, tag)| tag == "latest")
}
