//! What waits and does not end by itself: why, and what somebody can do about it. Pure; `why` tells it.
//!
//! What a person is asked for anyway (an approval, a pause, an agent that is away) says so by its own reason.

use crate::aftermath::{self, StillHeld};
use crate::almanac;
use crate::calendar;
use crate::catalogue;
use crate::decide;
use crate::freshness;
use crate::id::{LeaseName, PlanName, PrincipalName, RunId, StepName, Target};
use crate::identity::Identity;
use crate::outlook;
use crate::plan::Gate;
use crate::plan::schedule::Concurrency;
use crate::rollout::{Progress, Rollout};
use crate::state::State;
use crate::state::agent::Agent;
use crate::state::enrolment::OperatorRole;
use crate::state::run::Run;
use crate::time::{MeshTime, WallTime};
use crate::wait::{Reason, Wait};

/// That something does not go on unless somebody does something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stuck {
    pub why: String,
    /// Sentences and commands, in the order in which one would try them.
    pub remedies: Vec<String>,
}

/// Whether a wait does not end by itself, about which its reason alone does not tell.
#[must_use]
pub fn stuck(state: &State, wait: &Wait, wall: WallTime, now: MeshTime) -> Option<Stuck> {
    let run = state.runs.get(&wait.run)?;
    match &wait.reason {
        // What is under way ends; what failed, and what is away, does not make room.
        Reason::Unavailable { failed, away, most, .. } if away.count > 0 && failed.count + away.count >= *most => {
            if is_given_up_on(state, run, wait, failed.count, *most) {
                return None;
            }
            let names = away.names();
            let (agent, are, take) = if away.count == 1 { ("agent", "is", "takes") } else { ("agents", "are", "take") };
            Some(Stuck {
                why: format!("nothing further begins while {names} {are} not connected, and {take} up what may be unavailable"),
                remedies: vec![format!("start the {agent} of {names} again; see:  mainstay node list"), end(&wait.run)],
            })
        }
        Reason::LeaseHeld { name, .. } => held_for_good(state, run, wait, name).or_else(|| {
            // Of several that a gate wants free, another one may be such.
            let gates = outlook::gates_before(run, wait)?;
            let patterns = gates.into_iter().filter_map(|gate| if let Gate::Lease { name } = gate { Some(name) } else { None });
            let fitting = patterns.flat_map(|pattern| state.leases.keys().filter(move |other| catalogue::fits(pattern, other.as_str())));
            fitting.into_iter().find_map(|other| held_for_good(state, run, wait, other))
        }),
        Reason::LeaseWanted { name, .. } => held_for_good(state, run, wait, name),
        Reason::Quorum(quorum) if quorum.is_never_kept() => Some(Stuck {
            why: format!("of {} members so many are on {} that the others never are a majority", quorum.of, wait.target),
            remedies: vec!["run three members or more, no two of them on one node (docs/install.md)".to_owned(), end(&wait.run)],
        }),
        Reason::Approval { by, not: Some(not), .. } if let Some(stuck) = nobody_else(state, wait, *by, not) => Some(stuck),
        _ => outlook::gates_before(run, wait).and_then(|gates| of_gates(state, run, &wait.step, &gates, wall, now)),
    }
}

/// A lease that runs hold for what nobody knows the outcome of, so that it does not become free. The run that waits may
/// be such a one.
fn held_for_good(state: &State, run: &Run, wait: &Wait, name: &LeaseName) -> Option<Stuck> {
    let lease = state.leases.get(name)?;
    let dead: Vec<StillHeld> = aftermath::held_in(state, name, lease).collect();
    let first = dead.first()?;
    // A place of it is enough for a step's own lease; a gate wants all of it.
    let is_own = matches!(wait.reason, Reason::LeaseWanted { .. })
        || run.plan.step(&wait.step).and_then(|step| step.lease.as_ref()).is_some_and(|own| own.name == *name);
    if is_own && dead.len() < lease.held.len() {
        return None;
    }
    let looked = "when somebody has looked there that it has ended".to_owned();
    let release = format!("{looked}:  {}", first.release());
    Some(if first.run == run.id {
        let why = format!("this run holds it itself, for {}, of which nobody knows how it ended", first.of_words());
        Stuck { why, remedies: vec![release] }
    } else {
        Stuck { why: first.to_string(), remedies: vec![format!("mainstay why {}", first.run), release] }
    })
}

/// An approval that takes another person than the one who started the run, where there is none.
fn nobody_else(state: &State, wait: &Wait, by: OperatorRole, not: &str) -> Option<Stuck> {
    let may = |(name, role): (&PrincipalName, &OperatorRole)| *role >= by && Identity::Operator(name.clone()).to_string() != *not;
    if state.operators.iter().any(may) {
        return None;
    }
    let why = format!("nobody may: it takes an {by} other than {not}, and there is none");
    Some(Stuck { why, remedies: vec![format!("mainstay operator add NAME --role {by}"), end(&wait.run)] })
}

/// Whether it is the turn of a target that is away: it counts as unreachable after a while, and the rollout goes on or
/// ends with that.
fn is_given_up_on(state: &State, run: &Run, wait: &Wait, failed: usize, most: usize) -> bool {
    let Some(rollout) = run.plan.step(&wait.step).and_then(|step| Rollout::of_step(run, step)) else { return false };
    let is_away = |target: &Target| matches!(target, Target::Node(agent) if !state.agents.get(agent).is_some_and(Agent::is_up));
    let (wave, _) = rollout.current_wave();
    let counts = |progress: &Progress| matches!(progress, Progress::Untouched | Progress::Done { .. });
    let away = rollout.targets.iter().filter(|(target, progress)| counts(progress) && is_away(target)).count();
    let has_turn = |(place, (target, progress)): (usize, &(&Target, Progress))| {
        *progress == Progress::Untouched && is_away(target) && rollout.wave(place).0 == wave
    };
    // Its own place does not count against itself.
    failed + away <= most && rollout.targets.iter().enumerate().any(has_turn)
}

/// Of gates that all have to be open before a step begins.
fn of_gates(state: &State, run: &Run, step: &StepName, gates: &[&Gate], wall: WallTime, now: MeshTime) -> Option<Stuck> {
    let calendar: Vec<&Gate> = gates.iter().copied().filter(|gate| gate.is_calendar() && run.without_calendar.is_none()).collect();
    if let Some(why) = never_open(&calendar, wall) {
        let instead = format!("then start one for which they do not count:  mainstay run start {} --override \"…\"", run.id.plan);
        return Some(Stuck { why, remedies: vec![end(&run.id), instead] });
    }
    gates.iter().find_map(|gate| match gate {
        Gate::Declared(declared) if let Some((plan, connection)) = freshness::opens(declared) => {
            freshness::shut(state, declared, wall)?;
            let gated = (!run.plan.gates.contains(gate)).then_some(step);
            if freshness::opens_by_itself(state, declared, (run, gated), wall) {
                return None;
            }
            let why = format!("nothing starts what opens the gate: {gate}");
            Some(Stuck { why, remedies: vec![format!("mainstay run start {plan} --set connection={connection}"), end(&run.id)] })
        }
        Gate::Declared(_) => {
            let take_out = "take the gate out of the plan, and end this run".to_owned();
            Some(Stuck { why: format!("nothing in this version opens the gate: {gate}"), remedies: vec![take_out, end(&run.id)] })
        }
        Gate::Health { plan, max_age } => {
            decide::healthy(state, plan, *max_age, now).err()?;
            let why = never_healthy(state, run, plan, wall)?;
            Some(Stuck { why, remedies: vec![format!("mainstay run start {plan}"), end(&run.id)] }).map(|stuck| {
                match state.plans.contains_key(plan) {
                    true => stuck,
                    false => Stuck { remedies: vec![format!("apply a plan {plan}, or take the gate out and end this run"), end(&run.id)], ..stuck },
                }
            })
        }
        Gate::Window(_) | Gate::Freeze(_) | Gate::Lease { .. } | Gate::Approval(_) => None,
    })
}

/// Why windows and freezes are never open together, where that is so.
pub(crate) fn never_open(gates: &[&Gate], wall: WallTime) -> Option<String> {
    if almanac::first_opening(gates, wall).is_some() {
        return None;
    }
    let named: Vec<String> = gates.iter().map(ToString::to_string).collect();
    Some(match named.as_slice() {
        [one] => format!("its gate does not open within {}: {one}", almanac::AHEAD),
        all => format!("its gates are not open at the same time within {}: {}", almanac::AHEAD, all.join("; ")),
    })
}

/// Why a plan that a gate asks for will not be found well, unless somebody starts a run of it.
pub(crate) fn never_healthy(state: &State, run: &Run, plan: &PlanName, wall: WallTime) -> Option<String> {
    let Some(history) = state.plans.get(plan) else { return Some(format!("there is no plan {plan}")) };
    if state.runs.values().any(|other| other.id.plan == *plan && other.id != run.id && !other.is_ended()) {
        return None;
    }
    // While this run is open, a schedule of its own plan starts nothing beside it.
    let is_held = run.id.plan == *plan && history.current().is_none_or(|(_, current)| current.plan.concurrency == Concurrency::Forbid);
    match (almanac::next(state, plan, wall), &history.suspended) {
        (Some(_), _) if !is_held => None,
        (_, Some(suspended)) => Some(format!("nothing starts a run of plan {plan}: {} suspended its schedules", suspended.by)),
        (Some((_, at)), None) => Some(format!(
            "nothing starts a run of plan {plan} while this one is open: its schedule, next at {}, is held back",
            calendar::local(at, "UTC")
        )),
        (None, None) => Some(format!("nothing starts a run of plan {plan}: it has no schedule, and none is under way")),
    }
}

fn end(run: &RunId) -> String {
    format!("mainstay run abort {run} --reason \"…\"")
}
