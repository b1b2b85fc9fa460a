//! What a rollout has changed, written on the workload itself with the change; and what is to be done about a workload
//! as it is. Pure.
//!
//! ```text
//!            begin                     stop: put back, why          stuck, late, gate failed: it stays at that
//!  (none) ─────────▶ record, new pods ──────────────────▶ record, stopped ─────────────────────────────▶ fails
//!                        │      ▲                            │ called off
//!                        │      └────────────────────────────┘ another attempt begins anew
//!                        └─ its undo: put back ─▶ record, stopped
//! ```
//! The record has the exact earlier template, so that any replica can put it back, whatever became of earlier revisions;
//! and a digest of what the rollout left, so that nobody's later change is overwritten.

use jiff::Timestamp;
use mainstay_core::id::AttemptId;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::super::rollout::{self, Rollout};
use super::super::work::{FENCE, WORK, Work, annotation, name_of, text, version};
use super::merge::{difference, merge, project};
use crate::execute::StepError;

/// Says on a workload what was rolled out last, and what was there before.
pub const ROLLOUT: &str = "mainstay.dev/rollout";
/// Longest record: all annotations of an object have 256 KiB, and a Deployment hands its own on to its ReplicaSets.
pub const RECORD_MAX: usize = 96 * 1024;
/// Earlier rollouts that are remembered.
const OVER_MAX: usize = 8;
/// Annotations that are written by the cluster with a change, and are no part of it.
const WRITTEN: [&str; 2] = ["deployment.kubernetes.io/revision", "deprecated.daemonset.template.generation"];
/// Field manager of everything that Mainstay changes.
const MANAGER: &str = "mainstay";

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// By which work.
    pub work: String,
    /// The attempt at it that has the say.
    pub attempt: String,
    /// The template that was there.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub before: Value,
    /// What puts back whatever else was changed, as a merge patch.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub besides: Value,
    /// Digest of what was left there.
    pub left: String,
    /// When it was changed, by the API server's clock: pods from before that are old ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<Stopped>,
    /// What it was begun over, the newest first: none of these begins again because its record is gone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub over: Vec<Over>,
}

/// An earlier rollout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Over {
    pub work: String,
    /// Whether it had come to its end.
    pub is_done: bool,
}

/// Why what was rolled out was put back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stopped {
    pub why: String,
    /// What was rolled out is at fault: no other attempt of the step begins it again.
    #[serde(default)]
    pub is_final: bool,
}

/// What to do with a workload that is to be rolled out.
#[derive(Debug, PartialEq)]
pub enum Next {
    /// Change it.
    Begin,
    /// It has been changed by an earlier attempt: write on it that this one goes on with it.
    Claim(Value),
    /// It has been changed: its pods are waited for.
    Follow(Record),
    /// Something else comes first.
    Hold(String),
    /// It had come to its end, and another rollout was begun over it.
    Passed(String),
    /// An earlier attempt has stopped it.
    Ended(String),
    /// Somebody else has changed it since.
    Refuse(String),
}

/// What to do with a workload whose rollout is to be put back.
#[derive(Debug, PartialEq)]
pub enum Back {
    /// Write this.
    Change(Value),
    /// It has been put back: its pods are waited for.
    Follow,
    /// Nothing of the step is there.
    Nothing,
    /// Somebody else has changed it since.
    Refuse(String),
}

impl Record {
    /// What a change of `current` into `after` is to leave on the workload.
    pub fn of(work: &Work, current: &Value, after: &Value) -> Record {
        let besides = difference(&outside(after), &outside(current)).unwrap_or_default();
        let (before, left) = (template(current).clone(), left(after, &besides));
        let attempt = work.attempt.to_string();
        let over = Record::read(current).map(|earlier| earlier.begun_over(current, work)).unwrap_or_default();
        Record { work: work.name.clone(), attempt, before, besides, left, since: changed_at(after), stopped: None, over }
    }

    /// What a rollout by this work is begun over. One that was called off may begin again whenever it likes.
    fn begun_over(self, workload: &Value, work: &Work) -> Vec<Over> {
        let is_done = self.stopped.is_none() && self.is_as_left(workload) && rollout::of(workload) == Rollout::Done;
        let may_begin_again = self.stopped.is_some_and(|stopped| !stopped.is_final);
        let own = (!may_begin_again).then_some(Over { work: self.work, is_done });
        own.into_iter().chain(self.over).filter(|over| over.work != work.name).take(OVER_MAX).collect()
    }

    /// What the last rollout has left on a workload.
    pub fn read(workload: &Value) -> Option<Record> {
        serde_json::from_str(annotation(workload, ROLLOUT)?).ok()
    }

    /// Whether the step changed anything.
    pub fn is_change(&self, workload: &Value) -> bool {
        !self.besides.is_null() || self.before != *template(workload)
    }

    /// The annotations of a change.
    pub fn marks(&self, work: &Work) -> Map<String, Value> {
        let mut marks = work.marks();
        marks.insert(ROLLOUT.to_owned(), Value::String(json!(self).to_string()));
        marks
    }

    /// The attempt that has the say, where it is a later one.
    fn later(&self, work: &Work) -> Option<AttemptId> {
        self.attempt.parse().ok().filter(|attempt| *attempt > work.attempt)
    }

    fn is_own(&self, work: &Work) -> bool {
        self.attempt == work.attempt.to_string()
    }

    fn is_as_left(&self, workload: &Value) -> bool {
        left(workload, &self.besides) == self.left
    }
}

/// What a workload makes its pods of.
pub fn template(workload: &Value) -> &Value {
    workload.pointer("/spec/template").unwrap_or(&Value::Null)
}

/// What is to be done next, for whoever rolls it out.
///
/// # Errors
/// When a later attempt has changed it.
pub fn next(kind: &str, workload: &Value, work: &Work) -> Result<Next, StepError> {
    let is_done = rollout::of(workload) == Rollout::Done;
    let next = match Record::read(workload) {
        Some(own) if own.work == work.name => match (own.later(work), &own.stopped) {
            (Some(later), _) => return Err(StepError::failed(format!("{kind}: {}: {}", name_of(workload), surpassed(later, work)))),
            (None, Some(_)) if !is_done => Next::Hold("an earlier attempt has put it back, and its pods are not all there again".to_owned()),
            (None, Some(stopped)) if stopped.is_final => {
                Next::Ended(format!("an earlier attempt has stopped it: {}: it is what it was, and another run may try it again", stopped.why))
            }
            (None, Some(_)) => Next::Begin,
            (None, None) if !own.is_as_left(workload) => Next::Refuse(changed(workload, work)),
            (None, None) if own.is_own(work) => Next::Follow(own),
            (None, None) => Next::Claim(claim(workload, work, own)),
        },
        Some(other) if other.over.iter().any(|over| over.work == work.name) => {
            let by = run_of(&other.work);
            if other.over.iter().any(|over| over.work == work.name && over.is_done) {
                Next::Passed(format!("rolled out; since then {by} has rolled out something else"))
            } else {
                Next::Refuse(format!("{by} has rolled out something else over it before it had come to its end: it is left as it is"))
            }
        }
        // Two rollouts of one workload do not overlap. One that will not come to its end is no reason to wait.
        Some(other) if other.stopped.is_none() && other.is_as_left(workload) && matches!(rollout::of(workload), Rollout::Under(_)) => {
            Next::Hold(format!("the rollout of {} is under way", run_of(&other.work)))
        }
        _ => Next::Begin,
    };
    // What is its own, it knows by its record, whoever has scaled it since.
    if next == Next::Begin {
        work.may_change(kind, workload)?;
    }
    Ok(next)
}

/// What is to be done to put it back, for the rollout itself or for whoever takes its step back.
pub fn back(kind: &str, workload: &Value, work: &Work, stopped: &Stopped) -> Back {
    let step = work.taken_back.as_ref().unwrap_or(&work.name);
    match Record::read(workload) {
        Some(own) if own.work == *step => match (own.later(work), &own.stopped) {
            (Some(later), _) => Back::Refuse(surpassed(later, work)),
            (None, Some(_)) if own.is_own(work) => Back::Follow,
            (None, Some(_)) => Back::Change(claim(workload, work, own)),
            (None, None) if own.is_as_left(workload) => Back::Change(put_back(workload, work, own, stopped)),
            (None, None) => Back::Refuse(changed(workload, work)),
        },
        Some(other) if work.taken_back.is_some() => {
            let by = run_of(&other.work);
            Back::Refuse(format!("{by} has changed it since: what it is to be is for a person to say"))
        }
        _ => match work.may_change(kind, workload) {
            Err(error) => Back::Refuse(error.message),
            Ok(()) if annotation(workload, FENCE) == Some(&work.attempt.to_string()) => Back::Nothing,
            // What an attempt has sent, and has not arrived yet, finds another version.
            Ok(()) => {
                let mut fields = json!({});
                merge_marks(&mut fields, workload, work, Map::new());
                Back::Change(fields)
            }
        },
    }
}

fn surpassed(later: AttemptId, work: &Work) -> String {
    format!("attempt {later} goes on with it, which is later than this one, {}: nothing was done", work.attempt)
}

fn put_back(workload: &Value, work: &Work, own: Record, stopped: &Stopped) -> Value {
    let mut fields = own.besides.clone();
    if let Some(template) = difference(template(workload), &own.before) {
        merge(&mut fields, &json!({ "spec": { "template": {} } }));
        fields["spec"]["template"] = template;
    }
    // The record stays its step's, whoever puts it back.
    let attempt = work.attempt.to_string();
    let ended = Record { attempt, before: Value::Null, besides: Value::Null, stopped: Some(stopped.clone()), ..own };
    merge_marks(&mut fields, workload, work, ended.marks(work));
    fields
}

/// This attempt has the say from now on.
fn claim(workload: &Value, work: &Work, own: Record) -> Value {
    let own = Record { attempt: work.attempt.to_string(), ..own };
    let marks = own.marks(work).into_iter().filter(|(name, _)| name != WORK);
    let mut fields = json!({});
    merge_marks(&mut fields, workload, work, marks.collect());
    fields
}

/// Adds annotations, the fence where none is later, and the version that was decided on, to a merge patch.
pub fn merge_marks(fields: &mut Value, workload: &Value, work: &Work, mut marks: Map<String, Value>) {
    marks.remove(FENCE);
    if work.may_change("", workload).is_ok() {
        marks.insert(FENCE.to_owned(), json!(work.attempt.to_string()));
    }
    fields["metadata"]["resourceVersion"] = json!(version(workload));
    for (name, mark) in marks {
        fields["metadata"]["annotations"][name] = mark;
    }
}

/// Who has changed a workload since, as far as it says so.
fn changed(workload: &Value, work: &Work) -> String {
    let step = work.taken_back.as_ref().unwrap_or(&work.name);
    let other = annotation(workload, WORK).filter(|other| *other != step && *other != work.name).map(run_of);
    let who = other.or_else(|| last_manager(workload).map(|manager| format!("somebody ({manager})"))).unwrap_or_else(|| "somebody".to_owned());
    format!("{who} has changed it since: it is left as it is, and what it is to be is for a person to say")
}

/// `tidy-7/restart` of `1/tidy-7/restart`.
fn run_of(work: &str) -> String {
    let step = work.split_once('/').map_or(work, |(_, step)| step);
    format!("step {step}")
}

/// The fields of a workload that a rollout may change besides its template.
fn outside(workload: &Value) -> Value {
    let mut spec = workload["spec"].clone();
    spec.as_object_mut().and_then(|spec| spec.remove("template"));
    let mut annotations = workload.pointer("/metadata/annotations").cloned().unwrap_or_else(|| json!({}));
    if let Some(annotations) = annotations.as_object_mut() {
        annotations.retain(|name, _| !WRITTEN.contains(&name.as_str()) && ![FENCE, WORK, ROLLOUT].contains(&name.as_str()));
    }
    let labels = workload.pointer("/metadata/labels").cloned().unwrap_or_else(|| json!({}));
    json!({ "metadata": { "labels": labels, "annotations": annotations }, "spec": spec })
}

/// A digest of the template, and of what stands at the places that are put back besides.
fn left(workload: &Value, besides: &Value) -> String {
    let beside = if besides.is_null() { Value::Null } else { project(workload, besides) };
    let whole = json!([without_nulls(template(workload)), beside]).to_string();
    Sha256::digest(whole.as_bytes()).iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// What is null is not there: not every version of an API server writes it.
fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let there = fields.iter().filter(|(_, value)| !value.is_null());
            Value::Object(there.map(|(name, value)| (name.clone(), without_nulls(value))).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(without_nulls).collect()),
        other => other.clone(),
    }
}

fn writers(workload: &Value) -> impl Iterator<Item = (&str, Timestamp)> {
    let all = workload.pointer("/metadata/managedFields").and_then(Value::as_array).into_iter().flatten();
    let own = all.filter(|entry| text(entry, "/subresource").is_empty());
    own.filter_map(|entry| Some((text(entry, "/manager"), text(entry, "/time").parse().ok()?)))
}

/// When Mainstay changed it last, by the API server's clock.
fn changed_at(workload: &Value) -> Option<Timestamp> {
    writers(workload).filter(|(manager, _)| *manager == MANAGER).map(|(_, at)| at).max()
}

/// Who else changed it last.
fn last_manager(workload: &Value) -> Option<&str> {
    writers(workload).filter(|(manager, _)| *manager != MANAGER).max_by_key(|(_, at)| *at).map(|(manager, _)| manager)
}
