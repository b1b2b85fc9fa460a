//! The registry of nodes and their agents.

use serde::{Deserialize, Serialize};

use super::{State, When};
use crate::bounds;
use crate::catalogue;
use crate::id::{AgentId, ClusterName, ConnectionName, LeaseName, LedgerId};
use crate::identity::Identity;
use crate::reply::{Refusal, Reply};
use crate::state::lease::NODE;
use crate::time::{MeshTime, WallTime};
use crate::wait::Reason;

/// What an agent says of itself when its link comes up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Made with the ledger, random; another one is another holder of the work.
    pub ledger: LedgerId,
    /// Random per process.
    pub incarnation: String,
    pub version: String,
    pub feature_level: u32,
    /// Whether this agent speaks for the machine it runs on. Where several run on one, only one does.
    pub host: bool,
    /// Step kinds that it can carry out and that its own policy allows.
    pub kinds: Vec<String>,
    /// Boot id of the machine, empty where there is none.
    #[serde(default)]
    pub boot_id: String,
    /// Outside systems that it has a way to; without hosts and secrets.
    #[serde(default)]
    pub connections: Vec<Connection>,
}

/// A connection as its agent tells the mesh of it: no more than what placing a step needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    pub name: ConnectionName,
    /// `postgres`, `redis`, `prometheus`, `alertmanager`, `http`, `tls`.
    pub kind: String,
}

/// A node's agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Agent {
    pub enrolled: WallTime,
    /// Grows with each link, also when the registry has forgotten the node in between; the number of the
    /// current or last one.
    pub epoch: u64,
    pub link: Link,
    /// Of the newest link; nothing before the first.
    pub hello: Option<Hello>,
}

/// Whether the mesh has a link to the agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Link {
    Never,
    Up { since: WallTime },
    Lost { since: WallTime, at: MeshTime },
}

impl Agent {
    #[must_use]
    pub fn is_up(&self) -> bool {
        matches!(self.link, Link::Up { .. })
    }

    /// Whether the agent's newest link said that it can do this.
    #[must_use]
    pub fn can(&self, kind: &str) -> bool {
        self.hello.as_ref().is_some_and(|hello| hello.kinds.iter().any(|k| k == kind))
    }

    /// The kind of the connection of that name, where the agent has it.
    #[must_use]
    pub fn connection(&self, name: &ConnectionName) -> Option<&str> {
        let connections = &self.hello.as_ref()?.connections;
        connections.iter().find(|connection| connection.name == *name).map(|connection| connection.kind.as_str())
    }

    #[must_use]
    pub fn speaks_for_host(&self) -> bool {
        self.hello.as_ref().is_some_and(|hello| hello.host)
    }
}

/// Longest of the short texts in a hello.
const TEXT_MAX: usize = 128;
/// Most kinds that an agent may name.
const KINDS_MAX: usize = 256;
/// Most connections that an agent may have.
const CONNECTIONS_MAX: usize = 256;

impl State {
    /// The agent that acts for a cluster: the one of its replicas that holds the lease `agent/CLUSTER`.
    #[must_use]
    pub fn acting(&self, cluster: &ClusterName) -> Option<AgentId> {
        let lease = self.leases.get(&LeaseName::acting(cluster))?;
        lease.held.iter().find_map(|held| held.holder.identity.agent().filter(|agent| agent.is_replica() && agent.cluster == *cluster))
    }

    /// An agent that is there, has a connection, and does a kind through it.
    #[must_use]
    pub fn reaches(&self, connection: &ConnectionName, kind: &catalogue::Kind) -> Option<AgentId> {
        let can = |agent: &Agent| {
            agent.is_up() && agent.can(kind.name) && agent.connection(connection).is_some_and(|own| kind.connection.kinds().contains(&own))
        };
        self.agents.iter().find(|(_, agent)| can(agent)).map(|(id, _)| id.clone())
    }

    /// Whether the agent that acts for a node's cluster is on that node, by what it says of itself.
    pub(crate) fn acts_from(&self, node: &AgentId) -> bool {
        let held = self.leases.get(&LeaseName::acting(&node.cluster)).map(|lease| &lease.held);
        let on = held.into_iter().flatten().find_map(|held| held.holder.attributes.get(NODE));
        node.on_node().zip(on).is_some_and(|(node, on)| node.as_str() == on)
    }

    /// Why nothing of a kind can be done in a cluster now.
    pub(crate) fn nobody_acts(&self, cluster: &ClusterName, kind: &str) -> Reason {
        let acting = self.acting(cluster).filter(|id| self.agents.get(id).is_some_and(Agent::is_up));
        match acting {
            Some(agent) => Reason::ActingCannot { agent, kind: kind.to_owned() },
            None => {
                let own = || self.agents.iter().filter(|(id, _)| id.is_replica() && id.cluster == *cluster);
                let up = own().filter(|(_, agent)| agent.is_up()).count();
                Reason::NobodyActs { cluster: cluster.clone(), known: own().count(), up }
            }
        }
    }

    /// Why nobody can do a kind that any agent might do.
    pub(crate) fn nobody_can(&self, kind: &str) -> Reason {
        let away = self.agents.iter().filter(|(_, agent)| agent.can(kind) && !agent.is_up());
        Reason::NobodyCan { kind: kind.to_owned(), away: away.map(|(id, _)| id.clone()).take(Reason::NAMED + 1).collect() }
    }

    pub(super) fn register_agent(&mut self, agent: &AgentId, when: When) {
        if !self.agents.contains_key(agent) {
            self.agents.insert(agent.clone(), Agent { enrolled: when.wall, epoch: self.generation, link: Link::Never, hello: None });
        }
    }

    pub(super) fn connect_agent(&mut self, id: &AgentId, hello: &Hello, when: When) -> Reply {
        let long = |text: &str| text.len() > TEXT_MAX;
        if hello.kinds.len() > KINDS_MAX
            || long(&hello.ledger.0)
            || long(&hello.incarnation)
            || long(&hello.version)
            || long(&hello.boot_id)
            || hello.kinds.iter().any(|k| long(k))
            || hello.connections.len() > CONNECTIONS_MAX
            || hello.connections.iter().any(|connection| long(&connection.kind))
        {
            return Reply::Refused(Refusal::Invalid(format!("what agent {id} says of itself is too long")));
        }
        if !self.agents.contains_key(id) && self.agents.len() >= bounds::AGENTS {
            return Reply::Refused(Refusal::Bound { what: "agents".into(), limit: bounds::AGENTS as u64 });
        }
        // A certificate of this mesh is proof of enrolment, also where the registry was rebuilt without it.
        self.register_agent(id, when);
        let Some(agent) = self.agents.get_mut(id) else { return Reply::Stale(format!("agent {id} is not registered")) };
        agent.epoch += 1;
        agent.link = Link::Up { since: when.wall };
        agent.hello = Some(hello.clone());
        Reply::Connected { epoch: agent.epoch }
    }

    pub(super) fn lose_agent(&mut self, id: &AgentId, epoch: u64, when: When) -> Reply {
        match self.agents.get_mut(id) {
            Some(agent) if agent.epoch == epoch && agent.is_up() => {
                agent.link = Link::Lost { since: when.wall, at: when.at };
                Reply::Done
            }
            _ => Reply::Stale(format!("agent {id} has no link with epoch {epoch}")),
        }
    }

    pub(super) fn forget_agent(&mut self, id: &AgentId, when: When) -> Reply {
        match self.agents.get(id) {
            None => Reply::Refused(Refusal::NotFound { what: format!("node {id}"), hint: "see `mainstay node list`".into() }),
            Some(agent) if agent.is_up() => Reply::Refused(Refusal::Conflict(format!("node {id} is connected: stop its agent or revoke it first"))),
            Some(_) if self.open_attempts.contains_key(id) => {
                Reply::Refused(Refusal::Conflict(format!("node {id} may still carry out a step: abort its run or wait for its deadline first")))
            }
            Some(_) => {
                self.agents.remove(id);
                self.forget_identity(&Identity::of_agent(id));
                self.findings.clear_target(&id.to_string(), when.wall);
                Reply::Done
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{Actor, Command, Entry};

    #[test]
    fn an_epoch_never_comes_again_for_a_node_that_was_forgotten() {
        let agent: AgentId = "c/n".parse().unwrap();
        let mut state = State::default();
        let mut apply = |command| state.apply(&Entry { at: MeshTime(1), wall: WallTime(1), by: Actor::Mesh, key: None, command });
        let hello = Hello {
            ledger: LedgerId("l".into()),
            incarnation: "p".into(),
            version: "0.1.0".into(),
            feature_level: 1,
            host: true,
            kinds: Vec::new(),
            boot_id: String::new(),
            connections: Vec::new(),
        };
        let connect = Command::ConnectAgent { agent: agent.clone(), hello };
        let Reply::Connected { epoch: first } = apply(connect.clone()) else { panic!("connected") };
        let lose = Command::LoseAgent { agent: agent.clone(), epoch: first };
        assert_eq!(apply(lose.clone()), Reply::Done);
        assert_eq!(apply(Command::ForgetAgent { agent }), Reply::Done);
        let Reply::Connected { epoch: second } = apply(connect) else { panic!("connected") };
        assert!(second > first);
        assert!(matches!(apply(lose), Reply::Stale(_)), "what was decided about the first link does not end the second");
    }
}
