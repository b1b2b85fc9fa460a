//! Approvals: that somebody who may has agreed to what they saw.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::When;
use super::enrolment::OperatorRole;
use super::run::Run;
use crate::bounds;
use crate::catalogue;
use crate::id::StepName;
use crate::plan::Step;
use crate::plan::gate::{Approval, Each, Gate};
use crate::rollout::{self, Rollout};
use crate::time::{MeshTime, Millis, WallTime};

/// A person's word on one approval.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decided {
    /// The step; nothing where the gate is the plan's.
    pub step: Option<StepName>,
    /// From 1, where each wave has an approval of its own.
    pub wave: Option<u32>,
    /// [`Run::sight`] of what they looked at.
    pub seen: String,
    pub deny: bool,
    pub reason: String,
}

/// It, with who said it and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Given {
    pub step: Option<StepName>,
    pub wave: Option<u32>,
    pub deny: bool,
    pub reason: String,
    pub by: String,
    pub at: MeshTime,
    pub wall: WallTime,
}

impl fmt::Display for Decided {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.deny { "denial" } else { "approval" })?;
        if let Some(step) = &self.step {
            write!(f, " of step {step}")?;
        }
        if let Some(wave) = self.wave {
            write!(f, ", wave {wave}")?;
        }
        if self.reason.is_empty() { Ok(()) } else { write!(f, " ({})", self.reason) }
    }
}

/// Approval of a step that is one.
#[must_use]
pub fn of_step(step: &Step) -> Option<Approval> {
    if step.uses != catalogue::APPROVAL {
        return None;
    }
    let by = match step.with.get("by").and_then(serde_json::Value::as_str) {
        Some("admin") => OperatorRole::Admin,
        _ => OperatorRole::Operator,
    };
    let not_author = step.with.get("notAuthor").and_then(serde_json::Value::as_bool).unwrap_or(false);
    // The step ends with the approval: it has no time to run out in.
    Some(Approval { by, not_author, expires: Millis(u64::MAX), each: Each::Step })
}

impl Run {
    /// The approval that a step or the plan asks for, if there is such a one.
    #[must_use]
    pub fn asks_for(&self, step: Option<&StepName>, wave: Option<u32>) -> Option<Approval> {
        let gates = match step {
            Some(name) => {
                let step = self.plan.step(name)?;
                if let Some(approval) = of_step(step) {
                    return Some(approval).filter(|_| wave.is_none());
                }
                &step.gates
            }
            None => &self.plan.gates,
        };
        let wanted = gates.iter().filter_map(|gate| if let Gate::Approval(approval) = gate { Some(approval) } else { None });
        let waves = || {
            let rollout = match step.and_then(|name| self.plan.step(name)) {
                Some(step) => Rollout::of_step(self, step),
                None => Rollout::of_plan(self),
            };
            rollout.map_or(0, |rollout| rollout.strategy.wave_ends(rollout.targets.len()).len())
        };
        let is_meant = |approval: &&Approval| match wave {
            None => approval.each == Each::Step,
            Some(wave) => approval.each == Each::Wave && (1..=waves()).contains(&(wave as usize)),
        };
        wanted.filter(is_meant).max_by_key(|approval| approval.by).cloned()
    }

    /// Digest of what there is to agree to: the plan's revision, the run's inputs, the step with its parameters,
    /// and the targets. An approval that was given to another sight does not count.
    #[must_use]
    pub fn sight(&self, step: Option<&StepName>, wave: Option<u32>) -> String {
        let mut hasher = Sha256::new();
        let mut put = |text: &str| {
            hasher.update((text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        };
        put(&self.id.to_string());
        put(&self.plan.digest);
        for (name, value) in &self.inputs {
            put(name);
            put(&value.to_string());
        }
        put(step.map_or("", StepName::as_str));
        put(&wave.unwrap_or(0).to_string());
        let about = step.and_then(|name| self.plan.step(name));
        let rollout = match about {
            Some(step) => Rollout::of_step(self, step),
            None => Rollout::of_plan(self),
        };
        match (rollout, wave) {
            (Some(rollout), Some(wave)) => rollout.wave_targets(wave as usize).iter().for_each(|target| put(&target.to_string())),
            _ => {
                for step in self.plan.steps.iter().filter(|step| about.is_none_or(|about| about.name == step.name)) {
                    self.work.get(&step.name).into_iter().flat_map(|targets| targets.keys()).for_each(|target| put(&target.to_string()));
                }
            }
        }
        hasher.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }

    /// The steps that do not begin without an approval, in the order of the plan: those that it is about, and those
    /// that need one of them. What a wave is asked for is about the steps that go in waves.
    #[must_use]
    pub fn behind(&self, step: Option<&StepName>, wave: Option<u32>) -> Vec<&Step> {
        let asks = step.and_then(|name| self.plan.step(name));
        let goes_with = |step: &Step| match asks {
            _ if wave.is_none() => true,
            Some(asks) if asks.strategy.is_some() => step.name == asks.name,
            _ => rollout::is_in_plans_rollout(self, step),
        };
        let Some(asks) = asks else { return self.plan.steps.iter().filter(|step| goes_with(step)).collect() };
        let mut behind: BTreeSet<&StepName> = BTreeSet::from([&asks.name]);
        let mut before = 0;
        while before < behind.len() {
            before = behind.len();
            for step in &self.plan.steps {
                if step.needs.iter().any(|need| behind.contains(need)) {
                    behind.insert(&step.name);
                }
            }
        }
        // A step that only asks does nothing that could begin.
        let only_asks = of_step(asks).is_some();
        let is_behind = |step: &&Step| behind.contains(&step.name) && goes_with(step) && !(only_asks && step.name == asks.name);
        self.plan.steps.iter().filter(is_behind).collect()
    }

    /// The newest word on an approval.
    #[must_use]
    pub fn given(&self, step: Option<&StepName>, wave: Option<u32>) -> Option<&Given> {
        self.approvals.iter().rev().find(|given| given.step.as_ref() == step && given.wave == wave)
    }

    pub(super) fn take_in(&mut self, decided: &Decided, by: String, when: When) {
        let Decided { step, wave, deny, reason, .. } = decided.clone();
        self.approvals.retain(|given| given.step != step || given.wave != wave);
        if self.approvals.len() >= bounds::APPROVALS {
            self.approvals.remove(0);
        }
        self.approvals.push(Given { step, wave, deny, reason, by, at: when.at, wall: when.wall });
    }
}
