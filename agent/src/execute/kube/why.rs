//! Why a rollout does not move, or pods do not come, by what they and their controller say. Pure but for [`follow`].

use std::convert::Infallible;
use std::time::Duration;

use jiff::Timestamp;
use mainstay_core::Millis;
use mainstay_core::report::{Check, Thresholds, Verdict};
use serde_json::Value;

use super::super::Context;
use super::judge::{Judge, Limits};
use super::now::Now;
use super::work::text;
use crate::kube::objects::{Event, Pod, Workload};
use crate::kube::{Selected, escaped};

/// How long a new pod may be pending or not ready until it is said.
const SETTLE: Millis = Millis::from_secs(10);
/// How far back restarts count.
const SINCE: Millis = Millis::from_secs(3_600);
/// How often pods are looked at that somebody else waits for.
const LOOKED_AT_EVERY: Duration = Duration::from_secs(2);
/// Faults that do not go by themselves, or seldom.
const LASTING: [&str; 6] =
    ["kube.pod.image", "kube.pod.crashLoop", "kube.pod.start", "kube.pod.unschedulable", "kube.pod.failed", "kube.workload.refused"];

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub message: String,
    /// Whether it counts as stuck when it is so for long.
    pub is_lasting: bool,
}

/// What was wrong with pods, and when that was seen, by the host's clock that never goes back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub fault: String,
    pub at: Duration,
}

fn judge(now: Now) -> Judge {
    Judge::new(Limits { settle: SETTLE, since: SINCE, restarts: Thresholds::above(2.0, 5.0) }, now)
}

/// What is wrong with the pods that have come since, or with making them; the worst of it.
pub fn fault(workload: &Value, pods: &[Pod], events: &[Event], since: Option<Timestamp>, now: Now) -> Option<Fault> {
    let mut judge = judge(now);
    let is_new = |pod: &&Pod| pod.metadata.deletion_timestamp.is_none() && since.is_none_or(|since| pod.metadata.creation_timestamp >= Some(since));
    pods.iter().filter(is_new).for_each(|pod| judge.pod(pod));
    if let Ok(projected) = serde_json::from_value::<Workload>(workload.clone()) {
        judge.workload(text(workload, "/kind"), &projected);
    }
    let fault = worst(judge).map(|check| Fault { is_lasting: LASTING.contains(&check.id.as_str()), message: check.message });
    fault.or_else(|| refused(events, since))
}

/// The worst of what is wrong with pods, and whose they are.
pub fn of_pods(pods: &[Pod], now: Now) -> Option<String> {
    let mut judge = judge(now);
    pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).for_each(|pod| judge.pod(pod));
    worst(judge).map(|check| format!("{}: {}", check.subject, check.message))
}

/// That a rollout does not move, and that too few pods are ready, is known; the question is why.
fn worst(judge: Judge) -> Option<Check> {
    let telling = |id: &str| id.starts_with("kube.pod.") || id == "kube.workload.refused";
    let told = judge.report().checks.into_iter().filter(|check| telling(&check.id) && check.verdict > Verdict::Skipped);
    told.max_by_key(|check| (LASTING.contains(&check.id.as_str()), check.verdict))
}

/// Looks at the pods with these labels, as the agent itself, for as long as somebody else waits for them, and keeps what was
/// wrong with them last. That they cannot be seen is no fault of theirs.
pub async fn follow(kind: &str, context: &Context, namespace: &str, labels: &str, seen: &mut Option<Seen>) -> Infallible {
    let path = format!("/api/v1/namespaces/{}/pods", escaped(namespace));
    loop {
        tokio::time::sleep(LOOKED_AT_EVERY).await;
        let (Some(own), Ok(now)) = (context.cluster.as_ref(), Now::of(kind, context)) else { continue };
        let pods = own.list::<Pod>(&path, Selected { labels: Some(labels), ..Selected::default() }).await.unwrap_or_default();
        if let Some(fault) = of_pods(&pods, now) {
            *seen = Some(Seen { fault, at: context.host.monotonic() });
        }
    }
}

/// That pods cannot be made, which only a Deployment says of itself.
fn refused(events: &[Event], since: Option<Timestamp>) -> Option<Fault> {
    let is_new = |event: &&Event| event.reason == "FailedCreate" && since.is_none_or(|since| event.seen().1 >= Some(since));
    let newest = events.iter().filter(is_new).max_by_key(|event| event.seen().1)?;
    Some(Fault { message: format!("its pods cannot be made: {}", newest.message), is_lasting: true })
}

/// Whether the word that it does not move is of an earlier rollout, of which nobody has thought better yet.
pub fn is_stale(workload: &Value, since: Option<Timestamp>) -> bool {
    let all = workload.pointer("/status/conditions").and_then(Value::as_array).into_iter().flatten();
    let at: Option<Timestamp> =
        all.filter(|condition| condition["type"] == "Progressing").find_map(|condition| text(condition, "/lastTransitionTime").parse().ok());
    matches!((at, since), (Some(at), Some(since)) if at < since)
}

/// The labels of a workload's pods, as a selector.
pub fn selector(workload: &Value) -> String {
    let labels = workload.pointer("/spec/selector/matchLabels").and_then(Value::as_object).into_iter().flatten();
    let equal = labels.map(|(name, value)| format!("{name}={}", value.as_str().unwrap_or_default()));
    let expressions = workload.pointer("/spec/selector/matchExpressions").and_then(Value::as_array).into_iter().flatten();
    let expressions = expressions.filter_map(|expression| {
        let (key, values) = (text(expression, "/key"), expression["values"].as_array().into_iter().flatten().filter_map(Value::as_str));
        let values = values.collect::<Vec<_>>().join(",");
        match text(expression, "/operator") {
            "In" => Some(format!("{key} in ({values})")),
            "NotIn" => Some(format!("{key} notin ({values})")),
            "Exists" => Some(key.to_owned()),
            "DoesNotExist" => Some(format!("!{key}")),
            _ => None,
        }
    });
    equal.chain(expressions).collect::<Vec<_>>().join(",")
}
