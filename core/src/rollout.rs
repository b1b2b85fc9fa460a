//! Where a rollout stands: which targets have been done, which may be begun next, and what holds the rest.
//!
//! In: a run. Out: its targets in the order of the strategy with the progress of each. It decides nothing; the
//! leader's decision, the preview and `why` read it.

use std::collections::BTreeSet;

use sha2::{Digest, Sha256};

use crate::id::{StepName, Target};
use crate::plan::strategy::Order;
use crate::plan::{RunOn, Step, Strategy};
use crate::state::run::{Direction, Run, Work, WorkState};
use crate::time::MeshTime;

/// A strategy, the steps that it is about, and their targets.
#[derive(Debug, Clone)]
pub struct Rollout<'a> {
    pub strategy: &'a Strategy,
    /// The step; nothing where the strategy is the plan's.
    pub step: Option<&'a StepName>,
    /// In the order of the strategy.
    pub targets: Vec<(&'a Target, Progress)>,
}

/// How far one target is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    Untouched,
    Going,
    Done {
        at: MeshTime,
    },
    /// Something of it did not come off.
    Failed {
        at: MeshTime,
    },
    /// It was never begun, and will not be.
    GivenUp,
}

impl<'a> Rollout<'a> {
    /// The rollout that a step is part of: its own, or the plan's.
    #[must_use]
    pub fn of_step(run: &'a Run, step: &'a Step) -> Option<Rollout<'a>> {
        match &step.strategy {
            Some(strategy) => Some(Rollout::over(run, strategy, Some(&step.name), std::slice::from_ref(step).iter())),
            None if step.run_on == RunOn::Node => Rollout::of_plan(run),
            None => None,
        }
    }

    /// The rollout over nodes that the plan declares.
    #[must_use]
    pub fn of_plan(run: &'a Run) -> Option<Rollout<'a>> {
        let strategy = run.plan.strategy.as_ref()?;
        Some(Rollout::over(run, strategy, None, run.plan.steps.iter().filter(|step| is_in_plans_rollout(run, step))))
    }

    fn over(run: &'a Run, strategy: &'a Strategy, step: Option<&'a StepName>, steps: impl Iterator<Item = &'a Step> + Clone) -> Rollout<'a> {
        let names: BTreeSet<&Target> = steps.clone().filter_map(|step| run.work.get(&step.name)).flat_map(|targets| targets.keys()).collect();
        let progress = |target: &Target| progress(run, steps.clone(), target);
        let mut targets: Vec<(&Target, Progress)> = names.into_iter().map(|target| (target, progress(target))).collect();
        match strategy.order {
            // Which zone is under way only the leader knows, by what it has been told of the nodes.
            Order::Name | Order::Zones => {}
            Order::Reverse => targets.reverse(),
            Order::Spread => targets.sort_by_cached_key(|(target, _)| <[u8; 32]>::from(Sha256::digest(format!("{} {target}", run.id)))),
        }
        Rollout { strategy, step, targets }
    }

    /// The wave of the target at this place, from 1, and how many there are.
    #[must_use]
    pub fn wave(&self, place: usize) -> (usize, usize) {
        let ends = self.strategy.wave_ends(self.targets.len());
        (1 + ends.iter().position(|end| place < *end).unwrap_or(ends.len().saturating_sub(1)), ends.len())
    }

    #[must_use]
    pub fn place(&self, target: &Target) -> Option<usize> {
        self.targets.iter().position(|(own, _)| *own == target)
    }

    /// The targets of a wave, from 1.
    #[must_use]
    pub fn wave_targets(&self, wave: usize) -> Vec<&'a Target> {
        let ends = self.strategy.wave_ends(self.targets.len());
        let from = if wave < 2 { 0 } else { ends.get(wave - 2).copied().unwrap_or(self.targets.len()) };
        let to = ends.get(wave.saturating_sub(1)).copied().unwrap_or(self.targets.len());
        self.targets.get(from..to).unwrap_or_default().iter().map(|(target, _)| *target).collect()
    }

    /// Targets of which something did not come off.
    pub fn failed(&self) -> impl Iterator<Item = &'a Target> + '_ {
        self.targets.iter().filter(|(_, progress)| matches!(progress, Progress::Failed { .. })).map(|(target, _)| *target)
    }

    /// Whether something failed on a target itself. Where nothing did, what is missing there is missing because of
    /// something else.
    #[must_use]
    pub fn failed_on(&self, run: &Run, target: &Target) -> bool {
        let mut works = self.steps(run).filter_map(|step| Some((step, run.work(&step.name, target)?)));
        works.any(|(step, work)| work.forward.is_over() && !run.passed(step, work) && !was_never_begun(work))
    }

    /// The steps that it is about.
    pub(crate) fn steps<'r>(&self, run: &'r Run) -> impl Iterator<Item = &'r Step> {
        run.plan.steps.iter().filter(|step| self.step.map_or_else(|| is_in_plans_rollout(run, step), |own| *own == step.name))
    }

    /// Whether more has failed than the strategy puts up with.
    #[must_use]
    pub fn is_over_budget(&self) -> bool {
        self.failed().count() > self.strategy.failure_budget.down(self.targets.len())
    }

    /// How many targets are how far, and in which wave the rollout is, or stopped.
    #[must_use]
    pub fn tally(&self, run: &Run) -> Tally {
        let works = |target: &Target| self.steps(run).filter_map(|step| run.work(&step.name, target)).collect::<Vec<&Work>>();
        let mut tally = Tally { wave: self.current_wave().0, ..Tally::default() };
        let mut reached = 0;
        for (place, (target, progress)) in self.targets.iter().enumerate() {
            let works = works(target);
            let undone = works.iter().filter_map(|work| work.undo.as_ref());
            let is_back = undone.clone().next().is_some() && undone.clone().all(|undo| matches!(undo, WorkState::Succeeded { .. }));
            let count = match progress {
                _ if is_back => &mut tally.taken_back,
                Progress::Done { .. } => &mut tally.done,
                Progress::Failed { .. } if works.iter().all(|work| was_held_back(&work.forward)) => &mut tally.stopped,
                Progress::Failed { .. } => &mut tally.failed,
                Progress::GivenUp => &mut tally.given_up,
                Progress::Untouched | Progress::Going => &mut tally.open,
            };
            *count += 1;
            if *progress != Progress::GivenUp {
                reached = reached.max(self.wave(place).0);
            }
        }
        if tally.open == 0 {
            tally.wave = reached.max(1);
        }
        tally
    }

    /// The first wave, from 1, with a target that has not ended, and when the newest of the waves before it did.
    #[must_use]
    pub fn current_wave(&self) -> (usize, MeshTime) {
        let ends = self.strategy.wave_ends(self.targets.len());
        let mut before = MeshTime::default();
        for (index, end) in ends.iter().enumerate() {
            let own = self.targets.get(..*end).unwrap_or_default();
            if own.iter().any(|(_, progress)| matches!(progress, Progress::Untouched | Progress::Going)) {
                return (index + 1, before);
            }
            before = own.iter().filter_map(|(_, progress)| progress.ended()).max().unwrap_or_default();
        }
        (ends.len(), before)
    }
}

/// Where the targets of a rollout are, each counted once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// The first wave that has not ended; the last that was begun where none goes on.
    pub wave: usize,
    pub open: usize,
    pub done: usize,
    pub failed: usize,
    /// Nothing of them failed: somebody stopped the run.
    pub stopped: usize,
    pub given_up: usize,
    /// What was done there has been taken back.
    pub taken_back: usize,
}

/// Whether it went well, or was not carried to its end because of something else.
fn was_held_back(state: &WorkState) -> bool {
    match state {
        WorkState::Succeeded { verdict } => !verdict.is_bad(),
        WorkState::Cancelled | WorkState::Skipped { .. } | WorkState::Omitted { .. } => true,
        _ => false,
    }
}

impl Progress {
    fn ended(self) -> Option<MeshTime> {
        match self {
            Progress::Done { at } | Progress::Failed { at } => Some(at),
            _ => None,
        }
    }
}

/// Whether the step goes node by node with the others of the plan.
#[must_use]
pub fn is_in_plans_rollout(run: &Run, step: &Step) -> bool {
    run.plan.strategy.is_some() && step.run_on == RunOn::Node && step.strategy.is_none()
}

/// Whether all that a step needs on the same node has come to its end there: nodes go at their own pace, and what is
/// read of a step before that is not what it came to.
#[must_use]
pub fn has_what_it_needs_here(run: &Run, step: &Step, target: &Target) -> bool {
    let needed = step.needs.iter().filter_map(|need| run.plan.step(need)).filter(|needed| is_in_plans_rollout(run, needed));
    !is_in_plans_rollout(run, step) || needed.filter_map(|needed| run.work(&needed.name, target)).all(|work| work.forward.is_over())
}

/// Whether a work item has been begun since the run began, or was begun anew.
#[must_use]
pub fn is_touched(work: &Work) -> bool {
    !work.is_fresh() || matches!(work.forward, WorkState::Active { .. })
}

fn was_never_begun(work: &Work) -> bool {
    matches!(work.forward, WorkState::Skipped { .. } | WorkState::Omitted { .. })
}

fn progress<'a>(run: &Run, steps: impl Iterator<Item = &'a Step>, target: &Target) -> Progress {
    let works: Vec<(&Step, &Work)> = steps.filter_map(|step| Some((step, run.work(&step.name, target)?))).collect();
    if works.iter().any(|(_, work)| !work.forward.is_over()) {
        let touched = works.iter().any(|(_, work)| is_touched(work) || (work.forward.is_over() && work.attempts(Direction::Do) > 0));
        return if touched { Progress::Going } else { Progress::Untouched };
    }
    let at = works.iter().map(|(_, work)| work.ended_at).max().unwrap_or_default();
    if works.iter().all(|(step, work)| run.passed(step, work)) {
        return Progress::Done { at };
    }
    if works.iter().all(|(_, work)| was_never_begun(work)) { Progress::GivenUp } else { Progress::Failed { at } }
}
