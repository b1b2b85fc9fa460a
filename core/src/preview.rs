//! What a run of a plan would do: where, in which order, behind which gates, and what is in its way. A pure look
//! at a copy of the state, in which the run is started and nothing else happens.

mod least;
mod look;
mod words;

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::command::{Actor, Command, Entry};
use crate::evaluate;
use crate::id::{RunId, StepName, Target};
use crate::identity::Identity;
use crate::outlook::{self, GateNow};
use crate::plan::gate::{Approval, Gate};
use crate::plan::{Plan, Step, input};
use crate::reply::{Refusal, Reply};
use crate::rollout::Rollout;
use crate::state::State;
use crate::state::approval;
use crate::state::enrolment::OperatorRole;
use crate::state::run::Run;
use crate::time::{MeshTime, Millis, WallTime};
use look::Look;

/// What there is to see.
#[derive(Debug, Clone, PartialEq)]
pub struct Preview {
    pub inputs: Vec<(String, Value, bool)>,
    pub steps: Vec<StepPreview>,
    /// Those of the whole plan.
    pub gates: Vec<GateNow>,
    pub remarks: Vec<Remark>,
    pub notify: Vec<String>,
    /// How all steps on nodes go together.
    pub strategy: Option<String>,
    /// The waves of that, each with its nodes.
    pub waves: Vec<Vec<Target>>,
    /// Who would be asked, in the order of the plan.
    pub approvals: Vec<Ask>,
    /// What a run takes at the very least, with nobody to wait for: what its steps and soaks wait by themselves.
    pub at_least: Millis,
}

/// A person who would be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// Nothing where it is the plan's.
    pub step: Option<StepName>,
    pub by: OperatorRole,
    /// Whether whoever starts the run may not.
    pub not_author: bool,
    /// How often: once, or once for each wave.
    pub times: usize,
    /// How long it counts: what it covers has to begin by then. Nothing where it does not expire.
    pub expires: Option<Millis>,
    /// Why whoever looks may not, whether they start the run or not; nothing where they may.
    pub may_not: Option<String>,
}

/// One step.
#[derive(Debug, Clone, PartialEq)]
pub struct StepPreview {
    pub step: Step,
    /// Parameters, filled in where that is possible by now.
    pub with: Map<String, Value>,
    /// In the order in which they are begun.
    pub targets: Vec<Target>,
    /// How many of them an agent could try now.
    pub reachable: usize,
    /// What its condition is now, on some target at least; nothing where that is known only later, or there is none.
    pub condition: Option<bool>,
    /// Targets on which its condition is false, where it is not on all of them.
    pub left_out: Vec<Target>,
    /// The target for which the parameters are filled in, where each has its own.
    pub with_of: Option<Target>,
    /// Whether it, or its undo, runs a command: the agents' own policies decide about those, and the mesh does not
    /// know them.
    pub by_policy: bool,
    pub gates: Vec<GateNow>,
    pub strategy: Option<String>,
    /// How many targets each wave of its own strategy adds.
    pub waves: Vec<usize>,
    pub point_of_no_return: bool,
    /// Why it has nothing to do, where that is known by now.
    pub omitted: Option<String>,
}

/// Something that the operator should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remark {
    pub severity: Severity,
    /// Nothing where it is about the whole plan.
    pub step: Option<StepName>,
    pub message: String,
    pub hint: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    Note,
    Warning,
    Problem,
}

/// Looks.
///
/// # Errors
/// Why a run cannot start at all: an input is missing, a bound is reached.
pub fn preview(state: &State, plan: &Plan, given: &BTreeMap<String, Value>, by: &Actor, wall: WallTime) -> Result<Preview, Refusal> {
    let inputs = input::resolve(&plan.inputs, given).map_err(|problem| Refusal::Invalid(format!("plan {}: {problem}", plan.name)))?;
    let connections = evaluate::connections(plan, &inputs).map_err(Refusal::Invalid)?;
    let mut copy = state.clone();
    let lacks_role = copy.lacks_role(plan, by);
    // What a run would do is for everybody to see, also for whom the mesh would refuse to start it.
    if let Actor::Identity(Identity::Operator(name)) = by {
        copy.operators.insert(name.clone(), OperatorRole::Admin);
    }
    let (run, at) = start(&mut copy, plan, given, connections, by, wall)?;
    copy.operators = state.operators.clone();
    let run = copy.runs.get(&run).ok_or_else(|| Refusal::Conflict("the run of the preview is gone".to_owned()))?.clone();
    let mut look = Look::new(&copy, &run, wall, at);
    let steps: Vec<StepPreview> = plan.steps.iter().map(|step| look.step(step)).collect();
    let gates = look.plan(plan);
    if let Some(refusal) = lacks_role {
        look.remark(Severity::Problem, None, refusal.to_string(), "");
    }
    look.commands(&steps);
    let approvals = asks(&copy, &run, &steps, by);
    let at_least = least::duration(&run, &steps);
    let mut remarks = look.remarks;
    remarks.sort_by_key(|remark| std::cmp::Reverse(remark.severity));
    Ok(Preview {
        inputs: inputs.into_iter().map(|(name, value)| (name.clone(), value, given.contains_key(&name))).collect(),
        steps,
        gates,
        remarks,
        notify: plan.notify.iter().map(words::notify).collect(),
        strategy: plan.strategy.as_ref().map(|strategy| words::strategy(strategy, plan.steps.iter().any(|step| step.undo.is_some()))),
        waves: Rollout::of_plan(&run).map(|rollout| waves(&rollout)).unwrap_or_default(),
        approvals,
        at_least,
    })
}

/// The waves of a rollout, each with its targets; nothing where there is only one.
fn waves(rollout: &Rollout<'_>) -> Vec<Vec<Target>> {
    let waves = rollout.strategy.wave_ends(rollout.targets.len()).len();
    if waves < 2 {
        return Vec::new();
    }
    (1..=waves).map(|wave| rollout.wave_targets(wave).into_iter().cloned().collect()).collect()
}

/// Who is asked on the way, for what is not skipped.
fn asks(state: &State, run: &Run, steps: &[StepPreview], by: &Actor) -> Vec<Ask> {
    let ask = |step: Option<&Step>, approval: &Approval| {
        let rollout = step.map_or_else(|| Rollout::of_plan(run), |step| Rollout::of_step(run, step));
        Ask {
            step: step.map(|step| step.name.clone()),
            by: approval.by,
            not_author: approval.not_author,
            times: outlook::times_asked(approval, rollout.as_ref().map(|rollout| rollout.strategy), rollout.as_ref().map_or(0, |r| r.targets.len())),
            expires: Some(approval.expires).filter(|expires| *expires < Millis(u64::MAX)),
            may_not: match by {
                Actor::Identity(caller) => outlook::may_not(state, approval.by, None, caller),
                Actor::Mesh => None,
            },
        }
    };
    let approvals = |gates: &'_ [Gate]| -> Vec<Approval> {
        gates.iter().filter_map(|gate| if let Gate::Approval(approval) = gate { Some(approval.clone()) } else { None }).collect()
    };
    let mut all: Vec<Ask> = approvals(&run.plan.gates).iter().map(|approval| ask(None, approval)).collect();
    for preview in steps.iter().filter(|preview| preview.omitted.is_none()) {
        let of_step = approvals(&preview.step.gates).into_iter().chain(approval::of_step(&preview.step));
        all.extend(of_step.map(|approval| ask(Some(&preview.step), &approval)));
    }
    all
}

/// Starts the run in the copy, whatever revision the mesh has.
fn start(
    copy: &mut State,
    plan: &Plan,
    given: &BTreeMap<String, Value>,
    connections: BTreeMap<StepName, String>,
    by: &Actor,
    wall: WallTime,
) -> Result<(RunId, MeshTime), Refusal> {
    let at = copy.mesh_time;
    let mut apply = |by: Actor, command: Command| copy.apply(&Entry { at, wall, by, key: None, command }).into_result();
    let revision = match apply(Actor::Mesh, Command::ApplyPlan { plan: Box::new(plan.clone()), bundled: false })? {
        Reply::Applied { revision, .. } => revision,
        other => return Err(Refusal::Conflict(format!("{other:?}"))),
    };
    let inputs = given.clone();
    let command = Command::StartRun { plan: plan.name.clone(), revision: Some(revision), inputs, connections, without_calendar: None };
    match apply(by.clone(), command)? {
        Reply::Started(run) => Ok((run, at)),
        other => Err(Refusal::Conflict(format!("{other:?}"))),
    }
}
