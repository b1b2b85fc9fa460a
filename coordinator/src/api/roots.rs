//! Roots of trust: listed, added, signed for, retired.

use std::sync::Arc;

use mainstay_client::identity::RootCertificate;
use mainstay_core::authz::{Method, Subject};
use mainstay_core::state::member::Member;
use mainstay_core::state::trust::{IssuerGrant, RootId, Shown};
use mainstay_core::{Command, Identity, MemberId, State, WallTime};
use mainstay_proto::convert::parsed;
use mainstay_proto::v1;
use tonic::{Request, Response, Status};

use super::front::{Front, request_key};
use super::identities::not_issued;
use super::{credentials, status};
use crate::ca::IssueError;

/// Most of those who depend on a root that are named.
const NAMED: usize = 50;
/// Most certificates in one message between members.
pub const NOTES: usize = 256;
/// Most issuers in one request: one for each member.
const GRANTS: usize = 9;

pub struct RootsApi(pub Arc<Front>);

#[tonic::async_trait]
impl v1::roots_server::Roots for RootsApi {
    async fn list(&self, request: Request<v1::ListRootsRequest>) -> Result<Response<v1::ListRootsResponse>, Status> {
        let (office, state) = self.0.read(&request, Method::Look).await?;
        Ok(Response::new(listed(&state, office.wall())))
    }

    async fn add(&self, request: Request<v1::AddRootRequest>) -> Result<Response<v1::AddRootResponse>, Status> {
        let (office, by) = self.0.lead(&request, Method::ChangeRoots, Subject::None)?;
        let key = request_key(&request)?;
        let v1::AddRootRequest { pem, dry_run } = request.into_inner();
        let root = RootCertificate::read(&pem).map_err(|error| Status::invalid_argument(error.to_string()))?;
        self.refuse_elsewhere()?;
        let known = office.state().roots.contains_key(&root.id);
        self.0.change(&office, by, key, Command::AddRoot { id: root.id, pem: root.pem, ends: root.ends }, dry_run).await?;
        Ok(Response::new(v1::AddRootResponse { id: root.id.to_string(), ends_unix_ms: root.ends.0, known }))
    }

    async fn grant_issuers(&self, request: Request<v1::GrantIssuersRequest>) -> Result<Response<v1::GrantIssuersResponse>, Status> {
        let (office, by) = self.0.lead(&request, Method::ChangeRoots, Subject::None)?;
        let v1::GrantIssuersRequest { grants, dry_run } = request.into_inner();
        if grants.is_empty() || grants.len() > GRANTS {
            return Err(Status::invalid_argument(format!("there are to be 1 to {GRANTS} issuers")));
        }
        let mut commands = Vec::new();
        for v1::IssuerGrant { member, root, cert_pem } in grants {
            let member: MemberId = parsed("member", &member).map_err(status::invalid)?;
            let root: RootId = parsed("root", &root).map_err(status::invalid)?;
            commands.push(Command::GrantIssuer { member, grant: IssuerGrant { root, cert_pem } });
        }
        for command in commands {
            // Without the caller's key, which stands for one command; saying it again changes nothing.
            self.0.change(&office, by.clone(), None, command, dry_run).await?;
        }
        Ok(Response::new(v1::GrantIssuersResponse {}))
    }

    async fn retire(&self, request: Request<v1::RetireRootRequest>) -> Result<Response<v1::RetireRootResponse>, Status> {
        let (office, by) = self.0.lead(&request, Method::ChangeRoots, Subject::None)?;
        let key = request_key(&request)?;
        let v1::RetireRootRequest { id, cut_off, dry_run } = request.into_inner();
        let id: RootId = parsed("id", &id).map_err(status::invalid)?;
        let mut gone = office.state().identities_that_need(id, office.wall());
        gone.truncate(NAMED);
        self.0.change(&office, by, key, Command::RetireRoot { id, cut_off }, dry_run).await?;
        Ok(Response::new(v1::RetireRootResponse { cut_off: gone }))
    }

    async fn note(&self, request: Request<v1::NoteCertificatesRequest>) -> Result<Response<v1::NoteCertificatesResponse>, Status> {
        let (office, _) = self.0.lead(&request, Method::Raft, Subject::None)?;
        let state = office.state();
        for shown in request.into_inner().shown.into_iter().take(NOTES) {
            let identity: Identity = parsed("identity", &shown.identity).map_err(status::invalid)?;
            self.0.credentials.note(&state, &identity, credentials::from_wire(&shown)?);
        }
        Ok(Response::new(v1::NoteCertificatesResponse {}))
    }
}

impl RootsApi {
    fn refuse_elsewhere(&self) -> Result<(), Status> {
        match self.0.home.files() {
            Some(_) => Err(not_issued(IssueError::Elsewhere(self.0.home.mesh()))),
            None => Ok(()),
        }
    }
}

fn listed(state: &State, now: WallTime) -> v1::ListRootsResponse {
    // Those whose certificates can still be renewed; the rest has to enrol again anyway.
    let current: Vec<&Shown> = state.identities.values().filter_map(|known| known.shown.as_ref()).filter(|shown| shown.is_renewable(now)).collect();
    let mut roots: Vec<_> = state.roots.iter().collect();
    roots.sort_by_key(|(_, root)| root.number);
    let names = |has: &dyn Fn(&Member) -> bool| state.members.values().filter(|member| has(member)).map(|member| member.name.clone()).collect();
    let issuing = state.issuing_root();
    let roots = roots.into_iter().map(|(id, root)| {
        let mut needed_by = state.members_that_need(*id);
        needed_by.extend(state.identities_that_need(*id, now));
        v1::Root {
            id: id.to_string(),
            pem: root.pem.clone(),
            ends_unix_ms: root.ends.0,
            added_unix_ms: root.added.0,
            issuing: issuing == Some(*id),
            members_trusting: names(&|member| member.trusts.contains(id)),
            members_signing: names(&|member| member.issuers.contains(id)),
            identities_trusting: count(current.iter().filter(|shown| shown.trusts.contains(id)).count()),
            identities_under: count(current.iter().filter(|shown| shown.root == *id).count()),
            needed_by_total: count(needed_by.len()),
            needed_by: needed_by.into_iter().take(NAMED).collect(),
        }
    });
    let requests = state.members.values().filter_map(|member| {
        let request = member.issuer_request.as_ref()?;
        Some(v1::IssuerRequest {
            member: member.id.to_string(),
            member_name: member.name.clone(),
            root: request.root.to_string(),
            csr_pem: request.csr_pem.clone(),
            granted: state.issuers.get(&member.id).is_some_and(|grant| grant.root == request.root),
        })
    });
    v1::ListRootsResponse {
        roots: roots.collect(),
        requests: requests.collect(),
        members: count(state.members.len()),
        identities: count(current.len()),
    }
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
