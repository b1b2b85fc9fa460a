//! Who may join, which operators there are, and whose certificates are no longer taken.

use std::fmt;

use serde::{Deserialize, Serialize};

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
        Reply::Done
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
        self.revoked.insert(identity.clone(), Revocation { at: when.wall, reason: reason.to_owned() });
        Reply::Done
    }

    pub(super) fn put_operator(&mut self, name: &PrincipalName, role: OperatorRole) -> Reply {
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
        self.operators.remove(name);
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
