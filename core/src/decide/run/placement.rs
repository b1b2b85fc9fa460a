//! Which agent a work item goes to.

use super::{AGENT_WAIT, Fate, Item, OFFERS_PER_AGENT, RunPass, UNDO_WAIT};
use crate::catalogue::{self, Kind, Scope};
use crate::command::Command;
use crate::id::{AgentId, ClusterName, Target};
use crate::state::agent::{Agent, Link};
use crate::state::attempt::Phase;
use crate::state::run::{Direction, Outcome, Work, WorkState};
use crate::time::MeshTime;
use crate::wait::Reason;

impl<'s> RunPass<'_, 's, '_> {
    pub(super) fn place(&mut self, item: Item<'s>) {
        let Some(uses) = self.run.kind_of(&item.step.name, item.direction).map(str::to_owned) else { return };
        if let Some(cluster) = catalogue::kind(&uses).and_then(|kind| kind.acted_in(item.target)) {
            return self.place_in_cluster(item, cluster, &uses);
        }
        let agent = match (item.target, item.direction) {
            (Target::Node(node), _) => Some(self.pass.state.who_does(node, &uses).0),
            (_, Direction::Do) => None,
            (_, Direction::Undo) => self.who_did(item.work),
        };
        let agents = &self.pass.state.agents;
        match agent {
            Some(id) => match agents.get_key_value(id) {
                Some((id, agent)) if agent.is_up() && agent.can(&uses) => self.offer(item, id, agent),
                Some((_, agent)) if agent.is_up() => {
                    let reason = format!("agent {id} does not do {uses}: {}", self.pass.state.why_not(id, &uses));
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
                    self.nobody(item, self.pass.state.nobody_can(&uses), away);
                }
            },
        }
    }

    /// What is done to a cluster, or to a node as its cluster knows it, goes to the one of the cluster's agents that acts
    /// at this moment; taking it back too, since what is there is the cluster's and not the agent's.
    fn place_in_cluster(&mut self, item: Item<'s>, cluster: &'s ClusterName, uses: &str) {
        let state = self.pass.state;
        let acting = state.acting(cluster).and_then(|id| state.agents.get_key_value(&id));
        match acting {
            Some((id, agent)) if agent.is_up() && agent.can(uses) => self.offer(item, id, agent),
            _ => {
                let of_cluster = state.agents.iter().filter(|(id, _)| id.is_replica() && id.cluster == *cluster);
                let away = of_cluster.filter_map(|(_, agent)| lost_at(agent)).max();
                self.nobody(item, state.nobody_acts(cluster, uses), away);
            }
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
        let by_hands = kind.is_some_and(Kind::is_by_hands);
        let has_way = |agent: &Agent| match target {
            Target::Connection(name) => agent.connection(name).is_some_and(|own| kind.is_some_and(|kind| kind.connection.kinds().contains(&own))),
            Target::Once | Target::Node(_) | Target::Cluster(_) => true,
        };
        let is_able = |agent: &Agent| agent.is_up() && agent.can(uses) && (!host_only || agent.speaks_for_host()) && has_way(agent);
        let state = self.pass.state;
        let is_for_it = |id: &AgentId| !by_hands || !state.leaves_to_hands(id, uses);
        let mut able: Vec<(&AgentId, &Agent)> = state.agents.iter().filter(|(id, agent)| is_able(agent) && is_for_it(id)).collect();
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
            let reason = format!("nobody was there within {patience}: {reason}");
            self.give_up(item, WorkState::Unreachable { reason });
        } else {
            let then = match (item.direction, self.fate(item)) {
                (Direction::Undo, _) => "then it counts as unreachable: it stays in place, and the undo is incomplete",
                (_, Fate::GoesOn) => "then it counts as unreachable, and the run goes on",
                (_, Fate::Fails) => "then it counts as unreachable, and the run fails",
                (_, Fate::FailsAndUndoes) => "then it counts as unreachable: the run fails, and what was done is taken back",
            };
            self.wait(item, reason, since, Some((since + patience, then)));
        }
    }
}

fn lost_at(agent: &Agent) -> Option<MeshTime> {
    match agent.link {
        Link::Lost { at, .. } => Some(at),
        Link::Never | Link::Up { .. } => None,
    }
}
