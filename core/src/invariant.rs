//! What must hold of every state, as named functions with a sentence each. Tests ask after each entry,
//! debug builds of a coordinator after each batch, and `mainstay doctor` on demand.

use std::collections::{BTreeMap, BTreeSet};

use crate::artifact::ArtifactKind;
use crate::bounds;
use crate::id::{StepName, Target};
use crate::rollout::is_in_plans_rollout;
use crate::state::State;
use crate::state::artifact::RunArtifacts;
use crate::state::attempt::{Attempt, Phase};
use crate::state::run::{Direction, Run, RunPhase, Work, WorkState};

/// An invariant: its name, what it says, and the first thing that breaks it.
pub struct Invariant {
    pub name: &'static str,
    pub says: &'static str,
    pub broken: fn(&State) -> Option<String>,
}

/// All of them.
pub const INVARIANTS: &[Invariant] = &[
    Invariant { name: "slots", says: "a lease has at most as many holders as slots", broken: slots },
    Invariant { name: "tokens", says: "no two grants carry the same token, and none is above the counter", broken: tokens },
    Invariant { name: "queue", says: "nobody waits for a lease that has a free slot, and nobody both holds and waits", broken: queue },
    Invariant {
        name: "one-active",
        says: "a work item that is active names one open attempt, and an open attempt one active work item",
        broken: one_active,
    },
    Invariant { name: "open-index", says: "the list of open attempts of each agent is what the attempts say", broken: open_index },
    Invariant { name: "needs", says: "nothing was offered before what it needs went well", broken: needs },
    Invariant { name: "undo-order", says: "nothing is undone before what was done after it", broken: undo_order },
    Invariant { name: "ended", says: "a run that has ended has no open attempt", broken: ended },
    Invariant { name: "weight", says: "the weight is what plans, runs, reports, artifacts, backups, holders and waiters weigh", broken: weight },
    Invariant {
        name: "artifacts",
        says: "every artifact is of an attempt of its run that has begun, undo data is encrypted, and the sums are those of the records",
        broken: artifacts,
    },
    Invariant { name: "backups", says: "the catalogue of backups keeps to its bounds", broken: backups },
    Invariant { name: "audit", says: "the audit chain is whole", broken: audit },
];

/// Every invariant that does not hold, with what breaks it.
#[must_use]
pub fn broken(state: &State) -> Vec<(&'static str, String)> {
    INVARIANTS.iter().filter_map(|invariant| (invariant.broken)(state).map(|what| (invariant.name, what))).collect()
}

fn slots(state: &State) -> Option<String> {
    let (name, lease) = state.leases.iter().find(|(_, lease)| lease.held.len() > lease.spec.slots as usize)?;
    Some(format!("{name} has {} holders and {} slots", lease.held.len(), lease.spec.slots))
}

fn tokens(state: &State) -> Option<String> {
    let mut seen = BTreeSet::new();
    state.leases.values().flat_map(|lease| &lease.held).find_map(|held| {
        let above =
            held.token.0.incarnation > state.incarnation || (held.token.0.incarnation == state.incarnation && held.token.0.counter > state.serial);
        (above || !seen.insert(held.token)).then(|| format!("token {}", held.token))
    })
}

fn queue(state: &State) -> Option<String> {
    state.leases.iter().find_map(|(name, lease)| {
        if !lease.waiting.is_empty() && lease.has_room() {
            return Some(format!("{name} has waiters and a free slot"));
        }
        let both = lease.waiting.iter().find(|waiter| lease.held.iter().any(|held| held.holder.is(&waiter.holder)))?;
        Some(format!("{} holds and waits for {name}", both.holder))
    })
}

fn one_active(state: &State) -> Option<String> {
    for run in state.runs.values() {
        for (step, target, work) in run.works() {
            for direction in [Direction::Do, Direction::Undo] {
                if let WorkState::Active { attempt } = work.state(direction)
                    && !state.attempts.get(attempt).is_some_and(|attempt| attempt.is_open() && attempt.direction == direction)
                {
                    return Some(format!("{}/{step} on {target} is active with {attempt}, which is not open", run.id));
                }
            }
        }
    }
    state.attempts.values().filter(|attempt| attempt.is_open()).find_map(|attempt| {
        let work = state.runs.get(&attempt.run).and_then(|run| run.work(&attempt.step, &attempt.target));
        let is_named = work.is_some_and(|work| *work.state(attempt.direction) == WorkState::Active { attempt: attempt.id });
        (!is_named).then(|| format!("attempt {} is open and nothing names it", attempt.id))
    })
}

fn open_index(state: &State) -> Option<String> {
    let listed: usize = state.open_attempts.values().map(imbl::OrdSet::len).sum();
    let open = state.attempts.values().filter(|attempt| attempt.is_open()).count();
    let known = state
        .open_attempts
        .iter()
        .all(|(agent, ids)| ids.iter().all(|id| state.attempts.get(id).is_some_and(|attempt| attempt.agent == *agent && attempt.is_open())));
    (listed != open || !known).then(|| format!("{listed} listed, {open} open"))
}

fn needs(state: &State) -> Option<String> {
    for run in state.runs.values() {
        for step in &run.plan.steps {
            let begun = run.work.get(&step.name).is_some_and(|targets| targets.values().any(|work| work.attempts(Direction::Do) > 0));
            if !begun {
                continue;
            }
            for need in &step.needs {
                let (Some(needed), Some(targets)) = (run.plan.step(need), run.work.get(need)) else { continue };
                let node_by_node = is_in_plans_rollout(run, step) && is_in_plans_rollout(run, needed);
                let counts = |target: &Target| !node_by_node || run.work(&step.name, target).is_some_and(|work| work.attempts(Direction::Do) > 0);
                // What an operator has done again had ended before.
                let well = |work: &Work| run.passed(needed, work) || work.was_begun_anew();
                let all_well = targets.iter().filter(|(target, _)| counts(target)).all(|(_, work)| well(work));
                if !all_well && (node_by_node || !run.is_excused(needed)) {
                    return Some(format!("{}/{} was offered, and {need} had not gone well", run.id, step.name));
                }
            }
        }
    }
    None
}

fn undo_order(state: &State) -> Option<String> {
    state.runs.values().find_map(|run| {
        let undone: Vec<(&StepName, u64, bool)> =
            run.works().filter_map(|(step, _, work)| Some((step, work.order, matches!(work.undo.as_ref()?, WorkState::Waiting)))).collect();
        // The targets of one step go side by side.
        let mut waiting: BTreeMap<&StepName, u64> = BTreeMap::new();
        for (step, order, _) in undone.iter().filter(|(_, _, waiting)| *waiting) {
            let highest = waiting.entry(step).or_default();
            *highest = (*highest).max(*order);
        }
        let early = |step: &StepName, order: u64| waiting.iter().any(|(other, highest)| *other != step && *highest > order);
        undone.iter().any(|(step, order, waiting)| !waiting && early(step, *order)).then(|| format!("{} undoes out of order", run.id))
    })
}

fn ended(state: &State) -> Option<String> {
    let open = state
        .attempts
        .values()
        .find(|attempt| attempt.is_open() && state.runs.get(&attempt.run).is_none_or(|run| matches!(run.phase, RunPhase::Ended(_))))?;
    debug_assert!(matches!(open.phase, Phase::Offered { .. } | Phase::Begun { .. }));
    Some(format!("attempt {} of {} is open", open.id, open.run))
}

fn weight(state: &State) -> Option<String> {
    let plans: u64 = state.plans.values().flat_map(|history| history.revisions.values()).map(|revision| revision.plan.weight()).sum();
    let runs: u64 = state.runs.values().map(Run::weight).sum();
    let reports: u64 = state.attempts.values().map(Attempt::weight).sum();
    let leases: u64 = state.leases.values().map(|lease| lease.weight()).sum();
    let backups: u64 = state.backups.values().map(|known| known.weight()).sum();
    let sum = plans + runs + reports + leases + state.artifacts.weight() + backups;
    (state.weight != sum).then(|| format!("{} counted, {sum} found", state.weight))
}

fn artifacts(state: &State) -> Option<String> {
    let artifacts = &state.artifacts;
    for (run, key, artifact) in artifacts.all() {
        let attempt = state.attempts.get(&key.attempt);
        if !attempt.is_some_and(|attempt| attempt.run == *run && !matches!(attempt.phase, Phase::Offered { .. } | Phase::Withdrawn(_))) {
            return Some(format!("{} of {run} is of attempt {}, which has not begun in it", key.name, key.attempt));
        }
        if key.name != artifact.file.name || artifact.file.check().is_err() {
            return Some(format!("{} of attempt {} could not have been recorded", key.name, key.attempt));
        }
    }
    let sum = |of: &dyn Fn(ArtifactKind) -> bool, run: &RunArtifacts| -> u64 {
        run.files.values().filter(|artifact| of(artifact.file.kind)).map(|artifact| artifact.file.bytes).sum()
    };
    let is_undo = |kind| kind == ArtifactKind::Undo;
    let wrong = artifacts
        .by_run
        .iter()
        .find(|(_, run)| run.files.is_empty() || run.undo_bytes != sum(&is_undo, run) || run.bytes != sum(&|kind| !is_undo(kind), run));
    if let Some((run, _)) = wrong {
        return Some(format!("the bytes of {run} are not those of its artifacts"));
    }
    let bytes: u64 = artifacts.by_run.values().map(|run| run.bytes + run.undo_bytes).sum();
    let count = artifacts.all().count() as u64;
    (artifacts.bytes != bytes || artifacts.count != count)
        .then(|| format!("{} of {} bytes counted, {count} of {bytes} found", artifacts.count, artifacts.bytes))
}

fn backups(state: &State) -> Option<String> {
    if state.backups.len() > bounds::BACKUP_TARGETS {
        return Some(format!("{} targets", state.backups.len()));
    }
    state.backups.iter().find_map(|(target, known)| {
        let held = known.backups.values().filter(|backup| backup.hold.is_some()).count();
        let is_over = known.backups.len() > bounds::TARGET_BACKUPS || held > bounds::BACKUPS_HELD;
        is_over.then(|| format!("{target} has {} backups, {held} of them held", known.backups.len()))
    })
}

fn audit(state: &State) -> Option<String> {
    state.audit.first_broken().map(|number| format!("record {number} does not fit"))
}
