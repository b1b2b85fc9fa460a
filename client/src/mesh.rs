//! The typed client: one method for each call, on whichever member leads.
//!
//! A call goes to the member that is believed to lead. A member that does not lead says who does; one that
//! cannot be reached is passed over. All tries of one call share its deadline and, for a change, one
//! idempotency key, so that a change is made once however often it was sent.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::Stream;
use mainstay_proto::v1;
use mainstay_proto::{LEADER_HEADER, REQUEST_KEY_HEADER};
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status, Streaming};

use crate::channel;
use crate::clock::Clock;
use crate::error::{CallError, ConnectError, is_broken_connection};
use crate::identity::ClientIdentity;
use crate::random::{self, Backoff};

/// How long a call may take, all tries together, unless told otherwise.
const DEADLINE: Duration = Duration::from_secs(10);
/// Longest that one try may take before another member is asked: a member that is stopped in its tracks
/// accepts connections and answers nothing.
const TRY: Duration = Duration::from_secs(4);
/// Largest message taken, as the mesh's own limit.
const MESSAGE_MAX: usize = 4 << 20;

/// A mesh, as a client sees it. Cheap to clone; clones share connections.
#[derive(Clone)]
pub struct Mesh {
    shared: Arc<Shared>,
    deadline: Duration,
}

struct Shared {
    endpoints: Vec<String>,
    identity: ClientIdentity,
    routes: Mutex<Routes>,
}

#[derive(Default)]
struct Routes {
    leader: Option<String>,
    channels: HashMap<String, Channel>,
    next: usize,
}

/// One try's result, when it is not an answer.
enum Miss {
    /// Another member leads, or none does.
    NotLeader {
        leader: Option<String>,
        message: String,
    },
    Broken(ConnectError),
    Slow,
}

macro_rules! calls {
    ($($(#[$doc:meta])* $name:ident($client:ident :: $type:ident . $method:ident): $request:ident => $response:ident, $change:expr;)*) => {
        impl Mesh {
            $(
                $(#[$doc])*
                pub async fn $name(&self, request: v1::$request) -> Result<v1::$response, CallError> {
                    self.call($change, self.deadline, &request, |channel, request| async move {
                        v1::$client::$type::new(channel).max_decoding_message_size(MESSAGE_MAX).$method(request).await
                    }).await
                }
            )*
        }
    };
}

const LOOK: bool = false;
const CHANGE: bool = true;

calls! {
    /// The mesh at a glance.
    get_status(mesh_client::MeshClient.get_status): GetStatusRequest => Status, LOOK;
    list_nodes(mesh_client::MeshClient.list_nodes): ListNodesRequest => ListNodesResponse, LOOK;
    forget_node(mesh_client::MeshClient.forget_node): ForgetNodeRequest => ForgetNodeResponse, CHANGE;
    list_findings(mesh_client::MeshClient.list_findings): ListFindingsRequest => ListFindingsResponse, LOOK;
    list_audit(mesh_client::MeshClient.list_audit): ListAuditRequest => ListAuditResponse, LOOK;
    list_members(members_client::MembersClient.list): ListMembersRequest => ListMembersResponse, LOOK;
    join_member(members_client::MembersClient.join): JoinMemberRequest => JoinMemberResponse, CHANGE;
    remove_member(members_client::MembersClient.remove): RemoveMemberRequest => RemoveMemberResponse, CHANGE;
    transfer_leadership(members_client::MembersClient.transfer): TransferLeadershipRequest => TransferLeadershipResponse, CHANGE;
    apply_plan(plans_client::PlansClient.apply): ApplyPlanRequest => ApplyPlanResponse, CHANGE;
    list_plans(plans_client::PlansClient.list): ListPlansRequest => ListPlansResponse, LOOK;
    get_plan(plans_client::PlansClient.get): GetPlanRequest => Plan, LOOK;
    start_run(runs_client::RunsClient.start): StartRunRequest => StartRunResponse, CHANGE;
    list_runs(runs_client::RunsClient.list): ListRunsRequest => ListRunsResponse, LOOK;
    get_run(runs_client::RunsClient.get): GetRunRequest => Run, LOOK;
    abort_run(runs_client::RunsClient.abort): AbortRunRequest => AbortRunResponse, CHANGE;
    why_run(runs_client::RunsClient.why): GetRunRequest => WhyResponse, LOOK;
    renew_lease(leases_client::LeasesClient.renew): RenewRequest => RenewResponse, LOOK;
    release_lease(leases_client::LeasesClient.release): ReleaseRequest => ReleaseResponse, CHANGE;
    get_lease(leases_client::LeasesClient.get): GetLeaseRequest => Lease, LOOK;
    list_leases(leases_client::LeasesClient.list): ListLeasesRequest => ListLeasesResponse, LOOK;
    free_claim(leases_client::LeasesClient.free_claim): FreeClaimRequest => FreeClaimResponse, CHANGE;
    begin_attempt(agents_client::AgentsClient.begin): BeginRequest => BeginResponse, LOOK;
    end_attempt(agents_client::AgentsClient.end): EndRequest => EndResponse, LOOK;
    renew_certificate(identities_client::IdentitiesClient.renew): RenewCertificateRequest => Certificate, LOOK;
    create_join_token(identities_client::IdentitiesClient.create_join_token): CreateJoinTokenRequest => JoinToken, CHANGE;
    revoke_identity(identities_client::IdentitiesClient.revoke): RevokeRequest => RevokeResponse, CHANGE;
}

impl Mesh {
    /// A client of the mesh whose members listen at `endpoints` (`host:port`). Connects when first used.
    #[must_use]
    pub fn new(endpoints: Vec<String>, identity: ClientIdentity) -> Mesh {
        Mesh { shared: Arc::new(Shared { endpoints, identity, routes: Mutex::default() }), deadline: DEADLINE }
    }

    /// The same client with another deadline for each call.
    #[must_use]
    pub fn with_deadline(self, deadline: Duration) -> Mesh {
        Mesh { deadline, ..self }
    }

    #[must_use]
    pub fn identity(&self) -> &ClientIdentity {
        &self.shared.identity
    }

    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        self.shared.identity.clock()
    }

    /// Asks for a lease. May take as long as the request wants to wait, and the deadline of a call more.
    pub async fn acquire_lease(&self, request: v1::AcquireRequest) -> Result<v1::AcquireResponse, CallError> {
        let patience = self.deadline + Duration::from_millis(request.wait_ms);
        self.call(LOOK, patience, &request, |channel, request| async move { v1::leases_client::LeasesClient::new(channel).acquire(request).await })
            .await
    }

    /// A run now and after each change, until it has ended.
    pub async fn watch_run(&self, request: v1::GetRunRequest) -> Result<Streaming<v1::RunEvent>, CallError> {
        self.call(LOOK, self.deadline, &request, |channel, request| async move {
            v1::runs_client::RunsClient::new(channel).max_decoding_message_size(MESSAGE_MAX).watch(request).await
        })
        .await
    }

    /// A lease now and after each change.
    pub async fn watch_lease(&self, request: v1::GetLeaseRequest) -> Result<Streaming<v1::Lease>, CallError> {
        self.call(LOOK, self.deadline, &request, |channel, request| async move { v1::leases_client::LeasesClient::new(channel).watch(request).await })
            .await
    }

    /// Opens an agent's link with the leader. Not tried twice: `outgoing` is used up, and the caller begins
    /// anew with another one.
    pub async fn link(&self, outgoing: impl Stream<Item = v1::AgentMessage> + Send + 'static) -> Result<Streaming<v1::MeshMessage>, CallError> {
        let address = self.target().ok_or(CallError::Unreachable { tried: Vec::new() })?;
        let opened = tokio::time::timeout(self.deadline, async {
            let channel = self.channel(&address).await?;
            Ok(v1::agents_client::AgentsClient::new(channel).max_decoding_message_size(MESSAGE_MAX).link(outgoing).await)
        });
        let answer = match opened.await {
            Err(_) => Err(Miss::Slow),
            Ok(Err(error)) => Err(Miss::Broken(error)),
            Ok(Ok(answer)) => return self.judge(&address, answer).map_err(|miss| self.missed(&address, miss))?,
        };
        answer.map_err(|miss| self.missed(&address, miss))
    }

    /// Makes a call: picks a member, follows the leader, keeps to the deadline.
    async fn call<T, R, F, Fut>(&self, change: bool, deadline: Duration, request: &T, send: F) -> Result<R, CallError>
    where
        T: Clone,
        F: Fn(Channel, Request<T>) -> Fut,
        Fut: Future<Output = Result<Response<R>, Status>>,
    {
        let end = self.clock().monotonic() + deadline;
        let key = change.then(|| random::token(16));
        let mut backoff = Backoff::new(Duration::from_millis(20), Duration::from_millis(400));
        let mut last = CallError::DeadlineExceeded(deadline);
        let mut refused_at: Vec<ConnectError> = Vec::new();
        loop {
            let left = end.saturating_sub(self.clock().monotonic());
            if left.is_zero() {
                return Err(last);
            }
            let address = self.target().ok_or(CallError::Unreachable { tried: Vec::new() })?;
            // The last try has all the time that is left; a call that waits on purpose has it from the start.
            let patience = if deadline > DEADLINE { left } else { left.min(TRY.max(deadline / 3)) };
            let answer = tokio::time::timeout(patience, async {
                let channel = self.channel(&address).await.map_err(Miss::Broken)?;
                Ok(send(channel, keyed(request.clone(), key.as_deref(), left)).await)
            });
            let miss = match answer.await {
                Err(_) => Miss::Slow,
                Ok(Err(miss)) => miss,
                Ok(Ok(answer)) => match self.judge(&address, answer) {
                    Ok(answer) => return answer,
                    Err(miss) => miss,
                },
            };
            let follows = matches!(&miss, Miss::NotLeader { leader: Some(leader), .. } if *leader != address);
            if let Miss::Broken(error) = &miss
                && error.is_about_certificates()
            {
                refused_at.push(error.clone());
                if refused_at.len() >= self.shared.endpoints.len() {
                    return Err(CallError::Unreachable { tried: refused_at });
                }
            }
            last = self.missed(&address, miss);
            if !follows {
                tokio::time::sleep(backoff.pause().min(end.saturating_sub(self.clock().monotonic()))).await;
            }
        }
    }

    /// Tells answers from misses.
    fn judge<R>(&self, address: &str, answer: Result<Response<R>, Status>) -> Result<Result<R, CallError>, Miss> {
        let status = match answer {
            Ok(response) => {
                self.routes().leader = Some(address.to_owned());
                return Ok(Ok(response.into_inner()));
            }
            Err(status) => status,
        };
        if is_broken_connection(&status) {
            return Err(Miss::Broken(ConnectError::new(address, &status)));
        }
        match status.metadata().get(LEADER_HEADER) {
            Some(leader) if status.code() == Code::Unavailable => {
                let leader = leader.to_str().ok().filter(|leader| !leader.is_empty()).map(str::to_owned);
                Err(Miss::NotLeader { leader, message: status.message().to_owned() })
            }
            _ if status.code() == Code::Unavailable => Err(Miss::NotLeader { leader: None, message: status.message().to_owned() }),
            _ => Ok(Err(CallError::Refused { code: status.code(), message: status.message().to_owned() })),
        }
    }

    /// Learns from a miss where to go next, and says what it was.
    fn missed(&self, address: &str, miss: Miss) -> CallError {
        let mut routes = self.routes();
        if routes.leader.as_deref() == Some(address) {
            routes.leader = None;
        }
        match miss {
            Miss::NotLeader { leader, message } => {
                // A member that names itself, or one that is not there, is not followed for ever: the next
                // miss clears it again.
                routes.leader = leader.filter(|leader| leader != address);
                CallError::NoLeader { message }
            }
            Miss::Broken(error) => {
                routes.channels.remove(address);
                CallError::Unreachable { tried: vec![error] }
            }
            Miss::Slow => {
                routes.channels.remove(address);
                CallError::DeadlineExceeded(self.deadline)
            }
        }
    }

    /// The leader, if known, else the members in turn.
    fn target(&self) -> Option<String> {
        let mut routes = self.routes();
        if let Some(leader) = &routes.leader {
            return Some(leader.clone());
        }
        routes.next = routes.next.wrapping_add(1);
        let endpoints = &self.shared.endpoints;
        (!endpoints.is_empty()).then(|| endpoints[routes.next % endpoints.len()].clone())
    }

    async fn channel(&self, address: &str) -> Result<Channel, ConnectError> {
        if let Some(channel) = self.routes().channels.get(address) {
            return Ok(channel.clone());
        }
        let channel = channel::connect(address, &self.shared.identity).await?;
        self.routes().channels.insert(address.to_owned(), channel.clone());
        Ok(channel)
    }

    /// Forgets every connection, so that the next call shows the newest certificate.
    pub fn reconnect(&self) {
        self.routes().channels.clear();
    }

    fn routes(&self) -> std::sync::MutexGuard<'_, Routes> {
        // Routes are hints: what a panic left behind is at worst a wrong first try.
        self.shared.routes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn keyed<T>(message: T, key: Option<&str>, timeout: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(timeout);
    if let Some(key) = key.and_then(|key| key.parse().ok()) {
        request.metadata_mut().insert(REQUEST_KEY_HEADER, key);
    }
    request
}
