//! Plans, runs and what they wait for. One way only: a program changes runs by commands, not by messages
//! that look like runs.

use std::collections::BTreeMap;

use mainstay_core::aftermath::{self, Left};
use mainstay_core::catalogue;
use mainstay_core::id::{PlanName, Target};
use mainstay_core::plan::Step;
use mainstay_core::preview::UndoPreview;
use mainstay_core::rollout::Rollout;
use mainstay_core::state::attempt::{Attempt, Phase, Since};
use mainstay_core::state::plan::{PlanHistory, Revision};
use mainstay_core::state::resolution::Resolution;
use mainstay_core::state::run::{Direction, Run, RunOutcome, RunPhase, UndoEnd, Work, WorkState};
use mainstay_core::time::{MeshTime, WallTime};
use mainstay_core::wait::{Reason, Wait};
use mainstay_core::{Identity, State, evaluate, outlook, stuck};

use super::preview::{gate_to_wire, schedules_to_wire, undo_in_words, undo_to_wire};
use super::report::{outcome_to_wire, verdict_to_wire};
use crate::v1;

/// A plan; its source only where one plan is asked for.
#[must_use]
pub fn plan_to_wire(state: &State, name: &PlanName, number: u32, revision: &Revision, wall: WallTime, with_source: bool) -> v1::Plan {
    let history = state.plans.get(name);
    let suspended = history.and_then(|history| history.suspended.as_ref());
    v1::Plan {
        schedules: schedules_to_wire(state, &revision.plan, wall),
        suspended_by: suspended.map(|suspension| suspension.by.clone()).unwrap_or_default(),
        suspended_reason: suspended.map(|suspension| suspension.reason.clone()).unwrap_or_default(),
        suspended_unix_ms: suspended.map_or(0, |suspension| suspension.since.0),
        name: name.to_string(),
        revision: number,
        description: revision.plan.description.clone(),
        bundled: revision.bundled,
        steps: count(revision.plan.steps.len()),
        applied_unix_ms: revision.applied.0,
        applied_by: revision.by.clone(),
        source: if with_source { revision.plan.source.clone() } else { String::new() },
        // Added by whoever has the time of the mesh.
        last_run: None,
        revisions: if with_source { history.map(revisions_to_wire).unwrap_or_default() } else { Vec::new() },
    }
}

fn revisions_to_wire(history: &PlanHistory) -> Vec<v1::PlanRevision> {
    let wire = |(number, revision): (&u32, &Revision)| v1::PlanRevision {
        number: *number,
        applied_unix_ms: revision.applied.0,
        applied_by: revision.by.clone(),
        bundled: revision.bundled,
        steps: count(revision.plan.steps.len()),
    };
    history.revisions.iter().map(wire).collect()
}

/// The newest run of each plan that has one.
#[must_use]
pub fn last_runs(state: &State, now: MeshTime) -> BTreeMap<&PlanName, v1::Run> {
    let mut newest: BTreeMap<&PlanName, &Run> = BTreeMap::new();
    for run in state.runs.values() {
        let known = newest.entry(&run.id.plan).or_insert(run);
        if known.id.number < run.id.number {
            *known = run;
        }
    }
    newest.into_iter().map(|(plan, run)| (plan, run_summary(run, now))).collect()
}

/// A run without its work.
#[must_use]
pub fn run_summary(run: &Run, now: MeshTime) -> v1::Run {
    let (state, undo) = match &run.phase {
        RunPhase::Running => (v1::RunState::Running, v1::UndoState::Unspecified),
        RunPhase::Undoing => (v1::RunState::Undoing, v1::UndoState::Unspecified),
        RunPhase::Ended(end) => (
            match end.outcome {
                RunOutcome::Completed => v1::RunState::Completed,
                RunOutcome::Failed => v1::RunState::Failed,
                RunOutcome::Aborted => v1::RunState::Aborted,
            },
            match end.undo {
                UndoEnd::NotNeeded => v1::UndoState::NotNeeded,
                UndoEnd::Done => v1::UndoState::Done,
                UndoEnd::Incomplete => v1::UndoState::Incomplete,
            },
        ),
    };
    let work: Vec<&Work> = run.works().map(|(_, _, work)| work).collect();
    let counted = |is: fn(&Work) -> bool| count(work.iter().filter(|work| is(work)).count());
    // A run that has found out nothing yet has no verdict.
    let says_nothing = !run.is_ended() && work.iter().all(|work| !work.forward.is_over());
    let verdict = if says_nothing { v1::Verdict::Unspecified } else { verdict_to_wire(run.verdict()) };
    v1::Run {
        id: run.id.to_string(),
        plan: run.id.plan.to_string(),
        revision: run.revision,
        state: state.into(),
        verdict: verdict.into(),
        undo: undo.into(),
        started_by: run.by.clone(),
        started_unix_ms: run.started.0,
        ended_unix_ms: run.ended.map_or(0, |at| at.0),
        took_ms: if run.is_ended() { run.took.0 } else { now.since(run.started_at).0 },
        abort_reason: run.abort.as_ref().map(|abort| abort.reason.clone()).unwrap_or_default(),
        work_total: count(work.len()),
        work_over: counted(|work| work.forward.is_over()),
        work_done: counted(|work| matches!(work.forward, WorkState::Succeeded { .. } | WorkState::Omitted { .. })),
        work_taken_back: counted(|work| matches!(work.undo, Some(WorkState::Succeeded { .. }))),
        steps: count(run.plan.steps.len()),
        // Added where the state is at hand.
        left: Vec::new(),
        work: Vec::new(),
        inputs: run.inputs.iter().map(|(name, value)| (name.clone(), value.to_string())).collect(),
        paused_by: run.pause.as_ref().map(|pause| pause.by.clone()).unwrap_or_default(),
        pause_reason: run.pause.as_ref().map(|pause| pause.reason.clone()).unwrap_or_default(),
        aborted_by: run.abort.as_ref().map(|abort| abort.by.clone()).unwrap_or_default(),
        without_calendar: run.without_calendar.clone().unwrap_or_default(),
        approvals: run
            .approvals
            .iter()
            .map(|given| v1::Approval {
                step: given.step.as_ref().map(ToString::to_string).unwrap_or_default(),
                wave: given.wave.unwrap_or(0),
                denied: given.deny,
                by: given.by.clone(),
                reason: given.reason.clone(),
                unix_ms: given.wall.0,
            })
            .collect(),
    }
}

/// A run with its work and all attempts, in the order of the plan.
#[must_use]
pub fn run_to_wire(run: &Run, state: &State, now: MeshTime) -> v1::Run {
    let mut wire = v1::Run { left: left_to_wire(&aftermath::left(state, run)), ..run_summary(run, now) };
    for step in &run.plan.steps {
        for (target, work) in run.work.get(&step.name).into_iter().flatten() {
            wire.work.push(v1::Work {
                step: step.name.to_string(),
                kind: step.uses.clone(),
                target: target.to_string(),
                state: work_state(&work.forward).into(),
                verdict: verdict_to_wire(work.forward.verdict()).into(),
                detail: work.forward.detail().to_owned(),
                undo: work.undo.as_ref().map_or(v1::WorkState::Unspecified, work_state).into(),
                undo_detail: work.undo.as_ref().map_or_else(String::new, |undo| undo.detail().to_owned()),
                attempts: work.attempts.iter().filter_map(|id| state.attempts.get(id)).map(attempt_to_wire).collect(),
                has_undo: step.has_undo(),
            });
        }
    }
    wire
}

/// What ended runs leave to people.
#[must_use]
pub fn left_to_wire(left: &[Left]) -> Vec<v1::LeftToPerson> {
    let wire = |left: &Left| v1::LeftToPerson {
        what: left.words(),
        command: left.command().unwrap_or_default(),
        lease: if let Left::Lease(held) = left { held.lease.to_string() } else { String::new() },
    };
    left.iter().map(wire).collect()
}

fn work_state(state: &WorkState) -> v1::WorkState {
    match state {
        WorkState::Waiting => v1::WorkState::Waiting,
        WorkState::Retrying { .. } => v1::WorkState::Retrying,
        WorkState::Active { .. } => v1::WorkState::Active,
        WorkState::Succeeded { .. } => v1::WorkState::Succeeded,
        WorkState::Failed { .. } => v1::WorkState::Failed,
        WorkState::Unknown { .. } => v1::WorkState::Unknown,
        WorkState::Cancelled => v1::WorkState::Cancelled,
        WorkState::Skipped { .. } => v1::WorkState::Skipped,
        WorkState::Unreachable { .. } => v1::WorkState::Unreachable,
        WorkState::Omitted { .. } => v1::WorkState::Omitted,
    }
}

fn attempt_to_wire(attempt: &Attempt) -> v1::Attempt {
    let (state, outcome) = match &attempt.phase {
        Phase::Offered { .. } => (v1::AttemptState::Offered, None),
        Phase::Begun { .. } => (v1::AttemptState::Begun, None),
        Phase::Ended(outcome) => (v1::AttemptState::Ended, Some(outcome_to_wire(outcome))),
        Phase::Withdrawn(_) => (v1::AttemptState::Ended, None),
    };
    v1::Attempt {
        id: attempt.id.to_string(),
        number: attempt.number,
        undo: attempt.direction == Direction::Undo,
        agent: attempt.agent.to_string(),
        state: state.into(),
        offered_unix_ms: attempt.offered.0,
        ended_unix_ms: attempt.ended.map_or(0, |at| at.0),
        took_ms: attempt.took.0,
        outcome,
        begun: Some(attempt.was_begun()),
        since: attempt.since.as_ref().map(since_to_wire),
    }
}

fn since_to_wire(since: &Since) -> v1::Since {
    v1::Since { at_unix_ms: since.at.0, outcome: Some(outcome_to_wire(&since.outcome)) }
}

/// What is said of a wait besides its reason.
struct About {
    approval: Option<v1::WantedApproval>,
    ahead: Vec<v1::GateNow>,
    stuck: Option<stuck::Stuck>,
}

/// Waits of a run, each with what comes after it. `caller` is whoever looks, and may or may not give an approval.
#[must_use]
pub fn waits_to_wire<'w>(waits: impl Iterator<Item = &'w Wait>, state: &State, now: MeshTime, wall: WallTime, caller: &Identity) -> Vec<v1::Wait> {
    // Many targets wait for the same, and what is said of that is found out once.
    let mut known: BTreeMap<(String, String), About> = BTreeMap::new();
    let wire = |wait: &Wait| {
        let (waited, remaining) = wait.times(now);
        let reason = wait.reason.to_string();
        let about = known.entry((wait.step.to_string(), reason.clone())).or_insert_with(|| About {
            approval: approval_to_wire(wait, state, wall, caller),
            ahead: outlook::ahead(state, wait, wall, now).iter().map(gate_to_wire).collect(),
            stuck: stuck::stuck(state, wait, wall, now),
        });
        v1::Wait {
            step: wait.step.to_string(),
            target: wait.target.to_string(),
            undo: wait.direction == Direction::Undo,
            reason,
            waited_ms: waited.0,
            remaining_ms: remaining.map_or(0, |remaining| remaining.0),
            then: wait.until.map_or_else(String::new, |(_, then)| then.to_owned()),
            approval: about.approval.clone(),
            ahead: about.ahead.clone(),
            stuck: about.stuck.as_ref().map(|stuck| stuck.why.clone()).unwrap_or_default(),
            remedies: about.stuck.as_ref().map(|stuck| stuck.remedies.clone()).unwrap_or_default(),
            kind: wait_kind(&wait.reason).into(),
        }
    };
    waits.map(wire).collect()
}

fn wait_kind(reason: &Reason) -> v1::WaitKind {
    match reason {
        Reason::NeedsStep { .. } => v1::WaitKind::NeedsStep,
        Reason::AgentAway { .. } => v1::WaitKind::AgentAway,
        Reason::NobodyCan { .. } | Reason::NobodyActs { .. } | Reason::ActingCannot { .. } => v1::WaitKind::NobodyCan,
        Reason::NoConnection { .. } => v1::WaitKind::NoConnection,
        Reason::AgentBusy { .. } => v1::WaitKind::AgentBusy,
        Reason::Pause { .. } => v1::WaitKind::Retry,
        Reason::Offered { .. } => v1::WaitKind::Offered,
        Reason::Works { .. } => v1::WaitKind::Works,
        Reason::Stopping { .. } => v1::WaitKind::Stopping,
        Reason::NotHeardOf { .. } => v1::WaitKind::NotHeardOf,
        Reason::UndoOf { .. } => v1::WaitKind::UndoOrder,
        Reason::Paused { .. } => v1::WaitKind::Paused,
        Reason::Evaluating => v1::WaitKind::Evaluating,
        Reason::Wave { .. } | Reason::Zone { .. } => v1::WaitKind::Wave,
        Reason::Soak { .. } => v1::WaitKind::Soak,
        Reason::Unavailable { .. } | Reason::NodesNotKnown { .. } | Reason::Quorum(_) | Reason::ActsFromHere { .. } => v1::WaitKind::Unavailable,
        Reason::Gate { .. } => v1::WaitKind::Gate,
        Reason::LeaseHeld { .. } | Reason::LeaseWanted { .. } => v1::WaitKind::Lease,
        Reason::RootLacks { lack, .. } if lack.needs_signature() => v1::WaitKind::Signature,
        Reason::RootLacks { .. } | Reason::RootNeeded { .. } | Reason::RootInUse(_) => v1::WaitKind::Root,
        Reason::Approval { .. } => v1::WaitKind::Approval,
    }
}

/// Where the rollouts of a run stand: the plan's, then those of steps.
#[must_use]
pub fn rollouts_to_wire(run: &Run) -> Vec<v1::RolloutState> {
    let own = run.plan.steps.iter().filter(|step| step.strategy.is_some()).filter_map(|step| Rollout::of_step(run, step));
    Rollout::of_plan(run).into_iter().chain(own).map(|rollout| rollout_to_wire(run, &rollout)).collect()
}

fn rollout_to_wire(run: &Run, rollout: &Rollout<'_>) -> v1::RolloutState {
    let all = rollout.targets.len();
    let tally = rollout.tally(run);
    v1::RolloutState {
        step: rollout.step.map(ToString::to_string).unwrap_or_default(),
        wave: count(tally.wave),
        waves: count(rollout.strategy.wave_ends(all).len()),
        done: count(tally.done),
        failed: count(tally.failed),
        targets: count(all),
        given_up: count(tally.given_up),
        stopped: count(tally.stopped),
        taken_back: count(tally.taken_back),
    }
}

/// Targets of an approval that are named.
const TARGETS_NAMED: usize = 100;

fn approval_to_wire(wait: &Wait, state: &State, wall: WallTime, caller: &Identity) -> Option<v1::WantedApproval> {
    let Reason::Approval { run, step, wave, by, not, message, seen, expired } = &wait.reason else { return None };
    let run = state.runs.get(run)?;
    let about = run.plan.step(&wait.step)?;
    let targets: Vec<&Target> = match (wave, Rollout::of_step(run, about)) {
        (Some(wave), Some(rollout)) => rollout.wave_targets(*wave as usize),
        _ => run.work.get(&wait.step).into_iter().flat_map(|targets| targets.keys()).collect(),
    };
    let within = wave.is_some().then_some(targets.as_slice());
    let steps = run.behind(step.as_ref(), *wave).into_iter().filter_map(|step| awaited_to_wire(state, run, step, within)).collect();
    Some(v1::WantedApproval {
        step: step.as_ref().map(ToString::to_string).unwrap_or_default(),
        wave: wave.unwrap_or(0),
        by: by.to_string(),
        not: not.clone().unwrap_or_default(),
        message: message.clone(),
        seen: seen.clone(),
        targets: targets.iter().take(TARGETS_NAMED).map(ToString::to_string).collect(),
        steps,
        expired: expired.clone().unwrap_or_default(),
        may_not: outlook::may_not(state, *by, not.as_deref(), caller).unwrap_or_default(),
        too_early: outlook::expires_before(state, wait, wall).unwrap_or_default(),
    })
}

/// `within` are the targets of a wave, where the approval is for one. Nothing where its condition is false on all.
fn awaited_to_wire(state: &State, run: &Run, step: &Step, within: Option<&[&Target]>) -> Option<v1::AwaitedStep> {
    let is_omitted = |target: &Target| step.condition.is_some() && evaluate::foresee(state, run, step, Some(target)).condition == Some(false);
    let is_within = |target: &&Target| within.is_none_or(|within| within.contains(target)) && !is_omitted(target);
    let targets: Vec<&Target> = run.work.get(&step.name).into_iter().flat_map(|targets| targets.keys()).filter(is_within).collect();
    let with_on = |target: Option<&&Target>| match run.resolved.get(&step.name, target.copied(), Direction::Do) {
        Some(Resolution::Go { with: Some(with) }) => with.clone(),
        _ => evaluate::foresee(state, run, step, target.copied()).with,
    };
    if targets.is_empty() {
        return None;
    }
    let with = with_on(targets.first());
    let differs = targets.len() > 1 && evaluate::differs_by_target(run, step, Direction::Do) && with != with_on(targets.last());
    Some(v1::AwaitedStep {
        name: step.name.to_string(),
        kind: step.uses.clone(),
        with: serde_json::Value::Object(with).to_string(),
        effect: catalogue::kind(&step.uses).map(|kind| kind.effect.as_str()).unwrap_or_default().to_owned(),
        undo: undo_in_words(step),
        target_count: count(targets.len()),
        with_of: targets.first().filter(|_| differs).map(ToString::to_string).unwrap_or_default(),
        undo_step: UndoPreview::of(state, run, step, &targets).as_ref().map(undo_to_wire),
    })
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
