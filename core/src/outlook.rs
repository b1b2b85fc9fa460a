//! How gates stand now, and which of them a work item still has before it. Pure: the preview and `why` ask here, so
//! that they say what the leader's decision would.

use std::fmt;

use crate::almanac;
use crate::calendar;
use crate::catalogue::{self, Kind, Scope};
use crate::decide;
use crate::freshness::{self, Standing};
use crate::id::{AgentId, StepName, Target};
use crate::identity::Identity;
use crate::plan::gate::{Approval, Each, Gate};
use crate::plan::{Step, Strategy};
use crate::rollout::{self, Progress, Rollout};
use crate::seen::Opening;
use crate::state::State;
use crate::state::agent::Agent;
use crate::state::approval::{self, Given};
use crate::state::enrolment::OperatorRole;
use crate::state::run::{Direction, Run};
use crate::time::{MeshTime, Millis, WallTime};
use crate::wait::{Reason, Wait};

/// A window that is open for longer than this is said to be open, without an end.
const ALWAYS: Millis = Millis(7 * 86_400_000);

/// A gate as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GateNow {
    pub gate: String,
    pub state: GateState,
    pub evidence: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GateState {
    Open,
    Closed,
    /// Open now, and closed by the time it is come to.
    Closes,
    Unknown,
    /// A person is asked when everything before it is open.
    Asks,
    /// No agent is there that could do what comes then.
    Nobody,
}

impl GateState {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            GateState::Open => "open",
            GateState::Closed => "closed",
            GateState::Closes => "closes",
            GateState::Unknown => "unknown",
            GateState::Asks => "asks",
            GateState::Nobody => "nobody",
        }
    }
}

impl fmt::Display for GateNow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.gate)?;
        if self.evidence.is_empty() { Ok(()) } else { write!(f, ": {}", self.evidence) }
    }
}

/// How a gate stands for a run.
#[must_use]
pub fn gate_now(state: &State, run: &Run, gate: &Gate, wall: WallTime, now: MeshTime) -> GateNow {
    let (standing, evidence) = match gate {
        Gate::Window(_) | Gate::Freeze(_) if run.without_calendar.is_some() => (GateState::Open, "does not count for this run".to_owned()),
        Gate::Window(_) | Gate::Freeze(_) => match almanac::opening(gate, wall) {
            Opening::Open { until } => (GateState::Open, open_until(gate, until, wall)),
            Opening::Closed { evidence, .. } => (GateState::Closed, evidence),
        },
        Gate::Approval(_) => (GateState::Asks, String::new()),
        Gate::Declared(declared) => match freshness::standing(state, declared, wall) {
            Standing::Open(is) => (GateState::Open, is),
            Standing::Closed(evidence) => (GateState::Closed, evidence),
            Standing::Unknown(why) => (GateState::Unknown, format!("unknown: {why}")),
        },
        Gate::Lease { name } => match decide::lease_in_the_way(state, run, name) {
            None => (GateState::Open, "free now".to_owned()),
            Some((name, by)) => (GateState::Closed, format!("{name} is held by {by}")),
        },
        Gate::Health { plan, max_age } => match decide::healthy(state, plan, *max_age, now) {
            Ok(()) => (GateState::Open, "well".to_owned()),
            Err(evidence) if evidence.starts_with("unknown") => (GateState::Unknown, evidence),
            Err(evidence) => (GateState::Closed, evidence),
        },
    };
    GateNow { gate: gate.to_string(), state: standing, evidence }
}

/// Until when a window is open, or when a freeze begins.
fn open_until(gate: &Gate, until: Option<WallTime>, wall: WallTime) -> String {
    match (gate, until) {
        (Gate::Freeze(freeze), Some(begins)) => format!("no freeze before {}", calendar::local(begins, &freeze.zone)),
        (Gate::Freeze(_), None) => "no freeze now".to_owned(),
        // A window that does not close for so long is as good as always open.
        (Gate::Window(window), Some(closes)) if closes < almanac::after(wall, ALWAYS) => {
            format!("open until {}", calendar::local(closes, &window.zone))
        }
        _ => "open now".to_owned(),
    }
}

/// What a work item will meet after that for which it waits: gates that are not open now, and people who are asked
/// then. Of what waits for other steps they are its own gates, as they are now.
#[must_use]
pub fn ahead(state: &State, wait: &Wait, wall: WallTime, now: MeshTime) -> Vec<GateNow> {
    let Some((run, step)) = state.runs.get(&wait.run).and_then(|run| Some((run, run.plan.step(&wait.step)?))) else { return Vec::new() };
    let is_later = matches!(wait.reason, Reason::NeedsStep { .. });
    if matches!(wait.reason, Reason::Paused { .. }) && (wait.direction == Direction::Undo || !is_fresh(run, wait)) {
        // Its gates are behind it, and somebody has to be there all the same.
        let kind = run.kind_of(&wait.step, wait.direction).and_then(catalogue::kind);
        return kind.and_then(|kind| nobody(state, kind, &wait.target)).into_iter().collect();
    }
    if !(is_later || comes_to_gates(&wait.reason)) || wait.direction == Direction::Undo || !is_fresh(run, wait) {
        return Vec::new();
    }
    let rollout = Rollout::of_step(run, step);
    let wave = rollout.as_ref().and_then(|rollout| u32::try_from(rollout.wave(rollout.place(&wait.target)?).0).ok());
    let stands_before = |(of, gate): &(Option<&StepName>, &Gate)| match (gate, &wait.reason) {
        (Gate::Lease { .. }, Reason::LeaseHeld { .. }) => false,
        (Gate::Approval(_), Reason::Approval { step, .. }) if step.as_ref() == *of => false,
        (Gate::Approval(approval), _) => {
            // What is done once is in no wave: it goes with the first.
            let wave = (approval.each == Each::Wave).then(|| wave.unwrap_or(1));
            let of_plan = if rollout.is_none() && of.is_none() { Rollout::of_plan(run) } else { None };
            matches!(said(run, *of, wave, rollout.as_ref().or(of_plan.as_ref()), approval, now), Said::Nothing { .. })
        }
        (gate, Reason::Gate { gate: own, .. }) => gate.to_string() != *own,
        _ => true,
    };
    // The plan's own gates have been told of the steps that come first.
    let mut all: Vec<GateNow> = gates(run, step, &wait.target, rollout.as_ref())
        .filter(|(of, _)| !is_later || of.is_some())
        .filter(stands_before)
        .map(|(_, gate)| closing(run, gate, gate_now(state, run, gate, wall, now), wall, wait, now))
        .filter(|gate| gate.state != GateState::Open)
        .collect();
    if let Some(last) = all.iter_mut().rfind(|gate| gate.state == GateState::Closed && is_calendar(&gate.gate))
        && matches!(&wait.reason, Reason::Gate { gate, .. } if is_calendar(gate))
    {
        // One date for each would leave it to the reader to find the day that suits them all.
        let calendar: Vec<&Gate> = gates(run, step, &wait.target, rollout.as_ref()).map(|(_, gate)| gate).filter(|gate| gate.is_calendar()).collect();
        if let Some(opens) = almanac::first_opening(&calendar, wall) {
            last.evidence += &format!("; they are open together first {}", calendar::local(opens, "UTC"));
        }
    }
    if let Some(asks) = approval::of_step(step).filter(|_| !matches!(wait.reason, Reason::Approval { .. })) {
        all.push(gate_now(state, run, &Gate::Approval(asks), wall, now));
    }
    if !is_later {
        all.extend(catalogue::kind(&step.uses).and_then(|kind| nobody(state, kind, &wait.target)));
    }
    all
}

/// Whether a gate is one of the calendar, by its words.
fn is_calendar(gate: &str) -> bool {
    ["window ", "freeze "].iter().any(|word| gate.starts_with(word))
}

/// A window or freeze that is open now, and shut when a soak is over.
fn closing(run: &Run, gate: &Gate, gate_now: GateNow, wall: WallTime, wait: &Wait, now: MeshTime) -> GateNow {
    let (Reason::Soak { .. }, Some((end, _)), None) = (&wait.reason, wait.until, &run.without_calendar) else { return gate_now };
    if !gate.is_calendar() || gate_now.state != GateState::Open {
        return gate_now;
    }
    match almanac::opening(gate, almanac::after(wall, end.since(now))) {
        Opening::Closed { evidence, .. } => {
            GateNow { state: GateState::Closes, evidence: format!("{}, and then {evidence}", gate_now.evidence), ..gate_now }
        }
        Opening::Open { .. } => gate_now,
    }
}

/// Why an approval that somebody gives now would be asked for again: windows and freezes that its step has before it are
/// not open together before it has expired.
#[must_use]
pub fn expires_before(state: &State, wait: &Wait, wall: WallTime) -> Option<String> {
    let Reason::Approval { step: of, .. } = &wait.reason else { return None };
    let run = state.runs.get(&wait.run).filter(|run| run.without_calendar.is_none())?;
    let step = run.plan.step(&wait.step)?;
    let rollout = Rollout::of_step(run, step);
    let gates: Vec<(Option<&StepName>, &Gate)> = gates(run, step, &wait.target, rollout.as_ref()).collect();
    let approval =
        gates.iter().find_map(|(own, gate)| if let Gate::Approval(approval) = gate { (*own == of.as_ref()).then_some(approval) } else { None })?;
    let calendar: Vec<&Gate> = gates.iter().map(|(_, gate)| *gate).filter(|gate| gate.is_calendar()).collect();
    let opens = almanac::first_opening(&calendar, wall)?;
    (opens > almanac::after(wall, approval.expires)).then(|| would_have_expired(approval, opens))
}

/// In words.
pub(crate) fn would_have_expired(approval: &Approval, opens: WallTime) -> String {
    format!(
        "an approval counts for {}, and would have expired when what comes after it opens, {}: it would be asked for again",
        approval.expires,
        calendar::local(opens, "UTC"),
    )
}

/// Whether what waits for this has come as far as its own gates.
fn comes_to_gates(reason: &Reason) -> bool {
    matches!(
        reason,
        Reason::Paused { .. }
            | Reason::Soak { .. }
            | Reason::Gate { .. }
            | Reason::LeaseHeld { .. }
            | Reason::Approval { .. }
            | Reason::Unavailable { .. }
            | Reason::NodesNotKnown { .. }
    )
}

fn is_fresh(run: &Run, wait: &Wait) -> bool {
    run.work(&wait.step, &wait.target).is_some_and(|work| work.is_fresh())
}

/// The gates that a work item has before it, where it has come to them.
pub(crate) fn gates_before<'r>(run: &'r Run, wait: &Wait) -> Option<Vec<&'r Gate>> {
    if !comes_to_gates(&wait.reason) || wait.direction == Direction::Undo || !is_fresh(run, wait) {
        return None;
    }
    let step = run.plan.step(&wait.step)?;
    let rollout = Rollout::of_step(run, step);
    Some(gates(run, step, &wait.target, rollout.as_ref()).map(|(_, gate)| gate).collect())
}

/// Whether an agent is there that could do a kind on a target. What the mesh carries out itself needs none.
pub(crate) fn is_able(state: &State, kind: &Kind, target: &Target) -> bool {
    let agents = &state.agents;
    let is_up_and_can = |agent: &Agent| agent.is_up() && agent.can(kind.name);
    match target {
        _ if kind.scope == Scope::Mesh => true,
        _ if let Some(cluster) = kind.acted_in(target) => state.acting(cluster).and_then(|id| agents.get(&id)).is_some_and(is_up_and_can),
        Target::Node(node) => state.who_does(node, kind.name).1.is_some_and(is_up_and_can),
        Target::Once => {
            let is_for_it =
                |id: &AgentId, agent: &Agent| (kind.scope != Scope::Host || agent.speaks_for_host()) && !state.leaves_to_hands(id, kind.name);
            agents.iter().any(|(id, agent)| is_up_and_can(agent) && is_for_it(id, agent))
        }
        Target::Cluster(_) => false,
        Target::Connection(name) => {
            agents.values().any(|agent| is_up_and_can(agent) && agent.connection(name).is_some_and(|own| kind.connection.kinds().contains(&own)))
        }
    }
}

/// Who would be missing when a kind is to be done on a target.
fn nobody(state: &State, kind: &'static Kind, target: &Target) -> Option<GateNow> {
    if is_able(state, kind, target) {
        return None;
    }
    let reason = match target {
        _ if let Some(cluster) = kind.acted_in(target) => state.nobody_acts(cluster, kind.name),
        Target::Node(node) => {
            let (agent, known) = state.who_does(node, kind.name);
            if known.is_some_and(Agent::is_up) {
                let lacks = state.lacks_hands(agent, kind.name).map_or_else(String::new, |lacks| format!(": {lacks}"));
                let evidence = format!("agent {agent} does not do {}{lacks}", kind.name);
                return Some(GateNow { gate: "an agent".into(), state: GateState::Nobody, evidence });
            }
            Reason::AgentAway { agent: agent.clone() }
        }
        Target::Once | Target::Cluster(_) => state.nobody_can(kind.name),
        Target::Connection(name) => Reason::NoConnection { name: name.clone(), kind: kind.connection.kinds().first().copied().unwrap_or_default() },
    };
    Some(GateNow { gate: "an agent".into(), state: GateState::Nobody, evidence: reason.to_string() })
}

/// The gates before a step on a target: the plan's own stand before a node's first step where nodes go one after
/// the other, else before each step.
fn gates<'r>(run: &'r Run, step: &'r Step, target: &Target, rollout: Option<&Rollout<'r>>) -> impl Iterator<Item = (Option<&'r StepName>, &'r Gate)> {
    let progress = rollout.and_then(|rollout| rollout.targets.get(rollout.place(target)?)).map(|(_, progress)| *progress);
    let is_first = !rollout::is_in_plans_rollout(run, step) || progress == Some(Progress::Untouched);
    let of_plan = run.plan.gates_of(step).filter(move |_| is_first).map(|gate| (None, gate));
    of_plan.chain(step.gates.iter().map(|gate| (Some(&step.name), gate)))
}

/// What people have said to an approval.
pub(crate) enum Said<'r> {
    Yes,
    No(&'r Given),
    /// It is asked for; whose earlier word has expired.
    Nothing {
        expired: Option<&'r str>,
    },
}

/// What counts of what people have said: once what it covers has begun, an approval has done its work.
pub(crate) fn said<'r>(
    run: &'r Run,
    of: Option<&StepName>,
    wave: Option<u32>,
    rollout: Option<&Rollout<'_>>,
    approval: &Approval,
    now: MeshTime,
) -> Said<'r> {
    let of_wave = wave.zip(rollout).map(|(wave, rollout)| rollout.wave_targets(wave as usize));
    let covers = |step: &StepName, target: &Target| {
        of.is_none_or(|of| of == step) && of_wave.as_ref().is_none_or(|targets| targets.binary_search(&target).is_ok() || targets.contains(&target))
    };
    if run.works().any(|(step, target, work)| rollout::is_touched(work) && covers(step, target)) {
        return Said::Yes;
    }
    match run.given(of, wave) {
        Some(given) if given.deny => Said::No(given),
        Some(given) if now < given.at + approval.expires => Said::Yes,
        given => Said::Nothing { expired: given.map(|given| given.by.as_str()) },
    }
}

/// How many waves the approvals of a strategy are asked for.
#[must_use]
pub fn times_asked(approval: &Approval, strategy: Option<&Strategy>, targets: usize) -> usize {
    match (approval.each, strategy) {
        (Each::Wave, Some(strategy)) => strategy.wave_ends(targets).len().max(1),
        _ => 1,
    }
}

/// Why somebody may not give an approval, in words that follow their name; nothing where they may. `not` is who
/// started the run, where that person may not.
#[must_use]
pub fn may_not(state: &State, by: OperatorRole, not: Option<&str>, caller: &Identity) -> Option<String> {
    let role = match caller {
        Identity::Operator(name) => state.operators.get(name).copied(),
        _ => None,
    };
    let name = caller.to_string();
    if role.is_none_or(|role| role < by) {
        return Some(format!("you ({name}) are no {by}"));
    }
    (not == Some(name.as_str())).then(|| format!("you ({name}) started the run, and it takes another person"))
}
