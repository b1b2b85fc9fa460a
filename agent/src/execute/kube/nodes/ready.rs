//! `kube.node.ready`: waits until a node is ready, and has been for a while.

use std::time::Duration;

use jiff::Timestamp;
use mainstay_core::Millis;
use mainstay_core::report::Report;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::super::super::params::{self, Span};
use super::super::super::{Context, StepError};
use super::super::now::Now;
use super::super::work::text;
use super::{node_of, report};
use crate::kube::Selected;

const KIND: &str = "kube.node.ready";
const EVERY: Duration = Duration::from_secs(2);

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Params {
    #[serde(default = "ten_minutes")]
    within: Span,
    #[serde(default = "ten_seconds")]
    settle_for: Span,
}

fn ten_minutes() -> Span {
    Span(Millis::from_secs(600))
}

fn ten_seconds() -> Span {
    Span(Millis::from_secs(10))
}

/// Waits.
///
/// # Errors
/// Refused parameters; a node that is not ready in time.
pub async fn execute(with: &Map<String, Value>, context: &Context) -> Result<Report, StepError> {
    let params: Params = params::read(KIND, with)?;
    let cluster = super::super::cluster(KIND, context)?;
    let node = node_of(KIND, context)?;
    let field = format!("metadata.name={node}");
    let mut last = "it was not looked at".to_owned();
    let waiting = async {
        loop {
            match cluster.list::<Value>("/api/v1/nodes", Selected { fields: Some(&field), ..Selected::default() }).await {
                Ok(found) => match found.into_iter().next() {
                    None => last = "the cluster has no node of this name".to_owned(),
                    Some(found) => match not_ready(&found, params.settle_for.0, Now::of(KIND, context)?) {
                        None => return Ok(found),
                        Some(why) => last = why,
                    },
                },
                // It may answer again in time.
                Err(error) => last = error.to_string(),
            }
            tokio::time::sleep(EVERY).await;
        }
    };
    let ended = tokio::time::timeout(params.within.0.as_duration(), waiting).await;
    let found: Value =
        ended.unwrap_or_else(|_| Err(StepError::failed(format!("{KIND}: node {node}: not ready within {}: {last}", params.within.0))))?;
    let shows = |field: &str| Value::from(text(&found, &format!("/status/nodeInfo/{field}")));
    let outputs = [("bootId".to_owned(), shows("bootID")), ("kubelet".to_owned(), shows("kubeletVersion"))].into();
    Ok(Report { outputs, ..report(KIND, &node, "it is ready") })
}

/// Why a node does not count as ready.
fn not_ready(node: &Value, settle: Millis, now: Now) -> Option<String> {
    let mut conditions = node.pointer("/status/conditions").and_then(Value::as_array).into_iter().flatten();
    let Some(ready) = conditions.find(|condition| condition["type"] == "Ready") else {
        return Some("its kubelet has said nothing yet".to_owned());
    };
    if ready["status"] != "True" {
        return Some(format!("{}: {}", text(ready, "/reason"), text(ready, "/message")));
    }
    let since = text(ready, "/lastTransitionTime").parse::<Timestamp>().ok();
    (!now.is_over(since, settle))
        .then(|| format!("it is ready since {}, and is watched for {settle}", since.map(|since| now.ago(since)).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn it_counts_as_ready_when_it_has_been_for_a_while() {
        let now = Now("2026-11-28T12:00:00Z".parse().unwrap());
        let node = |status: &str, since: &str| {
            let ready =
                json!({ "type": "Ready", "status": status, "lastTransitionTime": since, "reason": "KubeletNotReady", "message": "no network" });
            json!({ "status": { "conditions": [{ "type": "DiskPressure", "status": "False" }, ready] } })
        };
        let settle = Millis::from_secs(10);
        assert_eq!(not_ready(&node("True", "2026-11-28T11:59:00Z"), settle, now), None);
        assert!(not_ready(&node("True", "2026-11-28T11:59:55Z"), settle, now).unwrap().contains("watched for 10s"));
        assert_eq!(not_ready(&node("False", "2026-11-28T11:59:00Z"), settle, now).unwrap(), "KubeletNotReady: no network");
        assert!(not_ready(&json!({}), settle, now).is_some());
    }
}
