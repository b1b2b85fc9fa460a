//! What a run says of itself against what was done.

use std::collections::BTreeMap;

use mainstay_core::state::run::{Direction, Run, RunOutcome, UndoEnd, WorkState};
use mainstay_core::{RunId, StepName, Target};

use super::{Deed, Held, Invariant};
use crate::world::World;

/// What is in place of a work item.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Place {
    /// It was done, and not taken back since.
    is_in_place: bool,
    was_done: bool,
    was_undone: bool,
}

#[derive(Default)]
pub struct Undone(BTreeMap<(RunId, StepName, Target), Place>);

impl Undone {
    fn agrees(&self, run: &Run) -> Held {
        let Some(end) = run.end() else { return Ok(()) };
        for step in run.plan.steps.iter().filter(|step| step.uses == "node.exec") {
            for (target, work) in &run.work[&step.name] {
                let place = self.0.get(&(run.id.clone(), step.name.clone(), target.clone())).copied().unwrap_or_default();
                let problem = |what: &str| Err(format!("{} ended {end}; {} on {target} {what}: {work:?}, {place:?}", run.id, step.name));
                if matches!(work.forward, WorkState::Succeeded { .. }) && !place.was_done {
                    return problem("counts as done and was not");
                }
                if matches!(work.undo, Some(WorkState::Succeeded { .. })) && !place.was_undone {
                    return problem("counts as undone and was not");
                }
                let has_undo = step.undo.is_some();
                match (end.outcome, end.undo) {
                    (_, UndoEnd::Done) if has_undo && place.is_in_place => return problem("is still in place"),
                    (RunOutcome::Failed | RunOutcome::Aborted, UndoEnd::NotNeeded) if has_undo && place.is_in_place => {
                        return problem("is in place, and nothing is said of it");
                    }
                    (RunOutcome::Completed, UndoEnd::NotNeeded) if place.was_undone => return problem("was taken back"),
                    _ => {}
                }
            }
        }
        Self::is_no_excuse(run)
    }

    /// A run that says that its undo is incomplete has something that it could not take back.
    fn is_no_excuse(run: &Run) -> Held {
        let is_incomplete = run.end().is_some_and(|end| end.undo == UndoEnd::Incomplete);
        let stuck = run.works().any(|(_, _, work)| {
            work.half_done || work.undo.as_ref().is_some_and(|undo| undo.is_over() && !matches!(undo, WorkState::Succeeded { .. }))
        });
        if is_incomplete && !stuck { Err(format!("{} says that its undo is incomplete, and all is taken back", run.id)) } else { Ok(()) }
    }
}

impl Invariant for Undone {
    fn name(&self) -> &'static str {
        "undone"
    }

    fn says(&self) -> &'static str {
        "what a run says that it did and took back is what was done; what is in place of a run that failed is said"
    }

    fn did(&mut self, deed: &Deed, _world: &World) -> Held {
        let Deed::Finished(attempt) = deed else { return Ok(()) };
        let place = self.0.entry((attempt.run.clone(), attempt.step.clone(), attempt.target.clone())).or_default();
        place.is_in_place = attempt.direction == Direction::Do;
        place.was_done |= attempt.direction == Direction::Do;
        place.was_undone |= attempt.direction == Direction::Undo;
        Ok(())
    }

    fn ended(&mut self, world: &World) -> Held {
        world.state().runs.values().try_for_each(|run| self.agrees(run))
    }
}
