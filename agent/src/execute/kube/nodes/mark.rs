//! Who has cordoned a node, written on it with the same change that cordons it. Pure.
//!
//! ```text
//!  mainstay.dev/cordoned: {"by":"1/node-maintenance-7","wasCordoned":false}
//!                                       the run, in one incarnation of the mesh; whether the node was cordoned before
//!  taint mainstay.dev/maintenance:NoSchedule, and spec.unschedulable
//! ```
//! Only the run that is named there gives the node back, and it gives back no more than it took.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::super::super::StepError;
use super::super::work::{Work, annotation, text, version};

pub const TAINT: &str = "mainstay.dev/maintenance";
pub const CORDONED: &str = "mainstay.dev/cordoned";
/// What cordons a node, and puts a taint of its own there besides.
const NO_SCHEDULE: &str = "NoSchedule";

/// What a run has written on a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cordoned {
    pub by: String,
    /// By somebody else, who may want it so when the run has ended.
    pub was_cordoned: bool,
}

/// What to do with a node as it is.
#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    /// Write this, and look again.
    Change(Value),
    /// Nothing is left to do: how it is, in words.
    Done(&'static str),
    /// It is another run's.
    Refuse(String),
}

impl Cordoned {
    pub fn of(node: &Value) -> Option<Cordoned> {
        annotation(node, CORDONED).and_then(|written| serde_json::from_str(written).ok())
    }

    /// The name of the run alone.
    pub fn run(&self) -> &str {
        self.by.split_once('/').map_or(&*self.by, |(_, run)| run)
    }
}

pub fn is_cordoned(node: &Value) -> bool {
    node.pointer("/spec/unschedulable") == Some(&Value::Bool(true))
}

fn taints(node: &Value) -> impl Iterator<Item = &Value> {
    node.pointer("/spec/taints").and_then(Value::as_array).into_iter().flatten()
}

fn is_ours(taint: &Value) -> bool {
    taint["key"] == TAINT
}

/// How a run comes to have cordoned a node.
///
/// # Errors
/// When a later attempt has changed the node.
pub fn cordon(kind: &str, node: &Value, run: &str, work: &Work) -> Result<Next, StepError> {
    work.may_change(kind, node)?;
    let cordoned = match Cordoned::of(node) {
        Some(cordoned) if cordoned.by == run && is_cordoned(node) && taints(node).any(is_ours) => return Ok(Next::Done("it takes no new pods")),
        Some(cordoned) if cordoned.by == run => cordoned,
        Some(cordoned) => {
            let (name, other) = (text(node, "/metadata/name"), cordoned.run());
            return Ok(Next::Refuse(format!(
                "run {other} has cordoned it and has not given it back: mainstay why {other}; by hand: kubectl uncordon {name} && kubectl \
                 taint node {name} {TAINT}- && kubectl annotate node {name} {CORDONED}-"
            )));
        }
        None => Cordoned { by: run.to_owned(), was_cordoned: is_cordoned(node) },
    };
    let mut all: Vec<Value> = taints(node).filter(|taint| !is_ours(taint)).cloned().collect();
    all.push(json!({ "key": TAINT, "effect": NO_SCHEDULE }));
    let written = serde_json::to_string(&cordoned).map_err(|error| StepError::failed(format!("{kind}: {error}")))?;
    Ok(Next::Change(change(node, work, Some(json!(written)), json!({ "unschedulable": true, "taints": all }))))
}

/// How a run gives a node back that it has cordoned.
///
/// # Errors
/// When a later attempt has changed the node.
pub fn uncordon(kind: &str, node: &Value, run: &str, work: &Work) -> Result<Next, StepError> {
    work.may_change(kind, node)?;
    match Cordoned::of(node) {
        Some(cordoned) if cordoned.by == run => {
            let others: Vec<&Value> = taints(node).filter(|taint| !is_ours(taint)).collect();
            let mut spec = json!({ "taints": if others.is_empty() { Value::Null } else { json!(others) } });
            if !cordoned.was_cordoned {
                spec["unschedulable"] = Value::Null;
            }
            Ok(Next::Change(change(node, work, Some(Value::Null), spec)))
        }
        // An attempt to cordon it that was paused must find that this one came after it.
        _ if work.taken_back.is_some() && !work.has_changed(node) => Ok(Next::Change(change(node, work, None, Value::Null))),
        Some(_) => Ok(Next::Done("another run has cordoned it: it stays so")),
        None if is_cordoned(node) => Ok(Next::Done("it stays cordoned, as it was by somebody else")),
        None => Ok(Next::Done("it takes pods")),
    }
}

/// Why a run may not evict what is on a node, where it is not this run that has cordoned it.
pub fn is_not_to_drain(node: &Value, run: &str) -> Option<String> {
    match Cordoned::of(node) {
        Some(cordoned) if cordoned.by == run && is_cordoned(node) => None,
        Some(cordoned) if cordoned.by == run => Some("somebody has uncordoned it since this run cordoned it".to_owned()),
        Some(cordoned) => Some(format!("run {} has cordoned it, and not this one", cordoned.run())),
        None => Some("this run has not cordoned it: a step kube.cordon has to come first".to_owned()),
    }
}

fn change(node: &Value, work: &Work, cordoned: Option<Value>, spec: Value) -> Value {
    let mut annotations: Map<String, Value> = work.marks();
    if let Some(cordoned) = cordoned {
        annotations.insert(CORDONED.to_owned(), cordoned);
    }
    let metadata = json!({ "resourceVersion": version(node), "annotations": annotations });
    if spec.is_null() { json!({ "metadata": metadata }) } else { json!({ "metadata": metadata, "spec": spec }) }
}

/// What a step writes on a node to say that it is at work there.
pub fn touch(node: &Value, work: &Work) -> Value {
    change(node, work, None, Value::Null)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::super::work::{FENCE, work};
    use super::*;

    const RUN: &str = "1/roll-1";

    fn node(spec: Value) -> Value {
        json!({ "kind": "Node", "metadata": { "name": "n1", "resourceVersion": "7" }, "spec": spec })
    }

    /// The node after a merge patch, as an API server does it.
    fn after(node: &Value, next: Next) -> Value {
        fn merge(into: &mut Value, patch: &Value) {
            let Some(patch) = patch.as_object() else { return into.clone_from(patch) };
            if !into.is_object() {
                *into = json!({});
            }
            for (name, value) in patch {
                if value.is_null() {
                    into.as_object_mut().unwrap().remove(name);
                } else {
                    merge(&mut into[name], value);
                }
            }
        }
        let Next::Change(patch) = next else { panic!("{next:?}") };
        let mut node = node.clone();
        merge(&mut node, &patch);
        node
    }

    fn taken_back(attempt: &str) -> Work {
        Work { name: "1/roll-1/s/undo".into(), taken_back: Some("1/roll-1/s".into()), ..work(attempt, "roll-1") }
    }

    #[test]
    fn a_node_is_cordoned_once_and_given_back_as_it_was() {
        let before = node(json!({ "taints": [{ "key": "gpu", "effect": "NoSchedule" }] }));
        let first = work("1.5", "roll-1");
        let cordoned = after(&before, cordon("k", &before, RUN, &first).unwrap());
        assert_eq!(cordoned["spec"]["unschedulable"], true);
        assert_eq!(cordoned["spec"]["taints"], json!([{ "key": "gpu", "effect": "NoSchedule" }, { "key": TAINT, "effect": "NoSchedule" }]));
        let again = cordon("k", &cordoned, RUN, &work("1.6", "roll-1")).unwrap();
        assert_eq!(again, Next::Done("it takes no new pods"), "another replica finds it so");
        assert_eq!(is_not_to_drain(&cordoned, RUN), None);
        let back = after(&cordoned, uncordon("k", &cordoned, RUN, &work("1.7", "roll-1")).unwrap());
        assert_eq!(back["spec"], before["spec"]);
        assert!(Cordoned::of(&back).is_none());
        assert_eq!(uncordon("k", &back, RUN, &work("1.8", "roll-1")).unwrap(), Next::Done("it takes pods"));
        let refused = cordon("k", &back, RUN, &first).unwrap_err().message;
        assert!(refused.contains("attempt 1.7, which is later"), "one that was paused changes nothing any more: {refused}");
        let plain = node(json!({}));
        let back = after(&plain, cordon("k", &plain, RUN, &first).unwrap());
        assert_eq!(after(&back, uncordon("k", &back, RUN, &taken_back("1.9")).unwrap())["spec"], json!({}), "no taints are left");
    }

    #[test]
    fn what_somebody_else_has_cordoned_stays_so() {
        let theirs = node(json!({ "unschedulable": true, "taints": [{ "key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule" }] }));
        let cordoned = after(&theirs, cordon("k", &theirs, RUN, &work("1.5", "roll-1")).unwrap());
        assert!(Cordoned::of(&cordoned).unwrap().was_cordoned);
        for back in [work("1.6", "roll-1"), taken_back("1.6")] {
            let back = after(&cordoned, uncordon("k", &cordoned, RUN, &back).unwrap());
            assert_eq!(back["spec"], theirs["spec"]);
        }
        assert_eq!(
            uncordon("k", &theirs, RUN, &work("1.6", "roll-1")).unwrap(),
            Next::Done("it stays cordoned, as it was by somebody else"),
            "this run has not touched it"
        );
    }

    #[test]
    fn another_runs_node_is_left_alone() {
        let before = node(json!({}));
        let cordoned = after(&before, cordon("k", &before, RUN, &work("1.5", "roll-1")).unwrap());
        let Next::Refuse(why) = cordon("k", &cordoned, "1/roll-2", &work("1.9", "roll-2")).unwrap() else { panic!("refused") };
        assert!(
            why.contains("run roll-1 has cordoned it") && why.contains("kubectl uncordon n1 && kubectl taint node n1 mainstay.dev/maintenance- &&"),
            "{why}"
        );
        assert_eq!(uncordon("k", &cordoned, "1/roll-2", &work("1.9", "roll-2")).unwrap(), Next::Done("another run has cordoned it: it stays so"));
        assert!(is_not_to_drain(&cordoned, "1/roll-2").unwrap().contains("run roll-1 has cordoned it"));
        assert!(is_not_to_drain(&before, RUN).unwrap().contains("kube.cordon has to come first"));
        assert!(is_not_to_drain(&cordoned, "2/roll-1").is_some(), "a recovered mesh may give a run's name anew");
        let mut opened = cordoned;
        opened["spec"] = json!({});
        assert!(is_not_to_drain(&opened, RUN).unwrap().contains("somebody has uncordoned it"));
        let again = after(&opened, cordon("k", &opened, RUN, &work("1.6", "roll-1")).unwrap());
        assert!(is_cordoned(&again) && !Cordoned::of(&again).unwrap().was_cordoned, "the step that is to cordon it does so again");
    }

    #[test]
    fn what_is_taken_back_before_it_was_done_is_not_done_any_more() {
        let before = node(json!({}));
        let fenced = after(&before, uncordon("k", &before, RUN, &taken_back("1.6")).unwrap());
        assert_eq!(fenced["metadata"]["annotations"][FENCE], "1.6");
        assert_eq!(uncordon("k", &fenced, RUN, &taken_back("1.6")).unwrap(), Next::Done("it takes pods"));
        assert!(cordon("k", &fenced, RUN, &work("1.5", "roll-1")).is_err());
    }
}
