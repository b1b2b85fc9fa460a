//! One look at each step of the run in the copy, and at what is in its way.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::turns::Unable;
use super::{Remark, Severity, StepPreview, UndoPreview, waves, words};
use crate::aftermath::{self, StillHeld};
use crate::catalogue::{self, Effect, Kind, Scope, Undo};
use crate::decide;
use crate::evaluate::{self, Foreseen};
use crate::freshness;
use crate::id::{AgentId, LeaseName, StepName, Target};
use crate::identity::Identity;
use crate::outlook::{self, GateNow, GateState};
use crate::plan::gate::Gate;
use crate::plan::schedule::Concurrency;
use crate::plan::{Plan, RunOn, Step};
use crate::rollout::Rollout;
use crate::state::State;
use crate::state::agent::{Agent, Link};
use crate::state::lease::Lease;
use crate::state::run::{Direction, Run, Work, WorkState};
use crate::stuck;
use crate::time::{MeshTime, WallTime};

/// Targets on which a condition is looked at; a run may have more.
pub(super) const LOOKED_AT: usize = 1_000;
/// Targets, connections or steps that a remark names.
const NAMED: usize = 3;

pub(super) struct Look<'a> {
    pub(super) state: &'a State,
    pub(super) run: &'a Run,
    pub(super) wall: WallTime,
    pub(super) at: MeshTime,
    pub remarks: Vec<Remark>,
    /// What of them is about targets that nobody can do.
    pub(super) unable: Vec<Unable>,
    /// Whether everything so far can be taken back.
    stands: bool,
}

/// What the expressions of a step come to now.
struct Filled {
    with: Map<String, Value>,
    with_of: Option<Target>,
    condition: Option<bool>,
    left_out: Vec<Target>,
}

impl<'a> Look<'a> {
    pub fn new(state: &'a State, run: &'a Run, wall: WallTime, at: MeshTime) -> Look<'a> {
        Look { state, run, wall, at, remarks: Vec::new(), unable: Vec::new(), stands: true }
    }

    pub(super) fn remark(&mut self, severity: Severity, step: Option<&Step>, message: impl Into<String>, hint: impl Into<String>) {
        let step = step.map(|step| step.name.clone());
        self.remarks.push(Remark { severity, step, message: message.into(), hint: hint.into() });
    }

    /// Of a run that has been under way: what of the step is still to be done, if anything is.
    pub fn open_step(&mut self, step: &Step) -> Option<StepPreview> {
        let is_open = self.run.work.get(&step.name)?.values().any(|work| work.forward.is_waiting());
        is_open.then(|| self.step(step))
    }

    pub fn step(&mut self, step: &Step) -> StepPreview {
        let rollout = Rollout::of_step(self.run, step);
        let works = self.run.work.get(&step.name);
        let targets: Vec<Target> = match &rollout {
            // The rollout of a plan has the targets of all of its steps.
            Some(rollout) => {
                let own = rollout.targets.iter().filter(|(target, _)| works.is_some_and(|works| works.contains_key(*target)));
                own.map(|(target, _)| (*target).clone()).collect()
            }
            None => works.into_iter().flat_map(|targets| targets.keys().cloned()).collect(),
        };
        let is_over = |work: &&Work| work.forward.is_over();
        let is_open = works.is_some_and(|works| !works.values().all(|work| is_over(&work)));
        let never = works.filter(|_| !is_open).and_then(|works| works.values().next()).map(|work| work.forward.clone());
        // Of a run that goes on, what has ended on some targets is not done there again.
        let is_done = |target: &Target| works.and_then(|works| works.get(target)).is_some_and(|work| is_over(&work) && !is_omitted(work));
        let targets: Vec<Target> = if never.is_some() { targets } else { targets.into_iter().filter(|target| !is_done(target)).collect() };
        if let Some(rollout) = rollout.as_ref().filter(|_| step.strategy.is_some()) {
            self.unused_budget(Some(step), rollout);
        }
        let Filled { with, with_of, condition, left_out } = self.filled(step, &targets);
        let wanted: Vec<&Target> = targets.iter().filter(|target| !left_out.contains(target)).collect();
        let reachable = self.reachable(step, &wanted, never.is_some() || condition == Some(false));
        let omitted = match (never, &step.condition) {
            (Some(WorkState::Omitted { reason }), _) => Some(reason),
            (Some(state), _) => {
                self.remark(Severity::Problem, Some(step), state.detail(), "");
                None
            }
            (None, Some(written)) if condition == Some(false) => Some(format!("its `if` is false: {written}")),
            (None, _) => None,
        };
        let lease_held_by = self.lease(step, omitted.is_some());
        if omitted.is_none() {
            self.few_slots(step, wanted.len());
            self.in_use(step, &wanted);
            self.in_hands(step, &wanted);
            self.own_time(step, &with, step.condition.is_none() || condition == Some(true));
            self.chart(step, &with);
        }
        StepPreview {
            undo: UndoPreview::of(self.state, self.run, step, &wanted),
            lease_held_by,
            step: step.clone(),
            with,
            with_of,
            reachable,
            condition,
            left_out,
            by_policy: omitted.is_none() && (runs_command(&step.uses) || step.undo.as_ref().is_some_and(|undo| runs_command(&undo.uses))),
            gates: step.gates.iter().map(|gate| self.gate(Some(step), gate, omitted.is_some())).collect(),
            strategy: step.strategy.as_ref().map(|strategy| words::strategy(strategy, self.run.plan.steps.iter().any(Step::has_undo))),
            waves: rollout.filter(|_| step.strategy.is_some()).map(|rollout| waves(&rollout).iter().map(Vec::len).collect()).unwrap_or_default(),
            point_of_no_return: self.is_point_of_no_return(step),
            targets,
            omitted,
        }
    }

    fn is_point_of_no_return(&mut self, step: &Step) -> bool {
        let undoable = catalogue::kind(&step.uses).is_none_or(|kind| match kind.undo_of(&step.with) {
            Undo::Nothing | Undo::Reversible => true,
            Undo::Compensated => step.undo.is_some(),
            Undo::Irreversible => false,
        });
        let is_last = self.stands && !undoable && catalogue::kind(&step.uses).is_some_and(|kind| kind.effect != Effect::Read);
        self.stands &= undoable;
        if is_last && self.run.plan.steps.iter().any(Step::has_undo) && self.may_be_followed(step) {
            let may_have_one = catalogue::kind(&step.uses).is_some_and(|kind| kind.undo == Undo::Compensated);
            let hint = if may_have_one { "give it an `undo`" } else { "" };
            self.remark(Severity::Warning, Some(step), "what is done here is not taken back when a later step fails", hint);
        }
        is_last
    }

    /// Whether something else may fail after it: a step that it does not wait for.
    fn may_be_followed(&self, step: &Step) -> bool {
        let steps = &self.run.plan.steps;
        let mut before: BTreeSet<&StepName> = step.needs.iter().collect();
        let mut open: Vec<&StepName> = step.needs.iter().collect();
        while let Some(needed) = open.pop().and_then(|name| self.run.plan.step(name)) {
            open.extend(needed.needs.iter().filter(|need| before.insert(need)));
        }
        steps.iter().any(|other| other.name != step.name && !before.contains(&other.name))
    }

    /// A target that failed stays unavailable: a budget is of no use where that is as many as may be.
    fn unused_budget(&mut self, step: Option<&Step>, rollout: &Rollout<'_>) {
        let all = rollout.targets.len();
        let (most, budget) = (rollout.strategy.most_away(all), rollout.strategy.failure_budget.down(all));
        if budget >= most && all > most {
            let message = format!("a target that failed stays unavailable, so it stops when {most} failed, before more than {budget} have");
            self.remark(Severity::Note, step, message, "a failure budget is used where maxUnavailable is larger than it");
        }
    }

    /// A lease with fewer places than targets may go at once is what bounds them.
    fn few_slots(&mut self, step: &Step, targets: usize) {
        let Some(wanted) = &step.lease else { return };
        // One that is defined already keeps its definition.
        let slots = self.state.leases.get(&wanted.name).map_or(wanted.spec.slots, |lease| lease.spec.slots) as usize;
        let strategy = step.strategy.as_ref().or(self.run.plan.strategy.as_ref().filter(|_| step.run_on == RunOn::Node));
        let most = strategy.map_or(targets, |strategy| strategy.most_away(targets));
        if slots < most && slots < targets {
            let (so_many, places) = if slots == 1 { ("one after the other".to_owned(), "place") } else { (format!("{slots} at a time"), "places") };
            let message = format!("its {targets} targets go {so_many}: lease {} has {slots} {places}", wanted.name);
            self.remark(Severity::Note, Some(step), message, "");
        }
    }

    /// Nodes that would be taken out of use, and that somebody else has in their hands, or needs.
    fn in_use(&mut self, step: &Step, targets: &[&Target]) {
        let Some(kind) = catalogue::kind(&step.uses) else { return };
        for target in targets.iter().take(NAMED) {
            let claim = decide::claimed_by_another(self.state, self.run, kind, target);
            for (name, by) in claim.into_iter().chain(decide::backup_there(self.state, kind, target)) {
                let message = format!("it would wait on {target}: lease {name} is held by {by}");
                self.remark(Severity::Warning, Some(step), message, format!("mainstay lease show {name}"));
            }
        }
    }

    /// What another run has in its hands until its end, of what the step would change.
    fn in_hands(&mut self, step: &Step, targets: &[&Target]) {
        let Some(kind) = catalogue::kind(&step.uses) else { return };
        for target in targets.iter().take(NAMED) {
            let with = evaluate::foresee(self.state, self.run, step, Some(target)).with;
            for (name, by) in decide::things_of_another(self.state, self.run, kind, &with, target) {
                let hint = format!("mainstay lease show {name}");
                // The first step that names the thing is what waits.
                if self.remarks.iter().any(|remark| remark.hint == hint) {
                    continue;
                }
                let message = format!("it would wait{}: lease {name} is held by {by}, until that run has ended", target.on());
                self.remark(Severity::Warning, Some(step), message, hint);
            }
        }
    }

    /// Whose the lease of a step is, where it is somebody's.
    fn lease(&mut self, step: &Step, is_skipped: bool) -> Option<String> {
        let (name, lease) = self.state.leases.get_key_value(&step.lease.as_ref()?.name)?;
        let others = lease.held.iter().filter(|held| held.holder.identity != Identity::Run(self.run.id.clone())).count();
        if is_skipped || others == 0 || others < lease.spec.slots as usize {
            return None;
        }
        let by = decide::lease_holders(lease);
        self.lease_is_held(Some(step), name, lease, format!("it would wait: lease {name} is held by {by}"), format!("mainstay lease show {name}"));
        Some(by)
    }

    /// A lease in the way; one that an ended run holds does not become free by itself.
    fn lease_is_held(&mut self, step: Option<&Step>, name: &LeaseName, lease: &Lease, message: String, hint: String) {
        match aftermath::held_in(self.state, name, lease).next() {
            Some(dead) => {
                let hint = format!("when somebody has looked there that it has ended:  {}", dead.release());
                self.remark(Severity::Problem, step, format!("it would wait for ever: {dead}"), hint);
            }
            None => self.remark(Severity::Warning, step, message, hint),
        }
    }

    /// Agents that share a machine with one that speaks for it: steps that are about machines are not done to them.
    fn shared(&mut self, plan: &Plan) {
        let is_about_machine = |step: &&Step| step.run_on == RunOn::Node && catalogue::kind(&step.uses).is_some_and(|kind| kind.scope == Scope::Host);
        if !plan.steps.iter().any(|step| is_about_machine(&step)) {
            return;
        }
        let beside = self.state.agents.iter().filter(|(id, agent)| id.is_node() && agent.hello.is_some() && !agent.speaks_for_host());
        let beside: Vec<String> = beside.map(|(id, _)| id.to_string()).collect();
        if !beside.is_empty() {
            let names = some(&beside.iter().map(String::as_str).collect::<Vec<_>>());
            let (verb, them) = if beside.len() == 1 { ("shares its machine", "it") } else { ("share their machine", "them") };
            let message = format!("{names} {verb} with another agent, which speaks for it: steps about machines are not done to {them}");
            self.remark(Severity::Note, None, message, "mainstay node list");
        }
    }

    /// How many targets an agent could try now; who would have to be there for the others is a remark.
    fn reachable(&mut self, step: &Step, targets: &[&Target], never: bool) -> usize {
        let Some(kind) = catalogue::kind(&step.uses) else { return 0 };
        if kind.scope == Scope::Mesh || never {
            return if never { 0 } else { targets.len() };
        }
        let (able, lacking): (Vec<&Target>, Vec<&Target>) = targets.iter().copied().partition(|target| outlook::is_able(self.state, kind, target));
        let (away, lacking): (Vec<&Target>, Vec<&Target>) = lacking.into_iter().partition(|target| self.away(kind, target).is_some());
        if !away.is_empty() {
            let who = |target: &Target| match target {
                Target::Once => self.lost_last(kind).map_or_else(|| "the agent that could".to_owned(), |id| format!("agent {id}")),
                Target::Node(_) if let Some(cluster) = kind.acted_in(target) => format!("every agent of cluster {cluster}"),
                Target::Node(node) => self.state.who_does(node, kind.name).0.to_string(),
                Target::Cluster(_) | Target::Connection(_) => target.to_string(),
            };
            let since = away.iter().take(NAMED).filter_map(|target| Some(format!("{} is {}", who(target), self.away(kind, target)?)));
            let message = format!("nobody is there to do it: {}{}", since.collect::<Vec<_>>().join(", "), more(away.len()));
            self.unable(step, &away, true);
            self.remark(Severity::Problem, Some(step), message, "start the agent there; see `mainstay node list`");
        }
        if !lacking.is_empty() {
            let named: Vec<String> = lacking.iter().take(NAMED).filter(|target| ***target != Target::Once).map(ToString::to_string).collect();
            let on = if named.is_empty() { String::new() } else { format!(" on {}{}", named.join(", "), more(lacking.len())) };
            let message = format!("no connected agent can do it now{on}");
            self.unable(step, &lacking, false);
            self.remark(Severity::Problem, Some(step), message, self.what_is_lacking(kind, lacking[0]));
        }
        self.undo_is_allowed(step, &able);
        able.len()
    }

    /// The next remark is about targets that nobody can do.
    fn unable(&mut self, step: &Step, targets: &[&Target], away: bool) {
        let targets = targets.iter().map(|target| (*target).clone()).collect();
        self.unable.push(Unable { remark: self.remarks.len(), step: step.name.clone(), targets, away });
    }

    /// Since when the agent that could do it has been lost, if only that is the matter.
    fn away(&self, kind: &Kind, target: &Target) -> Option<String> {
        let lost = |agent: &Agent| match agent.link {
            Link::Lost { since, .. } if agent.can(kind.name) => Some(since),
            _ => None,
        };
        let since = match target {
            _ if let Some(cluster) = kind.acted_in(target) => {
                let replicas = self.state.agents.iter().filter(|(id, _)| id.is_replica() && id.cluster == *cluster);
                replicas.filter_map(|(_, agent)| lost(agent)).max()
            }
            Target::Node(node) => self.state.who_does(node, kind.name).1.and_then(lost),
            Target::Once => self.state.agents.values().filter_map(lost).max(),
            Target::Cluster(_) => None,
            Target::Connection(name) => self.state.agents.values().filter(|agent| agent.connection(name).is_some()).filter_map(lost).max(),
        };
        let is_own =
            |node: &AgentId| kind.acted_in(target).is_none() && self.state.who_does(node, kind.name).1.is_some_and(|agent| agent.link == Link::Never);
        let never = matches!(target, Target::Node(node) if is_own(node));
        match since {
            Some(since) => Some(format!("lost since {}", crate::calendar::local(since, "UTC"))),
            None => never.then(|| "enrolled and has never connected".to_owned()),
        }
    }

    /// The agent that could do a kind, and was lost last.
    fn lost_last(&self, kind: &Kind) -> Option<&'a AgentId> {
        let lost = |(id, agent): (&'a AgentId, &'a Agent)| match agent.link {
            Link::Lost { since, .. } if agent.can(kind.name) => Some((since, id)),
            _ => None,
        };
        self.state.agents.iter().filter_map(lost).max().map(|(_, id)| id)
    }

    fn what_is_lacking(&self, kind: &Kind, target: &Target) -> String {
        match target {
            Target::Connection(name) => {
                let wanted = kind.connection.kinds();
                let has = |agent: &&Agent| agent.is_up() && agent.can(kind.name);
                let all = self.state.agents.values().filter(has).filter_map(|agent| agent.hello.as_ref()).flat_map(|hello| &hello.connections);
                let mut known: Vec<&str> = all.filter(|own| wanted.contains(&own.kind.as_str())).map(|own| own.name.as_str()).collect();
                known.sort_unstable();
                known.dedup();
                let there = if known.is_empty() { "there is none of its kind".to_owned() } else { format!("there are {}", some(&known)) };
                let kinds = wanted.join("|");
                format!("{there}; add to an agent's connections.toml, and start the agent anew:  [connections.{name}]  kind = \"{kinds}\"  url = …")
            }
            _ if kind.effect == Effect::Read => "see `mainstay node list`".to_owned(),
            Target::Node(node) => self.state.lacks_hands(node, kind.name).unwrap_or_else(|| catalogue::how_to_allow(kind.name)),
            _ => catalogue::how_to_allow(kind.name),
        }
    }

    /// An undo is of no use where the agent that did the step does not do its kind.
    fn undo_is_allowed(&mut self, step: &Step, targets: &[&Target]) {
        let Some((undo, undo_kind)) = step.undo.as_ref().and_then(|undo| Some((undo, catalogue::kind(&undo.uses)?))) else { return };
        let refuses = |target: &&&Target| match target {
            _ if undo_kind.acted_in(target).is_some() => !outlook::is_able(self.state, undo_kind, target),
            Target::Node(node) => self.state.who_does(node, &undo.uses).1.is_some_and(|agent| agent.is_up() && !agent.can(&undo.uses)),
            Target::Cluster(_) => false,
            Target::Once | Target::Connection(_) => !self.state.agents.values().any(|agent| agent.is_up() && agent.can(&undo.uses)),
        };
        let refused: Vec<String> = targets.iter().filter(refuses).map(ToString::to_string).collect();
        if !refused.is_empty() {
            let named = some(&refused.iter().map(String::as_str).collect::<Vec<_>>());
            let hint = catalogue::how_to_allow(&undo.uses);
            self.remark(Severity::Problem, Some(step), format!("it could not be taken back on {named}: {} is not allowed there", undo.uses), hint);
        }
    }

    /// What the expressions come to. Of a step on many targets, on each of them.
    fn filled(&mut self, step: &Step, targets: &[Target]) -> Filled {
        let each = targets.len() > 1 && evaluate::differs_by_target(self.run, step, Direction::Do);
        let looked: Vec<(Option<&Target>, Foreseen)> = if each {
            targets.iter().take(LOOKED_AT).map(|target| (Some(target), evaluate::foresee(self.state, self.run, step, Some(target)))).collect()
        } else {
            vec![(None, evaluate::foresee(self.state, self.run, step, targets.first()))]
        };
        // What is omitted from the start is not filled in either.
        let is_omitted = |target: &Target| self.run.work(&step.name, target).is_some_and(|work| matches!(work.forward, WorkState::Omitted { .. }));
        let has_work = targets.is_empty() || !targets.iter().all(is_omitted);
        if let Some((target, problem)) = looked.iter().filter(|_| has_work).find_map(|(target, foreseen)| Some((target, foreseen.problem.clone()?))) {
            let on = target.map_or_else(String::new, |target| format!("on {target}: "));
            let hint = self.reads_omitted(step).map_or_else(String::new, |name| {
                format!("step {name} is omitted and hands on nothing: ask first whether it has, as in  has(steps.{name}.outputs.FIELD) && …")
            });
            self.remark(Severity::Problem, Some(step), format!("{on}{problem}"), hint);
        }
        let is = |wanted: Option<bool>| looked.iter().any(|(_, foreseen)| foreseen.condition == wanted);
        let condition = if is(None) && step.condition.is_some() { None } else { is(Some(true)).then_some(true).or(is(Some(false)).then_some(false)) };
        let left_out: Vec<Target> = looked
            .iter()
            .filter(|(_, foreseen)| foreseen.condition == Some(false) && condition != Some(false))
            .filter_map(|(target, _)| (*target).cloned())
            .collect();
        let shown = looked.iter().find(|(_, foreseen)| foreseen.condition != Some(false) || condition == Some(false));
        let (of, with) = shown.map_or_else(|| (None, step.with.clone()), |(target, foreseen)| (target.cloned(), foreseen.with.clone()));
        let with_of = of.filter(|_| looked.iter().any(|(_, foreseen)| foreseen.with != with));
        Filled { with, with_of, condition, left_out }
    }

    pub(super) fn gate(&mut self, step: Option<&Step>, gate: &Gate, is_skipped: bool) -> GateNow {
        let now = outlook::gate_now(self.state, self.run, gate, self.wall, self.at);
        match (now.state, gate) {
            _ if is_skipped => {}
            (GateState::Closed | GateState::Unknown, Gate::Declared(declared)) if let Some((plan, connection)) = freshness::opens(declared) => {
                let hint = format!("mainstay run start {plan} --set connection={connection}");
                if freshness::opens_by_itself(self.state, declared, (self.run, step.map(|step| &step.name)), self.wall) {
                    self.remark(Severity::Warning, step, format!("it would wait: {now}"), hint);
                } else {
                    self.remark(Severity::Problem, step, format!("it would wait until somebody starts what opens it: {now}"), hint);
                }
            }
            (GateState::Closed | GateState::Unknown, Gate::Declared(_)) => {
                let message = format!("it would wait for ever: {now}");
                self.remark(Severity::Problem, step, message, "take the gate out: nothing in this version opens it");
            }
            (_, Gate::Health { plan, .. }) if !self.state.plans.contains_key(plan) => {
                let message = format!("it would wait for ever: {gate}: there is no plan {plan}");
                self.remark(Severity::Problem, step, message, format!("apply a plan {plan}, or take the gate out"));
            }
            (GateState::Open, Gate::Health { plan, max_age }) if *plan == self.run.id.plan => {
                let message =
                    format!("a gate asks of the plan itself: when its newest run went wrong, or ended more than {max_age} ago, no run of it goes on");
                self.remark(Severity::Warning, step, message, "ask of another plan, or take the gate out");
            }
            (_, Gate::Health { plan, .. }) if *plan == self.run.id.plan => {
                let message = format!("it would wait for ever: {gate}: a gate that asks of the plan itself, and every run of it waits there");
                self.remark(Severity::Problem, step, message, "ask of another plan, or take the gate out");
            }
            (GateState::Closed, Gate::Window(_) | Gate::Freeze(_)) => {
                let hint = format!(
                    "a run for which windows and freezes do not count (approvals still do):  mainstay run start {} --override \"why\"",
                    self.run.id.plan
                );
                self.remark(Severity::Warning, step, format!("it would wait: {now}"), hint);
            }
            (GateState::Closed, Gate::Lease { name }) => {
                let fitting = self.state.leases.iter().filter(|(other, _)| catalogue::fits(name, other.as_str()));
                let dead: Vec<StillHeld> = fitting.filter_map(|(name, lease)| aftermath::held_in(self.state, name, lease).next()).collect();
                if dead.is_empty() {
                    self.remark(Severity::Warning, step, format!("it would wait: {now}"), "");
                }
                for held in dead.iter().take(NAMED) {
                    let hint = format!("when somebody has looked there that it has ended:  {}", held.release());
                    self.remark(Severity::Problem, step, format!("it would wait for ever: {held}"), hint);
                }
            }
            (GateState::Closed | GateState::Unknown, Gate::Health { plan, .. })
                if let Some(why) = stuck::never_healthy(self.state, self.run, plan, self.wall) =>
            {
                self.remark(Severity::Problem, step, format!("it would wait for ever: {now}: {why}"), format!("mainstay run start {plan}"));
            }
            (GateState::Closed | GateState::Unknown, _) => self.remark(Severity::Warning, step, format!("it would wait: {now}"), ""),
            (GateState::Open | GateState::Closes | GateState::Asks | GateState::Nobody, _) => {}
        }
        now
    }

    pub fn plan(&mut self, plan: &Plan) -> Vec<GateNow> {
        let open = self.state.runs.values().filter(|run| run.id.plan == plan.name && run.id != self.run.id && !run.is_ended());
        let open: Vec<String> = open.map(|run| run.id.to_string()).collect();
        if let Some(first) = open.first() {
            let (have, it) = if open.len() == 1 { ("has", "it") } else { ("have", "them") };
            let rolls = plan.strategy.is_some() || plan.steps.iter().any(|step| step.strategy.is_some());
            let each = if rolls { "; what may be unavailable is counted in each run by itself" } else { "" };
            let schedule = match plan.concurrency {
                _ if !plan.schedules.iter().any(|schedule| !schedule.suspended) => String::new(),
                Concurrency::Allow => String::new(),
                Concurrency::Forbid => format!("; until {it} {have}, its schedule is held back"),
                Concurrency::Replace => format!("; its schedule will abort {it}, whoever started {it}: what has come to its end is taken back"),
            };
            let names = some(&open.iter().map(String::as_str).collect::<Vec<_>>());
            self.remark(Severity::Note, None, format!("run {names} of it {have} not ended{each}{schedule}"), format!("mainstay why {first}"));
        }
        if plan.strategy.is_some() && !plan.steps.iter().any(|step| step.run_on == RunOn::Node) {
            self.remark(Severity::Note, None, "its strategy is about steps that are done to nodes, and it has none", "");
        }
        if let Some(rollout) = Rollout::of_plan(self.run) {
            self.unused_budget(None, &rollout);
        }
        self.shared(plan);
        plan.gates.iter().map(|gate| self.gate(None, gate, false)).collect()
    }

    /// An agent tells the mesh which kinds it may do, and not which commands.
    pub fn commands(&mut self, steps: &[StepPreview]) {
        let names: Vec<&str> = steps.iter().filter(|step| step.by_policy).map(|step| step.step.name.as_str()).collect();
        if !names.is_empty() {
            let undo = if steps.iter().any(|step| step.by_policy && step.step.undo.is_some()) { ", and of their undo," } else { "" };
            let message = format!("whether the agents' own policies allow the commands of {}{undo} is not known here", some(&names));
            self.remark(Severity::Note, None, message, "compare with the agents' policy files: docs/plans.md");
        }
    }
}

fn is_omitted(work: &Work) -> bool {
    matches!(work.forward, WorkState::Omitted { .. })
}

fn runs_command(kind: &str) -> bool {
    catalogue::kind(kind).is_some_and(|kind| kind.effect == Effect::Exec)
}

pub(super) fn some(names: &[&str]) -> String {
    let named = names.iter().take(NAMED).copied().collect::<Vec<_>>().join(", ");
    named + &more(names.len())
}

/// Of many, how many are not named.
fn more(all: usize) -> String {
    if all > NAMED { format!(" and {} more", all - NAMED) } else { String::new() }
}
