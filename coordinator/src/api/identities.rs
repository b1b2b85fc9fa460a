//! Certificates renewed, join tokens made, identities revoked.

use std::sync::Arc;

use mainstay_client::identity::{JoinToken, root_sha256};
use mainstay_core::authz::{Method, Subject};
use mainstay_core::state::enrolment::{JoinGrant, JoinScope, OperatorRole};
use mainstay_core::{Command, Identity, Millis, WallTime};
use mainstay_proto::convert::{InvalidMessage, parsed};
use mainstay_proto::v1;
use mainstay_proto::v1::create_join_token_request::Scope;
use tonic::{Request, Response, Status};

use super::front::{Front, request_key};
use super::status;
use crate::ca::IssueError;

/// How long a join token is good, unless said otherwise, and at most.
const VALID: Millis = Millis(3_600_000);
const VALID_MAX: Millis = Millis(30 * 86_400_000);
/// Most uses of one join token.
const USES_MAX: u32 = 20_000;
/// Longest reason of a revocation.
const REASON_MAX: usize = 512;

pub struct IdentitiesApi(pub Arc<Front>);

#[tonic::async_trait]
impl v1::identities_server::Identities for IdentitiesApi {
    /// Any member renews: its issuer is its own, and who is revoked is known to all.
    async fn renew(&self, request: Request<v1::RenewCertificateRequest>) -> Result<Response<v1::Certificate>, Status> {
        let identity = self.0.permit_here(&request, Method::RenewCertificate, Subject::None)?;
        let certificate = self.0.home.issue(&request.get_ref().csr_pem, &identity).map_err(not_issued)?;
        tracing::info!(%identity, "certificate renewed");
        Ok(Response::new(certificate))
    }

    async fn create_join_token(&self, request: Request<v1::CreateJoinTokenRequest>) -> Result<Response<v1::JoinToken>, Status> {
        let (office, by) = self.0.lead(&request, Method::CreateJoinToken, Subject::None)?;
        let v1::CreateJoinTokenRequest { scope, valid_ms, uses, role } = request.into_inner();
        let scope = scope_of(scope)?;
        let role = role_of(&scope, &role)?;
        let valid = if valid_ms == 0 { VALID } else { Millis(valid_ms) };
        let uses = uses.max(1);
        if valid > VALID_MAX || uses > USES_MAX {
            return Err(Status::invalid_argument(format!("a join token is good for at most {VALID_MAX} and {USES_MAX} uses")));
        }
        if let (JoinScope::Operator(name), Some(role)) = (&scope, role) {
            self.0.propose(&office, by.clone(), None, Command::PutOperator { name: name.clone(), role }).await?;
        }
        let root = root_sha256(&self.0.home.roots_pem()).map_err(|error| Status::internal(error.to_string()))?;
        let token = JoinToken::create(&root);
        let expires = WallTime(office.wall().0.saturating_add_unsigned(valid.0));
        // Without the caller's key: each call makes a secret of its own, and one that was lost expires.
        self.0.propose(&office, by, None, Command::GrantJoin { grant: JoinGrant { id: token.id(), scope, expires, uses } }).await?;
        Ok(Response::new(v1::JoinToken { token: token.to_string(), expires_unix_ms: expires.0 }))
    }

    async fn revoke(&self, request: Request<v1::RevokeRequest>) -> Result<Response<v1::RevokeResponse>, Status> {
        let (office, by) = self.0.lead(&request, Method::Revoke, Subject::None)?;
        let key = request_key(&request)?;
        let v1::RevokeRequest { identity, reason } = request.into_inner();
        let identity: Identity = parsed("identity", &identity).map_err(status::invalid)?;
        if reason.len() > REASON_MAX {
            return Err(Status::invalid_argument(format!("a reason has at most {REASON_MAX} bytes")));
        }
        self.0.propose(&office, by, key, Command::Revoke { identity, reason }).await?;
        Ok(Response::new(v1::RevokeResponse {}))
    }
}

fn scope_of(scope: Option<Scope>) -> Result<JoinScope, Status> {
    Ok(match scope {
        Some(Scope::NodesOf(cluster)) => JoinScope::Nodes(parsed("nodes_of", &cluster).map_err(status::invalid)?),
        Some(Scope::Operator(name)) => JoinScope::Operator(parsed("operator", &name).map_err(status::invalid)?),
        Some(Scope::Client(name)) => JoinScope::Client(parsed("client", &name).map_err(status::invalid)?),
        Some(Scope::Coordinator(true)) => JoinScope::Coordinator,
        Some(Scope::Coordinator(false)) | None => {
            return Err(Status::invalid_argument("say whom the token is for: nodes of a cluster, an operator, a client, or a coordinator"));
        }
    })
}

/// The role of an operator's token. No role is taken for granted.
fn role_of(scope: &JoinScope, role: &str) -> Result<Option<OperatorRole>, Status> {
    match (scope, role) {
        (JoinScope::Operator(_), "viewer") => Ok(Some(OperatorRole::Viewer)),
        (JoinScope::Operator(_), "operator") => Ok(Some(OperatorRole::Operator)),
        (JoinScope::Operator(_), "admin") => Ok(Some(OperatorRole::Admin)),
        (JoinScope::Operator(_), other) => Err(status::invalid(InvalidMessage::new("role", format!("`{other}` is not viewer, operator or admin")))),
        (_, "") => Ok(None),
        _ => Err(status::invalid(InvalidMessage::new("role", "only an operator has one"))),
    }
}

pub fn not_issued(error: IssueError) -> Status {
    match error {
        IssueError::NoIssuer(_) => Status::failed_precondition(error.to_string()),
        IssueError::Identity(_) => Status::invalid_argument(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operators_token_says_its_role() {
        let operator = JoinScope::Operator("ana".parse().unwrap());
        assert_eq!(role_of(&operator, "admin").unwrap(), Some(OperatorRole::Admin));
        assert!(role_of(&operator, "").is_err() && role_of(&operator, "root").is_err());
        assert_eq!(role_of(&JoinScope::Coordinator, "").unwrap(), None);
        assert!(role_of(&JoinScope::Coordinator, "admin").is_err());
        assert!(scope_of(None).is_err() && scope_of(Some(Scope::Coordinator(false))).is_err());
    }
}
