//! What must hold before a work item is given to an agent.

use super::{Item, RunPass};
use crate::catalogue::{self, Scope};
use crate::command::Command;
use crate::evaluate::{self, Evaluation};
use crate::outlook;
use crate::state::resolution::Resolution;
use crate::state::run::{Direction, WorkState};
use crate::wait::Reason;

impl<'s> RunPass<'_, 's, '_> {
    /// Whether nothing is in the way of the item; what is, is said or done.
    pub(super) fn may_begin(&mut self, item: Item<'s>) -> bool {
        if let Some(pause) = &self.run.pause {
            let reason = Reason::Paused { by: pause.by.clone(), reason: pause.reason.clone(), run: self.run.id.clone() };
            self.wait(item, reason, pause.at, None);
            if item.direction == Direction::Do && item.work.is_fresh() {
                self.give_lease_back(item);
            }
            return false;
        }
        if !self.is_resolved(item) {
            return false;
        }
        if catalogue::kind(&item.step.uses).is_some_and(|kind| kind.scope == Scope::Mesh) {
            self.carry_out(item);
            return false;
        }
        if item.direction == Direction::Undo {
            return self.has_lease(item);
        }
        if !item.work.is_fresh() {
            return self.spares_backups(item) && self.keeps_quorum(item) && self.has_lease(item);
        }
        // Cheap looks first.
        let may_go = self.has_turn(item).is_some_and(|first_of_target| self.gates_are_open(item, first_of_target));
        let is_its_turn = may_go && self.spares_backups(item) && self.keeps_quorum(item);
        if !is_its_turn {
            // Whoever is not next must not keep it from those who are: they may need it again.
            self.give_lease_back(item);
            return false;
        }
        // A target that waits for its lease has its turn: no other one is to stand in the queue beside it.
        if let Some(rollout) = self.rollouts.of_step_mut(self.run, item.step) {
            rollout.begin(item.target);
        }
        // While nobody is there to do it, others may have it.
        let can_be_done = catalogue::kind(&item.step.uses).is_none_or(|kind| outlook::is_able(self.pass.state, kind, item.target));
        if !can_be_done {
            self.give_lease_back(item);
            return true;
        }
        self.leaves(item);
        self.has_lease(item)
    }

    /// What no agent sees: the mesh carries it out by waiting for something, or by changing its own state.
    fn carry_out(&mut self, item: Item<'s>) {
        if item.step.uses == catalogue::APPROVAL {
            self.ask(item);
        } else {
            self.change_root(item);
        }
    }

    /// Whether the expressions of the item have been filled in, and say that it is to be done.
    fn is_resolved(&mut self, item: Item<'s>) -> bool {
        if !evaluate::has_expressions(item.step, item.direction) {
            return true;
        }
        let resolution = self.run.resolved.get(&item.step.name, Some(item.target), item.direction);
        let state = match resolution {
            Some(Resolution::Go { .. }) => return true,
            Some(Resolution::Omit { reason }) => WorkState::Omitted { reason: reason.clone() },
            Some(Resolution::Fail { message }) => WorkState::Failed { message: message.clone() },
            None => {
                if self.evaluated.insert(&item.step.name) {
                    let evaluation = Evaluation { run: self.run.id.clone(), step: item.step.name.clone(), direction: item.direction };
                    self.pass.decision.evaluate.push(evaluation);
                }
                self.wait(item, Reason::Evaluating, item.ready, None);
                return false;
            }
        };
        match item.direction {
            Direction::Do => self.settle(item, state),
            // There are no parameters to take it back with: a person has to look.
            Direction::Undo => self.give_up(item, WorkState::Unreachable { reason: state.detail().to_owned() }),
        }
        false
    }

    pub(super) fn settle(&mut self, item: Item<'s>, state: WorkState) {
        let (run, step, target) = (self.run.id.clone(), item.step.name.clone(), item.target.clone());
        self.pass.command(Command::SettleStep { run, step, target, state });
    }
}
