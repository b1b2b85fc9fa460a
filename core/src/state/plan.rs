//! Plans and their revisions.

use imbl::OrdMap;
use serde::{Deserialize, Serialize};

use super::{State, When};
use crate::bounds;
use crate::command::Actor;
use crate::id::PlanName;
use crate::plan::Plan;
use crate::reply::{Refusal, Reply};
use crate::time::WallTime;

/// Revisions of one plan. A revision never changes; the newest is what a new run takes.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PlanHistory {
    pub revisions: OrdMap<u32, Revision>,
    /// Number of the newest revision ever, also of removed ones.
    pub newest: u32,
    /// Runs started so far.
    pub runs: u64,
}

/// A plan as it was applied.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Revision {
    pub plan: Plan,
    pub applied: WallTime,
    pub by: String,
    /// Came with the program; an operator's plan of the same name goes before it.
    pub bundled: bool,
}

/// Revisions kept of one plan, besides those that open runs use.
const REVISIONS_KEPT: usize = 20;

impl PlanHistory {
    /// The revision that a new run takes: the newest of an operator's own, else the newest bundled one.
    #[must_use]
    pub fn current(&self) -> Option<(u32, &Revision)> {
        let newest =
            |own: bool| self.revisions.iter().rev().find(|(_, revision)| revision.bundled != own).map(|(number, revision)| (*number, revision));
        newest(true).or_else(|| newest(false))
    }
}

impl State {
    pub(super) fn apply_plan(&mut self, plan: &Plan, bundled: bool, by: &Actor, when: When) -> Reply {
        if plan.source.len() > bounds::PLAN_BYTES {
            return Reply::Refused(Refusal::Bound { what: "bytes of plan".into(), limit: bounds::PLAN_BYTES as u64 });
        }
        if !self.plans.contains_key(&plan.name) && self.plans.len() >= bounds::PLANS {
            return Reply::Refused(Refusal::Bound { what: "plans".into(), limit: bounds::PLANS as u64 });
        }
        let in_use: Vec<u32> = self.runs.values().filter(|run| run.id.plan == plan.name).map(|run| run.revision).collect();
        let history = self.plans.entry(plan.name.clone()).or_default();
        let same = history.revisions.iter().rev().find(|(_, old)| old.bundled == bundled);
        if let Some((number, _)) = same.filter(|(_, old)| old.plan.digest == plan.digest) {
            return Reply::Applied { plan: plan.name.clone(), revision: *number, changed: false };
        }
        history.newest += 1;
        let revision = history.newest;
        self.weight += plan.weight();
        history.revisions.insert(revision, Revision { plan: plan.clone(), applied: when.wall, by: by.to_string(), bundled });
        // The newest of either origin stays: the bundled one comes back when an operator's own is removed.
        let newest = |bundled: bool| history.revisions.iter().rev().find(|(_, revision)| revision.bundled == bundled).map(|(number, _)| *number);
        let stays = [newest(true), newest(false)];
        let spare: Vec<u32> =
            history.revisions.keys().copied().filter(|number| !in_use.contains(number) && !stays.contains(&Some(*number))).collect();
        for number in spare.iter().take(history.revisions.len().saturating_sub(REVISIONS_KEPT)) {
            if let Some(old) = history.revisions.remove(number) {
                self.weight = self.weight.saturating_sub(old.plan.weight());
            }
        }
        Reply::Applied { plan: plan.name.clone(), revision, changed: true }
    }

    pub(super) fn remove_plan(&mut self, name: &PlanName) -> Reply {
        let Some(history) = self.plans.get(name) else {
            return Reply::Refused(Refusal::NotFound { what: format!("plan {name}"), hint: "see `mainstay plan list`".into() });
        };
        if let Some(open) = self.runs.values().find(|run| run.id.plan == *name && !run.is_ended()) {
            return Reply::Refused(Refusal::Conflict(format!("run {} of plan {name} has not ended: abort it or wait for it", open.id)));
        }
        if history.revisions.values().all(|revision| revision.bundled) {
            return Reply::Refused(Refusal::Conflict(format!("plan {name} comes with the program and cannot be removed")));
        }
        let Some(history) = self.plans.get_mut(name) else { return Reply::Done };
        let own: Vec<u32> = history.revisions.iter().filter(|(_, revision)| !revision.bundled).map(|(number, _)| *number).collect();
        for number in own {
            if let Some(old) = history.revisions.remove(&number) {
                self.weight = self.weight.saturating_sub(old.plan.weight());
            }
        }
        Reply::Done
    }
}
