//! What an expression can read: inputs, what earlier steps came to, the target, the run. Only the steps that
//! the expressions name are put in, so that a large run costs no more than a small one.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::catalogue;
use crate::expr::{Expression, References, template};
use crate::id::Target;
use crate::plan::{RunOn, Step};
use crate::state::State;
use crate::state::attempt::Phase;
use crate::state::run::{Direction, Outcome, Run, Work};

/// Targets of one step that an expression can walk over.
const TARGETS: usize = 1_000;

/// Whether the step's expressions come to something else on each target.
pub(super) fn depends_on_target(run: &Run, step: &Step, direction: Direction) -> bool {
    references(step, direction).iter().flat_map(|references| &references.paths).any(|path| match path.first().map(String::as_str) {
        Some("target") => true,
        Some("steps") => path.get(1).is_some_and(|name| step.run_on != RunOn::Once && is_by(run, name, step.run_on)),
        _ => false,
    })
}

/// Whether the step of that name is done to the same targets.
fn is_by(run: &Run, name: &str, run_on: RunOn) -> bool {
    run.plan.steps.iter().any(|step| step.name.as_str() == name && step.run_on == run_on)
}

/// What all expressions of a step read. They were checked when the plan was applied.
pub(super) fn references(step: &Step, direction: Direction) -> Vec<References> {
    let mut all = Vec::new();
    let with = match direction {
        Direction::Do => {
            all.extend(step.condition.as_ref().and_then(|text| Expression::parse(text).ok()).map(|condition| condition.references().clone()));
            Some(&step.with)
        }
        Direction::Undo => step.undo.as_ref().map(|undo| &undo.with),
    };
    for value in with.into_iter().flat_map(Map::values) {
        collect(value, &mut all);
    }
    all
}

fn collect(value: &Value, all: &mut Vec<References>) {
    match value {
        Value::String(text) => {
            if let Ok(Some(template)) = template::Template::parse(text) {
                all.extend(template.references().cloned());
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, all)),
        Value::Object(fields) => fields.values().for_each(|field| collect(field, all)),
        _ => {}
    }
}

/// The variables of a step on a target.
pub(super) fn of(state: &State, run: &Run, step: &Step, target: Option<&Target>, direction: Direction) -> Value {
    let named: BTreeSet<String> = references(step, direction)
        .iter()
        .flat_map(|references| &references.paths)
        .filter(|path| path.first().is_some_and(|root| root == "steps"))
        .filter_map(|path| path.get(1).cloned())
        .collect();
    let steps: Map<String, Value> = run
        .plan
        .steps
        .iter()
        .filter(|other| named.contains(other.name.as_str()))
        .map(|other| (other.name.to_string(), of_step(state, run, other, target)))
        .collect();
    json!({
        "inputs": run.inputs,
        "steps": steps,
        "target": target.map_or(Value::Null, of_target),
        "run": { "id": run.id.to_string(), "plan": run.id.plan.to_string(), "number": run.id.number, "revision": run.revision, "by": run.by },
    })
}

fn of_target(target: &Target) -> Value {
    match target {
        Target::Node(agent) => json!({ "name": target.to_string(), "cluster": agent.cluster.to_string(), "node": agent.name() }),
        Target::Cluster(cluster) => json!({ "name": target.to_string(), "cluster": cluster.to_string(), "node": "" }),
        Target::Connection(name) => json!({ "name": name.to_string(), "cluster": "", "node": "" }),
        Target::Once => json!({ "name": target.to_string(), "cluster": "", "node": "" }),
    }
}

/// What a step came to: on the same target where it has that, else as a whole.
fn of_step(state: &State, run: &Run, step: &Step, target: Option<&Target>) -> Value {
    let Some(works) = run.work.get(&step.name) else { return Value::Null };
    let here = target.and_then(|target| works.get(target)).or_else(|| if works.len() == 1 { works.values().next() } else { None });
    let worst = works.values().map(|work| work.forward.verdict()).max().unwrap_or_default();
    let targets: Vec<Value> = works
        .iter()
        .take(TARGETS)
        .map(|(target, work)| {
            json!({
                "target": of_target(target)["name"],
                "state": work.forward.word(),
                "verdict": work.forward.verdict().as_str(),
                "outputs": outputs(state, step, work),
            })
        })
        .collect();
    let mut fields = Map::new();
    fields.insert("verdict".into(), here.map_or(worst, |work| work.forward.verdict()).as_str().into());
    if let Some(work) = here {
        fields.insert("state".into(), work.forward.word().into());
        fields.insert("outputs".into(), outputs(state, step, work));
    }
    fields.insert("targets".into(), Value::Array(targets));
    Value::Object(fields)
}

/// Outputs of the newest forward attempt that succeeded, as far as they are declared and of their type.
fn outputs(state: &State, step: &Step, work: &Work) -> Value {
    let attempts = work.attempts.iter().rev().filter_map(|id| state.attempts.get(id));
    let done = attempts.filter(|attempt| attempt.direction == Direction::Do).find_map(|attempt| match &attempt.phase {
        Phase::Ended(Outcome::Succeeded(report)) => Some(report),
        _ => None,
    });
    let sound = done.zip(catalogue::kind(&step.uses)).map(|(report, kind)| kind.sound_outputs(&report.outputs));
    Value::Object(sound.unwrap_or_default())
}
