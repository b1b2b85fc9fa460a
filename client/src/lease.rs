//! Holding a lease, and knowing when it is lost.
//!
//! The holder counts its TTL from before each request was sent, on a clock that counts suspend, and gives
//! itself up a tenth of the TTL before the mesh may hand the lease on: whatever was delayed was delayed on
//! the safe side. Leases of one client that fall due at about the same time are renewed by one call. It does not stop what the lease stands for: that is the holder's part, as soon as
//! [`Held::lost`] ends.

mod keeper;
mod place;
mod term;
mod together;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use mainstay_core::state::lease::LeaseSpec;
use mainstay_proto::convert::spec_to_wire;
use mainstay_proto::v1;
use tokio_util::sync::CancellationToken;
use tonic::Code;

use self::keeper::{Keeper, is_gone};
use self::place::Place;
use self::term::Term;
pub(crate) use self::together::Together;
use crate::error::CallError;
use crate::mesh::Mesh;
use crate::random::Backoff;

/// Longest that one call waits for a lease; a longer wait is several calls that keep their place.
const WAIT_CALL: Duration = Duration::from_secs(10);

/// What is asked for.
#[derive(Debug, Clone, Default)]
pub struct HoldOptions {
    /// Left out: as defined, or one slot with a TTL of 30 s.
    pub spec: Option<LeaseSpec>,
    /// How long to wait for the lease; zero does not wait.
    pub wait: Duration,
    /// What others may read of this holder.
    pub attributes: BTreeMap<String, String>,
    /// Claims only: an earlier process of the same identity gives way.
    pub takes_over: bool,
}

/// Why a lease is not held.
#[derive(Debug, thiserror::Error)]
pub enum HoldError {
    /// Somebody else has it, as far as is known those in `held_by`.
    #[error("lease {name} was not had within {waited:?}; held by {}", if held_by.is_empty() { "nobody that is known".to_owned() } else { held_by.join(", ") })]
    Held { name: String, waited: Duration, held_by: Vec<String> },
    /// The mesh was not reached, or said no.
    #[error(transparent)]
    Call(#[from] CallError),
}

/// A lease that is held until it is released, dropped or lost. It renews itself.
///
/// Dropped without [`Held::release`], a lease ends after its TTL, a claim not at all.
pub struct Held {
    mesh: Mesh,
    name: String,
    token: String,
    incarnation: String,
    term: Term,
    stop: CancellationToken,
}

impl Mesh {
    /// Takes a lease and keeps it. A caller that stops waiting for this gives its place up.
    pub async fn hold_lease(&self, name: &str, options: HoldOptions) -> Result<Held, HoldError> {
        let clock = self.clock().clone();
        let begun = clock.monotonic();
        let mut place = Place::new(self.clone(), name);
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(1));
        loop {
            let sent = clock.monotonic();
            let wait = options.wait.saturating_sub(sent.saturating_sub(begun)).min(WAIT_CALL);
            let request = v1::AcquireRequest {
                name: name.to_owned(),
                spec: options.spec.as_ref().map(spec_to_wire),
                incarnation: place.incarnation.clone(),
                attributes: options.attributes.clone(),
                wait_ms: u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
                takes_over: options.takes_over,
            };
            place.taken = true;
            let answer = match self.acquire_lease(request).await {
                Ok(answer) if answer.token.is_empty() => Ok(Err(answer)),
                Ok(answer) => {
                    self.term(name, &place.incarnation, &answer, sent).await.map(|term| term.map(|term| (answer.clone(), term)).ok_or(answer))
                }
                Err(error) => Err(error),
            };
            let over = clock.monotonic().saturating_sub(begun) >= options.wait;
            match answer {
                Ok(Ok((answer, term))) => {
                    place.taken = false;
                    return Ok(self.held(name, place.incarnation.clone(), answer, term));
                }
                Ok(Err(answer)) if over => {
                    place.leave().await;
                    return Err(HoldError::Held { name: name.to_owned(), waited: options.wait, held_by: answer.held_by });
                }
                Err(error) if over || !error.is_transient() => {
                    place.leave().await;
                    return Err(error.into());
                }
                Ok(Err(_)) | Err(_) => tokio::time::sleep(backoff.pause()).await,
            }
        }
    }

    /// For how long a grant is good, and from which request that counts. One may be much younger than the request that waited for it, and its TTL
    /// counts from a request: a grant that took long is confirmed by a renewal, from which it counts then.
    /// Nothing when it was lost again while the answer was on its way.
    async fn term(&self, name: &str, incarnation: &str, answer: &v1::AcquireResponse, sent: Duration) -> Result<Option<(Term, Duration)>, CallError> {
        let clock = self.clock().clone();
        let Some(spec) = answer.spec.filter(|spec| spec.ttl_ms > 0) else {
            let message = format!("the mesh granted lease {name} without saying for how long: is it older than this program?");
            return Err(CallError::Refused { code: Code::Internal, message });
        };
        let ttl = Duration::from_millis(spec.ttl_ms);
        if spec.kind == i32::from(v1::LeaseKind::Claim) {
            return Ok(Some((Term::endless(clock), sent)));
        }
        if clock.monotonic().saturating_sub(sent) < ttl / 3 {
            return Ok(Some((Term::new(clock, sent, ttl), sent)));
        }
        let sent = clock.monotonic();
        let request = v1::RenewRequest { name: name.to_owned(), token: answer.token.clone(), incarnation: incarnation.to_owned() };
        match self.renew_lease(request).await {
            Ok(_) => Ok(Some((Term::new(clock, sent, ttl), sent))),
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn held(&self, name: &str, incarnation: String, answer: v1::AcquireResponse, (term, sent): (Term, Duration)) -> Held {
        let stop = CancellationToken::new();
        let request = v1::RenewRequest { name: name.to_owned(), token: answer.token.clone(), incarnation: incarnation.clone() };
        let ttl = Duration::from_millis(answer.spec.map_or(0, |spec| spec.ttl_ms));
        let keeper = Keeper { mesh: self.clone(), request, ttl, sent, term: term.clone() };
        tokio::spawn(keeper.keep(stop.clone()));
        Held { mesh: self.clone(), name: name.to_owned(), token: answer.token, incarnation, term, stop }
    }
}

impl Held {
    /// The fencing token; write it wherever the outside system can check it.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The lease's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it is lost, as of now: worth a look right before what must not be done without it.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.term.is_over()
    }

    /// Ends when the lease is no longer held: stop what it stands for, at once.
    pub async fn lost(&self) {
        self.term.over().await;
    }

    /// Gives the lease back.
    pub async fn release(self) -> Result<(), CallError> {
        self.stop.cancel();
        let request = v1::ReleaseRequest { name: self.name.clone(), token: self.token.clone(), incarnation: self.incarnation.clone() };
        self.mesh.release_lease(request).await.map(drop)
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held").field("name", &self.name).field("token", &self.token).field("left", &self.term.left()).finish_non_exhaustive()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
