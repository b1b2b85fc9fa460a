//! Attempts: offered, begun, ended, or unknown.
//!
//! ```text
//!  offered ──Begin──▶ begun ──End──▶ ended(succeeded | failed | cancelled | timed out | unknown)
//!     │                 └──Lose──▶ ended(unknown)
//!     ├──End (cancelled, or failed before it began; idempotent kinds need no Begin)──▶ ended
//!     └──Withdraw──▶ ended(withdrawn): it has had no effect, the step may be offered again
//! ```
//!
//! An agent that is back after its attempt was given up for unknown may still say how it ended. The run has gone on by
//! then, and nothing of it is decided anew; but people are told, and what was held for it is let go.

use serde::{Deserialize, Serialize};

use super::finding::Look;
use super::run::{ABORTED, Direction, Outcome, Run, Work, WorkState};
use super::{State, When};
use crate::bounds;
use crate::catalogue;
use crate::command::CancelReason;
use crate::id::{AgentId, AttemptId, LedgerId, RunId, StepName, Target};
use crate::plan::Step;
use crate::reply::Reply;
use crate::time::{MeshTime, Millis, WallTime};

/// One try of one step on one target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    pub id: AttemptId,
    pub run: RunId,
    pub step: StepName,
    pub target: Target,
    pub direction: Direction,
    /// Counts from 1 within step, target and direction.
    pub number: u32,
    pub agent: AgentId,
    pub ledger: LedgerId,
    pub epoch: u64,
    /// The agent's process that was told to begin. Another one that asks again may have a ledger that was put
    /// back to an earlier state, and cannot know what this one did.
    #[serde(default)]
    pub begun_by: Option<String>,
    pub phase: Phase,
    /// When it must have ended, in mesh time.
    pub deadline: MeshTime,
    pub cancel: Option<CancelReason>,
    pub offered: WallTime,
    pub ended: Option<WallTime>,
    /// How long it took, from offer to end, in mesh time.
    pub took: Millis,
    /// What its agent has said since, of an end that was given up for unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Since>,
}

/// How an attempt ended, said when nobody waited for it any more.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Since {
    pub at: WallTime,
    /// Unknown where the agent does not know either: its process ended in the middle of it.
    pub outcome: Outcome,
}

impl Since {
    #[must_use]
    pub fn is_known(&self) -> bool {
        !matches!(self.outcome, Outcome::Unknown { .. })
    }
}

/// From this feature level on the state keeps what is said late.
const LISTENS_ON: u32 = 5;

/// How far an attempt has come.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Phase {
    Offered {
        at: MeshTime,
    },
    /// Effects are possible from here on.
    Begun {
        offered: MeshTime,
        at: MeshTime,
    },
    Ended(Outcome),
    /// Taken back before it began.
    Withdrawn(String),
}

/// What [`State::offer_attempt`] takes: a step for an agent, as the leader saw both.
pub(super) struct Offer<'a> {
    pub run: &'a RunId,
    pub step: &'a StepName,
    pub target: &'a Target,
    pub direction: Direction,
    pub number: u32,
    pub agent: &'a AgentId,
    pub ledger: &'a LedgerId,
    pub epoch: u64,
}

/// How long after a timeout the agent may take to stop the step, before the outcome counts as unknown.
pub const STOP_GRACE: Millis = Millis(15_000);

impl Attempt {
    /// Whether an agent may still be at it.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Offered { .. } | Phase::Begun { .. })
    }

    #[must_use]
    pub fn has_begun(&self) -> bool {
        matches!(self.phase, Phase::Begun { .. })
    }

    /// Whether its agent was ever told to begin; if not, it has had no effect.
    #[must_use]
    pub fn was_begun(&self) -> bool {
        self.has_begun() || self.begun_by.is_some() || matches!(self.phase, Phase::Ended(Outcome::Succeeded(_)))
    }

    /// Bytes that its reports add to [`State::weight`].
    #[must_use]
    pub(crate) fn weight(&self) -> u64 {
        let ended = if let Phase::Ended(outcome) = &self.phase { outcome.weight() } else { 0 };
        ended + self.since.as_ref().map_or(0, |since| since.outcome.weight())
    }

    fn offered_at(&self) -> Option<MeshTime> {
        match self.phase {
            Phase::Offered { at } | Phase::Begun { offered: at, .. } => Some(at),
            _ => None,
        }
    }

    fn close(&mut self, phase: Phase, when: When) {
        self.took = self.offered_at().map_or(Millis::ZERO, |at| when.at.since(at));
        self.phase = phase;
        self.ended = Some(when.wall);
    }
}

impl State {
    pub(super) fn offer_attempt(&mut self, offer: Offer<'_>, when: When) -> Reply {
        let agent_is_as_seen = self.agents.get(offer.agent).is_some_and(|agent| {
            agent.is_up() && agent.epoch == offer.epoch && agent.hello.as_ref().is_some_and(|hello| hello.ledger == *offer.ledger)
        });
        if !agent_is_as_seen {
            return Reply::Stale(format!("agent {} is no longer connected as it was", offer.agent));
        }
        let id = AttemptId(crate::id::Serial { incarnation: self.incarnation, counter: self.serial + 1 });
        let Some(run) = self.runs.get_mut(offer.run) else { return Reply::Stale(format!("there is no run {}", offer.run)) };
        if !run.accepts(offer.direction) {
            return Reply::Stale(format!("run {} does not go that way now", offer.run));
        }
        // Decided before somebody held the run up: whoever was answered that it is paused relies on it.
        if run.pause.is_some() {
            return Reply::Stale(format!("run {} is paused", offer.run));
        }
        let Some(timeout) = run.timeout_of(offer.step, offer.direction) else {
            return Reply::Stale(format!("run {} has no step {}", offer.run, offer.step));
        };
        let Some(work) = run.work_mut(offer.step, offer.target) else {
            return Reply::Stale(format!("{} is not a target of {}/{}", offer.target, offer.run, offer.step));
        };
        let attempts = work.attempts(offer.direction);
        if !work.state(offer.direction).is_waiting() || attempts + 1 != offer.number {
            return Reply::Stale(format!("{}/{} on {} is no longer waiting for attempt {}", offer.run, offer.step, offer.target, offer.number));
        }
        work.offered(offer.direction, id, offer.number);
        self.serial += 1;
        self.open_attempts.entry(offer.agent.clone()).or_default().insert(id);
        self.attempts.insert(
            id,
            Attempt {
                id,
                run: offer.run.clone(),
                step: offer.step.clone(),
                target: offer.target.clone(),
                direction: offer.direction,
                number: offer.number,
                agent: offer.agent.clone(),
                ledger: offer.ledger.clone(),
                epoch: offer.epoch,
                begun_by: None,
                phase: Phase::Offered { at: when.at },
                deadline: when.at + timeout,
                cancel: None,
                offered: when.wall,
                ended: None,
                took: Millis::ZERO,
                since: None,
            },
        );
        Reply::Offered(id)
    }

    pub(super) fn begin_attempt(&mut self, id: AttemptId, ledger: &LedgerId, when: When) -> Reply {
        let Some(attempt) = self.attempts.get(&id) else { return Reply::Stale(format!("there is no attempt {id}")) };
        if attempt.ledger != *ledger {
            return Reply::Stale(format!("attempt {id} belongs to another ledger"));
        }
        match attempt.phase {
            // Asked for twice by one process: the first answer was lost, nothing has been begun in between.
            Phase::Begun { .. } if self.is_idempotent(attempt) || !self.was_begun_by_another(attempt) => return Reply::Done,
            Phase::Begun { .. } => return Reply::Stale(format!("attempt {id} was begun by an earlier process of its agent, which may have done it")),
            Phase::Offered { .. } if attempt.cancel.is_some() => return Reply::Stale(format!("attempt {id} is cancelled")),
            Phase::Offered { .. } => {}
            Phase::Ended(_) | Phase::Withdrawn(_) => return Reply::Stale(format!("attempt {id} is no longer open")),
        }
        let Some(timeout) = self.runs.get(&attempt.run).and_then(|run| run.timeout_of(&attempt.step, attempt.direction)) else {
            return Reply::Stale(format!("the run of attempt {id} is gone"));
        };
        let begun_by = self.process_of(attempt);
        if let Some(attempt) = self.attempts.get_mut(&id) {
            let offered = attempt.offered_at().unwrap_or(when.at);
            attempt.begun_by = begun_by;
            attempt.phase = Phase::Begun { offered, at: when.at };
            attempt.deadline = when.at + timeout;
        }
        Reply::Done
    }

    /// The agent's process that is linked, or was last.
    fn process_of(&self, attempt: &Attempt) -> Option<String> {
        self.agents.get(&attempt.agent)?.hello.as_ref().map(|hello| hello.incarnation.clone())
    }

    /// Whether an earlier process was told to begin than the one that speaks now. It died before it wrote that
    /// down, or somebody put back an older copy of the ledger: to the agent these look the same.
    fn was_begun_by_another(&self, attempt: &Attempt) -> bool {
        attempt.has_begun() && attempt.begun_by.is_some() && attempt.begun_by != self.process_of(attempt)
    }

    /// What a report says, as far as whoever makes it can know.
    fn as_far_as_known(&self, attempt: &Attempt, outcome: Outcome) -> Outcome {
        match outcome {
            Outcome::Cancelled { message } if !self.is_idempotent(attempt) && self.was_begun_by_another(attempt) => {
                let reason = format!("an earlier process of the agent was told to begin it, and the ledger does not say what it did ({message})");
                Outcome::Unknown { reason }
            }
            outcome => outcome,
        }
    }

    /// What is said of an attempt that was given up; said again, it changes nothing.
    fn said_since(&mut self, id: AttemptId, outcome: &Outcome, when: When) -> Reply {
        let kept = self.with_room_for(outcome);
        match self.attempts.get_mut(&id) {
            Some(attempt) if attempt.since.is_none() => {
                self.weight += kept.weight();
                attempt.since = Some(Since { at: when.wall, outcome: kept });
            }
            Some(attempt) if attempt.since.as_ref().is_some_and(|since| since.outcome.summary() == outcome.summary()) => {}
            _ => return Reply::Stale(format!("attempt {id} is no longer open")),
        }
        Reply::Done
    }

    /// What is kept of it must have room.
    fn with_room_for(&self, outcome: &Outcome) -> Outcome {
        let room = (bounds::STATE_BYTES as u64).saturating_sub(self.weight);
        if outcome.weight() > room { outcome.clone().without_details() } else { outcome.clone() }
    }

    pub(super) fn end_attempt(&mut self, id: AttemptId, ledger: &LedgerId, outcome: &Outcome, when: When) -> Reply {
        let Some(attempt) = self.attempts.get(&id) else { return Reply::Stale(format!("there is no attempt {id}")) };
        if attempt.ledger != *ledger {
            return Reply::Stale(format!("attempt {id} belongs to another ledger"));
        }
        // Both reports of one end are cut down alike, so that a repeated one is known again.
        let outcome = self.as_far_as_known(attempt, outcome.clone()).bounded();
        match &attempt.phase {
            Phase::Ended(before) if *before == outcome => return Reply::Done,
            Phase::Ended(Outcome::Unknown { .. }) if self.feature_level >= LISTENS_ON => {
                return self.said_since(id, &outcome, when);
            }
            Phase::Ended(_) | Phase::Withdrawn(_) => return Reply::Stale(format!("attempt {id} is no longer open")),
            Phase::Offered { .. } if matches!(outcome, Outcome::Succeeded(_)) && !self.is_idempotent(attempt) => {
                return Reply::Stale(format!("attempt {id} was never begun"));
            }
            Phase::Offered { .. } | Phase::Begun { .. } => {}
        }
        self.settle_attempt(id, outcome, when);
        Reply::Done
    }

    pub(super) fn lose_attempt(&mut self, id: AttemptId, reason: &str, when: When) -> Reply {
        match self.attempts.get(&id) {
            Some(attempt) if attempt.has_begun() => {
                self.settle_attempt(id, Outcome::Unknown { reason: reason.to_owned() }, when);
                Reply::Done
            }
            _ => Reply::Stale(format!("attempt {id} is not begun and open")),
        }
    }

    pub(super) fn withdraw_attempt(&mut self, id: AttemptId, reason: &str, when: When) -> Reply {
        let Some(attempt) = self.attempts.get_mut(&id).filter(|attempt| matches!(attempt.phase, Phase::Offered { .. })) else {
            return Reply::Stale(format!("attempt {id} is not merely offered"));
        };
        attempt.close(Phase::Withdrawn(reason.to_owned()), when);
        let (run, step, target, direction) = (attempt.run.clone(), attempt.step.clone(), attempt.target.clone(), attempt.direction);
        let agent = attempt.agent.clone();
        if let Some(run) = self.runs.get_mut(&run) {
            let aborted = run.abort.is_some() && direction == Direction::Do;
            let then = if aborted { WorkState::Skipped { reason: ABORTED.to_owned() } } else { WorkState::Waiting };
            if let Some(work) = run.work_mut(&step, &target) {
                work.withdrawn(direction, then);
            }
        }
        self.attempts.remove(&id);
        self.close_attempt(&agent, id);
        Reply::Done
    }

    pub(super) fn cancel_attempt(&mut self, id: AttemptId, reason: CancelReason, when: When) -> Reply {
        match self.attempts.get_mut(&id) {
            Some(attempt) if attempt.is_open() && attempt.cancel.is_none() => {
                attempt.cancel = Some(reason);
                attempt.deadline = when.at + STOP_GRACE;
                Reply::Done
            }
            _ => Reply::Stale(format!("attempt {id} is not open, or cancelled already")),
        }
    }

    /// How the last of the tries ended that were given up for unknown, where their agents have said it of each by now.
    #[must_use]
    pub fn known_since(&self, work: &Work) -> Option<&Since> {
        let attempts = work.attempts.iter().filter_map(|id| self.attempts.get(id));
        let given_up = attempts.filter(|attempt| matches!(attempt.phase, Phase::Ended(Outcome::Unknown { .. })));
        let all: Option<Vec<&Since>> = given_up.map(|attempt| attempt.since.as_ref().filter(|since| since.is_known())).collect();
        all?.pop()
    }

    fn is_idempotent(&self, attempt: &Attempt) -> bool {
        let uses = self.runs.get(&attempt.run).and_then(|run| run.kind_of(&attempt.step, attempt.direction));
        uses.and_then(catalogue::kind).is_some_and(|kind| kind.idempotent)
    }

    /// Whether a begun attempt of which nobody hears any more would be tried again.
    #[must_use]
    pub(crate) fn is_tried_again_when_lost(&self, attempt: &Attempt) -> bool {
        let lost = Outcome::Unknown { reason: String::new() };
        self.is_idempotent(attempt)
            && self.runs.get(&attempt.run).is_some_and(|run| pause_after(run, attempt, &lost, true, self.feature_level).is_some())
    }

    /// Ends an attempt and moves its work item on: done, failed, to be tried again, or unknown.
    pub(super) fn settle_attempt(&mut self, id: AttemptId, outcome: Outcome, when: When) {
        let Some(before) = self.attempts.get(&id) else { return };
        let repeatable = self.is_idempotent(before) || !(before.has_begun() || matches!(outcome, Outcome::Unknown { .. }));
        let half_done = before.has_begun() && matches!(outcome, Outcome::TimedOut { .. } | Outcome::Cancelled { .. } | Outcome::Unknown { .. });
        // Verdict and findings are taken from the whole report; what is kept of it must have room.
        let kept = self.with_room_for(&outcome);
        self.weight += kept.weight();
        let Some(attempt) = self.attempts.get_mut(&id) else { return };
        attempt.close(Phase::Ended(kept), when);
        let attempt = attempt.clone();
        self.close_attempt(&attempt.agent, id);
        let level = self.feature_level;
        let Some(run) = self.runs.get_mut(&attempt.run) else { return };
        let pause = pause_after(run, &attempt, &outcome, repeatable, level);
        let order = run.next_order();
        run.moved_at = when.at;
        let source = run.source_of(&attempt.step, &attempt.target);
        // What an earlier try has left half done is there until one comes off, or until it is taken back.
        let lasts = level >= TAKES_UP && attempt.direction == Direction::Do && run.plan.step(&attempt.step).is_some_and(Step::takes_back_a_part);
        if let Some(work) = run.work_mut(&attempt.step, &attempt.target) {
            let half_done = half_done || lasts && work.half_done && matches!(outcome, Outcome::Failed { .. });
            match pause {
                Some(pause) => {
                    work.set(attempt.direction, WorkState::Retrying { not_before: when.at + pause, last: outcome.summary() });
                    work.half_done |= lasts && half_done;
                }
                None => work.ended(attempt.direction, &by_its_cause(&attempt, outcome.clone()), half_done, order, when.at),
            }
        }
        let Some(report) = outcome.report() else { return };
        if let Some(source) = source.filter(|_| attempt.direction == Direction::Do) {
            let look = Look {
                source: &source,
                target: &attempt.target.to_string(),
                run: &attempt.run.to_string(),
                wall: when.wall,
                whole: matches!(outcome, Outcome::Succeeded(_)),
            };
            self.findings.look(&look, report);
        }
    }

    /// Takes an attempt off its agent's list of open ones.
    fn close_attempt(&mut self, agent: &crate::id::AgentId, id: AttemptId) {
        if let Some(open) = self.open_attempts.get_mut(agent) {
            open.remove(&id);
            if open.is_empty() {
                self.open_attempts.remove(agent);
            }
        }
    }
}

/// From this level on what a lost agent of a cluster did is taken up by the next one, also where the step has no `retry`.
const TAKES_UP: u32 = 5;

/// How long until the work item is offered again; nothing when it has ended. `repeatable`: nothing was done
/// yet, or doing it again comes to the same.
fn pause_after(run: &Run, attempt: &Attempt, outcome: &Outcome, repeatable: bool, level: u32) -> Option<Millis> {
    if run.abort.is_some() && attempt.direction == Direction::Do {
        return None;
    }
    let retry = run.retry_of(&attempt.step, attempt.direction).unwrap_or_default();
    let most = match outcome {
        Outcome::Succeeded(_) => return None,
        Outcome::Failed { .. } => retry.attempts,
        // Nothing went wrong with the step: another replica of the cluster's agents takes it up.
        Outcome::Unknown { .. } if repeatable && level >= TAKES_UP && is_of_a_cluster(run, attempt) => retry.attempts.max(bounds::TAKEN_UP),
        Outcome::TimedOut { .. } | Outcome::Unknown { .. } if repeatable => retry.attempts,
        // Stopped because it took too long.
        Outcome::Cancelled { .. } if repeatable && attempt.cancel.is_some() => retry.attempts,
        // Nobody asked: the agent gave it back, because it was shut down. That is no failure of the step.
        Outcome::Cancelled { .. } if repeatable => bounds::ATTEMPTS,
        Outcome::TimedOut { .. } | Outcome::Unknown { .. } | Outcome::Cancelled { .. } => return None,
    };
    let tries = run.work(&attempt.step, &attempt.target).map_or(attempt.number, |work| work.tries(attempt.direction));
    (tries < most).then(|| retry.pause(attempt.number, attempt.id.0.counter.wrapping_mul(7_919)))
}

/// Whether it is done by the one of a cluster's agents that acts, whichever that is.
fn is_of_a_cluster(run: &Run, attempt: &Attempt) -> bool {
    let kind = run.kind_of(&attempt.step, attempt.direction).and_then(catalogue::kind);
    kind.is_some_and(|kind| kind.acted_in(&attempt.target).is_some())
}

/// Why it was stopped is the mesh's to know, whichever words the agent has for it.
fn by_its_cause(attempt: &Attempt, outcome: Outcome) -> Outcome {
    match (outcome, attempt.cancel) {
        (Outcome::Cancelled { message }, Some(CancelReason::TimedOut)) => Outcome::TimedOut { message: format!("took too long: {message}") },
        (Outcome::Cancelled { message }, None) => Outcome::Failed { message: format!("stopped by its agent: {message}"), report: None },
        (other, _) => other,
    }
}
