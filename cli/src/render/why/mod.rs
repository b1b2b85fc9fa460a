//! `mainstay why RUN`: for what a run waits, what needs a person first; of one that has ended, what did not come
//! off and what it left in place. Without a run, what in all open runs waits for a person.

mod any;
mod ended;
mod groups;
mod waits;

pub use any::{Any, any};
pub use ended::{can_be_taken_back, failed, known_since, left, retry_unknown, start_anew, was_undone};
pub use waits::{First, changes_in, command_among, covered, first, who};

use jiff::tz::TimeZone;
use mainstay_core::WallTime;
use mainstay_proto::v1::{RolloutState, Run, RunState, WhyResponse};
use serde::Serialize;

use super::names::Names;
use super::page::Page;
use super::terminal::{Terminal, Tone};
use super::{time, units, values, verdict};

/// Columns of the mark and the word in front of each group.
const MARK: usize = 12;
/// Rollouts of steps that are told in the head, besides the plan's.
const ROLLOUTS_TOLD: usize = 2;

/// The JSON form: the answer, and of what went wrong the reasons that the page tells.
#[derive(Debug, Serialize)]
pub struct Explained<'a> {
    #[serde(flatten)]
    answer: &'a WhyResponse,
    reasons: Vec<ended::Told>,
}

impl Explained<'_> {
    #[must_use]
    pub fn of(answer: &WhyResponse) -> Explained<'_> {
        Explained { answer, reasons: answer.run.as_ref().map(ended::told).unwrap_or_default() }
    }
}

/// The whole page.
#[must_use]
pub fn why(answer: &WhyResponse, terminal: Terminal, now: WallTime, zone: &TimeZone) -> String {
    let Some(run) = &answer.run else { return "the mesh gave no run\n".to_owned() };
    let names = Names::of(run.work.iter().map(|work| work.target.as_str()));
    let mut page = Page::new(terminal);
    head(&mut page, run, &answer.rollouts, now, zone);
    if answer.replaced_unix_ms > 0 {
        let at = time::local(answer.replaced_unix_ms, now, zone);
        page.line(0, Tone::Warning, &format!("▲ the schedule of {} starts another run {at}: this one is aborted then: what had come to its end is taken back where it has an undo, and what is under way is cut off", run.plan));
    }
    page.gap();
    if is_open(run) {
        ended::so_far(&mut page, answer, run, names);
        page.gap();
        waits::waits(&mut page, answer, run, names, terminal);
    } else {
        ended::ended(&mut page, run, names);
    }
    page.finish()
}

fn is_open(run: &Run) -> bool {
    matches!(run.state(), RunState::Running | RunState::Undoing)
}

/// What it is and how far; who began it and with what.
fn head(page: &mut Page, run: &Run, rollouts: &[RolloutState], now: WallTime, zone: &TimeZone) {
    let mut parts = vec![(run.id.clone(), Tone::Strong), state(run)];
    parts.extend(verdict::found(run).map(|mark| (mark.text(), mark.tone)));
    let of_plan = rollouts.iter().filter(|rollout| rollout.step.is_empty());
    let goes_on =
        |rollout: &&RolloutState| !rollout.step.is_empty() && rollout.done + rollout.failed + rollout.given_up + rollout.stopped < rollout.targets;
    let of_steps = rollouts.iter().filter(goes_on).take(ROLLOUTS_TOLD);
    parts.extend(of_plan.chain(of_steps).flat_map(progress).map(|words| (words, Tone::Plain)));
    parts.push((far(run), Tone::Plain));
    page.parts(0, &parts);
    let mut began = vec![format!("started {} by {}", time::local(run.started_unix_ms, now, zone), run.started_by)];
    began.push(if run.ended_unix_ms == 0 {
        format!("{} ago", time::since(run.started_unix_ms, now))
    } else {
        format!("ended {} after {}", time::local(run.ended_unix_ms, now, zone), units::duration_ms(run.took_ms))
    });
    began.push(format!("{} revision {}", run.plan, run.revision));
    page.parts(0, &began.into_iter().map(|words| (words, Tone::Quiet)).collect::<Vec<_>>());
    if !run.inputs.is_empty() {
        let inputs: Vec<String> = run.inputs.iter().map(|(name, value)| format!("{name} = {}", values::short_json(value))).collect();
        page.labelled(0, 6, ("with", Tone::Quiet), Tone::Quiet, &inputs.join(" · "));
    }
    if !run.without_calendar.is_empty() {
        page.line(0, Tone::Warning, &format!("▲ windows and freezes do not count for it: {}", run.without_calendar));
    }
}

fn state(run: &Run) -> (String, Tone) {
    let mark = verdict::run(run.state());
    let paused = run.state() == RunState::Running && !run.paused_by.is_empty();
    if paused { ("‖ paused".to_owned(), Tone::Warning) } else { (mark.text(), mark.tone) }
}

/// `3 of 4 steps done`, `3 steps on several targets: 36 of 120 done`
#[must_use]
pub fn far(run: &Run) -> String {
    let steps = units::count(run.steps.into(), "step", "steps");
    let mut text = if run.steps == run.work_total {
        format!("{} of {steps} done", run.work_done)
    } else {
        format!("{steps} on several targets: {} of {} done", run.work_done, run.work_total)
    };
    if run.work_taken_back > 0 {
        text += &format!(", {} taken back", run.work_taken_back);
    }
    text
}

/// `wave 2 of 4`, `12 of 40 nodes done`; of a step's own rollout in one part with its name.
fn progress(rollout: &RolloutState) -> Vec<String> {
    let (one, many) = if rollout.step.is_empty() { ("node", "nodes") } else { ("target", "targets") };
    let mut parts = Vec::new();
    if rollout.waves > 1 {
        let goes_on = rollout.done + rollout.failed + rollout.given_up + rollout.stopped + rollout.taken_back < rollout.targets;
        let word = if goes_on || rollout.wave == rollout.waves { "wave" } else { "stopped in wave" };
        parts.push(format!("{word} {} of {}", rollout.wave, rollout.waves));
    }
    let all = units::count(rollout.targets.into(), one, many);
    let others = [(rollout.failed, "failed"), (rollout.stopped, "stopped"), (rollout.given_up, "not begun")];
    let others = others.into_iter().filter(|(count, _)| *count > 0);
    // What was done and has been taken back is not done: each is in one place.
    if rollout.taken_back > 0 {
        let done = [(rollout.taken_back, "taken back"), (rollout.done, "done")].into_iter().filter(|(count, _)| *count > 0);
        let places: Vec<String> = done.chain(others).map(|(count, word)| format!("{count} {word}")).collect();
        parts.push(format!("of {all} {}", places.join(", ")));
    } else {
        parts.push(format!("{} of {all} done", rollout.done));
        parts
            .extend(others.filter(|(_, word)| *word != "not begun").map(|(count, word)| format!("{} {word}", units::count(count.into(), one, many))));
    }
    if rollout.step.is_empty() { parts } else { vec![format!("{}: {}", rollout.step, parts.join(", "))] }
}

#[cfg(test)]
mod tests;
