//! Evaluates the expressions of a step: off the decision path, with a result that goes into the log.
//!
//! In: the state, and a step whose needs have ended. Out: a [`Command::ResolveStep`] with the parameters filled
//! in, or that the step is omitted, or why it fails. The leader evaluates; everybody applies the result.

mod foreseen;
mod variables;

pub use foreseen::{Foreseen, differs_by_target, foresee, foresee_undo};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::catalogue;
use crate::command::Command;
use crate::expr::{Expression, template};
use crate::id::{RunId, StepName, Target};
use crate::plan::{Plan, Step, UndoStep};
use crate::rollout;
use crate::state::State;
use crate::state::resolution::Resolution;
use crate::state::run::{Direction, Run};

/// Expressions that are to be evaluated: of one step, on all of its targets that have no result yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evaluation {
    pub run: RunId,
    pub step: StepName,
    pub direction: Direction,
}

/// Bytes of results in one command; further targets come with the next.
const RESULTS_BYTES: usize = 96 << 10;
/// Targets in one command.
const RESULTS: usize = 500;
/// Marks an expression within a parameter.
const MARK: &str = "${{";

/// Whether a step has expressions in this direction.
#[must_use]
pub fn has_expressions(step: &Step, direction: Direction) -> bool {
    match direction {
        Direction::Do => step.condition.is_some() || step.with.values().any(has_mark),
        Direction::Undo => step.undo.as_ref().is_some_and(|undo| undo.with.values().any(has_mark)),
    }
}

/// The steps that a step's expressions read.
#[must_use]
pub fn steps_read(step: &Step) -> Vec<StepName> {
    let references = variables::references(step, Direction::Do);
    let paths = references.iter().flat_map(|references| &references.paths);
    paths.filter(|path| path.first().is_some_and(|root| root == "steps")).filter_map(|path| path.get(1)?.parse().ok()).collect()
}

fn has_mark(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains(MARK),
        Value::Array(items) => items.iter().any(has_mark),
        Value::Object(fields) => fields.values().any(has_mark),
        _ => false,
    }
}

/// Evaluates. Nothing when there is nothing left to evaluate.
#[must_use]
pub fn evaluate(state: &State, evaluation: &Evaluation) -> Option<Command> {
    let run = state.runs.get(&evaluation.run).filter(|run| run.accepts(evaluation.direction))?;
    let step = run.plan.step(&evaluation.step)?;
    let work = run.work.get(&step.name)?;
    let open: Vec<&Target> = work
        .iter()
        .filter(|(target, work)| {
            work.state(evaluation.direction).is_waiting()
                && run.resolved.get(&step.name, Some(target), evaluation.direction).is_none()
                && (evaluation.direction == Direction::Undo || rollout::has_what_it_needs_here(run, step, target))
        })
        .map(|(target, _)| target)
        .collect();
    if open.is_empty() {
        return None;
    }
    let mut resolved = Vec::new();
    if variables::depends_on_target(run, step, evaluation.direction) {
        let mut bytes = 0;
        for target in open.into_iter().take(RESULTS) {
            let resolution = resolve(state, run, step, Some(target), evaluation.direction);
            bytes += serde_json::to_string(&resolution).map_or(0, |text| text.len()) + 64;
            if bytes > RESULTS_BYTES && !resolved.is_empty() {
                break;
            }
            resolved.push((Some(target.clone()), resolution));
        }
    } else {
        resolved.push((None, resolve(state, run, step, None, evaluation.direction)));
    }
    let Evaluation { run, step, direction } = evaluation.clone();
    Some(Command::ResolveStep { run, step, direction, resolved })
}

/// The connections of steps that name them by an expression over the inputs, before a run starts. Of a step whose expression
/// comes to nothing it is empty: it has nothing to do.
///
/// # Errors
/// What is wrong with the first that has no value.
pub fn connections(plan: &Plan, inputs: &std::collections::BTreeMap<String, Value>) -> Result<std::collections::BTreeMap<StepName, String>, String> {
    let variables = serde_json::json!({ "inputs": inputs });
    let mut connections = std::collections::BTreeMap::new();
    for step in &plan.steps {
        let Some(value) = step.with.get(catalogue::CONNECTION_PARAM).filter(|value| has_mark(value)) else { continue };
        let filled = template::fill_value(value, &variables).map_err(|error| format!("step {}: {}", step.name, error.message))?;
        let problem = || format!("step {}: `connection` is {filled}, and should be the name of a connection", step.name);
        let name = filled.as_str().ok_or_else(problem)?;
        if !name.is_empty() && !catalogue::ParamType::Connection.admits(&filled) {
            return Err(problem());
        }
        connections.insert(step.name.clone(), name.to_owned());
    }
    Ok(connections)
}

fn resolve(state: &State, run: &Run, step: &Step, target: Option<&Target>, direction: Direction) -> Resolution {
    let failed = |message: String| Resolution::Fail { message };
    let variables = variables::of(state, run, step, target, direction);
    if direction == Direction::Do
        && let Some(condition) = &step.condition
    {
        match Expression::parse(condition).and_then(|condition| condition.evaluate_bool(&variables)) {
            Ok(true) => {}
            Ok(false) => return Resolution::Omit { reason: format!("its `if` is false: {condition}") },
            Err(error) => return failed(format!("its `if` has no answer: {}", error.message)),
        }
    }
    match parameters(step, direction, &variables) {
        Ok(with) => Resolution::Go { with },
        Err(problem) => failed(problem),
    }
}

/// Parameters with their expressions filled in; nothing where there are none. The error is what is wrong with the
/// first that cannot be.
fn parameters(step: &Step, direction: Direction, variables: &Value) -> Result<Option<Map<String, Value>>, String> {
    let (uses, with) = match (direction, &step.undo) {
        (Direction::Do, _) => (step.uses.as_str(), &step.with),
        (Direction::Undo, Some(UndoStep { uses, with, .. })) => (uses.as_str(), with),
        (Direction::Undo, None) => return Ok(None),
    };
    if !with.values().any(has_mark) {
        return Ok(None);
    }
    let mut filled = Map::new();
    for (name, value) in with {
        let value = template::fill_value(value, variables).map_err(|error| format!("`{name}` has no value: {}", error.message))?;
        let ty = catalogue::kind(uses).and_then(|kind| kind.param(name)).map(|param| param.ty);
        filled.insert(name.clone(), ty.map_or(value.clone(), |ty| ty.fit(value)));
    }
    if let Some(problem) = option_in_disguise(with, &filled) {
        return Err(problem);
    }
    let problems = catalogue::kind(uses).map(|kind| kind.check(&filled)).unwrap_or_default();
    match problems.into_iter().next() {
        Some((_, problem)) => Err(format!("after its expressions are filled in, {problem}")),
        None => Ok(Some(filled)),
    }
}

/// An argument that an expression made, and that the program would take for an option. What somebody gives as
/// an input must stay a value.
fn option_in_disguise(with: &Map<String, Value>, filled: &Map<String, Value>) -> Option<String> {
    let (before, after) = (with.get("command")?.as_array()?, filled.get("command")?.as_array()?);
    let only_values_follow = after.iter().position(|argument| argument == "--").unwrap_or(after.len());
    before.iter().zip(after).enumerate().take(only_values_follow).find_map(|(index, (written, argument))| {
        let from_expression = written.as_str().is_some_and(|text| text.trim_start().starts_with(MARK));
        let text = argument.as_str()?;
        if !from_expression {
            return None;
        }
        if index == 0 {
            return Some("the program of a command is not named by an expression: write it out".to_owned());
        }
        text.starts_with('-').then(|| {
            format!(
                "argument {index} of the command came from an expression and begins with `-`, so that the program would take it for an option: \
                 put `--` before it, or write it as part of an argument such as --name=${{{{ … }}}}"
            )
        })
    })
}
