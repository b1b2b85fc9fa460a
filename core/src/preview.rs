//! What a run of a plan would do: where, in which order, behind which gates, and what is in its way. A pure look
//! at a copy of the state, in which the run is started and nothing else happens.

mod chart;
mod in_the_way;
mod least;
mod look;
mod nodes;
pub mod rights;
mod turns;
mod words;

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::command::{Actor, Command, Entry};
use crate::evaluate;
use crate::fact::Known;
use crate::id::{RunId, StepName, Target};
use crate::identity::Identity;
use crate::outlook::{self, GateNow};
use crate::plan::gate::{Approval, Gate};
use crate::plan::{self, Plan, Step, input};
use crate::reply::{Refusal, Reply};
use crate::rollout::Rollout;
use crate::state::State;
use crate::state::approval;
use crate::state::enrolment::OperatorRole;
use crate::state::run::{Direction, Run, WorkState};
use crate::time::{MeshTime, Millis, WallTime};
use look::Look;

pub use chart::unpinned;

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
    /// The step's condition, where only that decides whether anybody is asked, and it is known only later.
    pub only_if: Option<String>,
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
    /// What takes it back when the run fails or is aborted, where a step does.
    pub undo: Option<UndoPreview>,
    /// Who holds the step's lease, where it is not free.
    pub lease_held_by: Option<String>,
    pub strategy: Option<String>,
    /// How many targets each wave of its own strategy adds.
    pub waves: Vec<usize>,
    pub point_of_no_return: bool,
    /// Why it has nothing to do, where that is known by now.
    pub omitted: Option<String>,
}

/// What would take a step back.
#[derive(Debug, Clone, PartialEq)]
pub struct UndoPreview {
    pub uses: String,
    /// Parameters, filled in where that is possible by now.
    pub with: Map<String, Value>,
    /// The target for which they are filled in, where each has its own.
    pub with_of: Option<Target>,
}

impl UndoPreview {
    /// Of a step on these targets.
    #[must_use]
    pub fn of(state: &State, run: &Run, step: &Step, targets: &[&Target]) -> Option<UndoPreview> {
        let undo = step.undo.as_ref()?;
        let on = |target: Option<&&Target>| evaluate::foresee_undo(state, run, step, target.copied());
        let with = on(targets.first());
        let differs = targets.len() > 1 && evaluate::differs_by_target(run, step, Direction::Undo) && with != on(targets.last());
        Some(UndoPreview { uses: undo.uses.clone(), with, with_of: targets.first().filter(|_| differs).map(|target| (*target).clone()) })
    }
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

/// Who looks, when, and what they would say when they start the run.
#[derive(Debug, Clone, Copy)]
pub struct Looks<'a> {
    pub by: &'a Actor,
    pub wall: WallTime,
    /// Why windows and freezes would not count; nothing where they would.
    pub without_calendar: Option<&'a str>,
    /// What is known of the clusters' nodes.
    pub known: Known<'a>,
}

/// Looks.
///
/// # Errors
/// Why a run cannot start at all: an input is missing, a bound is reached.
pub fn preview(state: &State, plan: &Plan, given: &BTreeMap<String, Value>, looks: Looks<'_>) -> Result<Preview, Refusal> {
    let Looks { by, wall, without_calendar, known } = looks;
    let inputs = input::resolve(&plan.inputs, given).map_err(|problem| Refusal::Invalid(format!("plan {}: {problem}", plan.name)))?;
    let connections = evaluate::connections(plan, &inputs).map_err(Refusal::Invalid)?;
    let mut copy = state.clone();
    let lacks_role = copy.lacks_role(plan, by);
    // What a run would do is for everybody to see, also for whom the mesh would refuse to start it.
    if let Actor::Identity(Identity::Operator(name)) = by {
        copy.operators.insert(name.clone(), OperatorRole::Admin);
    }
    let (run, at) = start(&mut copy, plan, given, connections, looks)?;
    copy.operators = state.operators.clone();
    let mut run = copy.runs.get(&run).ok_or_else(|| Refusal::Conflict("the run of the preview is gone".to_owned()))?.clone();
    run.without_calendar = without_calendar.map(str::to_owned);
    leave_out(&copy, &mut run);
    let mut look = Look::new(&copy, &run, wall, at);
    let steps: Vec<StepPreview> = plan.steps.iter().map(|step| look.step(step)).collect();
    let gates = look.plan(plan);
    if let Some(refusal) = lacks_role {
        look.remark(Severity::Problem, None, refusal.to_string(), "");
    }
    look.commands(&steps);
    let approvals = asks(&copy, &run, &steps, by);
    let times = least::Times::of(&run, &steps);
    look.people(&approvals, by);
    look.calendar(&steps, &times);
    look.leases(&steps);
    look.overtaken(plan, &times);
    look.turns(&steps);
    look.nodes(&steps, known);
    let at_least = times.at_least;
    let remarks = sorted(look.remarks);
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

/// What is in the way of what a run that is to go on has not done yet.
#[must_use]
pub fn in_the_way(state: &State, run: &RunId, wall: WallTime) -> Vec<Remark> {
    let Some(run) = state.runs.get(run) else { return Vec::new() };
    let mut look = Look::new(state, run, wall, state.mesh_time);
    let steps: Vec<StepPreview> = run.plan.steps.iter().filter_map(|step| look.open_step(step)).collect();
    let gates = &run.plan.gates;
    gates.iter().for_each(|gate| drop(look.gate(None, gate, steps.is_empty())));
    look.leases(&steps);
    look.turns(&steps);
    sorted(look.remarks)
}

impl Preview {
    /// With what somebody else has found out.
    pub fn remark(&mut self, remarks: impl IntoIterator<Item = Remark>) {
        self.remarks.extend(remarks);
        self.remarks = sorted(std::mem::take(&mut self.remarks));
    }
}

/// The worst first.
fn sorted(mut remarks: Vec<Remark>) -> Vec<Remark> {
    remarks.sort_by_key(|remark| std::cmp::Reverse(remark.severity));
    let mut told: Vec<Remark> = Vec::new();
    remarks.retain(|remark| {
        !told.contains(remark) && {
            told.push(remark.clone());
            true
        }
    });
    remarks
}

/// Leaves out what a condition leaves out that is known now, so that what reads such a step reads that it has nothing
/// to hand on.
fn leave_out(state: &State, run: &mut Run) {
    let graph: Vec<(&StepName, &[StepName])> = run.plan.steps.iter().map(|step| (&step.name, step.needs.as_slice())).collect();
    let order: Vec<StepName> = plan::order(&graph).map(|order| order.into_iter().cloned().collect()).unwrap_or_default();
    for name in order {
        let Some(step) = run.plan.step(&name).filter(|step| step.condition.is_some()).cloned() else { continue };
        let open = run.work.get(&name).into_iter().flatten().filter(|(_, work)| work.forward.is_waiting()).map(|(target, _)| target);
        let is_out = |target: &&Target| evaluate::foresee(state, run, &step, Some(target)).condition == Some(false);
        let out: Vec<Target> = open.take(look::LOOKED_AT).filter(is_out).cloned().collect();
        for target in out {
            if let Some(work) = run.work.get_mut(&name).and_then(|works| works.get_mut(&target)) {
                work.forward = WorkState::Omitted { reason: format!("its `if` is false: {}", step.condition.as_deref().unwrap_or_default()) };
            }
        }
    }
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
    let ask = |preview: Option<&StepPreview>, approval: &Approval| {
        let step = preview.map(|preview| &preview.step);
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
            only_if: preview.filter(|preview| preview.condition.is_none()).and_then(|preview| preview.step.condition.clone()),
        }
    };
    let approvals = |gates: &'_ [Gate]| -> Vec<Approval> {
        gates.iter().filter_map(|gate| if let Gate::Approval(approval) = gate { Some(approval.clone()) } else { None }).collect()
    };
    let mut all: Vec<Ask> = approvals(&run.plan.gates).iter().map(|approval| ask(None, approval)).collect();
    for preview in steps.iter().filter(|preview| preview.omitted.is_none()) {
        let of_step = approvals(&preview.step.gates).into_iter().chain(approval::of_step(&preview.step));
        all.extend(of_step.map(|approval| ask(Some(preview), &approval)));
    }
    all
}

/// Starts the run in the copy, whatever revision the mesh has.
fn start(
    copy: &mut State,
    plan: &Plan,
    given: &BTreeMap<String, Value>,
    connections: BTreeMap<StepName, String>,
    looks: Looks<'_>,
) -> Result<(RunId, MeshTime), Refusal> {
    let (by, wall, at) = (looks.by, looks.wall, copy.mesh_time);
    // A run of a bundled plan leaves out what the mesh has not got.
    let current = copy.plans.get(&plan.name).and_then(|history| history.current());
    let bundled = current.is_some_and(|(_, current)| current.bundled && current.plan.digest == plan.digest);
    let mut apply = |by: Actor, command: Command| copy.apply(&Entry { at, wall, by, key: None, command }).into_result();
    let revision = match apply(Actor::Mesh, Command::ApplyPlan { plan: Box::new(plan.clone()), bundled })? {
        Reply::Applied { revision, .. } => revision,
        other => return Err(Refusal::Conflict(format!("{other:?}"))),
    };
    let inputs = given.clone();
    let command = Command::StartRun { plan: plan.name.clone(), revision: Some(revision), inputs, connections, without_calendar: None, object: None };
    match apply(by.clone(), command)? {
        Reply::Started(run) => Ok((run, at)),
        other => Err(Refusal::Conflict(format!("{other:?}"))),
    }
}
