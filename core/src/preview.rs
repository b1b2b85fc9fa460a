//! What a run of a plan would do: where, in which order, behind which gates, and what is in its way. A pure look
//! at a copy of the state, in which the run is started and nothing else happens.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::almanac;
use crate::catalogue::{self, Effect, Scope, Undo};
use crate::command::{Actor, Command, Entry};
use crate::evaluate;
use crate::id::{RunId, Target};
use crate::plan::gate::Gate;
use crate::plan::{Plan, RunOn, Step, Strategy, input};
use crate::reply::{Refusal, Reply};
use crate::rollout::Rollout;
use crate::seen::Opening;
use crate::state::State;
use crate::state::resolution::Resolution;
use crate::state::run::{Direction, Run, WorkState};
use crate::time::{MeshTime, Millis, WallTime};

/// What there is to see.
#[derive(Debug, Clone, PartialEq)]
pub struct Preview {
    pub inputs: Vec<(String, Value, bool)>,
    pub steps: Vec<StepPreview>,
    /// Those of the whole plan.
    pub gates: Vec<GatePreview>,
    pub remarks: Vec<Remark>,
    pub notify: Vec<String>,
    /// How all steps on nodes go together.
    pub strategy: Option<String>,
}

/// One step.
#[derive(Debug, Clone, PartialEq)]
pub struct StepPreview {
    pub step: Step,
    /// Parameters, filled in where that is possible by now.
    pub with: Map<String, Value>,
    /// In the order in which they are begun.
    pub targets: Vec<Target>,
    /// How many of them an agent could do now.
    pub reachable: usize,
    /// What its condition is now; nothing where that is known only later, or there is none.
    pub condition: Option<bool>,
    pub gates: Vec<GatePreview>,
    pub strategy: Option<String>,
    /// How many targets each wave adds.
    pub waves: Vec<usize>,
    pub point_of_no_return: bool,
    /// Why it has nothing to do, where that is known by now.
    pub omitted: Option<String>,
}

/// A gate as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatePreview {
    pub gate: String,
    pub state: GateState,
    pub evidence: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GateState {
    Open,
    Closed,
    Unknown,
}

/// Something that the operator should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remark {
    pub severity: Severity,
    /// Nothing where it is about the whole plan.
    pub step: Option<crate::id::StepName>,
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
    let (run, at) = start(&mut copy, plan, given, connections, by, wall)?;
    let run = copy.runs.get(&run).ok_or_else(|| Refusal::Conflict("the run of the preview is gone".to_owned()))?.clone();
    let mut look = Look { state: &copy, run: &run, wall, at, remarks: Vec::new(), stands: true };
    let steps = plan.steps.iter().map(|step| look.step(step)).collect();
    let gates = look.plan(plan);
    let mut remarks = look.remarks;
    remarks.sort_by_key(|remark| std::cmp::Reverse(remark.severity));
    Ok(Preview {
        inputs: inputs.into_iter().map(|(name, value)| (name.clone(), value, given.contains_key(&name))).collect(),
        steps,
        gates,
        remarks,
        notify: plan.notify.iter().map(|notify| format!("{} → {}: not sent: no notifier", words(&notify.when), notify.route)).collect(),
        strategy: plan.strategy.as_ref().map(in_words),
    })
}

/// Starts the run in the copy, whatever revision the mesh has.
fn start(
    copy: &mut State,
    plan: &Plan,
    given: &BTreeMap<String, Value>,
    connections: BTreeMap<crate::id::StepName, String>,
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

struct Look<'a> {
    state: &'a State,
    run: &'a Run,
    wall: WallTime,
    at: MeshTime,
    remarks: Vec<Remark>,
    /// Whether everything so far can be taken back.
    stands: bool,
}

impl Look<'_> {
    fn remark(&mut self, severity: Severity, step: Option<&Step>, message: impl Into<String>, hint: impl Into<String>) {
        let step = step.map(|step| step.name.clone());
        self.remarks.push(Remark { severity, step, message: message.into(), hint: hint.into() });
    }

    fn step(&mut self, step: &Step) -> StepPreview {
        let rollout = Rollout::of_step(self.run, step);
        let works = self.run.work.get(&step.name);
        let targets: Vec<Target> = match &rollout {
            Some(rollout) => rollout.targets.iter().map(|(target, _)| (*target).clone()).collect(),
            None => works.into_iter().flat_map(|targets| targets.keys().cloned()).collect(),
        };
        let never = works.into_iter().flat_map(|works| works.values()).find(|work| work.forward.is_over()).map(|work| work.forward.clone());
        let (with, condition) = self.filled(step);
        let reachable = self.reachable(step, &targets, never.is_some() || condition == Some(false));
        let omitted = match (never, &step.condition) {
            (Some(WorkState::Omitted { reason }), _) => Some(reason),
            (Some(state), _) => {
                self.remark(Severity::Problem, Some(step), state.detail(), "");
                None
            }
            (None, Some(written)) if condition == Some(false) => Some(format!("its `if` is false: {written}")),
            (None, _) => None,
        };
        let waves = rollout.as_ref().map(|rollout| {
            let ends = rollout.strategy.wave_ends(targets.len());
            ends.iter().scan(0, |before, end| Some(end - std::mem::replace(before, *end))).collect()
        });
        let undoable = catalogue::kind(&step.uses).is_none_or(|kind| match kind.undo {
            Undo::Nothing | Undo::Reversible => true,
            Undo::Compensated => step.undo.is_some(),
            Undo::Irreversible => false,
        });
        let point_of_no_return = self.stands && !undoable && catalogue::kind(&step.uses).is_some_and(|kind| kind.effect != Effect::Read);
        self.stands &= undoable;
        if point_of_no_return && self.run.plan.steps.iter().any(|other| other.undo.is_some()) {
            self.remark(Severity::Warning, Some(step), "what is done here is not taken back when a later step fails", "give it an `undo`");
        }
        StepPreview {
            step: step.clone(),
            with,
            reachable,
            condition,
            gates: step.gates.iter().map(|gate| self.gate(Some(step), gate)).collect(),
            strategy: step.strategy.as_ref().map(in_words),
            waves: waves.unwrap_or_default(),
            targets,
            point_of_no_return,
            omitted,
        }
    }

    /// How many targets an agent could do now; who would have to be there for the others is a remark.
    fn reachable(&mut self, step: &Step, targets: &[Target], never: bool) -> usize {
        let Some(kind) = catalogue::kind(&step.uses) else { return 0 };
        if kind.scope == Scope::Mesh || never {
            return if never { 0 } else { targets.len() };
        }
        let agents = &self.state.agents;
        let able = |target: &Target| match target {
            Target::Node(id) => agents.get(id).is_some_and(|agent| agent.is_up() && agent.can(kind.name)),
            Target::Once => {
                agents.values().any(|agent| agent.is_up() && agent.can(kind.name) && (kind.scope != Scope::Host || agent.speaks_for_host()))
            }
            Target::Connection(name) => agents.values().any(|agent| {
                agent.is_up() && agent.can(kind.name) && agent.connection(name).is_some_and(|own| kind.connection.kinds().contains(&own))
            }),
        };
        let reachable = targets.iter().filter(|target| able(target)).count();
        let lacking: Vec<String> = targets.iter().filter(|target| !able(target)).take(3).map(ToString::to_string).collect();
        if !lacking.is_empty() {
            let more = targets.len() - reachable - lacking.len();
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            let hint = match targets.first() {
                Some(Target::Connection(name)) => {
                    format!("add to an agent's connections.toml:  [connections.{name}]  kind = \"{}\"", kind.connection.kinds().join("|"))
                }
                _ if kind.effect == Effect::Read => "see `mainstay node list`".to_owned(),
                _ => format!("allow it in the agent's policy:  [policy] allow = [\"{}\"]; see `mainstay node list`", kind.name),
            };
            self.remark(Severity::Problem, Some(step), format!("no connected agent can do it now on {}{more}", lacking.join(", ")), hint);
        }
        reachable
    }

    /// The parameters with what is known by now, and the condition.
    fn filled(&mut self, step: &Step) -> (Map<String, Value>, Option<bool>) {
        if !evaluate::has_expressions(step, Direction::Do) {
            return (step.with.clone(), None);
        }
        let evaluation = evaluate::Evaluation { run: self.run.id.clone(), step: step.name.clone(), direction: Direction::Do };
        let waits_for_steps = !step.needs.is_empty();
        let Some(Command::ResolveStep { resolved, .. }) = evaluate::evaluate(self.state, &evaluation) else { return (step.with.clone(), None) };
        let has_condition = step.condition.is_some();
        match resolved.into_iter().next().map(|(_, resolution)| resolution) {
            Some(Resolution::Go { with }) => (with.unwrap_or_else(|| step.with.clone()), has_condition.then_some(true)),
            Some(Resolution::Omit { .. }) => (step.with.clone(), Some(false)),
            // What reads outputs of earlier steps has no value before they have ended.
            Some(Resolution::Fail { message }) if !waits_for_steps => {
                self.remark(Severity::Problem, Some(step), message, "");
                (step.with.clone(), None)
            }
            _ => (step.with.clone(), None),
        }
    }

    fn gate(&mut self, step: Option<&Step>, gate: &Gate) -> GatePreview {
        let (state, evidence) = self.judged(gate);
        if state != GateState::Open && !matches!(gate, Gate::Approval(_)) {
            self.remark(Severity::Warning, step, format!("it would wait: {gate}: {evidence}"), "");
        }
        GatePreview { gate: gate.to_string(), state, evidence }
    }

    fn judged(&self, gate: &Gate) -> (GateState, String) {
        match gate {
            Gate::Window(_) | Gate::Freeze(_) => match almanac::opening(gate, self.wall) {
                Opening::Open { .. } => (GateState::Open, "open now".to_owned()),
                Opening::Closed { evidence, .. } => (GateState::Closed, evidence),
            },
            Gate::Approval(_) => (GateState::Closed, "asked for when it is reached".to_owned()),
            Gate::Declared(declared) => (GateState::Unknown, declared.unknown()),
            Gate::Lease { name } => {
                let held = self.state.leases.iter().find(|(own, lease)| catalogue::fits(name, own.as_str()) && !lease.held.is_empty());
                match held {
                    None => (GateState::Open, "free now".to_owned()),
                    Some((name, lease)) => {
                        let by: Vec<String> = lease.held.iter().take(3).map(|held| held.holder.identity.to_string()).collect();
                        (GateState::Closed, format!("{name} is held by {}", by.join(", ")))
                    }
                }
            }
            Gate::Health { plan, max_age } => match crate::decide::healthy(self.state, plan, *max_age, self.at) {
                Ok(()) => (GateState::Open, "well".to_owned()),
                Err(evidence) if evidence.starts_with("unknown") => (GateState::Unknown, evidence),
                Err(evidence) => (GateState::Closed, evidence),
            },
        }
    }

    fn plan(&mut self, plan: &Plan) -> Vec<GatePreview> {
        let open = self.state.runs.values().find(|run| run.id.plan == plan.name && run.id != self.run.id && !run.is_ended());
        if let Some(open) = open {
            self.remark(Severity::Note, None, format!("run {} of it has not ended", open.id), format!("mainstay why {}", open.id));
        }
        if plan.strategy.is_some() && !plan.steps.iter().any(|step| step.run_on == RunOn::Node) {
            self.remark(Severity::Note, None, "its strategy is about steps that are done to nodes, and it has none", "");
        }
        plan.gates.iter().map(|gate| self.gate(None, gate)).collect()
    }
}

fn words(events: &[crate::plan::schedule::Event]) -> String {
    let word =
        |event: &crate::plan::schedule::Event| crate::plan::schedule::Event::ALL.iter().find(|(own, _)| own == event).map_or("", |(_, word)| word);
    events.iter().map(word).collect::<Vec<_>>().join(", ")
}

/// A strategy in a sentence.
fn in_words(strategy: &Strategy) -> String {
    use crate::plan::strategy::Order;
    let order = match strategy.order {
        Order::Name => "by name",
        Order::Reverse => "by name, from the end",
        Order::Spread => "in mixed order",
    };
    let mut text = format!("{order}, at most {} unavailable at once", strategy.max_unavailable);
    if !strategy.waves.is_empty() {
        let waves: Vec<String> = strategy.waves.iter().map(ToString::to_string).collect();
        text += &format!(", in waves up to {}, then the rest", waves.join(", "));
    }
    if strategy.soak > Millis::ZERO {
        text += &format!(", {} after each wave", strategy.soak);
    }
    text + &format!(", stops after more than {} failed", strategy.failure_budget)
}
