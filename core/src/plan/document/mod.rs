//! From YAML to a plan.
//!
//! ```text
//! source ─ tree ─▶ values with places ─ check ─▶ of the declared shape ─ sections ─▶ Plan
//!                                          └────────── problems ──────────┘
//! ```
//!
//! `tree` reads YAML within bounds. Each section (`step`, `gate`, …) declares its fields in the words of
//! `shape`, and reads them; `check` holds a document against the declarations. Every problem is collected before
//! any is reported.

mod check;
mod expressions;
mod form;
mod gate;
mod graph;
mod input;
mod parameters;
mod path;
mod references;
mod schedule;
pub(super) mod shape;
mod step;
mod strategy;
mod time;
mod tree;

#[cfg(test)]
pub(super) use self::form::BOOLEANS;

use sha2::{Digest, Sha256};

use self::check::Checker;
use self::form::INPUT_NAME;
pub(super) use self::form::PLAN_NAME as PLAN;
use self::shape::{Field, Object, Shape};
use self::tree::{Held, Node};
use super::{API_VERSION, DOCUMENT_KIND, Plan, PlanError, RunOn};
use crate::bounds;
use crate::catalogue;

const METADATA: Object = Object {
    name: "metadata",
    doc: "What the plan is called.",
    fields: &[
        Field::needed("name", Shape::Form(&PLAN), "Name of the plan in the mesh"),
        Field::maybe("description", input::DESCRIPTION, "", "What it is for"),
    ],
};

pub(super) const SPEC: Object = Object {
    name: "spec",
    doc: "What is done, and when.",
    fields: &[
        Field::maybe("inputs", Shape::Map(&INPUT_NAME, &Shape::Object(&input::INPUT), bounds::INPUTS), "{}", "What a run is given, by name"),
        Field::maybe("gates", gate::GATES, "[]", "What must hold before each step begins"),
        Field::maybe(
            "strategy",
            Shape::Object(&strategy::STRATEGY),
            "all targets at once",
            "In which order and how many at a time nodes go through all steps",
        ),
        Field::maybe("schedules", Shape::List(&Shape::Object(&schedule::SCHEDULE), 0, bounds::SCHEDULES), "[]", "When runs start by themselves"),
        Field::maybe(
            "concurrency",
            Shape::Words(schedule::CONCURRENCY),
            "forbid",
            "What a schedule does while an earlier run of the plan has not ended",
        ),
        Field::maybe("history", Shape::Object(&schedule::HISTORY), "{ successful: 20, failed: 20 }", "How many ended runs are kept"),
        Field::maybe("notify", Shape::List(&Shape::Object(&schedule::NOTIFY), 0, bounds::NOTIFY), "[]", "Whom to tell of what"),
        Field::needed("steps", Shape::List(&Shape::Object(&step::STEP), 1, bounds::PLAN_STEPS), "What is done"),
    ],
};

/// The whole document.
pub(super) const DOCUMENT: Object = Object {
    name: "document",
    doc: "Declared maintenance.",
    fields: &[
        Field::needed("apiVersion", Shape::Words(&[(API_VERSION, "The language of this version")]), "Which language the plan is written in"),
        Field::needed("kind", Shape::Words(&[(DOCUMENT_KIND, "A plan")]), "What the document is"),
        Field::needed("metadata", Shape::Object(&METADATA), METADATA.doc),
        Field::needed("spec", Shape::Object(&SPEC), SPEC.doc),
    ],
};

/// Parses and checks one plan document.
pub fn parse(source: &str) -> Result<Plan, PlanError> {
    if source.len() > bounds::PLAN_BYTES {
        return Err(PlanError::whole(format!("the plan has {} bytes, and may have {}", source.len(), bounds::PLAN_BYTES)));
    }
    let document = tree::read(source)?;
    let mut c = Checker::new(source);
    if matches!(document.held, Held::Null) {
        c.problem(document.at, "the document ends here and is not complete: it is empty, or was cut off");
        c.end()?;
        return Err(PlanError::whole("this is not a plan"));
    }
    c.check("document", &document, &Shape::Object(&DOCUMENT));
    let plan = plan(&mut c, &document);
    c.end()?;
    let plan = plan.ok_or_else(|| PlanError::whole("this is not a plan"))?;
    let bytes = plan.bytes();
    if bytes > bounds::COMMAND_BYTES {
        return Err(PlanError::whole(format!(
            "the plan takes {bytes} bytes with all that its aliases repeat, and may take {}",
            bounds::COMMAND_BYTES
        )));
    }
    Ok(plan)
}

/// A YAML value by itself, as a declaration writes a default or an example.
pub(crate) fn value(text: &str) -> Option<serde_json::Value> {
    tree::read(text).ok().map(|node| node.value()).filter(|value| !value.is_null())
}

fn plan(c: &mut Checker<'_>, document: &Node) -> Option<Plan> {
    let metadata = document.field("metadata")?;
    let spec = document.field("spec")?;
    let list = spec.field("steps").map(Node::items).unwrap_or_default();
    if list.len() > bounds::PLAN_STEPS {
        return None;
    }
    graph::check(c, list);
    let inputs = input::inputs(c, spec.field("inputs"));
    let strategy = spec.field("strategy").map(|node| (strategy::strategy(c, node), node));
    if strategy.is_some() {
        graph::rollout(c, list);
    }
    let whole = strategy.as_ref().map(|(strategy, _)| strategy);
    let gates = gate::gates(c, spec.field("gates"), whole.is_some_and(|strategy| !strategy.waves.is_empty()));
    let mut steps: Vec<_> = list.iter().filter_map(|node| step::step(c, node, whole)).collect();
    graph::keep_from_there_on(&mut steps);
    expressions::check(c, list, &inputs);
    // A kind that there is not may have been meant to be done to nodes.
    let is_known = |step: &Node| step.field("uses").and_then(Node::text).is_some_and(|kind| catalogue::kind(kind).is_some());
    let goes_nowhere = list.iter().all(is_known) && steps.iter().all(|step| step.run_on != RunOn::Node);
    if let Some((_, at)) = strategy.as_ref().filter(|_| goes_nowhere) {
        c.problem(at.at, "a plan's strategy is about nodes, and no step of this plan is done to nodes");
    }
    let schedules = schedule::schedules(c, spec.field("schedules"), &inputs);
    if let Some(at) = spec.field("schedules").filter(|node| !node.items().is_empty()) {
        schedule::check_starter(c, at, &steps);
    }
    Some(Plan {
        name: metadata.field("name").and_then(Node::parsed)?,
        description: metadata.field("description").and_then(Node::text).unwrap_or_default().to_owned(),
        inputs,
        steps,
        gates,
        strategy: strategy.map(|(strategy, _)| strategy),
        schedules,
        concurrency: schedule::concurrency(spec.field("concurrency")),
        history: schedule::history(spec.field("history")),
        notify: schedule::notify(spec.field("notify")),
        source: c.source.to_owned(),
        digest: Sha256::digest(c.source.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect(),
    })
}
