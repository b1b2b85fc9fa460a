//! Agreement, snapshots for those that lag, members that come and go.

use std::time::Duration;

use mainstay_core::MemberId;

use super::mesh::{Mesh, entry, peer, settings, until};
use crate::store::{ChangeError, FormError, ProposeError, ReadError, Settings};

#[tokio::test(flavor = "multi_thread")]
async fn three_members_agree_and_a_reply_shows_in_the_state() {
    let mesh = Mesh::of(3, settings()).await;
    let leader = mesh.leader().await;
    mesh.member(leader).propose(&entry(7, "seven")).await.unwrap();
    assert_eq!(mesh.member(leader).state().state.members[&MemberId(7)].name, "seven");
    assert_eq!(mesh.member(leader).read().await.unwrap().members[&MemberId(7)].name, "seven");
    for id in 1..=3 {
        mesh.caught_up(id, leader).await;
        assert_eq!(mesh.member(id).state().state, mesh.member(leader).state().state);
        assert_eq!(mesh.member(id).leadership_now().leader.unwrap().id, MemberId(leader));
    }
    let group = mesh.member(leader).group();
    assert_eq!(group.voters.keys().map(|id| id.0).collect::<Vec<_>>(), [1, 2, 3]);
    assert!(group.learners.is_empty());
    mesh.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn followers_refuse_and_name_the_leader() {
    let mesh = Mesh::of(3, settings()).await;
    let leader = mesh.leader().await;
    let follower = (1..=3).find(|id| *id != leader).unwrap();
    mesh.caught_up(follower, leader).await;
    let Err(ProposeError::NotLeader { leader: Some(named) }) = mesh.member(follower).propose(&entry(1, "x")).await else {
        panic!("a follower took a proposal");
    };
    assert_eq!((named.id, named.peer), (MemberId(leader), Some(peer(leader))));
    assert!(matches!(mesh.member(follower).read().await, Err(ReadError::NotLeader { leader: Some(_) })));
    mesh.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mesh_is_formed_once_and_by_one_of_its_own() {
    let mut mesh = Mesh::new(settings());
    mesh.start(1).await.unwrap();
    let other = [(MemberId(2), peer(2))].into();
    assert!(matches!(mesh.member(1).form(other).await, Err(FormError::NotAMember(MemberId(1)))));
    assert!(!mesh.member(1).is_formed());
    mesh.member(1).form([(MemberId(1), peer(1))].into()).await.unwrap();
    mesh.leader().await;
    assert!(mesh.member(1).is_formed());
    assert!(matches!(mesh.member(1).form([(MemberId(1), peer(1))].into()).await, Err(FormError::NotEmpty)));
    mesh.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_is_refused_before_the_log() {
    let mesh = Mesh::of(1, settings()).await;
    let before = mesh.member(1).state().index;
    let refused = mesh.member(1).propose(&entry(1, &"x".repeat(300 << 10))).await;
    assert!(matches!(refused, Err(ProposeError::TooLarge { bytes, limit }) if bytes > limit));
    assert_eq!(mesh.member(1).gauges().last_index, before);
    mesh.shutdown().await;
}

fn small_snapshots() -> Settings {
    Settings { snapshot_every: 50, keep_entries: 60, snapshot_chunk_bytes: 1 << 10, ..settings() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_member_gets_a_snapshot_in_pieces_and_then_a_vote() {
    let mut mesh = Mesh::of(3, small_snapshots()).await;
    let leader = mesh.leader().await;
    for number in 0..300u64 {
        mesh.member(leader).propose(&entry(number % 5, &"n".repeat(800))).await.unwrap();
    }
    until("a purged log", || async { Some(()).filter(|()| mesh.member(leader).gauges().purged_index > 100) }).await;
    mesh.start(4).await.unwrap();
    let leading = mesh.member(leader);
    assert!(matches!(leading.promote(MemberId(4)).await, Err(ChangeError::NoSuchMember(MemberId(4)))));
    leading.add_learner(MemberId(4), peer(4)).await.unwrap();
    leading.add_learner(MemberId(4), peer(4)).await.unwrap();
    leading.promote(MemberId(4)).await.unwrap();
    mesh.caught_up(4, leader).await;
    assert_eq!(mesh.member(4).state().state, leading.state().state);
    assert_eq!(mesh.member(4).metrics().snapshots_installed.get(), 1);
    assert!(mesh.wires.carried.lock().unwrap()["snapshot"] > 2);
    assert!(leading.group().voters.contains_key(&MemberId(4)));
    // The leader hears of it one answer after the member has it.
    until("the leader's word that it has caught up", || async { Some(()).filter(|()| leading.progress().unwrap().lag(MemberId(4)) == 0) }).await;
    mesh.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_is_away_does_not_keep_the_log_long_and_gets_a_snapshot_when_it_is_back() {
    let mut mesh = Mesh::of(3, small_snapshots()).await;
    let leader = mesh.leader().await;
    let away = (1..=3).find(|id| *id != leader).unwrap();
    mesh.kill(away).await;
    for number in 0..400u64 {
        mesh.member(leader).propose(&entry(number % 5, &format!("{number}"))).await.unwrap();
    }
    until("a purged log", || async { Some(()).filter(|()| mesh.member(leader).gauges().purged_index > 250) }).await;
    mesh.start(away).await.unwrap();
    mesh.caught_up(away, leader).await;
    assert_eq!(mesh.member(away).state().state, mesh.member(leader).state().state);
    assert_eq!(mesh.member(away).metrics().snapshots_installed.get(), 1);
    assert_eq!(mesh.leader().await, leader);
    mesh.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_arrives_whole_over_a_bad_wire() {
    let mut mesh = Mesh::of(1, small_snapshots()).await;
    for number in 0..200u64 {
        mesh.member(1).propose(&entry(number % 9, &"n".repeat(3_000))).await.unwrap();
    }
    until("a purged log", || async { Some(()).filter(|()| mesh.member(1).gauges().purged_index > 50) }).await;
    mesh.wires.bad_for_snapshots.store(true, std::sync::atomic::Ordering::Relaxed);
    mesh.start(2).await.unwrap();
    mesh.member(1).add_learner(MemberId(2), peer(2)).await.unwrap();
    mesh.caught_up(2, 1).await;
    assert_eq!(mesh.member(2).state().state, mesh.member(1).state().state);
    assert!(mesh.wires.carried.lock().unwrap()["snapshot"] > 20);
    mesh.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn long_entries_make_snapshots_come_earlier_and_the_log_shorter() {
    let settings = Settings { snapshot_log_bytes: 1 << 20, space_interval: Duration::from_millis(20), ..settings() };
    let mesh = Mesh::of(3, settings).await;
    let leader = mesh.leader().await;
    let long = "l".repeat(200 << 10);
    for _ in 0..30 {
        mesh.member(leader).propose(&entry(1, &long)).await.unwrap();
    }
    until("a short log", || async { Some(()).filter(|()| (1..=3).all(|id| mesh.member(id).gauges().log_bytes < 3 << 20)) }).await;
    assert!(mesh.member(leader).gauges().snapshot_index > 0);
    mesh.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_lost_its_disk_is_replaced_in_one_change() {
    let mut mesh = Mesh::of(3, settings()).await;
    let leader = mesh.leader().await;
    mesh.put(1, "before").await;
    let lost = (1..=3).find(|id| *id != leader).unwrap();
    mesh.kill(lost).await;
    mesh.start(9).await.unwrap();
    let leading = mesh.member(leader);
    leading.add_learner(MemberId(9), peer(9)).await.unwrap();
    leading.replace(MemberId(lost), MemberId(9)).await.unwrap();
    leading.replace(MemberId(lost), MemberId(9)).await.unwrap();
    let group = leading.group();
    assert_eq!(group.voters.len(), 3);
    assert!(group.voters.contains_key(&MemberId(9)));
    assert!(!group.voters.contains_key(&MemberId(lost)) && !group.learners.contains_key(&MemberId(lost)));
    assert!(!group.changing);
    // The majority is of the new three: with the new one it holds, when another one fails.
    let other = (1..=3).find(|id| *id != leader && *id != lost).unwrap();
    mesh.kill(other).await;
    mesh.put(2, "after").await;
    mesh.caught_up(9, leader).await;
    assert_eq!(mesh.member(9).state().state.members[&MemberId(2)].name, "after");
    mesh.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn members_are_removed_down_to_the_last_voter() {
    let mut mesh = Mesh::of(2, settings()).await;
    let leader = mesh.leader().await;
    let other = 3 - leader;
    mesh.start(3).await.unwrap();
    let leading = mesh.member(leader);
    leading.add_learner(MemberId(3), peer(3)).await.unwrap();
    leading.remove(MemberId(3)).await.unwrap();
    leading.remove(MemberId(3)).await.unwrap();
    leading.remove(MemberId(other)).await.unwrap();
    assert_eq!(leading.group().voters.keys().copied().collect::<Vec<_>>(), [MemberId(leader)]);
    assert!(leading.group().learners.is_empty());
    assert!(matches!(leading.remove(MemberId(leader)).await, Err(ChangeError::LastVoter(_))));
    assert!(matches!(mesh.member(other).remove(MemberId(leader)).await, Err(ChangeError::NotLeader { .. })));
    mesh.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_learner_that_cannot_be_reached_is_not_promoted() {
    let mesh = Mesh::of(1, Settings { change_timeout: Duration::from_millis(300), ..settings() }).await;
    mesh.member(1).add_learner(MemberId(2), peer(2)).await.unwrap();
    assert!(matches!(mesh.member(1).promote(MemberId(2)).await, Err(ChangeError::NotCaughtUp { member: MemberId(2), .. })));
    assert!(matches!(mesh.member(1).replace(MemberId(1), MemberId(2)).await, Err(ChangeError::NotCaughtUp { .. })));
    mesh.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn members_whose_states_agree_go_on_and_one_that_differs_stops_and_is_born_anew() {
    let mut mesh = Mesh::of(3, Settings { digest_every: 20, ..settings() }).await;
    let leader = mesh.leader().await;
    for number in 0..50u64 {
        mesh.member(leader).propose(&entry(number % 5, "same")).await.unwrap();
    }
    let wrong = mainstay_core::Entry { command: mainstay_core::Command::RecordDigest { index: 40, digest: [1; 32] }, ..entry(1, "x") };
    for id in 1..=3 {
        mesh.caught_up(id, leader).await;
        assert_eq!(*mesh.member(id).stopped().borrow(), None);
    }
    // A digest that no member has: whoever applies it differs from it.
    let _ = mesh.member(leader).propose(&wrong).await;
    let diverged = Some(crate::store::StopReason::Diverged { index: 40 });
    let victim = until("a member that differs", || async { (1..=3).find(|id| *mesh.member(*id).stopped().borrow() == diverged) }).await;
    mesh.kill(victim).await;
    let reborn = crate::store::Disk::open(&mesh.dir(victim), MemberId(77)).unwrap();
    assert_eq!((reborn.member(), reborn.predecessor()), (MemberId(77), Some(MemberId(victim))));
    assert!(!mesh.dir(victim).join("log.redb").exists());
    mesh.shutdown().await;
}
