//! What did not come off in a run and why; of one that has ended also what it left in place.

use std::collections::BTreeMap;

use mainstay_core::catalogue::{self, Effect};
use mainstay_proto::v1::{Attempt, Outcome, Run, RunState, Since, UndoState, Verdict, WhyResponse, Work, WorkState, outcome};
use serde::Serialize;

use super::MARK;
use super::groups::some;
use crate::render::names::{self, Names};
use crate::render::page::Page;
use crate::render::terminal::Tone;
use crate::render::values::quoted;

pub(super) fn ended(page: &mut Page, run: &Run, names: Names) {
    if !run.abort_reason.is_empty() || !run.aborted_by.is_empty() {
        let reason = if run.abort_reason.is_empty() { String::new() } else { format!(": {}", run.abort_reason) };
        page.labelled(2, MARK, ("✖ aborted", Tone::Warning), Tone::Plain, &format!("by {}{reason}", run.aborted_by));
    }
    let failed = groups(run, not_come_off);
    for group in failed.iter().chain(&groups(run, may_still_run)) {
        group.tell(page, names);
    }
    page.gap();
    let left = if is_kept(run) { Vec::new() } else { groups(run, |work| left_in_place(run, work)) };
    for group in &left {
        group.tell(page, names);
    }
    match run.undo() {
        UndoState::Done if left.is_empty() => page.labelled(2, MARK, ("↺ undone", Tone::Plain), Tone::Plain, "what it did has been taken back"),
        UndoState::Done => page.labelled(2, MARK, ("↺ undone", Tone::Plain), Tone::Plain, "all else that it did has been taken back"),
        UndoState::Incomplete if !was_undone(run) && run.work.iter().any(can_be_taken_back) => {
            page.labelled(
                2,
                MARK,
                ("· stays", Tone::Warning),
                Tone::Plain,
                "what it did stays, as its plan says (onFailure: keep), until somebody takes it back",
            );
        }
        UndoState::Incomplete if left.is_empty() => {
            page.labelled(2, MARK, ("✖ in place", Tone::Bad), Tone::Plain, "something that it did may still be in place");
        }
        _ => {}
    }
    if failed.is_empty() && is_kept(run) {
        page.labelled(2, MARK, ("✔ done", Tone::Good), Tone::Plain, "everything that was to be done went well");
        for group in groups(run, had_nothing_to_do) {
            group.tell(page, names);
        }
    }
    page.gap();
    for left in run.left.iter().filter(|left| !left.lease.is_empty()) {
        page.labelled(2, MARK, ("▲ lease", Tone::Warning), Tone::Plain, &format!("{}, and nobody else gets it", left.what));
        page.line(2 + MARK, Tone::Quiet, "when somebody has looked there that it has ended, and it is not to be done again by this run:");
        page.command(2 + MARK, &left.command);
    }
    page.gap();
    next(page, run);
}

/// In as few words as tell what it is.
pub(super) fn left_to_a_person(page: &mut Page, run: &Run) {
    for left in &run.left {
        page.labelled(2, MARK, ("▲ left", Tone::Warning), Tone::Plain, &left.what);
        if !left.command.is_empty() {
            page.line(2 + MARK, Tone::Quiet, "when somebody has looked there that it has ended:");
            page.command(2 + MARK, &left.command);
        }
    }
}

/// What has failed in a run that goes on, and what becomes of it then.
pub(super) fn so_far(page: &mut Page, answer: &WhyResponse, run: &Run, names: Names) {
    // What was skipped was skipped because of what is told here.
    let told = |work: &Work| not_come_off(work).filter(|(sort, _)| *sort != Sort::Skipped);
    for group in groups(run, told).iter().chain(&groups(run, may_still_run)) {
        group.tell(page, names);
    }
    if !answer.failed {
        return;
    }
    let goes_on = run.work.iter().any(|work| matches!(work.state(), WorkState::Active));
    if run.work.iter().any(|work| work.state() == WorkState::Unknown && work.undo() == WorkState::Unspecified)
        && !run.work.iter().any(|work| work.has_undo)
    {
        page.line(2 + MARK, Tone::Quiet, "when the run has ended, and somebody has looked whether it was done:");
        page.command(2 + MARK, &format!("mainstay run retry {} --unknown --dry-run", run.id));
    }
    let when = if goes_on { "when what is under way has ended" } else { "when what waits below has ended, or is ended by an abort" };
    let is_back = |work: &Work| work.has_undo && matches!(work.state(), WorkState::Succeeded | WorkState::Active | WorkState::Retrying);
    let back = groups(run, |work| is_back(work).then(|| (Sort::TakenBack, String::new())));
    match back.first() {
        Some(_) if answer.keeps => {
            let words = format!("the run fails, {when}; what it did stays, as its plan says (onFailure: keep)");
            page.labelled(2, MARK, ("✖ then", Tone::Bad), Tone::Plain, &words);
        }
        Some(group) => {
            let words = format!("undo of {}, {when}", group.what(names));
            page.labelled(2, MARK, ("↺ then", Tone::Warning), Tone::Plain, &words);
        }
        None => {
            let words = format!("the run fails, {when}; there is nothing to take back");
            page.labelled(2, MARK, ("✖ then", Tone::Bad), Tone::Plain, &words);
        }
    }
    if !goes_on {
        page.command(2 + MARK, &format!("mainstay run abort {} --reason \"…\"", run.id));
    }
}

/// A group as programs read it.
#[derive(Debug, Serialize)]
pub struct Told {
    what: &'static str,
    steps: Vec<String>,
    targets: Vec<String>,
    agents: Vec<String>,
    why: String,
}

/// What did not come off, and of an ended run what it left in place.
pub(super) fn told(run: &Run) -> Vec<Told> {
    let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    let left = if run.ended_unix_ms == 0 || is_kept(run) { Vec::new() } else { groups(run, |work| left_in_place(run, work)) };
    let all = groups(run, not_come_off).into_iter().chain(groups(run, may_still_run)).chain(left);
    all.map(|group| Told {
        what: group.sort.word(),
        steps: owned(&group.steps),
        targets: owned(&group.targets),
        agents: owned(&group.agents),
        why: group.why,
    })
    .collect()
}

fn had_nothing_to_do(work: &Work) -> Option<(Sort, String)> {
    (work.state() == WorkState::Omitted).then(|| (Sort::Omitted, work.detail.clone()))
}

/// Commands that have something to do.
fn next(page: &mut Page, run: &Run) {
    let has = |wanted: &[WorkState]| run.work.iter().any(|work| wanted.contains(&work.state()));
    let again = [WorkState::Failed, WorkState::Unreachable, WorkState::Cancelled];
    let mut goes_on = false;
    if let Some(command) = retry_unknown(run) {
        page.line(2, Tone::Quiet, "it may still be running where it was begun. When somebody has looked that it has ended, and whether it was done:");
        page.command(2, &command);
        goes_on = true;
    } else if !was_undone(run)
        // What was skipped waits for what did not come off, unless the run was stopped.
        && (has(&again) || run.work.iter().any(|work| known_since(work).is_some()) || (run.state() == RunState::Aborted && has(&[WorkState::Skipped])))
    {
        page.command(2, &format!("mainstay run retry {} --dry-run", run.id));
        goes_on = true;
    }
    if run.undo() == UndoState::Incomplete && run.work.iter().any(can_be_taken_back) {
        page.command(2, &format!("mainstay run undo {} --reason \"…\" --dry-run", run.id));
    }
    if has(&[WorkState::Failed]) && goes_on {
        let plan = format!("a retry goes by revision {} of the plan; if that is what is to be mended, apply it, and start a new run:", run.revision);
        page.line(2, Tone::Quiet, &plan);
        page.command(2, &start_anew(run));
    }
    // What was found stays found in this run: only another one looks again.
    if !goes_on && run.work.iter().any(is_found) {
        page.line(2, Tone::Quiet, "when what was found is mended, or is to be put up with, a new run looks again:");
        page.command(2, &start_anew(run));
    } else if !goes_on && was_undone(run) && run.state() != RunState::Completed {
        // What was taken back is not done again by the same run.
        let (cause, looked) = (if run.aborted_by.is_empty() { "when the cause is mended" } else { "when it is to be done after all" }, left(run));
        let looked = if looked.is_empty() { "" } else { ", and what is or may be in place has been looked at" };
        page.line(2, Tone::Quiet, &format!("{cause}{looked}, a new run does all of it:"));
        page.command(2, &start_anew(run));
    }
    page.command(2, &format!("mainstay run show {}", run.id));
}

/// Whether an undo of the run has something to do here: what failed or is not known is not undone.
#[must_use]
pub fn can_be_taken_back(work: &Work) -> bool {
    work.has_undo && work.state() == WorkState::Succeeded && work.undo() != WorkState::Succeeded
}

/// Whether a check of the step found something that stops what needs it.
fn is_found(work: &Work) -> bool {
    work.state() == WorkState::Succeeded && matches!(work.verdict(), Verdict::Critical | Verdict::Unknown)
}

/// Whether what it did is there because it is to be.
fn is_kept(run: &Run) -> bool {
    run.state() == RunState::Completed && !was_undone(run)
}

/// Whether the run took back what it did, or tried to: such a one is not done again.
#[must_use]
pub fn was_undone(run: &Run) -> bool {
    run.undo() == UndoState::Done || run.work.iter().any(|work| work.undo() != WorkState::Unspecified)
}

/// What does again what nobody knows the outcome of, where an ended run has such and may be done again.
#[must_use]
pub fn retry_unknown(run: &Run) -> Option<String> {
    let is_unknown = run.work.iter().any(|work| work.state() == WorkState::Unknown && known_since(work).is_none());
    (run.ended_unix_ms > 0 && is_unknown && !was_undone(run)).then(|| format!("mainstay run retry {} --unknown --dry-run", run.id))
}

/// A run of the same plan with the same values.
#[must_use]
pub fn start_anew(run: &Run) -> String {
    let value = |json: &str| serde_json::from_str::<String>(json).unwrap_or_else(|_| json.to_owned());
    let set = |(name, json): (&String, &String)| {
        let value = value(json);
        // One of several lines was read from a file, which is not known here.
        if value.contains('\n') { format!(" --set {name}=\"$(cat FILE)\"") } else { format!(" --set {}", quoted(&format!("{name}={value}"))) }
    };
    format!("mainstay run start {}{}", run.plan, run.inputs.iter().map(set).collect::<String>())
}

/// How bad it is; the word in front.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Sort {
    Failed,
    Found,
    Unknown,
    Missed,
    Cancelled,
    Skipped,
    MayRun,
    UndoFailed,
    MayBeInPlace,
    InPlace,
    TakenBack,
    Omitted,
}

impl Sort {
    /// For programs.
    fn word(self) -> &'static str {
        match self {
            Sort::Failed => "failed",
            Sort::Found => "found",
            Sort::Unknown => "unknown",
            Sort::Missed => "not done",
            Sort::Cancelled => "stopped",
            Sort::Skipped => "skipped",
            Sort::MayRun => "may still run",
            Sort::UndoFailed => "undo failed",
            Sort::MayBeInPlace => "may be in place",
            Sort::InPlace => "in place",
            Sort::TakenBack => "taken back",
            Sort::Omitted => "omitted",
        }
    }

    fn mark(self) -> (&'static str, Tone) {
        match self {
            Sort::Failed => ("✖ failed", Tone::Bad),
            Sort::Found => ("✖ found", Tone::Bad),
            Sort::Unknown => ("? unknown", Tone::Unknown),
            Sort::Missed => ("? not done", Tone::Unknown),
            Sort::Cancelled => ("– stopped", Tone::Quiet),
            Sort::Skipped => ("– skipped", Tone::Quiet),
            Sort::MayRun => ("? may run", Tone::Unknown),
            Sort::UndoFailed => ("✖ in place", Tone::Bad),
            Sort::MayBeInPlace => ("? in place", Tone::Unknown),
            Sort::InPlace => ("▲ in place", Tone::Warning),
            Sort::TakenBack => ("↺ undo", Tone::Warning),
            Sort::Omitted => ("– omitted", Tone::Quiet),
        }
    }
}

/// What did not come off, and why.
fn not_come_off(work: &Work) -> Option<(Sort, String)> {
    let sort = match work.state() {
        WorkState::Failed => Sort::Failed,
        WorkState::Unknown => Sort::Unknown,
        WorkState::Unreachable => Sort::Missed,
        WorkState::Cancelled => Sort::Cancelled,
        WorkState::Skipped => Sort::Skipped,
        WorkState::Succeeded if is_found(work) => Sort::Found,
        _ => return None,
    };
    Some((sort, said(work)))
}

/// An earlier try of which nobody knows whether it has ended, where no later one has done the step.
fn may_still_run(work: &Work) -> Option<(Sort, String)> {
    if reads(work) || matches!(work.state(), WorkState::Succeeded | WorkState::Unknown | WorkState::Omitted) {
        return None;
    }
    let first = work.attempts.iter().find(|attempt| !attempt.undo && is_unknown(attempt) && !attempt.since.as_ref().is_some_and(is_known))?;
    let message = first.outcome.as_ref().map_or("", |outcome| outcome.message.as_str());
    // The target says whose it was, where that is a node.
    let by = if first.agent == work.target { String::new() } else { format!(" by {}", first.agent) };
    Some((Sort::MayRun, format!("try {}{by}: nobody knows whether it has ended ({message})", first.number)))
}

fn is_unknown(attempt: &Attempt) -> bool {
    attempt.outcome.as_ref().is_some_and(|outcome| outcome.kind() == outcome::Kind::Unknown)
}

/// What agents have said since of its tries that were given up for unknown: of the last, if of all.
fn said_since(work: &Work) -> Option<(&Since, &Attempt)> {
    let given_up: Vec<&Attempt> = work.attempts.iter().filter(|attempt| !attempt.undo && is_unknown(attempt)).collect();
    let all: Option<Vec<(&Since, &Attempt)>> = given_up.into_iter().map(|attempt| Some((attempt.since.as_ref()?, attempt))).collect();
    all?.pop()
}

/// How it ended, where nobody had known it and its agents have said it since.
#[must_use]
pub fn known_since(work: &Work) -> Option<outcome::Kind> {
    let is_known = |attempt: &&Attempt| !is_unknown(attempt) || attempt.since.as_ref().is_some_and(is_known);
    let forward = || work.attempts.iter().filter(|attempt| !attempt.undo);
    let (since, _) = said_since(work).filter(|_| work.state() == WorkState::Unknown && forward().all(|attempt| is_known(&attempt)))?;
    since.outcome.as_ref().map(Outcome::kind)
}

fn is_known(since: &Since) -> bool {
    since.outcome.as_ref().is_some_and(|outcome| outcome.kind() != outcome::Kind::Unknown)
}

/// Whether an agent was told to begin any of its tries.
fn was_begun(work: &Work) -> bool {
    work.attempts.iter().any(|attempt| !attempt.undo && attempt.begun != Some(false))
}

fn reads(work: &Work) -> bool {
    catalogue::kind(&work.kind).is_some_and(|kind| kind.effect == Effect::Read)
}

/// What the step itself says, and what its last attempt did.
fn said(work: &Work) -> String {
    let last = work.attempts.iter().filter(|attempt| !attempt.undo).max_by_key(|attempt| attempt.number);
    let outcome = last.and_then(|attempt| attempt.outcome.as_ref());
    if work.state() == WorkState::Succeeded {
        let bad = |verdict| matches!(verdict, Verdict::Critical | Verdict::Unknown);
        let checks = outcome.and_then(|outcome| outcome.report.as_ref()).into_iter().flat_map(|report| &report.checks);
        let found: Vec<String> = checks.filter(|check| bad(check.verdict())).map(crate::render::subject::sentence).collect();
        return some(&found.iter().map(String::as_str).collect::<Vec<_>>());
    }
    let message = outcome.map_or("", |outcome| outcome.message.as_str());
    let mut words = match (work.detail.as_str(), message) {
        ("", message) => message.to_owned(),
        (detail, message) if message.is_empty() || detail.contains(message) => detail.to_owned(),
        // It was held back between two tries.
        (detail, message) if work.state() == WorkState::Skipped => format!("{detail}; its last try: {message}"),
        (detail, message) => format!("{detail}: {message}"),
    };
    if let Some((since, attempt)) = said_since(work).filter(|_| work.state() == WorkState::Unknown) {
        let outcome = since.outcome.as_ref();
        let message = outcome.map_or("", |outcome| outcome.message.as_str());
        let how = match outcome.map(Outcome::kind) {
            Some(outcome::Kind::Succeeded) => "that it was done".to_owned(),
            Some(outcome::Kind::Unknown) | None => format!("no more: {message}"),
            Some(_) => format!("that it ended without being done: {message}"),
        };
        words.push_str(&format!("; since then {} has said {how}", attempt.agent));
    }
    words
}

/// How those that failed did, of the steps that `again` picks: `drain on a1: exited with 1`.
#[must_use]
pub fn failed(run: &Run, again: impl Fn(&Work) -> bool) -> Vec<String> {
    let names = Names::of(run.work.iter().map(|work| work.target.as_str()));
    let picked = groups(run, |work| (work.state() == WorkState::Failed && again(work)).then(|| (Sort::Failed, said(work))));
    picked.iter().filter(|group| !group.why.is_empty()).map(|group| format!("{}: {}", group.what(names), group.why)).collect()
}

/// Steps of which something is, or may be, still in place: `k`, `drain on a1`.
#[must_use]
pub fn left(run: &Run) -> Vec<String> {
    let names = Names::of(run.work.iter().map(|work| work.target.as_str()));
    groups(run, |work| left_in_place(run, work)).iter().map(|group| group.what(names)).collect()
}

/// What is, or may be, still there of what it did.
fn left_in_place(run: &Run, work: &Work) -> Option<(Sort, String)> {
    if reads(work) {
        return None;
    }
    let because = |what: &str| if work.undo_detail.is_empty() { what.to_owned() } else { format!("{what}: {}", work.undo_detail) };
    match (work.state(), work.undo()) {
        (_, WorkState::Succeeded) => None,
        (_, WorkState::Unknown) => Some((Sort::MayBeInPlace, because("nobody knows whether its undo came off"))),
        (_, WorkState::Failed) => Some((Sort::UndoFailed, because("its undo failed"))),
        (_, WorkState::Skipped | WorkState::Cancelled | WorkState::Unreachable) => Some((Sort::UndoFailed, because("its undo was not carried out"))),
        (WorkState::Succeeded, _) => Some((Sort::InPlace, "it was done, and is not taken back".to_owned())),
        // What never began has done nothing: the state of the step alone does not tell.
        (WorkState::Cancelled | WorkState::Failed, _) if !was_begun(work) => None,
        (WorkState::Unknown, _) if known_since(work) == Some(outcome::Kind::Succeeded) => {
            Some((Sort::InPlace, "it was done, as its agent has said since, and is not taken back".to_owned()))
        }
        (WorkState::Unknown | WorkState::Cancelled, _) => Some((Sort::MayBeInPlace, "part of it may have been done".to_owned())),
        // An undo takes back what was done, and this was not: whoever reads that all is undone has to know of it.
        (WorkState::Failed, _) if run.undo() != UndoState::Unspecified => {
            Some((Sort::MayBeInPlace, "it failed, and part of it may have been done".to_owned()))
        }
        _ => None,
    }
}

/// The same of several targets, and of several steps.
struct Group<'a> {
    sort: Sort,
    steps: Vec<&'a str>,
    targets: Vec<&'a str>,
    /// Who did it, where the target does not say.
    agents: Vec<&'a str>,
    why: String,
}

impl Group<'_> {
    /// `check on a3`, `nap by a1`
    fn what(&self, names: Names) -> String {
        let named = self.targets.iter().copied().filter(|target| !names.short(target).is_empty());
        let targets = names.list(named.clone(), named.count());
        let on = if targets.is_empty() { String::new() } else { format!(" on {targets}") };
        let agents = names.list(self.agents.iter().copied(), self.agents.len());
        let by = if agents.is_empty() { String::new() } else { format!(" by {agents}") };
        format!("{}{on}{by}", some(&self.steps))
    }

    fn tell(&self, page: &mut Page, names: Names) {
        page.labelled(2, MARK, self.sort.mark(), Tone::Plain, &self.what(names));
        if !self.why.is_empty() {
            let several = self.targets.len() > 1 && self.sort != Sort::Skipped;
            let why = if several { names::about_each(&self.why, self.targets.first().copied().unwrap_or_default()) } else { self.why.clone() };
            page.line(2 + MARK, Tone::Plain, &why);
        }
    }
}

/// The agents that had it, where the target is no node: something may be left with each of them.
fn agents(work: &Work) -> impl Iterator<Item = &str> {
    let had = work.attempts.iter().filter(|attempt| attempt.begun != Some(false) || work.attempts.len() == 1);
    had.map(|attempt| attempt.agent.as_str()).filter(|agent| *agent != work.target && !agent.is_empty())
}

/// The worst first. What is skipped for one reason is one group, whatever the step.
fn groups(run: &Run, judge: impl Fn(&Work) -> Option<(Sort, String)>) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    for work in &run.work {
        let Some((sort, why)) = judge(work) else { continue };
        let step = if matches!(sort, Sort::Failed | Sort::Found | Sort::Unknown | Sort::MayRun) { work.step.as_str() } else { "" };
        // What was skipped names the target that it was skipped for.
        let reason = if sort == Sort::Skipped { why.clone() } else { names::replaced(&why, &work.target, "\u{1}") };
        let key = format!("{sort:?}\0{step}\0{reason}");
        let place = *places.entry(key).or_insert(groups.len());
        if place == groups.len() {
            groups.push(Group { sort, steps: Vec::new(), targets: Vec::new(), agents: Vec::new(), why });
        }
        let Some(group) = groups.get_mut(place) else { continue };
        put(&mut group.steps, &work.step);
        put(&mut group.targets, &work.target);
        agents(work).for_each(|agent| put(&mut group.agents, agent));
    }
    for group in &mut groups {
        group.targets.sort_unstable();
    }
    groups.sort_by_key(|group| group.sort);
    groups
}

/// Each once.
fn put<'a>(all: &mut Vec<&'a str>, one: &'a str) {
    if !all.contains(&one) {
        all.push(one);
    }
}
