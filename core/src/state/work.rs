//! Work items: one step of a run on one target, forward and back.

use std::fmt;

use imbl::Vector;
use serde::{Deserialize, Serialize};

use super::run::{Direction, Outcome};
use crate::id::AttemptId;
use crate::report::Verdict;
use crate::time::MeshTime;

/// One step on one target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Work {
    pub forward: WorkState,
    /// Nothing, until the run is undone and this has something to undo.
    pub undo: Option<WorkState>,
    /// Attempts in either direction, oldest first; withdrawn ones left out.
    pub attempts: Vector<AttemptId>,
    forward_attempts: u32,
    undo_attempts: u32,
    /// Position among all that ended in this run; undo goes from the highest down.
    pub order: u64,
    /// When the forward direction ended.
    pub ended_at: MeshTime,
    /// The forward direction was stopped in the middle, or its outcome is unknown: part of it may be in place.
    #[serde(default)]
    pub half_done: bool,
    /// Forward attempts before it was begun anew; it starts afresh when it has had no more than these.
    #[serde(default)]
    fresh_from: u32,
    #[serde(default)]
    begun_anew: bool,
}

/// Where a work item stands in one direction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum WorkState {
    /// Not offered yet.
    Waiting,
    /// Failed, and to be offered again from then on.
    Retrying {
        not_before: MeshTime,
        last: String,
    },
    /// With an agent.
    Active {
        attempt: AttemptId,
    },
    Succeeded {
        verdict: Verdict,
    },
    Failed {
        message: String,
    },
    /// May have had effects; nobody can say which.
    Unknown {
        reason: String,
    },
    Cancelled,
    /// Will not be done, because of what came before it.
    Skipped {
        reason: String,
    },
    /// Has nothing to do: its `if` is false, or there is nothing of what it looks at. What needs it goes on.
    Omitted {
        reason: String,
    },
    /// Could not be done: no agent was there for it, or none may do it.
    Unreachable {
        reason: String,
    },
}

impl WorkState {
    /// Where an end leaves it.
    pub(super) fn of(outcome: &Outcome) -> WorkState {
        match outcome {
            Outcome::Succeeded(report) => WorkState::Succeeded { verdict: report.verdict() },
            Outcome::Failed { .. } | Outcome::TimedOut { .. } => WorkState::Failed { message: outcome.summary() },
            Outcome::Cancelled { .. } => WorkState::Cancelled,
            Outcome::Unknown { reason } => WorkState::Unknown { reason: reason.clone() },
        }
    }

    /// Words of the states that are an end, as plans write them.
    pub const ENDED: [&'static str; 7] = ["succeeded", "failed", "unknown", "cancelled", "skipped", "omitted", "unreachable"];

    /// Whether an attempt may be offered, now or later.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        matches!(self, WorkState::Waiting | WorkState::Retrying { .. })
    }

    #[must_use]
    pub fn is_over(&self) -> bool {
        !self.is_waiting() && !matches!(self, WorkState::Active { .. })
    }

    /// What it adds to the run's verdict.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        match self {
            WorkState::Succeeded { verdict } => *verdict,
            WorkState::Failed { .. } => Verdict::Critical,
            WorkState::Unknown { .. } | WorkState::Unreachable { .. } => Verdict::Unknown,
            WorkState::Cancelled | WorkState::Skipped { .. } | WorkState::Omitted { .. } => Verdict::Skipped,
            WorkState::Waiting | WorkState::Retrying { .. } | WorkState::Active { .. } => Verdict::Ok,
        }
    }

    /// The state in one word.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            WorkState::Waiting => "waiting",
            WorkState::Retrying { .. } => "retrying",
            WorkState::Active { .. } => "active",
            WorkState::Succeeded { .. } => "succeeded",
            WorkState::Failed { .. } => "failed",
            WorkState::Unknown { .. } => "unknown",
            WorkState::Cancelled => "cancelled",
            WorkState::Skipped { .. } => "skipped",
            WorkState::Omitted { .. } => "omitted",
            WorkState::Unreachable { .. } => "unreachable",
        }
    }

    /// What there is to say beyond the word.
    #[must_use]
    pub fn detail(&self) -> &str {
        match self {
            WorkState::Retrying { last: text, .. }
            | WorkState::Failed { message: text }
            | WorkState::Unknown { reason: text }
            | WorkState::Skipped { reason: text }
            | WorkState::Omitted { reason: text }
            | WorkState::Unreachable { reason: text } => text,
            _ => "",
        }
    }
}

impl fmt::Display for WorkState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.detail() {
            "" => f.write_str(self.word()),
            detail => write!(f, "{}: {detail}", self.word()),
        }
    }
}

impl Work {
    #[must_use]
    pub(super) fn new(forward: WorkState) -> Work {
        Work {
            forward,
            undo: None,
            attempts: Vector::new(),
            forward_attempts: 0,
            undo_attempts: 0,
            order: 0,
            ended_at: MeshTime(0),
            half_done: false,
            fresh_from: 0,
            begun_anew: false,
        }
    }

    /// Whether nothing has been tried yet, since the run began or since it was begun anew.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        self.forward_attempts == self.fresh_from
    }

    /// Attempts in a direction that count against `retry`.
    #[must_use]
    pub(super) fn tries(&self, direction: Direction) -> u32 {
        match direction {
            Direction::Do => self.forward_attempts.saturating_sub(self.fresh_from),
            Direction::Undo => self.undo_attempts,
        }
    }

    /// Whether an operator has had it done again.
    #[must_use]
    pub fn was_begun_anew(&self) -> bool {
        self.begun_anew
    }

    /// An operator has it done again.
    pub(super) fn begin_anew(&mut self) {
        self.forward = WorkState::Waiting;
        self.fresh_from = self.forward_attempts;
        self.begun_anew = true;
        self.half_done = false;
    }

    #[must_use]
    pub fn state(&self, direction: Direction) -> &WorkState {
        match direction {
            Direction::Do => &self.forward,
            Direction::Undo => self.undo.as_ref().unwrap_or(&WorkState::Cancelled),
        }
    }

    /// Attempts so far in a direction, withdrawn ones not counted.
    #[must_use]
    pub fn attempts(&self, direction: Direction) -> u32 {
        match direction {
            Direction::Do => self.forward_attempts,
            Direction::Undo => self.undo_attempts,
        }
    }

    pub(super) fn set(&mut self, direction: Direction, state: WorkState) {
        match direction {
            Direction::Do => self.forward = state,
            Direction::Undo => self.undo = Some(state),
        }
    }

    pub(super) fn offered(&mut self, direction: Direction, id: AttemptId, number: u32) {
        *self.counter(direction) = number;
        self.attempts.push_back(id);
        self.set(direction, WorkState::Active { attempt: id });
    }

    /// The newest attempt never was: its number is given to the next one.
    pub(super) fn withdrawn(&mut self, direction: Direction, then: WorkState) {
        let counter = self.counter(direction);
        *counter = counter.saturating_sub(1);
        self.attempts.pop_back();
        self.set(direction, then);
    }

    pub(super) fn ended(&mut self, direction: Direction, outcome: &Outcome, half_done: bool, order: u64, at: MeshTime) {
        self.set(direction, WorkState::of(outcome));
        if direction == Direction::Do {
            self.order = order;
            self.ended_at = at;
            self.half_done = half_done;
        }
    }

    pub(super) fn skipped(&mut self, direction: Direction, state: WorkState, order: u64, at: MeshTime) {
        self.set(direction, state);
        if direction == Direction::Do {
            self.order = order;
            self.ended_at = at;
        }
    }

    fn counter(&mut self, direction: Direction) -> &mut u32 {
        match direction {
            Direction::Do => &mut self.forward_attempts,
            Direction::Undo => &mut self.undo_attempts,
        }
    }
}
