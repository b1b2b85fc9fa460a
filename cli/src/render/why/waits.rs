//! For what a run that goes on waits.

use mainstay_proto::v1::{GateNow, Run, RunState, Wait, WaitKind, WantedApproval, WhyResponse, WorkState};

use super::MARK;
use super::groups::{self, Group, some};
use crate::render::names::Names;
use crate::render::page::Page;
use crate::render::terminal::{Terminal, Tone};
use crate::render::units;

/// Groups told on a terminal; the most urgent come first.
const GROUPS_SHOWN: usize = 14;
/// Steps that come later, and what each waits for.
const LATER_SHOWN: usize = 4;

pub(super) fn waits(page: &mut Page, answer: &WhyResponse, run: &Run, names: Names, terminal: Terminal) {
    if !run.paused_by.is_empty() {
        paused(page, run, &answer.waits);
    }
    // That it is paused has been told, whether something waits for it or not.
    let (later, groups): (Vec<Group>, Vec<Group>) =
        groups::of(&answer.waits).into_iter().filter(|group| group.kind != WaitKind::Paused).partition(|group| group.kind == WaitKind::NeedsStep);
    if groups.is_empty() && later.is_empty() {
        if run.paused_by.is_empty() {
            page.line(2, Tone::Plain, about_to(run));
        }
        return;
    }
    let shown = if terminal.is_terminal() { GROUPS_SHOWN } else { groups.len() };
    for group in groups.iter().take(shown) {
        match group.approval {
            Some(approval) => asked(page, answer, run, group, approval, names),
            None => {
                told(page, group, names);
                way_out(page, run, group);
            }
        }
    }
    if groups.len() > shown {
        page.line(2 + MARK, Tone::Quiet, &format!("… and {} more reasons:  mainstay why {} -o json", groups.len() - shown, run.id));
    }
    self::later(page, &later, terminal);
}

/// What comes next in a run that waits for nothing.
fn about_to(run: &Run) -> &'static str {
    match (run.state(), run.aborted_by.is_empty()) {
        (RunState::Undoing, _) => "it waits for nothing: what it did is being taken back",
        (_, false) if run.work.iter().any(|work| work.state() == WorkState::Active) => "it is being aborted: what is under way is told to stop",
        (_, false) => "it is being aborted: nothing further begins, and it is about to end",
        (_, true) => "it waits for nothing: its next steps are about to begin",
    }
}

/// Only what needs a person.
pub(super) fn for_a_person(page: &mut Page, answer: &WhyResponse, run: &Run, names: Names) {
    if !run.paused_by.is_empty() {
        paused(page, run, &answer.waits);
    }
    for group in groups::of(&answer.waits).iter().filter(|group| group.needs_a_person() && group.kind != WaitKind::Paused).take(GROUPS_SHOWN) {
        match group.approval {
            Some(approval) => asked(page, answer, run, group, approval, names),
            None => told(page, group, names),
        }
    }
}

fn paused(page: &mut Page, run: &Run, waits: &[Wait]) {
    let reason = if run.pause_reason.is_empty() { String::new() } else { format!(": {}", run.pause_reason) };
    page.labelled(2, MARK, ("‖ paused", Tone::Warning), Tone::Plain, &format!("by {}{reason}; nothing further is begun", run.paused_by));
    page.command(2 + MARK, &format!("mainstay run resume {}", run.id));
    for group in groups::of(waits).iter().filter(|group| group.kind == WaitKind::Paused) {
        ahead(page, group, "after that");
    }
}

/// What stands behind the door: else one would think that it goes on when this one opens.
fn ahead(page: &mut Page, group: &Group, after: &str) {
    gates(page, group, after);
    stuck(page, group);
}

fn gates(page: &mut Page, group: &Group, after: &str) {
    for gate in &group.ahead {
        let evidence = gate.evidence.strip_prefix("unknown: ").unwrap_or(&gate.evidence);
        let words = match gate.state.as_str() {
            "asks" => format!("{after} a person is asked: {}", gate.gate),
            "unknown" => format!("{after} a gate of which nobody knows how it stands: {}: {evidence}", gate.gate),
            "closes" => format!("{after} a gate that will be closed by then: {}: {evidence}", gate.gate),
            "nobody" => format!("{after} nobody is there to do it: {evidence}"),
            _ => format!("{after} a gate that is closed now: {}: {evidence}", gate.gate),
        };
        page.line(2 + MARK, Tone::Warning, &words);
    }
}

/// That it does not end by itself, and what to do about that.
fn stuck(page: &mut Page, group: &Group) {
    if !group.stuck.is_empty() {
        // What has an end of its own ends with that.
        let by_itself = if group.remaining_ms > 0 { "" } else { "this does not end by itself: " };
        page.line(2 + MARK, Tone::Bad, &format!("{by_itself}{}", group.stuck));
    }
    for remedy in group.remedies {
        match remedy.split_once(":  ") {
            _ if remedy.starts_with("mainstay ") => page.command(2 + MARK, remedy),
            Some((words, command)) => {
                page.line(2 + MARK, Tone::Quiet, words);
                page.command(2 + MARK, command);
            }
            None => page.line(2 + MARK, Tone::Quiet, remedy),
        }
    }
}

/// A person has to agree: to what, who may, and what to type.
fn asked(page: &mut Page, answer: &WhyResponse, run: &Run, group: &Group, approval: &WantedApproval, names: Names) {
    let command = command_among(run, approval, answer);
    let waited = format!(" · for {}", units::duration_ms(group.waited_ms));
    page.labelled(2, MARK, group.mark(), Tone::Plain, &(covered(approval, names) + &waited));
    if !approval.message.is_empty() {
        page.line(2 + MARK, Tone::Strong, &approval.message);
    }
    page.line(2 + MARK, Tone::Plain, &who(approval));
    if !group.stuck.is_empty() {
        // Whom to ask comes before what they type.
        stuck(page, group);
        page.line(2 + MARK, Tone::Quiet, "whoever may then types");
    } else if !approval.may_not.is_empty() {
        page.line(2 + MARK, Tone::Warning, &format!("not by you: {}; somebody else types", approval.may_not));
    }
    page.command(2 + MARK, &command);
    if !approval.too_early.is_empty() {
        page.line(2 + MARK, Tone::Warning, &format!("too early now: {}", approval.too_early));
    }
    then(page, group);
    gates(page, group, "after that");
}

/// What an approval is about.
#[must_use]
pub fn covered(approval: &WantedApproval, names: Names) -> String {
    let steps: Vec<&str> = approval.steps.iter().map(|step| step.name.as_str()).collect();
    let targets = names.counted(approval.targets.iter().map(String::as_str), approval.targets.len());
    match (approval.wave, approval.step.as_str()) {
        (0, "") => "the whole run".to_owned(),
        (wave, "") => format!("wave {wave}: {targets}"),
        // A step that only asks stands for those that come after it.
        (0, step) if steps.iter().all(|behind| *behind != step) => {
            format!("{step}{}", if steps.is_empty() { String::new() } else { format!(", before {}", some(&steps)) })
        }
        (0, step) => format!("step {step}, {targets}"),
        (wave, step) => format!("step {step}, wave {wave}: {targets}"),
    }
}

/// Who may agree.
#[must_use]
pub fn who(approval: &WantedApproval) -> String {
    let other = if approval.not.is_empty() { String::new() } else { format!(" other than {}", approval.not) };
    let expired = if approval.expired.is_empty() { String::new() } else { format!("; what {} said has expired", approval.expired) };
    let article = if approval.by.starts_with(['a', 'o']) { "an" } else { "a" };
    format!("to be approved by {article} {}{other}{expired}", approval.by)
}

/// What to type.
fn command(run: &Run, approval: &WantedApproval) -> String {
    let mut command = format!("mainstay run approve {}", run.id);
    if !approval.step.is_empty() {
        command += &format!(" --step {}", approval.step);
    }
    if approval.wave > 0 {
        command += &format!(" --wave {}", approval.wave);
    }
    command
}

/// The same, where the run waits for several: it then says of the plan's own that it is that.
#[must_use]
pub fn command_among(run: &Run, approval: &WantedApproval, answer: &WhyResponse) -> String {
    let others = || answer.waits.iter().filter_map(|wait| wait.approval.as_ref()).filter(|other| other.step != approval.step);
    let is_alone = !approval.step.is_empty() || others().next().is_none();
    command(run, approval) + if is_alone { "" } else { " --plan" }
}

/// The most urgent reason in a line, and what to type about it where that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct First {
    pub words: String,
    pub command: Option<String>,
}

/// Nothing where it waits for nothing.
#[must_use]
pub fn first(answer: &WhyResponse) -> Option<First> {
    let run = answer.run.as_ref()?;
    let names = Names::of(run.work.iter().map(|work| work.target.as_str()));
    if !run.paused_by.is_empty() {
        return Some(First { words: format!("paused by {}", run.paused_by), command: Some(format!("mainstay run resume {}", run.id)) });
    }
    let groups = groups::of(&answer.waits);
    let group = groups.first()?;
    let Some(approval) = group.approval else {
        return Some(First { words: format!("{}: {}{}", group.name(names), reason(group), briefly(group)), command: None });
    };
    let not_you = if approval.may_not.is_empty() { String::new() } else { format!(", and not by you: {}", approval.may_not) };
    Some(First { words: format!("{}, {}{not_you}", covered(approval, names), who(approval)), command: Some(command_among(run, approval, answer)) })
}

/// In how long the first of them changes by itself, where one does.
#[must_use]
pub fn changes_in(answer: &WhyResponse) -> Option<u64> {
    answer.waits.iter().map(|wait| wait.remaining_ms).filter(|left| *left > 0).min()
}

/// What comes after it, in a line.
fn briefly(group: &Group) -> String {
    let after: Vec<&str> = group.ahead.iter().map(|gate| gate.gate.as_str()).collect();
    if after.is_empty() { String::new() } else { format!("; after that {}", some(&after)) }
}

fn told(page: &mut Page, group: &Group, names: Names) {
    page.labelled(2, MARK, group.mark(), Tone::Plain, &format!("{} · for {}", group.name(names), units::duration_ms(group.waited_ms)));
    let reason = reason(group);
    // What to type has a line of its own.
    let (words, command) = reason.split_once(":  ").filter(|_| group.kind == WaitKind::Signature).unwrap_or((&reason, ""));
    page.line(2 + MARK, Tone::Plain, words);
    if !command.is_empty() {
        page.command(2 + MARK, command);
    }
    then(page, group);
    ahead(page, group, "after that");
    match group.kind {
        WaitKind::Lease => {
            let name = group.reason.split_once("lease ").and_then(|(_, rest)| rest.split([' ', ',']).next());
            name.into_iter().for_each(|name| page.command(2 + MARK, &format!("mainstay lease show {name}")));
        }
        WaitKind::NotHeardOf | WaitKind::AgentAway | WaitKind::NobodyCan => page.command(2 + MARK, "mainstay node list"),
        _ => {}
    }
}

/// What to type where one does not want to wait for a gate, or would wait for ever.
fn way_out(page: &mut Page, run: &Run, group: &Group) {
    if group.kind != WaitKind::Gate || group.reason.contains("mainstay ") || !group.stuck.is_empty() {
        return;
    }
    if group.is_calendar() {
        let anew = if run.work_over > 0 { "; it begins anew, also with what this one has done" } else { "" };
        let words = format!("if it must not wait: end this run, and start one for which windows and freezes do not count (approvals still do){anew}");
        page.line(2 + MARK, Tone::Quiet, &words);
        page.command(2 + MARK, &format!("mainstay run abort {} --reason \"…\"", run.id));
        page.command(2 + MARK, &format!("mainstay run start {} --override \"…\"", run.plan));
    }
}

fn reason(group: &Group) -> String {
    let reason = group.reason.strip_prefix("gate: ").unwrap_or(&group.reason);
    reason.replace(": unknown: ", ": nobody knows: ")
}

/// How much longer, and what happens then.
fn then(page: &mut Page, group: &Group) {
    let earliest = if group.varies { ", at the earliest" } else { "" };
    let words = match (group.remaining_ms, group.then) {
        (0, "") if group.kind == WaitKind::Gate && group.is_unknown() => "while nobody knows, it does not begin".to_owned(),
        (0, "") => return,
        (0, then) => format!("then {then}"),
        (left, "") => format!("at most {} more{earliest}", units::duration_ms(left)),
        (left, "it is over") => format!("{} more", units::duration_ms(left)),
        // What is under way may end well before.
        (left, then) if matches!(group.kind, WaitKind::Works | WaitKind::Offered | WaitKind::Stopping) => {
            format!("at most {} more{earliest}, then {then}", units::duration_ms(left))
        }
        (left, then) => format!("in {} {then}{earliest}", units::duration_ms(left)),
    };
    page.line(2 + MARK, Tone::Quiet, &words);
}

/// Steps whose turn has not come: they wait for what is told above.
fn later(page: &mut Page, groups: &[Group], terminal: Terminal) {
    if groups.is_empty() {
        return;
    }
    let shown = if terminal.is_terminal() { LATER_SHOWN } else { groups.len() };
    let needs = |group: &Group| {
        let open = group.reason.strip_prefix("step ").unwrap_or(&group.reason);
        let (needed, on) = open.split_once(" has not ended").unwrap_or((open, ""));
        let words = |gate: &&GateNow| match gate.state.as_str() {
            "asks" => gate.gate.clone(),
            "unknown" => format!("{} (nobody knows how it stands)", gate.gate),
            _ => format!("{} ({})", gate.gate, gate.evidence),
        };
        let gates: Vec<String> = group.ahead.iter().map(words).collect();
        let behind = if gates.is_empty() { String::new() } else { format!(" and then behind: {}", gates.join("; ")) };
        format!("{} after {needed}{on}{behind}", some(&group.steps))
    };
    let mut parts: Vec<String> = groups.iter().take(shown).map(needs).collect();
    if groups.len() > shown {
        parts.push(format!("{} more", units::count((groups.len() - shown) as u64, "step", "steps")));
    }
    page.labelled(2, MARK, ("· later", Tone::Quiet), Tone::Plain, &parts.join(", "));
}
