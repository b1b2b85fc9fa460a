//! Who is let in: certificates renewed, join tokens, operators, identities revoked.

mod operators;
mod tokens;

use std::sync::Arc;

use mainstay_core::authz::{Method, Subject};
use mainstay_core::{Command, Identity, bounds};
use mainstay_proto::convert::parsed;
use mainstay_proto::v1;
use tonic::{Request, Response, Status};

use super::front::{Front, request_key};
use super::status;
use crate::ca::IssueError;

pub struct IdentitiesApi(pub Arc<Front>);

#[tonic::async_trait]
impl v1::identities_server::Identities for IdentitiesApi {
    /// Any member renews: its issuer is its own, and who is revoked is known to all.
    async fn renew(&self, request: Request<v1::RenewCertificateRequest>) -> Result<Response<v1::Certificate>, Status> {
        let identity = self.0.permit_here(&request, Method::RenewCertificate, Subject::None)?;
        let certificate = self.0.certificate(&request.get_ref().csr_pem, &identity).await?;
        tracing::info!(%identity, "certificate renewed");
        Ok(Response::new(certificate))
    }

    /// For a member that has no issuer. By this one's own: two without one do not ask each other in turn.
    async fn sign(&self, request: Request<v1::SignRequest>) -> Result<Response<v1::Certificate>, Status> {
        let by = self.0.permit_here(&request, Method::Sign, Subject::None)?;
        let v1::SignRequest { identity, csr_pem } = request.into_inner();
        let identity: Identity = parsed("identity", &identity).map_err(status::invalid)?;
        if self.0.consensus.state().state.revoked.contains_key(&identity) {
            return Err(Status::permission_denied(format!("{identity} is revoked")));
        }
        let certificate = self.0.home.issue(&csr_pem, &identity).map_err(not_issued)?;
        tracing::info!(%identity, %by, "certificate signed for another member");
        Ok(Response::new(certificate))
    }

    async fn create_join_token(&self, request: Request<v1::CreateJoinTokenRequest>) -> Result<Response<v1::JoinToken>, Status> {
        let (office, by) = self.0.lead(&request, Method::CreateJoinToken, Subject::None)?;
        Ok(Response::new(tokens::create(&self.0, &office, by, request.into_inner()).await?))
    }

    async fn list_join_tokens(&self, request: Request<v1::ListJoinTokensRequest>) -> Result<Response<v1::ListJoinTokensResponse>, Status> {
        let (office, state) = self.0.read(&request, Method::ReadAccess).await?;
        Ok(Response::new(tokens::list(&state, office.wall())))
    }

    async fn revoke_join_token(&self, request: Request<v1::RevokeJoinTokenRequest>) -> Result<Response<v1::RevokeJoinTokenResponse>, Status> {
        let (office, by) = self.0.lead(&request, Method::RevokeJoinToken, Subject::None)?;
        let key = request_key(&request)?;
        Ok(Response::new(tokens::revoke(&self.0, &office, by, key, request.into_inner()).await?))
    }

    async fn list_operators(&self, request: Request<v1::ListOperatorsRequest>) -> Result<Response<v1::ListOperatorsResponse>, Status> {
        let (office, state) = self.0.read(&request, Method::ReadAccess).await?;
        Ok(Response::new(operators::list(&state, &self.0.seen, office.wall())))
    }

    async fn set_operator(&self, request: Request<v1::SetOperatorRequest>) -> Result<Response<v1::SetOperatorResponse>, Status> {
        let (office, by) = self.0.lead(&request, Method::ChangeOperator, Subject::None)?;
        let key = request_key(&request)?;
        Ok(Response::new(operators::set(&self.0, &office, by, key, request.into_inner()).await?))
    }

    async fn remove_operator(&self, request: Request<v1::RemoveOperatorRequest>) -> Result<Response<v1::RemoveOperatorResponse>, Status> {
        let (office, by) = self.0.lead(&request, Method::ChangeOperator, Subject::None)?;
        let key = request_key(&request)?;
        Ok(Response::new(operators::remove(&self.0, &office, by, key, request.into_inner()).await?))
    }

    async fn revoke(&self, request: Request<v1::RevokeRequest>) -> Result<Response<v1::RevokeResponse>, Status> {
        let (office, by) = self.0.lead(&request, Method::Revoke, Subject::None)?;
        let key = request_key(&request)?;
        let v1::RevokeRequest { identity, reason, dry_run } = request.into_inner();
        let identity: Identity = parsed("identity", &identity).map_err(status::invalid)?;
        if reason.len() > bounds::REASON_BYTES {
            return Err(Status::invalid_argument(format!("a reason has at most {} bytes", bounds::REASON_BYTES)));
        }
        self.0.change(&office, by, key, Command::Revoke { identity, reason }, dry_run).await?;
        Ok(Response::new(v1::RevokeResponse {}))
    }
}

pub fn not_issued(error: IssueError) -> Status {
    match error {
        IssueError::NoIssuer(_) | IssueError::Nobody { .. } | IssueError::Elsewhere(_) => Status::failed_precondition(error.to_string()),
        IssueError::Identity(_) => Status::invalid_argument(error.to_string()),
        IssueError::Broken(_) => Status::internal(error.to_string()),
    }
}
