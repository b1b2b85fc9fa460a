//! Whose turn it is in a rollout.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::zones::Zones;
use super::{Item, Pass, RunPass};
use crate::catalogue::{self, Kind};
use crate::fact::Known;
use crate::id::{AgentId, StepName, Target};
use crate::plan::Step;
use crate::plan::strategy::Order;
use crate::rollout::{self, Progress, Rollout};
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
    /// Whether it takes nodes out of use.
    takes_out: bool,
    /// Of such a rollout: those that are out of use already, by no work of this run.
    out: BTreeSet<&'s Target>,
    /// Of such a rollout: those of which nobody knows whether they are.
    not_known: BTreeSet<&'s Target>,
    /// Of a rollout whose order is by zones: those that have not ended, and of which nobody knows in which zone they are.
    no_zone: Vec<&'s Target>,
    zones: Option<Zones<'s>>,
    wave: usize,
    /// When the waves before it had ended.
    waves_before: MeshTime,
}

impl<'s> Rollouts<'s> {
    pub(super) fn of(pass: &Pass<'s>, run: &'s Run) -> Rollouts<'s> {
        let own = run.plan.steps.iter().filter(|step| step.strategy.is_some());
        Rollouts {
            plan: Rollout::of_plan(run).map(|rollout| Standing::of(pass, run, rollout)),
            steps: own.filter_map(|step| Some((&step.name, Standing::of(pass, run, Rollout::of_step(run, step)?)))).collect(),
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
    fn of(pass: &Pass<'s>, run: &Run, rollout: Rollout<'s>) -> Standing<'s> {
        let is_away = |target: &Target| match target {
            Target::Node(agent) => !pass.state.agents.get(agent).is_some_and(Agent::is_up),
            Target::Once | Target::Connection(_) | Target::Cluster(_) => false,
        };
        let takes_out = rollout.steps(run).any(|step| catalogue::kind(&step.uses).is_some_and(Kind::takes_out));
        let by_zones = rollout.strategy.order == Order::Zones;
        let known = pass.known();
        let is_out = |target: &Target| takes_out && !is_away(target) && known.is_out_of_use(target);
        let dark: BTreeSet<&Target> = if takes_out || by_zones {
            known.not_known(pass.state, rollout.targets.iter().map(|(target, _)| *target)).into_iter().collect()
        } else {
            BTreeSet::new()
        };
        let is_dark = |target: &Target| !is_away(target) && dark.contains(target);
        let (wave, waves_before) = rollout.current_wave();
        let by_itself = |is: &dyn Fn(&Target) -> bool| {
            let of_no_work = rollout.targets.iter().filter(|(_, progress)| matches!(progress, Progress::Untouched | Progress::Done { .. }));
            of_no_work.map(|(target, _)| *target).filter(|target| is(target)).collect::<BTreeSet<&Target>>()
        };
        let is_open = |progress: &Progress| matches!(progress, Progress::Untouched | Progress::Going);
        let open = rollout.targets.iter().filter(|(_, progress)| is_open(progress)).map(|(target, _)| *target);
        let (away, out, not_known) = (by_itself(&is_away), by_itself(&is_out), by_itself(&is_dark));
        Standing {
            places: rollout.targets.iter().enumerate().map(|(place, (target, _))| (*target, place)).collect(),
            begun: BTreeSet::new(),
            going: Arc::new(rollout.targets.iter().filter(|(_, progress)| *progress == Progress::Going).map(|(target, _)| *target).collect()),
            failed: Arc::new(rollout.failed().collect()),
            away_taken: Arc::new(away.iter().copied().collect()),
            away,
            takes_out,
            out,
            not_known,
            // One that is away cannot begin, whichever its zone is: it is for the rollout to give up, and holds nobody.
            no_zone: if by_zones { open.filter(|target| dark.contains(target) && !is_away(target)).collect() } else { Vec::new() },
            zones: by_zones.then(|| Zones::of(&rollout, known)),
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
            self.out.remove(target);
            self.not_known.remove(target);
        }
    }

    fn progress(&self, target: &Target) -> Option<Progress> {
        self.places.get(target).and_then(|place| self.rollout.targets.get(*place)).map(|(_, progress)| *progress)
    }

    fn is_going(&self, target: &Target) -> bool {
        self.progress(target) == Some(Progress::Going) || self.begun.contains(target)
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

impl<'s> Pass<'s> {
    /// What is known of nodes.
    fn known(&self) -> Known<'s> {
        Known { clusters: &self.seen.clusters, now: self.now }
    }
}

impl<'s> RunPass<'_, 's, '_> {
    /// The agent that acts for the cluster of a node, where it is on that node and others of the wave or zone can go before it:
    /// what is drained there ends that agent, and another one has to go on.
    fn goes_last(&self, standing: &Standing<'s>, target: &Target) -> Option<AgentId> {
        let Target::Node(node) = target else { return None };
        if !standing.takes_out || !self.pass.state.acts_from(node) {
            return None;
        }
        let own = standing.rollout.wave_targets(standing.wave);
        let is_other = |other: &&Target| {
            matches!(other, Target::Node(other) if other.cluster == node.cluster && other != node)
                && standing.zones.as_ref().is_none_or(|zones| zones.is_its_turn(other))
        };
        let is_untouched = |other: &Target| standing.progress(other) == Some(Progress::Untouched) && !standing.begun.contains(other);
        own.into_iter().filter(is_other).any(is_untouched).then(|| self.pass.state.acting(&node.cluster)).flatten()
    }

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
        if !self.is_zones_turn(item) {
            return None;
        }
        let Some(standing) = self.rollouts.of_step(self.run, item.step) else { return Some(false) };
        if let Some(agent) = self.goes_last(standing, item.target) {
            self.wait(item, Reason::ActsFromHere { agent }, item.ready, None);
            return None;
        }
        let is_away = standing.away.contains(item.target);
        let away = standing.away.len() - usize::from(is_away);
        let out = || standing.out.iter().copied().filter(|target| *target != item.target);
        if standing.going.count + standing.failed.count + away + out().count() >= most {
            let others = || Arc::new(Taken::of(away, standing.away.iter().filter(|target| **target != item.target).copied()));
            let away = if is_away { others() } else { Arc::clone(&standing.away_taken) };
            let (going, failed) = (Arc::clone(&standing.going), Arc::clone(&standing.failed));
            let reason = Reason::Unavailable { going, failed, away, out: Arc::new(out().collect()), most };
            self.wait(item, reason, item.ready, None);
            return None;
        }
        // What nobody has told of may be out of use, each of them: nobody's word is not a word that all is well.
        let dark: Vec<&Target> = standing.not_known.iter().copied().filter(|target| *target != item.target).collect();
        if standing.going.count + standing.failed.count + away + out().count() + dark.len() >= most {
            self.wait(item, self.not_known(&dark), item.ready, None);
            return None;
        }
        Some(true)
    }

    fn not_known(&self, nodes: &[&Target]) -> Reason {
        Reason::NodesNotKnown { clusters: self.pass.known().silent(nodes), nodes: Arc::new(nodes.iter().copied().collect()) }
    }

    /// Whether the target's zone is under way, where the order is by zones; else it is said which is.
    fn is_zones_turn(&mut self, item: Item<'s>) -> bool {
        let Some(standing) = self.rollouts.of_step(self.run, item.step) else { return true };
        let Some(zones) = &standing.zones else { return true };
        let (reason, since, until) = if !standing.no_zone.is_empty() {
            (self.not_known(&standing.no_zone), item.ready, None)
        } else if !zones.is_its_turn(item.target) {
            let (under_way, own) = (zones.under_way.unwrap_or_default(), zones.zone(item.target));
            (Reason::Zone { under_way: under_way.to_owned(), own: own.to_owned() }, item.ready, None)
        } else {
            let soaked = zones.others_ended + standing.rollout.strategy.soak;
            if zones.ended == 0 || self.pass.now >= soaked {
                return true;
            }
            let reason = Reason::Soak { wave: zones.ended, of: zones.all };
            (reason, zones.others_ended, Some((soaked, "then it is the next zone's turn")))
        };
        self.wait(item, reason, since, until);
        false
    }
}
