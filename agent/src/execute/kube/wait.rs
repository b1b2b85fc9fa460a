//! `kube.wait`: waits until an expression holds of an object, or of all that a selector fits.
//!
//! Objects are read as the namespace's runner, so that a plan waits for nothing that its namespace would not show it.
//! The expression is bounded before it is evaluated, off the threads that answer. What an object does not have yet is
//! no error: it does not hold yet.

use std::time::Duration;

use mainstay_client::work;
use mainstay_core::Millis;
use mainstay_core::expr::Expression;
use mainstay_core::report::{Check, Report, Verdict};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::super::params::{self, Span};
use super::super::{Context, StepError};
use super::acting;
use crate::kube::resource::Resource;
use crate::kube::{Cluster, ClusterError, Selected};

const KIND: &str = "kube.wait";
/// Most objects of a selector.
const OBJECTS_MAX: usize = 1_000;
/// Most often that it looks.
const EVERY_MIN: Duration = Duration::from_millis(500);

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Params {
    #[serde(default = "first")]
    api_version: String,
    kind: String,
    #[serde(default)]
    namespace: String,
    name: Option<String>,
    selector: Option<String>,
    until: String,
    #[serde(default = "five_minutes")]
    within: Span,
    #[serde(default = "two_seconds")]
    every: Span,
    service_account: Option<String>,
}

fn first() -> String {
    "v1".to_owned()
}

fn five_minutes() -> Span {
    Span(Millis::from_secs(300))
}

fn two_seconds() -> Span {
    Span(Millis::from_secs(2))
}

/// Waits.
///
/// # Errors
/// Refused parameters; what the account may not read; that it does not hold in time.
pub async fn execute(with: &Map<String, Value>, context: &Context) -> Result<Report, StepError> {
    let params: Params = params::read(KIND, with)?;
    let cluster = super::cluster(KIND, context)?;
    let until = Expression::parse(&params.until).and_then(|until| until.check_roots(&["object"]).map(|()| until));
    let until = until.map_err(|error| StepError::refused(format!("{KIND}: `until`: {error}")))?;
    if params.kind == "Secret" {
        return Err(StepError::refused(format!("{KIND}: what is in a Secret is not looked at")));
    }
    if params.name.is_some() == params.selector.is_some() {
        return Err(StepError::refused(format!("{KIND} waits for one object by `name`, or for all that a `selector` fits")));
    }
    let resource = cluster.resource(&params.api_version, &params.kind).await.map_err(|error| super::failed(KIND, &error))?;
    if resource.namespaced == params.namespace.is_empty() {
        let wrong = if resource.namespaced { "is in a namespace: name it under `namespace`" } else { "is in no namespace" };
        return Err(StepError::refused(format!("{KIND}: a {} {wrong}", params.kind)));
    }
    let cluster = acting::runner(cluster, &params.namespace, params.service_account.as_deref());
    let mut last = "it was not looked at".to_owned();
    let waiting = async {
        loop {
            match look(&cluster, &resource, &params, &until).await {
                Ok(Ok(seen)) => return Ok(seen),
                Ok(Err(not_yet)) => last = not_yet,
                Err(error @ (ClusterError::ForbiddenTo { .. } | ClusterError::TooMany { .. })) => return Err(super::failed(KIND, &error)),
                // It may answer again in time.
                Err(error) => last = error.to_string(),
            }
            tokio::time::sleep(params.every.0.as_duration().max(EVERY_MIN)).await;
        }
    };
    let waited = tokio::time::timeout(params.within.0.as_duration(), waiting).await;
    let seen = waited.unwrap_or_else(|_| Err(StepError::failed(format!("{KIND}: not within {}: {last}", params.within.0))))?;
    let outputs = [("objects".to_owned(), Value::from(seen))].into();
    let what = params.name.as_deref().or(params.selector.as_deref()).unwrap_or_default();
    let subject = [&*params.namespace, &*params.kind, what].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/");
    let message = format!("it holds: {}", params.until.trim());
    Ok(Report { checks: vec![Check::stated(KIND, &subject, Verdict::Ok, message)], outputs, ..Report::default() })
}

/// Of how many objects it holds, or what it does not hold of.
async fn look(cluster: &Cluster, resource: &Resource, params: &Params, until: &Expression) -> Result<Result<usize, String>, ClusterError> {
    let objects: Vec<Value> = match &params.name {
        // What is not there can be waited for, and that something is gone too.
        Some(name) => vec![cluster.find(&resource.path_of(&params.namespace, name)).await?.unwrap_or(Value::Null)],
        None => cluster.list(&resource.path(&params.namespace), Selected { labels: params.selector.as_deref(), ..Selected::default() }).await?,
    };
    if objects.is_empty() {
        return Ok(Err(format!("no {} has these labels", params.kind)));
    }
    if objects.len() > OBJECTS_MAX {
        return Err(ClusterError::TooMany { path: resource.path(&params.namespace) });
    }
    let until = until.clone();
    Ok(work::blocking(move || judge(objects, &until)).await.unwrap_or_else(|error| Err(format!("the expression ended early: {error}"))))
}

fn judge(objects: Vec<Value>, until: &Expression) -> Result<usize, String> {
    let count = objects.len();
    for mut object in objects {
        let name = object.pointer("/metadata/name").and_then(Value::as_str).map_or_else(|| "it is not there".to_owned(), str::to_owned);
        // Who has set which field is of no use, and often the larger part.
        if let Some(meta) = object.pointer_mut("/metadata").and_then(Value::as_object_mut) {
            meta.remove("managedFields");
        }
        match until.evaluate_bool(&json!({ "object": object })) {
            Ok(true) => {}
            Ok(false) => return Err(format!("{name}: it does not hold")),
            Err(error) => return Err(format!("{name}: {error}")),
        }
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn it_holds_when_it_holds_of_each() {
        let until = Expression::parse("object.status.readyReplicas == 2").unwrap();
        let object =
            |ready: Value| json!({ "metadata": { "name": "web", "managedFields": ["x".repeat(100_000)] }, "status": { "readyReplicas": ready } });
        assert_eq!(judge(vec![object(json!(2)), object(json!(2))], &until), Ok(2));
        assert_eq!(judge(vec![object(json!(2)), object(json!(1))], &until), Err("web: it does not hold".to_owned()));
        assert!(judge(vec![json!({ "metadata": { "name": "web" } })], &until).unwrap_err().starts_with("web: "));
        assert!(judge(vec![Value::Null], &until).unwrap_err().starts_with("it is not there: "));
        let gone = Expression::parse("object == null").unwrap();
        assert_eq!((judge(vec![Value::Null], &gone), judge(vec![object(json!(1))], &gone).is_err()), (Ok(1), true));
    }
}
