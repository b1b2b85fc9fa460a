//! Operators: who they are, what they may do, and whether they were here.

use mainstay_core::id::PrincipalName;
use mainstay_core::state::enrolment::{JoinGrant, JoinScope};
use mainstay_core::{Command, Identity, RequestKey, State, WallTime};
use mainstay_proto::convert::{join_grant_to_wire, parsed, role_from_wire};
use mainstay_proto::v1;
use tonic::Status;

use super::super::front::Front;
use super::super::seen::Seen;
use super::super::status;
use super::tokens;
use crate::leader::Office;

/// All that there are and were, by name.
pub fn list(state: &State, seen: &Seen, now: WallTime) -> v1::ListOperatorsResponse {
    let current = state.operators.iter().map(|(name, role)| v1::Operator {
        name: name.to_string(),
        role: role.to_string(),
        enrolled_unix_ms: enrolled(state, name),
        last_seen_unix_ms: seen.last(name).map_or(0, |at| at.0),
        pending: tokens::usable(state, now).filter(|grant| is_for(grant, name)).map(join_grant_to_wire).collect(),
        revoked_unix_ms: 0,
        reason: String::new(),
    });
    let revoked = state.revoked.iter().filter_map(|(identity, revocation)| match identity {
        Identity::Operator(name) => Some(v1::Operator {
            name: name.to_string(),
            revoked_unix_ms: revocation.at.0,
            reason: revocation.reason.clone(),
            ..v1::Operator::default()
        }),
        _ => None,
    });
    let mut operators: Vec<v1::Operator> = current.chain(revoked).collect();
    operators.sort_by(|a, b| a.name.cmp(&b.name));
    v1::ListOperatorsResponse { operators }
}

pub async fn set(
    front: &Front,
    office: &Office,
    by: Identity,
    key: Option<RequestKey>,
    request: v1::SetOperatorRequest,
) -> Result<v1::SetOperatorResponse, Status> {
    let v1::SetOperatorRequest { name, role, dry_run } = request;
    let name: PrincipalName = parsed("name", &name).map_err(status::invalid)?;
    let role = role_from_wire(&role).map_err(status::invalid)?;
    let before = role_before(&office.state(), &name);
    front.change(office, by, key, Command::PutOperator { name: name.clone(), role }, dry_run).await?;
    Ok(v1::SetOperatorResponse { name: name.to_string(), role: role.to_string(), before })
}

pub async fn remove(
    front: &Front,
    office: &Office,
    by: Identity,
    key: Option<RequestKey>,
    request: v1::RemoveOperatorRequest,
) -> Result<v1::RemoveOperatorResponse, Status> {
    let v1::RemoveOperatorRequest { name, dry_run } = request;
    let name: PrincipalName = parsed("name", &name).map_err(status::invalid)?;
    let before = role_before(&office.state(), &name);
    front.change(office, by, key, Command::RemoveOperator { name: name.clone() }, dry_run).await?;
    Ok(v1::RemoveOperatorResponse { name: name.to_string(), before })
}

fn role_before(state: &State, name: &PrincipalName) -> String {
    state.operators.get(name).map(ToString::to_string).unwrap_or_default()
}

fn enrolled(state: &State, name: &PrincipalName) -> i64 {
    let known = state.identities.get(&Identity::Operator(name.clone()));
    known.and_then(|known| known.enrolled).map_or(0, |at| at.0)
}

fn is_for(grant: &JoinGrant, name: &PrincipalName) -> bool {
    matches!(&grant.scope, JoinScope::Operator(whom) if whom == name)
}

#[cfg(test)]
mod tests {
    use mainstay_core::state::enrolment::{Known, OperatorRole, Revocation, TokenId};

    use super::*;

    #[test]
    fn the_list_says_who_may_what_who_was_here_and_who_is_out() {
        let name = |text: &str| text.parse::<PrincipalName>().unwrap();
        let mut state = State::default();
        state.operators.insert(name("ben"), OperatorRole::Viewer);
        state.operators.insert(name("ana"), OperatorRole::Admin);
        state.identities.insert(Identity::Operator(name("ana")), Known { enrolled: Some(WallTime(5)), ..Known::default() });
        let grant = JoinGrant { id: TokenId("t".into()), scope: JoinScope::Operator(name("ben")), expires: WallTime(100), uses: 1, root: None };
        state.joins.insert(grant.id.clone(), grant);
        state.revoked.insert(Identity::Operator(name("eve")), Revocation { at: WallTime(7), reason: "left".into() });
        state.revoked.insert(Identity::Client(name("ci")), Revocation { at: WallTime(7), reason: String::new() });
        let seen = Seen::default();
        seen.note(&name("ana"), WallTime(9));

        let operators = list(&state, &seen, WallTime(50)).operators;
        let short = |operator: &v1::Operator| {
            (operator.name.clone(), operator.role.clone(), operator.enrolled_unix_ms, operator.last_seen_unix_ms, operator.pending.len())
        };
        assert_eq!(
            operators.iter().map(short).collect::<Vec<_>>(),
            [("ana".into(), "admin".into(), 5, 9, 0), ("ben".into(), "viewer".into(), 0, 0, 1), ("eve".into(), String::new(), 0, 0, 0)]
        );
        assert_eq!((operators[2].revoked_unix_ms, operators[2].reason.as_str()), (7, "left"));
    }
}
