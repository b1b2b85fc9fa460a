//! Gates: each is looked at once a pass, however many targets stand before it.

use std::collections::BTreeMap;

use super::lease::in_the_way;
use super::{Fate, Item, RunPass};
use crate::freshness;
use crate::id::{PlanName, StepName};
use crate::outlook::{Said, said};
use crate::plan::Gate;
use crate::plan::gate::{Approval, Each};
use crate::report::Verdict;
use crate::rollout;
use crate::seen::Opening;
use crate::state::State;
use crate::state::approval;
use crate::state::run::{Direction, RunPhase, WorkState};
use crate::time::{MeshTime, Millis};
use crate::wait::Reason;

/// What has been looked at in this pass over one run.
#[derive(Default)]
pub(super) struct Looked<'s> {
    /// Why a gate is closed; nothing where it is open.
    gates: BTreeMap<&'s Gate, Option<Reason>>,
    approvals: BTreeMap<(Option<&'s StepName>, Option<u32>), Approved>,
}

/// What people have said.
#[derive(Clone)]
enum Approved {
    Yes,
    No(String),
    Wanted(Reason),
}

impl<'s> RunPass<'_, 's, '_> {
    /// Whether all gates of the item are open; the first that is not is said. The plan's own gates stand before
    /// a node's first step where nodes go one after the other, else before each step.
    pub(super) fn gates_are_open(&mut self, item: Item<'s>, first_of_target: bool) -> bool {
        let in_rollout = rollout::is_in_plans_rollout(self.run, item.step);
        let of_plan = self.run.plan.gates_of(item.step).filter(|_| !in_rollout || first_of_target).map(|gate| (None, gate));
        let of_step = item.step.gates.iter().map(|gate| (Some(&item.step.name), gate));
        of_plan.chain(of_step).all(|(of, gate)| match gate {
            Gate::Approval(approval) => self.is_approved(item, of, approval),
            gate => match self.judge(gate) {
                Some(reason) => {
                    self.wait(item, reason, item.ready, None);
                    false
                }
                None => true,
            },
        })
    }

    fn judge(&mut self, gate: &'s Gate) -> Option<Reason> {
        if let Some(known) = self.looked.gates.get(gate) {
            return known.clone();
        }
        let closed = |evidence: String| Some(Reason::Gate { gate: gate.to_string(), evidence });
        let reason = match gate {
            Gate::Approval(_) => None,
            Gate::Window(_) | Gate::Freeze(_) if self.run.without_calendar.is_some() => None,
            Gate::Window(_) | Gate::Freeze(_) => match self.pass.seen.calendar.get(gate) {
                Some(Opening::Open { .. }) => None,
                Some(Opening::Closed { evidence, .. }) => closed(evidence.clone()),
                // What was not looked at is unknown, and holds.
                None => closed("unknown: not looked at yet".to_owned()),
            },
            Gate::Lease { name } => in_the_way(self.pass.state, self.run, name).map(|(name, by)| Reason::LeaseHeld { name: name.clone(), by }),
            Gate::Health { plan, max_age } => healthy(self.pass.state, plan, *max_age, self.pass.now).err().and_then(closed),
            Gate::Declared(declared) => freshness::shut(self.pass.state, declared, self.pass.seen.wall).and_then(closed),
        };
        self.looked.gates.insert(gate, reason.clone());
        reason
    }

    fn is_approved(&mut self, item: Item<'s>, of: Option<&'s StepName>, approval: &Approval) -> bool {
        let wave = match approval.each {
            // What is done once is in no wave: it goes with the first.
            Each::Wave => Some(self.rollouts.of_step(self.run, item.step).and_then(|rollout| rollout.wave_of(item.target)).unwrap_or(1)),
            Each::Step => None,
        };
        let approved = match self.looked.approvals.get(&(of, wave)) {
            Some(known) => known.clone(),
            None => {
                let approved = self.approved(item, of, wave, approval);
                self.looked.approvals.insert((of, wave), approved.clone());
                approved
            }
        };
        match approved {
            Approved::Yes => true,
            Approved::No(message) => {
                self.settle(item, WorkState::Failed { message });
                false
            }
            Approved::Wanted(reason) => {
                self.wait(item, reason, item.ready, None);
                false
            }
        }
    }

    fn approved(&self, item: Item<'s>, of: Option<&'s StepName>, wave: Option<u32>, approval: &Approval) -> Approved {
        let standing = self.rollouts.of_step(self.run, item.step).or_else(|| self.rollouts.of_plan().filter(|_| of.is_none()));
        let rollout = standing.map(|standing| &standing.rollout);
        match said(self.run, of, wave, rollout, approval, self.pass.now) {
            Said::Yes => Approved::Yes,
            Said::No(given) => Approved::No(denied(&given.by, &given.reason)),
            Said::Nothing { expired } => Approved::Wanted(self.approval_wanted(of, wave, approval, "", expired.map(str::to_owned))),
        }
    }

    fn approval_wanted(&self, step: Option<&StepName>, wave: Option<u32>, approval: &Approval, message: &str, expired: Option<String>) -> Reason {
        Reason::Approval {
            run: self.run.id.clone(),
            step: step.cloned(),
            wave,
            by: approval.by,
            not: approval.not_author.then(|| self.run.by.clone()),
            message: message.to_owned(),
            seen: self.run.sight(step, wave),
            expired,
        }
    }

    /// A step that is an approval: the mesh carries it out by waiting.
    pub(super) fn ask(&mut self, item: Item<'s>) {
        let Some(approval) = approval::of_step(item.step) else { return };
        if !self.gates_are_open(item, true) {
            return;
        }
        let until = item.ready + item.step.timeout;
        match self.run.given(Some(&item.step.name), None) {
            Some(given) if given.deny => {
                self.settle(item, WorkState::Failed { message: denied(&given.by, &given.reason) });
            }
            Some(_) => self.settle(item, WorkState::Succeeded { verdict: Verdict::Ok }),
            None if self.pass.now >= until => {
                let message = format!("nobody approved it within {}", item.step.timeout);
                self.settle(item, WorkState::Failed { message });
            }
            None => {
                let with = self.run.with_of(&item.step.name, item.target, Direction::Do);
                let message = with.and_then(|with| with.get("message")).and_then(serde_json::Value::as_str).unwrap_or_default();
                let reason = self.approval_wanted(Some(&item.step.name), None, &approval, message, None);
                self.wait(item, reason, item.ready, Some((until, self.if_nobody_approves(item))));
            }
        }
    }
}

impl<'s> RunPass<'_, 's, '_> {
    /// What becomes of the run when the time of an approval is up.
    fn if_nobody_approves(&self, item: Item<'s>) -> &'static str {
        match self.fate(item) {
            Fate::FailsAndUndoes => "then it counts as failed: the run fails, and what it did is taken back",
            // An approval that is not given is a failure, whatever the step makes of what is unknown.
            Fate::GoesOn | Fate::Fails => "then it counts as failed, and the run fails",
        }
    }
}

fn denied(by: &str, reason: &str) -> String {
    if reason.is_empty() { format!("{by} did not approve it") } else { format!("{by} did not approve it: {reason}") }
}

/// Whether the newest ended run of the plan found nothing bad, lately enough; else what there is instead.
pub(crate) fn healthy(state: &State, plan: &PlanName, max_age: Millis, now: MeshTime) -> Result<(), String> {
    let of_plan = state.runs.values().filter(|run| run.id.plan == *plan);
    let ended = of_plan.filter_map(|run| if let RunPhase::Ended(end) = &run.phase { Some((run, end)) } else { None });
    let Some((run, end)) = ended.max_by_key(|(run, _)| run.id.number) else {
        if !state.plans.contains_key(plan) {
            return Err(format!("unknown: there is no plan {plan}"));
        }
        return Err(format!("unknown: no run of plan {plan} has ended; start one: mainstay run start {plan}"));
    };
    let age = now.since(run.started_at + run.took);
    if end.is_bad() {
        return Err(format!(
            "{id} ended {end}, which mainstay why {id} tells more of; when the cause is mended: mainstay run start {plan}",
            id = run.id
        ));
    }
    if age > max_age {
        return Err(format!("unknown: {} ended {age} ago, and counts for {max_age}; start one: mainstay run start {plan}", run.id));
    }
    Ok(())
}
