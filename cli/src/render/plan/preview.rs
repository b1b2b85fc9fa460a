//! `mainstay plan preview`: the steps in order, then when and with what it runs, then what is in its way.

use mainstay_core::{Millis, WallTime};
use mainstay_proto::v1::{GateNow, Preview, PreviewApproval, PreviewStep, Remark, Severity};

use super::list::{next_time, so_far};
use super::steps;
use crate::render::names::Names;
use crate::render::page::Page;
use crate::render::terminal::{Terminal, Tone};
use crate::render::{units, values};

/// Columns of what is said beside the steps.
const LABEL: usize = 14;

/// The whole page. `next` is the command that comes next, if nothing is in the way.
#[must_use]
pub fn preview(preview: &Preview, next: &str, terminal: Terminal, now: WallTime) -> String {
    let mut page = Page::new(terminal);
    head(&mut page, preview);
    inputs(&mut page, preview);
    before(&mut page, preview);
    page.gap();
    steps::steps(&mut page, &preview.steps, terminal);
    page.gap();
    protection(&mut page, &preview.steps);
    after(&mut page, preview, now);
    page.gap();
    remarks(&mut page, &preview.remarks);
    page.gap();
    end(&mut page, preview, next);
    page.finish()
}

/// How many remarks there are of a severity.
fn count(preview: &Preview, severity: Severity) -> u64 {
    preview.remarks.iter().filter(|remark| remark.severity() == severity).count() as u64
}

/// Gates that would hold a run up as they are now; those of a step that is skipped do not.
fn closed(preview: &Preview) -> u64 {
    let of_steps = preview.steps.iter().filter(|step| step.omitted.is_empty()).flat_map(|step| &step.gates);
    preview.gates.iter().chain(of_steps).filter(|gate| gate.state != "open" && gate.state != "asks").count() as u64
}

fn head(page: &mut Page, preview: &Preview) {
    let problems = count(preview, Severity::Problem);
    let mut parts = vec![
        (preview.plan.clone(), Tone::Strong),
        (if preview.revision == 0 { "not applied".to_owned() } else { format!("revision {}", preview.revision) }, Tone::Plain),
        (units::count(preview.steps.len() as u64, "step", "steps"), Tone::Plain),
        (places(&preview.steps), Tone::Plain),
    ];
    if problems > 0 {
        parts.push((format!("✖ {}", units::count(problems, "problem", "problems")), Tone::Bad));
    }
    parts.push(("nothing is changed by this command".to_owned(), Tone::Plain));
    page.parts(0, &parts);
    if !preview.description.is_empty() {
        page.line(2, Tone::Quiet, &preview.description);
    }
}

/// `40 nodes, 2 connections`: all that is named, each once.
fn places(steps: &[PreviewStep]) -> String {
    let is_connection = |target: &&str| target.starts_with("connection:");
    let is_node = |target: &&str| !target.starts_with("connection:") && target.contains('/');
    let all = || steps.iter().flat_map(|step| step.targets.iter().map(String::as_str));
    let distinct = |wanted: &dyn Fn(&&str) -> bool| all().filter(|target| wanted(target)).collect::<std::collections::BTreeSet<_>>().len() as u64;
    // A step names only some of many targets: the one with the most says how many there are.
    let most = |wanted: &dyn Fn(&&str) -> bool| {
        let of_kind = steps.iter().filter(|step| step.targets.first().is_some_and(|first| wanted(&first.as_str())));
        of_kind.map(|step| u64::from(step.target_count)).max().unwrap_or(0)
    };
    let nodes = distinct(&is_node).max(most(&is_node));
    let connections = distinct(&is_connection).max(most(&is_connection));
    let is_cluster = |target: &&str| target.starts_with("cluster:");
    let clusters = distinct(&is_cluster).max(most(&is_cluster));
    let parts = [(nodes, "node", "nodes"), (connections, "connection", "connections"), (clusters, "cluster", "clusters")];
    parts.into_iter().filter(|(n, ..)| *n > 0).map(|(n, one, many)| units::count(n, one, many)).collect::<Vec<_>>().join(", ")
}

fn inputs(page: &mut Page, preview: &Preview) {
    if preview.inputs.is_empty() {
        return;
    }
    page.gap();
    for (i, input) in preview.inputs.iter().enumerate() {
        let label = if i == 0 { "inputs" } else { "" };
        let default = if input.given { "" } else { "   (default)" };
        page.labelled(2, LABEL, (label, Tone::Quiet), Tone::Plain, &format!("{} = {}{default}", input.name, values::short_json(&input.value)));
    }
}

/// What holds for all steps.
fn before(page: &mut Page, preview: &Preview) {
    if preview.gates.is_empty() && preview.strategy.is_empty() {
        return;
    }
    page.gap();
    if !preview.strategy.is_empty() {
        page.labelled(2, LABEL, ("rollout", Tone::Quiet), Tone::Plain, &format!("node by node through all steps on nodes: {}", preview.strategy));
    }
    let names = names(&preview.steps);
    for (i, wave) in preview.waves.iter().enumerate() {
        let nodes = names.list(wave.targets.iter().map(String::as_str), wave.target_count as usize);
        page.labelled(2, LABEL, ("", Tone::Quiet), Tone::Plain, &format!("wave {}: {nodes}", i + 1));
    }
    let before =
        if preview.strategy.is_empty() { "before every step" } else { "before the first step of each node, and before each step that is on no node" };
    for gate in &preview.gates {
        let (mark, tone) = gate_mark(gate);
        page.labelled(2, LABEL, (mark, tone), Tone::Plain, &format!("{} ({before})", gate_words(gate)));
    }
}

/// How a gate stands, as a mark and a word.
pub(super) fn gate_mark(gate: &GateNow) -> (&'static str, Tone) {
    match gate.state.as_str() {
        "open" => ("✔ open", Tone::Good),
        "closed" => ("‖ closed", Tone::Warning),
        "asks" => ("▲ asks", Tone::Warning),
        _ => ("? unknown", Tone::Unknown),
    }
}

/// The gate and what speaks for its state.
pub(super) fn gate_words(gate: &GateNow) -> String {
    let evidence = gate.evidence.strip_prefix("unknown: ").unwrap_or(&gate.evidence);
    if evidence.is_empty() { gate.gate.clone() } else { format!("{}: {evidence}", gate.gate) }
}

/// What keeps two from doing a step at once, for steps that change something.
fn protection(page: &mut Page, steps: &[PreviewStep]) {
    let changing: Vec<&PreviewStep> = steps.iter().filter(|step| step.effect != "read" && !step.protection.is_empty()).collect();
    let mut said: Vec<&str> = Vec::new();
    for step in &changing {
        if said.contains(&step.protection.as_str()) {
            continue;
        }
        said.push(&step.protection);
        let names: Vec<&str> = changing.iter().filter(|other| other.protection == step.protection).map(|step| step.name.as_str()).collect();
        page.labelled(2, LABEL, ("protected by", Tone::Quiet), Tone::Plain, &format!("{} ({})", step.protection, names.join(", ")));
    }
}

/// When it runs by itself, and whom it tells.
fn after(page: &mut Page, preview: &Preview, now: WallTime) {
    for schedule in &preview.schedules {
        let mut words = format!("{} {}", schedule.cron, schedule.zone);
        words += &next_time(schedule, now).map_or_else(|| " · suspended".to_owned(), |next| format!(" · next {next}"));
        let so_far = so_far(schedule);
        if !so_far.is_empty() {
            words += &format!(" · so far {so_far}");
        }
        page.labelled(2, LABEL, ("schedule", Tone::Quiet), Tone::Plain, &words);
    }
    for notify in &preview.notify {
        page.labelled(2, LABEL, ("notify", Tone::Quiet), Tone::Plain, notify);
    }
}

fn remarks(page: &mut Page, remarks: &[Remark]) {
    for remark in remarks {
        let (mark, tone) = match remark.severity() {
            Severity::Problem => ("✖ problem", Tone::Bad),
            Severity::Warning => ("▲ warning", Tone::Warning),
            Severity::Note | Severity::Unspecified => ("· note", Tone::Quiet),
        };
        let about = if remark.step.is_empty() { String::new() } else { format!("{}: ", remark.step) };
        page.labelled(2, LABEL, (mark, tone), Tone::Plain, &format!("{about}{}", remark.message));
        if !remark.hint.is_empty() {
            page.line(2 + LABEL, Tone::Quiet, &format!("→ {}", remark.hint));
        }
    }
}

/// What it comes to, and what to type next.
fn end(page: &mut Page, preview: &Preview, next: &str) {
    let (problems, closed) = (count(preview, Severity::Problem), closed(preview));
    if problems > 0 {
        page.line(0, Tone::Bad, "✖ as things are now, a run would not come to a good end: see the problems above");
        return;
    }
    let leases = preview.steps.iter().filter(|step| step.omitted.is_empty() && !step.lease_held_by.is_empty()).count() as u64;
    if closed + leases > 0 {
        let gates = (closed > 0).then(|| format!("{} not open", units::count(closed, "gate", "gates")));
        let leases = (leases > 0).then(|| format!("{} held by somebody else", units::count(leases, "lease", "leases")));
        let waits: Vec<String> = gates.into_iter().chain(leases).collect();
        page.line(0, Tone::Warning, &format!("‖ a run could start now, and would wait: {}", waits.join(", ")));
    }
    if !preview.approvals.is_empty() {
        let asked: Vec<String> = preview.approvals.iter().map(asked).collect();
        let may = if preview.approvals.iter().all(|approval| !approval.only_if.is_empty()) { "may" } else { "would" };
        page.line(0, Tone::Warning, &format!("▲ a run {may} wait for a person: {}", asked.join("; ")));
    }
    let warnings = count(preview, Severity::Warning);
    if closed + leases == 0 && preview.approvals.is_empty() && warnings > 0 {
        let words = units::count(warnings, "warning", "warnings");
        page.line(0, Tone::Warning, &format!("▲ a run could start now, and may not go as expected: see the {words} above"));
    }
    if closed + leases == 0 && preview.approvals.is_empty() && warnings == 0 {
        let by_policy = preview.steps.iter().any(|step| step.by_policy);
        let words = if by_policy {
            "✔ a run could start now, and nothing that the mesh knows of is in its way; the agents' policies decide about its commands"
        } else {
            "✔ a run could start now, and nothing that the mesh knows of is in its way"
        };
        page.line(0, Tone::Good, words);
    }
    if preview.least_ms > 0 {
        page.line(2, Tone::Quiet, &format!("it takes at least {}, and what its steps and people need besides", Millis(preview.least_ms)));
    }
    page.command(2, next);
}

/// `ask (an operator other than you)`
fn asked(approval: &PreviewApproval) -> String {
    let of = if approval.step.is_empty() { "the run" } else { &approval.step };
    let mut who = format!("an {}", approval.by);
    if approval.not_author {
        who += " other than you";
    } else if !approval.may_not.is_empty() {
        who += ", which you are not";
    }
    let times = if approval.times > 1 { format!(", once for each of {} waves", approval.times) } else { String::new() };
    let counts = if approval.expires_ms > 0 { format!(", which counts for {}", Millis(approval.expires_ms)) } else { String::new() };
    // Its condition stands with the step.
    let only_if = if approval.only_if.is_empty() { "" } else { ", only if its `if` is true by then" };
    format!("{of} ({who}){times}{counts}{only_if}")
}

/// Targets of all steps, for how they are named.
pub(super) fn names(steps: &[PreviewStep]) -> Names {
    Names::of(steps.iter().flat_map(|step| step.targets.iter().map(String::as_str)))
}

#[cfg(test)]
pub(crate) mod tests;
