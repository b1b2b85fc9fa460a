//! Leases: taken, waited for, renewed, given back, watched.
//!
//! A renewal is not in the log. It counts when the grant is in the state, a majority has confirmed since the
//! call began that this member leads, and no end of the grant is on its way.

use std::sync::Arc;
use std::time::Duration;

use mainstay_core::authz::{Method, Subject};
use mainstay_core::state::lease::{Holder, Lease, LeaseSpec};
use mainstay_core::{Command, Identity, LeaseName, Refusal, Reply, State, Token};
use mainstay_proto::convert::{lease_to_wire, parsed, spec_from_wire, spec_to_wire};
use mainstay_proto::v1;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::front::{Front, request_key};
use super::{lease_watch, status};
use crate::leader::Office;

/// Longest time that one call waits for a lease.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// A waiter that is on the line is noted this often: well below the shortest TTL.
const ASKS_EVERY: Duration = Duration::from_millis(500);
/// After a change of something else a waiter rests so long, so that many waiters do not slow down a busy mesh.
const REST: Duration = Duration::from_millis(5);
/// Leases that one call renews.
const RENEWALS_MAX: usize = 500;
/// Longest proof of an operator.
const PROOF_MAX: usize = 512;

pub struct LeasesApi(pub Arc<Front>);

#[tonic::async_trait]
impl v1::leases_server::Leases for LeasesApi {
    async fn acquire(&self, request: Request<v1::AcquireRequest>) -> Result<Response<v1::AcquireResponse>, Status> {
        let name: LeaseName = parsed("name", &request.get_ref().name).map_err(status::invalid)?;
        let (office, identity) = self.0.lead(&request, Method::HoldLease, Subject::Lease(&name))?;
        let v1::AcquireRequest { name: _, spec, incarnation, attributes, wait_ms, takes_over } = request.into_inner();
        let spec = spec.map(spec_from_wire).transpose().map_err(status::invalid)?;
        let holder = Holder { identity: identity.clone(), incarnation, attributes, takes_over };
        let wait = Duration::from_millis(wait_ms).min(WAIT_MAX);
        let command = Command::AcquireLease { name: name.clone(), spec, holder: holder.clone(), wait: !wait.is_zero() };
        // Without the caller's key: a kept reply could name a grant that has ended since. Asking again is
        // harmless anyway, since a process holds a lease once.
        let reply = self.0.propose(&office, identity, None, command).await?;
        let answer = match reply {
            Reply::Granted(grant) => {
                // Asked for again, it is renewed by that; an end that is on its way comes first.
                if office.renew(grant.token).is_err() {
                    return Err(Status::unavailable(format!("lease {name} is just ending, because it was not renewed in time: ask again")));
                }
                granted(grant.token, &grant.spec)
            }
            Reply::Queued { .. } if !wait.is_zero() => {
                office.note(false, |memory, now| memory.asked(&name, &holder, now));
                wait_for(&office, &name, &holder, wait).await?
            }
            Reply::Queued { .. } | Reply::Held { .. } => standing(&office.state(), &name, &holder),
            other => return Err(status::unexpected(&other)),
        };
        Ok(Response::new(answer))
    }

    async fn renew(&self, request: Request<v1::RenewRequest>) -> Result<Response<v1::RenewResponse>, Status> {
        let name: LeaseName = parsed("name", &request.get_ref().name).map_err(status::invalid)?;
        let (office, identity) = self.0.lead(&request, Method::HoldLease, Subject::Lease(&name))?;
        let v1::RenewRequest { name: _, token, incarnation } = request.into_inner();
        let token: Token = parsed("token", &token).map_err(status::invalid)?;
        let state = office.state();
        // Before anything is said: who leads no longer, and does not know it, knows nothing of newer grants either.
        self.0.confirmed(&office).await?;
        held_under(&state, &name, token, &identity, &incarnation)?;
        office.renew(token).map_err(|_| ending(&name))?;
        // It may have ended while a majority was asked.
        let spec = held_under(&office.state(), &name, token, &identity, &incarnation)?;
        Ok(Response::new(v1::RenewResponse { ttl_ms: spec.ttl.0 }))
    }

    async fn renew_many(&self, request: Request<v1::RenewManyRequest>) -> Result<Response<v1::RenewManyResponse>, Status> {
        let office = self.0.office()?;
        // The right to each comes before all else; of a call that is too long, the right to one more than it may have.
        let state = office.state();
        let mut caller = None;
        for lease in request.get_ref().leases.iter().take(RENEWALS_MAX + 1) {
            let name: LeaseName = parsed("leases.name", &lease.name).map_err(status::invalid)?;
            caller = Some(self.0.permit(&request, Method::HoldLease, Subject::Lease(&name), &state)?);
        }
        let v1::RenewManyRequest { leases } = request.into_inner();
        let Some(identity) = caller.filter(|_| leases.len() <= RENEWALS_MAX) else {
            return Err(Status::invalid_argument(format!("one call renews 1 to {RENEWALS_MAX} leases, not {}", leases.len())));
        };
        let mut wanted = Vec::with_capacity(leases.len());
        for lease in leases {
            let name: LeaseName = parsed("leases.name", &lease.name).map_err(status::invalid)?;
            let token: Token = parsed("leases.token", &lease.token).map_err(status::invalid)?;
            wanted.push((name, token, lease.incarnation));
        }
        self.0.confirmed(&office).await?;
        let noted: Vec<Result<(), Status>> = wanted
            .iter()
            .map(|(name, token, incarnation)| {
                held_under(&state, name, *token, &identity, incarnation)?;
                office.renew(*token).map_err(|_| ending(name))
            })
            .collect();
        // Any may have ended while a majority was asked.
        let state = office.state();
        let renewed = noted.into_iter().zip(&wanted);
        let renewals =
            renewed.map(|(noted, (name, token, incarnation))| match noted.and_then(|()| held_under(&state, name, *token, &identity, incarnation)) {
                Ok(spec) => v1::Renewal { ttl_ms: spec.ttl.0, lost: String::new() },
                Err(lost) => v1::Renewal { ttl_ms: 0, lost: lost.message().to_owned() },
            });
        Ok(Response::new(v1::RenewManyResponse { renewals: renewals.collect() }))
    }

    async fn release(&self, request: Request<v1::ReleaseRequest>) -> Result<Response<v1::ReleaseResponse>, Status> {
        let name: LeaseName = parsed("name", &request.get_ref().name).map_err(status::invalid)?;
        let (office, identity) = self.0.lead(&request, Method::HoldLease, Subject::Lease(&name))?;
        let v1::ReleaseRequest { name: _, token, incarnation } = request.into_inner();
        let token = (!token.is_empty()).then(|| parsed("token", &token)).transpose().map_err(status::invalid)?;
        let holder = Holder { identity: identity.clone(), incarnation, attributes: Default::default(), takes_over: false };
        self.0.propose(&office, identity, None, Command::ReleaseLease { name, holder, token }).await?;
        Ok(Response::new(v1::ReleaseResponse {}))
    }

    async fn get(&self, request: Request<v1::GetLeaseRequest>) -> Result<Response<v1::Lease>, Status> {
        let (_, state) = self.0.read(&request, Method::Look).await?;
        let name: LeaseName = parsed("name", &request.get_ref().name).map_err(status::invalid)?;
        let lease = state.leases.get(&name).ok_or_else(|| not_found(&name))?;
        Ok(Response::new(lease_to_wire(&name, lease)))
    }

    async fn list(&self, request: Request<v1::ListLeasesRequest>) -> Result<Response<v1::ListLeasesResponse>, Status> {
        let (_, state) = self.0.read(&request, Method::Look).await?;
        let prefix = &request.get_ref().prefix;
        let leases = state.leases.iter().filter(|(name, _)| name.as_str().starts_with(prefix.as_str()));
        Ok(Response::new(v1::ListLeasesResponse { leases: leases.map(|(name, lease)| lease_to_wire(name, lease)).collect() }))
    }

    type WatchStream = ReceiverStream<Result<v1::Lease, Status>>;

    async fn watch(&self, request: Request<v1::GetLeaseRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let (office, _) = self.0.read(&request, Method::Look).await?;
        let name: LeaseName = parsed("name", &request.get_ref().name).map_err(status::invalid)?;
        Ok(Response::new(lease_watch::follow(office, name)))
    }

    async fn free_claim(&self, request: Request<v1::FreeClaimRequest>) -> Result<Response<v1::FreeClaimResponse>, Status> {
        let (office, by) = self.0.lead(&request, Method::FreeClaim, Subject::None)?;
        let key = request_key(&request)?;
        let v1::FreeClaimRequest { name, token, proof, dry_run } = request.into_inner();
        if proof.trim().is_empty() || proof.len() > PROOF_MAX {
            return Err(Status::invalid_argument(format!(
                "say in 1 to {PROOF_MAX} bytes why the holder is known to be gone: it is kept in the audit log"
            )));
        }
        let name: LeaseName = parsed("name", &name).map_err(status::invalid)?;
        let token = parsed("token", &token).map_err(status::invalid)?;
        self.0.change(&office, by, key, Command::FreeClaim { name, token, proof }, dry_run).await?;
        Ok(Response::new(v1::FreeClaimResponse {}))
    }
}

/// Waits in the queue until the lease is held or the time is over. A caller who goes away is no longer noted,
/// and loses its place after a TTL.
async fn wait_for(office: &Office, name: &LeaseName, holder: &Holder, wait: Duration) -> Result<v1::AcquireResponse, Status> {
    let mut applied = office.consensus().applied();
    let end = tokio::time::sleep(wait);
    tokio::pin!(end);
    let mut asks = tokio::time::interval(ASKS_EVERY);
    let mut before: Option<Arc<Lease>> = None;
    loop {
        let state = applied.borrow_and_update().state.clone();
        let lease = state.leases.get(name);
        if before.as_ref().zip(lease).is_some_and(|(before, now)| Arc::ptr_eq(before, now)) {
            tokio::time::sleep(REST).await;
        }
        before = lease.cloned();
        let answer = standing(&state, name, holder);
        if !answer.token.is_empty() {
            return Ok(answer);
        }
        if answer.place == 0 {
            return Err(Status::failed_precondition(format!("the place in the queue for lease {name} is lost: ask again")));
        }
        loop {
            tokio::select! {
                changed = applied.changed() => match changed {
                    Ok(()) => break,
                    Err(_) => return Err(status::not_leader("this member stops: ask again", None)),
                },
                _ = asks.tick() => office.note(false, |memory, now| memory.asked(name, holder, now)),
                () = office.ended().cancelled() => return Err(status::not_leader("the leader has changed: ask again, the place in the queue is kept", None)),
                () = &mut end => return Ok(answer),
            }
        }
    }
}

/// How the holder stands with the lease.
fn standing(state: &State, name: &LeaseName, holder: &Holder) -> v1::AcquireResponse {
    let Some(lease) = state.leases.get(name) else { return v1::AcquireResponse::default() };
    if let Some(held) = lease.held.iter().find(|held| held.holder.is(holder)) {
        return granted(held.token, &lease.spec);
    }
    let place = lease.waiting.iter().position(|waiter| waiter.holder.is(holder)).map_or(0, |index| index + 1);
    v1::AcquireResponse {
        token: String::new(),
        spec: Some(spec_to_wire(&lease.spec)),
        place: u32::try_from(place).unwrap_or(u32::MAX),
        held_by: lease.held.iter().map(|held| held.holder.to_string()).collect(),
    }
}

fn granted(token: Token, spec: &LeaseSpec) -> v1::AcquireResponse {
    v1::AcquireResponse { token: token.to_string(), spec: Some(spec_to_wire(spec)), place: 0, held_by: Vec::new() }
}

fn held_under(state: &State, name: &LeaseName, token: Token, identity: &Identity, incarnation: &str) -> Result<LeaseSpec, Status> {
    let lease = state.leases.get(name);
    let held = lease.and_then(|lease| lease.held.iter().find(|held| held.token == token).map(|held| (held, lease.spec)));
    match held {
        Some((held, spec)) if held.holder.identity == *identity && held.holder.incarnation == incarnation => Ok(spec),
        _ => Err(Status::failed_precondition(format!("lease {name} is no longer held by this process under token {token}"))),
    }
}

fn ending(name: &LeaseName) -> Status {
    Status::failed_precondition(format!("lease {name} was not renewed in time and is ending: stop what it stands for, then ask for it again"))
}

fn not_found(name: &LeaseName) -> Status {
    status::refused(Refusal::NotFound { what: format!("lease {name}"), hint: "nobody holds it or waits for it; see `mainstay lease list`".into() })
}
