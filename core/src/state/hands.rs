//! Which agent of a node does what: its own one looks, and what changes the node is for its hands, where it has some.
//!
//! A node without hands has one agent for all, as servers have; whether that one may change anything is for its own
//! policy to say. The agent that the chart puts on a node of a cluster is a pod that sees little of the node and can
//! write to none of it. So where that is all there is, what is missing is said to be the hands.

use super::State;
use super::agent::Agent;
use crate::catalogue;
use crate::id::AgentId;
use crate::identity::Identity;

impl State {
    /// The agent that does a kind on a node, as far as the mesh knows it.
    #[must_use]
    pub(crate) fn who_does<'s>(&'s self, node: &'s AgentId, kind: &str) -> (&'s AgentId, Option<&'s Agent>) {
        match self.hands_of(node, kind) {
            Some((hands, agent)) => (hands, Some(agent)),
            None => (node, self.agents.get(node)),
        }
    }

    /// The hands of a node, of a kind that is for them.
    fn hands_of(&self, node: &AgentId, kind: &str) -> Option<(&AgentId, &Agent)> {
        let is_theirs = catalogue::kind(kind).is_some_and(catalogue::Kind::is_by_hands);
        let hands = is_theirs.then(|| node.on_node()).flatten().map(|name| AgentId::hands(node.cluster.clone(), name.clone()))?;
        self.agents.get_key_value(&hands)
    }

    /// Whether an agent leaves a kind to the hands of its node.
    #[must_use]
    pub(crate) fn leaves_to_hands(&self, agent: &AgentId, kind: &str) -> bool {
        agent.is_node() && self.hands_of(agent, kind).is_some()
    }

    /// Why a kind cannot be done on a node, and what helps, where that is that it has no hands: its only agent is a pod,
    /// which was let in as one.
    #[must_use]
    pub(crate) fn lacks_hands(&self, node: &AgentId, kind: &str) -> Option<String> {
        let is_theirs = catalogue::kind(kind).is_some_and(catalogue::Kind::is_by_hands);
        let is_pod = || self.identities.get(&Identity::of_agent(node)).is_some_and(|known| known.vouched.is_some());
        (is_theirs && node.is_node() && is_pod() && self.hands_of(node, kind).is_none()).then(|| {
            let name = node.name();
            format!(
                "node {name} has no hands, and its agent is a pod that only looks: install the chart with hands.enabled=true, and allow {kind} in \
                 hands.policy (docs/clusters.md)"
            )
        })
    }

    /// Why an agent that is connected does not do a kind, and what helps.
    #[must_use]
    pub(crate) fn why_not(&self, agent: &AgentId, kind: &str) -> String {
        self.lacks_hands(agent, kind).unwrap_or_else(|| catalogue::why_not(kind))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::LedgerId;
    use crate::state::agent::{Hello, Link};
    use crate::state::enrolment::{Known, Vouched};
    use crate::time::WallTime;

    fn agent(kinds: &[&str]) -> Agent {
        let hello = Hello {
            ledger: LedgerId("l".into()),
            incarnation: "p".into(),
            version: "0.1.0".into(),
            feature_level: 5,
            host: false,
            kinds: kinds.iter().map(|kind| (*kind).to_owned()).collect(),
            boot_id: String::new(),
            connections: Vec::new(),
        };
        Agent { enrolled: WallTime(1), epoch: 1, link: Link::Up { since: WallTime(1) }, hello: Some(hello) }
    }

    fn id(text: &str) -> AgentId {
        text.parse().unwrap()
    }

    fn pod(state: &mut State, node: &str) {
        let vouched = Some(Vouched { by: id("c/agent/r1"), node_uid: "u".into() });
        state.identities.insert(Identity::of_agent(&id(node)), Known { vouched, ..Known::default() });
    }

    #[test]
    fn what_changes_a_node_is_for_its_hands_where_it_has_some() {
        let mut state = State::default();
        for (name, kinds) in [("c/n1", &["node.exec", "node.resources"][..]), ("c/hands/n1", &["node.exec"]), ("c/n2", &["node.exec"])] {
            state.agents.insert(id(name), agent(kinds));
        }
        let does = |node: &str, kind: &str| {
            let node = id(node);
            let (who, known) = state.who_does(&node, kind);
            (who.to_string(), known.is_some())
        };
        assert_eq!(does("c/n1", "node.exec"), ("c/hands/n1".into(), true));
        assert_eq!(does("c/n1", "node.resources"), ("c/n1".into(), true), "they look at nothing");
        assert_eq!(does("c/n1", "wait"), ("c/n1".into(), true));
        assert_eq!(does("c/n2", "node.exec"), ("c/n2".into(), true), "one agent for all, as on servers");
        assert_eq!(does("d/n1", "node.exec"), ("d/n1".into(), false), "a node of that name in another cluster");
        let leaves = |agent: &str, kind: &str| state.leaves_to_hands(&id(agent), kind);
        assert!(leaves("c/n1", "node.exec") && !leaves("c/n1", "wait") && !leaves("c/n2", "node.exec"));
        assert!(!leaves("c/hands/n1", "node.exec") && !leaves("c/agent/r1", "node.exec"));
    }

    #[test]
    fn a_node_lacks_hands_where_only_a_pod_is_there() {
        let mut state = State::default();
        for name in ["c/n1", "c/n2", "c/n3", "c/hands/n3"] {
            state.agents.insert(id(name), agent(&["node.resources"]));
        }
        for name in ["c/n1", "c/n3"] {
            pod(&mut state, name);
        }
        let words = state.lacks_hands(&id("c/n1"), "node.exec").unwrap();
        assert!(words.contains("node n1 has no hands") && words.contains("hands.enabled=true") && words.contains("allow node.exec"), "{words}");
        assert_eq!(state.why_not(&id("c/n1"), "node.exec"), words);
        assert_eq!(state.lacks_hands(&id("c/n1"), "http.check"), None, "it needs none");
        assert_eq!(state.lacks_hands(&id("c/n2"), "node.exec"), None, "a server's agent, let in by a join token");
        assert_eq!(state.lacks_hands(&id("c/n3"), "node.exec"), None, "it has some");
        assert_eq!(state.why_not(&id("c/hands/n3"), "node.exec"), catalogue::why_not("node.exec"));
    }
}
