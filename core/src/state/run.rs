//! Runs: one execution of one plan revision, its work items, and how it ends.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use imbl::OrdMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

pub use super::outcome::Outcome;
pub use super::work::{Work, WorkState};
use super::{State, When};
use crate::bounds;
use crate::catalogue::{self, Kind, Scope};
use crate::command::Actor;
use crate::id::{ConnectionName, PlanName, RunId, StepName, Target};
use crate::plan::{OnUnknown, Plan, Retry, RunOn, Step};
use crate::reply::{Refusal, Reply};
use crate::report::Verdict;
use crate::time::{MeshTime, Millis, WallTime};

/// One execution of a plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    pub id: RunId,
    pub revision: u32,
    /// The plan as it was when the run started, without its source text.
    pub plan: Arc<Plan>,
    pub inputs: BTreeMap<String, Value>,
    pub by: String,
    pub phase: RunPhase,
    pub abort: Option<Abort>,
    pub work: OrdMap<StepName, OrdMap<Target, Work>>,
    pub started_at: MeshTime,
    pub started: WallTime,
    pub ended: Option<WallTime>,
    /// How long it took, in mesh time.
    pub took: Millis,
    /// When the last work item moved in the direction the run goes; what waits for an agent counts from here.
    pub moved_at: MeshTime,
    order: u64,
    /// Bytes that plan and work items add to [`State::weight`].
    #[serde(default)]
    weight: u64,
}

/// Where a run stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum RunPhase {
    Running,
    Undoing,
    Ended(RunEnd),
}

/// Somebody wants it to stop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Abort {
    pub by: String,
    pub reason: String,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunEnd {
    pub outcome: RunOutcome,
    pub undo: UndoEnd,
    /// The worst of all verdicts and outcomes.
    pub verdict: Verdict,
}

/// Whether all that was to be done has been done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunOutcome {
    Completed,
    Failed,
    Aborted,
}

/// What became of taking it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UndoEnd {
    NotNeeded,
    Done,
    /// Something that was done is still in place: a person has to look.
    Incomplete,
}

/// Forward, or back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    Do,
    Undo,
}

/// Why what waited in an aborted run is skipped.
pub(super) const ABORTED: &str = "the run was aborted";
/// All inputs of a run, as JSON.
const INPUTS_MAX: usize = 64 << 10;
/// Bytes that a work item and its attempts weigh, near enough; reports are counted when they come.
const WORK_WEIGHT: u64 = 512;

impl RunEnd {
    /// Whether whoever waits for the run is to be told that it went wrong.
    #[must_use]
    pub fn is_bad(&self) -> bool {
        self.outcome != RunOutcome::Completed || self.verdict.is_bad()
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Direction::Do => "do",
            Direction::Undo => "undo",
        })
    }
}

impl RunOutcome {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            RunOutcome::Completed => "completed",
            RunOutcome::Failed => "failed",
            RunOutcome::Aborted => "aborted",
        }
    }
}

impl UndoEnd {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            UndoEnd::NotNeeded => "not needed",
            UndoEnd::Done => "done",
            UndoEnd::Incomplete => "incomplete",
        }
    }
}

impl fmt::Display for RunEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, verdict {}", self.outcome.as_str(), self.verdict)?;
        match self.undo {
            UndoEnd::NotNeeded => Ok(()),
            UndoEnd::Done => f.write_str(", undone"),
            UndoEnd::Incomplete => f.write_str(", undo incomplete"),
        }
    }
}

impl Run {
    #[must_use]
    pub fn is_ended(&self) -> bool {
        matches!(self.phase, RunPhase::Ended(_))
    }

    #[must_use]
    pub fn end(&self) -> Option<&RunEnd> {
        match &self.phase {
            RunPhase::Ended(end) => Some(end),
            _ => None,
        }
    }

    /// Whether attempts in this direction may be offered.
    #[must_use]
    pub fn accepts(&self, direction: Direction) -> bool {
        match direction {
            Direction::Do => self.phase == RunPhase::Running && self.abort.is_none(),
            Direction::Undo => self.phase == RunPhase::Undoing,
        }
    }

    pub fn works(&self) -> impl Iterator<Item = (&StepName, &Target, &Work)> {
        self.work.iter().flat_map(|(step, targets)| targets.iter().map(move |(target, work)| (step, target, work)))
    }

    /// Bytes that the run adds to [`State::weight`], besides its reports.
    pub(crate) fn weight(&self) -> u64 {
        self.weight
    }

    #[must_use]
    pub fn work(&self, step: &StepName, target: &Target) -> Option<&Work> {
        self.work.get(step)?.get(target)
    }

    pub(super) fn work_mut(&mut self, step: &StepName, target: &Target) -> Option<&mut Work> {
        self.work.get_mut(step)?.get_mut(target)
    }

    pub(super) fn next_order(&mut self) -> u64 {
        self.order += 1;
        self.order
    }

    /// Nothing that waits in this direction will be done any more.
    fn skip_waiting(&mut self, direction: Direction, reason: &str, when: When) {
        let has_direction = |work: &Work| direction == Direction::Do || work.undo.is_some();
        let waiting: Vec<(StepName, Target)> = self
            .works()
            .filter(|(_, _, work)| has_direction(work) && work.state(direction).is_waiting())
            .map(|(step, target, _)| (step.clone(), target.clone()))
            .collect();
        for (step, target) in waiting {
            let order = self.next_order();
            if let Some(work) = self.work_mut(&step, &target) {
                work.skipped(direction, WorkState::Skipped { reason: reason.to_owned() }, order, when.at);
            }
        }
    }

    /// Whether a work item went well enough for what needs its step.
    #[must_use]
    pub fn passed(&self, step: &Step, work: &Work) -> bool {
        match &work.forward {
            WorkState::Succeeded { verdict } => !verdict.is_bad() || (*verdict == Verdict::Unknown && step.on_unknown == OnUnknown::Continue),
            WorkState::Unknown { .. } | WorkState::Unreachable { .. } => step.on_unknown == OnUnknown::Continue,
            WorkState::Omitted { .. } => true,
            _ => false,
        }
    }

    /// Kind, timeout and retries of a step in one direction.
    #[must_use]
    pub fn kind_of(&self, step: &StepName, direction: Direction) -> Option<&str> {
        let step = self.plan.step(step)?;
        match direction {
            Direction::Do => Some(&step.uses),
            Direction::Undo => step.undo.as_ref().map(|undo| undo.uses.as_str()),
        }
    }

    #[must_use]
    pub fn timeout_of(&self, step: &StepName, direction: Direction) -> Option<Millis> {
        let step = self.plan.step(step)?;
        match direction {
            Direction::Do => Some(step.timeout),
            Direction::Undo => step.undo.as_ref().map(|undo| undo.timeout),
        }
    }

    #[must_use]
    pub fn retry_of(&self, step: &StepName, direction: Direction) -> Option<Retry> {
        let step = self.plan.step(step)?;
        match direction {
            Direction::Do => Some(step.retry),
            Direction::Undo => step.undo.as_ref().map(|undo| undo.retry),
        }
    }

    #[must_use]
    pub fn with_of(&self, step: &StepName, direction: Direction) -> Option<&serde_json::Map<String, Value>> {
        let step = self.plan.step(step)?;
        match direction {
            Direction::Do => Some(&step.with),
            Direction::Undo => step.undo.as_ref().map(|undo| &undo.with),
        }
    }

    /// Names who looks, for findings: the same kind with the same parameters on the same target is the
    /// same check, whichever plan it is in.
    #[must_use]
    pub fn source_of(&self, step: &StepName, target: &Target) -> Option<String> {
        let step = self.plan.step(step)?;
        let with = Value::Object(step.with.clone()).to_string();
        let digest: String = Sha256::digest(with.as_bytes()).iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        Some(format!("{} on {target} ({digest})", step.uses))
    }

    /// As [`Run::works`], with the steps themselves, in the order of the plan.
    fn steps(&self) -> impl Iterator<Item = (&Step, &Target, &Work)> {
        self.plan
            .steps
            .iter()
            .filter_map(|step| Some((step, self.work.get(&step.name)?)))
            .flat_map(|(step, targets)| targets.iter().map(move |(target, work)| (step, target, work)))
    }

    /// Whether the forward direction went wrong: something failed, was stopped, is unknown, or was held back
    /// by that.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.steps().any(|(step, _, work)| match &work.forward {
            WorkState::Failed { .. } | WorkState::Skipped { .. } | WorkState::Cancelled => true,
            WorkState::Unknown { .. } | WorkState::Unreachable { .. } => step.on_unknown != OnUnknown::Continue,
            _ => false,
        })
    }

    /// Whether the run is to be undone now: it failed or was aborted, nothing is active any more, and
    /// there is something to take back.
    #[must_use]
    pub fn is_to_undo(&self) -> bool {
        self.phase == RunPhase::Running && self.forward_is_over() && (self.abort.is_some() || self.has_failed()) && self.steps().any(has_undo)
    }

    fn forward_is_over(&self) -> bool {
        self.works().all(|(_, _, work)| work.forward.is_over())
    }

    /// How the run ends, if it ends now.
    #[must_use]
    pub fn conclusion(&self) -> Option<RunEnd> {
        let undo = match &self.phase {
            RunPhase::Ended(_) => return None,
            RunPhase::Running if !self.forward_is_over() || self.is_to_undo() => return None,
            RunPhase::Running if self.leaves_half_done() && (self.abort.is_some() || self.has_failed()) => UndoEnd::Incomplete,
            RunPhase::Running => UndoEnd::NotNeeded,
            RunPhase::Undoing => {
                let states: Vec<&WorkState> = self.works().filter_map(|(_, _, work)| work.undo.as_ref()).collect();
                let stuck = states.iter().any(|state| state.is_over() && !matches!(state, WorkState::Succeeded { .. }));
                let active = states.iter().any(|state| matches!(state, WorkState::Active { .. }));
                let waiting = states.iter().any(|state| state.is_waiting());
                if active || (waiting && !stuck) {
                    return None;
                }
                if stuck || self.leaves_half_done() { UndoEnd::Incomplete } else { UndoEnd::Done }
            }
        };
        let outcome = if self.abort.is_some() {
            RunOutcome::Aborted
        } else if self.has_failed() {
            RunOutcome::Failed
        } else {
            RunOutcome::Completed
        };
        Some(RunEnd { outcome, undo, verdict: self.verdict() })
    }

    /// Whether part of a step that has an undo may be in place: nobody can say how to take back a part.
    fn leaves_half_done(&self) -> bool {
        self.steps().any(|(step, _, work)| work.half_done && step.undo.is_some())
    }

    /// The worst verdict so far.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        self.works().map(|(_, _, work)| work.forward.verdict()).max().unwrap_or_default()
    }
}

/// Whether something has been done that would have to be taken back, and can be.
fn has_undo((step, _, work): (&Step, &Target, &Work)) -> bool {
    step.undo.is_some() && matches!(work.forward, WorkState::Succeeded { .. })
}

impl State {
    pub(super) fn start_run(&mut self, plan: &PlanName, revision: Option<u32>, inputs: &BTreeMap<String, Value>, by: &Actor, when: When) -> Reply {
        if self.runs.values().filter(|run| !run.is_ended()).count() >= bounds::RUNS_OPEN {
            return Reply::Refused(Refusal::Bound { what: "open runs".into(), limit: bounds::RUNS_OPEN as u64 });
        }
        let not_found = |what: String| Reply::Refused(Refusal::NotFound { what, hint: "see `mainstay plan list`".into() });
        let Some(history) = self.plans.get(plan) else { return not_found(format!("plan {plan}")) };
        let chosen = match revision {
            None => history.current(),
            Some(number) => history.revisions.get(&number).map(|revision| (number, revision)),
        };
        let Some((number, chosen)) = chosen else { return not_found(format!("such revision of plan {plan}")) };
        // Inputs are declared by a later version of the plan language; what nobody declared is refused.
        if let Some(name) = inputs.keys().next() {
            return Reply::Refused(Refusal::Invalid(format!("plan {plan} has no input `{name}`")));
        }
        if Value::Object(inputs.clone().into_iter().collect()).to_string().len() > INPUTS_MAX {
            return Reply::Refused(Refusal::Bound { what: "bytes of inputs".into(), limit: INPUTS_MAX as u64 });
        }
        let definition = Arc::new(Plan { source: String::new(), ..chosen.plan.clone() });
        let work: OrdMap<StepName, OrdMap<Target, Work>> = definition.steps.iter().map(|step| (step.name.clone(), self.targets(step))).collect();
        let items: usize = work.values().map(OrdMap::len).sum();
        if items > bounds::RUN_WORK {
            return Reply::Refused(Refusal::Bound { what: "steps times targets".into(), limit: bounds::RUN_WORK as u64 });
        }
        let weight = chosen.plan.weight() + items as u64 * WORK_WEIGHT;
        let Some(history) = self.plans.get_mut(plan) else { return not_found(format!("plan {plan}")) };
        self.weight += weight;
        history.runs += 1;
        let id = RunId { plan: plan.clone(), number: history.runs };
        self.runs.insert(
            id.clone(),
            Run {
                id: id.clone(),
                revision: number,
                plan: definition,
                inputs: inputs.clone(),
                by: by.to_string(),
                phase: RunPhase::Running,
                abort: None,
                work,
                started_at: when.at,
                started: when.wall,
                ended: None,
                took: Millis::ZERO,
                moved_at: when.at,
                order: 0,
                weight,
            },
        );
        Reply::Started(id)
    }

    /// The targets of a step as the mesh is now. A node that joins later is not in this run.
    fn targets(&self, step: &Step) -> OrdMap<Target, Work> {
        let kind = catalogue::kind(&step.uses);
        if let Some((kind, pattern)) = kind.and_then(|kind| Some((kind, kind.connection.pattern(&step.with)?))) {
            return self.connection_targets(kind, pattern);
        }
        let scope = kind.map_or(Scope::Any, |kind| kind.scope);
        let targets: OrdMap<Target, Work> = match step.run_on {
            RunOn::Once => std::iter::once((Target::Once, Work::new(WorkState::Waiting))).collect(),
            RunOn::Node => self
                .agents
                .iter()
                .filter(|(_, agent)| agent.hello.is_some() && (scope == Scope::Any || agent.speaks_for_host()))
                .map(|(id, _)| (Target::Node(id.clone()), Work::new(WorkState::Waiting)))
                .collect(),
        };
        if targets.is_empty() {
            let reason = "no node has an agent that could do it: see `mainstay node list`".to_owned();
            return std::iter::once((Target::Once, Work::new(WorkState::Unreachable { reason }))).collect();
        }
        targets
    }

    /// Every connection of the right kind that fits. A name is a target also while nobody has it: somebody
    /// expects it to be there.
    fn connection_targets(&self, kind: &Kind, pattern: &str) -> OrdMap<Target, Work> {
        let kinds = kind.connection.kinds();
        if let Ok(name) = pattern.parse::<ConnectionName>() {
            return std::iter::once((Target::Connection(name), Work::new(WorkState::Waiting))).collect();
        }
        let known = self.agents.values().filter_map(|agent| agent.hello.as_ref()).flat_map(|hello| &hello.connections);
        let fitting = known.filter(|own| kinds.contains(&own.kind.as_str()) && catalogue::fits(pattern, own.name.as_str()));
        let targets: OrdMap<Target, Work> = fitting.map(|own| (Target::Connection(own.name.clone()), Work::new(WorkState::Waiting))).collect();
        if targets.is_empty() {
            let first = kinds.first().copied().unwrap_or_default();
            let reason =
                format!("no connection of kind {first}: add to an agent's connections.toml:  [connections.NAME]  kind = \"{first}\"  url = …");
            return std::iter::once((Target::Once, Work::new(WorkState::Omitted { reason }))).collect();
        }
        targets
    }

    /// What has not been offered will not be; what an agent has is stopped by the leader's next decision.
    pub(super) fn abort_run(&mut self, id: &RunId, reason: &str, by: &Actor, when: When) -> Reply {
        let Some(run) = self.runs.get_mut(id) else {
            return Reply::Refused(Refusal::NotFound { what: format!("run {id}"), hint: "see `mainstay run list`".into() });
        };
        if let Some(end) = run.end() {
            return Reply::Refused(Refusal::Conflict(format!("run {id} has ended already: {end}")));
        }
        if reason.len() > bounds::REASON_BYTES {
            return Reply::Refused(Refusal::Bound { what: "bytes of reason".into(), limit: bounds::REASON_BYTES as u64 });
        }
        if run.abort.is_none() {
            run.abort = Some(Abort { by: by.to_string(), reason: reason.to_owned() });
            run.skip_waiting(Direction::Do, ABORTED, when);
        }
        Reply::Done
    }

    pub(super) fn skip_step(&mut self, id: &RunId, step: &StepName, target: &Target, direction: Direction, state: &WorkState, when: When) -> Reply {
        let Some(run) = self.runs.get_mut(id).filter(|run| run.accepts(direction)) else {
            return Reply::Stale(format!("run {id} does not go that way now"));
        };
        let order = run.order + 1;
        match run.work_mut(step, target) {
            Some(work) if work.state(direction).is_waiting() && matches!(state, WorkState::Skipped { .. } | WorkState::Unreachable { .. }) => {
                work.skipped(direction, state.clone(), order, when.at);
                run.order = order;
                run.moved_at = when.at;
                Reply::Done
            }
            _ => Reply::Stale(format!("{id}/{step} on {target} is not waiting")),
        }
    }

    pub(super) fn begin_undo(&mut self, id: &RunId, when: When) -> Reply {
        let Some(run) = self.runs.get_mut(id).filter(|run| run.is_to_undo()) else {
            return Reply::Stale(format!("run {id} is not to be undone now"));
        };
        let undo: Vec<(StepName, Target)> =
            run.steps().filter(|item| has_undo(*item)).map(|(step, target, _)| (step.name.clone(), target.clone())).collect();
        for (step, target) in undo {
            if let Some(work) = run.work_mut(&step, &target) {
                work.undo = Some(WorkState::Waiting);
            }
        }
        run.phase = RunPhase::Undoing;
        run.moved_at = when.at;
        Reply::Done
    }

    pub(super) fn end_run(&mut self, id: &RunId, end: &RunEnd, when: When) -> Reply {
        let Some(run) = self.runs.get_mut(id).filter(|run| run.conclusion().as_ref() == Some(end)) else {
            return Reply::Stale(format!("run {id} does not end like that now"));
        };
        run.phase = RunPhase::Ended(*end);
        run.skip_waiting(Direction::Undo, "what came after it was not taken back", when);
        run.ended = Some(when.wall);
        run.took = when.at.since(run.started_at);
        self.prune_runs(&id.plan);
        Reply::Done
    }

    /// Drops the oldest ended runs of a plan beyond its history limit; and of all plans while the state is
    /// more than half full, but for the newest of each.
    fn prune_runs(&mut self, plan: &PlanName) {
        let ended: Vec<RunId> = self.runs.values().filter(|run| run.id.plan == *plan && run.is_ended()).map(|run| run.id.clone()).collect();
        for id in ended.iter().take(ended.len().saturating_sub(bounds::RUNS_KEPT)) {
            self.drop_run(id);
        }
        while self.weight > bounds::STATE_BYTES as u64 / 2 {
            let has_newer =
                |run: &&Run| self.runs.values().any(|other| other.is_ended() && other.id.plan == run.id.plan && other.id.number > run.id.number);
            let oldest = self.runs.values().filter(|run| run.is_ended()).filter(has_newer).min_by_key(|run| run.started_at).map(|run| run.id.clone());
            let Some(oldest) = oldest else { return };
            self.drop_run(&oldest);
        }
    }

    fn drop_run(&mut self, id: &RunId) {
        let Some(run) = self.runs.remove(id) else { return };
        self.weight = self.weight.saturating_sub(run.weight);
        self.drop_artifacts(id);
        let attempts: Vec<_> = run.works().flat_map(|(_, _, work)| work.attempts.iter().copied()).collect();
        for attempt in attempts.iter().filter_map(|attempt| self.attempts.remove(attempt)) {
            if let super::attempt::Phase::Ended(outcome) = &attempt.phase {
                self.weight = self.weight.saturating_sub(outcome.report().map_or(0, |report| report.weight() as u64));
            }
        }
    }
}
