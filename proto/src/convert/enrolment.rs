//! Join tokens and operators.

use mainstay_core::state::enrolment::{JoinGrant, JoinScope, OperatorRole};
use mainstay_core::voucher::Reviewed;

use super::InvalidMessage;
use crate::v1;

/// As much as is passed on of why an agent could not have a token reviewed.
const FAILED_MAX: usize = 512;

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

/// What a cluster agent says of a token, or why it does not know.
#[must_use]
pub fn token_reviewed_to_wire(id: u64, answer: Result<Reviewed, String>) -> v1::TokenReviewed {
    match answer {
        Err(failed) => v1::TokenReviewed { id, failed, ..v1::TokenReviewed::default() },
        Ok(Reviewed { authenticated, why_not, namespace, account, pod, pod_uid, node, node_uid, vouched, vouched_as_hands }) => v1::TokenReviewed {
            id,
            failed: String::new(),
            authenticated,
            why_not,
            namespace,
            account,
            pod,
            pod_uid,
            node,
            node_uid,
            vouched,
            vouched_as_hands,
        },
    }
}

/// Of which question it is the answer, and the answer. Nothing in it is believed yet.
pub fn token_reviewed_from_wire(said: v1::TokenReviewed) -> (u64, Result<Reviewed, String>) {
    let v1::TokenReviewed { id, failed, authenticated, why_not, namespace, account, pod, pod_uid, node, node_uid, vouched, vouched_as_hands } = said;
    if !failed.is_empty() {
        return (id, Err(failed.chars().take(FAILED_MAX).collect()));
    }
    (id, Ok(Reviewed { authenticated, why_not, namespace, account, pod, pod_uid, node, node_uid, vouched, vouched_as_hands }))
}
