//! What a leader has seen, and what it is about to end because of that.
//!
//! A renewal and the end of its lease must not cross: once an `ExpireLease` may be on its way, the lease is
//! not renewed any more, and once a renewal is noted, an `ExpireLease` that was decided before it is dropped.

use std::collections::{BTreeMap, BTreeSet};

use imbl::OrdMap;

use mainstay_core::fact::{ClusterFacts, NotTaken, Told};
use mainstay_core::id::ClusterName;
use mainstay_core::seen::SeenLink;
use mainstay_core::state::lease::Holder;
use mainstay_core::{AgentId, Command, Identity, LeaseName, MeshTime, Seen, State, Token, bounds};

/// The leader's own observations, and the grants whose end may be on its way into the log.
#[derive(Debug, Default)]
pub struct Memory {
    seen: Seen,
    ending: BTreeSet<Token>,
    /// How many links of an agent are between their command and its epoch: the state may show such a link
    /// before it is seen here, and it must not be called lost for that.
    connecting: BTreeMap<AgentId, u32>,
}

/// A lease cannot be renewed: that it ended may be on its way into the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ending;

impl Memory {
    #[must_use]
    pub fn starting(leading_since: MeshTime) -> Memory {
        Memory { seen: Seen { leading_since, ..Seen::default() }, ..Memory::default() }
    }

    /// A copy for one decision.
    #[must_use]
    pub fn seen(&self) -> Seen {
        self.seen.clone()
    }

    /// This process stood still. What it did not hear in that time counts against nobody.
    pub fn resumed(&mut self, now: MeshTime) {
        self.seen.leading_since = self.seen.leading_since.max(now);
    }

    /// A link of the agent is about to get its epoch. To be followed by [`Memory::connected`].
    pub fn connecting(&mut self, agent: &AgentId) {
        *self.connecting.entry(agent.clone()).or_default() += 1;
    }

    /// The link has its epoch, or none.
    pub fn connected(&mut self, agent: &AgentId, epoch: Option<u64>, now: MeshTime) {
        if let Some(count) = self.connecting.get_mut(agent) {
            *count -= 1;
            if *count == 0 {
                self.connecting.remove(agent);
            }
        }
        let Some(epoch) = epoch else { return };
        if self.seen.links.get(agent).is_none_or(|link| link.epoch < epoch) {
            self.seen.links.insert(agent.clone(), SeenLink { epoch, last_heard: now, closed: false });
        }
    }

    pub fn heard(&mut self, agent: &AgentId, epoch: u64, now: MeshTime) {
        if let Some(link) = self.seen.links.get_mut(agent).filter(|link| link.epoch == epoch) {
            link.last_heard = now;
        }
    }

    pub fn unlinked(&mut self, agent: &AgentId, epoch: u64, now: MeshTime) {
        if let Some(link) = self.seen.links.get_mut(agent).filter(|link| link.epoch == epoch) {
            *link = SeenLink { epoch, last_heard: now, closed: true };
        }
    }

    /// Takes what the replica that acts for its cluster tells of it.
    pub fn told(&mut self, agent: &AgentId, epoch: u64, told: Told, now: MeshTime) -> Result<(), NotTaken> {
        let clusters = &mut self.seen.clusters;
        let kept: usize = clusters.values().map(ClusterFacts::kept).sum();
        let mut facts = clusters.get(&agent.cluster).cloned().unwrap_or_else(|| ClusterFacts::nobody_told(agent));
        let taken = facts.take(agent, epoch, told, bounds::KNOWN_NODES.saturating_sub(kept), now);
        clusters.insert(agent.cluster.clone(), facts);
        taken
    }

    /// What is known of clusters.
    #[must_use]
    pub fn clusters(&self) -> OrdMap<ClusterName, ClusterFacts> {
        self.seen.clusters.clone()
    }

    /// Notes a renewal, unless the lease may be ending.
    pub fn renewed(&mut self, token: Token, now: MeshTime) -> Result<(), Ending> {
        if self.ending.contains(&token) {
            return Err(Ending);
        }
        self.seen.renewals.insert(token, now);
        Ok(())
    }

    /// A waiter has asked again.
    pub fn asked(&mut self, name: &LeaseName, holder: &Holder, now: MeshTime) {
        self.seen.waiters.insert((name.clone(), holder.identity.clone(), holder.incarnation.clone()), now);
    }

    /// Whether a command that was decided on `then` still rests on what has been seen. From here on a lease
    /// that it ends is not renewed.
    pub fn admits(&mut self, command: &Command, then: &Seen) -> bool {
        match command {
            Command::ExpireLease { token, .. } => {
                let same = self.seen.renewals.get(token) == then.renewals.get(token);
                if same {
                    self.ending.insert(*token);
                }
                same
            }
            Command::ExpireWaiter { name, holder } => {
                let key = (name.clone(), holder.identity.clone(), holder.incarnation.clone());
                self.seen.waiters.get(&key) == then.waiters.get(&key)
            }
            Command::LoseAgent { agent, .. } => !self.connecting.contains_key(agent) && self.seen.links.get(agent) == then.links.get(agent),
            _ => true,
        }
    }

    /// The command is known to have had no effect, now or later.
    pub fn came_to_nothing(&mut self, command: &Command) {
        if let Command::ExpireLease { token, .. } = command {
            self.ending.remove(token);
        }
    }

    /// Forgets what the state no longer knows.
    pub fn prune(&mut self, state: &State) {
        let held: BTreeSet<Token> = state.leases.values().flat_map(|lease| lease.held.iter().map(|held| held.token)).collect();
        self.ending.retain(|token| held.contains(token));
        let ended: Vec<_> = self.seen.renewals.keys().filter(|token| !held.contains(token)).copied().collect();
        for token in ended {
            self.seen.renewals.remove(&token);
        }
        let waiting: BTreeSet<(&LeaseName, &Identity, &str)> = state
            .leases
            .iter()
            .flat_map(|(name, lease)| lease.waiting.iter().map(move |waiter| (name, &waiter.holder.identity, waiter.holder.incarnation.as_str())))
            .collect();
        let gone: Vec<_> = self
            .seen
            .waiters
            .keys()
            .filter(|(name, identity, incarnation)| !waiting.contains(&(name, identity, incarnation.as_str())))
            .cloned()
            .collect();
        for key in gone {
            self.seen.waiters.remove(&key);
        }
        let forgotten: Vec<_> = self.seen.links.keys().filter(|agent| !state.agents.contains_key(*agent)).cloned().collect();
        for agent in forgotten {
            self.seen.links.remove(&agent);
        }
        // A cluster that has no agent any more is none that is known.
        let told: Vec<_> = self.seen.clusters.keys().cloned().collect();
        for cluster in told {
            if !state.agents.keys().any(|agent| agent.is_replica() && agent.cluster == cluster) {
                self.seen.clusters.remove(&cluster);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> LeaseName {
        "demo".parse().unwrap()
    }

    fn token() -> Token {
        "1.1".parse().unwrap()
    }

    fn expire() -> Command {
        Command::ExpireLease { name: name(), token: token() }
    }

    #[test]
    fn a_renewal_after_the_decision_drops_the_end() {
        let mut memory = Memory::starting(MeshTime(0));
        let then = memory.seen();
        assert_eq!(memory.renewed(token(), MeshTime(7)), Ok(()));
        assert!(!memory.admits(&expire(), &then));
        assert!(memory.admits(&expire(), &memory.seen()));
    }

    #[test]
    fn a_lease_that_may_be_ending_is_not_renewed() {
        let mut memory = Memory::starting(MeshTime(0));
        let then = memory.seen();
        assert!(memory.admits(&expire(), &then));
        assert_eq!(memory.renewed(token(), MeshTime(7)), Err(Ending));
        memory.came_to_nothing(&expire());
        assert_eq!(memory.renewed(token(), MeshTime(7)), Ok(()));
    }

    #[test]
    fn only_the_newest_link_counts() {
        let agent: AgentId = "local/a1".parse().unwrap();
        let mut memory = Memory::starting(MeshTime(0));
        memory.connected(&agent, Some(2), MeshTime(1));
        memory.connected(&agent, Some(1), MeshTime(2));
        memory.unlinked(&agent, 1, MeshTime(3));
        memory.heard(&agent, 1, MeshTime(4));
        assert_eq!(memory.seen().links.get(&agent), Some(&SeenLink { epoch: 2, last_heard: MeshTime(1), closed: false }));
        memory.heard(&agent, 2, MeshTime(5));
        memory.unlinked(&agent, 2, MeshTime(6));
        assert_eq!(memory.seen().links.get(&agent), Some(&SeenLink { epoch: 2, last_heard: MeshTime(6), closed: true }));
    }

    #[test]
    fn a_link_that_is_about_to_be_seen_is_not_lost() {
        let agent: AgentId = "local/a1".parse().unwrap();
        let lose = Command::LoseAgent { agent: agent.clone(), epoch: 1 };
        let mut memory = Memory::starting(MeshTime(0));
        let then = memory.seen();
        assert!(memory.admits(&lose, &then));
        memory.connecting(&agent);
        assert!(!memory.admits(&lose, &then));
        memory.connected(&agent, Some(1), MeshTime(5));
        assert!(!memory.admits(&lose, &then), "it has been seen since");
        assert!(memory.admits(&lose, &memory.seen()));
    }

    #[test]
    fn what_the_state_does_not_know_is_forgotten() {
        let mut memory = Memory::starting(MeshTime(0));
        memory.connected(&"local/a1".parse().unwrap(), Some(1), MeshTime(1));
        assert_eq!(memory.renewed(token(), MeshTime(1)), Ok(()));
        assert!(memory.admits(&expire(), &memory.seen()));
        let holder = Holder { identity: "operator/ana".parse().unwrap(), incarnation: "i".into(), attributes: Default::default(), takes_over: false };
        memory.asked(&name(), &holder, MeshTime(1));
        let replica: AgentId = "prod/agent/r1".parse().unwrap();
        assert_eq!(memory.told(&replica, 1, Told { sequence: 1, begins: true, ends: true, ..Told::default() }, MeshTime(1)), Ok(()));
        memory.prune(&State::default());
        let seen = memory.seen();
        assert!(seen.clusters.is_empty() && seen.links.is_empty() && seen.renewals.is_empty() && seen.waiters.is_empty() && memory.ending.is_empty());
    }
}
