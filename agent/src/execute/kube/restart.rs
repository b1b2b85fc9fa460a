//! `kube.restart`: new pods for a workload, by its own rolling update, one workload after another.
//!
//! The change is one annotation of the pods' template, with the name of the work as its value: written twice, it is
//! written once, and makes one rollout. It is written over the version that was read; where somebody else was faster,
//! the workload is read and decided on again.

use std::time::Duration;

use mainstay_core::Millis;
use mainstay_core::report::{Check, Report, Verdict};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::super::params::{self, Span};
use super::super::{Context, StepError};
use super::acting;
use super::budget;
use super::rollout::{self, Rollout};
use super::work::{Work, name_of, text, version};
use crate::kube::account::Right;
use crate::kube::ask::Patch;
use crate::kube::resource::Resource;
use crate::kube::{Cluster, ClusterError, Selected};

const KIND: &str = "kube.restart";
/// Says on a pod's template by which work it was restarted last.
const RESTARTED: &str = "mainstay.dev/restarted-by";
/// Workloads that one selector may fit.
const WORKLOADS_MAX: usize = 100;
/// How often a workload is looked at while it rolls out, and a budget while it lets nothing go.
const EVERY: Duration = Duration::from_secs(1);

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Params {
    namespace: String,
    #[serde(default = "deployment")]
    kind: String,
    name: Option<String>,
    selector: Option<String>,
    #[serde(default = "ten_minutes")]
    within: Span,
    service_account: Option<String>,
}

fn deployment() -> String {
    "Deployment".to_owned()
}

fn ten_minutes() -> Span {
    Span(Millis::from_secs(600))
}

/// Restarts them.
///
/// # Errors
/// Refused parameters or rights; a rollout that does not come to its end in time.
pub async fn execute(with: &Map<String, Value>, context: &Context) -> Result<Report, StepError> {
    let params: Params = params::read(KIND, with)?;
    let work = Work::of(KIND, context)?;
    let failed = |error| super::failed(KIND, &error);
    if !rollout::KINDS.contains(&params.kind.as_str()) {
        return Err(StepError::refused(format!("{KIND}: a {} does not roll out: one of {}", params.kind, rollout::KINDS.join(", "))));
    }
    let own = super::cluster(KIND, context)?;
    let resource = own.resource("apps/v1", &params.kind).await.map_err(failed)?;
    let cluster = acting::runner(own, &params.namespace, params.service_account.as_deref());
    let verbs: &[&str] = if params.selector.is_some() { &["get", "list", "patch"] } else { &["get", "patch"] };
    let mut rights = acting::rights(&resource, &params.namespace, verbs);
    rights.push(Right { verb: "list", group: "policy", resource: "poddisruptionbudgets", namespace: &params.namespace });
    acting::may(KIND, &cluster, &rights).await?;
    let names = match (&params.name, &params.selector) {
        (Some(name), None) => vec![name.clone()],
        (None, Some(selector)) => {
            let selected = Selected { labels: Some(selector), ..Selected::default() };
            let found: Vec<Value> = cluster.list(&resource.path(&params.namespace), selected).await.map_err(failed)?;
            found.iter().map(|workload| text(workload, "/metadata/name").to_owned()).collect()
        }
        _ => return Err(StepError::refused(format!("{KIND} restarts one by `name`, or all that a `selector` fits"))),
    };
    if names.is_empty() || names.len() > WORKLOADS_MAX {
        let found = names.len();
        return Err(StepError::refused(format!("{KIND}: the selector fits {found} of {}, and 1 to {WORKLOADS_MAX} are restarted", resource.plural)));
    }
    let mut checks = Vec::new();
    for name in &names {
        let workload = restart(&cluster, &resource, &params, name, &work).await.map_err(|error| error.with_report(report(checks.clone())))?;
        checks.push(Check::stated(KIND, &name_of(&workload), Verdict::Ok, "restarted: all of its pods are new and available"));
    }
    Ok(report(checks))
}

fn report(checks: Vec<Check>) -> Report {
    let outputs = [("restarted".to_owned(), Value::from(checks.len()))].into();
    Report { checks, outputs, ..Report::default() }
}

async fn restart(cluster: &Cluster, resource: &Resource, params: &Params, name: &str, work: &Work) -> Result<Value, StepError> {
    let path = resource.path_of(&params.namespace, name);
    let mut last = "it was not looked at".to_owned();
    let restarting = async {
        loop {
            let workload: Value = cluster.get(&path).await.map_err(|error| super::failed(KIND, &error))?;
            let restarted = workload.pointer("/spec/template/metadata/annotations").and_then(|all| all.get(RESTARTED));
            if restarted.and_then(Value::as_str) == Some(&work.name) {
                match rollout::of(&workload) {
                    Rollout::Done => return Ok(workload),
                    Rollout::Under(words) => last = words,
                    Rollout::Stuck(words) => {
                        return Err(StepError::failed(format!("{KIND}: {}: its rollout does not move: {words}", name_of(&workload))));
                    }
                }
            } else {
                work.may_change(KIND, &workload)?;
                if let Some(why) = rollout::hindrance(&workload) {
                    return Err(StepError::failed(format!("{KIND}: {}: {why}", name_of(&workload))));
                }
                match budget::closed(KIND, cluster, &params.namespace, &workload).await? {
                    Some(budget) => last = format!("the disruption budget {budget} lets no pod go"),
                    None => {
                        change(cluster, &path, &workload, work).await?;
                        continue;
                    }
                }
            }
            tokio::time::sleep(EVERY).await;
        }
    };
    let ended = tokio::time::timeout(params.within.0.as_duration(), restarting).await;
    ended.unwrap_or_else(|_| {
        Err(StepError::failed(format!("{KIND}: {}/{}/{name}: not within {}: {last}", params.namespace, params.kind, params.within.0)))
    })
}

async fn change(cluster: &Cluster, path: &str, workload: &Value, work: &Work) -> Result<(), StepError> {
    let fields = json!({
        "metadata": { "resourceVersion": version(workload), "annotations": work.marks() },
        "spec": { "template": { "metadata": { "annotations": { RESTARTED: work.name } } } },
    });
    match cluster.patch(path, Patch::Merge, &fields).await {
        // It is not what it was: it is read and decided on again.
        Ok(_) | Err(ClusterError::Conflict { .. }) => Ok(()),
        Err(error) => Err(super::failed(KIND, &error)),
    }
}
