//! Runs: one execution of one plan revision, its work items, and how it ends.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use imbl::OrdMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::When;
use super::approval::Given;
pub use super::outcome::Outcome;
use super::resolution::{Resolution, Resolutions};
pub use super::work::{Work, WorkState};
use crate::catalogue::{self, ParamType};
use crate::id::{RunId, StepName, Target};
use crate::plan::{OnFailure, OnUnknown, Plan, Retry, Step};
use crate::report::Verdict;
use crate::rollout::{self, Rollout};
use crate::time::{MeshTime, Millis, WallTime};

/// One execution of a plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    pub id: RunId,
    pub revision: u32,
    /// The plan as it was when the run started, without its source text.
    pub plan: Arc<Plan>,
    pub inputs: BTreeMap<String, Value>,
    pub by: String,
    pub phase: RunPhase,
    pub abort: Option<Abort>,
    pub work: OrdMap<StepName, OrdMap<Target, Work>>,
    pub started_at: MeshTime,
    pub started: WallTime,
    pub ended: Option<WallTime>,
    /// How long it took, in mesh time.
    pub took: Millis,
    /// When the last work item moved in the direction the run goes; what waits for an agent counts from here.
    pub moved_at: MeshTime,
    pub(super) order: u64,
    /// Bytes that plan and work items add to [`State::weight`].
    #[serde(default)]
    pub(super) weight: u64,
    /// Who holds it up, and why.
    #[serde(default)]
    pub pause: Option<Pause>,
    /// When it was last let go on: the time that something may wait counts from then. Left out where it never was, or
    /// by members of before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resumed_at: Option<MeshTime>,
    /// Why windows and freezes do not count, where somebody said so.
    #[serde(default)]
    pub without_calendar: Option<String>,
    /// UID of the object in the plan's cluster that asked for it. Left out where none did, as members of before do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    /// What people have agreed to, or not.
    #[serde(default)]
    pub approvals: Vec<Given>,
    /// What the expressions of its steps came to.
    #[serde(default)]
    pub resolved: Resolutions,
    /// What of its weight they are.
    #[serde(default)]
    pub(super) resolutions_weight: u64,
}

/// Somebody wants it to begin nothing further for now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    pub by: String,
    pub reason: String,
    pub at: MeshTime,
}

/// Where a run stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum RunPhase {
    Running,
    Undoing,
    Ended(RunEnd),
}

/// Somebody wants it to stop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Abort {
    pub by: String,
    pub reason: String,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunEnd {
    pub outcome: RunOutcome,
    pub undo: UndoEnd,
    /// The worst of all verdicts and outcomes.
    pub verdict: Verdict,
}

/// Whether all that was to be done has been done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunOutcome {
    Completed,
    Failed,
    Aborted,
}

/// What became of taking it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UndoEnd {
    NotNeeded,
    Done,
    /// Something that was done is still in place: a person has to look.
    Incomplete,
}

/// Forward, or back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    Do,
    Undo,
}

/// Feature level from which a budget excuses only targets that failed themselves, also in what a retry does again.
const EXCUSES_THEMSELVES: u32 = 3;
/// From this level on an undo that failed does not keep the other targets of its step from being taken back, and a run that
/// has left out all of its steps does not end as ok.
const SIBLINGS_GO_ON: u32 = 5;

/// Why what waited in an aborted run is skipped.
pub(super) const ABORTED: &str = "the run was aborted";

impl RunEnd {
    /// Whether whoever waits for the run is to be told that it went wrong.
    #[must_use]
    pub fn is_bad(&self) -> bool {
        self.outcome != RunOutcome::Completed || self.verdict.is_bad()
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Direction::Do => "do",
            Direction::Undo => "undo",
        })
    }
}

impl RunOutcome {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            RunOutcome::Completed => "completed",
            RunOutcome::Failed => "failed",
            RunOutcome::Aborted => "aborted",
        }
    }
}

impl UndoEnd {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            UndoEnd::NotNeeded => "not needed",
            UndoEnd::Done => "done",
            UndoEnd::Incomplete => "incomplete",
        }
    }
}

impl fmt::Display for RunEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, verdict {}", self.outcome.as_str(), self.verdict)?;
        match self.undo {
            UndoEnd::NotNeeded => Ok(()),
            UndoEnd::Done => f.write_str(", undone"),
            UndoEnd::Incomplete => f.write_str(", undo incomplete"),
        }
    }
}

impl Run {
    #[must_use]
    pub fn is_ended(&self) -> bool {
        matches!(self.phase, RunPhase::Ended(_))
    }

    #[must_use]
    pub fn end(&self) -> Option<&RunEnd> {
        match &self.phase {
            RunPhase::Ended(end) => Some(end),
            _ => None,
        }
    }

    /// Whether attempts in this direction may be offered.
    #[must_use]
    pub fn accepts(&self, direction: Direction) -> bool {
        match direction {
            Direction::Do => self.phase == RunPhase::Running && self.abort.is_none(),
            Direction::Undo => self.phase == RunPhase::Undoing,
        }
    }

    pub fn works(&self) -> impl Iterator<Item = (&StepName, &Target, &Work)> {
        self.work.iter().flat_map(|(step, targets)| targets.iter().map(move |(target, work)| (step, target, work)))
    }

    /// Bytes that the run adds to [`State::weight`], besides its reports.
    pub(crate) fn weight(&self) -> u64 {
        self.weight
    }

    #[must_use]
    pub fn work(&self, step: &StepName, target: &Target) -> Option<&Work> {
        self.work.get(step)?.get(target)
    }

    pub(super) fn work_mut(&mut self, step: &StepName, target: &Target) -> Option<&mut Work> {
        self.work.get_mut(step)?.get_mut(target)
    }

    pub(super) fn next_order(&mut self) -> u64 {
        self.order += 1;
        self.order
    }

    /// Nothing that waits in this direction will be done any more.
    pub(super) fn skip_waiting(&mut self, direction: Direction, reason: &str, when: When) {
        let has_direction = |work: &Work| direction == Direction::Do || work.undo.is_some();
        let waiting: Vec<(StepName, Target)> = self
            .works()
            .filter(|(_, _, work)| has_direction(work) && work.state(direction).is_waiting())
            .map(|(step, target, _)| (step.clone(), target.clone()))
            .collect();
        for (step, target) in waiting {
            let order = self.next_order();
            if let Some(work) = self.work_mut(&step, &target) {
                work.skipped(direction, WorkState::Skipped { reason: reason.to_owned() }, order, when.at);
            }
        }
    }

    /// Whether a work item went well enough for what needs its step.
    #[must_use]
    pub fn passed(&self, step: &Step, work: &Work) -> bool {
        match &work.forward {
            WorkState::Succeeded { verdict } => !verdict.is_bad() || (*verdict == Verdict::Unknown && step.on_unknown == OnUnknown::Continue),
            WorkState::Unknown { .. } | WorkState::Unreachable { .. } => step.on_unknown == OnUnknown::Continue,
            WorkState::Omitted { .. } => true,
            _ => false,
        }
    }

    /// Kind, timeout and retries of a step in one direction.
    #[must_use]
    pub fn kind_of(&self, step: &StepName, direction: Direction) -> Option<&str> {
        let step = self.plan.step(step)?;
        match direction {
            Direction::Do => Some(&step.uses),
            Direction::Undo => step.undo.as_ref().map(|undo| undo.uses.as_str()),
        }
    }

    #[must_use]
    pub fn timeout_of(&self, step: &StepName, direction: Direction) -> Option<Millis> {
        let step = self.plan.step(step)?;
        match direction {
            Direction::Do => Some(step.timeout),
            Direction::Undo => step.undo.as_ref().map(|undo| undo.timeout),
        }
    }

    #[must_use]
    pub fn retry_of(&self, step: &StepName, direction: Direction) -> Option<Retry> {
        let step = self.plan.step(step)?;
        match direction {
            Direction::Do => Some(step.retry),
            Direction::Undo => step.undo.as_ref().map(|undo| undo.retry),
        }
    }

    /// Parameters of a step on a target, with their expressions filled in where that has been done.
    #[must_use]
    pub fn with_of(&self, step: &StepName, target: &Target, direction: Direction) -> Option<&serde_json::Map<String, Value>> {
        if let Some(Resolution::Go { with: Some(with) }) = self.resolved.get(step, Some(target), direction) {
            return Some(with);
        }
        let step = self.plan.step(step)?;
        match direction {
            Direction::Do => Some(&step.with),
            Direction::Undo => step.undo.as_ref().map(|undo| &undo.with),
        }
    }

    /// Names who looks, for findings: the same kind with the same parameters on the same target is the
    /// same check, whichever plan it is in. Thresholds count as the plan has them and not as the run's inputs
    /// fill them in: a run that judges by another limit clears what an earlier one raised.
    #[must_use]
    pub fn source_of(&self, step: &StepName, target: &Target) -> Option<String> {
        let mut with = self.with_of(step, target, Direction::Do)?.clone();
        let step = self.plan.step(step)?;
        for param in catalogue::kind(&step.uses).iter().flat_map(|kind| kind.params) {
            if let (ParamType::Thresholds(_), Some(written)) = (param.ty, step.with.get(param.name)) {
                with.insert(param.name.to_owned(), written.clone());
            }
        }
        let digest: String = Sha256::digest(Value::Object(with).to_string().as_bytes()).iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        Some(format!("{} on {target} ({digest})", step.uses))
    }

    /// As [`Run::works`], with the steps themselves, in the order of the plan.
    pub(super) fn steps(&self) -> impl Iterator<Item = (&Step, &Target, &Work)> {
        self.plan
            .steps
            .iter()
            .filter_map(|step| Some((step, self.work.get(&step.name)?)))
            .flat_map(|(step, targets)| targets.iter().map(move |(target, work)| (step, target, work)))
    }

    /// Whether the strategy of a step puts up with what has failed of it so far, and of the rollout that it is part of.
    #[must_use]
    pub fn is_within_budget(&self, step: &Step) -> bool {
        self.is_excused(step) && Rollout::of_step(self, step).is_some_and(|rollout| !rollout.is_over_budget())
    }

    /// The same as members of before [`EXCUSES_THEMSELVES`] see it: where they apply the log too, all have to.
    fn was_within_budget(&self, step: &Step) -> bool {
        Rollout::of_step(self, step)
            .is_some_and(|rollout| !rollout.is_over_budget() && rollout.targets.iter().all(|(_, progress)| *progress != rollout::Progress::GivenUp))
    }

    /// Whether what a step has not done is a few targets that failed, as its strategy puts up with. It does not put up
    /// with what was never begun, nor with a step that came off nowhere: that is not a few that failed, but work that
    /// was not done. Once all of the step is over this stays as it is, whatever becomes of the rest of the rollout.
    #[must_use]
    pub fn is_excused(&self, step: &Step) -> bool {
        let (Some(rollout), Some(works)) = (Rollout::of_step(self, step), self.work.get(&step.name)) else { return false };
        let mut lacking = works.iter().filter(|(_, work)| work.forward.is_over() && !self.passed(step, work)).map(|(target, _)| target).peekable();
        if lacking.peek().is_none() {
            return true;
        }
        let came_off = works.values().any(|work| !work.forward.is_over() || self.passed(step, work));
        let most = rollout.strategy.failure_budget.down(works.len());
        came_off && lacking.clone().count() <= most && lacking.all(|target| rollout.failed_on(self, target))
    }

    /// Whether the forward direction went wrong: something failed, was stopped, is unknown, or was held back
    /// by that, and it is more than a strategy puts up with.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.failing().next().is_some()
    }

    /// Whether what was done is to be taken back: the run was aborted, or something failed after which it is not to stay.
    #[must_use]
    pub fn goes_back(&self) -> bool {
        // What was skipped was held back by what failed, and that decides; where nothing failed itself, what was skipped does.
        let is_itself = |step: &&Step| self.work.get(&step.name).is_some_and(|works| works.values().any(|work| has_gone_wrong(step, work)));
        let (itself, held): (Vec<&Step>, Vec<&Step>) = self.failing().partition(is_itself);
        let deciding = if itself.is_empty() { held } else { itself };
        self.abort.is_some() || deciding.iter().any(|step| step.on_failure == OnFailure::Undo)
    }

    fn failing(&self) -> impl Iterator<Item = &Step> {
        let has_failed = |step: &&Step| self.work.get(&step.name).is_some_and(|works| has_failed_at(step, works));
        self.plan.steps.iter().filter(has_failed).filter(|step| !self.is_within_budget(step))
    }

    /// What an undo of the ended run takes back: all that it did and has an undo, but for what is back already.
    pub(crate) fn to_take_back(&self) -> impl Iterator<Item = (&StepName, &Target)> {
        let is_back = |work: &Work| matches!(work.undo, Some(WorkState::Succeeded { .. }));
        self.steps().filter(move |item| has_undo(*item) && !is_back(item.2)).map(|(step, target, _)| (&step.name, target))
    }

    /// What a retry of the ended run does again: what did not come off, and what was held back by that. What would be
    /// held back again at once, by something that is not done again, is none of it.
    pub(super) fn to_do_again(&self, only: Option<&StepName>, unknown: bool, level: u32) -> Vec<(StepName, Target)> {
        let again = |work: &Work| match &work.forward {
            WorkState::Failed { .. } | WorkState::Cancelled | WorkState::Skipped { .. } | WorkState::Unreachable { .. } => true,
            WorkState::Unknown { .. } => unknown,
            _ => false,
        };
        let mut all: BTreeSet<(&StepName, &Target)> = self
            .works()
            .filter(|(step, _, work)| again(work) && only.is_none_or(|only| only == *step))
            .map(|(step, target, _)| (step, target))
            .collect();
        // Each round leaves out what the round before has left without what it needs.
        loop {
            let held: Vec<_> = all.iter().copied().filter(|(step, target)| self.is_held_back(step, target, &all, level)).collect();
            if held.is_empty() {
                return all.into_iter().map(|(step, target)| (step.clone(), target.clone())).collect();
            }
            held.iter().for_each(|held| {
                all.remove(held);
            });
        }
    }

    /// Whether something that a work item needs did not go well and is not done again. Only what was skipped is asked:
    /// what has begun before is begun again whatever became of the rest.
    fn is_held_back(&self, step: &StepName, target: &Target, again: &BTreeSet<(&StepName, &Target)>, level: u32) -> bool {
        let is_skipped = self.work(step, target).is_some_and(|work| matches!(work.forward, WorkState::Skipped { .. }));
        let Some(step) = self.plan.step(step).filter(|_| is_skipped) else { return false };
        let in_rollout = |step: &Step| rollout::is_in_plans_rollout(self, step);
        let needed = step.needs.iter().filter_map(|need| Some((self.plan.step(need)?, self.work.get(need)?)));
        let mut fails = needed.flat_map(|(need, works)| {
            let here = in_rollout(step) && in_rollout(need);
            let excused = if level >= EXCUSES_THEMSELVES { self.is_within_budget(need) } else { self.was_within_budget(need) };
            let within = excused && !here;
            works.iter().filter(move |(at, work)| !within && (!here || *at == target) && !self.passed(need, work)).map(|(at, _)| (&need.name, at))
        });
        fails.any(|item| !again.contains(&item))
    }

    /// Whether the run is to be undone now: it failed or was aborted, nothing is active any more, and
    /// there is something to take back that is not to stay.
    #[must_use]
    pub fn is_to_undo(&self) -> bool {
        self.phase == RunPhase::Running && self.forward_is_over() && self.goes_back() && self.steps().any(has_undo)
    }

    /// Whether what a work item did will be taken back when the rest of the run has stopped.
    #[must_use]
    pub(crate) fn will_undo(&self, step: &StepName, target: &Target, work: &Work) -> bool {
        let can = self.plan.step(step).is_some_and(|step| has_undo((step, target, work)));
        can && self.phase == RunPhase::Running && self.goes_back()
    }

    fn forward_is_over(&self) -> bool {
        self.works().all(|(_, _, work)| work.forward.is_over())
    }

    /// How the run ends, if it ends now, in a mesh of this feature level.
    #[must_use]
    pub fn conclusion(&self, level: u32) -> Option<RunEnd> {
        let undo = match &self.phase {
            RunPhase::Ended(_) => return None,
            RunPhase::Running if !self.forward_is_over() || self.is_to_undo() => return None,
            RunPhase::Running if self.leaves_half_done() && (self.abort.is_some() || self.has_failed()) => UndoEnd::Incomplete,
            // It stays as the plan says, and a person decides.
            RunPhase::Running if self.has_failed() && self.steps().any(has_undo) => UndoEnd::Incomplete,
            RunPhase::Running => UndoEnd::NotNeeded,
            RunPhase::Undoing => {
                let states: Vec<&WorkState> = self.works().filter_map(|(_, _, work)| work.undo.as_ref()).collect();
                let stuck = states.iter().any(|state| state.is_over() && !matches!(state, WorkState::Succeeded { .. }));
                let active = states.iter().any(|state| matches!(state, WorkState::Active { .. }));
                let waiting = states.iter().any(|state| state.is_waiting());
                let goes_on = if level >= SIBLINGS_GO_ON { self.undo_goes_on() } else { waiting && !stuck };
                if active || goes_on {
                    return None;
                }
                if stuck || self.leaves_half_done() { UndoEnd::Incomplete } else { UndoEnd::Done }
            }
        };
        let outcome = if self.abort.is_some() {
            RunOutcome::Aborted
        } else if self.has_failed() {
            RunOutcome::Failed
        } else {
            RunOutcome::Completed
        };
        // Nothing was looked at and nothing was done, which is not to pass for a success.
        let did_nothing = level >= SIBLINGS_GO_ON && self.works().next().is_some() && self.works().all(|(_, _, work)| is_omitted(work));
        let verdict = if did_nothing { Verdict::Skipped } else { self.verdict() };
        Some(RunEnd { outcome, undo, verdict })
    }

    /// Whether something that waits to be taken back can be. What is still in place holds back what was done before it by
    /// other steps; the other targets of its own step it does not.
    fn undo_goes_on(&self) -> bool {
        let mut undos: Vec<(u64, &StepName, &WorkState)> =
            self.works().filter_map(|(step, _, work)| Some((work.order, step, work.undo.as_ref()?))).collect();
        undos.sort_unstable_by_key(|(order, ..)| std::cmp::Reverse(*order));
        let mut in_place: BTreeSet<&StepName> = BTreeSet::new();
        for (_, step, undo) in undos {
            let is_held_back = in_place.iter().any(|other| *other != step);
            if undo.is_waiting() && !is_held_back {
                return true;
            }
            if undo.is_waiting() || (undo.is_over() && !matches!(undo, WorkState::Succeeded { .. })) {
                in_place.insert(step);
            }
        }
        false
    }

    /// The run as it would be if nobody came to do this, or to tell how it ended.
    #[must_use]
    pub(crate) fn without(&self, step: &StepName, target: &Target) -> Run {
        let mut copy = self.clone();
        if let Some(work) = copy.work_mut(step, target) {
            work.set(Direction::Do, WorkState::Unreachable { reason: String::new() });
        }
        copy
    }

    /// Whether part of a step that has an undo may be in place, and nobody can say how to take back a part.
    pub(super) fn leaves_half_done(&self) -> bool {
        self.steps().any(|(step, _, work)| work.half_done && step.undo.is_some() && !step.takes_back_a_part())
    }

    /// The worst verdict so far. A step that had nothing to do takes nothing from it.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let had_something_to_do = |work: &&Work| !is_omitted(work);
        self.works().map(|(_, _, work)| work).filter(had_something_to_do).map(|work| work.forward.verdict()).max().unwrap_or_default()
    }
}

fn has_failed_at(step: &Step, works: &OrdMap<Target, Work>) -> bool {
    works.values().any(|work| matches!(work.forward, WorkState::Skipped { .. }) || has_gone_wrong(step, work))
}

/// Whether it did not come off itself, and was not just held back by something that did not.
fn has_gone_wrong(step: &Step, work: &Work) -> bool {
    match &work.forward {
        WorkState::Failed { .. } | WorkState::Cancelled => true,
        WorkState::Unknown { .. } | WorkState::Unreachable { .. } => step.on_unknown != OnUnknown::Continue,
        _ => false,
    }
}

fn is_omitted(work: &Work) -> bool {
    matches!(work.forward, WorkState::Omitted { .. })
}

/// Whether something has been done that would have to be taken back, and can be.
pub(super) fn has_undo((step, _, work): (&Step, &Target, &Work)) -> bool {
    let is_done = matches!(work.forward, WorkState::Succeeded { .. });
    is_done && step.has_undo() || work.half_done && step.takes_back_a_part()
}
