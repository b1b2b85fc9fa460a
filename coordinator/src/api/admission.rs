//! What comes before every service of the main listener: the call has a rule, and its caller still counts.
//!
//! It answers on every member in the same way, whether that one leads or not: one that was revoked hears so
//! at once, and is not sent on to the leader first. What the role allows is asked by the service itself.

use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::Either;
use mainstay_client::tls::PeerInfo;
use mainstay_core::authz::{Caller, counts};
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service};

use super::front::Front;
use super::rules::rule;
use super::status;

/// Puts the look in front of services.
#[derive(Clone)]
pub struct Admission(pub Arc<Front>);

/// A service behind it.
#[derive(Clone)]
pub struct Admitted<S> {
    front: Arc<Front>,
    inner: S,
}

impl<S> Layer<S> for Admission {
    type Service = Admitted<S>;

    fn layer(&self, inner: S) -> Admitted<S> {
        Admitted { front: self.0.clone(), inner }
    }
}

impl<S, B> Service<http::Request<B>> for Admitted<S>
where
    S: Service<http::Request<B>, Response = http::Response<Body>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Either<S::Future, Ready<Result<S::Response, S::Error>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        match admit(&self.front, &request) {
            Ok(()) => Either::Left(self.inner.call(request)),
            Err(status) => Either::Right(ready(Ok(status.into_http()))),
        }
    }
}

fn admit<B>(front: &Front, request: &http::Request<B>) -> Result<(), Status> {
    let path = request.uri().path();
    let method = rule(path).ok_or_else(|| Status::unimplemented(format!("this member does not know {path}: it is of another version")))?;
    let info = request.extensions().get::<PeerInfo>();
    let peer = info.and_then(|info| info.peer.as_ref()).ok_or_else(|| Status::unauthenticated("this call needs a certificate of the mesh"))?;
    // The certificate may have ended since the connection was made.
    let expired = peer.expired || front.clock.wall() > peer.not_after;
    counts(&Caller::of(&peer.identity, expired, &front.consensus.state().state), method).map_err(status::denied)
}
