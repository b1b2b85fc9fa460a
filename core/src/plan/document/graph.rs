//! The names of steps and what they need: unique, there, and in no circle.

use std::collections::BTreeSet;

use super::check::{Checker, shortened};
use super::tree::Node;
use crate::catalogue;
use crate::id::StepName;
use crate::plan::graph;

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
