//! What every service shares: who calls, whether they may, and the way to the leader.

use std::sync::Arc;

use mainstay_client::clock::Clock;
use mainstay_client::identity::PeerIdentity;
use mainstay_client::tls::PeerInfo;
use mainstay_core::authz::{Caller, Method, Subject, authorize};
use mainstay_core::state::member::Member;
use mainstay_core::{Actor, Command, Entry, Identity, Reply, RequestKey, State};
use mainstay_proto::{REQUEST_KEY_HEADER, v1};
use tokio::sync::Semaphore;
use tonic::{Request, Status};

use super::credentials::Credentials;
use super::identities::not_issued;
use super::seen::Seen;
use super::status;
use crate::artifacts::Artifacts;
use crate::ca::{Home, Signing};
use crate::leader::{Leader, Office};
use crate::peers::Peers;
use crate::store::Consensus;

/// Longest idempotency key.
const KEY_MAX: usize = 64;
/// Snapshots read at one time.
pub const SNAPSHOTS: usize = 1;

/// The parts of this member that calls need.
pub struct Front {
    pub consensus: Consensus,
    pub leader: Leader,
    pub home: Arc<Home>,
    pub signing: Signing,
    pub peers: Peers,
    pub artifacts: Artifacts,
    pub clock: Arc<dyn Clock>,
    /// How this member describes itself.
    pub member: Member,
    /// When operators last called.
    pub seen: Seen,
    /// Snapshots that are being read: each costs as much memory as the state.
    pub snapshots: Arc<Semaphore>,
    /// Which certificates callers show.
    pub credentials: Credentials,
}

impl Front {
    /// The caller, as its certificate says.
    pub fn peer<T>(request: &Request<T>) -> Result<&PeerIdentity, Status> {
        let info = request.extensions().get::<PeerInfo>();
        info.and_then(|info| info.peer.as_ref()).ok_or_else(|| Status::unauthenticated("this call needs a certificate of the mesh"))
    }

    /// Whether the caller may, by `state`. Its certificate may have ended since the connection was made.
    pub fn permit<T>(&self, request: &Request<T>, method: Method, subject: Subject<'_>, state: &State) -> Result<Identity, Status> {
        let peer = Front::peer(request)?;
        let expired = peer.expired || self.clock.wall() > peer.not_after;
        let permit = authorize(&Caller::of(&peer.identity, expired, state), method, subject);
        // At most one line a call, and callers are known: whoever is denied often shows by name.
        permit.map_err(|denial| {
            tracing::debug!(caller = %peer.identity, ?method, reason = %denial, "denied");
            status::denied(denial)
        })?;
        if let Identity::Operator(name) = &peer.identity {
            self.seen.note(name, self.clock.wall());
        }
        Ok(peer.identity.clone())
    }

    /// As [`Front::permit`], by what this member knows. One that is behind does not say no in the mesh's
    /// name: it says who leads.
    pub fn permit_here<T>(&self, request: &Request<T>, method: Method, subject: Subject<'_>) -> Result<Identity, Status> {
        let denial = match self.permit(request, method, subject, &self.consensus.state().state) {
            Ok(identity) => return Ok(identity),
            Err(denial) => denial,
        };
        let may_be_behind = denial.code() == tonic::Code::PermissionDenied && self.leader.office().is_none() && !self.is_refused(request);
        Err(if may_be_behind { self.not_leader() } else { denial })
    }

    fn is_refused<T>(&self, request: &Request<T>) -> bool {
        Front::peer(request).is_ok_and(|peer| peer.expired || self.consensus.state().state.revoked.contains_key(&peer.identity))
    }

    /// What this member has as the leader, or the answer that it does not lead.
    pub fn office(&self) -> Result<Arc<Office>, Status> {
        self.leader.office().ok_or_else(|| self.not_leader())
    }

    fn not_leader(&self) -> Status {
        let leader = self.consensus.leadership().borrow().leader.clone();
        match leader.as_ref().and_then(|leader| leader.peer.as_ref()) {
            Some(peer) if leader.as_ref().is_some_and(|leader| leader.id != self.consensus.member()) => {
                status::not_leader(format!("{} does not lead: {} does", self.member.name, peer.address), Some(&peer.address))
            }
            _ => status::not_leader("the mesh has no leader at the moment: try again a little later", None),
        }
    }

    /// A call for the leader: that this member leads, and that the caller may.
    pub fn lead<T>(&self, request: &Request<T>, method: Method, subject: Subject<'_>) -> Result<(Arc<Office>, Identity), Status> {
        let office = self.office()?;
        let identity = self.permit(request, method, subject, &office.state())?;
        Ok((office, identity))
    }

    /// The state with everything in it that was acknowledged before the call.
    pub async fn read<T>(&self, request: &Request<T>, method: Method) -> Result<(Arc<Office>, Arc<State>), Status> {
        let (office, _) = self.lead(request, method, Subject::None)?;
        self.confirmed(&office).await?;
        let state = office.state();
        Ok((office, state))
    }

    /// Proof that this member still leads.
    pub async fn confirmed(&self, office: &Office) -> Result<(), Status> {
        office.confirm().await.map_err(status::not_read)
    }

    /// Has a caller's command agreed on; refusals become statuses.
    pub async fn propose(&self, office: &Office, by: Identity, key: Option<RequestKey>, command: Command) -> Result<Reply, Status> {
        let answer = office.propose(Actor::Identity(by), key, command).await;
        status::done(answer.map_err(|error| status::not_proposed(error, self.consensus.member()))?)
    }

    /// What a command would be answered now. Nothing is changed: it is applied to a copy.
    pub fn rehearse(&self, office: &Office, by: Identity, command: Command) -> Result<Reply, Status> {
        let entry = Entry { at: office.now(), wall: office.wall(), by: Actor::Identity(by), key: None, command };
        let mut copy = State::clone(&office.state());
        status::done(copy.apply(&entry))
    }

    /// As [`Front::propose`], or in a dry run as [`Front::rehearse`].
    pub async fn change(&self, office: &Office, by: Identity, key: Option<RequestKey>, command: Command, dry_run: bool) -> Result<Reply, Status> {
        if dry_run { self.rehearse(office, by, command) } else { self.propose(office, by, key, command).await }
    }

    /// Has a request signed, and says where the mesh is found.
    pub async fn certificate(&self, csr_pem: &str, identity: &Identity) -> Result<v1::Certificate, Status> {
        let certificate = self.signing.sign(csr_pem, identity).await.map_err(not_issued)?;
        let members = self.consensus.state().state.members.values().map(|member| member.address.clone()).collect();
        Ok(v1::Certificate { members, ..certificate })
    }
}

/// The caller's idempotency key.
pub fn request_key<T>(request: &Request<T>) -> Result<Option<RequestKey>, Status> {
    let Some(value) = request.metadata().get(REQUEST_KEY_HEADER) else { return Ok(None) };
    match value.to_str() {
        Ok(key) if !key.is_empty() && key.len() <= KEY_MAX => Ok(Some(RequestKey(key.to_owned()))),
        _ => Err(Status::invalid_argument(format!("`{REQUEST_KEY_HEADER}` is to have 1 to {KEY_MAX} visible characters"))),
    }
}
