//! Operators let in, changed and shut out; join tokens listed and taken back.
#![allow(clippy::disallowed_methods, reason = "a test stands outside of the seams")]

use std::time::{Duration, Instant};

use mainstay_client::enrol;
use mainstay_client::identity::JoinToken;
use mainstay_core::state::FEATURE_LEVEL;
use mainstay_proto::v1;
use mainstay_proto::v1::create_join_token_request::Scope;
use tonic::Code;

use super::harness::{Mesh, eventually};

/// How soon a stream is to end after its caller was shut out.
const AT_ONCE: Duration = Duration::from_secs(1);

fn token_for(name: &str, role: &str, dry_run: bool) -> v1::CreateJoinTokenRequest {
    v1::CreateJoinTokenRequest { scope: Some(Scope::Operator(name.into())), role: role.into(), dry_run, ..Default::default() }
}

async fn operators(admin: &mainstay_client::Mesh) -> Vec<(String, String, usize)> {
    let listed = admin.list_operators(v1::ListOperatorsRequest {}).await.unwrap().operators;
    listed.into_iter().map(|operator| (operator.name, operator.role, operator.pending.len())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_comes_in_by_a_token_that_says_where() {
    let mut mesh = Mesh::of(1).await;
    let admin = mesh.operator("ana");
    mesh.ready(&admin).await;
    eventually("the newest feature level", async || {
        (admin.get_status(v1::GetStatusRequest {}).await.ok()?.feature_level == FEATURE_LEVEL).then_some(())
    })
    .await;

    // A dry run says what would be, and leaves nothing.
    let rehearsed = admin.create_join_token(token_for("ben", "viewer", true)).await.unwrap();
    assert!(rehearsed.token.is_empty() && rehearsed.expires_unix_ms > 0);
    assert_eq!(operators(&admin).await, [("ana".into(), "admin".into(), 0)]);

    let made = admin.create_join_token(token_for("ben", "viewer", false)).await.unwrap();
    let token: JoinToken = made.token.parse().unwrap();
    let invitation = token.invitation().unwrap().clone();
    assert_eq!((invitation.identity.to_string(), invitation.addresses.clone()), ("operator/ben".into(), vec![mesh.enrol_address(0)]));
    assert_eq!(operators(&admin).await, [("ana".into(), "admin".into(), 0), ("ben".into(), "viewer".into(), 1)]);
    let listed = admin.list_join_tokens(v1::ListJoinTokensRequest {}).await.unwrap().tokens;
    assert!(listed.iter().any(|grant| grant.id == made.id && (grant.scope.as_str(), grant.name.as_str()) == ("operator", "ben")), "{listed:?}");

    // One that does not answer is passed over.
    let addresses = [vec!["127.0.0.1:1".to_owned()], invitation.addresses].concat();
    let enrolled = enrol::enrol_at_any(&addresses, &token, &invitation.identity).await.unwrap();
    assert_eq!(enrolled.members, mesh.addresses());
    let ben = mesh.with_bundle(enrolled.bundle);
    ben.get_status(v1::GetStatusRequest {}).await.unwrap();
    let listed = admin.list_operators(v1::ListOperatorsRequest {}).await.unwrap().operators;
    assert!(listed[1].pending.is_empty() && listed[1].enrolled_unix_ms > 0 && listed[1].last_seen_unix_ms > 0, "{listed:?}");

    // Another role is said, not slipped in with a token.
    let refused = admin.create_join_token(token_for("ben", "admin", false)).await.unwrap_err();
    assert_eq!(refused.code(), Some(Code::FailedPrecondition));
    assert!(refused.to_string().contains("mainstay operator role ben admin"), "{refused}");

    // A token that was taken back lets nobody in.
    let made = admin.create_join_token(token_for("ben", "viewer", false)).await.unwrap();
    let id = made.id[..10].to_owned();
    let rehearsed = admin.revoke_join_token(v1::RevokeJoinTokenRequest { id: id.clone(), dry_run: true }).await.unwrap();
    assert_eq!(rehearsed.token.unwrap().id, made.id);
    admin.revoke_join_token(v1::RevokeJoinTokenRequest { id: id.clone(), dry_run: false }).await.unwrap();
    let again = admin.revoke_join_token(v1::RevokeJoinTokenRequest { id, dry_run: false }).await.unwrap_err();
    assert_eq!(again.code(), Some(Code::NotFound));
    let refused = enrol::enrol(&mesh.enrol_address(0), &made.token.parse().unwrap(), &invitation.identity).await.unwrap_err();
    assert!(refused.to_string().contains("no such join token"), "{refused}");
    mesh.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_counts_from_the_next_call_on() {
    let mut mesh = Mesh::of(1).await;
    let (admin, ben) = (mesh.operator("ana"), mesh.operator("ben"));
    mesh.ready(&admin).await;
    let set = |role: &str, dry_run| v1::SetOperatorRequest { name: "ben".into(), role: role.into(), dry_run };
    let start = || ben.start_run(v1::StartRunRequest { plan: "daily".into(), ..Default::default() });

    assert_eq!(admin.set_operator(set("viewer", false)).await.unwrap().before, "");
    assert_eq!(start().await.unwrap_err().code(), Some(Code::PermissionDenied));
    assert_eq!(admin.set_operator(set("operator", true)).await.unwrap().before, "viewer");
    assert_eq!(start().await.unwrap_err().code(), Some(Code::PermissionDenied), "a dry run changes nothing");
    admin.set_operator(set("operator", false)).await.unwrap();
    start().await.unwrap();
    assert_eq!(ben.list_operators(v1::ListOperatorsRequest {}).await.unwrap().operators.len(), 2);
    assert_eq!(ben.set_operator(set("admin", false)).await.unwrap_err().code(), Some(Code::PermissionDenied));

    let last = v1::SetOperatorRequest { name: "ana".into(), role: "viewer".into(), dry_run: true };
    let refused = admin.set_operator(last).await.unwrap_err();
    assert!(refused.to_string().contains("last admin"), "{refused}");
    assert_eq!(admin.set_operator(set("root", false)).await.unwrap_err().code(), Some(Code::InvalidArgument));
    mesh.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_end_when_their_caller_is_shut_out() {
    let mut mesh = Mesh::of(3).await;
    let admin = mesh.operator("ana");
    mesh.ready(&admin).await;
    let watch = v1::GetLeaseRequest { name: "demo".into() };
    for (name, revoked) in [("ben", true), ("eve", false)] {
        admin.set_operator(v1::SetOperatorRequest { name: name.into(), role: "viewer".into(), dry_run: false }).await.unwrap();
        let caller = mesh.operator(name);
        let mut stream = caller.watch_lease(watch.clone()).await.unwrap();
        stream.message().await.unwrap().unwrap();
        if revoked {
            let request = v1::RevokeRequest { identity: format!("operator/{name}"), reason: "left".into(), dry_run: false };
            admin.revoke_identity(request).await.unwrap();
        } else {
            admin.remove_operator(v1::RemoveOperatorRequest { name: name.into(), dry_run: false }).await.unwrap();
        }
        let begun = Instant::now();
        let last = tokio::time::timeout(Duration::from_secs(20), stream.message()).await.expect("the stream ends");
        assert!(last.is_err() && begun.elapsed() < AT_ONCE, "{last:?} after {:?}", begun.elapsed());

        // Every member says no, and says why, as soon as it has heard of it.
        for address in mesh.addresses() {
            let there = mainstay_client::Mesh::new(vec![address], caller.identity().clone());
            eventually("a refusal in words", async || {
                let refused = there.get_status(v1::GetStatusRequest {}).await.err()?;
                let word = if revoked { "is revoked" } else { "has no role" };
                (refused.code() == Some(Code::PermissionDenied) && refused.to_string().contains(word)).then_some(())
            })
            .await;
        }
    }
    mesh.stop_all().await;
}
