//! The steps of a preview: a number, what and where; below it with what, behind what, and how it is taken back.

use std::collections::BTreeSet;

use mainstay_core::catalogue::APPROVAL;
use mainstay_core::{Millis, StepName, plan};
use mainstay_proto::v1::{PreviewStep, UndoStep};

use super::preview::{gate_mark, gate_words, names};
use crate::render::layout::{harmless, width};
use crate::render::names::{Names, is_by_mesh};
use crate::render::page::{Page, cell, column};
use crate::render::terminal::{Terminal, Tone};
use crate::render::values;

/// Columns of a gate's or condition's mark.
const MARK: usize = 11;
/// Wider names and kinds move what is beside them.
const NAME_MOST: usize = 22;

/// All of them, each after what it needs.
pub(super) fn steps(page: &mut Page, steps: &[PreviewStep], terminal: Terminal) {
    let ordered = in_order(steps);
    let shape = Shape {
        names: names(steps),
        number: ordered.len().to_string().len().max(2),
        name: column(ordered.iter().map(|step| step.name.as_str()), NAME_MOST),
        kind: column(ordered.iter().map(|step| step.kind.as_str()), NAME_MOST),
        terminal,
        several: ordered.len() > 1,
        looks: ordered.iter().filter(|step| step.effect == "read" && !is_by_mesh(&step.kind)).map(|step| step.name.clone()).collect(),
    };
    for (i, step) in ordered.iter().enumerate() {
        shape.step(page, i + 1, step);
    }
}

/// As they are begun: a step after those that it needs, else as they are written.
fn in_order(steps: &[PreviewStep]) -> Vec<&PreviewStep> {
    let named: Option<Vec<(StepName, Vec<StepName>)>> = steps
        .iter()
        .map(|step| {
            let needs = step.needs.iter().map(|need| need.parse().ok()).collect::<Option<_>>()?;
            Some((step.name.parse().ok()?, needs))
        })
        .collect();
    let all = || steps.iter().collect();
    let Some(named) = named else { return all() };
    let graph: Vec<(&StepName, &[StepName])> = named.iter().map(|(name, needs)| (name, needs.as_slice())).collect();
    let Ok(order) = plan::order(&graph) else { return all() };
    order.into_iter().filter_map(|name| steps.iter().find(|step| step.name == name.as_str())).collect()
}

struct Shape {
    names: Names,
    number: usize,
    name: usize,
    kind: usize,
    terminal: Terminal,
    several: bool,
    /// Steps that only look: what they find may stop what needs them.
    looks: BTreeSet<String>,
}

impl Shape {
    fn step(&self, page: &mut Page, number: usize, step: &PreviewStep) {
        let margin = 2 + self.number + 2;
        let front = format!("{number:>0$}  ", self.number);
        let label = format!("{front}{}{}", cell(&harmless(&step.name), self.name), cell(&harmless(&step.kind), self.kind));
        let (place, tone) = self.place(step);
        // On a narrow terminal the place goes below.
        let beside = self.terminal.width.is_none_or(|columns| 2 + width(&label) + width(&place).min(24) <= columns);
        if beside {
            page.labelled(2, width(&label), (&label, Tone::Strong), tone, &place);
        } else {
            page.labelled(2, width(&label), (label.trim_end(), Tone::Strong), tone, "");
            page.line(margin, tone, &place);
        }
        if !step.description.is_empty() {
            page.line(margin, Tone::Quiet, &step.description);
        }
        if !step.omitted.is_empty() {
            page.labelled(margin, MARK, ("– omitted", Tone::Quiet), Tone::Plain, &step.omitted);
            return;
        }
        let parameters = if step.kind == APPROVAL { question(&step.with) } else { values::parameters(&step.with) };
        if !parameters.is_empty() {
            let on = if step.with_of.is_empty() { String::new() } else { format!("on {}: ", self.names.short(&step.with_of)) };
            page.line(margin, Tone::Plain, &format!("{on}{}", parameters.join(" · ")));
        }
        self.doors(page, margin, step);
        if let Some(undo) = &step.undo_step {
            page.labelled(margin, MARK, ("↺ undo", Tone::Quiet), Tone::Plain, &undo_words(undo, self.names));
        }
        page.parts(margin, &self.facts(step).into_iter().map(|words| (words, Tone::Quiet)).collect::<Vec<_>>());
        if step.point_of_no_return {
            page.line(2, Tone::Warning, "── point of no return: from here on not everything is taken back");
        }
    }

    /// What it must get through before it begins.
    fn doors(&self, page: &mut Page, margin: usize, step: &PreviewStep) {
        if !step.condition.is_empty() {
            let left_out = self.names.list(step.left_out.iter().map(String::as_str), step.left_out_count as usize);
            let (mark, tone, now) = match step.condition_now.as_str() {
                "true" if step.left_out_count > 0 => ("✔ if", Tone::Good, format!("false on {left_out}, where it is omitted")),
                "true" => ("✔ if", Tone::Good, "true now".to_owned()),
                "false" => ("– if", Tone::Quiet, "false now: it is omitted".to_owned()),
                _ => ("? if", Tone::Unknown, "not known before the steps that it reads have ended".to_owned()),
            };
            page.labelled(margin, MARK, (mark, tone), Tone::Plain, &format!("{} ({now})", step.condition));
        }
        for gate in &step.gates {
            let (mark, tone) = gate_mark(gate);
            page.labelled(margin, MARK, (mark, tone), Tone::Plain, &gate_words(gate));
        }
        if !step.lease.is_empty() {
            let (mark, tone, now) = match step.lease_held_by.as_str() {
                "" => ("lease", Tone::Quiet, String::new()),
                by => ("‖ lease", Tone::Warning, format!("; now it is held by {by}")),
            };
            page.labelled(margin, MARK, (mark, tone), Tone::Plain, &format!("{}, held by the run while it goes{now}", step.lease));
        }
        if !step.strategy.is_empty() {
            page.labelled(margin, MARK, ("rollout", Tone::Quiet), Tone::Plain, &step.strategy);
        }
        let mut targets = step.targets.iter().map(String::as_str);
        for (i, wave) in step.waves.iter().enumerate() {
            let of_wave: Vec<&str> = targets.by_ref().take(*wave as usize).collect();
            let named = self.names.list(of_wave.iter().copied(), *wave as usize);
            page.labelled(margin, MARK, ("", Tone::Quiet), Tone::Plain, &format!("wave {}: {named}", i + 1));
        }
    }

    /// Where, and whether somebody could do it there now.
    fn place(&self, step: &PreviewStep) -> (String, Tone) {
        if is_by_mesh(&step.kind) {
            let waits = if step.kind == APPROVAL { ", which waits for a person" } else { "" };
            return (format!("by the mesh itself{waits}"), Tone::Plain);
        }
        if !step.omitted.is_empty() {
            return (String::new(), Tone::Plain);
        }
        let all = step.target_count.saturating_sub(step.left_out_count) as usize;
        let reachable = step.reachable as usize;
        let wanted = step.targets.iter().filter(|target| !step.left_out.contains(target)).map(String::as_str);
        let place = self.names.counted(wanted, all);
        let left_out = self.names.list(step.left_out.iter().map(String::as_str), step.left_out_count as usize);
        let place = if left_out.is_empty() { place } else { format!("{place}; omitted on {left_out}") };
        match (all, reachable) {
            (1, 0) => (format!("{place} · ✖ nobody can do it now"), Tone::Bad),
            (all, reachable) if reachable < all => (format!("{place} · ✖ {reachable} of {all} can do it now"), Tone::Bad),
            (_, _) if step.by_policy => (format!("{place} · an agent can try it, if its own policy allows the command"), Tone::Plain),
            (1, _) => (format!("{place} · an agent can try it"), Tone::Plain),
            _ => (format!("{place} · agents can try it"), Tone::Plain),
        }
    }

    fn facts(&self, step: &PreviewStep) -> Vec<String> {
        let mut facts = Vec::new();
        if !step.needs.is_empty() {
            let looks = step.needs.iter().any(|need| self.looks.contains(need));
            let if_well = if looks { ", if nothing critical is found there" } else { "" };
            facts.push(format!("begins after {}{if_well}", step.needs.join(", ")));
        } else if self.several {
            facts.push("needs nothing before it".to_owned());
        }
        if step.effect != "read" {
            facts.push(if step.effect == "exec" { "runs a command".to_owned() } else { "changes something".to_owned() });
            // What takes it back has a line of its own.
            if step.undo_step.is_none() {
                facts.push(undo(&step.undo));
            }
        }
        let waits = if is_by_mesh(&step.kind) { "waits" } else { "takes" };
        facts.push(format!("{waits} at most {}", Millis(step.timeout_ms)));
        if step.attempts > 1 {
            facts.push(format!("up to {} tries", step.attempts));
        }
        if step.on_unknown_continue {
            facts.push("the run goes on where its outcome is unknown".to_owned());
        }
        if step.on_failure_keep {
            facts.push("where it fails, what was done before stays".to_owned());
        }
        facts
    }
}

/// What a step that is an approval asks, and whom.
fn question(with: &str) -> Vec<String> {
    let with: serde_json::Map<String, serde_json::Value> = serde_json::from_str(with).unwrap_or_default();
    let text = |name: &str| with.get(name).and_then(serde_json::Value::as_str).unwrap_or_default();
    let by = if text("by") == "admin" { "an admin" } else { "an operator" };
    let other = if with.get("notAuthor") == Some(&serde_json::Value::Bool(true)) { " other than who started the run" } else { "" };
    let asked = (!text("message").is_empty()).then(|| format!("“{}”", text("message")));
    asked.into_iter().chain([format!("by {by}{other}")]).collect()
}

/// What would be run to take a step back: its kind, and with what.
#[must_use]
pub fn undo_words(undo: &UndoStep, names: Names) -> String {
    let on = if undo.with_of.is_empty() { String::new() } else { format!("on {}: ", names.short(&undo.with_of)) };
    let parameters = values::parameters(&undo.with);
    let with = if parameters.is_empty() { String::new() } else { format!(": {on}{}", parameters.join(" · ")) };
    format!("by {}{with}", undo.kind)
}

/// How a step is taken back, as the mesh words it, in a phrase.
#[must_use]
pub fn undo(words: &str) -> String {
    match words {
        "none given" => "no undo".to_owned(),
        "irreversible" => "cannot be undone".to_owned(),
        "reversible" => "undone to what was there before".to_owned(),
        by => by.strip_prefix("by ").map_or_else(|| by.to_owned(), |kind| format!("undone by {kind}")),
    }
}
