//! Who may join, who has joined, which operators there are, and whose certificates are no longer taken.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::trust::{RootId, Shown};
use super::{State, When};
use crate::bounds;
use crate::id::{AgentId, ClusterName, PrincipalName};
use crate::identity::Identity;
use crate::reply::{Refusal, Reply};
use crate::time::WallTime;
use crate::voucher::Voucher;

/// SHA-256 of a join token's secret, in hexadecimal. The secret itself is never stored.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TokenId(pub String);

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.get(..12).unwrap_or(&self.0))
    }
}

/// What a join token entitles to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinGrant {
    pub id: TokenId,
    pub scope: JoinScope,
    /// By the coordinators' wall clock.
    pub expires: WallTime,
    pub uses: u32,
    /// The root that it pins; whoever uses it takes no other.
    #[serde(default)]
    pub root: Option<RootId>,
}

/// Which identities a join token may become.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum JoinScope {
    /// Any node of the cluster.
    Nodes(ClusterName),
    ClusterAgents(ClusterName),
    Operator(PrincipalName),
    Client(PrincipalName),
    Coordinator,
}

impl JoinScope {
    #[must_use]
    pub fn admits(&self, identity: &Identity) -> bool {
        match (self, identity) {
            (JoinScope::Nodes(cluster), Identity::Node(agent)) => agent.cluster == *cluster,
            (JoinScope::ClusterAgents(cluster), Identity::ClusterAgent { cluster: c, .. }) => c == cluster,
            (JoinScope::Operator(name), Identity::Operator(n)) | (JoinScope::Client(name), Identity::Client(n)) => n == name,
            (JoinScope::Coordinator, Identity::Coordinator(_)) => true,
            _ => false,
        }
    }

    /// The one identity that it admits, where there is but one.
    #[must_use]
    pub fn single(&self) -> Option<Identity> {
        match self {
            JoinScope::Operator(name) => Some(Identity::Operator(name.clone())),
            JoinScope::Client(name) => Some(Identity::Client(name.clone())),
            JoinScope::Nodes(_) | JoinScope::ClusterAgents(_) | JoinScope::Coordinator => None,
        }
    }
}

impl fmt::Display for JoinScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            JoinScope::Nodes(cluster) => write!(f, "nodes of {cluster}"),
            JoinScope::ClusterAgents(cluster) => write!(f, "cluster agents of {cluster}"),
            JoinScope::Operator(name) => write!(f, "operator {name}"),
            JoinScope::Client(name) => write!(f, "client {name}"),
            JoinScope::Coordinator => f.write_str("coordinators"),
        }
    }
}

/// What an operator may do. Each includes the ones before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OperatorRole {
    /// Look.
    Viewer,
    /// Apply plans, start and stop runs, hold leases.
    Operator,
    /// Change the mesh itself: members, tokens, operators, revocation.
    Admin,
}

impl fmt::Display for OperatorRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            OperatorRole::Viewer => "viewer",
            OperatorRole::Operator => "operator",
            OperatorRole::Admin => "admin",
        })
    }
}

/// That and why an identity is refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    pub at: WallTime,
    pub reason: String,
}

/// What the mesh remembers of an identity that it has let in.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Known {
    /// The last time that it was let in.
    pub enrolled: Option<WallTime>,
    /// Who vouched for it then; nothing where a join token was used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vouched: Option<Vouched>,
    /// Its certificate, as it was shown last.
    pub shown: Option<Shown>,
}

/// What is kept of a voucher; the whole of it is in the audit log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vouched {
    pub by: AgentId,
    /// Of the Node object: one of the same name that was made anew has another.
    pub node_uid: String,
}

/// From this level on the mesh remembers whom it let in, and a name that was revoked is not given again.
const REMEMBERS: u32 = 2;

impl State {
    pub(super) fn grant_join(&mut self, grant: &JoinGrant) -> Reply {
        let now = self.wall_time;
        self.joins = self.joins.iter().filter(|(_, old)| old.expires > now && old.uses > 0).map(|(id, old)| (id.clone(), old.clone())).collect();
        if self.joins.len() >= bounds::JOIN_TOKENS {
            return Reply::Refused(Refusal::Bound { what: "join tokens".into(), limit: bounds::JOIN_TOKENS as u64 });
        }
        if grant.uses == 0 {
            return Reply::Refused(Refusal::Invalid("a join token needs at least one use".into()));
        }
        if let Some(refusal) = grant.scope.single().and_then(|identity| self.burnt(&identity)) {
            return refusal;
        }
        self.joins.insert(grant.id.clone(), grant.clone());
        Reply::Done
    }

    pub(super) fn revoke_join(&mut self, id: &TokenId) -> Reply {
        match self.joins.remove(id) {
            Some(_) => Reply::Done,
            None => not_a_join_token(),
        }
    }

    pub(super) fn enrol(&mut self, id: &TokenId, identity: &Identity, when: When) -> Reply {
        let Some(grant) = self.joins.get(id).cloned() else { return not_a_join_token() };
        if grant.expires <= when.wall {
            self.joins.remove(id);
            return Reply::Refused(Refusal::Invalid("this join token has expired: make a new one with `mainstay token create`".into()));
        }
        if !grant.scope.admits(identity) {
            return Reply::Refused(Refusal::Invalid(format!("this join token is for {}, not for {identity}", grant.scope)));
        }
        if let Some(refusal) = self.has_no_place(identity) {
            return Reply::Refused(refusal);
        }
        if grant.uses <= 1 {
            self.joins.remove(id);
        } else {
            self.joins.insert(id.clone(), JoinGrant { uses: grant.uses - 1, ..grant });
        }
        if let Identity::Node(agent) = identity {
            self.register_agent(agent, when);
        }
        self.remember(identity, None, when);
        Reply::Done
    }

    /// The voucher was judged before; what the state alone knows is judged here.
    pub(super) fn enrol_vouched(&mut self, identity: &Identity, voucher: &Voucher, when: When) -> Reply {
        let by = &voucher.by;
        let agent = identity.agent().filter(|agent| !agent.is_replica());
        let Some((agent, node)) = agent.as_ref().and_then(|agent| Some((agent, agent.on_node()?))) else {
            return Reply::Refused(Refusal::Invalid(format!("{identity} is not the identity of a node's agent")));
        };
        if !by.is_replica() || by.cluster != agent.cluster || voucher.node != node.as_str() {
            return Reply::Refused(Refusal::Invalid(format!("{by} does not vouch for {identity}")));
        }
        if !self.agents.contains_key(by) || self.revoked.contains_key(&Identity::of_agent(by)) {
            return Reply::Refused(Refusal::Conflict(format!("{by} is no agent of this mesh any more, and vouches for nobody")));
        }
        if let Some(refusal) = self.has_no_place(identity) {
            return Reply::Refused(refusal);
        }
        self.register_agent(agent, when);
        self.remember(identity, Some(Vouched { by: by.clone(), node_uid: voucher.node_uid.clone() }), when);
        Reply::Done
    }

    /// Why nobody is let in under that identity, whatever they show.
    fn has_no_place(&self, identity: &Identity) -> Option<Refusal> {
        if let Some(revocation) = self.revoked.get(identity) {
            return Some(Refusal::Conflict(format!("{identity} is revoked ({})", revocation.reason)));
        }
        let agent = identity.agent().filter(|agent| !agent.is_replica())?;
        let is_one_too_many = !self.agents.contains_key(&agent) && self.agents.len() >= bounds::AGENTS;
        is_one_too_many.then(|| Refusal::Bound { what: "agents".into(), limit: bounds::AGENTS as u64 })
    }

    fn remember(&mut self, identity: &Identity, vouched: Option<Vouched>, when: When) {
        let is_new = !self.identities.contains_key(identity);
        // One that is not remembered works all the same: only what is told about it is less.
        if self.feature_level >= REMEMBERS && (!is_new || self.identities.len() < bounds::IDENTITIES) {
            let known = self.identities.get(identity).cloned().unwrap_or_default();
            self.identities.insert(identity.clone(), Known { enrolled: Some(when.wall), vouched, ..known });
        }
    }

    /// That a name was revoked once: certificates of it may still be about, so nobody else is to have it.
    fn burnt(&self, identity: &Identity) -> Option<Reply> {
        let revocation = self.revoked.get(identity).filter(|_| self.feature_level >= REMEMBERS)?;
        let words = format!("{identity} is revoked ({}), for good: let it in under another name", revocation.reason);
        Some(Reply::Refused(Refusal::Conflict(words)))
    }

    pub(super) fn revoke(&mut self, identity: &Identity, reason: &str, when: When) -> Reply {
        if reason.len() > bounds::REASON_BYTES {
            return Reply::Refused(Refusal::Bound { what: "bytes of reason".into(), limit: bounds::REASON_BYTES as u64 });
        }
        if !self.revoked.contains_key(identity) && self.revoked.len() >= bounds::REVOKED {
            return Reply::Refused(Refusal::Bound { what: "revoked identities".into(), limit: bounds::REVOKED as u64 });
        }
        if let Identity::Operator(name) = identity {
            if self.is_last_admin(name) {
                return Reply::Refused(Refusal::Conflict(format!("{name} is the last admin: add another before this one is revoked")));
            }
            self.operators.remove(name);
        }
        self.forget_identity(identity);
        self.revoked.insert(identity.clone(), Revocation { at: when.wall, reason: reason.to_owned() });
        Reply::Done
    }

    /// What let it in, and that it was let in, is of no use any more.
    pub(super) fn forget_identity(&mut self, identity: &Identity) {
        self.identities.remove(identity);
        if self.feature_level >= REMEMBERS {
            self.joins = self
                .joins
                .iter()
                .filter(|(_, grant)| grant.scope.single().as_ref() != Some(identity))
                .map(|(id, g)| (id.clone(), g.clone()))
                .collect();
        }
    }

    pub(super) fn put_operator(&mut self, name: &PrincipalName, role: OperatorRole) -> Reply {
        if let Some(refusal) = self.burnt(&Identity::Operator(name.clone())) {
            return refusal;
        }
        if role != OperatorRole::Admin && self.is_last_admin(name) {
            return Reply::Refused(Refusal::Conflict(format!("{name} is the last admin: add another before this one is changed")));
        }
        if !self.operators.contains_key(name) && self.operators.len() >= bounds::OPERATORS {
            return Reply::Refused(Refusal::Bound { what: "operators".into(), limit: bounds::OPERATORS as u64 });
        }
        self.operators.insert(name.clone(), role);
        Reply::Done
    }

    pub(super) fn remove_operator(&mut self, name: &PrincipalName) -> Reply {
        if self.is_last_admin(name) {
            return Reply::Refused(Refusal::Conflict(format!("{name} is the last admin: add another before this one is removed")));
        }
        if self.operators.remove(name).is_none() && self.feature_level >= REMEMBERS {
            return Reply::Refused(Refusal::NotFound { what: format!("operator {name}"), hint: "see `mainstay operator list`".into() });
        }
        self.forget_identity(&Identity::Operator(name.clone()));
        Reply::Done
    }

    fn is_last_admin(&self, name: &PrincipalName) -> bool {
        let mut admins = self.operators.iter().filter(|(_, role)| **role == OperatorRole::Admin);
        admins.next().is_some_and(|(first, _)| first == name) && admins.next().is_none()
    }
}

fn not_a_join_token() -> Reply {
    Reply::Refused(Refusal::NotFound {
        what: "such join token".into(),
        hint: "it was used up, revoked or never made; make one with `mainstay token create`".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{Actor, Command, Entry};
    use crate::state::privilege::VOUCHED;
    use crate::time::MeshTime;

    /// A mesh at the newest level with one admin.
    fn mesh() -> State {
        let mut state = State { feature_level: REMEMBERS, ..State::default() };
        assert_eq!(apply(&mut state, put("ana", OperatorRole::Admin)), Reply::Done);
        state
    }

    fn apply(state: &mut State, command: Command) -> Reply {
        state.apply(&Entry { at: MeshTime(1), wall: WallTime(1_000), by: Actor::Mesh, key: None, command })
    }

    fn put(name: &str, role: OperatorRole) -> Command {
        Command::PutOperator { name: name.parse().unwrap(), role }
    }

    fn grant(id: &str, scope: JoinScope) -> Command {
        Command::GrantJoin { grant: JoinGrant { id: TokenId(id.into()), scope, expires: WallTime(2_000), uses: 1, root: None } }
    }

    fn ben() -> Identity {
        Identity::Operator("ben".parse().unwrap())
    }

    #[test]
    fn whoever_enrols_is_remembered_and_whoever_is_revoked_leaves_nothing_behind() {
        let mut state = mesh();
        let scope = JoinScope::Operator("ben".parse().unwrap());
        apply(&mut state, put("ben", OperatorRole::Viewer));
        apply(&mut state, grant("a", scope.clone()));
        apply(&mut state, grant("b", scope.clone()));
        assert_eq!(apply(&mut state, Command::Enrol { id: TokenId("a".into()), identity: ben() }), Reply::Done);
        assert_eq!(state.identities.get(&ben()), Some(&Known { enrolled: Some(WallTime(1_000)), ..Known::default() }));
        assert_eq!(apply(&mut state, Command::Revoke { identity: ben(), reason: "left".into() }), Reply::Done);
        assert!(state.operators.len() == 1 && state.joins.is_empty() && state.identities.is_empty());
        for command in [put("ben", OperatorRole::Viewer), grant("c", scope)] {
            let Reply::Refused(refusal) = apply(&mut state, command) else { panic!("a revoked name is not given again") };
            assert_eq!(refusal.to_string(), "operator/ben is revoked (left), for good: let it in under another name");
        }
    }

    #[test]
    fn a_voucher_lets_in_exactly_the_node_that_it_is_for() {
        let mut state = State { feature_level: VOUCHED, ..mesh() };
        let voucher = Voucher {
            by: "c/agent/r1".parse().unwrap(),
            namespace: "mainstay".into(),
            account: "node-agent".into(),
            pod: "node-agent-x".into(),
            pod_uid: "p".into(),
            node: "n1".into(),
            node_uid: "u".into(),
        };
        let node: Identity = "cluster/c/node/n1".parse().unwrap();
        let enrol = |identity: &str, voucher: &Voucher| Command::EnrolVouched { identity: identity.parse().unwrap(), voucher: voucher.clone() };
        let refused = |state: &mut State, command: Command| match apply(state, command) {
            Reply::Refused(refusal) => refusal.to_string(),
            other => panic!("{other:?}"),
        };
        assert!(refused(&mut state, enrol("cluster/c/node/n1", &voucher)).contains("vouches for nobody"), "who vouches is an agent of the mesh");
        state.register_agent(&voucher.by, When { at: MeshTime(1), wall: WallTime(1) });
        for other in ["cluster/d/node/n1", "cluster/c/node/n2", "cluster/c/agent/r2", "operator/eve", "cluster/c/node/n2/hands"] {
            refused(&mut state, enrol(other, &voucher));
        }
        let by_a_node = Voucher { by: "c/n2".parse().unwrap(), ..voucher.clone() };
        refused(&mut state, enrol("cluster/c/node/n1", &by_a_node));
        assert_eq!((state.agents.len(), state.identities.len()), (1, 0));

        assert_eq!(apply(&mut state, enrol("cluster/c/node/n1", &voucher)), Reply::Done);
        let kept = Vouched { by: voucher.by.clone(), node_uid: "u".into() };
        assert_eq!(state.identities.get(&node), Some(&Known { enrolled: Some(WallTime(1_000)), vouched: Some(kept), shown: None }));
        assert!(state.agents.contains_key(&"c/n1".parse::<AgentId>().unwrap()));

        // Beside it another agent, of whose account the voucher speaks then.
        let of_hands = Voucher { account: "hands".into(), pod: "hands-x".into(), ..voucher.clone() };
        assert_eq!(apply(&mut state, enrol("cluster/c/node/n1/hands", &of_hands)), Reply::Done);
        let hands: AgentId = "c/hands/n1".parse().unwrap();
        assert!(state.agents.contains_key(&hands) && state.identities.contains_key(&Identity::of_agent(&hands)));

        apply(&mut state, Command::Revoke { identity: node, reason: "stolen".into() });
        assert!(refused(&mut state, enrol("cluster/c/node/n1", &voucher)).contains("is revoked (stolen)"));
        apply(&mut state, Command::Revoke { identity: "cluster/c/agent/r1".parse().unwrap(), reason: "stolen".into() });
        assert!(refused(&mut state, enrol("cluster/c/node/n3", &Voucher { node: "n3".into(), ..voucher.clone() })).contains("vouches for nobody"));
        let mut older = State { feature_level: VOUCHED - 1, ..State::default() };
        assert!(refused(&mut older, enrol("cluster/c/node/n1", &voucher)).contains("needs level 5"));
    }

    #[test]
    fn a_removed_operator_can_be_added_again() {
        let mut state = mesh();
        apply(&mut state, put("ben", OperatorRole::Operator));
        apply(&mut state, grant("a", JoinScope::Operator("ben".parse().unwrap())));
        let remove = Command::RemoveOperator { name: "ben".parse().unwrap() };
        assert_eq!(apply(&mut state, remove.clone()), Reply::Done);
        assert!(state.joins.is_empty(), "the token that was not used yet goes with it");
        assert!(matches!(apply(&mut state, remove), Reply::Refused(Refusal::NotFound { .. })));
        assert_eq!(apply(&mut state, put("ben", OperatorRole::Viewer)), Reply::Done);
    }

    #[test]
    fn the_last_admin_stays() {
        let mut state = mesh();
        let name: PrincipalName = "ana".parse().unwrap();
        for command in [
            put("ana", OperatorRole::Viewer),
            Command::RemoveOperator { name: name.clone() },
            Command::Revoke { identity: Identity::Operator(name), reason: String::new() },
        ] {
            assert!(matches!(apply(&mut state, command), Reply::Refused(Refusal::Conflict(_))));
        }
    }
}
