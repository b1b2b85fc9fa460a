//! Steps that replace the mesh's root: what each waits for, and the change that it makes when nothing is in its way.

use super::{Item, RunPass};
use crate::catalogue::{CERTIFICATE_PARAM, ROOT_ADD, ROOT_ADOPT, ROOT_LEAVE};
use crate::certificate::RootCertificate;
use crate::command::Command;
use crate::report::Verdict;
use crate::state::rotation::RootChange;
use crate::state::run::{Direction, WorkState};
use crate::state::trust::{InUse, NewRoot, RootId, Those};
use crate::wait::Reason;

impl<'s> RunPass<'_, 's, '_> {
    pub(super) fn change_root(&mut self, item: Item<'s>) {
        // Filled in as it was on the way forward: what was added is what is taken back.
        let with = self.run.with_of(&item.step.name, item.target, Direction::Do);
        let text = with.and_then(|with| with.get(CERTIFICATE_PARAM)).and_then(serde_json::Value::as_str).unwrap_or_default();
        let root = match RootCertificate::read(text) {
            Ok(root) => root,
            Err(error) => return self.end_without_change(item, error.to_string()),
        };
        if item.direction == Direction::Undo {
            return self.take_back_root(item, root.id);
        }
        if !self.gates_are_open(item, true) || !self.has_lease(item) {
            return;
        }
        if item.step.uses == ROOT_ADD {
            return match self.pass.state.cannot_replace(&NewRoot { id: root.id, pem: &root.pem, ends: root.ends }, self.pass.seen.wall) {
                Some(message) => self.settle(item, WorkState::Failed { message }),
                None => self.change(item, RootChange::Add { id: root.id, pem: root.pem, ends: root.ends }),
            };
        }
        if !self.pass.state.roots.contains_key(&root.id) {
            let message = format!("root {} is not trusted: a step of kind {ROOT_ADD} comes before this one, or it was retired since", root.id);
            return self.settle(item, WorkState::Failed { message });
        }
        let reason = match item.step.uses.as_str() {
            ROOT_ADOPT => self.pass.state.lack_of(root.id, self.pass.seen.wall).map(|lack| Reason::RootLacks { root: root.id, lack }),
            _ => self.elders_in_use(root.id),
        };
        match reason {
            Some(reason) => self.wait_or_fail(item, reason),
            None if matches!(item.step.uses.as_str(), ROOT_ADOPT | ROOT_LEAVE) => self.settle(item, WorkState::Succeeded { verdict: Verdict::Ok }),
            None => self.change(item, RootChange::RetireBefore { id: root.id }),
        }
    }

    fn elders_in_use(&self, root: RootId) -> Option<Reason> {
        let (state, elders) = (self.pass.state, self.pass.state.roots_before(root));
        if let Some(in_use) = state.in_use_among(&elders) {
            return Some(Reason::RootInUse(in_use));
        }
        let those = Those::of(state.dependants(&elders, self.pass.seen.wall))?;
        Some(Reason::RootNeeded { roots: elders, those })
    }

    /// What others rely on by now stays. Leaves that are issued under it do not end by waiting.
    fn take_back_root(&mut self, item: Item<'s>, root: RootId) {
        let state = self.pass.state;
        if !state.has_added_root(&self.run.id, root) {
            return self.change(item, RootChange::Leave { id: root });
        }
        let gone = [root];
        let stays = state.in_use_among(&gone).map(|in_use| match in_use {
            InUse::Only { .. } => format!("root {root} stays: it is the only one by now"),
            InUse::Issuing { .. } => format!("root {root} stays: leaves are issued under it by now"),
        });
        match stays {
            Some(reason) => self.give_up(item, WorkState::Unreachable { reason }),
            None => match Those::of(state.dependants(&gone, self.pass.seen.wall)) {
                Some(those) => self.wait_or_fail(item, Reason::RootNeeded { roots: gone.into(), those }),
                None => self.change(item, RootChange::TakeBack { id: root }),
            },
        }
    }

    /// It waits until its time is over, and then counts as failed with what it waited for.
    fn wait_or_fail(&mut self, item: Item<'s>, reason: Reason) {
        let until = item.ready + item.step.timeout;
        if self.pass.now >= until {
            return self.end_without_change(item, format!("it waited for {}: {reason}", item.step.timeout));
        }
        self.wait(item, reason, item.ready, Some((until, "then it counts as failed")));
    }

    fn end_without_change(&mut self, item: Item<'s>, message: String) {
        match item.direction {
            Direction::Do => self.settle(item, WorkState::Failed { message }),
            Direction::Undo => self.give_up(item, WorkState::Unreachable { reason: message }),
        }
    }

    fn change(&mut self, item: Item<'s>, change: RootChange) {
        self.pass.command(Command::ChangeRoots {
            run: self.run.id.clone(),
            step: item.step.name.clone(),
            target: item.target.clone(),
            direction: item.direction,
            change,
        });
    }
}
