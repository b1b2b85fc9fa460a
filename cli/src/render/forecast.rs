//! What a change would come to, for `--dry-run`: from the run as it is and as the mesh says it would be.

use std::collections::{BTreeMap, BTreeSet};

use mainstay_core::catalogue::{self, Effect};
use mainstay_proto::v1::{Remark, Run, RunState, Severity, Work, WorkState};
use serde::Serialize;

use super::layout::{harmless, pad, width};
use super::names::Names;
use super::{units, why};

/// Of many work items so many are named.
const NAMED: usize = 3;

/// What would happen.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Forecast {
    dry_run: bool,
    /// `run reboot-7`
    subject: String,
    #[serde(skip)]
    outcome: &'static str,
    /// Why nothing would change; empty where something would.
    unchanged: String,
    would: Vec<Part>,
    /// What would be in the way.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    remarks: Vec<Remark>,
    /// What to do where something is in the way for good.
    #[serde(skip)]
    instead: String,
    #[serde(skip)]
    names: Names,
}

/// One thing that would happen, and to which work items.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Part {
    what: String,
    work: Vec<Item>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Item {
    step: String,
    target: String,
}

impl Forecast {
    /// `outcome` completes "it would …".
    #[must_use]
    pub fn new(subject: String, outcome: &'static str) -> Forecast {
        let names = Names::of(std::iter::empty());
        Forecast { dry_run: true, subject, outcome, unchanged: String::new(), would: Vec::new(), remarks: Vec::new(), instead: String::new(), names }
    }

    pub fn would(&mut self, what: impl Into<String>) {
        self.would.push(Part { what: what.into(), work: Vec::new() });
    }

    pub fn nothing(&mut self, why: impl Into<String>) {
        self.unchanged = why.into();
    }

    #[must_use]
    pub fn text(&self) -> String {
        if !self.unchanged.is_empty() {
            return format!("{}: nothing would change: {}\n", self.subject, harmless(&self.unchanged));
        }
        let column = self.would.iter().filter(|part| !part.work.is_empty()).map(|part| width(&part.what)).max().unwrap_or(0);
        let line = |part: &Part| match part.work.as_slice() {
            [] => format!("  {}\n", harmless(&part.what)),
            work => format!("  {}  {}\n", pad(&part.what, column), self.words(work)),
        };
        let would: String = self.would.iter().map(line).collect();
        let in_the_way = harmless_lines(&self.remarks);
        format!("{} would {}; nothing was changed\n{would}{in_the_way}{}", self.subject, self.outcome, self.instead)
    }

    /// `4 steps: drain on a1, drain on a2, smoke and 1 more`
    fn words(&self, work: &[Item]) -> String {
        let one = |item: &Item| match self.names.short(&item.target) {
            "" => item.step.clone(),
            target => format!("{} on {target}", item.step),
        };
        let named = work.iter().take(NAMED).map(one).collect::<Vec<_>>().join(", ");
        let more = if work.len() > NAMED { format!(" and {} more", work.len() - NAMED) } else { String::new() };
        harmless(&format!("{}: {named}{more}", units::count(work.len() as u64, "step", "steps")))
    }
}

/// What is in the way as things are now, a line each.
fn harmless_lines(remarks: &[Remark]) -> String {
    let mark = |remark: &Remark| match remark.severity() {
        Severity::Problem => Some("✖"),
        Severity::Warning => Some("▲"),
        Severity::Note | Severity::Unspecified => None,
    };
    let of = |remark: &Remark| if remark.step.is_empty() { String::new() } else { format!("{}: ", remark.step) };
    let hint = |remark: &Remark| if remark.hint.is_empty() { String::new() } else { format!("  → {}\n", harmless(&remark.hint)) };
    let words = |remark: &Remark| harmless(&format!("{}{}", of(remark), remark.message));
    let line = |remark: &Remark| Some(format!("{} as things are now: {}\n{}", mark(remark)?, words(remark), hint(remark)));
    let mut lines: Vec<String> = remarks.iter().filter_map(line).collect();
    // The same of several targets is said once.
    let mut told = std::collections::BTreeSet::new();
    lines.retain(|line| told.insert(line.clone()));
    lines.concat()
}

/// Looks at a run before and after.
struct Look<'a> {
    before: &'a Run,
    after: BTreeMap<(&'a str, &'a str), &'a Work>,
    forecast: Forecast,
}

impl<'a> Look<'a> {
    fn new(before: &'a Run, after: &'a Run, outcome: &'static str) -> Look<'a> {
        let names = Names::of(before.work.iter().map(|work| work.target.as_str()));
        let after = after.work.iter().map(|work| ((work.step.as_str(), work.target.as_str()), work)).collect();
        Look { before, after, forecast: Forecast { names, ..Forecast::new(format!("run {}", before.id), outcome) } }
    }

    fn say(&mut self, what: &str, wanted: impl Fn(&Work, &Work) -> bool) {
        let work: Vec<Item> = self.those(wanted).map(|work| Item { step: work.step.clone(), target: work.target.clone() }).collect();
        if !work.is_empty() {
            self.forecast.would.push(Part { what: what.to_owned(), work });
        }
    }

    fn those(&self, wanted: impl Fn(&Work, &Work) -> bool) -> impl Iterator<Item = &'a Work> {
        let after = &self.after;
        self.before.work.iter().filter(move |work| after.get(&(work.step.as_str(), work.target.as_str())).is_some_and(|after| wanted(work, after)))
    }

    /// An undo is bounded by no strategy: who took care that few targets are away at once has to know.
    fn all_at_once(&mut self, wanted: impl Fn(&Work, &Work) -> bool) {
        let mut targets: BTreeMap<&str, usize> = BTreeMap::new();
        self.those(wanted).for_each(|work| *targets.entry(&work.step).or_default() += 1);
        if let Some((step, count)) = targets.into_iter().max_by_key(|(_, count)| *count).filter(|(_, count)| *count > 1) {
            self.forecast
                .would(format!("each step is taken back on all of its targets at once, {step} on {count}, as far as a lease of the step lets them: maxUnavailable does not count for that"));
        }
    }
}

fn waits(work: &Work) -> bool {
    matches!(work.state(), WorkState::Waiting | WorkState::Retrying)
}

fn changes_something(work: &Work) -> bool {
    catalogue::kind(&work.kind).is_none_or(|kind| kind.effect != Effect::Read)
}

/// Of an abort, and of an undo of a run that goes on.
#[must_use]
pub fn abort(before: &Run, after: &Run) -> Forecast {
    let mut look = Look::new(before, after, "be aborted");
    if before.state() == RunState::Undoing || !before.aborted_by.is_empty() {
        look.forecast.nothing("it takes back what it did already");
        return look.forecast;
    }
    look.say("told to stop", |before, _| before.state() == WorkState::Active);
    look.say("may stay in part", |before, _| before.state() == WorkState::Active && changes_something(before));
    look.say("not begun any more", |before, after| waits(before) && !waits(after));
    let goes_back = |before: &Work, _: &Work| before.state() == WorkState::Succeeded && before.has_undo;
    look.say("taken back", goes_back);
    look.all_at_once(goes_back);
    look.say("stays as it is", |before, _| before.state() == WorkState::Succeeded && !before.has_undo && changes_something(before));
    look.forecast
}

#[must_use]
pub fn pause(before: &Run, after: &Run) -> Forecast {
    let mut look = Look::new(before, after, "be paused");
    if !before.paused_by.is_empty() {
        look.forecast.nothing(format!("it was paused before, by {}", before.paused_by));
        return look.forecast;
    }
    look.say("goes on to its end", |before, _| before.state() == WorkState::Active);
    look.say("not begun for now", |before, _| waits(before));
    if before.work.iter().any(|work| waits(work) && work.kind == catalogue::APPROVAL) {
        look.forecast.would("nobody is asked meanwhile: the time of an approval counts anew from when the run goes on");
    }
    look.forecast
}

#[must_use]
pub fn resume(before: &Run, after: &Run) -> Forecast {
    let mut look = Look::new(before, after, "go on");
    if before.paused_by.is_empty() {
        look.forecast.nothing("it is not paused");
        return look.forecast;
    }
    look.say("may begin again", |before, _| waits(before));
    look.forecast
}

#[must_use]
pub fn undo(before: &Run, after: &Run) -> Forecast {
    if before.ended_unix_ms == 0 {
        return abort(before, after);
    }
    let mut look = Look::new(before, after, "be taken back, what was done last first");
    let goes_back = |_: &Work, after: &Work| after.undo() == WorkState::Waiting;
    look.say("taken back", |before, after| goes_back(before, after) && before.undo() != WorkState::Unknown);
    look.say("taken back again, though its undo may have been done", |before, after| goes_back(before, after) && before.undo() == WorkState::Unknown);
    look.all_at_once(goes_back);
    look.say("stays as it is", |before, after| {
        before.state() == WorkState::Succeeded && after.undo() == WorkState::Unspecified && changes_something(before)
    });
    look.say("may stay in part", |before, _| matches!(before.state(), WorkState::Unknown | WorkState::Cancelled) && changes_something(before));
    look.forecast
}

#[must_use]
pub fn retry(before: &Run, after: &Run, remarks: &[Remark]) -> Forecast {
    let mut look = Look::new(before, after, "go on");
    look.say("done again", |before, after| !waits(before) && waits(after) && before.state() != WorkState::Unknown);
    look.say("counts as done, as its agent has said since", |before, after| {
        before.state() == WorkState::Unknown && after.state() == WorkState::Succeeded
    });
    look.say("done again, which its agent has said since did not come off", |before, after| waits(after) && why::known_since(before).is_some());
    look.say("done again, though it may have been done", |before, after| {
        waits(after) && before.state() == WorkState::Unknown && why::known_since(before).is_none()
    });
    look.say("left as it is", |before, after| before.state() == WorkState::Unknown && !waits(after));
    let again: BTreeSet<_> = look.those(|_, after| waits(after)).map(|work| (&work.step, &work.target)).collect();
    for failed in why::failed(before, |work| again.contains(&(&work.step, &work.target))) {
        look.forecast.would(format!("last time {failed}; whether that is mended shows when it is tried"));
    }
    for approval in after.approvals.iter().filter(|approval| !approval.denied) {
        let of = if approval.step.is_empty() { "the run" } else { &approval.step };
        let wave = if approval.wave == 0 { String::new() } else { format!(", wave {},", approval.wave) };
        look.forecast.would(format!("the approval of {of}{wave} by {} counts on, unless it has expired", approval.by));
    }
    look.forecast.remarks = remarks.to_vec();
    if remarks.iter().any(|remark| remark.severity() == Severity::Problem) {
        look.forecast.instead = format!(
            "a retry goes by revision {} of the plan: what is to be mended there takes a new run\n  → mainstay plan apply -f FILE\n  → mainstay run start {}\n",
            before.revision,
            harmless(&before.plan)
        );
    }
    look.forecast
}

#[cfg(test)]
mod tests {
    use mainstay_proto::v1::{Approval, Attempt, Outcome, outcome};

    use super::*;

    fn work(step: &str, state: WorkState, has_undo: bool) -> Work {
        Work { step: step.into(), kind: "node.exec".into(), target: "prod/a1".into(), state: state.into(), has_undo, ..Work::default() }
    }

    fn run(work: Vec<Work>) -> Run {
        Run { id: "deploy-4".into(), state: RunState::Running.into(), work, ..Run::default() }
    }

    #[test]
    fn an_abort_says_what_becomes_of_each_step() {
        let before = run(vec![
            work("one", WorkState::Succeeded, true),
            work("two", WorkState::Succeeded, false),
            work("three", WorkState::Active, true),
            work("four", WorkState::Waiting, true),
        ]);
        let mut after = before.clone();
        after.work[3].state = WorkState::Skipped.into();
        assert_eq!(
            abort(&before, &after).text(),
            "run deploy-4 would be aborted; nothing was changed\n  told to stop        1 step: three on a1\n  \
             may stay in part    1 step: three on a1\n  not begun any more  1 step: four on a1\n  \
             taken back          1 step: one on a1\n  stays as it is      1 step: two on a1\n"
        );
    }

    #[test]
    fn an_abort_says_that_an_undo_goes_everywhere_at_once() {
        let on = |target: &str| Work { target: target.into(), ..work("drain", WorkState::Succeeded, true) };
        let one = run(vec![on("prod/a1"), work("smoke", WorkState::Succeeded, true)]);
        assert!(!abort(&one, &one).text().contains("at once"));
        let two = run(vec![on("prod/a1"), on("prod/a2"), work("smoke", WorkState::Succeeded, true)]);
        assert!(
            abort(&two, &two)
                .text()
                .contains("all of its targets at once, drain on 2, as far as a lease of the step lets them: maxUnavailable does not count"),
            "{}",
            abort(&two, &two).text()
        );
    }

    #[test]
    fn a_pause_says_that_nobody_is_asked() {
        let says = |kind: &str, state| {
            let before = run(vec![Work { kind: kind.into(), ..work("ask", state, false) }]);
            pause(&before, &before).text().contains("nobody is asked meanwhile")
        };
        assert!(says("approval", WorkState::Waiting));
        assert!(!says("approval", WorkState::Succeeded) && !says("node.exec", WorkState::Waiting));
    }

    #[test]
    fn a_retry_tells_apart_what_may_have_been_done() {
        let before = Run { ended_unix_ms: 1, ..run(vec![work("one", WorkState::Failed, false), work("two", WorkState::Unknown, false)]) };
        let mut after = before.clone();
        after.work[0].state = WorkState::Waiting.into();
        let way = Remark { severity: Severity::Warning.into(), step: "one".into(), message: "it would wait: lease x".into(), ..Remark::default() };
        let text = retry(&before, &after, &[way.clone(), way]).text();
        assert!(text.ends_with("two on a1\n▲ as things are now: one: it would wait: lease x\n"), "{text}");
        let never = Remark {
            severity: Severity::Problem.into(),
            step: "one".into(),
            message: "it would be stopped before its end".into(),
            hint: "give it a longer one:  timeout: 6m".into(),
        };
        let before = Run { plan: "deploy".into(), revision: 3, ..before };
        assert!(retry(&before, &after, &[never]).text().ends_with(
            "✖ as things are now: one: it would be stopped before its end\n  → give it a longer one:  timeout: 6m\na retry goes by revision 3 of the \
                 plan: what is to be mended there takes a new run\n  → mainstay plan apply -f FILE\n  → mainstay run start deploy\n"
        ));
        let said = |wave| Approval { step: "one".into(), wave, by: "operator/jo".into(), ..Approval::default() };
        let text = retry(&before, &Run { approvals: vec![said(1), said(2)], ..after.clone() }, &[]).text();
        assert!(text.contains("the approval of one, wave 1, by operator/jo counts on") && text.contains("wave 2,"), "{text}");
        let text = retry(&before, &after, &[]).text();
        assert!(text.contains("done again     1 step: one on a1\n  left as it is  1 step: two on a1\n"), "{text}");
        let refused = Outcome { kind: outcome::Kind::Failed.into(), message: "this agent's policy has no rule".into(), ..Outcome::default() };
        let mut refusing = before.clone();
        refusing.work[0].attempts = vec![Attempt { number: 1, outcome: Some(refused), ..Attempt::default() }];
        let text = retry(&refusing, &after, &[]).text();
        assert!(text.contains("\n  last time one on a1: this agent's policy has no rule; whether that is mended shows when it is tried\n"), "{text}");
        after.work[1].state = WorkState::Waiting.into();
        assert!(retry(&before, &after, &[]).text().contains("done again, though it may have been done  1 step: two on a1"), "{text}");
    }

    #[test]
    fn an_undo_of_an_ended_run_says_what_it_takes_back() {
        let before = Run { ended_unix_ms: 1, ..run(vec![work("one", WorkState::Succeeded, true), work("two", WorkState::Succeeded, false)]) };
        let mut after = before.clone();
        after.work[0].undo = WorkState::Waiting.into();
        assert_eq!(
            undo(&before, &after).text(),
            "run deploy-4 would be taken back, what was done last first; nothing was changed\n  taken back      1 step: one on a1\n  \
             stays as it is  1 step: two on a1\n"
        );
    }

    #[test]
    fn nothing_is_said_to_change_where_nothing_does() {
        let paused = Run { paused_by: "operator/jo".into(), ..run(vec![]) };
        assert_eq!(pause(&paused, &paused).text(), "run deploy-4: nothing would change: it was paused before, by operator/jo\n");
        assert_eq!(resume(&run(vec![]), &run(vec![])).text(), "run deploy-4: nothing would change: it is not paused\n");
    }

    #[test]
    fn json_has_all_of_it() {
        let before = run(vec![work("one", WorkState::Active, false)]);
        insta::assert_snapshot!(crate::render::json::json(&pause(&before, &before)).unwrap_or_default());
    }
}
