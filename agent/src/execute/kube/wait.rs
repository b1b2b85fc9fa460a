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

/// What is said where it never came to a look.
const UNANSWERED: &str = "the API server has not answered";

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
    let wanted = params.wanted().map_err(|why| StepError::refused(format!("{KIND}: {why}")))?;
    let late = |last: &str| StepError::failed(format!("{KIND}: not within {}: {last}", params.within.0));
    let resource = tokio::time::timeout(params.within.0.as_duration(), cluster.resource(&params.api_version, &params.kind)).await;
    let resource = resource.map_err(|_| late(UNANSWERED))?.map_err(|error| super::failed(KIND, &error))?;
    if resource.namespaced == params.namespace.is_empty() {
        let wrong = if resource.namespaced { "is in a namespace: name it under `namespace`" } else { "is in no namespace" };
        return Err(StepError::refused(format!("{KIND}: a {} {wrong}", params.kind)));
    }
    let cluster = acting::runner(cluster, &params.namespace, params.service_account.as_deref());
    let mut last = UNANSWERED.to_owned();
    let waiting = async {
        loop {
            match wanted.look(&cluster, &resource, &params.namespace).await {
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
    let seen = waited.unwrap_or_else(|_| Err(late(&last)))?;
    let outputs = [("objects".to_owned(), Value::from(seen))].into();
    let what = params.name.as_deref().or(params.selector.as_deref()).unwrap_or_default();
    let subject = [&*params.namespace, &*params.kind, what].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/");
    let message = format!("it holds: {}", params.until.trim());
    Ok(Report { checks: vec![Check::stated(KIND, &subject, Verdict::Ok, message)], outputs, ..Report::default() })
}

impl Params {
    fn wanted(&self) -> Result<Wanted, String> {
        Wanted::checked(&self.kind, self.name.as_deref(), self.selector.as_deref(), ("until", &self.until))
    }
}

/// What is to hold, and of which objects of a kind.
#[derive(Debug)]
pub struct Wanted {
    kind: String,
    /// Of one; else the selector of several.
    name: Option<String>,
    selector: Option<String>,
    expression: Expression,
}

impl Wanted {
    /// With an expression and the parameter that has it.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn checked(kind: &str, name: Option<&str>, selector: Option<&str>, (param, expression): (&str, &str)) -> Result<Wanted, String> {
        let parsed = Expression::parse(expression).and_then(|parsed| parsed.check_roots(&["object"]).map(|()| parsed));
        let expression = parsed.map_err(|error| format!("`{param}`: {error}"))?;
        if kind == "Secret" {
            return Err("what is in a Secret is not looked at".to_owned());
        }
        if name.is_some() == selector.is_some() {
            return Err("it is about one object by `name`, or about all that a `selector` fits".to_owned());
        }
        Ok(Wanted { kind: kind.to_owned(), name: name.map(str::to_owned), selector: selector.map(str::to_owned), expression })
    }

    /// Of how many objects it holds, or what it does not hold of.
    ///
    /// # Errors
    /// When the API server refuses or does not answer.
    pub async fn look(&self, cluster: &Cluster, resource: &Resource, namespace: &str) -> Result<Result<usize, String>, ClusterError> {
        let objects: Vec<Value> = match &self.name {
            // What is not there can be waited for, and that something is gone too.
            Some(name) => vec![cluster.find(&resource.path_of(namespace, name)).await?.unwrap_or(Value::Null)],
            None => cluster.list(&resource.path(namespace), Selected { labels: self.selector.as_deref(), ..Selected::default() }).await?,
        };
        if objects.is_empty() {
            return Ok(Err(format!("no {} has these labels", self.kind)));
        }
        if objects.len() > OBJECTS_MAX {
            return Err(ClusterError::TooMany { path: resource.path(namespace) });
        }
        let expression = self.expression.clone();
        let judged = work::blocking(move || judge(objects, &expression)).await;
        Ok(judged.unwrap_or_else(|error| Err(format!("the expression ended early: {error}"))))
    }
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
