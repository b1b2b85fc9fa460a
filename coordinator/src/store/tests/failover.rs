//! Leaders that die, are cut off, are paused, or step aside.

use std::time::{Duration, Instant};

use mainstay_core::MemberId;

use super::mesh::{Mesh, PATIENCE, entry, peer, settings, until};
use crate::store::{CallKind, ProposeError, ReadError, Role, Settings, TransferError};

#[tokio::test(flavor = "multi_thread")]
async fn the_next_write_comes_soon_after_the_leader_died() {
    let mut mesh = Mesh::of(3, settings()).await;
    let leader = mesh.leader().await;
    mesh.put(1, "before").await;
    let start = Instant::now();
    mesh.kill(leader).await;
    mesh.put(1, "after").await;
    let took = start.elapsed();
    assert!(took < Duration::from_millis(1_500), "{took:?}");
    mesh.start(leader).await.unwrap();
    let now = mesh.leader().await;
    mesh.caught_up(leader, now).await;
    assert_eq!(mesh.member(leader).state().state.members[&MemberId(1)].name, "after");
    mesh.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_cut_off_acknowledges_nothing_and_learns_of_its_successor() {
    let mesh = Mesh::of(3, Settings { propose_timeout: Duration::from_millis(500), ..settings() }).await;
    let old = mesh.leader().await;
    mesh.put(1, "before").await;
    for id in (1..=3).filter(|id| *id != old) {
        mesh.wires.cut(MemberId(old), MemberId(id));
    }
    let unacknowledged = mesh.member(old).propose(&entry(1, "lost")).await;
    assert!(unacknowledged.as_ref().is_err_and(ProposeError::outcome_unknown), "{unacknowledged:?}");
    assert!(matches!(mesh.member(old).confirm_leadership().await, Err(ReadError::NoMajority(_) | ReadError::NotLeader { .. })));
    assert!(mesh.member(old).read().await.is_err());
    let new =
        until("a successor", || async { (1..=3).filter(|id| *id != old).find(|id| mesh.member(*id).leadership_now().settled().is_some()) }).await;
    mesh.member(new).propose(&entry(1, "after")).await.unwrap();
    mesh.wires.heal();
    mesh.caught_up(old, new).await;
    assert_eq!(mesh.member(old).state().state, mesh.member(new).state().state);
    assert_eq!(mesh.member(new).read().await.unwrap().members[&MemberId(1)].name, "after");
    mesh.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_decided_in_one_tenure_is_not_proposed_in_another() {
    let mesh = Mesh::of(3, settings()).await;
    let first = mesh.leader().await;
    let tenure = mesh.member(first).leadership_now().settled().unwrap();
    mesh.member(first).propose_in(tenure, &entry(1, "first")).await.unwrap();
    let second = mesh.member(first).transfer_leadership(None).await.unwrap().0;
    mesh.leader_after(first).await;
    mesh.member(second).transfer_leadership(Some(MemberId(first))).await.unwrap();
    until("the first again", || async { mesh.member(first).leadership_now().settled() }).await;
    assert!(matches!(mesh.member(first).propose_in(tenure, &entry(1, "late")).await, Err(ProposeError::NotLeader { .. })));
    assert_eq!(mesh.member(first).state().state.members[&MemberId(1)].name, "first");
    mesh.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leadership_moves_at_once_when_it_is_given_away() {
    let mesh = Mesh::of(3, settings()).await;
    let leader = mesh.leader().await;
    let to = (1..=3).find(|id| *id != leader).unwrap();
    let start = Instant::now();
    assert_eq!(mesh.member(leader).transfer_leadership(Some(MemberId(to))).await.unwrap(), MemberId(to));
    mesh.put(1, "after").await;
    assert!(start.elapsed() < Duration::from_millis(700), "{:?}", start.elapsed());
    assert!(matches!(mesh.member(leader).transfer_leadership(None).await, Err(TransferError::NotLeader { .. })));
    assert!(matches!(mesh.member(to).transfer_leadership(Some(MemberId(99))).await, Err(TransferError::NoCandidate(_))));
    mesh.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_is_shut_down_hands_leadership_over_first() {
    let mut mesh = Mesh::of(3, settings()).await;
    let leader = mesh.leader().await;
    let start = Instant::now();
    mesh.member(leader).shutdown().await;
    mesh.kill(leader).await;
    mesh.put(1, "after").await;
    assert!(start.elapsed() < Duration::from_millis(800), "{:?}", start.elapsed());
    mesh.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proposal_without_a_majority_times_out_and_may_still_be_done() {
    let mesh = Mesh::of(3, Settings { propose_timeout: Duration::from_millis(300), ..settings() }).await;
    let leader = mesh.leader().await;
    let tenure = mesh.member(leader).leadership_now().settled();
    // Heartbeats are appends without entries: only entries must not get through, so nobody stands for election.
    mesh.wires.hold_entries(true);
    let answer = mesh.member(leader).propose(&entry(1, "slow")).await;
    assert!(matches!(answer, Err(ProposeError::TimedOut(_))), "{answer:?}");
    mesh.wires.hold_entries(false);
    let mut applied = mesh.member(leader).applied();
    let done = applied.wait_for(|now| now.state.members.get(&MemberId(1)).is_some_and(|member| member.name == "slow"));
    tokio::time::timeout(PATIENCE, done).await.unwrap().unwrap();
    assert_eq!(mesh.member(leader).leadership_now().settled(), tenure);
    mesh.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_was_away_does_not_disturb_the_leader_when_it_is_back() {
    let mesh = Mesh::of(3, settings()).await;
    let leader = mesh.leader().await;
    let term = mesh.member(leader).leadership_now().term;
    let away = (1..=3).find(|id| *id != leader).unwrap();
    for id in (1..=3).filter(|id| *id != away) {
        mesh.wires.cut(MemberId(away), MemberId(id));
    }
    // Long enough for it to have tried more than once.
    tokio::time::sleep(Duration::from_secs(3)).await;
    mesh.put(1, "meanwhile").await;
    mesh.wires.heal();
    mesh.caught_up(away, leader).await;
    assert_eq!(mesh.leader().await, leader);
    assert_eq!(mesh.member(leader).leadership_now().term, term);
    mesh.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_anybody_to_take_over_leadership_stays() {
    let mesh = Mesh::of(3, settings()).await;
    let leader = mesh.leader().await;
    mesh.wires.silence(CallKind::Readiness);
    assert!(matches!(mesh.member(leader).transfer_leadership(None).await, Err(TransferError::NoCandidate(_))));
    mesh.wires.unsilence();
    assert!(matches!(mesh.member(leader).leadership_now().role, Role::Leading { settled: true, .. }));
    mesh.put(1, "still").await;
    mesh.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_is_far_behind_is_not_given_leadership() {
    let (propose_timeout, change_timeout) = (Duration::from_millis(300), Duration::from_secs(10));
    let mesh = Mesh::of(3, Settings { propose_timeout, change_timeout, ..settings() }).await;
    let leader = mesh.leader().await;
    let tenure = mesh.member(leader).leadership_now().settled();
    let to = MemberId((1..=3).find(|id| *id != leader).unwrap());
    // Heartbeats get through: nobody stands for election by itself.
    mesh.wires.hold_entries(true);
    let entries: Vec<_> = (0..600).map(|_| entry(1, "held")).collect();
    let held = futures::future::join_all(entries.iter().map(|entry| mesh.member(leader).propose(entry))).await;
    assert!(held.iter().all(|answer| matches!(answer, Err(ProposeError::TimedOut(_)))));
    let refused = mesh.member(leader).transfer_leadership(Some(to)).await.unwrap_err();
    assert!(matches!(&refused, TransferError::NoCandidate(why) if why.contains("lacks 60")), "{refused}");
    assert_eq!(mesh.member(leader).leadership_now().settled(), tenure, "nobody leads but who did");
    mesh.wires.hold_entries(false);
    mesh.member(leader).transfer_leadership(Some(to)).await.unwrap();
    mesh.shutdown().await;
}

/// Three members that wait a minute for a silent leader: longer than a test goes on.
async fn patient() -> (Mesh, u64) {
    let minutes = |count: u64| Duration::from_secs(60 * count);
    let mut mesh = Mesh::new(Settings { election: (minutes(1), minutes(2)), ..settings() });
    for id in 1..=3 {
        mesh.start(id).await.unwrap();
    }
    mesh.member(1).form((1..=3).map(|id| (MemberId(id), peer(id))).collect()).await.unwrap();
    mesh.member(1).inner.raft.trigger().elect(false).await.unwrap();
    let leader = mesh.leader().await;
    mesh.put(1, "before").await;
    (mesh, leader)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_process_has_ended_is_not_waited_for() {
    let (mut mesh, leader) = patient().await;
    let term = mesh.member(leader).leadership_now().term;
    mesh.kill(leader).await;
    let next = mesh.leader().await;
    mesh.put(1, "after").await;
    assert!(mesh.member(next).leadership_now().term > term);
    assert_eq!(mesh.member(next).state().state.members[&MemberId(1)].name, "after");
    mesh.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nor_is_one_whose_process_has_begun_again() {
    let (mut mesh, leader) = patient().await;
    let term = mesh.member(leader).leadership_now().term;
    mesh.kill(leader).await;
    mesh.start(leader).await.unwrap();
    until("a later term", || async { Some(mesh.leader().await).filter(|id| mesh.member(*id).leadership_now().term > term) }).await;
    mesh.put(1, "after").await;
    mesh.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_only_slow_or_cut_off_is_not_replaced_before_its_lease_has_ended() {
    let (mesh, leader) = patient().await;
    let others: Vec<u64> = (1..=3).filter(|id| *id != leader).collect();
    let term = mesh.member(leader).leadership_now().term;
    let led = async |what: &str| {
        // Each has asked several times, with time to act on what it found.
        let before = mesh.wires.questions();
        until(what, || async { Some(()).filter(|()| mesh.wires.questions() >= before + 12) }).await;
        for id in &others {
            assert_eq!(mesh.member(*id).leadership_now().term, term, "{what}");
            assert_eq!(mesh.member(*id).leadership_now().leader.map(|leader| leader.id), Some(MemberId(leader)), "{what}");
        }
    };
    mesh.wires.silence(CallKind::Append);
    led("a leader that answers, and whose heartbeats do not come").await;
    mesh.wires.unsilence();
    mesh.put(1, "between").await;
    others.iter().for_each(|id| mesh.wires.cut(MemberId(leader), MemberId(*id)));
    led("a leader that is cut off").await;
    mesh.wires.heal();
    assert_eq!(mesh.put(1, "after").await, leader);
    mesh.shutdown().await;
}
