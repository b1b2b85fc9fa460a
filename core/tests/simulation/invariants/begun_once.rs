//! What is not idempotent.

use std::collections::{BTreeMap, BTreeSet};

use mainstay_core::state::attempt::Phase;
use mainstay_core::state::run::{Direction, Outcome};
use mainstay_core::{AttemptId, Command, Reply, RunId, StepName, Target};

use super::{Applied, Deed, Held, Invariant};
use crate::world::World;

type Item = (RunId, StepName, Target, Direction);

#[derive(Default)]
pub struct BegunOnce {
    /// Attempts that the mesh has begun.
    begun: BTreeSet<AttemptId>,
    /// How often a person has had a run done or undone again: a new beginning.
    rounds: BTreeMap<RunId, u32>,
    /// In which round an attempt was offered.
    offered: BTreeMap<AttemptId, u32>,
    /// Which attempts have had effects.
    effects: BTreeMap<Item, Vec<AttemptId>>,
}

impl Invariant for BegunOnce {
    fn name(&self) -> &'static str {
        "begun-once"
    }

    fn says(&self) -> &'static str {
        "nothing is begun twice, unless it is known to have failed or a person says so; and nothing before its begin is agreed on"
    }

    fn applied(&mut self, applied: &Applied<'_>, _world: &World) -> Held {
        match (&applied.entry.command, applied.reply) {
            (Command::BeginAttempt { attempt, .. }, Reply::Done) => {
                self.begun.insert(*attempt);
            }
            (Command::RetryRun { run, .. } | Command::UndoRun { run, .. }, Reply::Done) if !applied.is_repeated => {
                *self.rounds.entry(run.clone()).or_default() += 1;
            }
            (Command::OfferAttempt { run, .. }, Reply::Offered(attempt)) => {
                self.offered.insert(*attempt, self.rounds.get(run).copied().unwrap_or(0));
            }
            _ => {}
        }
        Ok(())
    }

    fn did(&mut self, deed: &Deed, world: &World) -> Held {
        let Deed::Began { attempt, idempotent } = deed else { return Ok(()) };
        if !self.begun.contains(&attempt.id) {
            return Err(format!("attempt {} had effects, and the mesh has not begun it", attempt.id));
        }
        if *idempotent {
            return Ok(());
        }
        let item = (attempt.run.clone(), attempt.step.clone(), attempt.target.clone(), attempt.direction);
        let effects = self.effects.entry(item).or_default();
        let round = self.offered.get(&attempt.id);
        let excused = |before: &AttemptId| {
            let failed = world.state().attempts.get(before).is_some_and(|before| matches!(before.phase, Phase::Ended(Outcome::Failed { .. })));
            *before != attempt.id && (failed || self.offered.get(before) < round)
        };
        if let Some(before) = effects.iter().find(|before| !excused(before)) {
            let phase = world.state().attempts.get(before).map(|before| before.phase.clone());
            return Err(format!(
                "{}/{} on {} ({}) was begun by {before}, which is {phase:?}, and again by {}",
                attempt.run, attempt.step, attempt.target, attempt.direction, attempt.id
            ));
        }
        effects.push(attempt.id);
        Ok(())
    }
}
