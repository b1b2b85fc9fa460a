//! Whole coordinators in one process, over real sockets and certificates.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod artifacts;
mod harness;
mod objects;
mod operators;
mod roots;
mod rules;

use std::time::Duration;

use harness::{Mesh, eventually};
use mainstay_proto::v1;
use tonic::Code;

const PLAN: &str = "apiVersion: mainstay.dev/v1alpha1\nkind: MaintenancePlan\nmetadata:\n  name: pause\nspec:\n  steps:\n    - name: pause\n      uses: wait\n      runOn: node\n      with:\n        for: 1s\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_members_form_a_mesh_and_serve_it() {
    let mut mesh = Mesh::of(3).await;
    let admin = mesh.operator("ana");
    let status = eventually("a founded mesh with all members known", async || {
        let status = admin.get_status(v1::GetStatusRequest {}).await.ok()?;
        (status.mesh == "local" && status.members.iter().filter(|member| !member.version.is_empty()).count() == 3).then_some(status)
    })
    .await;
    assert_eq!(status.members.iter().filter(|member| member.leader).count(), 1);
    assert!(status.members.iter().all(|member| member.role() == v1::MemberRole::Voter));

    eventually("the bundled plans", async || {
        let plans = admin.list_plans(v1::ListPlansRequest {}).await.ok()?.plans;
        plans.iter().any(|plan| plan.name == "daily" && plan.bundled).then_some(())
    })
    .await;
    let applied = admin.apply_plan(v1::ApplyPlanRequest { source: PLAN.into(), dry_run: false }).await.unwrap();
    assert_eq!((applied.revision, applied.changed), (1, true));
    let wrong = admin.apply_plan(v1::ApplyPlanRequest { source: PLAN.replace("wait", "weight"), dry_run: false }).await.unwrap_err();
    assert_eq!(wrong.code(), Some(Code::InvalidArgument));

    // Somebody without a role may not.
    let stranger = mesh.operator("eve").get_status(v1::GetStatusRequest {}).await.unwrap_err();
    assert_eq!(stranger.code(), Some(Code::PermissionDenied), "{stranger}");

    mesh.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leases_are_granted_renewed_waited_for_and_expire() {
    let mut mesh = Mesh::of(1).await;
    let (admin, ben) = (mesh.operator("ana"), mesh.client("ben"));
    mesh.ready(&admin).await;
    let name = "client/ben/deploy";
    let spec = v1::LeaseSpec { slots: 1, ttl_ms: 2_000, kind: v1::LeaseKind::Ttl.into() };
    let ask = |incarnation: &str, wait_ms| v1::AcquireRequest {
        name: name.into(),
        spec: Some(spec),
        incarnation: incarnation.into(),
        wait_ms,
        ..Default::default()
    };
    let first = ben.acquire_lease(ask("one", 0)).await.unwrap();
    assert!(!first.token.is_empty());
    assert_eq!(ben.acquire_lease(ask("one", 0)).await.unwrap().token, first.token, "asked again, it is the same grant");
    let held = ben.acquire_lease(ask("two", 0)).await.unwrap();
    assert!(held.token.is_empty() && held.held_by.len() == 1);

    let renew = |token: &str, incarnation: &str| v1::RenewRequest { name: name.into(), token: token.into(), incarnation: incarnation.into() };
    assert_eq!(ben.renew_lease(renew(&first.token, "one")).await.unwrap().ttl_ms, 2_000);
    assert_eq!(ben.renew_lease(renew(&first.token, "two")).await.unwrap_err().code(), Some(Code::FailedPrecondition));
    let other = mesh.client("eve").acquire_lease(ask("x", 0)).await.unwrap_err();
    assert_eq!(other.code(), Some(Code::PermissionDenied));

    // The first is not renewed any more: the waiter has it after a TTL, under a greater token.
    let second = ben.acquire_lease(ask("two", 10_000)).await.unwrap();
    assert!(!second.token.is_empty() && second.token != first.token);
    assert_eq!(ben.renew_lease(renew(&first.token, "one")).await.unwrap_err().code(), Some(Code::FailedPrecondition));
    let release = v1::ReleaseRequest { name: name.into(), token: String::new(), incarnation: "two".into() };
    ben.release_lease(release.clone()).await.unwrap();
    ben.release_lease(release).await.unwrap();
    assert!(admin.get_lease(v1::GetLeaseRequest { name: name.into() }).await.unwrap().held.is_empty());
    mesh.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_leases_are_renewed_by_one_call_and_each_has_its_own_answer() {
    let mut mesh = Mesh::of(1).await;
    let (admin, ben) = (mesh.operator("ana"), mesh.client("ben"));
    mesh.ready(&admin).await;
    let name = |number: usize| format!("client/ben/{number}");
    let mut renewals = Vec::new();
    for number in 0..4 {
        let spec = Some(v1::LeaseSpec { slots: 1, ttl_ms: 2_000, kind: v1::LeaseKind::Ttl.into() });
        let ask = v1::AcquireRequest { name: name(number), spec, incarnation: "one".into(), ..Default::default() };
        let token = ben.acquire_lease(ask).await.unwrap().token;
        renewals.push(v1::RenewRequest { name: name(number), token, incarnation: "one".into() });
    }
    let renew = async |leases: &[v1::RenewRequest]| ben.renew_leases(v1::RenewManyRequest { leases: leases.into() }).await;
    let held =
        |renewals: &[v1::Renewal]| -> Vec<bool> { renewals.iter().map(|renewal| renewal.ttl_ms == 2_000 && renewal.lost.is_empty()).collect() };

    // Of another process, and given back: both are lost, and the one in between is not.
    let mut some = renewals[..3].to_vec();
    some[0].incarnation = "two".into();
    ben.release_lease(v1::ReleaseRequest { name: name(2), token: String::new(), incarnation: "one".into() }).await.unwrap();
    let answers = renew(&some).await.unwrap().renewals;
    assert_eq!(held(&answers), [false, true, false]);
    assert!(answers[0].lost.contains("client/ben/0 is no longer held") && answers[0].ttl_ms == 0, "{answers:?}");

    // Renewed like this, they outlive one that is as old and is not renewed.
    let mut lived = vec![true, true];
    eventually("the end of the one that is not renewed", async || {
        lived = held(&renew(&renewals[..2]).await.ok()?.renewals);
        let left = admin.get_lease(v1::GetLeaseRequest { name: name(3) }).await.ok()?;
        left.held.is_empty().then_some(())
    })
    .await;
    assert_eq!(lived, [true, true]);

    // A name that is another's refuses the call, whatever else is wrong with it; only then that counts.
    let foreign = v1::RenewRequest { name: "client/eve/x".into(), token: "no token".into(), incarnation: String::new() };
    let codes = async |leases: &[v1::RenewRequest]| renew(leases).await.unwrap_err().code();
    assert_eq!(codes(&[renewals[0].clone(), foreign]).await, Some(Code::PermissionDenied));
    assert_eq!(codes(&[v1::RenewRequest { token: "no token".into(), ..renewals[0].clone() }]).await, Some(Code::InvalidArgument));
    assert_eq!(codes(&[]).await, Some(Code::InvalidArgument));
    assert_eq!(codes(&vec![renewals[0].clone(); 501]).await, Some(Code::InvalidArgument));
    mesh.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_without_its_disk_becomes_another_one() {
    let mut mesh = Mesh::of(3).await;
    let admin = mesh.operator("ana");
    mesh.ready(&admin).await;
    let before = mesh.ids(&admin).await;
    mesh.stop(1).await;
    mesh.lose_disk(1);
    mesh.start(1).await;
    let after = eventually("three voters, one of them new", async || {
        let members = admin.list_members(v1::ListMembersRequest {}).await.ok()?.members;
        let voters: Vec<String> = members.iter().filter(|member| member.role() == v1::MemberRole::Voter).map(|member| member.id.clone()).collect();
        (members.len() == 3
            && voters.len() == 3
            && voters.iter().any(|id| !before.contains(id))
            && members.iter().all(|member| !member.version.is_empty()))
        .then_some(voters)
    })
    .await;
    assert_eq!(after.iter().filter(|id| before.contains(id)).count(), 2, "{before:?} {after:?}");
    mesh.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_enrols_links_and_carries_a_run_out() {
    let mut mesh = Mesh::of(3).await;
    let admin = mesh.operator("ana");
    mesh.ready(&admin).await;
    let agent = mesh.enrol("cluster/local/node/a1").await;
    admin.apply_plan(v1::ApplyPlanRequest { source: PLAN.into(), dry_run: false }).await.unwrap();

    let (mut link, send) = mesh.linked(&agent, "p1").await;

    let run = admin.start_run(v1::StartRunRequest { plan: "pause".into(), ..Default::default() }).await.unwrap().run;
    let mut watch = admin.watch_run(v1::GetRunRequest { run: run.clone() }).await.unwrap();
    let attempt = loop {
        let message = tokio::time::timeout(Duration::from_secs(20), link.message()).await.unwrap().unwrap().unwrap();
        if let Some(v1::mesh_message::Message::Desired(desired)) = message.message
            && let Some(attempt) = desired.attempts.into_iter().next()
        {
            break attempt;
        }
    };
    let why = admin.why_run(v1::GetRunRequest { run: run.clone() }).await.unwrap();
    assert_eq!(why.waits.len(), 1, "{why:?}");

    let begin = v1::BeginRequest { attempt: attempt.id.clone(), ledger: "ledger of p1".into() };
    let stranger = mesh.enrol("cluster/local/node/a2").await;
    assert_eq!(stranger.begin_attempt(begin.clone()).await.unwrap_err().code(), Some(Code::PermissionDenied));
    agent.begin_attempt(begin.clone()).await.unwrap();
    agent.begin_attempt(begin).await.unwrap();
    let output = v1::StepOutput { attempt: attempt.id.clone(), lines: vec!["one".into(), "two".into()], dropped: 0 };
    send.send(v1::AgentMessage { message: Some(v1::agent_message::Message::Output(output)) }).await.unwrap();
    let mut lines = Vec::new();
    let mut last = None;
    while let Some(event) = tokio::time::timeout(Duration::from_secs(20), watch.message()).await.unwrap().unwrap() {
        match event.event.unwrap() {
            v1::run_event::Event::Output(line) => {
                lines.push(line.line);
                if lines.len() == 2 {
                    let outcome = v1::Outcome { kind: v1::outcome::Kind::Succeeded.into(), ..Default::default() };
                    let end = v1::EndRequest { attempt: attempt.id.clone(), ledger: "ledger of p1".into(), outcome: Some(outcome) };
                    agent.end_attempt(end.clone()).await.unwrap();
                    agent.end_attempt(end).await.unwrap();
                }
            }
            v1::run_event::Event::Run(run) => last = Some(run),
        }
    }
    assert_eq!(lines, ["one", "two"]);
    assert_eq!(last.unwrap().state(), v1::RunState::Completed);

    // Another process with the same identity takes the link over.
    let (_newer, _says) = mesh.linked(&agent, "p2").await;
    let last = eventually("word of the successor", async || match link.message().await {
        Ok(Some(v1::MeshMessage { message: Some(v1::mesh_message::Message::Superseded(superseded)) })) => Some(superseded),
        Ok(Some(_)) => None,
        other => panic!("{other:?}"),
    })
    .await;
    assert_eq!(last.incarnation, "p2");

    // A revoked identity is refused, and its connections end.
    admin.revoke_identity(v1::RevokeRequest { identity: "cluster/local/node/a1".into(), reason: "test".into(), dry_run: false }).await.unwrap();
    eventually("a refusal", async || {
        (agent.begin_attempt(v1::BeginRequest { attempt: "1.1".into(), ledger: "l".into() }).await.err()?.code() == Some(Code::PermissionDenied))
            .then_some(())
    })
    .await;
    mesh.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leases_and_links_outlive_the_leader() {
    let mut mesh = Mesh::of(3).await;
    let (admin, ben) = (mesh.operator("ana"), mesh.client("ben"));
    mesh.ready(&admin).await;
    let name = "client/ben/deploy";
    let spec = v1::LeaseSpec { slots: 1, ttl_ms: 5_000, kind: v1::LeaseKind::Ttl.into() };
    let held =
        ben.acquire_lease(v1::AcquireRequest { name: name.into(), spec: Some(spec), incarnation: "one".into(), ..Default::default() }).await.unwrap();
    let agent = mesh.enrol("cluster/local/node/a1").await;
    let (mut link, _says) = mesh.linked(&agent, "p1").await;

    let leader = mesh.leader(&admin).await;
    mesh.stop(leader).await;
    let last = eventually("the end of the link", async || match link.message().await {
        Ok(Some(_)) => None,
        Ok(None) => panic!("the link ended without a word"),
        Err(status) => Some(status),
    })
    .await;
    assert_eq!(last.code(), Code::Unavailable, "{last:?}");
    let renew = v1::RenewRequest { name: name.into(), token: held.token.clone(), incarnation: "one".into() };
    assert_eq!(ben.renew_lease(renew).await.unwrap().ttl_ms, 5_000, "the new leader keeps the grant");
    let (_link, _says) = mesh.linked(&agent, "p1").await;
    eventually("the agent's node", async || {
        let nodes = admin.list_nodes(v1::ListNodesRequest::default()).await.ok()?.nodes;
        nodes.iter().any(|node| node.name == "a1" && node.link() == v1::LinkState::Up).then_some(())
    })
    .await;

    mesh.start(leader).await;
    mesh.ready(&admin).await;
    mesh.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_was_removed_stays_out() {
    let mut mesh = Mesh::of(3).await;
    let admin = mesh.operator("ana");
    mesh.ready(&admin).await;
    let leader = mesh.leader(&admin).await;
    let out = (leader + 1) % 3;
    let id = admin
        .list_members(v1::ListMembersRequest {})
        .await
        .unwrap()
        .members
        .into_iter()
        .find(|member| member.name == format!("c{}", out + 1))
        .unwrap()
        .id;
    let dry_run = false;
    admin.remove_member(v1::RemoveMemberRequest { id: id.clone(), dry_run }).await.unwrap();
    let error = admin.remove_member(v1::RemoveMemberRequest { id: id.clone(), dry_run }).await.unwrap_err();
    assert_eq!(error.code(), Some(Code::NotFound), "{error}");
    mesh.stop_if_it_runs(out).await;
    mesh.start(out).await;
    let why = mesh.ends(out).await;
    assert!(why.contains("does not take this member any more") && why.contains(&format!("coordinator/{id} is revoked")), "{why}");
    let joins = mesh.as_identity(&format!("coordinator/{id}"));
    let refused = eventually("a refusal", async || {
        joins.join_member(v1::JoinMemberRequest { id: id.clone(), address: "127.0.0.1:1".into(), ..Default::default() }).await.err()?.code()
    })
    .await;
    assert_eq!(refused, Code::PermissionDenied);
    assert!(!mesh.ids(&admin).await.contains(&id));
    mesh.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_and_how_much_is_bounded() {
    let mut mesh = Mesh::of(1).await;
    let admin = mesh.operator("ana");
    mesh.ready(&admin).await;

    // A certificate that has ended may be renewed, and that is all.
    let late = mesh.expired("operator/ana");
    let refused = late.list_plans(v1::ListPlansRequest {}).await.unwrap_err();
    assert_eq!(refused.code(), Some(Code::PermissionDenied), "{refused}");
    let csr_pem = mainstay_client::identity::NewKey::generate().unwrap().csr_pem().unwrap();
    assert!(late.renew_certificate(v1::RenewCertificateRequest { csr_pem }).await.unwrap().chain_pem.contains("BEGIN CERTIFICATE"));

    // Sizes: a plan, a message.
    let padded = |bytes: usize| v1::ApplyPlanRequest { source: format!("{PLAN}# {}", "x".repeat(bytes)), dry_run: false };
    assert_eq!(admin.apply_plan(padded(200 << 10)).await.unwrap_err().code(), Some(Code::ResourceExhausted));
    assert_eq!(admin.apply_plan(padded(10 << 20)).await.unwrap_err().code(), Some(Code::OutOfRange));
    assert!(admin.apply_plan(v1::ApplyPlanRequest { source: PLAN.into(), dry_run: true }).await.unwrap().changed);
    assert_eq!(
        admin.get_plan(v1::GetPlanRequest { name: "pause".into(), revision: 0 }).await.unwrap_err().code(),
        Some(Code::NotFound),
        "a dry run stores nothing"
    );

    // A join token is made for somebody, with a role.
    let token = |role: &str| v1::CreateJoinTokenRequest {
        scope: Some(v1::create_join_token_request::Scope::Operator("ben".into())),
        role: role.into(),
        ..Default::default()
    };
    assert_eq!(admin.create_join_token(token("")).await.unwrap_err().code(), Some(Code::InvalidArgument));
    let token: mainstay_client::JoinToken = admin.create_join_token(token("viewer")).await.unwrap().token.parse().unwrap();
    let identity = "operator/ben".parse().unwrap();
    let ben = mainstay_client::enrol::enrol(&mesh.enrol_address(0), &token, &identity).await.unwrap();
    let ben = mesh.with_bundle(ben);
    assert!(!ben.list_plans(v1::ListPlansRequest {}).await.unwrap().plans.is_empty());
    assert_eq!(
        ben.start_run(v1::StartRunRequest { plan: "daily".into(), ..Default::default() }).await.unwrap_err().code(),
        Some(Code::PermissionDenied)
    );
    let again = mainstay_client::enrol::enrol(&mesh.enrol_address(0), &token, &identity).await.unwrap_err();
    assert!(again.to_string().contains("no such join token"), "{again}");

    // Health and reflection are there for members of the mesh.
    let channel = mainstay_client::channel::connect(&mesh.addresses()[0], admin.identity()).await.unwrap();
    let health = tonic_health::pb::health_client::HealthClient::new(channel).check(tonic_health::pb::HealthCheckRequest::default()).await.unwrap();
    assert_eq!(health.into_inner().status(), tonic_health::pb::health_check_response::ServingStatus::Serving);

    let channel = mainstay_client::channel::connect(&mesh.addresses()[0], admin.identity()).await.unwrap();
    let ask = tonic_reflection::pb::v1::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(tonic_reflection::pb::v1::server_reflection_request::MessageRequest::ListServices(String::new())),
    };
    let mut reflection = tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient::new(channel);
    let answer = reflection.server_reflection_info(tokio_stream::once(ask)).await.unwrap().into_inner().message().await.unwrap().unwrap();
    assert!(format!("{answer:?}").contains("mainstay.v1.Leases"), "{answer:?}");

    // The audit log has it all, unbroken.
    let audit = admin.list_audit(v1::ListAuditRequest { limit: 100 }).await.unwrap();
    assert!(
        audit.intact && audit.records.iter().any(|record| record.by == "operator/ben" && record.what.starts_with("enrol operator/ben")),
        "{audit:?}"
    );
    mesh.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn machines_can_see_how_a_member_is() {
    let mut mesh = Mesh::of(1).await;
    mesh.ready(&mesh.operator("ana")).await;
    assert_eq!(mesh.http(0, "/healthz").await.0, 200);
    assert_eq!(mesh.http(0, "/readyz").await, (200, "ready\n".to_owned()));
    let (status, metrics) = mesh.http(0, "/metrics").await;
    assert_eq!(status, 200);
    for wanted in [
        "mainstay_build_info{version=",
        "mainstay_raft_is_leader 1",
        "mainstay_members 1",
        "mainstay_proposals_total{outcome=\"done\"}",
        "mainstay_raft_log_sync_seconds_bucket",
    ] {
        assert!(metrics.contains(wanted), "{wanted} is missing in\n{metrics}");
    }
    assert_eq!(mesh.http(0, "/").await.0, 404);
    mesh.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_at_the_start_is_said_clearly() {
    let mut mesh = Mesh::of(1).await;
    mesh.ready(&mesh.operator("ana")).await;
    // The directory is in use.
    let error = mesh.run_copy(0, |_| {}).await.unwrap_err().to_string();
    assert!(error.contains("is used by another process"), "{error}");
    // The port is in use.
    let error = mesh.run_copy(0, |settings| settings.dir = mesh.fresh_dir("coordinator/00000000000000aa")).await.unwrap_err().to_string();
    assert!(error.contains("another process listens there"), "{error}");
    // There is no identity, or somebody else's.
    let error = mesh.run_copy(0, |settings| settings.dir = settings.dir.join("nothing")).await.unwrap_err().to_string();
    assert!(error.contains("identity"), "{error}");
    let error = mesh.run_copy(0, |settings| settings.dir = mesh.fresh_dir("operator/ana")).await.unwrap_err().to_string();
    assert!(error.contains("a coordinator needs one of its own"), "{error}");
    mesh.stop_all().await;
}
