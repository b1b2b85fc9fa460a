//! Finding the leader, passing over the dead and the silent, keeping to the deadline.

use std::time::Duration;

use mainstay_client::identity::ClientIdentity;
use mainstay_client::{CallError, Mesh};
use mainstay_proto::v1;
use tokio::net::TcpListener;
use tonic::Code;

use crate::stand::{Answers, Authority, Member, ask, within};

fn mesh(addresses: &[&str], identity: ClientIdentity) -> Mesh {
    Mesh::new(addresses.iter().map(|address| (*address).to_owned()).collect(), identity)
}

async fn nobody() -> String {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string()
}

async fn release(mesh: &Mesh) -> Result<v1::ReleaseResponse, CallError> {
    mesh.release_lease(v1::ReleaseRequest::default()).await
}

#[tokio::test]
async fn the_leader_is_followed_and_remembered() {
    let authority = Authority::new("local");
    let leader = Member::of(&authority).await;
    let follower = leader.beside(&authority).await;
    follower.answers(Answers::Leads(leader.address.clone()));
    // Not among the endpoints: the follower's word is enough.
    let mesh = mesh(&[&follower.address], authority.client("operator/ana"));
    for _ in 0..5 {
        within("an answer", ask(&mesh)).await.unwrap();
    }
    let asked: Vec<String> = leader.register.table().asked.iter().map(|asked| asked.member.clone()).collect();
    assert_eq!(asked[0], follower.address);
    assert_eq!(asked[1..], vec![leader.address.clone(); 5]);
}

#[tokio::test]
async fn a_leader_that_dies_is_replaced_by_the_next() {
    let authority = Authority::new("local");
    let old = Member::of(&authority).await;
    let new = old.beside(&authority).await;
    new.answers(Answers::Leads(old.address.clone()));
    let mesh = mesh(&[&old.address, &new.address], authority.client("operator/ana"));
    within("an answer", ask(&mesh)).await.unwrap();
    let (register, died) = (old.register.clone(), old.address.clone());
    old.die(&mesh.identity().identity()).await;
    // For a while the survivor goes on naming the dead one; then it leads itself.
    register.change(|table| table.asked.clear());
    let asking = tokio::spawn(async move { ask(&mesh).await });
    register.until("the survivor was asked twice", |table| table.asked.len() >= 2).await;
    new.answers(Answers::AsLeader);
    within("an answer", asking).await.unwrap().unwrap();
    assert!(register.table().asked.iter().all(|asked| asked.member != died));
}

#[tokio::test]
async fn dead_members_are_passed_over() {
    let authority = Authority::new("local");
    let member = Member::of(&authority).await;
    let (one, two) = (nobody().await, nobody().await);
    for order in [[&one, &two, &member.address], [&one, &member.address, &two], [&member.address, &one, &two]] {
        within("an answer", ask(&mesh(&order.map(String::as_str), authority.client("operator/ana")))).await.unwrap();
    }
}

#[tokio::test]
async fn a_member_that_accepts_and_is_silent_is_passed_over() {
    let authority = Authority::new("local");
    let leader = Member::of(&authority).await;
    // Takes the request and never answers; takes the connection and never reads from it.
    let stuck = leader.beside(&authority).await;
    stuck.answers(Answers::Silently);
    let deaf = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let deaf_at = deaf.local_addr().unwrap().to_string();
    for silent in [&stuck.address, &deaf_at] {
        // Whichever is asked first, it is the silent one whose turn comes: the other names it as the leader.
        leader.answers(Answers::Leads(silent.clone()));
        let mesh = mesh(&[silent, &leader.address], authority.client("operator/ana")).with_deadline(Duration::from_secs(3));
        let asking = tokio::spawn(async move { ask(&mesh).await });
        leader.register.until("the other was asked", |table| table.asked.iter().any(|asked| asked.member == leader.address)).await;
        leader.answers(Answers::AsLeader);
        within("an answer", asking).await.unwrap().unwrap();
        leader.register.change(|table| table.asked.retain(|asked| asked.member == stuck.address));
    }
    assert!(leader.register.table().asked.iter().any(|asked| asked.member == stuck.address));
    drop(deaf);
}

#[tokio::test]
async fn a_silent_leader_that_the_others_still_name_is_not_asked_again_and_again() {
    let authority = Authority::new("local");
    let silent = Member::of(&authority).await;
    silent.answers(Answers::Silently);
    let follower = silent.beside(&authority).await;
    follower.answers(Answers::Leads(silent.address.clone()));
    let mesh = mesh(&[&silent.address, &follower.address], authority.client("operator/ana")).with_deadline(Duration::from_millis(3_000));
    let asking = tokio::spawn(async move { ask(&mesh).await });
    let (silent_at, follower_at) = (silent.address.clone(), follower.address.clone());
    follower
        .register
        .until("the follower was asked after the silent one", |table| {
            let silence = table.asked.iter().position(|asked| asked.member == silent_at);
            silence.is_some_and(|at| table.asked[at..].iter().any(|asked| asked.member == follower_at))
        })
        .await;
    follower.answers(Answers::AsLeader);
    within("an answer", asking).await.unwrap().unwrap();
}

#[tokio::test]
async fn two_members_that_name_each_other_are_not_asked_as_fast_as_they_answer() {
    let authority = Authority::new("local");
    let one = Member::of(&authority).await;
    let two = one.beside(&authority).await;
    one.answers(Answers::Leads(two.address.clone()));
    two.answers(Answers::Leads(one.address.clone()));
    let mesh = mesh(&[&one.address, &two.address], authority.client("operator/ana")).with_deadline(Duration::from_millis(500));
    let error = within("the deadline", ask(&mesh)).await.unwrap_err();
    assert!(matches!(error, CallError::NoLeader { .. }), "{error}");
    let asked = one.register.count("get");
    assert!((3..40).contains(&asked), "{asked} requests in half a second");
}

#[tokio::test]
async fn without_a_leader_until_the_deadline_the_call_says_so() {
    let authority = Authority::new("local");
    let member = Member::of(&authority).await;
    member.answers(Answers::Leads(String::new()));
    let dead = nobody().await;
    let mesh = mesh(&[&member.address, &dead], authority.client("operator/ana")).with_deadline(Duration::from_millis(400));
    let error = within("the deadline", ask(&mesh)).await.unwrap_err();
    assert!(matches!(error, CallError::NoLeader { .. }) && error.is_transient(), "{error}");
    let words = error.to_string();
    assert!(words.contains("no leader") && words.contains(&dead) && words.contains("mainstay member list"), "{words}");
}

#[tokio::test]
async fn when_nobody_is_there_every_address_is_named_with_its_reason() {
    let (one, two) = (nobody().await, nobody().await);
    let mesh = mesh(&[&one, &two], Authority::new("local").client("operator/ana")).with_deadline(Duration::from_millis(400));
    let CallError::Unreachable { tried } = within("the deadline", ask(&mesh)).await.unwrap_err() else { panic!("another error") };
    let mut addresses: Vec<&str> = tried.iter().map(|tried| tried.address.as_str()).collect();
    addresses.sort_unstable();
    let mut expected = vec![one.as_str(), two.as_str()];
    expected.sort_unstable();
    assert_eq!(addresses, expected);
    assert!(tried.iter().all(|tried| tried.to_string().contains("refused")), "{tried:?}");

    let nowhere = Mesh::new(Vec::new(), Authority::new("local").client("operator/ana"));
    assert!(ask(&nowhere).await.unwrap_err().to_string().contains("host:port"));
}

#[tokio::test]
async fn a_silent_mesh_ends_at_the_deadline() {
    let authority = Authority::new("local");
    let member = Member::of(&authority).await;
    member.answers(Answers::Silently);
    let deadline = Duration::from_millis(700);
    let error = within("the deadline", ask(&member.mesh(authority.client("operator/ana")).with_deadline(deadline))).await.unwrap_err();
    assert!(matches!(error, CallError::DeadlineExceeded(after) if after == deadline), "{error}");
    assert!(error.is_transient() && error.to_string().contains("may still take effect"), "{error}");
}

#[tokio::test]
async fn one_key_goes_with_all_tries_of_a_change_and_none_with_a_look() {
    let authority = Authority::new("local");
    let leader = Member::of(&authority).await;
    let follower = leader.beside(&authority).await;
    follower.answers(Answers::Leads(leader.address.clone()));
    let mesh = mesh(&[&follower.address], authority.client("operator/ana"));
    within("a change", release(&mesh)).await.unwrap();
    mesh.reconnect();
    within("another change", release(&mesh)).await.unwrap();
    within("a look", ask(&mesh)).await.unwrap();

    let table = leader.register.table();
    let keys = |method: &str| table.asked.iter().filter(|asked| asked.method == method).map(|asked| asked.key.clone()).collect::<Vec<_>>();
    let changes = keys("release");
    assert_eq!(changes.len(), 3, "two tries of the first, one of the second");
    assert!(changes[0].as_ref().is_some_and(|key| key.len() == 32));
    assert_eq!(changes[0], changes[1]);
    assert!(changes[2].is_some() && changes[2] != changes[0]);
    assert_eq!(keys("get"), [None]);
}

#[tokio::test]
async fn a_refusal_is_an_answer_and_is_not_tried_again() {
    let authority = Authority::new("local");
    let member = Member::of(&authority).await;
    let mesh = member.mesh(authority.client("operator/ana"));
    for (code, transient) in [(Code::PermissionDenied, false), (Code::NotFound, false), (Code::ResourceExhausted, true), (Code::Unknown, false)] {
        let before = member.register.count("get");
        member.answers(Answers::With(code));
        let error = within("a refusal", ask(&mesh)).await.unwrap_err();
        assert_eq!((error.code(), error.is_transient()), (Some(code), transient), "{error}");
        assert_eq!(error.to_string(), "the lease is held under another token");
        assert_eq!(member.register.count("get"), before + 1);
    }
}

#[tokio::test]
async fn a_certificate_that_every_member_refuses_ends_the_call_at_once() {
    let (authority, other) = (Authority::new("local"), Authority::new("local"));
    let (one, two) = (Member::of(&authority).await, Member::of(&authority).await);
    let stranger = mesh(&[&one.address, &two.address], other.client("operator/ana")).with_deadline(Duration::from_secs(3_600));
    let error = within("a refusal long before the deadline", ask(&stranger)).await.unwrap_err();
    let CallError::Unreachable { tried } = &error else { panic!("{error}") };
    assert_eq!(tried.len(), 2);
    assert!(!error.is_transient());
}
