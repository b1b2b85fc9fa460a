//! Members: listed, taken in, taken out; leadership moved.

use std::sync::Arc;
use std::time::Duration;

use mainstay_core::authz::{Method, Subject};
use mainstay_core::state::member::{MEMBER_NODES, Member};
use mainstay_core::state::trust::{IssuerRequest, RootId};
use mainstay_core::{Command, Identity, MemberId, bounds};
use mainstay_proto::convert::parsed;
use mainstay_proto::v1;
use tonic::{Request, Response, Status};

use super::front::{Front, request_key};
use super::{overview, status};
use crate::leader::Office;
use crate::store::{ChangeError, Consensus, Peer};

/// How long a newcomer's call waits for its vote; it asks again.
const VOTE_PATIENCE: Duration = Duration::from_secs(3);
/// A member that was heard of within this time is alive, and nobody takes its place.
const ALIVE: Duration = Duration::from_secs(2);
/// How often, and after which pauses, a change that is on its way is waited for when a member is kept out.
const KEEP_OUT_TRIES: u32 = 60;
const KEEP_OUT_PAUSE: Duration = Duration::from_millis(100);
/// Most lost members whose place one takes.
const REPLACES_MAX: usize = 16;
/// Longest name and address of a member.
const TEXT_MAX: usize = 255;

pub struct MembersApi(pub Arc<Front>);

#[tonic::async_trait]
impl v1::members_server::Members for MembersApi {
    async fn list(&self, request: Request<v1::ListMembersRequest>) -> Result<Response<v1::ListMembersResponse>, Status> {
        let caller = self.0.permit_here(&request, Method::Look, Subject::None)?;
        Ok(Response::new(v1::ListMembersResponse { members: overview::members(&self.0, &caller).await }))
    }

    async fn describe(&self, request: Request<v1::DescribeMemberRequest>) -> Result<Response<v1::MemberDescription>, Status> {
        self.0.permit_here(&request, Method::Look, Subject::None)?;
        Ok(Response::new(overview::description(&self.0)))
    }

    async fn join(&self, request: Request<v1::JoinMemberRequest>) -> Result<Response<v1::JoinMemberResponse>, Status> {
        let (office, by) = self.0.lead(&request, Method::JoinMember, Subject::None)?;
        let wanted = request.into_inner();
        same_mesh(wanted.incarnation, office.state().incarnation)?;
        let mut replaces: Vec<MemberId> = Vec::new();
        for id in wanted.replaces.iter().take(REPLACES_MAX) {
            replaces.push(parsed("replaces", id).map_err(status::invalid)?);
        }
        let member = described(wanted, office.state().feature_level)?;
        if by != Identity::Coordinator(member.id) {
            return Err(Status::permission_denied(format!("{by} joins as itself only, not as member {}", member.id)));
        }
        if office.state().members.get(&member.id) != Some(&member) {
            self.0.propose(&office, by.clone(), None, Command::PutMember { member: member.clone() }).await?;
        }
        replaces.retain(|old| *old != member.id);
        let voter = take_in(&office, &member, &replaces).await?;
        for old in replaces.into_iter().filter(|_| voter) {
            forget(&office, old).await?;
            if office.state().members.contains_key(&old) {
                self.0.propose(&office, by.clone(), None, Command::RemoveMember { id: old }).await?;
            }
        }
        Ok(Response::new(v1::JoinMemberResponse { voter }))
    }

    async fn remove(&self, request: Request<v1::RemoveMemberRequest>) -> Result<Response<v1::RemoveMemberResponse>, Status> {
        let (office, by) = self.0.lead(&request, Method::RemoveMember, Subject::None)?;
        let key = request_key(&request)?;
        let id: MemberId = parsed("id", &request.get_ref().id).map_err(status::invalid)?;
        let group = office.consensus().group();
        if !group.voters.contains_key(&id) && !group.learners.contains_key(&id) && !office.state().members.contains_key(&id) {
            return Err(Status::not_found(format!("there is no member {id}: see `mainstay member list`")));
        }
        if request.get_ref().dry_run {
            office.consensus().could_remove(id).map_err(status::not_changed)?;
            return Ok(Response::new(v1::RemoveMemberResponse {}));
        }
        office.consensus().remove(id).await.map_err(status::not_changed)?;
        self.0.propose(&office, by.clone(), key, Command::RemoveMember { id }).await?;
        // Its process may still run: without this it would join again at its next start.
        let reason = format!("removed from the group by {by}");
        self.0.propose(&office, by.clone(), None, Command::Revoke { identity: Identity::Coordinator(id), reason }).await?;
        if id != office.consensus().member() {
            self.keep_out(&office, by, id).await?;
        }
        Ok(Response::new(v1::RemoveMemberResponse {}))
    }

    async fn transfer(&self, request: Request<v1::TransferLeadershipRequest>) -> Result<Response<v1::TransferLeadershipResponse>, Status> {
        let (office, by) = self.0.lead(&request, Method::TransferLeadership, Subject::None)?;
        let to = &request.get_ref().to;
        let to = (!to.is_empty()).then(|| parsed::<MemberId>("to", to)).transpose().map_err(status::invalid)?;
        if request.get_ref().dry_run {
            let leader = office.consensus().would_lead(to).await.map_err(status::not_transferred)?;
            return Ok(Response::new(v1::TransferLeadershipResponse { leader: leader.to_string() }));
        }
        tracing::info!(%by, ?to, "leadership is to move");
        let leader = office.consensus().transfer_leadership(to).await.map_err(status::not_transferred)?;
        Ok(Response::new(v1::TransferLeadershipResponse { leader: leader.to_string() }))
    }
}

impl MembersApi {
    /// A join that was permitted before the member was revoked may have brought it back since; no other one comes.
    async fn keep_out(&self, office: &Office, by: Identity, id: MemberId) -> Result<(), Status> {
        let mut tries = 1;
        while let Err(error) = office.consensus().remove(id).await {
            if !matches!(error, ChangeError::InProgress) || tries == KEEP_OUT_TRIES {
                return Err(status::not_changed(error));
            }
            tries += 1;
            tokio::time::sleep(KEEP_OUT_PAUSE).await;
        }
        if office.state().members.contains_key(&id) {
            self.0.propose(office, by, None, Command::RemoveMember { id }).await?;
        }
        Ok(())
    }
}

fn described(wanted: v1::JoinMemberRequest, feature_level: u32) -> Result<Member, Status> {
    let id = parsed("id", &wanted.id).map_err(status::invalid)?;
    let long = [&wanted.name, &wanted.address, &wanted.enrol_address, &wanted.version, &wanted.node].into_iter().any(|text| text.len() > TEXT_MAX);
    if long || wanted.address.is_empty() {
        return Err(Status::invalid_argument(format!("a member needs an address, and each text has at most {TEXT_MAX} bytes")));
    }
    let roots = |field, ids: &[String]| -> Result<Vec<RootId>, Status> {
        ids.iter().take(bounds::ROOTS).map(|id| parsed(field, id).map_err(status::invalid)).collect()
    };
    let member = Member {
        trusts: roots("trusts", &wanted.trusts)?,
        shows: roots("shows", &wanted.shows)?,
        issuers: roots("issuers", &wanted.issuers)?,
        issuer_request: issuer_request(wanted.issuer_root, wanted.issuer_csr_pem)?,
        id,
        name: wanted.name,
        address: wanted.address,
        enrol_address: wanted.enrol_address,
        version: wanted.version,
        // A member of before would forget it. It is said again now and then, also when the level has risen.
        node: if wanted.node.is_empty() || feature_level < MEMBER_NODES {
            None
        } else {
            Some(parsed("node", &wanted.node).map_err(status::invalid)?)
        },
        feature_level: wanted.feature_level,
    };
    // Members of before would forget what they do not know.
    if feature_level < 2 {
        return Ok(Member { trusts: Vec::new(), shows: Vec::new(), issuers: Vec::new(), issuer_request: None, ..member });
    }
    Ok(member)
}

fn issuer_request(root: String, csr_pem: String) -> Result<Option<IssuerRequest>, Status> {
    if root.is_empty() {
        return Ok(None);
    }
    Ok(Some(IssuerRequest { root: parsed("issuer_root", &root).map_err(status::invalid)?, csr_pem }))
}

/// A disk of this mesh as it was before it was recovered, or of one that was recovered elsewhere, is another
/// mesh's: two that take each other's members become none.
fn same_mesh(theirs: u64, ours: u64) -> Result<(), Status> {
    if theirs == 0 || ours == 0 || theirs == ours {
        return Ok(());
    }
    Err(Status::failed_precondition(format!(
        "this member has a disk of incarnation {theirs} of the mesh, and this is incarnation {ours}: one of them was recovered from a snapshot. \
         Set the directory of the one that is to go aside, and start it with an empty one"
    )))
}

/// Makes the member a learner, and then a voter; says whether it votes by now.
async fn take_in(office: &Office, member: &Member, replaces: &[MemberId]) -> Result<bool, Status> {
    let consensus = office.consensus();
    let peer = Peer { address: member.address.clone() };
    let group = consensus.group();
    let known = group.voters.get(&member.id).or_else(|| group.learners.get(&member.id));
    let old = replaces.iter().copied().find(|old| group.voters.contains_key(old));
    if known != Some(&peer) {
        consensus.add_learner(member.id, peer).await.map_err(status::not_changed)?;
    }
    if group.voters.contains_key(&member.id) && old.is_none() {
        return Ok(true);
    }
    if old.is_some_and(|old| is_alive(consensus, old)) {
        return Ok(false);
    }
    // The change goes on when this call is given up: it is asked for again.
    let (consensus, id) = (consensus.clone(), member.id);
    let change = tokio::spawn(async move {
        match old {
            Some(old) => consensus.replace(old, id).await,
            None => consensus.promote(id).await,
        }
    });
    match tokio::time::timeout(VOTE_PATIENCE, change).await {
        Ok(Ok(Ok(()))) => Ok(true),
        Err(_) | Ok(Ok(Err(ChangeError::InProgress | ChangeError::NotCaughtUp { .. } | ChangeError::TimedOut(_)))) => Ok(false),
        Ok(Ok(Err(error))) => Err(status::not_changed(error)),
        Ok(Err(error)) => Err(Status::internal(error.to_string())),
    }
}

/// Takes out what is left of a lost member.
async fn forget(office: &Office, old: MemberId) -> Result<(), Status> {
    if office.consensus().group().learners.contains_key(&old) {
        office.consensus().remove(old).await.map_err(status::not_changed)?;
    }
    Ok(())
}

fn is_alive(consensus: &Consensus, id: MemberId) -> bool {
    let heard = consensus.progress().and_then(|progress| progress.followers.get(&id)?.silent_for);
    id == consensus.member() || heard.is_some_and(|silent| silent < ALIVE)
}
