//! What an expression of a step may read: inputs that are declared, steps that have ended by then, the target,
//! the run.

use std::collections::BTreeMap;

use super::check::shortened;
use super::input::undeclared;
use super::path::spelled;
use super::shape::one_of;
use super::step::run_on;
use super::tree::Node;
use crate::catalogue::{self, CONNECTION_PARAM, Connections, Kind, nearest};
use crate::expr::Walked;
use crate::expr::template::has_template;
use crate::plan::RunOn;
use crate::plan::input::Input;
use crate::report::Verdict;
use crate::state::run::WorkState;

/// What an expression can begin with.
pub(super) const ROOTS: [&str; 4] = ["inputs", "steps", "target", "run"];
const OF_STEP: [&str; 4] = ["outputs", "verdict", "state", "targets"];
/// Of each target of a step, in a walk.
const OF_EACH: [&str; 4] = ["target", "state", "verdict", "outputs"];
const OF_TARGET: [&str; 3] = ["name", "cluster", "node"];
const OF_RUN: [&str; 5] = ["id", "plan", "number", "revision", "by"];

/// What a step is done to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Targets {
    One,
    Nodes,
    /// As many as there are.
    Clusters,
    /// As many connections as its pattern fits.
    Connections,
}

struct Known<'a> {
    name: &'a str,
    kind: &'static Kind,
    targets: Targets,
}

/// Where an expression stands.
#[derive(Clone, Copy)]
pub(super) struct Reader {
    /// The step, by its place in the plan.
    pub step: usize,
    /// In its `undo`, which may read what the step itself came to.
    pub undo: bool,
    /// In what has to be known when the run starts.
    pub at_start: bool,
}

/// What there is to read.
pub(super) struct Scope<'a> {
    pub inputs: &'a BTreeMap<String, Input>,
    steps: Vec<Option<Known<'a>>>,
    /// For each step those that it needs, directly or not: a bit for each.
    needs: Vec<Vec<u64>>,
}

/// What is wrong with a path, and with which part of it.
pub(super) type Wrong = (usize, String);

impl<'a> Scope<'a> {
    pub fn new(steps: &'a [Node], inputs: &'a BTreeMap<String, Input>) -> Scope<'a> {
        let places: BTreeMap<&str, usize> = steps.iter().enumerate().filter_map(|(place, step)| Some((step.field("name")?.text()?, place))).collect();
        let direct: Vec<Vec<usize>> = steps
            .iter()
            .map(|step| {
                let needs = step.field("needs").map(Node::items).unwrap_or_default().iter();
                needs.filter_map(|need| places.get(need.text()?).copied()).collect()
            })
            .collect();
        let mut reached = vec![None; steps.len()];
        (0..steps.len()).for_each(|step| reach(step, &direct, &mut reached));
        Scope { inputs, steps: steps.iter().map(known).collect(), needs: reached.into_iter().map(Option::unwrap_or_default).collect() }
    }

    fn step(&self, name: &str) -> Option<(usize, &Known<'a>)> {
        self.steps.iter().enumerate().find_map(|(place, step)| Some((place, step.as_ref().filter(|step| step.name == name)?)))
    }

    /// What is wrong with reading this path, if anything.
    pub fn wrong(&self, path: &[String], reader: Reader) -> Option<Wrong> {
        let root = path.first()?;
        if reader.at_start && root != "inputs" {
            return Some((0, "a connection is chosen when the run starts, when nothing but `inputs` is known".to_owned()));
        }
        match root.as_str() {
            "inputs" => self.wrong_input(path),
            "steps" => self.wrong_step(path, reader),
            "target" => wrong_field(path, "a target", &OF_TARGET),
            "run" => wrong_field(path, "a run", &OF_RUN),
            _ => None,
        }
    }

    fn wrong_input(&self, path: &[String]) -> Option<Wrong> {
        let name = path.get(1)?;
        let Some(input) = self.inputs.get(name) else {
            return Some((1, format!("the plan has no input `{}`{}", shortened(name), undeclared(name, self.inputs))));
        };
        path.get(2).map(|field| (2, format!("input `{name}` is of type {}, and has no `{}`", input.ty.as_str(), shortened(field))))
    }

    fn wrong_step(&self, path: &[String], reader: Reader) -> Option<Wrong> {
        let Some(name) = path.get(1) else {
            return Some((0, "say of which step: steps.NAME.outputs.FIELD".to_owned()));
        };
        let Some((place, step)) = self.step(name) else {
            let meant = nearest(name, self.steps.iter().flatten().map(|step| step.name));
            // A step that is there, and whose kind is not, has been told already.
            let there = self.steps.iter().any(Option::is_none);
            let hint = meant.map_or_else(String::new, |meant| format!("; did you mean `{meant}`?"));
            return (!there || meant.is_some()).then(|| (1, format!("there is no step `{}`{hint}", shortened(name))));
        };
        if place == reader.step && !reader.undo {
            return Some((1, "a step cannot read what it will come to".to_owned()));
        }
        if place != reader.step && !has(self.needs.get(reader.step)?, place) {
            let what = format!("`{name}` may not have ended by then");
            // What comes after this step cannot be needed by it as well.
            let is_later = self.needs.get(place).is_some_and(|needs| has(needs, reader.step));
            let hint = if is_later { "it needs this step itself, and so comes after it" } else { "add it to `needs`" };
            return Some((1, format!("{what}: {hint}")));
        }
        let Some(field) = path.get(2) else {
            return Some((1, format!("say what of step `{name}`: {}", one_of(OF_STEP.into_iter()))));
        };
        if !OF_STEP.contains(&field.as_str()) {
            let meant = nearest(field, OF_STEP);
            let hint = meant.map_or_else(String::new, |meant| format!("; did you mean `{meant}`?"));
            return Some((2, format!("a step has outputs, verdict, state and targets, and no `{}`{hint}", shortened(field))));
        }
        // On nodes one reads what the step came to on the same node, and in clusters in the same cluster.
        let same = matches!(step.targets, Targets::Nodes | Targets::Clusters) && self.steps.get(reader.step)?.as_ref()?.targets == step.targets;
        if matches!(field.as_str(), "outputs" | "state") && step.targets != Targets::One && !same {
            return Some((2, several(path, field, step.targets)));
        }
        if field == "outputs" { wrong_output(path, 3, step.kind) } else { wrong_end(path, field) }
    }

    /// What is wrong with reading this of each target of a step, if anything.
    pub fn wrong_element(&self, walked: &Walked) -> Option<Wrong> {
        let [steps, name, targets] = walked.list.as_slice() else { return None };
        let (_, step) = self.step(name).filter(|_| steps == "steps" && targets == "targets")?;
        let field = walked.path.get(1)?;
        if !OF_EACH.contains(&field.as_str()) {
            let meant = nearest(field, OF_EACH);
            let hint = meant.map_or_else(String::new, |meant| format!("; did you mean `{meant}`?"));
            return Some((1, format!("each target of a step has {}, and no `{}`{hint}", OF_EACH.join(", "), shortened(field))));
        }
        if field == "outputs" {
            return wrong_output(&walked.path, 2, step.kind);
        }
        walked.path.get(2).map(|below| (2, format!("`{field}` is text, and has no `{}`", shortened(below))))
    }

    /// The declared type of a value that this path reads: `text`, `number` and so on.
    pub fn output_type(&self, path: &[String]) -> Option<&'static str> {
        match path {
            [steps, name, outputs, field] if steps == "steps" && outputs == "outputs" => {
                self.step(name)?.1.kind.outputs.iter().find(|(output, ..)| output == field).map(|(_, ty, _)| *ty)
            }
            [steps, _, field] if steps == "steps" && matches!(field.as_str(), "verdict" | "state") => Some("text"),
            [root, field] if root == "target" || (root == "run" && matches!(field.as_str(), "id" | "plan" | "by")) => Some("text"),
            [root, _] if root == "run" => Some("number"),
            _ => None,
        }
    }
}

fn known(step: &Node) -> Option<Known<'_>> {
    let kind = catalogue::kind(step.field("uses")?.text()?)?;
    let connection = step.field("with").and_then(|with| with.field(CONNECTION_PARAM)).and_then(Node::text);
    let targets = match (run_on(kind, step.field("runOn")), kind.connection, connection) {
        (RunOn::Node, ..) => Targets::Nodes,
        (RunOn::Cluster, ..) => Targets::Clusters,
        (_, Connections::None, _) | (_, Connections::WhenNamed(_), None) => Targets::One,
        (.., Some(name)) if !name.contains('*') && !has_template(name) => Targets::One,
        _ => Targets::Connections,
    };
    Some(Known { name: step.field("name")?.text()?, kind, targets })
}

/// Marks all that a step needs. In a circle, which is told elsewhere, it marks what it meets.
fn reach(step: usize, direct: &[Vec<usize>], reached: &mut [Option<Vec<u64>>]) {
    if reached.get(step).is_none_or(Option::is_some) {
        return;
    }
    let mut bits = vec![0; direct.len().div_ceil(64)];
    if let Some(slot) = reached.get_mut(step) {
        *slot = Some(bits.clone());
    }
    for need in direct.get(step).into_iter().flatten() {
        reach(*need, direct, reached);
        let below = reached.get(*need).and_then(Option::as_ref);
        bits.iter_mut().zip(below.into_iter().flatten()).for_each(|(mine, theirs)| *mine |= *theirs);
        if let Some(word) = bits.get_mut(need / 64) {
            *word |= 1 << (need % 64);
        }
    }
    if let Some(slot) = reached.get_mut(step) {
        *slot = Some(bits);
    }
}

fn has(bits: &[u64], place: usize) -> bool {
    bits.get(place / 64).is_some_and(|word| word >> (place % 64) & 1 == 1)
}

/// That a step has more than one of something, and how to read all of it.
fn several(path: &[String], field: &str, targets: Targets) -> String {
    let to = if targets == Targets::Nodes { "each node" } else { "each connection that fits" };
    let [name, all] = [&path[1..2], &["steps".to_owned(), path[1].clone(), "targets".to_owned()]].map(spelled);
    let value = path.get(3).filter(|_| field == "outputs").map_or_else(|| format!("t.{field}"), |output| format!("t.outputs.{}", shortened(output)));
    format!("`{name}` is done to {to}, and there is not one `{field}` of it here: walk over all, for example {all}.all(t, {value} == …)")
}

/// A state or a verdict that is compared with a word that it never is. Such a comparison has always the same answer.
pub(super) fn wrong_word(walked: &[Walked], path: &[String], text: &str) -> Option<Wrong> {
    let of_step = matches!(path, [steps, _, _] if steps == "steps");
    let of_target = walked
        .iter()
        .any(|walked| walked.path == path && matches!(walked.list.as_slice(), [steps, _, targets] if steps == "steps" && targets == "targets"));
    let field = path.last().filter(|_| of_step || (of_target && path.len() == 2))?;
    let (own, other, words, others) = match field.as_str() {
        "state" => ("state", "verdict", WorkState::ENDED.as_slice(), Verdict::WORDS.as_slice()),
        "verdict" => ("verdict", "state", Verdict::WORDS.as_slice(), WorkState::ENDED.as_slice()),
        _ => return None,
    };
    if words.contains(&text) {
        return None;
    }
    let hint = match nearest(text, words.iter().copied()) {
        _ if others.contains(&text) => format!("; `{other}` can be `{text}`"),
        Some(meant) => format!("; did you mean `{meant}`?"),
        None => String::new(),
    };
    Some((path.len() - 1, format!("`{own}` is one of {}, and never `{}`{hint}", words.join(", "), shortened(text))))
}

/// `at` is the place of the output's name.
fn wrong_output(path: &[String], at: usize, kind: &Kind) -> Option<Wrong> {
    let field = path.get(at)?;
    let Some((_, ty, _)) = kind.outputs.iter().find(|(name, ..)| name == field) else {
        let hint = match nearest(field, kind.outputs.iter().map(|(name, ..)| *name)) {
            Some(meant) => format!("; did you mean `{meant}`?"),
            None if kind.outputs.is_empty() => ": it has none".to_owned(),
            None => format!("; it has {}", kind.outputs.iter().map(|(name, ..)| *name).collect::<Vec<_>>().join(", ")),
        };
        return Some((at, format!("{} has no output `{}`{hint}", kind.name, shortened(field))));
    };
    let below = path.get(at + 1).filter(|_| matches!(*ty, "text" | "number" | "boolean"))?;
    Some((at + 1, format!("output `{field}` is of type {ty}, and has no `{}`", shortened(below))))
}

/// A field that has none itself.
fn wrong_end(path: &[String], field: &str) -> Option<Wrong> {
    let below = path.get(3).filter(|_| field != "targets")?;
    Some((3, format!("`{field}` is text, and has no `{}`", shortened(below))))
}

fn wrong_field(path: &[String], what: &str, fields: &[&str]) -> Option<Wrong> {
    let field = path.get(1)?;
    if !fields.contains(&field.as_str()) {
        let hint = match nearest(field, fields.iter().copied()) {
            Some(meant) => format!("; did you mean `{meant}`?"),
            None => format!("; it has {}", fields.join(", ")),
        };
        return Some((1, format!("{what} has no `{}`{hint}", shortened(field))));
    }
    path.get(2).map(|below| (2, format!("`{field}` has no `{}`", shortened(below))))
}
