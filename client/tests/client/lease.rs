//! Holding a lease: renewed, lost, waited for, given back.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use mainstay_client::lease::{HoldError, HoldOptions};
use mainstay_client::tls::Limits;
use mainstay_client::{CallError, Mesh};
use mainstay_proto::v1::LeaseKind;
use tonic::Code;

use crate::stand::{Answers, Authority, LOST, Member, PLENTY, Register, ShiftedClock, Table, within};

async fn member(ttl_ms: u64, kind: LeaseKind) -> (Authority, Member) {
    let authority = Authority::new("local");
    let member = Member::start(authority.coordinator(), Register::new(ttl_ms, kind), Limits::default()).await;
    (authority, member)
}

fn waiting(wait: Duration) -> HoldOptions {
    HoldOptions { wait, ..HoldOptions::default() }
}

fn incarnations(member: &Member, method: &str) -> Vec<String> {
    member.register.table().asked.iter().filter(|asked| asked.method == method).map(|asked| asked.incarnation.clone()).collect()
}

#[tokio::test]
async fn it_is_renewed_under_one_incarnation_and_given_back() {
    let (authority, member) = member(300, LeaseKind::Ttl).await;
    let held = member.mesh(authority.client("client/ci")).hold_lease("demo", HoldOptions::default()).await.unwrap();
    assert_eq!((held.name(), held.token()), ("demo", "1.1"));
    // Far more renewals than one TTL has room for.
    member.register.until("six renewals", |table| table.asked.iter().filter(|asked| asked.method == "renew").count() >= 6).await;
    assert!(!held.is_lost());
    within("the release", held.release()).await.unwrap();
    assert_eq!(member.register.table().held, None);
    let all = [incarnations(&member, "acquire"), incarnations(&member, "renew"), incarnations(&member, "release")].concat();
    assert!(all.iter().all(|incarnation| *incarnation == all[0] && !incarnation.is_empty()), "{all:?}");
}

#[tokio::test]
async fn it_is_lost_when_the_mesh_says_so() {
    for code in [Code::FailedPrecondition, Code::NotFound, Code::PermissionDenied] {
        let (authority, member) = member(600, LeaseKind::Ttl).await;
        let held = member.mesh(authority.client("client/ci")).hold_lease("demo", HoldOptions::default()).await.unwrap();
        member.answers(Answers::With(code));
        within("its loss", held.lost()).await;
        assert!(held.is_lost());
        assert_eq!(member.register.count("renew"), 1, "it is not asked for again");
    }
}

#[tokio::test]
async fn a_refusal_that_may_pass_is_tried_again() {
    let (authority, member) = member(1_500, LeaseKind::Ttl).await;
    let held = member.mesh(authority.client("client/ci")).hold_lease("demo", HoldOptions::default()).await.unwrap();
    member.answers(Answers::With(Code::ResourceExhausted));
    member.register.until("a first renewal", |table| table.asked.iter().any(|asked| asked.method == "renew")).await;
    member.answers(Answers::AsLeader);
    member.register.until("two more", |table| table.asked.iter().filter(|asked| asked.method == "renew").count() >= 3).await;
    assert!(!held.is_lost());
}

#[tokio::test]
async fn it_is_lost_by_its_own_clock_before_the_ttl_when_the_mesh_is_silent() {
    let (authority, member) = member(900, LeaseKind::Ttl).await;
    let mesh = member.mesh(authority.client("client/ci"));
    let clock = mesh.clock().clone();
    let held = mesh.hold_lease("demo", HoldOptions::default()).await.unwrap();
    let had = clock.monotonic();
    member.answers(Answers::Silently);
    within("its loss", held.lost()).await;
    let after = clock.monotonic().saturating_sub(had);
    // The margin is a tenth; it counts from before the grant, so never later than that.
    assert!(after < Duration::from_millis(900), "{after:?}");
    assert!(member.register.count("renew") >= 1);
}

#[tokio::test]
async fn after_a_suspend_it_is_lost_at_once_and_the_holder_is_told() {
    let (authority, member) = member(30_000, LeaseKind::Ttl).await;
    let clock = ShiftedClock::default();
    let mesh = member.mesh(authority.client_with("client/ci", Arc::new(clock.clone())));
    let held = mesh.hold_lease("demo", HoldOptions::default()).await.unwrap();
    assert!(!held.is_lost());
    clock.jump(Duration::from_secs(40));
    // A look tells it in the same instant, before any timer.
    assert!(held.is_lost());
    within("the holder to be told", held.lost()).await;
    assert_eq!(member.register.count("renew"), 0, "a renewal now would only look as if nothing had happened");
}

#[tokio::test]
async fn the_keeper_notices_a_suspend_though_nobody_looks() {
    let (authority, member) = member(30_000, LeaseKind::Ttl).await;
    let clock = ShiftedClock::default();
    let mesh = member.mesh(authority.client_with("client/ci", Arc::new(clock.clone())));
    let held = Arc::new(mesh.hold_lease("demo", HoldOptions::default()).await.unwrap());
    let waits = tokio::spawn({
        let held = held.clone();
        async move { held.lost().await }
    });
    tokio::task::yield_now().await;
    clock.jump(Duration::from_secs(28));
    // A third of the TTL is 10 s: whoever slept for that long would be late.
    tokio::time::timeout(Duration::from_secs(3), waits).await.expect("within the second between two looks").unwrap();
}

#[tokio::test]
async fn after_a_short_suspend_it_is_renewed_without_waiting_for_the_timer() {
    let (authority, member) = member(30_000, LeaseKind::Ttl).await;
    let clock = ShiftedClock::default();
    let mesh = member.mesh(authority.client_with("client/ci", Arc::new(clock.clone())));
    let held = mesh.hold_lease("demo", HoldOptions::default()).await.unwrap();
    clock.jump(Duration::from_secs(15));
    let renewed = member.register.until("a renewal", |table| table.asked.iter().any(|asked| asked.method == "renew"));
    tokio::time::timeout(Duration::from_secs(3), renewed).await.expect("within the second between two looks");
    assert!(!held.is_lost());
}

#[tokio::test]
async fn a_silent_member_does_not_use_up_the_whole_ttl() {
    let (authority, silent) = member(3_000, LeaseKind::Ttl).await;
    let other = silent.beside(&authority).await;
    let mesh = Mesh::new(vec![silent.address.clone(), other.address.clone()], authority.client("client/ci"));
    let held = mesh.hold_lease("demo", HoldOptions::default()).await.unwrap();
    let leader = silent.register.table().asked[0].member.clone();
    let (stuck, well) = if leader == silent.address { (&silent, &other) } else { (&other, &silent) };
    stuck.answers(Answers::Silently);
    let well_at = well.address.clone();
    well.register
        .until("a renewal by the other member", |table| table.asked.iter().any(|asked| asked.method == "renew" && asked.member == well_at))
        .await;
    assert!(!held.is_lost());
}

#[tokio::test]
async fn a_wait_keeps_its_place_over_several_calls() {
    let (authority, member) = member(30_000, LeaseKind::Ttl).await;
    member.register.change(|table| table.held = Some(("somebody".into(), 7)));
    let mesh = member.mesh(authority.client("client/ci"));
    let waits = tokio::spawn(async move { mesh.hold_lease("demo", waiting(Duration::from_secs(3_600))).await });
    member.register.until("three calls", |table| table.asked.len() >= 3).await;
    member.register.change(|table| table.held = None);
    let held = within("the lease", waits).await.unwrap().unwrap();
    assert_eq!(held.token(), "1.1");
    let asked = incarnations(&member, "acquire");
    assert!(asked.iter().all(|incarnation| *incarnation == asked[0]), "{asked:?}");
    assert!(member.register.table().asked.iter().all(|asked| asked.wait_ms <= 10_000));
    assert_eq!(member.register.count("release"), 0);
}

#[tokio::test]
async fn a_wait_does_not_ask_as_fast_as_it_is_answered() {
    let (authority, member) = member(30_000, LeaseKind::Ttl).await;
    member.register.change(|table| table.held = Some(("somebody".into(), 7)));
    let mesh = member.mesh(authority.client("client/ci"));
    let error = within("the end of the wait", mesh.hold_lease("demo", waiting(Duration::from_millis(400)))).await.unwrap_err();
    assert!(matches!(error, HoldError::Held { .. }), "{error}");
    let asked = member.register.count("acquire");
    assert!((2..12).contains(&asked), "{asked} requests in 400 ms");
    // And the place in the queue is given up.
    assert_eq!(member.register.count("release"), 1);
}

#[tokio::test]
async fn a_lease_that_is_not_had_says_who_holds_it() {
    let (authority, member) = member(30_000, LeaseKind::Ttl).await;
    member.register.change(|table| table.held = Some(("operator/bo".into(), 7)));
    let mesh = member.mesh(authority.client("client/ci"));
    let error = within("a refusal", mesh.hold_lease("demo", HoldOptions::default())).await.unwrap_err();
    assert_eq!(error.to_string(), "lease demo was not had within 0ns; held by operator/bo");
    assert_eq!(member.register.count("acquire"), 1);
}

#[tokio::test]
async fn who_stops_waiting_leaves_the_queue() {
    let (authority, member) = member(30_000, LeaseKind::Claim).await;
    member.register.change(|table| table.held = Some(("somebody".into(), 7)));
    let mesh = member.mesh(authority.client("client/ci"));
    let waits = tokio::spawn(async move { mesh.hold_lease("demo", waiting(Duration::from_secs(3_600))).await });
    member.register.until("a place", |table| !table.asked.is_empty()).await;
    waits.abort();
    member.register.until("it is given up", |table| table.asked.iter().any(|asked| asked.method == "release")).await;
    assert_eq!(incarnations(&member, "release"), incarnations(&member, "acquire")[..1]);
}

#[tokio::test]
async fn a_grant_that_the_mesh_does_not_describe_is_given_back() {
    let (authority, member) = member(0, LeaseKind::Ttl).await;
    let mesh = member.mesh(authority.client("client/ci"));
    let error = within("a refusal", mesh.hold_lease("demo", HoldOptions::default())).await.unwrap_err();
    assert!(matches!(&error, HoldError::Call(CallError::Refused { code: Code::Internal, .. })), "{error}");
    assert_eq!(member.register.table().held, None);
}

#[tokio::test]
async fn dropped_it_is_renewed_no_more() {
    let (authority, member) = member(300, LeaseKind::Ttl).await;
    let held = member.mesh(authority.client("client/ci")).hold_lease("demo", HoldOptions::default()).await.unwrap();
    member.register.until("a renewal", |table| table.asked.iter().any(|asked| asked.method == "renew")).await;
    drop(held);
    let renewed = member.register.count("renew");
    // Several TTLs later nothing has come: one may have been on its way.
    let more = member.register.until("more", |table| table.asked.iter().filter(|asked| asked.method == "renew").count() > renewed + 1);
    assert!(tokio::time::timeout(Duration::from_millis(900), more).await.is_err());
    assert_eq!(member.register.count("release"), 0);
}

#[tokio::test]
async fn no_time_ends_a_claim() {
    let (authority, member) = member(300, LeaseKind::Claim).await;
    let clock = ShiftedClock::default();
    let mesh = member.mesh(authority.client_with("client/ci", Arc::new(clock.clone())));
    let held = mesh.hold_lease("demo", HoldOptions::default()).await.unwrap();
    member.answers(Answers::Silently);
    clock.jump(Duration::from_secs(86_400));
    assert!(!held.is_lost());
    member.answers(Answers::With(Code::FailedPrecondition));
    // Its holder may still lose it, by an operator's word.
    within("its loss", held.lost()).await;
}

/// So many leases of one client, all due at about the same time.
async fn plenty(mesh: &Mesh, names: &[String]) -> Vec<mainstay_client::lease::Held> {
    let held = names.iter().map(|name| mesh.hold_lease(name, HoldOptions::default()));
    futures::future::join_all(held).await.into_iter().map(|held| held.unwrap()).collect()
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{PLENTY}{number}")).collect()
}

#[tokio::test]
async fn leases_of_one_client_are_renewed_together() {
    // Due within 100 ms of each other: so few calls that most carry several.
    let (authority, member) = member(3_000, LeaseKind::Ttl).await;
    let mesh = member.mesh(authority.client("client/ci"));
    let names = names(60);
    let held = plenty(&mesh, &names).await;
    let renewed = |table: &Table| table.together.iter().flatten().cloned().collect::<BTreeSet<_>>();
    member.register.until("each has been renewed", |table| renewed(table).len() >= names.len() - 5).await;
    let calls = member.register.count("renew_many") + member.register.count("renew");
    assert!(calls <= names.len() / 3, "{calls} calls for {} leases", names.len());
    assert!(held.iter().all(|held| !held.is_lost()));
}

#[tokio::test]
async fn that_one_is_lost_ends_no_other() {
    let (authority, member) = member(1_500, LeaseKind::Ttl).await;
    let mesh = member.mesh(authority.client("client/ci"));
    let names = [names(40), vec![LOST.to_owned()]].concat();
    let mut held = plenty(&mesh, &names).await;
    let lost = held.pop().unwrap();
    within("the loss of the one", lost.lost()).await;
    assert!(held.iter().all(|held| !held.is_lost()));
    let before = member.register.table().together.len();
    member.register.until("the others are renewed again", |table| table.together.len() > before).await;
    let named = member.register.table().together[before..].iter().flatten().any(|name| name == LOST);
    assert!(!named && held.iter().all(|held| !held.is_lost()));
}

#[tokio::test]
async fn a_coordinator_that_does_not_know_the_call_for_many_is_asked_for_each() {
    let (authority, member) = member(1_500, LeaseKind::Ttl).await;
    member.answers(Answers::AsOlderLeader);
    let mesh = member.mesh(authority.client("client/ci"));
    let held = plenty(&mesh, &names(20)).await;
    member.register.until("three renewals of each", |table| table.asked.iter().filter(|asked| asked.method == "renew").count() >= 60).await;
    assert!(member.register.count("renew_many") > 0);
    assert!(held.iter().all(|held| !held.is_lost()));
}
