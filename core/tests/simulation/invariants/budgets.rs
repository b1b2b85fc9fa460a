//! Rollouts, counted anew.

use std::collections::{BTreeMap, BTreeSet};

use mainstay_core::plan::strategy::Amount;
use mainstay_core::plan::{Step, Strategy};
use mainstay_core::state::agent::Agent;
use mainstay_core::state::run::{Direction, Run, WorkState};
use mainstay_core::{Command, Reply, RunId, State, StepName, Target};

use super::{Applied, Decided, Held, Invariant};
use crate::world::World;

pub struct Budgets;

/// The strategy that a step is under, and the steps that go with it.
fn rollout<'r>(run: &'r Run, step: &StepName) -> Option<(&'r Strategy, Vec<&'r Step>)> {
    let own = run.plan.step(step)?;
    match (&own.strategy, &run.plan.strategy) {
        (Some(strategy), _) => Some((strategy, vec![own])),
        (None, Some(strategy)) => {
            Some((strategy, run.plan.steps.iter().filter(|step| step.strategy.is_none() && step.uses == "node.exec").collect()))
        }
        (None, None) => None,
    }
}

fn count(amount: Amount) -> usize {
    let Amount::Count(count) = amount else { panic!("plans of the simulation count") };
    count as usize
}

/// One target of a rollout.
#[derive(Clone, Copy, PartialEq)]
enum Stand {
    Untouched,
    Going,
    Failed,
    Well,
}

fn stand(run: &Run, steps: &[&Step], target: &Target) -> Stand {
    let works: Vec<_> = steps.iter().filter_map(|step| Some((*step, run.work(&step.name, target)?))).collect();
    let touched = works.iter().any(|(_, work)| !work.is_fresh() || matches!(work.forward, WorkState::Active { .. } | WorkState::Succeeded { .. }));
    let over = works.iter().all(|(_, work)| work.forward.is_over());
    let well = works.iter().all(|(step, work)| run.passed(step, work));
    let never = works.iter().all(|(_, work)| matches!(work.forward, WorkState::Skipped { .. } | WorkState::Omitted { .. }));
    match (over, well) {
        (false, _) if touched => Stand::Going,
        (false, _) => Stand::Untouched,
        (true, true) => Stand::Well,
        (true, false) if never => Stand::Untouched,
        (true, false) => Stand::Failed,
    }
}

fn targets<'r>(run: &'r Run, steps: &[&Step]) -> BTreeSet<&'r Target> {
    steps.iter().filter_map(|step| run.work.get(&step.name)).flat_map(|works| works.keys()).collect()
}

/// Whether an offer that begins a target may be made, with these that the same pass begins.
fn may_begin(state: &State, run: &Run, step: &StepName, target: &Target, begun: &BTreeSet<Target>) -> Held {
    let Some((strategy, steps)) = rollout(run, step) else { return Ok(()) };
    let (all, most) = (targets(run, &steps), count(strategy.max_unavailable).max(1));
    let is_away = |target: &Target| matches!(target, Target::Node(node) if !state.agents.get(node).is_some_and(Agent::is_up));
    let stands: Vec<(&Target, Stand)> = all.iter().map(|target| (*target, stand(run, &steps, target))).collect();
    let is_unavailable =
        |(target, stand): &&(&Target, Stand)| matches!(stand, Stand::Going | Stand::Failed) || begun.contains(*target) || is_away(target);
    let unavailable: Vec<String> = stands.iter().filter(is_unavailable).map(|(target, _)| target.to_string()).collect();
    let failed = stands.iter().filter(|(_, stand)| *stand == Stand::Failed).count();
    if unavailable.len() >= most {
        return Err(format!("{}/{step} begins {target} while {unavailable:?} are unavailable, of at most {most}", run.id));
    }
    if failed > count(strategy.failure_budget) {
        return Err(format!("{}/{step} begins {target} after {failed} have failed", run.id));
    }
    Ok(())
}

impl Invariant for Budgets {
    fn name(&self) -> &'static str {
        "budgets"
    }

    fn says(&self) -> &'static str {
        "a rollout takes no more targets away at once, and goes on after no more failures, than its strategy allows"
    }

    fn decided(&mut self, decided: &Decided<'_>) -> Held {
        // Of each run, what this pass begins: the plans of the simulation have one rollout each.
        let mut begun: BTreeMap<&RunId, BTreeSet<Target>> = BTreeMap::new();
        for command in decided.commands {
            let Command::OfferAttempt { run, step, target, direction: Direction::Do, .. } = command else { continue };
            let Some(run) = decided.state.runs.get(run) else { continue };
            let Some((_, steps)) = rollout(run, step) else { continue };
            let begun = begun.entry(&run.id).or_default();
            if stand(run, &steps, target) == Stand::Untouched && !begun.contains(target) {
                may_begin(decided.state, run, step, target, begun)?;
                begun.insert(target.clone());
            }
        }
        Ok(())
    }

    /// In the log too, where only what the log knows counts.
    fn applied(&mut self, applied: &Applied<'_>, _world: &World) -> Held {
        let (Command::OfferAttempt { run, step, direction: Direction::Do, .. }, Reply::Offered(_)) = (&applied.entry.command, applied.reply) else {
            return Ok(());
        };
        let Some(run) = applied.after.runs.get(run) else { return Ok(()) };
        let Some((strategy, steps)) = rollout(run, step) else { return Ok(()) };
        let going = targets(run, &steps).into_iter().filter(|target| stand(run, &steps, target) == Stand::Going).count();
        let most = count(strategy.max_unavailable).max(1);
        if going > most { Err(format!("{}/{step}: {going} are under way, of at most {most}", run.id)) } else { Ok(()) }
    }
}
