//! Join tokens and operators.

use mainstay_core::state::enrolment::{JoinGrant, JoinScope, OperatorRole};

use super::InvalidMessage;
use crate::v1;

#[must_use]
pub fn join_grant_to_wire(grant: &JoinGrant) -> v1::JoinGrant {
    let (scope, name) = match &grant.scope {
        JoinScope::Nodes(cluster) => ("nodes", cluster.to_string()),
        JoinScope::ClusterAgents(cluster) => ("cluster agents", cluster.to_string()),
        JoinScope::Operator(name) => ("operator", name.to_string()),
        JoinScope::Client(name) => ("client", name.to_string()),
        JoinScope::Coordinator => ("coordinator", String::new()),
    };
    v1::JoinGrant { id: grant.id.0.clone(), scope: scope.into(), name, uses: grant.uses, expires_unix_ms: grant.expires.0 }
}

/// No role is taken for granted.
pub fn role_from_wire(text: &str) -> Result<OperatorRole, InvalidMessage> {
    match text {
        "viewer" => Ok(OperatorRole::Viewer),
        "operator" => Ok(OperatorRole::Operator),
        "admin" => Ok(OperatorRole::Admin),
        other => Err(InvalidMessage::new("role", format!("`{other}` is not viewer, operator or admin"))),
    }
}
