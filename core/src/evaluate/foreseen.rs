//! What is known of a step's expressions before its turn has come: for a preview, and for whoever is asked to
//! agree to what comes later. What a step will hand on that has not ended is unknown, and nothing stands in for it.

use serde_json::{Map, Value};

use super::{has_expressions, parameters, variables};
use crate::expr::{Expression, template};
use crate::id::Target;
use crate::plan::Step;
use crate::state::State;
use crate::state::run::{Direction, Run};

/// What can be said now.
#[derive(Debug, Clone, PartialEq)]
pub struct Foreseen {
    /// What its `if` is; nothing where there is none, or where only steps that have not ended decide it.
    pub condition: Option<bool>,
    /// Parameters, filled in as far as their values are known.
    pub with: Map<String, Value>,
    /// Why it would fail before anything is done.
    pub problem: Option<String>,
}

/// Looks at a step on a target.
#[must_use]
pub fn foresee(state: &State, run: &Run, step: &Step, target: Option<&Target>) -> Foreseen {
    let mut foreseen = Foreseen { condition: None, with: step.with.clone(), problem: None };
    if !has_expressions(step, Direction::Do) {
        return foreseen;
    }
    let variables = variables::of(state, run, step, target, Direction::Do);
    let unknown = |path: &[String]| is_unknown(run, path);
    if let Some(condition) = &step.condition {
        match Expression::parse(condition).and_then(|condition| condition.evaluate_known(&variables, &unknown)) {
            Ok(known) => foreseen.condition = known,
            Err(error) => foreseen.problem = Some(format!("its `if` has no answer: {}", error.message)),
        }
    }
    for value in foreseen.with.values_mut() {
        // Why a value cannot be filled in is told below, once everything that it reads is known.
        if let Ok(filled) = template::fill_known(value, &variables, &unknown) {
            *value = filled;
        }
    }
    let all_known = !variables::references(step, Direction::Do).iter().flat_map(|references| &references.paths).any(|path| unknown(path));
    if foreseen.problem.is_none() && foreseen.condition != Some(false) && all_known {
        match parameters(step, Direction::Do, &variables) {
            Ok(Some(with)) => foreseen.with = with,
            Ok(None) => {}
            Err(problem) => foreseen.problem = Some(problem),
        }
    }
    foreseen
}

/// Parameters of the step that takes one back, filled in as far as their values are known; what it itself hands on
/// to its undo is known only when it has ended.
#[must_use]
pub fn foresee_undo(state: &State, run: &Run, step: &Step, target: Option<&Target>) -> Map<String, Value> {
    let mut with = step.undo.as_ref().map(|undo| undo.with.clone()).unwrap_or_default();
    if has_expressions(step, Direction::Undo) {
        let variables = variables::of(state, run, step, target, Direction::Undo);
        for value in with.values_mut() {
            if let Ok(filled) = template::fill_known(value, &variables, &|path| is_unknown(run, path)) {
                *value = filled;
            }
        }
    }
    with
}

/// Whether the expressions of a step come to something else on each target.
#[must_use]
pub fn differs_by_target(run: &Run, step: &Step, direction: Direction) -> bool {
    variables::depends_on_target(run, step, direction)
}

/// Whether a path reads a step that has not ended everywhere.
fn is_unknown(run: &Run, path: &[String]) -> bool {
    let [root, rest @ ..] = path else { return false };
    let is_open = |name: &str| run.work.iter().any(|(step, targets)| step.as_str() == name && targets.values().any(|work| !work.forward.is_over()));
    root == "steps" && rest.first().is_none_or(|name| is_open(name))
}
