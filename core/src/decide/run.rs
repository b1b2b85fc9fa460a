//! What a run does next.

use std::collections::BTreeMap;

use super::Pass;
use crate::catalogue::{self, Scope};
use crate::command::{CancelReason, Command};
use crate::id::{AgentId, AttemptId, Target};
use crate::plan::Step;
use crate::state::agent::{Agent, Link};
use crate::state::attempt::{Attempt, Phase};
use crate::state::run::{Direction, Outcome, Run, RunPhase, Work, WorkState};
use crate::time::{MeshTime, Millis};
use crate::wait::{Reason, Wait};

/// How long a work item that is ready waits for an agent before it counts as unreachable.
pub const AGENT_WAIT: Millis = Millis(120_000);
/// The same for taking something back: a node has time to boot.
pub const UNDO_WAIT: Millis = Millis(900_000);
/// Steps that one agent has at once. It carries them out side by side.
pub const OFFERS_PER_AGENT: usize = 8;

impl Pass<'_> {
    pub(super) fn runs(&mut self) {
        let state = self.state;
        let mut open: BTreeMap<&AgentId, usize> = state.open_attempts.iter().map(|(agent, attempts)| (agent, attempts.len())).collect();
        for run in state.runs.values().filter(|run| !run.is_ended()) {
            if self.is_full() {
                self.wake(self.now);
                return;
            }
            if run.is_to_undo() {
                self.command(Command::BeginUndo { run: run.id.clone() });
            } else if let Some(end) = run.conclusion() {
                self.command(Command::EndRun { run: run.id.clone(), end });
            } else {
                RunPass { pass: self, run, open: &mut open }.steps();
            }
        }
    }
}

/// One look at one run. `open` counts what each agent has, offers of this pass included.
struct RunPass<'p, 's, 'd> {
    pass: &'p mut Pass<'s>,
    run: &'s Run,
    open: &'d mut BTreeMap<&'s AgentId, usize>,
}

/// One work item of the run.
#[derive(Clone, Copy)]
struct Item<'s> {
    step: &'s Step,
    target: &'s Target,
    work: &'s Work,
    direction: Direction,
    /// Since when it could have been offered.
    ready: MeshTime,
}

impl<'s> RunPass<'_, 's, '_> {
    fn steps(&mut self) {
        let direction = if self.run.phase == RunPhase::Undoing { Direction::Undo } else { Direction::Do };
        let first_undo =
            self.run.works().filter(|(_, _, work)| work.undo.as_ref().is_some_and(|undo| !undo.is_over())).max_by_key(|(_, _, work)| work.order);
        for step in &self.run.plan.steps {
            let Some(targets) = self.run.work.get(&step.name) else { continue };
            let gate = (direction == Direction::Do).then(|| self.needs(step));
            let ready = self.ready_at(step);
            for (target, work) in targets {
                if self.pass.is_full() {
                    self.pass.wake(self.pass.now);
                    return;
                }
                let pause = if let WorkState::Retrying { not_before, .. } = work.state(direction) { *not_before } else { MeshTime::default() };
                let item = Item { step, target, work, direction, ready: ready.max(pause) };
                match work.state(direction) {
                    WorkState::Active { attempt } => self.active(item, *attempt),
                    state if !state.is_waiting() => {}
                    _ if direction == Direction::Do && self.run.abort.is_some() => {}
                    _ => match (&gate, first_undo) {
                        (Some(Gate::Closed(reason)), _) => self.wait(item, reason.clone(), item.ready, None),
                        (Some(Gate::Never(reason)), _) => self.give_up(item, WorkState::Skipped { reason: reason.clone() }),
                        (None, Some((name, other, first))) if first.order != work.order => {
                            self.wait(item, Reason::UndoOf { step: name.clone(), target: other.clone() }, item.ready, None);
                        }
                        _ => self.waiting(item),
                    },
                }
            }
        }
    }

    fn needs(&self, step: &Step) -> Gate {
        for need in &step.needs {
            let (Some(needed), Some(targets)) = (self.run.plan.step(need), self.run.work.get(need)) else { continue };
            if let Some((target, work)) = targets.iter().find(|(_, work)| work.forward.is_over() && !self.run.passed(needed, work)) {
                return Gate::Never(format!("it needs {need}, which {} on {target}", outcome_in_words(&work.forward)));
            }
            let open = targets.values().filter(|work| !work.forward.is_over()).count();
            if open > 0 {
                return Gate::Closed(Reason::NeedsStep { step: need.clone(), open });
            }
        }
        Gate::Open
    }

    fn ready_at(&self, step: &Step) -> MeshTime {
        if self.run.phase == RunPhase::Undoing {
            return self.run.moved_at;
        }
        let ends = step.needs.iter().filter_map(|need| self.run.work.get(need)).flat_map(|targets| targets.values().map(|work| work.ended_at));
        ends.max().unwrap_or_default().max(self.run.started_at)
    }

    fn waiting(&mut self, item: Item<'s>) {
        if let WorkState::Retrying { not_before, last } = item.work.state(item.direction)
            && self.pass.now < *not_before
        {
            let attempt = item.work.attempts(item.direction);
            // What an agent gave back is offered again also without a `retry`.
            let of = self.run.retry_of(&item.step.name, item.direction).unwrap_or_default().attempts.max(attempt + 1);
            let reason = Reason::Pause { last: last.clone(), attempt, of };
            return self.wait(item, reason, self.run.moved_at, Some((*not_before, "then it is tried again")));
        }
        let Some(uses) = self.run.kind_of(&item.step.name, item.direction).map(str::to_owned) else { return };
        let agent = match (item.target, item.direction) {
            (Target::Node(id), _) => Some(id),
            (Target::Once | Target::Connection(_), Direction::Do) => None,
            (Target::Once | Target::Connection(_), Direction::Undo) => self.who_did(item.work),
        };
        let agents = &self.pass.state.agents;
        match agent {
            Some(id) => match agents.get_key_value(id) {
                Some((id, agent)) if agent.is_up() && agent.can(&uses) => self.offer(item, id, agent),
                Some((_, agent)) if agent.is_up() => {
                    let reason = format!("agent {id} does not do {uses}: its own policy does not allow it, or it is of an older version");
                    self.give_up(item, WorkState::Unreachable { reason });
                }
                agent => self.nobody(item, Reason::AgentAway { agent: id.clone() }, agent.and_then(|(_, agent)| lost_at(agent))),
            },
            None => match self.anybody(&uses, item.target, item.work.attempts(item.direction)) {
                Some((id, agent)) => self.offer(item, id, agent),
                None if let Target::Connection(name) = item.target => {
                    let has = |agent: &&Agent| agent.connection(name).is_some();
                    let away = agents.values().filter(has).filter_map(lost_at).max();
                    let kind = catalogue::kind(&uses).and_then(|kind| kind.connection.kinds().first()).copied().unwrap_or_default();
                    self.nobody(item, Reason::NoConnection { name: name.clone(), kind }, away);
                }
                None => {
                    let away = agents.values().filter(|agent| agent.can(&uses)).filter_map(lost_at).max();
                    self.nobody(item, Reason::NobodyCan { kind: uses }, away);
                }
            },
        }
    }

    /// The agent that did what was to be done once: only there can it be taken back.
    fn who_did(&self, work: &'s Work) -> Option<&'s AgentId> {
        let attempts = work.attempts.iter().rev().filter_map(|id| self.pass.state.attempts.get(id));
        attempts
            .filter(|attempt| matches!(attempt.phase, Phase::Ended(Outcome::Succeeded(_))) && attempt.direction == Direction::Do)
            .map(|attempt| &attempt.agent)
            .next()
    }

    /// Any agent that can: those that speak for a machine first, another one with each attempt, and one that
    /// has room if there is one.
    fn anybody(&self, uses: &str, target: &Target, attempts: u32) -> Option<(&'s AgentId, &'s Agent)> {
        let kind = catalogue::kind(uses);
        let host_only = kind.is_some_and(|kind| kind.scope == Scope::Host);
        let has_way = |agent: &Agent| match target {
            Target::Connection(name) => agent.connection(name).is_some_and(|own| kind.is_some_and(|kind| kind.connection.kinds().contains(&own))),
            Target::Once | Target::Node(_) => true,
        };
        let is_able = |agent: &Agent| agent.is_up() && agent.can(uses) && (!host_only || agent.speaks_for_host()) && has_way(agent);
        let mut able: Vec<(&AgentId, &Agent)> = self.pass.state.agents.iter().filter(|(_, agent)| is_able(agent)).collect();
        able.sort_by_key(|(_, agent)| !agent.speaks_for_host());
        let first = attempts as usize % able.len().max(1);
        able.rotate_left(first);
        let has_room = |(id, _): &&(&AgentId, &Agent)| self.open.get(*id).is_none_or(|open| *open < OFFERS_PER_AGENT);
        able.iter().find(has_room).or(able.first()).copied()
    }

    fn offer(&mut self, item: Item<'s>, id: &'s AgentId, agent: &Agent) {
        let Some(hello) = &agent.hello else { return };
        let open = self.open.entry(id).or_default();
        if *open >= OFFERS_PER_AGENT {
            let reason = Reason::AgentBusy { agent: id.clone(), open: *open };
            return self.wait(item, reason, item.ready, None);
        }
        *open += 1;
        self.pass.command(Command::OfferAttempt {
            run: self.run.id.clone(),
            step: item.step.name.clone(),
            target: item.target.clone(),
            direction: item.direction,
            number: item.work.attempts(item.direction) + 1,
            agent: id.clone(),
            ledger: hello.ledger.clone(),
            epoch: agent.epoch,
        });
    }

    /// `away`: when the agent that could was lost. What was ready long before has been waiting for other
    /// things until then, and an agent that is started again is not gone.
    fn nobody(&mut self, item: Item<'s>, reason: Reason, away: Option<MeshTime>) {
        let patience = match item.direction {
            Direction::Do => AGENT_WAIT,
            Direction::Undo => UNDO_WAIT,
        };
        let since = item.ready.max(away.unwrap_or_default());
        if self.pass.now >= since + patience {
            let reason = format!("{reason} for {patience}");
            self.give_up(item, WorkState::Unreachable { reason });
        } else {
            self.wait(item, reason, since, Some((since + patience, "then it counts as unreachable")));
        }
    }

    fn active(&mut self, item: Item<'s>, id: AttemptId) {
        let Some(attempt) = self.pass.state.attempts.get(&id) else { return };
        let agent = self.pass.state.agents.get(&attempt.agent);
        let is_up = agent.is_some_and(Agent::is_up);
        let same_ledger = agent.and_then(|agent| agent.hello.as_ref()).is_some_and(|hello| hello.ledger == attempt.ledger);
        let late = self.pass.now >= attempt.deadline;
        if !same_ledger {
            return self.abandon(attempt, format!("agent {} came back with another ledger: what it did before is not known", attempt.agent));
        }
        if !is_up && (late || !attempt.has_begun()) {
            return self.abandon(attempt, format!("agent {} has not been heard of", attempt.agent));
        }
        if late && attempt.cancel == Some(CancelReason::TimedOut) && !attempt.has_begun() {
            // Offered again and again to an agent that never begins, it would never end: this was its attempt.
            let message = format!("agent {} is connected and did not begin it in time", attempt.agent);
            return self.pass.command(Command::EndAttempt {
                attempt: id,
                ledger: attempt.ledger.clone(),
                outcome: Outcome::Failed { message, report: None },
            });
        }
        if late && attempt.cancel.is_some() {
            return self.abandon(attempt, format!("agent {} did not stop it in time", attempt.agent));
        }
        let aborted = self.run.abort.is_some() && item.direction == Direction::Do;
        if attempt.cancel.is_none() && (late || aborted) {
            let reason = if late { CancelReason::TimedOut } else { CancelReason::Aborted };
            return self.pass.command(Command::CancelAttempt { attempt: id, reason });
        }
        let agent = attempt.agent.clone();
        let (reason, then) = match (&attempt.phase, attempt.cancel) {
            (Phase::Offered { .. }, Some(CancelReason::TimedOut)) => (Reason::Stopping { agent, attempt: id }, "then it counts as failed"),
            (Phase::Offered { .. }, Some(CancelReason::Aborted)) => (Reason::Stopping { agent, attempt: id }, "then it is taken back"),
            (_, Some(_)) => (Reason::Stopping { agent, attempt: id }, "then its outcome counts as unknown"),
            (Phase::Offered { .. }, None) => (Reason::Offered { agent, attempt: id }, "then it is called off"),
            (_, None) if is_up => (Reason::Works { agent, attempt: id }, "then it is stopped"),
            (_, None) => (Reason::NotHeardOf { agent, attempt: id }, "then its outcome counts as unknown"),
        };
        let since = match attempt.phase {
            Phase::Offered { at } | Phase::Begun { at, .. } => at,
            _ => item.ready,
        };
        self.wait(item, reason, since, Some((attempt.deadline, then)));
    }

    /// An attempt that nobody will report: without `Begin` it had no effect, with it nobody knows.
    fn abandon(&mut self, attempt: &Attempt, reason: String) {
        self.pass.command(if attempt.has_begun() {
            Command::LoseAttempt { attempt: attempt.id, reason }
        } else {
            Command::WithdrawAttempt { attempt: attempt.id, reason }
        });
    }

    fn give_up(&mut self, item: Item<'s>, state: WorkState) {
        self.pass.command(Command::SkipStep {
            run: self.run.id.clone(),
            step: item.step.name.clone(),
            target: item.target.clone(),
            direction: item.direction,
            state,
        });
    }

    fn wait(&mut self, item: Item<'s>, reason: Reason, since: MeshTime, until: Option<(MeshTime, &'static str)>) {
        self.pass.wait(Wait {
            run: self.run.id.clone(),
            step: item.step.name.clone(),
            target: item.target.clone(),
            direction: item.direction,
            reason,
            since,
            until,
        });
    }
}

fn lost_at(agent: &Agent) -> Option<MeshTime> {
    match agent.link {
        Link::Lost { at, .. } => Some(at),
        Link::Never | Link::Up { .. } => None,
    }
}

/// What the needs of a step come to.
enum Gate {
    Open,
    Closed(Reason),
    Never(String),
}

fn outcome_in_words(state: &WorkState) -> String {
    match state {
        WorkState::Succeeded { verdict } => format!("found something {verdict}"),
        WorkState::Failed { message } => format!("failed ({message})"),
        WorkState::Unknown { .. } => "has an unknown outcome".to_owned(),
        WorkState::Skipped { .. } => "was skipped".to_owned(),
        other => format!("is {}", other.word()),
    }
}
