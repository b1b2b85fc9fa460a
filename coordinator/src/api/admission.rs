//! What comes around every service of the main listener: the call has a rule, its caller still counts, and
//! its certificate is noted.
//!
//! It answers on every member in the same way, whether that one leads or not: one that was revoked hears so
//! at once, and is not sent on to the leader first. What the role allows is asked by the service itself.

use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::FutureExt;
use futures::future::{Either, Map};
use http::HeaderValue;
use mainstay_client::tls::PeerInfo;
use mainstay_core::Identity;
use mainstay_core::authz::{Caller, Method, counts};
use mainstay_proto::{RENEW_HEADER, TRUSTS_HEADER};
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service};

use super::credentials::shown;
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
    type Future = Either<Map<S::Future, Finish<S::Response, S::Error>>, Ready<Result<S::Response, S::Error>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        match admit(&self.front, &request) {
            Ok(renews) => {
                let finish: Finish<S::Response, S::Error> = if renews { with_hint } else { |answer| answer };
                Either::Left(self.inner.call(request).map(finish))
            }
            Err(status) => Either::Right(ready(Ok(status.into_http()))),
        }
    }
}

/// What becomes of an answer on its way out.
type Finish<R, E> = fn(Result<R, E>) -> Result<R, E>;

/// Says with the answer that the caller is to renew its certificate before its time.
fn with_hint<E>(answer: Result<http::Response<Body>, E>) -> Result<http::Response<Body>, E> {
    answer.map(|mut response| {
        response.headers_mut().insert(RENEW_HEADER, HeaderValue::from_static("now"));
        response
    })
}

/// Whether the call may go on, and if so, whether its caller is to renew.
fn admit<B>(front: &Front, request: &http::Request<B>) -> Result<bool, Status> {
    let path = request.uri().path();
    let method = rule(path).ok_or_else(|| Status::unimplemented(format!("this member does not know {path}: it is of another version")))?;
    let info = request.extensions().get::<PeerInfo>();
    let peer = info.and_then(|info| info.peer.as_ref()).ok_or_else(|| Status::unauthenticated("this call needs a certificate of the mesh"))?;
    // The certificate may have ended since the connection was made.
    let expired = peer.expired || front.clock.wall() > peer.not_after;
    let state = front.consensus.state().state;
    counts(&Caller::of(&peer.identity, expired, &state), method).map_err(status::denied)?;
    // Members say themselves how far they are with roots, and have their own way to go along; a note of the one
    // call that a member makes while it joins would never be brought up to date. Who renews right now is at it.
    if matches!(peer.identity, Identity::Coordinator(_)) || method == Method::RenewCertificate {
        return Ok(false);
    }
    let trusts = request.headers().get(TRUSTS_HEADER).and_then(|value| value.to_str().ok());
    let Some(shown) = shown(peer, trusts) else { return Ok(false) };
    let renews = state.wants_renewal(&shown);
    front.credentials.note(&state, &peer.identity, shown);
    Ok(renews)
}
