//! Which piece of work an object was last changed by, written on the object itself.
//!
//! ```text
//!  mainstay.dev/fence: 1.5123            the attempt that changed it last; attempts are numbered as they are made
//!  mainstay.dev/work:  1/tidy-7/restart  the run's step, in one incarnation of the mesh; the same for each of its attempts
//!                                        (what takes it back is other work: 1/tidy-7/restart/undo)
//! ```
//! An attempt changes nothing that a later one has changed: it was paused, or given up, and does not know of it. What
//! an earlier attempt at the same work has done is not done again: a replica that takes over finds it so.

use mainstay_core::id::AttemptId;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::super::{Context, StepError};

pub const FENCE: &str = "mainstay.dev/fence";
pub const WORK: &str = "mainstay.dev/work";

/// What this attempt is an attempt at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Work {
    pub attempt: AttemptId,
    pub name: String,
    /// The work that this takes back, where it does.
    pub taken_back: Option<String>,
}

impl Work {
    /// # Errors
    /// When the attempt has no number: it is of no mesh.
    pub fn of(kind: &str, context: &Context) -> Result<Work, StepError> {
        let labels = &context.labels;
        let attempt: AttemptId =
            labels.attempt.parse().map_err(|_| StepError::refused(format!("{kind}: this attempt has no number: {}", labels.attempt)))?;
        // A mesh that was recovered counts its runs on from what it knew: another run may have the same name.
        let step = format!("{}/{}/{}", attempt.0.incarnation, labels.run, labels.step);
        Ok(if labels.undoes {
            Work { attempt, name: format!("{step}/undo"), taken_back: Some(step) }
        } else {
            Work { attempt, name: step, taken_back: None }
        })
    }

    /// Refuses to change what a later attempt has changed.
    ///
    /// # Errors
    /// When one has.
    pub fn may_change(&self, kind: &str, object: &Value) -> Result<(), StepError> {
        let fence = annotation(object, FENCE).and_then(|fence| fence.parse::<AttemptId>().ok());
        match fence.filter(|fence| *fence > self.attempt) {
            Some(fence) => Err(StepError::failed(format!(
                "{kind}: {} was changed by attempt {fence}, which is later than this one, {}: nothing was done",
                name_of(object),
                self.attempt
            ))),
            None => Ok(()),
        }
    }

    /// Whether it was an attempt at this work that changed the object last.
    pub fn has_changed(&self, object: &Value) -> bool {
        annotation(object, WORK) == Some(&self.name)
    }

    /// Whether it was this very attempt.
    pub fn is_marked(&self, object: &Value) -> bool {
        self.has_changed(object) && annotation(object, FENCE) == Some(&self.attempt.to_string())
    }

    /// What a change of an object writes on it.
    pub fn marks(&self) -> Map<String, Value> {
        let marks = json!({ FENCE: self.attempt.to_string(), WORK: self.name });
        marks.as_object().cloned().unwrap_or_default()
    }

    /// A short name that is the same for each attempt at this work, and no other's.
    pub fn digest(&self) -> String {
        digest(&self.name)
    }
}

/// Ten hexadecimal digits.
pub fn digest(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().take(5).map(|byte| format!("{byte:02x}")).collect()
}

pub fn annotation<'o>(object: &'o Value, name: &str) -> Option<&'o str> {
    object.pointer("/metadata/annotations")?.get(name)?.as_str()
}

pub fn text<'o>(object: &'o Value, pointer: &str) -> &'o str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

pub fn number(object: &Value, pointer: &str) -> i64 {
    object.pointer(pointer).and_then(Value::as_i64).unwrap_or_default()
}

pub fn version(object: &Value) -> &str {
    text(object, "/metadata/resourceVersion")
}

/// `shop/Deployment/web`.
pub fn name_of(object: &Value) -> String {
    let parts = [text(object, "/metadata/namespace"), text(object, "/kind"), text(object, "/metadata/name")];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
pub fn work(attempt: &str, run: &str) -> Work {
    let attempt: AttemptId = attempt.parse().expect("a number");
    Work { attempt, name: format!("{}/{run}/s", attempt.0.incarnation), taken_back: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_attempt_has_the_last_word_and_an_earlier_one_of_the_same_work_is_known() {
        let first = work("1.9", "tidy-1");
        let marked = |work: &Work| json!({ "kind": "Deployment", "metadata": { "name": "web", "annotations": work.marks() } });
        let (again, other, recovered) = (work("1.10", "tidy-1"), work("1.10", "tidy-2"), work("2.1", "tidy-1"));
        assert!(again.may_change("k", &marked(&first)).is_ok() && again.has_changed(&marked(&first)));
        assert!(other.may_change("k", &marked(&first)).is_ok() && !other.has_changed(&marked(&first)));
        assert!(!recovered.has_changed(&marked(&first)), "a recovered mesh may give a run's name anew");
        let refused = first.may_change("k", &marked(&other)).unwrap_err().message;
        assert!(refused.contains("Deployment/web was changed by attempt 1.10, which is later than this one, 1.9"), "{refused}");
        assert!(first.may_change("k", &json!({ "metadata": { "annotations": { FENCE: "?" } } })).is_ok());
        assert!(again.digest() == first.digest() && again.digest() != other.digest() && again.digest().len() == 10);
    }
}
