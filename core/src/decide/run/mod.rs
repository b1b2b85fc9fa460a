//! What a run does next.
//!
//! Each work item that waits goes through the same doors, in this order: what it needs, its expressions, the
//! rollout it is part of, its gates, its lease, an agent ([`before`], [`placement`]).

pub(super) use circle::Circles;
pub(crate) use claim::{backup_there, claimed_by_another};
pub(crate) use gates::healthy;
pub(super) use lease::is_wanted as lease_is_wanted;
pub(crate) use lease::{STEP as HELD_FOR_STEP, TARGET as HELD_FOR_TARGET, holders as lease_holders, in_the_way as lease_in_the_way};
pub(crate) use thing::{is_on_thing, things_of_another};

mod before;
mod circle;
mod claim;
mod gates;
mod lease;
mod placement;
mod quorum;
mod root;
mod thing;
mod turn;
mod zones;

use std::collections::{BTreeMap, BTreeSet};

use gates::Looked;
use turn::Rollouts;

use super::Pass;
use crate::catalogue;
use crate::command::{CancelReason, Command};
use crate::id::{AgentId, AttemptId, StepName, Target};
use crate::plan::Step;
use crate::rollout;
use crate::state::agent::Agent;
use crate::state::attempt::{Attempt, Phase};
use crate::state::run::{Direction, Outcome, Run, RunPhase, Work, WorkState};
use crate::time::{MeshTime, Millis};
use crate::wait::{Reason, Wait};

/// How long a work item that is ready waits for an agent before it counts as unreachable.
pub const AGENT_WAIT: Millis = Millis(120_000);
/// The same for taking something back: a node has time to boot.
pub const UNDO_WAIT: Millis = Millis(900_000);
/// Steps that one agent has at once. It carries them out side by side.
pub const OFFERS_PER_AGENT: usize = 8;

impl Pass<'_> {
    pub(super) fn runs(&mut self) {
        let state = self.state;
        let mut open: BTreeMap<&AgentId, usize> = state.open_attempts.iter().map(|(agent, attempts)| (agent, attempts.len())).collect();
        for run in state.runs.values().filter(|run| !run.is_ended()) {
            if self.is_full() {
                self.wake(self.now);
                return;
            }
            if run.is_to_undo() {
                self.begin_undo(run);
            } else if let Some(end) = run.conclusion(state.feature_level) {
                self.command(Command::EndRun { run: run.id.clone(), end });
            } else {
                let rollouts = Rollouts::of(self, run);
                RunPass { pass: self, run, open: &mut open, rollouts, looked: Looked::default(), evaluated: BTreeSet::new() }.steps();
            }
        }
    }
}

impl Pass<'_> {
    /// Also taking back is not begun while somebody holds the run up.
    fn begin_undo(&mut self, run: &Run) {
        let Some(pause) = &run.pause else {
            return self.command(Command::BeginUndo { run: run.id.clone() });
        };
        if let Some((step, target)) = run.to_take_back().next() {
            let reason = Reason::Paused { by: pause.by.clone(), reason: pause.reason.clone(), run: run.id.clone() };
            let (run, step, target) = (run.id.clone(), step.clone(), target.clone());
            self.wait(Wait { run, step, target, direction: Direction::Undo, reason, since: pause.at, until: None });
        }
    }
}

/// One look at one run. `open` counts what each agent has, offers of this pass included.
struct RunPass<'p, 's, 'd> {
    pass: &'p mut Pass<'s>,
    run: &'s Run,
    open: &'d mut BTreeMap<&'s AgentId, usize>,
    rollouts: Rollouts<'s>,
    looked: Looked<'s>,
    /// Steps whose expressions this pass has asked for.
    evaluated: BTreeSet<&'s StepName>,
}

/// What becomes of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    GoesOn,
    Fails,
    FailsAndUndoes,
}

/// One work item of the run.
#[derive(Clone, Copy)]
struct Item<'s> {
    step: &'s Step,
    target: &'s Target,
    work: &'s Work,
    direction: Direction,
    /// Since when it could have been offered.
    ready: MeshTime,
}

impl<'s> RunPass<'_, 's, '_> {
    fn steps(&mut self) {
        let direction = if self.run.phase == RunPhase::Undoing { Direction::Undo } else { Direction::Do };
        let later = Later::of(self.run);
        for step in &self.run.plan.steps {
            let Some(targets) = self.run.work.get(&step.name) else { continue };
            let needs = (direction == Direction::Do).then(|| self.needs(step));
            let ready = self.ready_at(step);
            for (target, work) in self.in_order(step, targets) {
                if self.pass.is_full() {
                    self.pass.wake(self.pass.now);
                    return;
                }
                let pause = if let WorkState::Retrying { not_before, .. } = work.state(direction) { *not_before } else { MeshTime::default() };
                let item = Item { step, target, work, direction, ready: ready.max(pause) };
                match work.state(direction) {
                    WorkState::Active { attempt } => self.active(item, *attempt),
                    state if !state.is_waiting() => {}
                    _ if direction == Direction::Do && self.run.abort.is_some() => {}
                    _ => match (needs.as_ref().map(|needs| needs.clone().and(|| self.needs_here(step, target))), later.than(step, work)) {
                        (Some(Gate::Closed(reason)), _) => self.wait(item, reason, item.ready, None),
                        (Some(Gate::Never(reason)), _) => self.give_up(item, WorkState::Skipped { reason }),
                        (None, Some((step, target))) => {
                            self.wait(item, Reason::UndoOf { step: step.clone(), target: target.clone() }, item.ready, None);
                        }
                        _ => self.waiting(item),
                    },
                }
            }
        }
    }

    /// The targets of a step in the order in which they are to be begun.
    fn in_order(&self, step: &Step, targets: &'s imbl::OrdMap<Target, Work>) -> Vec<(&'s Target, &'s Work)> {
        match self.rollouts.of_step(self.run, step) {
            Some(standing) => standing.rollout.targets.iter().filter_map(|(target, _)| targets.get_key_value(*target)).collect(),
            None => targets.iter().collect(),
        }
    }

    /// Needs that count for all targets alike.
    fn needs(&self, step: &Step) -> Gate {
        for need in &step.needs {
            let (Some(needed), Some(targets)) = (self.run.plan.step(need), self.run.work.get(need)) else { continue };
            if rollout::is_in_plans_rollout(self.run, step) && rollout::is_in_plans_rollout(self.run, needed) {
                continue;
            }
            let open = targets.values().filter(|work| !work.forward.is_over()).count();
            let failed = targets.iter().find(|(_, work)| work.forward.is_over() && !self.run.passed(needed, work));
            match failed {
                Some((target, work)) if !self.run.is_within_budget(needed) => return Gate::Never(why_never(need, target, work)),
                _ if open > 0 => return Gate::Closed(Reason::NeedsStep { step: need.clone(), open }),
                _ => {}
            }
        }
        Gate::Open
    }

    /// Needs of a step that goes node by node, on the same node.
    fn needs_here(&self, step: &Step, target: &Target) -> Gate {
        if !rollout::is_in_plans_rollout(self.run, step) {
            return Gate::Open;
        }
        for need in &step.needs {
            let Some(needed) = self.run.plan.step(need).filter(|needed| rollout::is_in_plans_rollout(self.run, needed)) else { continue };
            let Some(work) = self.run.work(need, target) else { continue };
            if !work.forward.is_over() {
                return Gate::Closed(Reason::NeedsStep { step: need.clone(), open: 1 });
            }
            if !self.run.passed(needed, work) {
                return Gate::Never(why_never(need, target, work));
            }
        }
        Gate::Open
    }

    fn ready_at(&self, step: &Step) -> MeshTime {
        if self.run.phase == RunPhase::Undoing {
            return self.run.moved_at;
        }
        let ends = step.needs.iter().filter_map(|need| self.run.work.get(need)).flat_map(|targets| targets.values().map(|work| work.ended_at));
        // Nobody could do anything about it while it was held up: that time does not count.
        ends.max().unwrap_or_default().max(self.run.started_at).max(self.run.resumed_at.unwrap_or_default())
    }

    fn waiting(&mut self, item: Item<'s>) {
        if let WorkState::Retrying { not_before, last } = item.work.state(item.direction)
            && self.pass.now < *not_before
        {
            let attempt = item.work.attempts(item.direction);
            // What an agent gave back is offered again also without a `retry`.
            let of = self.run.retry_of(&item.step.name, item.direction).unwrap_or_default().attempts.max(attempt + 1);
            let reason = Reason::Pause { last: last.clone(), attempt, of };
            return self.wait(item, reason, self.run.moved_at, Some((*not_before, "then it is tried again")));
        }
        if self.may_begin(item) {
            self.place(item);
        }
    }

    fn active(&mut self, item: Item<'s>, id: AttemptId) {
        let Some(attempt) = self.pass.state.attempts.get(&id) else { return };
        let agent = self.pass.state.agents.get(&attempt.agent);
        let is_up = agent.is_some_and(Agent::is_up);
        let same_ledger = agent.and_then(|agent| agent.hello.as_ref()).is_some_and(|hello| hello.ledger == attempt.ledger);
        let late = self.pass.now >= attempt.deadline;
        if !same_ledger {
            return self.abandon(attempt, format!("agent {} came back with another ledger: what it did before is not known", attempt.agent));
        }
        if !is_up && (late || !attempt.has_begun()) {
            return self.abandon(attempt, format!("agent {} has not been heard of", attempt.agent));
        }
        if !is_up && let Some(acting) = self.taken_over(item, attempt) {
            return self.abandon(attempt, format!("agent {} has not been heard of, and {acting} acts in its place", attempt.agent));
        }
        if late && attempt.cancel == Some(CancelReason::TimedOut) && !attempt.has_begun() {
            // Offered again and again to an agent that never begins, it would never end: this was its attempt.
            let message = format!("agent {} is connected and did not begin it in time", attempt.agent);
            return self.pass.command(Command::EndAttempt {
                attempt: id,
                ledger: attempt.ledger.clone(),
                outcome: Outcome::Failed { message, report: None },
            });
        }
        if late && attempt.cancel.is_some() {
            return self.abandon(attempt, format!("agent {} did not stop it in time", attempt.agent));
        }
        let aborted = self.run.abort.is_some() && item.direction == Direction::Do;
        if attempt.cancel.is_none() && (late || aborted) {
            let reason = if late { CancelReason::TimedOut } else { CancelReason::Aborted };
            return self.pass.command(Command::CancelAttempt { attempt: id, reason });
        }
        let agent = attempt.agent.clone();
        let (reason, then) = match (&attempt.phase, attempt.cancel) {
            (Phase::Offered { .. }, Some(CancelReason::TimedOut)) => (Reason::Stopping { agent, attempt: id }, "then it counts as failed"),
            (Phase::Offered { .. }, Some(CancelReason::Aborted)) => (Reason::Stopping { agent, attempt: id }, "then it is taken back"),
            (Phase::Begun { .. }, Some(_)) if !is_up => (Reason::NotHeardOf { agent, attempt: id }, "then its outcome counts as unknown"),
            (_, Some(_)) => (Reason::Stopping { agent, attempt: id }, "then its outcome counts as unknown"),
            (Phase::Offered { .. }, None) => (Reason::Offered { agent, attempt: id }, "then it is called off"),
            (Phase::Begun { at, .. }, None) if is_up && let Some(end) = self.own_end(item, *at) => {
                return self.wait(item, Reason::Works { agent, attempt: id }, *at, Some((end, "then it is over")));
            }
            (Phase::Begun { at, .. }, None) if is_up && let Some((reason, since, end)) = self.lease_wanted(item, attempt, *at) => {
                return self.wait(item, reason, since, Some(end));
            }
            (_, None) if is_up => (Reason::Works { agent, attempt: id }, "then it is stopped"),
            (_, None) => (Reason::NotHeardOf { agent, attempt: id }, self.when_lost(item, attempt)),
        };
        let since = match attempt.phase {
            Phase::Offered { at } | Phase::Begun { at, .. } => at,
            _ => item.ready,
        };
        self.wait(item, reason, since, Some((attempt.deadline, then)));
    }

    /// What becomes of a begun step when its agent stays away.
    fn when_lost(&self, item: Item<'s>, attempt: &Attempt) -> &'static str {
        if self.pass.state.is_tried_again_when_lost(attempt) {
            "then it is tried again"
        } else if item.direction == Direction::Undo {
            "then nobody knows whether its undo came off"
        } else {
            match self.fate(item) {
                Fate::GoesOn if self.run.pause.is_some() => "then its outcome counts as unknown",
                Fate::GoesOn => "then its outcome counts as unknown, and the run goes on",
                Fate::Fails => "then its outcome counts as unknown, and the run fails",
                Fate::FailsAndUndoes => "then its outcome counts as unknown: the run fails, and what was done is taken back",
            }
        }
    }

    /// What becomes of the run if nobody ever knows how this went.
    fn fate(&self, item: Item<'s>) -> Fate {
        let then = self.run.without(&item.step.name, item.target);
        if !then.has_failed() {
            Fate::GoesOn
        } else if then.goes_back() && then.to_take_back().next().is_some() {
            Fate::FailsAndUndoes
        } else {
            Fate::Fails
        }
    }

    /// When a step that only waits ends by itself.
    fn own_end(&self, item: Item<'s>, begun: MeshTime) -> Option<MeshTime> {
        if self.run.kind_of(&item.step.name, item.direction) != Some(catalogue::WAIT) {
            return None;
        }
        let with = self.run.with_of(&item.step.name, item.target, item.direction)?;
        let end = begun + with.get("for")?.as_str()?.parse::<Millis>().ok()?;
        // An agent that is late with its report is waited for until the deadline.
        (self.pass.now < end).then_some(end)
    }

    /// Who acts for the cluster in place of the agent that began an attempt, where going on from what that has done is
    /// no other than doing it once. Nobody waits for an agent then that may come back.
    fn taken_over(&self, item: Item<'s>, attempt: &Attempt) -> Option<AgentId> {
        let kind = self.run.kind_of(&item.step.name, item.direction).and_then(catalogue::kind)?;
        let cluster = kind.acted_in(item.target)?;
        let state = self.pass.state;
        let acting = state.acting(cluster).filter(|acting| state.agents.get(acting).is_some_and(Agent::is_up))?;
        (kind.idempotent && acting != attempt.agent).then_some(acting)
    }

    /// An attempt that nobody will report: without `Begin` it had no effect, with it nobody knows.
    fn abandon(&mut self, attempt: &Attempt, reason: String) {
        self.pass.command(if attempt.has_begun() {
            Command::LoseAttempt { attempt: attempt.id, reason }
        } else {
            Command::WithdrawAttempt { attempt: attempt.id, reason }
        });
    }

    fn give_up(&mut self, item: Item<'s>, state: WorkState) {
        self.pass.command(Command::SkipStep {
            run: self.run.id.clone(),
            step: item.step.name.clone(),
            target: item.target.clone(),
            direction: item.direction,
            state,
        });
    }

    fn wait(&mut self, item: Item<'s>, reason: Reason, since: MeshTime, until: Option<(MeshTime, &'static str)>) {
        self.pass.wait(Wait {
            run: self.run.id.clone(),
            step: item.step.name.clone(),
            target: item.target.clone(),
            direction: item.direction,
            reason,
            since,
            until,
        });
    }
}

/// Of each step, what of it ended last and is still to be taken back. Undo goes in reverse: a work item waits
/// for all of other steps that ended after it; the targets of one step go side by side, as they did.
struct Later<'s>(BTreeMap<&'s StepName, (u64, &'s Target)>);

impl<'s> Later<'s> {
    fn of(run: &'s Run) -> Later<'s> {
        let mut last: BTreeMap<&StepName, (u64, &Target)> = BTreeMap::new();
        for (step, target, work) in run.works().filter(|(_, _, work)| work.undo.as_ref().is_some_and(|undo| !undo.is_over())) {
            let newest = last.entry(step).or_insert((work.order, target));
            *newest = (*newest).max((work.order, target));
        }
        Later(last)
    }

    fn than(&self, step: &Step, work: &Work) -> Option<(&'s StepName, &'s Target)> {
        let others = self.0.iter().filter(|(other, (order, _))| **other != &step.name && *order > work.order);
        others.max_by_key(|(_, (order, _))| *order).map(|(step, (_, target))| (*step, *target))
    }
}

/// What the needs of a step come to.
#[derive(Clone)]
enum Gate {
    Open,
    Closed(Reason),
    Never(String),
}

impl Gate {
    fn and(self, other: impl FnOnce() -> Gate) -> Gate {
        if let Gate::Open = self { other() } else { self }
    }
}

/// Why what needs a step is never begun: one cause has one reason, however many steps follow from it.
fn why_never(need: &StepName, target: &Target, work: &Work) -> String {
    match &work.forward {
        WorkState::Skipped { reason } => reason.clone(),
        state => format!("it needs {need}, which {}{}", outcome_in_words(state), target.on()),
    }
}

fn outcome_in_words(state: &WorkState) -> String {
    match state {
        WorkState::Succeeded { verdict } => format!("found something {verdict}"),
        WorkState::Failed { message } => format!("failed ({message})"),
        WorkState::Unknown { .. } => "has an unknown outcome".to_owned(),
        other => format!("is {}", other.word()),
    }
}
