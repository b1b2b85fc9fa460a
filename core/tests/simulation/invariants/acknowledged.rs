//! What somebody was told has been done.

use std::collections::{BTreeMap, BTreeSet};

use mainstay_core::state::attempt::Phase;
use mainstay_core::state::run::{Outcome, RunOutcome};
use mainstay_core::{AttemptId, Command, Refusal, Reply, RequestKey, RunId};

use super::{Applied, Deed, Held, Invariant};
use crate::world::World;

#[derive(Default)]
pub struct Acknowledged {
    /// What each request was answered, as its sender heard it.
    answers: BTreeMap<usize, Reply>,
    /// The run that each request key started.
    started: BTreeMap<RequestKey, RunId>,
    paused: BTreeSet<RunId>,
    aborted: BTreeSet<RunId>,
    ended: BTreeMap<AttemptId, Outcome>,
}

impl Acknowledged {
    fn starts(&mut self, applied: &Applied<'_>) -> Held {
        let (Command::StartRun { .. }, Some(key), Reply::Started(run)) = (&applied.entry.command, &applied.entry.key, applied.reply) else {
            return Ok(());
        };
        match self.started.insert(key.clone(), run.clone()) {
            Some(first) if first != *run => Err(format!("one request started {first} and {run}")),
            _ => Ok(()),
        }
    }
}

impl Invariant for Acknowledged {
    fn name(&self) -> &'static str {
        "acknowledged"
    }

    fn says(&self) -> &'static str {
        "what was acknowledged stays done: one run for each request, a pause begins nothing, an abort ends as one, an outcome that was taken in is kept"
    }

    fn applied(&mut self, applied: &Applied<'_>, _world: &World) -> Held {
        self.starts(applied)?;
        let done = *applied.reply == Reply::Done && !applied.is_repeated;
        match &applied.entry.command {
            Command::PauseRun { run, .. } if done => {
                self.paused.insert(run.clone());
            }
            Command::ResumeRun { run } if done => {
                self.paused.remove(run);
            }
            Command::AbortRun { run, .. } | Command::UndoRun { run, .. } if done => {
                self.paused.remove(run);
                if applied.before.runs.get(run).is_some_and(|run| !run.is_ended()) {
                    self.aborted.insert(run.clone());
                }
            }
            Command::RetryRun { run, .. } if done => {
                self.aborted.remove(run);
            }
            Command::OfferAttempt { run, step, .. } if matches!(applied.reply, Reply::Offered(_)) && self.paused.contains(run) => {
                return Err(format!("{run} is paused, and {step} is given out"));
            }
            Command::EndRun { run, end } if done && self.aborted.contains(run) && end.outcome != RunOutcome::Aborted => {
                return Err(format!("{run} was aborted, and ends {end}"));
            }
            _ => {}
        }
        Ok(())
    }

    fn did(&mut self, deed: &Deed, _world: &World) -> Held {
        match deed {
            // Refused before it came into the log: the next one may be taken.
            Deed::Answered { reply: Reply::Refused(Refusal::Unsupported(_)), .. } => {}
            Deed::Answered { ask, command, reply } => {
                // The sender repeats under one key: whichever answer comes through is that of the first.
                match self.answers.insert(*ask, reply.clone()) {
                    Some(first) if first != *reply => return Err(format!("{command} was answered {first:?} and {reply:?}")),
                    _ => {}
                }
            }
            Deed::EndTaken { attempt, outcome } => {
                self.ended.insert(*attempt, outcome.clone());
            }
            _ => {}
        }
        Ok(())
    }

    fn ended(&mut self, world: &World) -> Held {
        let state = world.state();
        for reply in self.answers.values() {
            if let Reply::Started(run) = reply
                && !state.runs.contains_key(run)
                && !state.runs.values().any(|other| other.id.plan == run.plan && other.id.number > run.number)
            {
                return Err(format!("{run} was acknowledged and is gone"));
            }
        }
        for (id, outcome) in &self.ended {
            let Some(attempt) = state.attempts.get(id) else { continue };
            let since = attempt.since.as_ref().map(|since| since.outcome.summary());
            let is_kept = match (&attempt.phase, outcome) {
                // What a process says of one before it may count as not known.
                (Phase::Ended(Outcome::Unknown { .. }), Outcome::Cancelled { .. }) => true,
                (Phase::Ended(own), told) => own.summary() == told.summary() || since == Some(told.summary()),
                _ => false,
            };
            if !is_kept {
                return Err(format!("attempt {id} was taken in as {outcome:?} and is {:?}", attempt.phase));
            }
        }
        Ok(())
    }
}
