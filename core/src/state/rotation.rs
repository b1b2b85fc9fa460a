//! What the steps of a run do to the roots that are trusted. The change and the end of the step are one entry: a step
//! that counts as done was done, and one that does not has changed nothing.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::run::{Direction, WorkState};
use super::trust::{NewRoot, RootId};
use super::{State, When};
use crate::id::{RunId, StepName, Target};
use crate::reply::Reply;
use crate::report::Verdict;
use crate::time::WallTime;

/// What a step does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RootChange {
    /// What is said of the root was read from its certificate.
    Add { id: RootId, pem: String, ends: WallTime },
    /// Takes back that the run added it.
    TakeBack { id: RootId },
    /// Leaves it as it is: the run did not add it, or it is gone already.
    Leave { id: RootId },
    /// Retires all that were added before it.
    RetireBefore { id: RootId },
}

impl fmt::Display for RootChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RootChange::Add { id, .. } => write!(f, "trust root {id}"),
            RootChange::TakeBack { id } => write!(f, "retire root {id} again"),
            RootChange::Leave { id } => write!(f, "leave root {id} as it is"),
            RootChange::RetireBefore { id } => write!(f, "retire what is older than root {id}"),
        }
    }
}

/// The step that does it.
pub(super) struct RootStep<'a> {
    pub run: &'a RunId,
    pub step: &'a StepName,
    pub target: &'a Target,
    pub direction: Direction,
}

impl State {
    pub(super) fn change_roots(&mut self, by: &RootStep<'_>, change: &RootChange, when: When) -> Reply {
        let waits = |run: &super::run::Run| run.work(by.step, by.target).is_some_and(|work| work.state(by.direction).is_waiting());
        if !self.runs.get(by.run).is_some_and(|run| run.accepts(by.direction) && waits(run)) {
            return Reply::Stale(format!("{}/{} on {} is not waiting", by.run, by.step, by.target));
        }
        let reply = match change {
            RootChange::Add { id, pem, ends } => match self.cannot_replace(&NewRoot { id: *id, pem, ends: *ends }, when.wall) {
                Some(problem) => return Reply::Stale(problem),
                None => self.add_root(&NewRoot { id: *id, pem, ends: *ends }, Some(by.run), when),
            },
            RootChange::TakeBack { id } if !self.has_added_root(by.run, *id) => return Reply::Stale(format!("{} did not add root {id}", by.run)),
            RootChange::TakeBack { id } => self.retire_root(*id, false, when),
            RootChange::Leave { .. } => Reply::Done,
            RootChange::RetireBefore { id } => self.retire_roots(&self.roots_before(*id), false, when),
        };
        match reply {
            Reply::Done => self.end_root_step(by, when),
            // Somebody has come to depend on it since that was decided: it is decided anew.
            Reply::Refused(refusal) => Reply::Stale(refusal.to_string()),
            other => other,
        }
    }

    /// Why a root cannot be added to take the place of those that there are.
    #[must_use]
    pub fn cannot_replace(&self, root: &NewRoot<'_>, now: WallTime) -> Option<String> {
        if self.roots.is_empty() {
            return Some("the mesh has no root of its own to replace: its certificates are issued elsewhere, or it has just begun".to_owned());
        }
        match (self.roots.contains_key(&root.id), self.roots_before(root.id).is_empty()) {
            (true, true) => Some(format!("root {} is trusted already, and there is no older one whose place it could take", root.id)),
            (true, false) => None,
            (false, _) => self.cannot_add(root, now).map(|refusal| refusal.to_string()),
        }
    }

    /// Whether a root is trusted because a step of this run added it.
    #[must_use]
    pub fn has_added_root(&self, run: &RunId, root: RootId) -> bool {
        self.roots.get(&root).is_some_and(|known| known.added_by.as_ref() == Some(run))
    }

    fn end_root_step(&mut self, by: &RootStep<'_>, when: When) -> Reply {
        if let Some(run) = self.runs.get_mut(by.run) {
            let order = run.next_order();
            if let Some(work) = run.work_mut(by.step, by.target) {
                work.skipped(by.direction, WorkState::Succeeded { verdict: Verdict::Ok }, order, when.at);
            }
            run.moved_at = when.at;
        }
        Reply::Done
    }
}
