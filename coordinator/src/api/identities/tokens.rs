//! Join tokens: made, listed, taken back.

use mainstay_client::identity::{JoinToken, RootCertificate};
use mainstay_core::state::enrolment::{JoinGrant, JoinScope, OperatorRole, TokenId};
use mainstay_core::{Command, Identity, Millis, State, WallTime};
use mainstay_proto::convert::{InvalidMessage, join_grant_to_wire, parsed, role_from_wire};
use mainstay_proto::v1;
use mainstay_proto::v1::create_join_token_request::Scope;
use tonic::Status;

use super::super::front::Front;
use super::super::status;
use super::not_issued;
use crate::ca::IssueError;
use crate::leader::Office;

/// How long a join token is good, unless said otherwise, and at most.
const VALID: Millis = Millis(3_600_000);
const VALID_MAX: Millis = Millis(30 * 86_400_000);
/// Most uses of one join token.
const USES_MAX: u32 = 20_000;
/// Least of an id that names a token.
const ID_MIN: usize = 8;

pub async fn create(front: &Front, office: &Office, by: Identity, request: v1::CreateJoinTokenRequest) -> Result<v1::JoinToken, Status> {
    let v1::CreateJoinTokenRequest { scope, valid_ms, uses, role, dry_run } = request;
    let scope = scope_of(scope)?;
    let role = role_of(&scope, &role)?;
    if front.home.files().is_some() {
        return Err(not_issued(IssueError::Elsewhere(front.home.mesh())));
    }
    let valid = if valid_ms == 0 { VALID } else { Millis(valid_ms) };
    let uses = uses.max(1);
    if valid > VALID_MAX || uses > USES_MAX {
        return Err(Status::invalid_argument(format!("a join token is good for at most {VALID_MAX} and {USES_MAX} uses")));
    }
    if let (JoinScope::Operator(name), Some(role)) = (&scope, role) {
        match office.state().operators.get(name) {
            Some(present) if *present == role => {}
            Some(present) => return Err(Status::failed_precondition(another_role(name, *present, role))),
            None => drop(front.change(office, by.clone(), None, Command::PutOperator { name: name.clone(), role }, dry_run).await?),
        }
    }
    let root = pinned_root(front, &office.state()).ok_or_else(|| Status::internal("this member has no root that a token could pin"))?;
    let token = match scope.single() {
        Some(identity) => JoinToken::create(&root.sha256).inviting(identity, enrolment_addresses(&office.state())),
        None => JoinToken::create(&root.sha256),
    };
    let expires = WallTime(office.wall().0.saturating_add_unsigned(valid.0));
    let grant = JoinGrant { id: token.id(), scope, expires, uses, root: Some(root.id) };
    // Without the caller's key: each call makes a secret of its own, and one that was lost expires.
    front.change(office, by, None, Command::GrantJoin { grant }, dry_run).await?;
    if dry_run {
        return Ok(v1::JoinToken { token: String::new(), expires_unix_ms: expires.0, id: String::new() });
    }
    Ok(v1::JoinToken { token: token.to_string(), expires_unix_ms: expires.0, id: token.id().0 })
}

pub fn list(state: &State, now: WallTime) -> v1::ListJoinTokensResponse {
    let mut tokens: Vec<&JoinGrant> = usable(state, now).collect();
    tokens.sort_by_key(|grant| grant.expires);
    v1::ListJoinTokensResponse { tokens: tokens.into_iter().map(join_grant_to_wire).collect() }
}

pub async fn revoke(
    front: &Front,
    office: &Office,
    by: Identity,
    key: Option<mainstay_core::RequestKey>,
    request: v1::RevokeJoinTokenRequest,
) -> Result<v1::RevokeJoinTokenResponse, Status> {
    let v1::RevokeJoinTokenRequest { id, dry_run } = request;
    let grant = find(&office.state(), &id)?;
    front.change(office, by, key, Command::RevokeJoin { id: grant.id.clone() }, dry_run).await?;
    Ok(v1::RevokeJoinTokenResponse { token: Some(join_grant_to_wire(&grant)) })
}

/// Those that would be taken now.
pub fn usable(state: &State, now: WallTime) -> impl Iterator<Item = &JoinGrant> {
    state.joins.values().filter(move |grant| grant.expires > now && grant.uses > 0)
}

fn find(state: &State, id: &str) -> Result<JoinGrant, Status> {
    if id.len() < ID_MIN {
        return Err(status::invalid(InvalidMessage::new("id", format!("at least {ID_MIN} characters of the token's id are needed"))));
    }
    let mut found = state.joins.range(TokenId(id.to_owned())..).take_while(|(known, _)| known.0.starts_with(id)).map(|(_, grant)| grant);
    match (found.next(), found.next()) {
        (Some(grant), None) => Ok(grant.clone()),
        (None, _) => Err(Status::not_found(format!("there is no join token {id}: it was used up, revoked or never made; see `mainstay token list`"))),
        (Some(_), Some(_)) => Err(Status::invalid_argument(format!("several join tokens begin with {id}: say more of it"))),
    }
}

/// The root under which every member can show itself to newcomers.
fn pinned_root(front: &Front, state: &State) -> Option<RootCertificate> {
    let (roots, issuing) = (front.home.roots(), state.issuing_root());
    roots.iter().find(|root| Some(root.id) == issuing).or(roots.iter().next()).cloned()
}

fn enrolment_addresses(state: &State) -> Vec<String> {
    state.members.values().map(|member| member.enrol_address.clone()).collect()
}

fn another_role(name: &mainstay_core::id::PrincipalName, present: OperatorRole, wanted: OperatorRole) -> String {
    format!("operator {name} is {present} already: ask for a token with that role, or change it first with `mainstay operator role {name} {wanted}`")
}

fn scope_of(scope: Option<Scope>) -> Result<JoinScope, Status> {
    Ok(match scope {
        Some(Scope::NodesOf(cluster)) => JoinScope::Nodes(parsed("nodes_of", &cluster).map_err(status::invalid)?),
        Some(Scope::ClusterAgentsOf(cluster)) => JoinScope::ClusterAgents(parsed("cluster_agents_of", &cluster).map_err(status::invalid)?),
        Some(Scope::Operator(name)) => JoinScope::Operator(parsed("operator", &name).map_err(status::invalid)?),
        Some(Scope::Client(name)) => JoinScope::Client(parsed("client", &name).map_err(status::invalid)?),
        Some(Scope::Coordinator(true)) => JoinScope::Coordinator,
        Some(Scope::Coordinator(false)) | None => {
            return Err(Status::invalid_argument(
                "say whom the token is for: nodes or cluster agents of a cluster, an operator, a client, or a coordinator",
            ));
        }
    })
}

/// The role of an operator's token.
fn role_of(scope: &JoinScope, role: &str) -> Result<Option<OperatorRole>, Status> {
    match (scope, role) {
        (JoinScope::Operator(_), role) => role_from_wire(role).map(Some).map_err(status::invalid),
        (_, "") => Ok(None),
        _ => Err(status::invalid(InvalidMessage::new("role", "only an operator has one"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operators_token_says_its_role() {
        let operator = JoinScope::Operator("ana".parse().unwrap());
        assert_eq!(role_of(&operator, "admin").unwrap(), Some(OperatorRole::Admin));
        assert!(role_of(&operator, "").is_err() && role_of(&operator, "root").is_err());
        assert_eq!(role_of(&JoinScope::Coordinator, "").unwrap(), None);
        assert!(role_of(&JoinScope::Coordinator, "admin").is_err());
        assert!(scope_of(None).is_err() && scope_of(Some(Scope::Coordinator(false))).is_err());
    }

    #[test]
    fn a_token_is_found_by_as_much_of_its_id_as_no_other_has() {
        let grant = |id: &str| JoinGrant { id: TokenId(id.into()), scope: JoinScope::Coordinator, expires: WallTime(10), uses: 1, root: None };
        let mut state = State::default();
        for id in ["aaaaaaaa11", "aaaaaaaa22", "bbbbbbbb33"] {
            state.joins.insert(TokenId(id.into()), grant(id));
        }
        assert_eq!(find(&state, "aaaaaaaa2").unwrap().id.0, "aaaaaaaa22");
        assert_eq!(find(&state, "bbbbbbbb").unwrap().id.0, "bbbbbbbb33");
        assert_eq!(find(&state, "aaaaaaaa").unwrap_err().code(), tonic::Code::InvalidArgument);
        assert_eq!(find(&state, "cccccccc").unwrap_err().code(), tonic::Code::NotFound);
        assert_eq!(find(&state, "bbbb").unwrap_err().code(), tonic::Code::InvalidArgument);
        assert_eq!(usable(&state, WallTime(10)).count(), 0, "what has expired is not shown");
    }
}
