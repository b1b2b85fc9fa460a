//! What steps need, looked at anew whenever one is begun.

use mainstay_core::plan::strategy::Amount;
use mainstay_core::plan::{Step, Strategy};
use mainstay_core::state::run::{Direction, Run, Work, WorkState};
use mainstay_core::{Command, Reply, Target};

use super::{Applied, Held, Invariant};
use crate::world::World;

pub struct Needed;

/// The strategy that a step is under.
fn strategy<'r>(run: &'r Run, step: &'r Step) -> Option<&'r Strategy> {
    step.strategy.as_ref().or(run.plan.strategy.as_ref().filter(|_| is_on_nodes(step)))
}

/// In the plans of the simulation, steps go node by node if they are commands.
fn is_on_nodes(step: &Step) -> bool {
    step.uses == "node.exec"
}

/// Whether it came to a bad end of its own, and was not just left out.
fn failed(run: &Run, step: &Step, work: &Work) -> bool {
    let left_out = matches!(work.forward, WorkState::Skipped { .. } | WorkState::Omitted { .. });
    work.forward.is_over() && !left_out && !run.passed(step, work)
}

/// Whether something failed there, in one of the steps that go there together.
fn failed_there(run: &Run, needed: &Step, target: &Target) -> bool {
    let together = |step: &&Step| step.name == needed.name || (needed.strategy.is_none() && step.strategy.is_none() && is_on_nodes(step));
    run.plan.steps.iter().filter(together).any(|step| run.work(&step.name, target).is_some_and(|work| failed(run, step, work)))
}

/// Whether a step may go on, on a target, after this that it needs.
fn may_follow(run: &Run, step: &Step, target: &Target, needed: &Step) -> Held {
    let together = run.plan.strategy.is_some() && [step, needed].iter().all(|step| step.strategy.is_none() && is_on_nodes(step));
    let works: Vec<(&Target, &Work)> = run.work.get(&needed.name).into_iter().flatten().filter(|(at, _)| !together || *at == target).collect();
    let what = format!("{}/{} begins on {target}, and {}", run.id, step.name, needed.name);
    if let Some((at, work)) = works.iter().find(|(_, work)| !work.forward.is_over()) {
        return Err(format!("{what} is {} on {at}", work.forward));
    }
    let lacking: Vec<&(&Target, &Work)> = works.iter().filter(|(_, work)| !run.passed(needed, work)).collect();
    let Some((at, work)) = lacking.first() else { return Ok(()) };
    let Some(strategy) = strategy(run, needed).filter(|_| !together) else {
        return Err(format!("{what} is {} on {at}", work.forward));
    };
    let Amount::Count(budget) = strategy.failure_budget else { panic!("plans of the simulation count") };
    if lacking.len() > budget as usize || lacking.len() == works.len() {
        return Err(format!("{what} did not come off on {} of {}", lacking.len(), works.len()));
    }
    match lacking.iter().find(|(at, _)| !failed_there(run, needed, at)) {
        Some((at, work)) => Err(format!("{what} was never begun on {at}: {}", work.forward)),
        None => Ok(()),
    }
}

impl Invariant for Needed {
    fn name(&self) -> &'static str {
        "needed"
    }

    fn says(&self) -> &'static str {
        "nothing is begun before what it needs has come off, but for the few targets that a failure budget puts up with"
    }

    fn applied(&mut self, applied: &Applied<'_>, _world: &World) -> Held {
        let (Command::OfferAttempt { run, step, target, direction: Direction::Do, .. }, Reply::Offered(_)) = (&applied.entry.command, applied.reply)
        else {
            return Ok(());
        };
        let Some(run) = applied.before.runs.get(run) else { return Ok(()) };
        let Some(step) = run.plan.step(step) else { return Ok(()) };
        step.needs.iter().filter_map(|need| run.plan.step(need)).try_for_each(|needed| may_follow(run, step, target, needed))
    }
}
