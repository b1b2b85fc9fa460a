//! The names of steps and what they need: unique, there, and in no circle, also of nodes that wait for each other.

use std::collections::{BTreeMap, BTreeSet};

use super::check::{Checker, shortened};
use super::step::run_on;
use super::tree::Node;
use crate::catalogue;
use crate::id::StepName;
use crate::plan::{OnFailure, RunOn, Step, graph};

pub(super) fn check(c: &mut Checker<'_>, steps: &[Node]) {
    let name = |step: &Node| step.field("name").and_then(Node::text).unwrap_or_default().to_owned();
    let mut seen = BTreeSet::new();
    for step in steps {
        let Some(at) = step.field("name").filter(|node| node.text().is_some()) else { continue };
        if !seen.insert(name(step)) {
            c.problem(at.at, format!("there are two steps named `{}`", shortened(&name(step))));
        }
    }
    for step in steps {
        let mut needed = BTreeSet::new();
        for need in step.field("needs").map(Node::items).unwrap_or_default() {
            let Some(word) = need.text().filter(|word| word.parse::<StepName>().is_ok()) else { continue };
            if !seen.contains(word) {
                let meant = catalogue::nearest(word, seen.iter().map(String::as_str));
                let hint = meant.map_or_else(String::new, |meant| format!("; did you mean `{meant}`?"));
                c.problem(need.at, format!("there is no step `{word}` to need{hint}"));
            }
            if !needed.insert(word) {
                c.problem(need.at, format!("`{word}` is given twice: leave out one"));
            }
        }
    }
    circle(c, steps);
}

/// Where a failure of a step leaves in place what was done before, one of a step that needs it does so too: what came
/// before both would be taken back by it all the same.
pub(super) fn keep_from_there_on(steps: &mut [Step]) {
    loop {
        let keeping: BTreeSet<StepName> = steps.iter().filter(|step| step.on_failure == OnFailure::Keep).map(|step| step.name.clone()).collect();
        let before = keeping.len();
        let needs_one = |step: &&mut Step| step.needs.iter().any(|need| keeping.contains(need));
        steps.iter_mut().filter(needs_one).for_each(|step| step.on_failure = OnFailure::Keep);
        if steps.iter().filter(|step| step.on_failure == OnFailure::Keep).count() == before {
            return;
        }
    }
}

/// A rollout that could not come to its end: each node goes through all of its steps before the next one begins, and one
/// of these waits for something that waits for all nodes.
pub(super) fn rollout(c: &mut Checker<'_>, steps: &[Node]) {
    let by_name: BTreeMap<&str, &Node> = steps.iter().filter_map(|step| Some((step.field("name")?.text()?, step))).collect();
    let mut before: BTreeMap<&str, Option<&str>> = BTreeMap::new();
    for step in steps.iter().filter(|step| is_in_rollout(step)) {
        for need in step.field("needs").map(Node::items).unwrap_or_default() {
            let Some((between, node)) = need.text().and_then(|word| by_name.get_key_value(word)).filter(|(_, node)| !is_in_rollout(node)) else {
                continue;
            };
            if let Some(first) = *before.entry(between).or_insert_with(|| in_rollout_before(&by_name, node)) {
                let name = step.field("name").and_then(Node::text).unwrap_or_default();
                c.problem(
                    need.at,
                    format!(
                        "no node would come to its end: with the plan's `strategy` each goes through `{first}` and `{name}` before the next one \
                         begins, and `{between}` between them waits for `{first}` on all nodes; let `{name}` not wait for it, or give steps a `strategy` each instead of the plan's"
                    ),
                );
            }
        }
    }
}

fn is_in_rollout(step: &Node) -> bool {
    let kind = step.field("uses").and_then(Node::text).and_then(catalogue::kind);
    kind.is_some_and(|kind| run_on(kind, step.field("runOn")) == RunOn::Node)
}

/// A step of the rollout that another one needs, directly or not.
fn in_rollout_before<'a>(by_name: &BTreeMap<&'a str, &'a Node>, of: &'a Node) -> Option<&'a str> {
    let (mut open, mut seen) = (vec![of], BTreeSet::new());
    while let Some(step) = open.pop() {
        for need in step.field("needs").map(Node::items).unwrap_or_default().iter().filter_map(Node::text) {
            let Some(node) = by_name.get(need).filter(|_| seen.insert(need)) else { continue };
            if is_in_rollout(node) {
                return Some(need);
            }
            open.push(node);
        }
    }
    None
}

/// Looks at what is sound of names and needs, so that a circle is not told only when the rest has been mended.
fn circle(c: &mut Checker<'_>, steps: &[Node]) {
    let name = |step: &Node| step.field("name").and_then(Node::parsed::<StepName>);
    let names: BTreeSet<StepName> = steps.iter().filter_map(name).collect();
    let needs = |step: &Node| -> Vec<StepName> {
        let needs = step.field("needs").map(Node::items).unwrap_or_default().iter().filter_map(Node::parsed);
        needs.filter(|need| names.contains(need)).collect()
    };
    let mut seen = BTreeSet::new();
    let first = steps.iter().filter_map(|step| Some((name(step)?, needs(step)))).filter(|(name, _)| seen.insert(name.clone()));
    let parsed: Vec<(StepName, Vec<StepName>)> = first.collect();
    let borrowed: Vec<(&StepName, &[StepName])> = parsed.iter().map(|(name, needs)| (name, needs.as_slice())).collect();
    let Err(cycle) = graph::order(&borrowed) else { return };
    let first = cycle.first().map(|first| first.as_str());
    let at = steps.iter().filter_map(|step| step.field("name")).find(|name| name.text() == first);
    let words: Vec<&str> = cycle.iter().map(|name| name.as_str()).chain(first).collect();
    if let Some(at) = at {
        c.problem(at.at, format!("steps need each other in a circle: {}", words.join(" needs ")));
    }
}
