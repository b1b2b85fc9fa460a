//! `kube.apply` and `kube.delete`: one object, as the plan has it, or gone; and back.
//!
//! What was there is stored before anything is changed, encrypted to the agent that changes it. An object that is
//! applied or is to be deleted has the work's name on it, so that a replica that takes over sees how far it has come. It
//! is taken back only where it still is what the step left: by the version, by the UID, and by the API server's own word
//! on who has set which field since.

use std::time::Duration;

use mainstay_core::Millis;
use mainstay_core::report::{Check, Report, Verdict};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::super::params::{self, Span};
use super::super::{Context, StepError};
use super::acting;
use super::work::{FENCE, WORK, Work, annotation, text, version};
use crate::kube::ask::Patch;
use crate::kube::resource::Resource;
use crate::kube::{Cluster, ClusterError};

const APPLY: &str = "kube.apply";
const DELETE: &str = "kube.delete";
/// How often an object is read again that somebody else changes all the time.
const TRIES: usize = 10;
const EVERY: Duration = Duration::from_secs(1);
const REPLACED: &str = "it was deleted, and somebody has made another of its name";
/// How an API server says that fields belong to somebody else.
const OWNED: &str = "Apply failed with";

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ApplyParams {
    object: Map<String, Value>,
    #[serde(default)]
    take_over: bool,
    service_account: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct DeleteParams {
    #[serde(default = "first")]
    api_version: String,
    kind: String,
    #[serde(default)]
    namespace: String,
    name: String,
    #[serde(default = "five_minutes")]
    within: Span,
    service_account: Option<String>,
}

fn first() -> String {
    "v1".to_owned()
}

fn five_minutes() -> Span {
    Span(Millis::from_secs(300))
}

/// An object, and the way to it.
struct Place<'c> {
    kind: &'static str,
    cluster: Cluster,
    path: String,
    /// Where others of its kind are made.
    parent: String,
    subject: String,
    work: Work,
    context: &'c Context,
}

impl<'c> Place<'c> {
    async fn of(
        kind: &'static str,
        (api_version, of_kind, namespace, name): (&str, &str, &str, &str),
        account: Option<&str>,
        verbs: &[&str],
        context: &'c Context,
    ) -> Result<Place<'c>, StepError> {
        if of_kind == "Secret" {
            return Err(StepError::refused(format!("{kind}: a Secret is in no plan, and what was in it is stored nowhere: change it by hand")));
        }
        let own = super::cluster(kind, context)?;
        let resource: Resource = own.resource(api_version, of_kind).await.map_err(|error| super::failed(kind, &error))?;
        if name.is_empty() || resource.namespaced == namespace.is_empty() {
            let wrong = if name.is_empty() {
                "has no name"
            } else if resource.namespaced {
                "is in a namespace, and none is named"
            } else {
                "is in no namespace"
            };
            return Err(StepError::refused(format!("{kind}: the {of_kind} {wrong}")));
        }
        let cluster = acting::runner(own, namespace, account);
        acting::may(kind, &cluster, &acting::rights(&resource, namespace, verbs)).await?;
        let subject = [namespace, of_kind, name].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/");
        let (path, parent) = (resource.path_of(namespace, name), resource.path(namespace));
        Ok(Place { kind, cluster, path, parent, subject, work: Work::of(kind, context)?, context })
    }

    async fn find(&self) -> Result<Option<Value>, StepError> {
        self.cluster.find(&self.path).await.map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &ClusterError) -> StepError {
        super::failed(self.kind, error)
    }

    fn left(&self, why: &str) -> StepError {
        StepError::failed(format!("{}: {} {why}: what it is to be is for a person to say", self.kind, self.subject))
    }

    fn done(&self, message: impl Into<String>) -> Report {
        Report { checks: vec![Check::stated(self.kind, &self.subject, Verdict::Ok, message)], ..Report::default() }
    }

    /// Stores what was there, unless an earlier attempt has: before the first effect.
    async fn remember(&self, before: Option<&Value>) -> Result<(), StepError> {
        let stored = self.context.artifacts.get_undo().await;
        match stored {
            Ok(Some(_)) => Ok(()),
            Err(error) if error.is_of_another() => Ok(()),
            Ok(None) => {
                let data = json!({ "before": before.map(plain) }).to_string().into_bytes();
                let stored = self.context.artifacts.put_undo(data).await;
                stored.map_err(|error| StepError::failed(format!("{}: what it was cannot be stored, so nothing was done: {error}", self.kind)))
            }
            Err(error) => Err(StepError::failed(format!("{}: nothing was done: {error}", self.kind))),
        }
    }

    /// What an attempt at the step found. Nothing where none came so far.
    async fn remembered(&self) -> Result<Option<Option<Value>>, StepError> {
        let stored = self.context.artifacts.get_undo().await.map_err(|error| self.left(&format!("cannot be taken back: {error}")))?;
        let Some(stored) = stored else { return Ok(None) };
        let mut stored: Value = serde_json::from_slice(&stored).map_err(|error| self.left(&format!("cannot be taken back: {error}")))?;
        Ok(Some(Some(stored["before"].take()).filter(|before| !before.is_null())))
    }

    fn work_of<'o>(&self, object: &'o Value) -> Option<&'o str> {
        annotation(object, WORK)
    }

    fn restless(&self) -> StepError {
        StepError::failed(format!(
            "{}: {} was changed by somebody else each of {TRIES} times between reading and changing it",
            self.kind, self.subject
        ))
    }
}

/// An object without what the API server writes itself.
fn plain(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(all) = object.as_object_mut() {
        all.remove("status");
    }
    if let Some(meta) = object.pointer_mut("/metadata").and_then(Value::as_object_mut) {
        for name in ["managedFields", "resourceVersion", "uid", "creationTimestamp", "generation", "selfLink", "deletionTimestamp"] {
            meta.remove(name);
        }
    }
    object
}

/// With these annotations besides its own.
fn marked(object: &Value, marks: Map<String, Value>) -> Value {
    let mut object = object.clone();
    let mut all = object.pointer("/metadata/annotations").and_then(Value::as_object).cloned().unwrap_or_default();
    all.extend(marks);
    object["metadata"]["annotations"] = Value::Object(all);
    object
}

/// What has to be written over an object as it is to undo these fields. What is not there any more went with them: a
/// field that Mainstay has set before, and that is not in what it applies now, is taken away by the API server.
fn reverse(applied: &Value, before: Option<&Value>, current: Option<&Value>) -> Value {
    match (applied, before) {
        (Value::Object(applied), Some(Value::Object(before))) => {
            let current = |name: &str| current.and_then(|current| current.get(name));
            let put_back = applied.iter().map(|(name, value)| (name.clone(), reverse(value, before.get(name), current(name))));
            let gone = before.iter().filter(|(name, _)| !applied.contains_key(*name) && current(name).is_none());
            Value::Object(put_back.chain(gone.map(|(name, value)| (name.clone(), value.clone()))).collect())
        }
        (_, Some(before)) => before.clone(),
        (_, None) => Value::Null,
    }
}

/// Makes an object what the plan says, or takes that back.
///
/// # Errors
/// Refused parameters or rights; fields that somebody else has set; what somebody else has changed since.
pub async fn apply(with: &Map<String, Value>, context: &Context) -> Result<Report, StepError> {
    let params: ApplyParams = params::read(APPLY, with)?;
    let object = Value::Object(params.object);
    let of = (text(&object, "/apiVersion"), text(&object, "/kind"), text(&object, "/metadata/namespace"), text(&object, "/metadata/name"));
    let verbs: &[&str] = if context.labels.undoes { &["get", "patch", "delete"] } else { &["get", "create", "patch"] };
    let place = Place::of(APPLY, of, params.service_account.as_deref(), verbs, context).await?;
    if let Some(step) = place.work.taken_back.clone() {
        return take_back(&place, &object, &step).await;
    }
    for _ in 0..TRIES {
        let current = place.find().await?;
        if let Some(current) = &current {
            if place.work.has_changed(current) {
                return Ok(place.done("it is what the plan says"));
            }
            place.work.may_change(APPLY, current)?;
        }
        place.remember(current.as_ref()).await?;
        let mut fields = marked(&object, place.work.marks());
        if let Some(current) = &current {
            fields["metadata"]["resourceVersion"] = json!(version(current));
        }
        let how = Patch::Apply { force: params.take_over, dry: false };
        match place.cluster.patch(&place.path, how, &fields).await {
            Ok(_) => return Ok(place.done(if current.is_some() { "it was made what the plan says" } else { "it was made" })),
            Err(ClusterError::Conflict { message, .. }) if message.starts_with(OWNED) => {
                let message = format!("{APPLY}: {}: {message}: it is theirs to change, or `takeOver: true`", place.subject);
                return Err(StepError::failed(message));
            }
            Err(ClusterError::Conflict { .. }) => {}
            Err(error) => return Err(place.failed(&error)),
        }
    }
    Err(place.restless())
}

async fn take_back(place: &Place<'_>, object: &Value, step: &str) -> Result<Report, StepError> {
    let before = place.remembered().await?;
    for _ in 0..TRIES {
        let current = place.find().await?;
        let (Some(before), Some(current)) = (&before, current) else {
            return match before {
                Some(Some(_)) => Err(place.left("is gone")),
                _ => Ok(place.done("there is nothing to take back")),
            };
        };
        match place.work_of(&current) {
            Some(work) if work == step => {}
            Some(work) if work == place.work.name => return Ok(place.done("it is what it was")),
            // It was stored what was there, and nothing was done.
            _ if before.as_ref().is_some_and(|before| plain(&current) == *before) => return Ok(place.done("there is nothing to take back")),
            _ => return Err(place.left("was changed since")),
        }
        place.work.may_change(place.kind, &current)?;
        // Who has set one of the fields since owns it: the server says so.
        let marks = [WORK, FENCE].into_iter().filter_map(|name| Some((name.to_owned(), json!(annotation(&current, name)?))));
        let as_it_was_left = marked(object, marks.collect());
        match place.cluster.patch(&place.path, Patch::Apply { force: false, dry: true }, &as_it_was_left).await {
            Ok(_) => {}
            Err(ClusterError::Conflict { message, .. }) => return Err(place.left(&format!("was changed since ({message})"))),
            Err(error) => return Err(place.failed(&error)),
        }
        let changed = match before {
            None => place.cluster.delete(&place.path, text(&current, "/metadata/uid"), Some(version(&current))).await,
            Some(before) => {
                let mut fields = reverse(object, Some(before), Some(&current));
                for name in ["apiVersion", "kind", "status"] {
                    fields.as_object_mut().and_then(|fields| fields.remove(name));
                }
                let mut fields = marked(&fields, place.work.marks());
                fields["metadata"]["resourceVersion"] = json!(version(&current));
                place.cluster.patch(&place.path, Patch::Merge, &fields).await
            }
        };
        match changed {
            Ok(_) => return Ok(place.done(if before.is_some() { "it is what it was" } else { "it is gone again" })),
            Err(ClusterError::Conflict { .. }) => {}
            Err(error) => return Err(place.failed(&error)),
        }
    }
    Err(place.restless())
}

/// Deletes an object, or makes it again.
///
/// # Errors
/// Refused parameters or rights; an object that does not go in time, or that somebody else has made since.
pub async fn delete(with: &Map<String, Value>, context: &Context) -> Result<Report, StepError> {
    let params: DeleteParams = params::read(DELETE, with)?;
    let verbs: &[&str] = if context.labels.undoes { &["get", "create"] } else { &["get", "patch", "delete"] };
    let of = (params.api_version.as_str(), params.kind.as_str(), params.namespace.as_str(), params.name.as_str());
    let place = Place::of(DELETE, of, params.service_account.as_deref(), verbs, context).await?;
    if place.work.taken_back.is_some() {
        return make_again(&place).await;
    }
    let deleting = async {
        loop {
            let Some(current) = place.find().await? else { return Ok(place.done("it is not there")) };
            if !place.work.has_changed(&current) {
                // Either nobody came so far as to write the work's name on it, or it is another object of the name.
                match context.artifacts.get_undo().await {
                    Ok(None) => {}
                    Ok(Some(_)) => return Ok(place.done(REPLACED)),
                    Err(error) if error.is_of_another() => return Ok(place.done(REPLACED)),
                    Err(error) => return Err(StepError::failed(format!("{DELETE}: nothing was done: {error}"))),
                }
                place.work.may_change(DELETE, &current)?;
                let fields = json!({ "metadata": { "resourceVersion": version(&current), "annotations": place.work.marks() } });
                match place.cluster.patch(&place.path, Patch::Merge, &fields).await {
                    Ok(_) | Err(ClusterError::Conflict { .. } | ClusterError::Missing { .. }) => continue,
                    Err(error) => return Err(place.failed(&error)),
                }
            }
            place.work.may_change(DELETE, &current)?;
            if current.pointer("/metadata/deletionTimestamp").is_none() {
                place.remember(Some(&current)).await?;
                match place.cluster.delete(&place.path, text(&current, "/metadata/uid"), Some(version(&current))).await {
                    Ok(_) | Err(ClusterError::Conflict { .. } | ClusterError::Missing { .. }) => continue,
                    Err(error) => return Err(place.failed(&error)),
                }
            }
            tokio::time::sleep(EVERY).await;
        }
    };
    let ended = tokio::time::timeout(params.within.0.as_duration(), deleting).await;
    ended.unwrap_or_else(|_| Err(StepError::failed(format!("{DELETE}: {} is not gone within {}: a finalizer waits", place.subject, params.within.0))))
}

async fn make_again(place: &Place<'_>) -> Result<Report, StepError> {
    let Some(Some(before)) = place.remembered().await? else { return Ok(place.done("there is nothing to take back")) };
    let again = marked(&before, place.work.marks());
    match place.cluster.create(&place.parent, &again).await {
        Ok(_) => Ok(place.done("it was made again, as it was")),
        Err(ClusterError::Conflict { .. }) => match place.find().await? {
            Some(current) if place.work.has_changed(&current) => Ok(place.done("it was made again, as it was")),
            // What is there still is what was to be deleted.
            Some(current) if Some(place.work_of(&current)) == Some(place.work.taken_back.as_deref()) => Ok(place.done("it was not deleted")),
            _ => Err(place.left("was made by somebody else since")),
        },
        Err(error) => Err(place.failed(&error)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::work::name_of;
    use super::*;

    #[test]
    fn only_the_fields_that_were_applied_are_put_back() {
        let applied = json!({ "metadata": { "name": "a", "labels": { "x": "2", "new": "1" } }, "data": { "k": "new", "fresh": "1" }, "list": [1] });
        let before =
            json!({ "metadata": { "name": "a", "labels": { "x": "1", "other": "1" } }, "data": { "k": "old", "kept": "1" }, "list": [1, 2] });
        let current = json!({ "metadata": { "name": "a", "labels": { "x": "2", "new": "1", "other": "1" } }, "data": { "k": "new", "fresh": "1" }, "list": [1] });
        let back = json!({ "metadata": { "name": "a", "labels": { "x": "1", "new": null } }, "data": { "k": "old", "fresh": null, "kept": "1" }, "list": [1, 2] });
        assert_eq!(reverse(&applied, Some(&before), Some(&current)), back);
        assert_eq!(reverse(&json!({ "data": { "a": "1" } }), Some(&json!({})), None), json!({ "data": null }));
    }

    #[test]
    fn what_the_server_writes_is_not_written_again() {
        let object = json!({ "kind": "ConfigMap", "metadata": { "name": "a", "uid": "u", "resourceVersion": "7", "labels": {} }, "status": {} });
        assert_eq!(plain(&object), json!({ "kind": "ConfigMap", "metadata": { "name": "a", "labels": {} } }));
        assert_eq!(name_of(&marked(&object, Map::new())), "ConfigMap/a");
    }
}
