//! Whose turn it is in a rollout.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Item, RunPass};
use crate::id::{StepName, Target};
use crate::plan::Step;
use crate::rollout::{self, Progress, Rollout};
use crate::state::State;
use crate::state::agent::Agent;
use crate::state::run::{Run, WorkState};
use crate::time::MeshTime;
use crate::wait::{Reason, Taken};

/// The rollouts of a run, each looked at once a pass.
pub(super) struct Rollouts<'s> {
    plan: Option<Standing<'s>>,
    steps: BTreeMap<&'s StepName, Standing<'s>>,
}

/// Where a rollout stands, counted once.
pub(super) struct Standing<'s> {
    pub rollout: Rollout<'s>,
    places: BTreeMap<&'s Target, usize>,
    /// Targets that this pass has begun.
    begun: BTreeSet<&'s Target>,
    /// Shared with every target that waits because of them.
    going: Arc<Taken>,
    failed: Arc<Taken>,
    /// Those that are away by themselves.
    away: BTreeSet<&'s Target>,
    away_taken: Arc<Taken>,
    wave: usize,
    /// When the waves before it had ended.
    waves_before: MeshTime,
}

impl<'s> Rollouts<'s> {
    pub(super) fn of(state: &State, run: &'s Run) -> Rollouts<'s> {
        let own = run.plan.steps.iter().filter(|step| step.strategy.is_some());
        Rollouts {
            plan: Rollout::of_plan(run).map(|rollout| Standing::of(state, rollout)),
            steps: own.filter_map(|step| Some((&step.name, Standing::of(state, Rollout::of_step(run, step)?)))).collect(),
        }
    }

    /// The rollout that a step is part of.
    pub(super) fn of_step(&self, run: &Run, step: &Step) -> Option<&Standing<'s>> {
        if rollout::is_in_plans_rollout(run, step) { self.plan.as_ref() } else { self.steps.get(&step.name) }
    }

    /// The plan's.
    pub(super) fn of_plan(&self) -> Option<&Standing<'s>> {
        self.plan.as_ref()
    }

    pub(super) fn of_step_mut(&mut self, run: &Run, step: &Step) -> Option<&mut Standing<'s>> {
        if rollout::is_in_plans_rollout(run, step) { self.plan.as_mut() } else { self.steps.get_mut(&step.name) }
    }
}

impl<'s> Standing<'s> {
    fn of(state: &State, rollout: Rollout<'s>) -> Standing<'s> {
        let is_away = |target: &Target| match target {
            Target::Node(agent) => !state.agents.get(agent).is_some_and(Agent::is_up),
            Target::Once | Target::Connection(_) | Target::Cluster(_) => false,
        };
        let (wave, waves_before) = rollout.current_wave();
        let away: BTreeSet<&Target> = rollout
            .targets
            .iter()
            .filter(|(target, progress)| matches!(progress, Progress::Untouched | Progress::Done { .. }) && is_away(target))
            .map(|(target, _)| *target)
            .collect();
        Standing {
            places: rollout.targets.iter().enumerate().map(|(place, (target, _))| (*target, place)).collect(),
            begun: BTreeSet::new(),
            going: Arc::new(rollout.targets.iter().filter(|(_, progress)| *progress == Progress::Going).map(|(target, _)| *target).collect()),
            failed: Arc::new(rollout.failed().collect()),
            away_taken: Arc::new(away.iter().copied().collect()),
            away,
            wave,
            waves_before,
            rollout,
        }
    }

    /// Notes that a target's first step is given out.
    pub(super) fn begin(&mut self, target: &'s Target) {
        if !self.is_going(target) && self.begun.insert(target) {
            Arc::make_mut(&mut self.going).add(target);
            // One that is away and is given out takes one place, and not two.
            if self.away.remove(target) {
                self.away_taken = Arc::new(self.away.iter().copied().collect());
            }
        }
    }

    fn is_going(&self, target: &Target) -> bool {
        let progress = self.places.get(target).and_then(|place| self.rollout.targets.get(*place)).map(|(_, progress)| *progress);
        progress == Some(Progress::Going) || self.begun.contains(target)
    }

    /// The wave that a target is in, from 1.
    pub(super) fn wave_of(&self, target: &Target) -> Option<u32> {
        self.places.get(target).and_then(|place| u32::try_from(self.rollout.wave(*place).0).ok())
    }

    /// Why no further target is begun, if that is so.
    fn stopped(&self, most: usize) -> Option<String> {
        let why = if self.rollout.is_over_budget() {
            format!("the failure budget of {} is used up", self.rollout.strategy.failure_budget)
        } else if self.going.count == 0 && self.failed.count > 0 && self.failed.count >= most {
            format!("all {most} that may be unavailable at once are")
        } else {
            return None;
        };
        Some(format!("{why}: {} did not come off, and no further target is begun", self.failed.names()))
    }
}

impl<'s> RunPass<'_, 's, '_> {
    /// Whether it is the target's turn; `Some(true)` when it is begun by this item. Why not is said or done.
    pub(super) fn has_turn(&mut self, item: Item<'s>) -> Option<bool> {
        let Some(standing) = self.rollouts.of_step(self.run, item.step) else { return Some(false) };
        let Some(place) = standing.places.get(item.target).copied() else { return Some(false) };
        if standing.is_going(item.target) {
            return Some(false);
        }
        let strategy = standing.rollout.strategy;
        let most = strategy.most_away(standing.rollout.targets.len());
        if let Some(reason) = standing.stopped(most) {
            self.give_up(item, WorkState::Skipped { reason });
            return None;
        }
        let (wave, waves) = standing.rollout.wave(place);
        let (current, before) = (standing.wave, standing.waves_before);
        if wave > current {
            self.wait(item, Reason::Wave { wave: current, of: waves }, item.ready, None);
            return None;
        }
        let soaked = before + strategy.soak;
        if wave > 1 && self.pass.now < soaked {
            self.wait(item, Reason::Soak { wave: wave - 1, of: waves }, before, Some((soaked, "then it is the next wave's turn")));
            return None;
        }
        let is_away = standing.away.contains(item.target);
        let away = standing.away.len() - usize::from(is_away);
        if standing.going.count + standing.failed.count + away >= most {
            let others = || Arc::new(Taken::of(away, standing.away.iter().filter(|target| **target != item.target).copied()));
            let away = if is_away { others() } else { Arc::clone(&standing.away_taken) };
            let (going, failed) = (Arc::clone(&standing.going), Arc::clone(&standing.failed));
            let reason = Reason::Unavailable { going, failed, away, most };
            self.wait(item, reason, item.ready, None);
            return None;
        }
        Some(true)
    }
}
