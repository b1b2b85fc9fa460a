//! `kube.scale`: how many pods a workload is to have, and back.
//!
//! What it had is written on the workload with the same change, so that any replica of the cluster's agents can take it
//! back. It is taken back only where the workload still has what the step left.

use std::time::Duration;

use mainstay_core::Millis;
use mainstay_core::report::{Check, Report, Verdict};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::super::params::{self, Span};
use super::super::{Context, StepError};
use super::acting;
use super::rollout::{self, Rollout};
use super::work::{FENCE, Work, annotation, name_of, version};
use crate::kube::account::Right;
use crate::kube::ask::Patch;
use crate::kube::{ClusterError, escaped};

const KIND: &str = "kube.scale";
const KINDS: [&str; 2] = ["Deployment", "StatefulSet"];
/// Says on a workload what it had and was given.
const SCALED: &str = "mainstay.dev/scaled";
const EVERY: Duration = Duration::from_secs(1);

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Params {
    namespace: String,
    #[serde(default = "deployment")]
    kind: String,
    name: String,
    replicas: u32,
    #[serde(default)]
    not_behind: Vec<String>,
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

/// What was there, and what was made of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Scaled {
    /// By which work.
    work: String,
    from: u32,
    to: u32,
}

/// What to do with a workload as it is.
#[derive(Debug, PartialEq)]
enum Next {
    /// Give it so many, and write this on it.
    Change(u32, Map<String, Value>),
    /// It has been done: what is left is to wait for the pods.
    Wait(Scaled),
    /// Somebody else has changed it since.
    Refuse(String),
}

/// Scales it, or takes that back.
///
/// # Errors
/// Refused parameters or rights; what somebody else has changed since; pods that do not come in time.
pub async fn execute(with: &Map<String, Value>, context: &Context) -> Result<Report, StepError> {
    let params: Params = params::read(KIND, with)?;
    let work = Work::of(KIND, context)?;
    if !KINDS.contains(&params.kind.as_str()) {
        return Err(StepError::refused(format!("{KIND}: a {} is not scaled: one of {}", params.kind, KINDS.join(", "))));
    }
    let failed = |error| super::failed(KIND, &error);
    let own = super::cluster(KIND, context)?;
    let resource = own.resource("apps/v1", &params.kind).await.map_err(failed)?;
    let cluster = acting::runner(own, &params.namespace, params.service_account.as_deref());
    let mut rights = acting::rights(&resource, &params.namespace, &["get", "patch"]);
    if !params.not_behind.is_empty() {
        rights.push(Right { verb: "get", group: "", resource: "services", namespace: &params.namespace });
    }
    acting::may(KIND, &cluster, &rights).await?;
    let path = resource.path_of(&params.namespace, &params.name);
    let mut last = "it was not looked at".to_owned();
    let scaling = async {
        loop {
            let workload: Value = cluster.get(&path).await.map_err(failed)?;
            let scaled = match next(&workload, params.replicas, &work)? {
                Next::Wait(scaled) => scaled,
                Next::Refuse(why) => return Err(StepError::failed(format!("{KIND}: {}: {why}", name_of(&workload)))),
                Next::Change(replicas, annotations) => {
                    // What is taken back may be behind them again.
                    for service in params.not_behind.iter().filter(|_| work.taken_back.is_none()) {
                        let path = format!("/api/v1/namespaces/{}/services/{}", escaped(&params.namespace), escaped(service));
                        let found: Option<Value> = cluster.find(&path).await.map_err(failed)?;
                        if found.is_some_and(|found| leads_to(&found, &workload)) {
                            let why = format!("Service {service} leads to its pods: it is left as it is");
                            return Err(StepError::failed(format!("{KIND}: {}: {why}", name_of(&workload))));
                        }
                    }
                    let metadata = json!({ "resourceVersion": version(&workload), "annotations": annotations });
                    match cluster.patch(&path, Patch::Merge, &json!({ "metadata": metadata, "spec": { "replicas": replicas } })).await {
                        // It is not what it was: it is read and decided on again.
                        Ok(_) | Err(ClusterError::Conflict { .. }) => continue,
                        Err(error) => return Err(failed(error)),
                    }
                }
            };
            match rollout::of(&workload) {
                Rollout::Done => return Ok((workload, scaled)),
                Rollout::Under(words) | Rollout::Stuck(words) => last = words,
            }
            tokio::time::sleep(EVERY).await;
        }
    };
    let ended = tokio::time::timeout(params.within.0.as_duration(), scaling).await;
    let (workload, scaled) = ended.unwrap_or_else(|_| {
        let subject = format!("{}/{}/{}", params.namespace, params.kind, params.name);
        Err(StepError::failed(format!("{KIND}: {subject}: not within {}: {last}", params.within.0)))
    })?;
    let message = if scaled.from == scaled.to {
        format!("it has {}, as before", scaled.to)
    } else {
        format!("it has {} in place of {}", scaled.to, scaled.from)
    };
    let outputs = [("before".to_owned(), Value::from(scaled.from)), ("replicas".to_owned(), Value::from(scaled.to))].into();
    Ok(Report { checks: vec![Check::stated(KIND, &name_of(&workload), Verdict::Ok, message)], outputs, ..Report::default() })
}

/// Whether a Service selects the pods that a workload makes.
fn leads_to(service: &Value, workload: &Value) -> bool {
    let labels = workload.pointer("/spec/template/metadata/labels");
    let selector = service.pointer("/spec/selector").and_then(Value::as_object).filter(|selector| !selector.is_empty());
    selector.is_some_and(|selector| selector.iter().all(|(name, value)| labels.and_then(|labels| labels.get(name)) == Some(value)))
}

fn next(workload: &Value, wanted: u32, work: &Work) -> Result<Next, StepError> {
    let has = workload.pointer("/spec/replicas").and_then(Value::as_u64).and_then(|has| u32::try_from(has).ok()).unwrap_or(1);
    let written = annotation(workload, SCALED).and_then(|written| serde_json::from_str::<Scaled>(written).ok());
    if let Some(step) = &work.taken_back {
        return back(workload, has, written.filter(|written| written.work == *step), work);
    }
    if let Some(own) = written.filter(|written| written.work == work.name) {
        return Ok(Next::Wait(own));
    }
    work.may_change(KIND, workload)?;
    let scaled = Scaled { work: work.name.clone(), from: has, to: wanted };
    let marks = [(FENCE, json!(work.attempt.to_string())), (SCALED, Value::String(json!(scaled).to_string()))];
    Ok(Next::Change(wanted, marks.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()))
}

fn back(workload: &Value, has: u32, own: Option<Scaled>, work: &Work) -> Result<Next, StepError> {
    let fence = json!(work.attempt.to_string());
    match own {
        Some(own) if has == own.to => {
            work.may_change(KIND, workload)?;
            // With its marks gone it has been taken back, whoever looks.
            let marks = [(SCALED.to_owned(), Value::Null), (FENCE.to_owned(), fence)];
            Ok(Next::Change(own.from, marks.into_iter().collect()))
        }
        Some(own) => Ok(Next::Refuse(format!(
            "somebody has scaled it since: it has {has}, and the step left {}: what it is to have is for a person to say",
            own.to
        ))),
        // Nothing of this step is there. A late attempt at it must not come after this.
        None if annotation(workload, FENCE) == Some(&work.attempt.to_string()) => {
            Ok(Next::Wait(Scaled { work: work.name.clone(), from: has, to: has }))
        }
        None if annotation(workload, SCALED).is_some() => {
            Ok(Next::Refuse(format!("another run has scaled it since: it has {has}: what it is to have is for a person to say")))
        }
        None => {
            work.may_change(KIND, workload)?;
            Ok(Next::Change(has, [(FENCE.to_owned(), fence)].into_iter().collect()))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::work::work;
    use super::*;

    /// The workload after a change.
    fn after(workload: &Value, next: Next) -> Value {
        let Next::Change(replicas, annotations) = next else { panic!("{next:?}") };
        let mut workload = workload.clone();
        workload["spec"]["replicas"] = json!(replicas);
        let all = workload["metadata"]["annotations"].as_object_mut().unwrap();
        for (name, value) in annotations {
            if value.is_null() {
                all.remove(&name)
            } else {
                all.insert(name, value)
            };
        }
        workload
    }

    #[test]
    fn a_service_leads_to_pods_that_have_all_of_its_labels() {
        let workload = json!({ "spec": { "template": { "metadata": { "labels": { "app": "web", "colour": "blue" } } } } });
        let service = |selector: Value| json!({ "spec": { "selector": selector } });
        assert!(leads_to(&service(json!({ "app": "web" })), &workload));
        assert!(leads_to(&service(json!({ "app": "web", "colour": "blue" })), &workload));
        assert!(!leads_to(&service(json!({ "app": "web", "colour": "green" })), &workload));
        assert!(!leads_to(&service(json!({})), &workload) && !leads_to(&json!({ "spec": {} }), &workload));
    }

    #[test]
    fn it_is_done_once_and_taken_back_where_nobody_has_changed_it_since() {
        let before = json!({ "kind": "Deployment", "metadata": { "name": "web", "annotations": {} }, "spec": { "replicas": 3 } });
        let first = work("1.5", "tidy-1");
        let left = after(&before, next(&before, 5, &first).unwrap());
        assert_eq!(left["spec"]["replicas"], 5);
        // The next replica finds it done.
        assert_eq!(next(&left, 5, &work("1.6", "tidy-1")).unwrap(), Next::Wait(Scaled { work: first.name.clone(), from: 3, to: 5 }));
        let undo = |attempt: &str| Work { taken_back: Some(work(attempt, "tidy-1").name), name: "u".to_owned(), ..work(attempt, "tidy-1") };
        let back = after(&left, next(&left, 5, &undo("1.7")).unwrap());
        assert_eq!((&back["spec"]["replicas"], annotation(&back, SCALED)), (&json!(3), None));
        assert_eq!(next(&back, 5, &undo("1.7")).unwrap(), Next::Wait(Scaled { work: "u".to_owned(), from: 3, to: 3 }), "taken back once");
        assert!(next(&back, 5, &work("1.6", "tidy-1")).unwrap_err().message.contains("later than this one"), "a late attempt does nothing");
        // Somebody has changed it.
        let mut changed = left.clone();
        changed["spec"]["replicas"] = json!(7);
        assert!(matches!(next(&changed, 5, &undo("1.7")).unwrap(), Next::Refuse(why) if why.contains("it has 7, and the step left 5")));
        let other = after(&left, next(&left, 9, &work("1.8", "tidy-2")).unwrap());
        assert!(matches!(next(&other, 5, &undo("1.9")).unwrap(), Next::Refuse(why) if why.contains("another run has scaled it")));
        // It was never done: nothing is taken back, and what comes late does nothing.
        let fenced = after(&before, next(&before, 5, &undo("1.7")).unwrap());
        assert_eq!(fenced["spec"]["replicas"], 3);
        assert!(next(&fenced, 5, &first).is_err());
    }
}
