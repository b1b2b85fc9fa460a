//! What people do to a run: stop it, hold it up, take it back, do it again, agree to it.

use super::approval::Decided;
use super::attempt::Phase;
use super::run::{ABORTED, Abort, Direction, Outcome, Pause, Run, RunPhase, UndoEnd, WorkState};
use super::{State, When};
use crate::bounds;
use crate::command::Actor;
use crate::id::{AttemptId, RunId, StepName, Target};
use crate::identity::Identity;
use crate::reply::{Refusal, Reply};

/// From this level on all members remember when a run was let go on.
const RESUMES: u32 = 5;

/// A refusal, where a reason is too long to keep.
fn too_long(reason: &str) -> Option<Reply> {
    (reason.len() > bounds::REASON_BYTES)
        .then(|| Reply::Refused(Refusal::Bound { what: "bytes of reason".into(), limit: bounds::REASON_BYTES as u64 }))
}

impl State {
    fn open_run(&mut self, id: &RunId) -> Result<&mut Run, Reply> {
        let Some(run) = self.runs.get_mut(id) else {
            return Err(Reply::Refused(Refusal::NotFound { what: format!("run {id}"), hint: "see `mainstay run list`".into() }));
        };
        match run.end() {
            Some(end) => Err(Reply::Refused(Refusal::Conflict(format!("run {id} has ended already: {end}")))),
            None => Ok(run),
        }
    }

    /// What has not been offered will not be; what an agent has is stopped by the leader's next decision.
    pub(super) fn abort_run(&mut self, id: &RunId, reason: &str, by: &Actor, when: When) -> Reply {
        let run = match self.open_run(id) {
            Ok(run) => run,
            Err(reply) => return reply,
        };
        if let Some(refusal) = too_long(reason) {
            return refusal;
        }
        if run.abort.is_none() {
            run.abort = Some(Abort { by: by.to_string(), reason: reason.to_owned() });
            // Taking back what was done is not held up.
            run.pause = None;
            run.skip_waiting(Direction::Do, ABORTED, when);
        }
        Reply::Done
    }

    pub(super) fn pause_run(&mut self, id: &RunId, reason: &str, by: &Actor, when: When) -> Reply {
        let run = match self.open_run(id) {
            Ok(run) => run,
            Err(reply) => return reply,
        };
        if let Some(refusal) = too_long(reason) {
            return refusal;
        }
        if run.phase == RunPhase::Undoing || run.abort.is_some() {
            return Reply::Refused(Refusal::Conflict(format!("run {id} takes back what it did: that is not held up")));
        }
        if run.pause.is_none() {
            run.pause = Some(Pause { by: by.to_string(), reason: reason.to_owned(), at: when.at });
        }
        Reply::Done
    }

    pub(super) fn resume_run(&mut self, id: &RunId, when: When) -> Reply {
        let remembers = self.feature_level >= RESUMES;
        let run = match self.open_run(id) {
            Ok(run) => run,
            Err(reply) => return reply,
        };
        if run.pause.take().is_some() {
            run.moved_at = when.at;
            if remembers {
                run.resumed_at = Some(when.at);
            }
        }
        Reply::Done
    }

    /// Of an open run it is an abort. Of an ended one, all that it did and has an undo is taken back, or what
    /// an earlier undo left in place.
    pub(super) fn undo_run(&mut self, id: &RunId, reason: &str, by: &Actor, when: When) -> Reply {
        if let Some(refusal) = self.runs.get(id).filter(|run| run.is_ended()).and_then(|run| self.lacks_role(&run.plan, by)) {
            return Reply::Refused(refusal);
        }
        let Some(run) = self.runs.get_mut(id) else {
            return Reply::Refused(Refusal::NotFound { what: format!("run {id}"), hint: "see `mainstay run list`".into() });
        };
        let Some(end) = run.end().copied() else { return self.abort_run(id, reason, by, when) };
        if let Some(refusal) = too_long(reason) {
            return refusal;
        }
        if end.undo == UndoEnd::Done {
            return Reply::Refused(Refusal::Conflict(format!("run {id} is undone already")));
        }
        let back: Vec<(StepName, Target)> = run.to_take_back().map(|(step, target)| (step.clone(), target.clone())).collect();
        if back.is_empty() {
            let left = "what failed, was cut off or is not known is not taken back: mainstay why tells where to look";
            let why = if run.works().any(|(_, _, work)| work.undo.is_some()) {
                format!("has taken back what it did where there is an undo; {left}")
            } else if run.leaves_half_done() {
                format!("has brought nothing to its end that has an undo; {left}")
            } else {
                "has done nothing that has an undo".to_owned()
            };
            return Reply::Refused(Refusal::Conflict(format!("run {id} {why}")));
        }
        for (step, target) in back {
            if let Some(work) = run.work_mut(&step, &target) {
                work.undo = Some(WorkState::Waiting);
            }
        }
        run.phase = RunPhase::Undoing;
        run.pause = None;
        run.ended = None;
        run.moved_at = when.at;
        Reply::Done
    }

    pub(super) fn retry_run(&mut self, id: &RunId, step: Option<&StepName>, unknown: bool, by: &Actor, when: When) -> Reply {
        if let Some(refusal) = self.runs.get(id).and_then(|run| self.lacks_role(&run.plan, by)) {
            return Reply::Refused(refusal);
        }
        if self.runs.values().filter(|run| !run.is_ended()).count() >= bounds::RUNS_OPEN {
            return Reply::Refused(Refusal::Bound { what: "open runs".into(), limit: bounds::RUNS_OPEN as u64 });
        }
        let Some(before) = self.runs.get(id) else {
            return Reply::Refused(Refusal::NotFound { what: format!("run {id}"), hint: "see `mainstay run list`".into() });
        };
        let conflict = |text: String| Reply::Refused(Refusal::Conflict(text));
        let Some(end) = before.end().copied() else { return conflict(format!("run {id} has not ended: see `mainstay why {id}`")) };
        if end.undo == UndoEnd::Done || before.works().any(|(_, _, work)| work.undo.is_some()) {
            return conflict(format!("run {id} was undone: start a new run of {}", id.plan));
        }
        if let Some(step) = step.filter(|step| before.plan.step(step).is_none()) {
            return Reply::Refused(Refusal::NotFound { what: format!("step {step} in run {id}"), hint: format!("see `mainstay run show {id}`") });
        }
        let (run, settled) = self.as_said_since(before);
        let again = run.to_do_again(step, unknown, self.feature_level);
        if again.is_empty() && !settled.iter().any(|(_, outcome)| matches!(outcome, Outcome::Succeeded(_))) {
            let hint = if run.works().any(|(_, _, work)| matches!(work.forward, WorkState::Unknown { .. })) {
                "; what has an unknown outcome, and what waited for it, is done again only with --unknown"
            } else {
                ""
            };
            return conflict(format!("nothing of run {id} is to be done again{hint}"));
        }
        for (attempt, outcome) in settled {
            if let Some(attempt) = self.attempts.get_mut(&attempt) {
                attempt.since = None;
                attempt.phase = Phase::Ended(outcome);
            }
        }
        self.runs.insert(id.clone(), run);
        let Some(run) = self.runs.get_mut(id) else { return conflict(format!("run {id} is gone")) };
        for (step, target) in again {
            if let Some(work) = run.work_mut(&step, &target) {
                work.begin_anew();
            }
            run.resolved.forget(&step);
        }
        run.reweigh_resolutions(&mut self.weight);
        run.phase = RunPhase::Running;
        run.abort = None;
        run.ended = None;
        run.moved_at = when.at;
        Reply::Done
    }

    /// The run as it is where the word of agents that are back counts, and the attempts that ended so by that. What was
    /// given up in one of its tries, and of which nobody has said more, stays as it is.
    fn as_said_since(&self, run: &Run) -> (Run, Vec<(AttemptId, Outcome)>) {
        let (mut told, mut settled) = (run.clone(), Vec::new());
        for (step, target, work) in run.works().filter(|(_, _, work)| matches!(work.forward, WorkState::Unknown { .. })) {
            let (Some(last), Some(work_told)) = (self.known_since(work), told.work_mut(step, target)) else { continue };
            work_told.forward = WorkState::of(&last.outcome);
            work_told.half_done = false;
            let tries = work.attempts.iter().filter_map(|id| Some((*id, self.attempts.get(id)?.since.as_ref()?.outcome.clone())));
            settled.extend(tries);
        }
        (told, settled)
    }

    /// Takes in that somebody agrees or not. What they saw must still be what there is.
    pub(super) fn decide_approval(&mut self, id: &RunId, decided: &Decided, by: &Actor, when: When) -> Reply {
        let role = match by {
            Actor::Identity(Identity::Operator(name)) => self.operators.get(name).copied(),
            _ => None,
        };
        let run = match self.open_run(id) {
            Ok(run) => run,
            Err(reply) => return reply,
        };
        if let Some(refusal) = too_long(&decided.reason) {
            return refusal;
        }
        let Some(asked) = run.asks_for(decided.step.as_ref(), decided.wave) else {
            return Reply::Refused(Refusal::NotFound { what: format!("such approval in run {id}"), hint: format!("see `mainstay why {id}`") });
        };
        if role.is_none_or(|role| role < asked.by) {
            return Reply::Refused(Refusal::Conflict(format!("this approval is by an {} or more", asked.by)));
        }
        if asked.not_author && run.by == by.to_string() {
            return Reply::Refused(Refusal::Conflict(format!("{} started run {id}: another person has to approve it", run.by)));
        }
        let sight = run.sight(decided.step.as_ref(), decided.wave);
        if sight != decided.seen {
            return Reply::Refused(Refusal::Changed(format!("run {id} is no longer what was seen")));
        }
        run.take_in(decided, by.to_string(), when);
        Reply::Done
    }
}
