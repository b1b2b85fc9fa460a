//! Plans and their revisions.

use std::collections::BTreeMap;

use imbl::OrdMap;
use serde::{Deserialize, Serialize};

use super::start::Start;
use super::{State, When};
use crate::bounds;
use crate::command::{Actor, Firing};
use crate::id::{PlanName, RunId, StepName};
use crate::plan::{Concurrency, Plan, Schedule};
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
    /// Who keeps its schedules from starting runs, and why.
    pub suspended: Option<Suspension>,
    /// By what a schedule says of its instants, so that one that only moves within the document goes on.
    pub fired: OrdMap<String, Fired>,
    /// Instants before it do not count: nobody wanted them to.
    pub counts_from: WallTime,
}

/// That a plan's schedules start nothing for now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suspension {
    pub by: String,
    pub reason: String,
    pub since: WallTime,
}

/// What a schedule has done so far.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Fired {
    /// The newest instant that was acted on. It only grows, so that none is acted on twice.
    pub last: WallTime,
    pub started: u64,
    /// Instants that passed while nobody could start a run, or too late.
    pub missed: u64,
    /// Instants at which an earlier run had not ended.
    pub held: u64,
    /// The newest run that it started.
    pub run: Option<RunId>,
}

/// What [`State::fire_schedule`] takes.
pub(super) struct Fire<'a> {
    pub plan: &'a PlanName,
    pub revision: u32,
    pub schedule: u32,
    pub instant: WallTime,
    pub missed: u32,
    pub firing: Firing,
    pub connections: &'a BTreeMap<StepName, String>,
}

/// Names a schedule's instants.
#[must_use]
pub fn instants_of(schedule: &Schedule) -> String {
    format!("{} {}", schedule.cron, schedule.zone)
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

    /// From when on a schedule of the current revision has instants to act on.
    #[must_use]
    pub fn counts_after(&self, schedule: &Schedule, applied: WallTime) -> WallTime {
        let last = self.fired.get(&instants_of(schedule)).map_or(applied, |fired| fired.last);
        last.max(self.counts_from)
    }
}

impl State {
    pub(super) fn apply_plan(&mut self, plan: &Plan, bundled: bool, by: &Actor, when: When) -> Reply {
        if let Some(refusal) = matches!(by, Actor::Identity(_)).then(|| self.lacks_role(plan, by)).flatten() {
            return Reply::Refused(refusal);
        }
        if let Some(refusal) = self.is_not_for(&plan.name, by, true).or_else(|| self.is_out_of_place(plan)) {
            return Reply::Refused(refusal);
        }
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

    pub(super) fn suspend_plan(&mut self, name: &PlanName, reason: &str, by: &Actor, when: When) -> Reply {
        let Some(history) = self.plans.get_mut(name) else {
            return Reply::Refused(Refusal::NotFound { what: format!("plan {name}"), hint: "see `mainstay plan list`".into() });
        };
        if reason.len() > bounds::REASON_BYTES {
            return Reply::Refused(Refusal::Bound { what: "bytes of reason".into(), limit: bounds::REASON_BYTES as u64 });
        }
        if history.suspended.is_none() {
            history.suspended = Some(Suspension { by: by.to_string(), reason: reason.to_owned(), since: when.wall });
        }
        Reply::Done
    }

    pub(super) fn resume_plan(&mut self, name: &PlanName, when: When) -> Reply {
        let Some(history) = self.plans.get_mut(name) else {
            return Reply::Refused(Refusal::NotFound { what: format!("plan {name}"), hint: "see `mainstay plan list`".into() });
        };
        if history.suspended.take().is_some() {
            history.counts_from = history.counts_from.max(when.wall);
        }
        Reply::Done
    }

    /// Acts on a schedule's instant. One that has been acted on, and one of a plan that is another by now,
    /// is stale: no instant counts twice.
    pub(super) fn fire_schedule(&mut self, fire: &Fire<'_>, when: When) -> Reply {
        let stale = || Reply::Stale(format!("schedule {} of plan {} is no longer due at that instant", fire.schedule + 1, fire.plan));
        let Some(history) = self.plans.get(fire.plan).filter(|history| history.suspended.is_none()) else { return stale() };
        let Some((_, current)) = history.current().filter(|(number, _)| *number == fire.revision) else { return stale() };
        let Some(schedule) = current.plan.schedules.get(fire.schedule as usize).filter(|schedule| !schedule.suspended) else { return stale() };
        if fire.instant <= history.counts_after(schedule, current.applied) {
            return stale();
        }
        let (schedule, concurrency) = (schedule.clone(), current.plan.concurrency);
        let open = self.runs.values().any(|run| run.id.plan == *fire.plan && !run.is_ended());
        if fire.firing == Firing::Start && concurrency == Concurrency::Forbid && open {
            return stale();
        }
        let reply = match fire.firing {
            // No such document is taken; nor does a clock do what asks for a person.
            Firing::Start if let Some(refusal) = self.lacks_role_to_start(fire.plan, Some(fire.revision), &Actor::Mesh) => Reply::Refused(refusal),
            Firing::Start => self.start_run(
                &Start {
                    plan: fire.plan,
                    revision: Some(fire.revision),
                    inputs: &schedule.inputs,
                    connections: fire.connections,
                    without_calendar: None,
                    object: None,
                    by: format!("schedule {}", instants_of(&schedule)),
                },
                when,
            ),
            Firing::Missed | Firing::Held => Reply::Done,
        };
        if let Some(history) = self.plans.get_mut(fire.plan) {
            let fired = history.fired.entry(instants_of(&schedule)).or_default();
            fired.last = fire.instant;
            fired.missed += u64::from(fire.missed);
            match (&reply, fire.firing) {
                (Reply::Started(run), _) => {
                    fired.started += 1;
                    fired.run = Some(run.clone());
                }
                (_, Firing::Held) => fired.held += 1,
                _ => fired.missed += 1,
            }
        }
        reply
    }

    pub(super) fn remove_plan(&mut self, name: &PlanName, by: &Actor) -> Reply {
        if let Some(refusal) = self.is_not_for(name, by, false) {
            return Reply::Refused(refusal);
        }
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
        // A name that may come back keeps the numbers of its runs. Where there were none, a cluster whose plans come and
        // go would only fill the mesh with names.
        if name.origin().is_some() && history.runs == 0 {
            self.plans.remove(name);
        }
        Reply::Done
    }
}
