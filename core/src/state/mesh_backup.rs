//! Whether an attempt may be given the mesh's own snapshot, which says all about a fleet.
//!
//! An agent has no right to it in general. It is given to an attempt of `backup.run` that is under way, in a step that says
//! `mesh: true`, on a connection of kind `mesh` that no other agent has told of under the same name, and that holds the
//! lease of that target: under the token that it names, which is part of the name of the backup that it makes. So somebody
//! has said in a plan which connection is given it; what an agent calls its connections is its own word, and no pattern is
//! enough.

use super::State;
use super::lease::ATTEMPT;
use super::run::Direction;
use crate::catalogue;
use crate::id::{AgentId, AttemptId, ConnectionName, LeaseName, LedgerId, Target, Token};
use crate::identity::Identity;
use crate::reply::{Refusal, Reply};

/// From this level on all members know of it.
pub const MESH_BACKUPS: u32 = 5;

impl State {
    /// Done where it may; nothing is changed by it. It is a command all the same, so that nobody is given a snapshot whom a
    /// majority would not give it to, and so that the audit log has it.
    ///
    /// Stale: the attempt is not under way, or has lost its lease. Refused: it is no backup of the mesh.
    #[must_use]
    pub fn may_read_mesh(&self, id: AttemptId, ledger: &LedgerId, token: Token) -> Reply {
        let Some(attempt) = self.attempts.get(&id) else { return Reply::Stale(format!("there is no attempt {id}")) };
        if attempt.ledger != *ledger {
            return Reply::Stale(format!("attempt {id} belongs to another ledger"));
        }
        if !attempt.is_open() {
            return Reply::Stale(format!("attempt {id} is no longer open"));
        }
        if attempt.cancel.is_some() {
            return Reply::Stale(format!("attempt {id} is being called off"));
        }
        let (agent, conflict) = (&attempt.agent, |why: String| Reply::Refused(Refusal::Conflict(why)));
        let step = self.runs.get(&attempt.run).and_then(|run| run.plan.step(&attempt.step));
        let is_meant = step.is_some_and(|step| attempt.direction == Direction::Do && catalogue::backs_up_mesh(&step.uses, &step.with));
        let Target::Connection(name) = &attempt.target else { return conflict(format!("attempt {id} is not done to a connection")) };
        if !is_meant {
            return conflict(format!("attempt {id} is none of a step {} that says  mesh: true", catalogue::BACKUP_RUN));
        }
        if self.agents.get(agent).and_then(|known| known.connection(name)) != Some(catalogue::MESH) {
            return conflict(format!("{name} is no connection of kind {} of agent {agent}", catalogue::MESH));
        }
        if let Some(other) = self.also_has(agent, name) {
            return conflict(format!(
                "agent {other} has a connection {name} too, so that nobody has said who is given the mesh's snapshot: give the one of {agent} \
                 another name, or forget the other agent"
            ));
        }
        let lease = LeaseName::backup(&agent.cluster, name);
        let Some(held) = self.leases.get(&lease).and_then(|lease| lease.held.front()) else {
            return Reply::Stale(format!("nobody holds the lease {lease}"));
        };
        if held.holder.attributes.get(ATTEMPT) != Some(&id.to_string()) {
            return Reply::Stale(format!("attempt {id} does not hold the lease {lease} any more: {} does, under token {}", held.holder, held.token));
        }
        if held.token != token {
            return Reply::Stale(format!("token {token} comes too late: the lease {lease} is held under token {}", held.token));
        }
        Reply::Done
    }

    /// Another agent with a connection of this name, whatever it leads to. Replicas of one cluster's agent have one file.
    fn also_has(&self, agent: &AgentId, name: &ConnectionName) -> Option<&AgentId> {
        let is_one = |other: &AgentId| other == agent || (other.is_replica() && agent.is_replica() && other.cluster == agent.cluster);
        let others = self.agents.iter().filter(|(other, known)| !is_one(other) && known.connection(name).is_some());
        others.map(|(other, _)| other).find(|other| !self.revoked.contains_key(&Identity::of_agent(other)))
    }
}
