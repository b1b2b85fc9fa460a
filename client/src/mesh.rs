//! The typed client: one method for each call, on whichever member leads.
//!
//! A call goes to the member that is believed to lead. A member that does not lead says who does; one that
//! cannot be reached, or takes a request and says nothing, is passed over. All tries of one call share its
//! deadline and, for a change, one idempotency key, so that a change is made once however often it was sent.
//! Calls to one member share one connection, which is opened when it is first needed.

mod artifacts;
mod snapshot;
mod tried;

use std::collections::HashMap;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::Stream;
use mainstay_proto::v1;
use mainstay_proto::{LEADER_HEADER, RENEW_HEADER, REQUEST_KEY_HEADER, TRUSTS_HEADER};
use tokio::sync::{OnceCell, watch};
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status, Streaming, TimeoutExpired};

pub use self::artifacts::{Download, TransferError};
pub use self::snapshot::{SnapshotError, whole};
use self::tried::{Miss, Tried};
use crate::channel;
use crate::clock::Clock;
use crate::error::{CallError, ConnectError, is_broken_connection};
use crate::identity::ClientIdentity;
use crate::lease::Together;
use crate::random::{self, Backoff};

/// How long a call may take, all tries together, unless told otherwise.
const DEADLINE: Duration = Duration::from_secs(10);
/// Bounds of what one try may take before another member is asked, which is a third of the call's deadline: a
/// member that is stopped in its tracks accepts connections and answers nothing. What a request waits for on
/// purpose comes on top.
const TRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(4));
/// Pauses between tries of one call, the first and the longest: a mesh that lost its leader has another one a
/// quarter of a second later, and whoever asks seldomer sees it later.
const PAUSE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(160));
/// How often in a row a call follows members' word for who leads before it pauses: two that name each other
/// are not asked as fast as they answer.
const HOPS: usize = 2;
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
    /// Whether the mesh has asked for a renewal before its time.
    renewal: watch::Sender<bool>,
    /// Leases whose renewals are about to be sent.
    together: Together,
}

#[derive(Default)]
struct Routes {
    leader: Option<String>,
    lines: HashMap<String, Line>,
    next: usize,
}

/// The connection to one member, shared by all calls to it.
type Line = Arc<OnceCell<Channel>>;

/// What the many calls do not share.
#[derive(Clone, Copy)]
struct Manner {
    /// A change carries an idempotency key.
    change: bool,
    /// How long the request itself asks the mesh to wait.
    waits: Duration,
    /// The answer is a stream, which outlives the call.
    streams: bool,
}

const LOOK: Manner = Manner { change: false, waits: Duration::ZERO, streams: false };
const CHANGE: Manner = Manner { change: true, ..LOOK };
const WATCH: Manner = Manner { streams: true, ..LOOK };
/// A preview asks agents what a step would lack, which may have to ask an API server that is away.
const PREVIEW: Manner = Manner { waits: Duration::from_secs(5), ..LOOK };

macro_rules! calls {
    ($($(#[$doc:meta])* $name:ident($client:ident :: $type:ident . $method:ident): $request:ident => $response:ident, $manner:expr;)*) => {
        impl Mesh {
            $(
                $(#[$doc])*
                pub async fn $name(&self, request: v1::$request) -> Result<v1::$response, CallError> {
                    self.call($manner, &request, |channel, request| async move {
                        v1::$client::$type::new(channel).max_decoding_message_size(MESSAGE_MAX).$method(request).await
                    }).await
                }
            )*
        }
    };
}

calls! {
    /// The mesh at a glance.
    get_status(mesh_client::MeshClient.get_status): GetStatusRequest => Status, LOOK;
    /// Nodes, and what their agents last said.
    list_nodes(mesh_client::MeshClient.list_nodes): ListNodesRequest => ListNodesResponse, LOOK;
    /// One node, with what its cluster says of it.
    get_node(mesh_client::MeshClient.get_node): GetNodeRequest => NodeDetails, LOOK;
    /// Outside systems that agents have a way to.
    list_connections(mesh_client::MeshClient.list_connections): ListConnectionsRequest => ListConnectionsResponse, LOOK;
    /// Drops a node that is gone for good.
    forget_node(mesh_client::MeshClient.forget_node): ForgetNodeRequest => ForgetNodeResponse, CHANGE;
    /// What is wrong or unknown now.
    list_findings(mesh_client::MeshClient.list_findings): ListFindingsRequest => ListFindingsResponse, LOOK;
    /// Who changed what.
    list_audit(mesh_client::MeshClient.list_audit): ListAuditRequest => ListAuditResponse, LOOK;
    /// Whether all that must hold of the state holds.
    check(mesh_client::MeshClient.check): CheckRequest => CheckResponse, LOOK;
    /// The coordinators.
    list_members(members_client::MembersClient.list): ListMembersRequest => ListMembersResponse, LOOK;
    /// How the member that answers describes itself; of use with the address of one member.
    describe_member(members_client::MembersClient.describe): DescribeMemberRequest => MemberDescription, LOOK;
    /// Takes a coordinator in, as a learner at first.
    join_member(members_client::MembersClient.join): JoinMemberRequest => JoinMemberResponse, CHANGE;
    /// Takes a coordinator out.
    remove_member(members_client::MembersClient.remove): RemoveMemberRequest => RemoveMemberResponse, CHANGE;
    /// Gives leadership to another member.
    transfer_leadership(members_client::MembersClient.transfer): TransferLeadershipRequest => TransferLeadershipResponse, CHANGE;
    /// Makes a plan's next revision.
    apply_plan(plans_client::PlansClient.apply): ApplyPlanRequest => ApplyPlanResponse, CHANGE;
    /// All plans.
    list_plans(plans_client::PlansClient.list): ListPlansRequest => ListPlansResponse, LOOK;
    /// One plan.
    get_plan(plans_client::PlansClient.get): GetPlanRequest => Plan, LOOK;
    /// What a run of a plan would do.
    preview_plan(plans_client::PlansClient.preview): PreviewPlanRequest => Preview, PREVIEW;
    /// Keeps a plan's schedules from starting runs.
    suspend_plan(plans_client::PlansClient.suspend): SuspendPlanRequest => SuspendPlanResponse, CHANGE;
    /// Lets a plan's schedules start runs again.
    resume_plan(plans_client::PlansClient.resume): ResumePlanRequest => ResumePlanResponse, CHANGE;
    /// Drops an operator's own revisions of a plan.
    remove_plan(plans_client::PlansClient.remove): RemovePlanRequest => RemovePlanResponse, CHANGE;
    /// Begins a run of a plan.
    start_run(runs_client::RunsClient.start): StartRunRequest => StartRunResponse, CHANGE;
    /// Runs, the newest first.
    list_runs(runs_client::RunsClient.list): ListRunsRequest => ListRunsResponse, LOOK;
    /// One run with its steps.
    get_run(runs_client::RunsClient.get): GetRunRequest => Run, LOOK;
    /// Ends a run, and undoes what it did.
    abort_run(runs_client::RunsClient.abort): AbortRunRequest => AbortRunResponse, CHANGE;
    /// Begins nothing further in a run until it is resumed.
    pause_run(runs_client::RunsClient.pause): PauseRunRequest => PauseRunResponse, CHANGE;
    /// Lets a run that was paused go on.
    resume_run(runs_client::RunsClient.resume): ResumeRunRequest => ResumeRunResponse, CHANGE;
    /// Takes back what a run did.
    undo_run(runs_client::RunsClient.undo): UndoRunRequest => UndoRunResponse, CHANGE;
    /// Does again what did not come off in an ended run.
    retry_run(runs_client::RunsClient.retry): RetryRunRequest => RetryRunResponse, CHANGE;
    /// Agrees, or does not, to what a run waits for.
    approve_run(runs_client::RunsClient.approve): ApproveRunRequest => ApproveRunResponse, CHANGE;
    /// What a run waits for.
    why_run(runs_client::RunsClient.why): GetRunRequest => WhyResponse, LOOK;
    /// Has the plan of an object in the caller's cluster.
    apply_object(objects_client::ObjectsClient.apply): ApplyObjectRequest => ApplyObjectResponse, CHANGE;
    /// Drops the plan of an object that is gone.
    remove_object(objects_client::ObjectsClient.remove): RemoveObjectRequest => RemoveObjectResponse, CHANGE;
    /// Begins the run that an object asks for, once.
    start_object(objects_client::ObjectsClient.start): StartObjectRequest => StartObjectResponse, CHANGE;
    /// What the steps of a run have left.
    list_artifacts(artifacts_client::ArtifactsClient.list): ListArtifactsRequest => ListArtifactsResponse, LOOK;
    /// Drops an artifact.
    forget_artifact(artifacts_client::ArtifactsClient.forget): ForgetArtifactRequest => ForgetArtifactResponse, CHANGE;
    /// The catalogue of backups.
    list_backups(backups_client::BackupsClient.list): ListBackupsRequest => ListBackupsResponse, LOOK;
    /// Keeps retention from removing a backup, or lets it again.
    hold_backup(backups_client::BackupsClient.hold): HoldBackupRequest => HoldBackupResponse, CHANGE;
    /// Has the backups of a target count no more, before the key that opens them is destroyed.
    erase_backups(backups_client::BackupsClient.erase): EraseBackupsRequest => EraseBackupsResponse, CHANGE;
    /// What the catalogue has of the target of an attempt of the caller's own.
    recall_backups(backups_client::BackupsClient.recall): RecallBackupsRequest => RecallBackupsResponse, LOOK;
    /// What an attempt of the caller's own has done to backups, or seen of them.
    note_backups(backups_client::BackupsClient.note): NoteBackupsRequest => NoteBackupsResponse, LOOK;
    /// Keeps a lease for another TTL; [`Mesh::hold_lease`] does it by itself.
    renew_lease(leases_client::LeasesClient.renew): RenewRequest => RenewResponse, LOOK;
    /// Keeps many leases by one call; [`Mesh::hold_lease`] does it by itself.
    renew_leases(leases_client::LeasesClient.renew_many): RenewManyRequest => RenewManyResponse, LOOK;
    /// Gives a lease back; of one that is not held it succeeds.
    release_lease(leases_client::LeasesClient.release): ReleaseRequest => ReleaseResponse, CHANGE;
    /// One lease with its holders and waiters.
    get_lease(leases_client::LeasesClient.get): GetLeaseRequest => Lease, LOOK;
    /// Leases by the beginning of their name.
    list_leases(leases_client::LeasesClient.list): ListLeasesRequest => ListLeasesResponse, LOOK;
    /// Frees a claim by an operator's word that its holder is gone.
    free_claim(leases_client::LeasesClient.free_claim): FreeClaimRequest => FreeClaimResponse, CHANGE;
    /// Asks for leave to begin an attempt; the answer comes before the first side effect.
    begin_attempt(agents_client::AgentsClient.begin): BeginRequest => BeginResponse, LOOK;
    /// Says how an attempt ended.
    end_attempt(agents_client::AgentsClient.end): EndRequest => EndResponse, LOOK;
    /// A new certificate for the caller's own identity.
    renew_certificate(identities_client::IdentitiesClient.renew): RenewCertificateRequest => Certificate, LOOK;
    /// Makes a join token, which is shown this once.
    create_join_token(identities_client::IdentitiesClient.create_join_token): CreateJoinTokenRequest => JoinToken, CHANGE;
    /// Roots that the mesh trusts, and who depends on which.
    list_roots(roots_client::RootsClient.list): ListRootsRequest => ListRootsResponse, LOOK;
    /// Has the mesh trust another root.
    add_root(roots_client::RootsClient.add): AddRootRequest => AddRootResponse, CHANGE;
    /// Gives members what the holder of a root's key has signed for them.
    grant_issuers(roots_client::RootsClient.grant_issuers): GrantIssuersRequest => GrantIssuersResponse, CHANGE;
    /// Has the mesh trust a root no longer.
    retire_root(roots_client::RootsClient.retire): RetireRootRequest => RetireRootResponse, CHANGE;
    /// Join tokens that can still be used.
    list_join_tokens(identities_client::IdentitiesClient.list_join_tokens): ListJoinTokensRequest => ListJoinTokensResponse, LOOK;
    /// Makes a join token useless.
    revoke_join_token(identities_client::IdentitiesClient.revoke_join_token): RevokeJoinTokenRequest => RevokeJoinTokenResponse, CHANGE;
    /// Operators and what they may do.
    list_operators(identities_client::IdentitiesClient.list_operators): ListOperatorsRequest => ListOperatorsResponse, LOOK;
    /// Gives an operator a role.
    set_operator(identities_client::IdentitiesClient.set_operator): SetOperatorRequest => SetOperatorResponse, CHANGE;
    /// Takes an operator's role away.
    remove_operator(identities_client::IdentitiesClient.remove_operator): RemoveOperatorRequest => RemoveOperatorResponse, CHANGE;
    /// Refuses an identity from now on.
    revoke_identity(identities_client::IdentitiesClient.revoke): RevokeRequest => RevokeResponse, CHANGE;
}

impl Mesh {
    /// A client of the mesh whose members listen at `endpoints` (`host:port`). Connects when first used.
    #[must_use]
    pub fn new(endpoints: Vec<String>, identity: ClientIdentity) -> Mesh {
        // A fleet that starts at once does not ask the same member first.
        let next = usize::try_from(random::number() >> 33).unwrap_or(0);
        let routes = Mutex::new(Routes { next, ..Routes::default() });
        Mesh {
            shared: Arc::new(Shared { endpoints, identity, routes, renewal: watch::Sender::new(false), together: Together::default() }),
            deadline: DEADLINE,
        }
    }

    /// The same client with another deadline for each call.
    #[must_use]
    pub fn with_deadline(self, deadline: Duration) -> Mesh {
        Mesh { deadline, ..self }
    }

    pub(crate) fn together(&self) -> &Together {
        &self.shared.together
    }

    /// As whom it calls.
    #[must_use]
    pub fn identity(&self) -> &ClientIdentity {
        &self.shared.identity
    }

    /// The clock of that identity.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        self.shared.identity.clock()
    }

    /// Asks for a lease. May take as long as the request wants to wait, and the deadline of a call more.
    pub async fn acquire_lease(&self, request: v1::AcquireRequest) -> Result<v1::AcquireResponse, CallError> {
        let manner = Manner { waits: Duration::from_millis(request.wait_ms), ..LOOK };
        self.call(manner, &request, |channel, request| async move { v1::leases_client::LeasesClient::new(channel).acquire(request).await }).await
    }

    /// A run now and after each change, until it has ended.
    pub async fn watch_run(&self, request: v1::GetRunRequest) -> Result<Streaming<v1::RunEvent>, CallError> {
        self.call(WATCH, &request, |channel, request| async move {
            v1::runs_client::RunsClient::new(channel).max_decoding_message_size(MESSAGE_MAX).watch(request).await
        })
        .await
    }

    /// A lease now and after each change.
    pub async fn watch_lease(&self, request: v1::GetLeaseRequest) -> Result<Streaming<v1::Lease>, CallError> {
        self.call(WATCH, &request, |channel, request| async move { v1::leases_client::LeasesClient::new(channel).watch(request).await }).await
    }

    /// Plans of the namespaces of the caller's cluster, with their runs: all, and each again after a change.
    pub async fn watch_objects(&self, request: v1::WatchObjectsRequest) -> Result<Streaming<v1::ObjectsEvent>, CallError> {
        self.call(WATCH, &request, |channel, request| async move {
            v1::objects_client::ObjectsClient::new(channel).max_decoding_message_size(MESSAGE_MAX).watch(request).await
        })
        .await
    }

    /// The mesh's own snapshot, in pieces.
    pub async fn read_snapshot(&self, request: v1::ReadSnapshotRequest) -> Result<Streaming<v1::SnapshotPiece>, CallError> {
        self.call(WATCH, &request, |channel, request| async move {
            v1::mesh_client::MeshClient::new(channel).max_decoding_message_size(MESSAGE_MAX).read_snapshot(request).await
        })
        .await
    }

    /// The same for an attempt of the caller's own that backs it up.
    pub async fn read_mesh(&self, request: v1::ReadMeshRequest) -> Result<Streaming<v1::SnapshotPiece>, CallError> {
        self.call(WATCH, &request, |channel, request| async move {
            v1::backups_client::BackupsClient::new(channel).max_decoding_message_size(MESSAGE_MAX).read_mesh(request).await
        })
        .await
    }

    /// Opens an agent's link with the leader. Not tried twice: `outgoing` is used up, and the caller begins
    /// anew with another one. What this try learned about who leads is kept for the next.
    pub async fn link(&self, outgoing: impl Stream<Item = v1::AgentMessage> + Send + 'static) -> Result<Streaming<v1::MeshMessage>, CallError> {
        let mut tried = Tried::default();
        let Some(address) = self.target(&tried) else { return Err(CallError::Unreachable { tried: Vec::new() }) };
        let line = self.line(&address);
        let opened = tokio::time::timeout(self.deadline, async {
            let channel = self.channel(&line, &address).await?;
            let request = self.says_trust(Request::new(outgoing));
            Ok(v1::agents_client::AgentsClient::new(channel).max_decoding_message_size(MESSAGE_MAX).link(request).await)
        });
        match self.judge(&address, opened.await, self.deadline) {
            Ok(answer) => answer,
            Err(miss) => {
                self.learn(&address, &line, miss, &mut tried);
                Err(tried.verdict(self.deadline))
            }
        }
    }

    /// Makes a call: picks a member, follows the leader, keeps to the deadline.
    async fn call<T, R, F, Fut>(&self, manner: Manner, request: &T, send: F) -> Result<R, CallError>
    where
        T: Clone,
        F: Fn(Channel, Request<T>) -> Fut,
        Fut: Future<Output = Result<Response<R>, Status>>,
    {
        let deadline = self.deadline + manner.waits;
        let mut tried = Tried::default();
        match tokio::time::timeout(deadline, self.tries(manner, request, send, &mut tried)).await {
            Ok(answer) => answer,
            Err(_) => Err(tried.verdict(deadline)),
        }
    }

    /// Asks one member after another until one answers. The caller sets the end.
    async fn tries<T, R, F, Fut>(&self, manner: Manner, request: &T, send: F, tried: &mut Tried) -> Result<R, CallError>
    where
        T: Clone,
        F: Fn(Channel, Request<T>) -> Fut,
        Fut: Future<Output = Result<Response<R>, Status>>,
    {
        let key = manner.change.then(|| random::token(16));
        let patience = manner.waits + (self.deadline / 3).clamp(TRY.0, TRY.1);
        let mut backoff = Backoff::new(PAUSE.0, PAUSE.1);
        let mut hops = 0;
        loop {
            let Some(address) = self.target(tried) else { return Err(CallError::Unreachable { tried: Vec::new() }) };
            let line = self.line(&address);
            let answer = tokio::time::timeout(patience, async {
                let channel = self.channel(&line, &address).await?;
                let timeout = (!manner.streams).then_some(patience);
                Ok(send(channel, self.says_trust(prepared(request.clone(), key.as_deref(), timeout))).await)
            });
            let miss = match self.judge(&address, answer.await, patience) {
                Ok(answer) => return answer,
                Err(miss) => miss,
            };
            let follows = self.learn(&address, &line, miss, tried);
            if tried.all_refuse(&self.shared.endpoints) {
                return Err(std::mem::take(tried).verdict(self.deadline));
            }
            hops = if follows { hops + 1 } else { HOPS + 1 };
            if hops > HOPS {
                hops = 0;
                tokio::time::sleep(backoff.pause()).await;
            }
        }
    }

    /// Tells answers, good or bad, from misses.
    fn judge<R>(&self, address: &str, tried: TryResult<R>, patience: Duration) -> Result<Result<R, CallError>, Miss> {
        let status = match tried {
            Err(_) => return Err(Miss::Slow(patience)),
            Ok(Err(error)) => return Err(Miss::Broken(error)),
            Ok(Ok(Ok(response))) => {
                self.routes().leader = Some(address.to_owned());
                if response.metadata().contains_key(RENEW_HEADER) {
                    self.ask_renewal();
                }
                return Ok(Ok(response.into_inner()));
            }
            Ok(Ok(Err(status))) => status,
        };
        if is_out_of_time(&status) {
            return Err(Miss::Slow(patience));
        }
        if is_broken_connection(&status) {
            return Err(Miss::Broken(ConnectError::new(address, &status)));
        }
        if status.code() != Code::Unavailable {
            return Ok(Err(CallError::Refused { code: status.code(), message: status.message().to_owned() }));
        }
        let leader = status.metadata().get(LEADER_HEADER).and_then(|leader| leader.to_str().ok()).filter(|leader| !leader.is_empty());
        Err(Miss::NotLeader { leader: leader.map(str::to_owned), message: status.message().to_owned() })
    }

    /// Learns from a miss where to go next. Says whether that is a leader who is named and worth asking at once.
    fn learn(&self, address: &str, line: &Line, miss: Miss, tried: &mut Tried) -> bool {
        let mut routes = self.routes();
        if routes.leader.as_deref() == Some(address) {
            routes.leader = None;
        }
        let mut follows = false;
        match &miss {
            Miss::NotLeader { leader: Some(leader), .. } => {
                if leader != address && !tried.is_left_alone(leader) {
                    routes.leader = Some(leader.clone());
                    follows = true;
                }
            }
            Miss::NotLeader { leader: None, .. } => {}
            Miss::Broken(_) | Miss::Slow(_) => {
                // Another call may have opened a new line to it meanwhile; that one stays.
                if routes.lines.get(address).is_some_and(|current| Arc::ptr_eq(current, line)) {
                    routes.lines.remove(address);
                }
            }
        }
        tried.note(address, miss);
        follows
    }

    /// The leader, if known, else the members in turn, without those that this call lately asked in vain.
    fn target(&self, tried: &Tried) -> Option<String> {
        let mut routes = self.routes();
        if let Some(leader) = routes.leader.as_ref().filter(|leader| !tried.is_left_alone(leader)) {
            return Some(leader.clone());
        }
        let endpoints = &self.shared.endpoints;
        let from = routes.next.checked_rem(endpoints.len())?;
        let mut turns = (from..endpoints.len()).chain(0..from);
        let turn = turns.find(|turn| !tried.is_left_alone(&endpoints[*turn])).unwrap_or(from);
        routes.next = turn + 1;
        Some(endpoints[turn].clone())
    }

    fn line(&self, address: &str) -> Line {
        self.routes().lines.entry(address.to_owned()).or_default().clone()
    }

    async fn channel(&self, line: &Line, address: &str) -> Result<Channel, ConnectError> {
        line.get_or_try_init(|| channel::connect(address, &self.shared.identity)).await.cloned()
    }

    /// Says with a request which roots this end trusts, so that the mesh knows when all have heard of a new one.
    fn says_trust<T>(&self, mut request: Request<T>) -> Request<T> {
        if let Ok(trusts) = self.shared.identity.trusts().parse() {
            request.metadata_mut().insert(TRUSTS_HEADER, trusts);
        }
        request
    }

    /// Notes that the mesh wants this identity's certificate renewed before its time.
    pub fn ask_renewal(&self) {
        self.shared.renewal.send_if_modified(|asked| !std::mem::replace(asked, true));
    }

    /// Whether it does, and nobody has renewed since.
    #[must_use]
    pub fn is_renewal_asked(&self) -> bool {
        *self.shared.renewal.borrow()
    }

    /// Returns when it does.
    pub async fn renewal_asked(&self) {
        let mut asked = self.shared.renewal.subscribe();
        // The sender lives as long as this client.
        let _ = asked.wait_for(|asked| *asked).await;
    }

    pub(crate) fn renewal_done(&self) {
        self.shared.renewal.send_replace(false);
    }

    /// Forgets every connection, so that the next call shows the newest certificate.
    pub fn reconnect(&self) {
        self.routes().lines.clear();
    }

    fn routes(&self) -> std::sync::MutexGuard<'_, Routes> {
        // Routes are hints: what a panic left behind is at worst a wrong first try.
        self.shared.routes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What comes of one try: nothing in time, no connection, or the other end's word.
type TryResult<R> = Result<Result<Result<Response<R>, Status>, ConnectError>, tokio::time::error::Elapsed>;

impl fmt::Debug for Mesh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Mesh").field(self.identity()).finish()
    }
}

/// `timeout` tells the other end when nobody waits for its answer any more.
fn prepared<T>(message: T, key: Option<&str>, timeout: Option<Duration>) -> Request<T> {
    let mut request = Request::new(message);
    if let Some(timeout) = timeout {
        request.set_timeout(timeout);
    }
    if let Some(key) = key.and_then(|key| key.parse().ok()) {
        request.metadata_mut().insert(REQUEST_KEY_HEADER, key);
    }
    request
}

/// Whether either end gave up because the request's own timeout passed.
fn is_out_of_time(status: &Status) -> bool {
    let mut next = status.source();
    let local = next.is_some();
    while let Some(error) = next {
        if error.is::<TimeoutExpired>() {
            return true;
        }
        next = error.source();
    }
    status.code() == Code::DeadlineExceeded || (status.code() == Code::Cancelled && !local)
}
