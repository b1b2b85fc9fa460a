//! What the status of an object is to be, given what the mesh says. Pure. All fields are in it, those that are to be gone
//! as null, so that it can be sent as it is.

use jiff::Timestamp;
use mainstay_core::plan::DOCUMENT_KIND;
use mainstay_core::plan::structural::RUN_KIND;
use mainstay_proto::v1;
use mainstay_proto::words::Word as _;
use serde_json::{Map, Value, json};

use super::condition::{Condition, conditions, moment};
use super::object::{PlanObject, RunObject};

pub const PLAN: &str = DOCUMENT_KIND;
pub const RUN: &str = RUN_KIND;

/// Of a plan that the mesh has as its object says it.
pub fn accepted(object: &PlanObject, plan: &v1::ObjectPlan, now: Timestamp) -> Value {
    let known = plan.plan.clone().unwrap_or_default();
    let words = format!("revision {} of {}", known.revision, known.name);
    let suspended = !known.suspended_by.is_empty();
    let mut wanted = vec![Condition::new("Accepted", true, "Applied", &words), Condition::new("Ready", true, "Applied", words)];
    if suspended {
        let message = format!("by {}: its schedules start nothing: {}", known.suspended_by, known.suspended_reason);
        wanted.push(Condition::new("Suspended", true, "Suspended", message));
    }
    json!({
        "observedGeneration": object.meta.generation,
        "plan": known.name,
        "revision": known.revision,
        "problems": null,
        "nextRun": known.schedules.iter().map(|schedule| schedule.next_unix_ms).filter(|next| *next != 0).min().and_then(moment),
        "lastRun": plan.runs.first().map(of_run),
        "conditions": conditions(&wanted, &object.status, object.meta.generation, now),
    })
}

/// Of a plan that the mesh does not take; an earlier revision may still be in force.
pub fn refused(object: &PlanObject, plan: Option<&v1::ObjectPlan>, refusal: &v1::ObjectRefusal, now: Timestamp) -> Value {
    let known = plan.and_then(|plan| plan.plan.clone()).unwrap_or_default();
    let mut message = refusal.message.clone();
    if known.revision > 0 {
        message += &format!(" (revision {}, as it was before, is in force)", known.revision);
    }
    let wanted = ["Accepted", "Ready"].map(|of| Condition::new(of, false, &*refusal.reason, &*message));
    // kstatus takes this for the end of waiting.
    let stalled = Condition::new("Stalled", true, &*refusal.reason, &*message);
    let problem = |problem: &v1::ObjectProblem| {
        let field = (!problem.field.is_empty()).then_some(&problem.field);
        field.map_or_else(|| json!({ "message": problem.message }), |field| json!({ "field": field, "message": problem.message }))
    };
    let problems: Vec<Value> = refusal.problems.iter().take(20).map(problem).collect();
    json!({
        "observedGeneration": object.meta.generation,
        "plan": (known.revision > 0).then_some(known.name),
        "revision": (known.revision > 0).then_some(known.revision),
        "problems": (!problems.is_empty()).then_some(problems),
        "nextRun": known.schedules.iter().map(|schedule| schedule.next_unix_ms).filter(|next| *next != 0).min().and_then(moment),
        "lastRun": plan.and_then(|plan| plan.runs.first()).map(of_run),
        "conditions": conditions(&[&wanted[..], &[stalled]].concat(), &object.status, object.meta.generation, now),
    })
}

/// Of an object that shows a run.
pub fn shown(object: &RunObject, run: &v1::ObjectRun, now: Timestamp) -> Value {
    let known = run.run.clone().unwrap_or_default();
    let state = state_of(&known);
    let verdict = known.verdict();
    let has_ended = known.ended_unix_ms != 0;
    // As the exit status of the command line says it: a run that found something critical did not go well.
    let is_bad = known.state() != v1::RunState::Completed || matches!(verdict, v1::Verdict::Critical | v1::Verdict::Unknown);
    let (complete, failed) = (has_ended && !is_bad, has_ended && is_bad);
    let reason = match (has_ended, known.state(), failed) {
        (true, v1::RunState::Completed, false) => "Completed",
        (true, v1::RunState::Completed, true) => "BadVerdict",
        (true, v1::RunState::Aborted, _) => "Aborted",
        (true, ..) => "Failed",
        (false, v1::RunState::Undoing, _) => "Undoing",
        (false, ..) if state == "paused" => "Paused",
        (false, ..) => "Running",
    };
    let message = match (has_ended, run.waits_for.is_empty()) {
        (true, _) if verdict == v1::Verdict::Unspecified => state.clone(),
        (true, _) => format!("{state}, verdict {}", verdict.word()),
        (false, true) => state.clone(),
        (false, false) => run.waits_for.clone(),
    };
    let of = format!("run {} of revision {}", known.id, known.revision);
    let mut wanted = vec![
        Condition::new("Accepted", true, "Started", of),
        Condition::new("Complete", complete, reason, &*message),
        Condition::new("Failed", failed, reason, &*message),
        Condition::new("Ready", complete, reason, &*message),
    ];
    if failed {
        wanted.push(Condition::new("Stalled", true, reason, &*message));
    }
    if run.asks {
        wanted.push(Condition::new("AwaitsApproval", true, "AwaitsApproval", message));
    }
    let mut status = of_run(run);
    status["observedGeneration"] = json!(object.meta.generation);
    status["conditions"] = conditions(&wanted, &object.status, object.meta.generation, now);
    status
}

/// Of an object whose run the mesh does not start, or does not have. When it is over, it is not asked for again.
pub fn not_started(object: &RunObject, refusal: &v1::ObjectRefusal, is_over: bool, now: Timestamp) -> Value {
    let message = if is_over && object.number.is_none() {
        format!("{}; it is not asked for any more: make another object for another run", refusal.message)
    } else {
        refusal.message.clone()
    };
    let mut wanted = ["Accepted", "Complete", "Ready"].map(|of| Condition::new(of, false, &*refusal.reason, &*message)).to_vec();
    wanted.push(Condition::new("Failed", is_over, &*refusal.reason, &*message));
    if is_over {
        wanted.push(Condition::new("Stalled", true, &*refusal.reason, &*message));
    }
    let mut status = of_run(&v1::ObjectRun::default());
    status["observedGeneration"] = json!(object.meta.generation);
    status["conditions"] = conditions(&wanted, &object.status, object.meta.generation, now);
    status
}

fn state_of(run: &v1::Run) -> String {
    if run.state() == v1::RunState::Running && !run.paused_by.is_empty() { "paused".to_owned() } else { run.state().word() }
}

/// What stands of a run on either kind of object.
fn of_run(run: &v1::ObjectRun) -> Value {
    let known = run.run.clone().unwrap_or_default();
    let said = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    json!({
        "run": said(&known.id),
        "state": said(&known.id).map(|_| state_of(&known)),
        "verdict": (known.verdict() != v1::Verdict::Unspecified).then(|| known.verdict().word()),
        "startedBy": said(&known.started_by),
        "startedAt": moment(known.started_unix_ms),
        "endedAt": moment(known.ended_unix_ms),
        "waitsFor": said(&run.waits_for),
    })
}

/// Whether the object has that status already.
pub fn is(before: &Value, wanted: &Value) -> bool {
    without_nulls(before) == without_nulls(wanted)
}

/// A status as an API server keeps it.
fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = fields.iter().filter(|(_, value)| !value.is_null()).map(|(name, value)| (name.clone(), without_nulls(value)));
            Value::Object(kept.collect::<Map<_, _>>())
        }
        Value::Null => Value::Object(Map::new()),
        Value::Array(items) => items.iter().map(without_nulls).collect(),
        other => other.clone(),
    }
}
