//! Who may join, who has joined, which operators there are, and whose certificates are no longer taken.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::trust::{RootId, Shown};
use super::{State, When};
use crate::bounds;
use crate::id::{ClusterName, PrincipalName};
use crate::identity::Identity;
use crate::reply::{Refusal, Reply};
use crate::time::WallTime;

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
    /// The last time that a join token was used for it.
    pub enrolled: Option<WallTime>,
    /// Its certificate, as it was shown last.
    pub shown: Option<Shown>,
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
        if let Some(revocation) = self.revoked.get(identity) {
            return Reply::Refused(Refusal::Conflict(format!("{identity} is revoked ({})", revocation.reason)));
        }
        if let Identity::Node(agent) = identity
            && !self.agents.contains_key(agent)
            && self.agents.len() >= bounds::AGENTS
        {
            return Reply::Refused(Refusal::Bound { what: "agents".into(), limit: bounds::AGENTS as u64 });
        }
        if grant.uses <= 1 {
            self.joins.remove(id);
        } else {
            self.joins.insert(id.clone(), JoinGrant { uses: grant.uses - 1, ..grant });
        }
        if let Identity::Node(agent) = identity {
            self.register_agent(agent, when);
        }
        self.remember(identity, when);
        Reply::Done
    }

    fn remember(&mut self, identity: &Identity, when: When) {
        let is_new = !self.identities.contains_key(identity);
        // One that is not remembered works all the same: only what is told about it is less.
        if self.feature_level >= REMEMBERS && (!is_new || self.identities.len() < bounds::IDENTITIES) {
            let known = self.identities.get(identity).cloned().unwrap_or_default();
            self.identities.insert(identity.clone(), Known { enrolled: Some(when.wall), ..known });
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
        assert_eq!(state.identities.get(&ben()), Some(&Known { enrolled: Some(WallTime(1_000)), shown: None }));
        assert_eq!(apply(&mut state, Command::Revoke { identity: ben(), reason: "left".into() }), Reply::Done);
        assert!(state.operators.len() == 1 && state.joins.is_empty() && state.identities.is_empty());
        for command in [put("ben", OperatorRole::Viewer), grant("c", scope)] {
            let Reply::Refused(refusal) = apply(&mut state, command) else { panic!("a revoked name is not given again") };
            assert_eq!(refusal.to_string(), "operator/ben is revoked (left), for good: let it in under another name");
        }
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
