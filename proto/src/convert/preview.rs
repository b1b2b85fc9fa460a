//! What a run of a plan would do, and when its schedules start one.

use mainstay_core::State;
use mainstay_core::calendar::{Cron, local};
use mainstay_core::catalogue;
use mainstay_core::id::Target;
use mainstay_core::outlook::GateNow;
use mainstay_core::plan::{Concurrency, OnFailure, OnUnknown, Plan, Step};
use mainstay_core::preview::{Ask, Preview, Remark, Severity, StepPreview, UndoPreview};
use mainstay_core::state::plan::instants_of;
use mainstay_core::time::WallTime;

use crate::v1;

/// Targets of a step that are named.
const TARGETS_NAMED: usize = 100;

/// `number` is the revision, 0 where the plan has not been applied.
#[must_use]
pub fn preview_to_wire(state: &State, plan: &Plan, number: u32, preview: &Preview, wall: WallTime) -> v1::Preview {
    v1::Preview {
        plan: plan.name.to_string(),
        revision: number,
        description: plan.description.clone(),
        digest: plan.digest.clone(),
        inputs: preview
            .inputs
            .iter()
            .map(|(name, value, given)| v1::PreviewInput { name: name.clone(), value: value.to_string(), given: *given })
            .collect(),
        steps: preview.steps.iter().map(step_to_wire).collect(),
        remarks: preview.remarks.iter().map(remark_to_wire).collect(),
        notify: preview.notify.clone(),
        schedules: schedules_to_wire(state, plan, wall),
        strategy: preview.strategy.clone().unwrap_or_default(),
        gates: preview.gates.iter().map(gate_to_wire).collect(),
        waves: preview.waves.iter().map(|wave| v1::PreviewWave { targets: named(wave), target_count: count(wave.len()) }).collect(),
        approvals: preview.approvals.iter().map(ask_to_wire).collect(),
        least_ms: preview.at_least.0,
    }
}

/// Something that the operator should know.
#[must_use]
pub fn remark_to_wire(remark: &Remark) -> v1::Remark {
    v1::Remark {
        severity: match remark.severity {
            Severity::Note => v1::Severity::Note,
            Severity::Warning => v1::Severity::Warning,
            Severity::Problem => v1::Severity::Problem,
        }
        .into(),
        step: remark.step.as_ref().map(ToString::to_string).unwrap_or_default(),
        message: remark.message.clone(),
        hint: remark.hint.clone(),
    }
}

pub(super) fn undo_to_wire(undo: &UndoPreview) -> v1::UndoStep {
    v1::UndoStep {
        kind: undo.uses.clone(),
        with: serde_json::Value::Object(undo.with.clone()).to_string(),
        with_of: undo.with_of.as_ref().map(ToString::to_string).unwrap_or_default(),
    }
}

pub(super) fn gate_to_wire(gate: &GateNow) -> v1::GateNow {
    v1::GateNow { gate: gate.gate.clone(), state: gate.state.as_str().to_owned(), evidence: gate.evidence.clone() }
}

fn ask_to_wire(ask: &Ask) -> v1::PreviewApproval {
    v1::PreviewApproval {
        step: ask.step.as_ref().map(ToString::to_string).unwrap_or_default(),
        by: ask.by.to_string(),
        not_author: ask.not_author,
        expires_ms: ask.expires.map_or(0, |expires| expires.0),
        times: count(ask.times),
        may_not: ask.may_not.clone().unwrap_or_default(),
        only_if: ask.only_if.clone().unwrap_or_default(),
    }
}

fn named(targets: &[Target]) -> Vec<String> {
    targets.iter().take(TARGETS_NAMED).map(ToString::to_string).collect()
}

fn step_to_wire(preview: &StepPreview) -> v1::PreviewStep {
    let step = &preview.step;
    let kind = catalogue::kind(&step.uses);
    let condition_now = match (&step.condition, preview.condition) {
        (None, _) => "",
        (Some(_), Some(true)) => "true",
        (Some(_), Some(false)) => "false",
        (Some(_), None) => "known only later",
    };
    v1::PreviewStep {
        name: step.name.to_string(),
        kind: step.uses.clone(),
        description: step.description.clone(),
        with: serde_json::Value::Object(preview.with.clone()).to_string(),
        targets: named(&preview.targets),
        target_count: count(preview.targets.len()),
        reachable: count(preview.reachable),
        needs: step.needs.iter().map(ToString::to_string).collect(),
        condition: step.condition.clone().unwrap_or_default(),
        condition_now: condition_now.to_owned(),
        gates: preview.gates.iter().map(gate_to_wire).collect(),
        lease: step.lease.as_ref().map(|lease| lease.name.to_string()).unwrap_or_default(),
        strategy: preview.strategy.clone().unwrap_or_default(),
        waves: preview.waves.iter().map(|wave| count(*wave)).collect(),
        effect: kind.map(|kind| kind.effect.as_str()).unwrap_or_default().to_owned(),
        idempotent: kind.is_some_and(|kind| kind.idempotent),
        undo: undo_in_words(step),
        protection: kind.map(|kind| kind.protection).unwrap_or_default().to_owned(),
        timeout_ms: step.timeout.0,
        attempts: step.retry.attempts,
        point_of_no_return: preview.point_of_no_return,
        omitted: preview.omitted.clone().unwrap_or_default(),
        left_out: named(&preview.left_out),
        left_out_count: count(preview.left_out.len()),
        with_of: preview.with_of.as_ref().map(ToString::to_string).unwrap_or_default(),
        by_policy: preview.by_policy,
        lease_held_by: preview.lease_held_by.clone().unwrap_or_default(),
        undo_step: preview.undo.as_ref().map(undo_to_wire),
        on_unknown_continue: step.on_unknown == OnUnknown::Continue,
        on_failure_keep: step.on_failure == OnFailure::Keep,
    }
}

/// How a step is taken back.
pub(super) fn undo_in_words(step: &Step) -> String {
    match (&step.undo, catalogue::kind(&step.uses)) {
        (Some(undo), _) => format!("by {}", undo.uses),
        (None, Some(kind)) if kind.undo == catalogue::Undo::Compensated => "none given".to_owned(),
        (None, kind) => kind.map(|kind| kind.undo.as_str().to_owned()).unwrap_or_default(),
    }
}

/// Open runs of a plan that are named with its schedule.
const OPEN_NAMED: usize = 3;

/// Schedules of a plan, with their next instants and what they have done.
pub(super) fn schedules_to_wire(state: &State, plan: &Plan, wall: WallTime) -> Vec<v1::PlanSchedule> {
    let history = state.plans.get(&plan.name);
    let of_plan = state.runs.values().filter(|run| run.id.plan == plan.name && !run.is_ended());
    // One that is being aborted is on its way already.
    let open: Vec<String> = of_plan
        .filter(|run| plan.concurrency != Concurrency::Replace || run.abort.is_none())
        .take(OPEN_NAMED)
        .map(|run| run.id.to_string())
        .collect();
    let condition = match plan.concurrency {
        Concurrency::Allow => String::new(),
        _ if open.is_empty() => String::new(),
        Concurrency::Forbid => format!("if {} {} ended", open.join(", "), if open.len() == 1 { "has" } else { "have" }),
        Concurrency::Replace => format!("replaces {}", open.join(", ")),
    };
    let suspended = history.is_some_and(|history| history.suspended.is_some());
    let wire = |schedule: &mainstay_core::plan::Schedule| {
        let next =
            Cron::parse(&schedule.cron, &schedule.zone).ok().and_then(|cron| cron.next_after(wall)).filter(|_| !suspended && !schedule.suspended);
        let fired = history.and_then(|history| history.fired.get(&instants_of(schedule)));
        v1::PlanSchedule {
            cron: schedule.cron.clone(),
            zone: schedule.zone.clone(),
            suspended: schedule.suspended,
            next_unix_ms: next.map_or(0, |next| next.0),
            next: next.map(|next| local(next, &schedule.zone)).unwrap_or_default(),
            started: fired.map_or(0, |fired| fired.started),
            missed: fired.map_or(0, |fired| fired.missed),
            held: fired.map_or(0, |fired| fired.held),
            last_run: fired.and_then(|fired| fired.run.as_ref()).map(ToString::to_string).unwrap_or_default(),
            condition: if next.is_some() { condition.clone() } else { String::new() },
        }
    };
    plan.schedules.iter().map(wire).collect()
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
