//! What becomes of a rollout with targets that nobody can do: whether its strategy puts up with them, or one that is
//! away takes up a place for good, and nothing further begins. All that can be done counts as going well.

use std::collections::{BTreeMap, BTreeSet};

use super::look::{Look, some};
use super::{Severity, StepPreview};
use crate::decide::AGENT_WAIT;
use crate::id::{StepName, Target};
use crate::plan::{OnUnknown, Step};
use crate::rollout::{self, Progress, Rollout};
use crate::state::agent::Agent;

/// Targets of a step that nobody can do, and the remark that says so.
pub(super) struct Unable {
    pub remark: usize,
    pub step: StepName,
    pub targets: Vec<Target>,
    /// Whether only time can tell: an agent that is away may come back.
    pub away: bool,
}

/// How a rollout ends.
enum Course {
    /// With no more failed than its strategy puts up with.
    Ends,
    Fails,
    /// Targets that are away take up all that may be.
    StandsStill {
        away: Vec<String>,
    },
}

impl<'a> Look<'a> {
    /// What becomes of all rollouts, and of steps that are part of none.
    pub(super) fn turns(&mut self, steps: &[StepPreview]) {
        let unable = std::mem::take(&mut self.unable);
        for rollout in self.rollouts(steps) {
            let is_part = |step: &Step| rollout.step.map_or_else(|| rollout::is_in_plans_rollout(self.run, step), |own| *own == step.name);
            let own = unable.iter().filter(|unable| self.run.plan.step(&unable.step).is_some_and(is_part));
            let failing: Vec<&Unable> = own.filter(|unable| !self.goes_on_unknown(&unable.step)).collect();
            match self.course(&rollout, &failing.iter().flat_map(|unable| &unable.targets).collect()) {
                Course::Fails => {}
                Course::Ends => {
                    let and = format!("and failed, which the failure budget of {} puts up with", rollout.strategy.failure_budget);
                    failing.iter().for_each(|unable| self.goes_on(unable, &and));
                }
                Course::StandsStill { away } => self.stands_still(&rollout, &away),
            }
        }
        for unable in &unable {
            if self.goes_on_unknown(&unable.step) {
                self.goes_on(unable, "and unknown, and the run goes on (onUnknown: continue)");
            }
        }
    }

    /// Those that have something to do.
    pub(super) fn rollouts(&self, steps: &[StepPreview]) -> Vec<Rollout<'a>> {
        let run = self.run;
        let own = steps.iter().filter(|preview| preview.step.strategy.is_some() && preview.omitted.is_none());
        let own = own.filter_map(|preview| Rollout::of_step(run, run.plan.step(&preview.step.name)?));
        Rollout::of_plan(run).into_iter().chain(own).collect()
    }

    fn goes_on_unknown(&self, step: &StepName) -> bool {
        self.run.plan.step(step).is_some_and(|step| step.on_unknown == OnUnknown::Continue)
    }

    /// It is said of what does not keep the run from its end that it does not.
    fn goes_on(&mut self, unable: &Unable, and: &str) {
        let when = if unable.away { format!(" after {AGENT_WAIT}") } else { String::new() };
        if let Some(remark) = self.remarks.get_mut(unable.remark) {
            remark.severity = Severity::Warning;
            remark.message += &format!("; it counts as unreachable{when} {and}");
        }
    }

    fn stands_still(&mut self, rollout: &Rollout<'_>, away: &[String]) {
        let most = rollout.strategy.most_away(rollout.targets.len());
        let names = some(&away.iter().map(String::as_str).collect::<Vec<_>>());
        let (are, count) = if away.len() == 1 { ("is", "counts") } else { ("are", "count") };
        let message = format!(
            "it would wait for ever: at most {most} may be unavailable at once, and {names} {are} not connected and {count} as that, \
             also where nothing is done there"
        );
        let step = rollout.step.and_then(|name| self.run.plan.step(name)).cloned();
        self.remark(Severity::Problem, step.as_ref(), message, "start the agent there, or let more be unavailable; see `mainstay node list`");
    }

    /// What takes up a place takes it up for good: a target that has no turn when it comes to it has none later.
    fn course(&self, rollout: &Rollout<'_>, fails: &BTreeSet<&Target>) -> Course {
        let (all, strategy) = (rollout.targets.len(), rollout.strategy);
        let (most, budget) = (strategy.most_away(all), strategy.failure_budget.down(all));
        let mut away: BTreeSet<&Target> = rollout
            .targets
            .iter()
            .filter(|(target, progress)| matches!(progress, Progress::Untouched | Progress::Done { .. }) && self.is_away(target))
            .map(|(target, _)| *target)
            .collect();
        let mut waves: BTreeMap<usize, Vec<(&Target, Progress)>> = BTreeMap::new();
        for (place, (target, progress)) in rollout.targets.iter().enumerate() {
            if matches!(progress, Progress::Untouched | Progress::Going) {
                waves.entry(rollout.wave(place).0).or_default().push((target, *progress));
            }
        }
        let mut came_off = rollout.targets.iter().any(|(_, progress)| matches!(progress, Progress::Done { .. }));
        let mut failed = rollout.failed().count();
        let is_stopped = |failed: usize| failed > budget || (failed > 0 && failed >= most);
        for wave in waves.values() {
            let mut is_held = false;
            for (target, progress) in wave {
                if is_stopped(failed) {
                    return Course::Fails;
                }
                // Its own place does not count against itself.
                let others = away.len() - usize::from(away.contains(target));
                if *progress == Progress::Untouched && failed + others >= most {
                    is_held = true;
                } else if fails.contains(target) {
                    failed += 1;
                    away.remove(target);
                } else {
                    came_off = true;
                }
            }
            if is_held && is_stopped(failed) {
                return Course::Fails;
            }
            if is_held {
                return Course::StandsStill { away: away.iter().map(ToString::to_string).collect() };
            }
        }
        if failed > budget || !came_off { Course::Fails } else { Course::Ends }
    }

    fn is_away(&self, target: &Target) -> bool {
        matches!(target, Target::Node(agent) if !self.state.agents.get(agent).is_some_and(Agent::is_up))
    }
}
