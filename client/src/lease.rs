//! Holding a lease, and knowing when it is lost.
//!
//! The holder counts its TTL from before each request was sent, on a clock that counts suspend, and gives
//! itself up a tenth of the TTL before the mesh may hand the lease on: whatever was delayed was delayed on
//! the safe side.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mainstay_core::state::lease::LeaseSpec;
use mainstay_proto::convert::spec_to_wire;
use mainstay_proto::v1;
use tokio_util::sync::CancellationToken;
use tonic::Code;

use crate::clock::Clock;
use crate::error::CallError;
use crate::mesh::Mesh;
use crate::random;

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
    #[error("lease {name} was not had within {waited:?}; held by {}", if held_by.is_empty() { "nobody that is known".to_owned() } else { held_by.join(", ") })]
    Held { name: String, waited: Duration, held_by: Vec<String> },
    #[error(transparent)]
    Call(#[from] CallError),
}

/// A lease that is held until it is released, dropped or lost. It renews itself.
#[derive(Debug)]
pub struct Held {
    mesh: Mesh,
    name: String,
    token: String,
    incarnation: String,
    lost: CancellationToken,
    stop: CancellationToken,
}

impl std::fmt::Debug for Mesh {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Mesh").field(self.identity()).finish()
    }
}

impl Mesh {
    /// Takes a lease and keeps it.
    pub async fn hold_lease(&self, name: &str, options: HoldOptions) -> Result<Held, HoldError> {
        let clock = self.clock().clone();
        let incarnation = random::token(8);
        let begun = clock.monotonic();
        loop {
            let sent = clock.monotonic();
            let left = options.wait.saturating_sub(sent - begun).min(WAIT_CALL);
            let answer = self
                .acquire_lease(v1::AcquireRequest {
                    name: name.to_owned(),
                    spec: options.spec.as_ref().map(spec_to_wire),
                    incarnation: incarnation.clone(),
                    attributes: options.attributes.clone(),
                    wait_ms: u64::try_from(left.as_millis()).unwrap_or(u64::MAX),
                    takes_over: options.takes_over,
                })
                .await;
            let over = clock.monotonic() - begun >= options.wait;
            match answer {
                Ok(answer) if !answer.token.is_empty() => match self.confirmed(name, &incarnation, &answer, sent).await? {
                    Some(sent) => return Ok(self.held(name, incarnation, answer, sent)),
                    // Granted and lost again while the answer was on its way.
                    None => {}
                },
                Ok(answer) if over => {
                    self.leave(name, &incarnation).await;
                    return Err(HoldError::Held { name: name.to_owned(), waited: options.wait, held_by: answer.held_by });
                }
                Ok(_) => {}
                Err(error) if error.is_transient() && !over => {}
                Err(error) => {
                    self.leave(name, &incarnation).await;
                    return Err(error.into());
                }
            }
        }
    }

    /// A grant may be much younger than the request that waited for it, and the TTL counts from a request:
    /// one that took long is confirmed by a renewal, from which it counts then.
    async fn confirmed(&self, name: &str, incarnation: &str, answer: &v1::AcquireResponse, sent: Duration) -> Result<Option<Duration>, CallError> {
        let ttl = Duration::from_millis(answer.spec.as_ref().map_or(0, |spec| spec.ttl_ms));
        if self.clock().monotonic() - sent < ttl / 3 {
            return Ok(Some(sent));
        }
        let sent = self.clock().monotonic();
        let request = v1::RenewRequest { name: name.to_owned(), token: answer.token.clone(), incarnation: incarnation.to_owned() };
        match self.renew_lease(request).await {
            Ok(_) => Ok(Some(sent)),
            Err(error) if error.code() == Some(Code::FailedPrecondition) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Gives up a place in the queue. Should the mesh not hear of it, the place ends by itself.
    async fn leave(&self, name: &str, incarnation: &str) {
        let request = v1::ReleaseRequest { name: name.to_owned(), token: String::new(), incarnation: incarnation.to_owned() };
        if let Err(error) = self.clone().with_deadline(Duration::from_secs(2)).release_lease(request).await {
            tracing::debug!(%error, name, "could not leave the queue");
        }
    }

    fn held(&self, name: &str, incarnation: String, answer: v1::AcquireResponse, sent: Duration) -> Held {
        let spec = answer.spec.unwrap_or_default();
        let is_claim = spec.kind == i32::from(v1::LeaseKind::Claim);
        let (lost, stop) = (CancellationToken::new(), CancellationToken::new());
        let held = Held { mesh: self.clone(), name: name.to_owned(), token: answer.token, incarnation, lost: lost.clone(), stop: stop.clone() };
        let keeper = Keeper {
            mesh: self.clone(),
            clock: self.clock().clone(),
            request: v1::RenewRequest { name: held.name.clone(), token: held.token.clone(), incarnation: held.incarnation.clone() },
            ttl: Duration::from_millis(spec.ttl_ms),
            is_claim,
            lost,
        };
        tokio::spawn(async move {
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = keeper.keep(sent) => {}
            }
        });
        held
    }
}

/// Renews until the lease is lost.
struct Keeper {
    mesh: Mesh,
    clock: Arc<dyn Clock>,
    request: v1::RenewRequest,
    ttl: Duration,
    is_claim: bool,
    lost: CancellationToken,
}

impl Keeper {
    /// `sent`: when the request was sent whose answer said that the lease is held.
    async fn keep(self, sent: Duration) {
        let mut sure_until = self.margin(sent);
        let mut pause = random::jitter(self.ttl / 3, 0.1);
        loop {
            let left = sure_until.saturating_sub(self.clock.monotonic());
            if left.is_zero() && !self.is_claim {
                return self.lost.cancel();
            }
            tokio::time::sleep(if self.is_claim { pause } else { pause.min(left) }).await;
            let sent = self.clock.monotonic();
            let left = sure_until.saturating_sub(sent);
            if left.is_zero() && !self.is_claim {
                return self.lost.cancel();
            }
            let deadline = if self.is_claim { Duration::from_secs(10) } else { left };
            match self.mesh.clone().with_deadline(deadline).renew_lease(self.request.clone()).await {
                Ok(_) => {
                    sure_until = self.margin(sent);
                    pause = random::jitter(self.ttl / 3, 0.1);
                }
                Err(error) if matches!(error.code(), Some(Code::FailedPrecondition | Code::NotFound | Code::PermissionDenied)) => {
                    return self.lost.cancel();
                }
                Err(error) => {
                    tracing::debug!(%error, name = self.request.name, "could not renew the lease yet");
                    pause = random::jitter(Duration::from_millis(100), 1.0);
                }
            }
        }
    }

    fn margin(&self, sent: Duration) -> Duration {
        sent + self.ttl - self.ttl / 10
    }
}

impl Held {
    /// The fencing token; write it wherever the outside system can check it.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.lost.is_cancelled()
    }

    /// Ends when the lease is no longer held: stop what it stands for, at once.
    pub async fn lost(&self) {
        self.lost.cancelled().await;
    }

    /// Gives the lease back.
    pub async fn release(self) -> Result<(), CallError> {
        self.stop.cancel();
        let request = v1::ReleaseRequest { name: self.name.clone(), token: self.token.clone(), incarnation: self.incarnation.clone() };
        self.mesh.release_lease(request).await.map(drop)
    }
}

impl Drop for Held {
    /// Stops renewing. Without [`Held::release`] the lease ends after its TTL, a claim not at all.
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
