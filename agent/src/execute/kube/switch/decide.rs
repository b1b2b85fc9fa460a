//! What is to be done to one object that leads somewhere, read off the object as it is. Pure.
//!
//! What it led to before is written on it with the same change, so that any replica of the cluster's agents can take it
//! back; and a digest of what was left, so that nothing is taken back over somebody else's later change.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::super::super::StepError;
use super::super::way::{Kind, Places, Way};
use super::super::work::{FENCE, Work, annotation, digest, text, version};
use super::KIND;

/// Says on an object what it led to, and what was made of it.
const SWITCHED: &str = "mainstay.dev/switched";

/// What a step wants.
#[derive(Debug, Clone)]
pub struct Wanted {
    pub way: Way,
    pub to: String,
    /// What was live when it was looked at; nothing where that does not matter.
    pub from: Option<String>,
    /// By name, the version that was looked at.
    pub seen: BTreeMap<String, String>,
    /// Whether it is led there in shares, and this one now: percent of the traffic of HTTPRoutes; none for all of it.
    pub shares: bool,
    pub share: Option<u8>,
}

/// What was there, and what was left.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Switched {
    /// By which work.
    work: String,
    back: Places,
    to: String,
    /// Digest of what leads, as it was left.
    left: String,
    /// The part that it was all of before a share of it was led elsewhere: what the places are places of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rules: Option<Value>,
    /// Percent that is led elsewhere; none where all is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    share: Option<u8>,
    /// What an earlier run had written here: it counts again when this is taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    earlier: Option<Box<Switched>>,
}

/// What to do with an object as it is.
#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    /// It is to lead elsewhere: how it is then, and what to send for that.
    Lead { led: Value, fields: Value },
    /// It leads where it should: this attempt's number is to stand on it.
    Mark { fields: Value },
    /// It is done; what it led to before.
    Done { before: String },
    /// Somebody else has changed it.
    Refuse(String),
}

/// What comes next of an object of that name.
///
/// # Errors
/// When a later attempt has changed it.
pub fn next(name: &str, object: &Value, wanted: &Wanted, work: &Work) -> Result<Next, StepError> {
    match &work.taken_back {
        None => forward(name, object, wanted, work),
        Some(step) => back(object, wanted, work, step),
    }
}

fn forward(name: &str, object: &Value, wanted: &Wanted, work: &Work) -> Result<Next, StepError> {
    let (way, earlier) = (&wanted.way, written(object));
    if let Some(own) = earlier.as_ref().filter(|own| own.work == work.name) {
        if !is_as_left(object, own, way) {
            return Ok(Next::Refuse(format!("somebody has switched it while the step was under way: it leads to {}", way.in_words(object))));
        }
        if reached(own.share) < reached(wanted.share) {
            work.may_change(KIND, object)?;
            return Ok(lead(&restored(object, own), own.back.clone(), wanted, work, own.earlier.clone()));
        }
        if is_by(object, work) {
            return Ok(Next::Done { before: names(&own.back) });
        }
        // An attempt that was paused and wakes up is not to take back what this one relies on.
        work.may_change(KIND, object)?;
        return Ok(Next::Mark { fields: json!({ "metadata": metadata(object, work, Some(own)) }) });
    }
    work.may_change(KIND, object)?;
    let seen = wanted.seen.get(name).filter(|seen| *seen != version(object) && !work.has_changed(object));
    if let Some(seen) = seen {
        return Ok(Next::Refuse(format!(
            "it was changed since it was looked at: its version is {}, and {seen} was seen: start the run anew, which looks again",
            version(object)
        )));
    }
    let all = way.places(object);
    let back: Places = match &wanted.from {
        Some(from) => all.into_iter().filter(|(_, name)| name.as_deref().unwrap_or_default() == from).collect(),
        None => all,
    };
    if back.is_empty() {
        let from = wanted.from.as_deref().filter(|from| !from.is_empty()).unwrap_or("none of them");
        return Ok(Next::Refuse(format!("it leads to {}, and what was to be live is {from}", way.in_words(object))));
    }
    let earlier = earlier.map(|earlier| Box::new(Switched { earlier: None, ..earlier }));
    Ok(lead(object, back, wanted, work, earlier))
}

/// What these places of the object, as it was before the step, are to be.
fn lead(before: &Value, back: Places, wanted: &Wanted, work: &Work, earlier: Option<Box<Switched>>) -> Next {
    let way = &wanted.way;
    let led = match wanted.share {
        None => way.led(before, &back.keys().map(|place| (place.clone(), Some(wanted.to.clone()))).collect()),
        Some(percent) => match way.shared(before, &back, &wanted.to, percent) {
            Ok(led) => led,
            Err(why) => return Next::Refuse(why),
        },
    };
    // Names can be put back at their places; where weights and backends have changed too, only all as it was.
    let rules = wanted.shares.then(|| before["spec"]["rules"].clone());
    let switched = Switched { work: work.name.clone(), back, to: wanted.to.clone(), left: digest_of(way, &led), rules, share: wanted.share, earlier };
    let fields = json!({ "metadata": metadata(before, work, Some(&switched)), "spec": way.fields(&led) });
    Next::Lead { led, fields }
}

/// Percent that this is, of all.
fn reached(share: Option<u8>) -> u8 {
    share.unwrap_or(100)
}

/// Percent of the object's traffic that this work has led elsewhere.
pub fn share_of(object: &Value, work: &Work) -> u8 {
    written(object).filter(|own| own.work == work.name).map_or(0, |own| reached(own.share))
}

/// The object as it was before a share of it was led elsewhere.
fn restored(object: &Value, own: &Switched) -> Value {
    let mut object = object.clone();
    if let Some(rules) = &own.rules {
        object["spec"]["rules"] = rules.clone();
    }
    object
}

fn back(object: &Value, wanted: &Wanted, work: &Work, step: &str) -> Result<Next, StepError> {
    let way = &wanted.way;
    match written(object) {
        Some(own) if own.work == step && is_as_left(object, &own, way) => {
            work.may_change(KIND, object)?;
            Ok(put_back(object, &own, way, work))
        }
        Some(own) if own.work == step => Ok(Next::Refuse(format!(
            "somebody has changed it since: it leads to {}, and the step left {}: where it is to lead is for a person to say",
            way.in_words(object),
            own.to
        ))),
        _ if work.has_changed(object) => Ok(Next::Done { before: way.in_words(object) }),
        Some(other) => Ok(Next::Refuse(format!(
            "another run has switched it since ({}): it leads to {}: where it is to lead is for a person to say",
            other.work,
            way.in_words(object)
        ))),
        // Nothing of this step is there. A late attempt at it must not come after this.
        None => {
            work.may_change(KIND, object)?;
            Ok(Next::Mark { fields: json!({ "metadata": metadata(object, work, None) }) })
        }
    }
}

/// What a step does that gives up: it puts back what it has switched itself. Nothing where there is nothing of it.
///
/// # Errors
/// Why it is left as it is.
pub fn given_up(object: &Value, wanted: &Wanted, work: &Work) -> Result<Option<Next>, String> {
    let Some(own) = written(object).filter(|own| own.work == work.name) else { return Ok(None) };
    work.may_change(KIND, object).map_err(|error| error.message)?;
    if is_as_left(object, &own, &wanted.way) {
        return Ok(Some(put_back(object, &own, &wanted.way, work)));
    }
    Err(format!("somebody has changed it since: it leads to {}", wanted.way.in_words(object)))
}

fn put_back(object: &Value, own: &Switched, way: &Way, work: &Work) -> Next {
    let led = way.led(&restored(object, own), &own.back);
    let fields = json!({ "metadata": metadata(object, work, own.earlier.as_deref()), "spec": way.fields(&led) });
    Next::Lead { led, fields }
}

/// The version that was read, and the marks.
fn metadata(object: &Value, work: &Work, switched: Option<&Switched>) -> Value {
    let mut marks = work.marks();
    // Without the mark it has been taken back, whoever looks.
    marks.insert(SWITCHED.to_owned(), switched.map_or(Value::Null, |switched| Value::String(json!(switched).to_string())));
    json!({ "resourceVersion": version(object), "annotations": marks })
}

fn written(object: &Value) -> Option<Switched> {
    annotation(object, SWITCHED).and_then(|written| serde_json::from_str(written).ok())
}

fn is_by(object: &Value, work: &Work) -> bool {
    annotation(object, FENCE) == Some(&work.attempt.to_string())
}

fn is_as_left(object: &Value, own: &Switched, way: &Way) -> bool {
    digest_of(way, object) == own.left
}

fn digest_of(way: &Way, object: &Value) -> String {
    digest(&way.part(object).to_string())
}

/// What it led to, in words.
fn names(places: &Places) -> String {
    let names: std::collections::BTreeSet<&str> = places.values().flatten().map(String::as_str).collect();
    names.into_iter().collect::<Vec<_>>().join(" and ")
}

/// The pods or the Service to look at before an object leads there.
pub enum Behind {
    /// Pods, by labels.
    Pods(Option<String>),
    /// Endpoints of Services.
    Services(Vec<String>),
}

/// Who would be behind an object that is led elsewhere.
pub fn behind(way: &Way, object: &Value, led: &Value) -> Behind {
    if way.kind == Kind::Service {
        return Behind::Pods(super::super::way::selector(led));
    }
    let (before, after) = (way.places(object), way.places(led));
    let mut names: Vec<String> = after.into_iter().filter(|(place, name)| before.get(place) != Some(name)).filter_map(|(_, name)| name).collect();
    names.sort();
    names.dedup();
    Behind::Services(names)
}

/// Pods behind the slices of a Service that count as ready; of an endpoint that is no pod, its address.
pub fn ready_endpoints(slices: &[Value]) -> Vec<String> {
    let endpoints = slices.iter().flat_map(|slice| slice["endpoints"].as_array().into_iter().flatten());
    let ready = endpoints.filter(|endpoint| endpoint.pointer("/conditions/ready") != Some(&Value::Bool(false)));
    let name = |endpoint: &Value| match text(endpoint, "/targetRef/name") {
        "" => text(endpoint, "/addresses/0").to_owned(),
        name => name.to_owned(),
    };
    let mut names: Vec<String> = ready.map(name).collect();
    names.sort();
    // Of a Service with two families of addresses, each pod is in two slices.
    names.dedup();
    names
}

#[cfg(test)]
mod tests;
