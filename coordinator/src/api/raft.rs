//! Calls between members: bytes in, bytes out. What they mean is the store's business.

use std::sync::Arc;

use bytes::Bytes;
use mainstay_core::authz::{Method, Subject};
use mainstay_proto::v1;
use tonic::{Request, Response, Status};

use super::front::Front;
use crate::store::{CallError, CallKind, RaftCall};

pub struct RaftApi(pub Arc<Front>);

#[tonic::async_trait]
impl v1::raft_server::Raft for RaftApi {
    async fn call(&self, request: Request<v1::RaftRequest>) -> Result<Response<v1::RaftResponse>, Status> {
        self.0.permit(&request, Method::Raft, Subject::None, &self.0.consensus.state().state)?;
        let v1::RaftRequest { kind, payload } = request.into_inner();
        let kind = CallKind::from_number(kind)
            .ok_or_else(|| Status::unimplemented(format!("this member does not know calls of kind {kind}: it is of an older version")))?;
        match self.0.consensus.handle(RaftCall { kind, body: Bytes::from(payload) }).await {
            Ok(payload) => Ok(Response::new(v1::RaftResponse { payload: payload.into() })),
            Err(error) => Err(refusal(&error)),
        }
    }
}

fn refusal(error: &CallError) -> Status {
    let message = error.to_string();
    match error {
        CallError::NotMe { .. } | CallError::Snapshot(_) => Status::failed_precondition(message),
        CallError::Unreadable(_) => Status::invalid_argument(message),
        CallError::DiskFull => Status::resource_exhausted(message),
        CallError::Stopped => Status::unavailable(message),
    }
}
