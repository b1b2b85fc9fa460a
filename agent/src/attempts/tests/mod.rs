#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

mod child;
mod death;
mod leaving;
mod world;

use mainstay_core::report::Report;

use super::*;
use world::{Answer, Does, Process, World, settings};

#[tokio::test(start_paused = true)]
async fn an_attempt_is_begun_at_the_mesh_before_it_is_executed_and_forgotten_when_its_end_is_known() {
    let (dir, world) = (tempfile::tempdir().unwrap(), World::new(Does::Work));
    let process = Process::start(dir.path(), &world).await;
    let id = world.offer(1, "node.exec");
    assert_eq!(world.ended(id).await, Outcome::Succeeded(Report::default()));
    assert_eq!(world.log(), ["begin 1.1", "execute 1.1", "end 1.1 succeeded"]);
    process.until_ledger("it is empty", |entries| entries.is_empty()).await;
}

#[tokio::test(start_paused = true)]
async fn what_the_mesh_does_not_let_begin_is_not_executed_and_not_asked_for_again() {
    let (dir, world) = (tempfile::tempdir().unwrap(), World::new(Does::Work));
    world.look().begin_answers.push_back(Answer::No);
    let process = Process::start(dir.path(), &world).await;
    let refused = world.offer(1, "node.exec");
    world.until("it was refused", |state| state.log == ["begin 1.1"]).await;
    process.until_ledger("it is empty", |entries| entries.is_empty()).await;
    // Another desired set with the same attempt in it, and something to tell that it has been looked at.
    let other = world.offer(2, "wait");
    world.ended(other).await;
    assert_eq!(world.log(), ["begin 1.1", "begin 1.2", "execute 1.2", "end 1.2 succeeded"]);
    // With a new link everything is looked at anew.
    world.relink();
    world.ended(refused).await;
    assert_eq!(world.executed(refused), 1);
}

#[tokio::test(start_paused = true)]
async fn a_mesh_that_is_away_is_asked_again() {
    let (dir, world) = (tempfile::tempdir().unwrap(), World::new(Does::Work));
    world.look().begin_answers.extend([Answer::Later; 5]);
    world.look().end_answers.extend([Answer::Later; 5]);
    let _process = Process::start(dir.path(), &world).await;
    let id = world.offer(1, "node.exec");
    world.ended(id).await;
    assert_eq!((world.executed(id), world.log().len()), (1, 6 + 1 + 6));
}

#[tokio::test(start_paused = true)]
async fn an_end_that_the_mesh_does_not_take_is_kept_until_it_wants_nothing_more_of_it() {
    let (dir, world) = (tempfile::tempdir().unwrap(), World::new(Does::Work));
    world.look().end_answers.push_back(Answer::No);
    let process = Process::start(dir.path(), &world).await;
    let id = world.offer(1, "node.exec");
    world.until("it was reported", |state| state.log.len() == 3).await;
    let other = world.offer(2, "wait");
    world.ended(other).await;
    assert!(matches!(process.ledger.entry(id), Some(LedgerState::Ended(Outcome::Succeeded(_)))));
    world.withdraw(id);
    process.until_ledger("it is forgotten", |entries| entries.is_empty()).await;
    assert_eq!(world.log().iter().filter(|entry| entry.starts_with("end 1.1")).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_called_off_stops_and_says_why() {
    for (reason, word) in [(CancelReason::Aborted, "cancelled"), (CancelReason::TimedOut, "timed out")] {
        let (dir, world) = (tempfile::tempdir().unwrap(), World::new(Does::WaitForStop));
        let _process = Process::start(dir.path(), &world).await;
        let id = world.offer(1, "node.exec");
        world.until("it runs", |state| state.executing == 1).await;
        world.call_off(id, reason);
        assert_eq!(world.ended(id).await.word(), word);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_called_off_before_it_begins_is_never_executed() {
    let (dir, world) = (tempfile::tempdir().unwrap(), World::new(Does::Work));
    world.look().begin_answers.push_back(Answer::LostBefore);
    let process = Process::start(dir.path(), &world).await;
    let id = world.offer(1, "node.exec");
    world.until("it is asked for", |state| state.log == ["begin 1.1"]).await;
    world.call_off(id, CancelReason::Aborted);
    assert_eq!(world.ended(id).await.word(), "cancelled");
    assert_eq!(world.executed(id), 0);
    process.until_ledger("it is forgotten", |entries| entries.is_empty()).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_no_longer_wanted_stops_and_is_forgotten() {
    let (dir, world) = (tempfile::tempdir().unwrap(), World::new(Does::WaitForStop));
    let process = Process::start(dir.path(), &world).await;
    let id = world.offer(1, "node.exec");
    world.until("it runs", |state| state.executing == 1).await;
    world.withdraw(id);
    process.until_ledger("it is forgotten", |entries| entries.is_empty()).await;
    assert_eq!(world.look().executing, 0);
}

#[tokio::test(start_paused = true)]
async fn its_own_deadline_stops_an_attempt_also_one_that_does_not_listen() {
    for does in [Does::WaitForStop, Does::WorkAndHang] {
        let (dir, world) = (tempfile::tempdir().unwrap(), World::new(does));
        let _process = Process::start(dir.path(), &world).await;
        let id = world.offer(1, "node.exec");
        let outcome = world.ended(id).await;
        assert!(matches!(&outcome, Outcome::TimedOut { message } if message.starts_with("stopped after 30s")), "{outcome:?}");
        assert_eq!(world.look().executing, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_fault_of_an_executor_is_a_failure_where_nothing_can_have_changed_and_else_unknown() {
    for (kind, word) in [("wait", "failed"), ("node.exec", "unknown")] {
        let (dir, world) = (tempfile::tempdir().unwrap(), World::new(Does::Panic));
        let _process = Process::start(dir.path(), &world).await;
        let id = world.offer(1, kind);
        assert_eq!(world.ended(id).await.word(), word);
        let other = world.offer(2, kind);
        assert_eq!(world.ended(other).await.word(), word, "and the agent goes on");
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_agent_refuses_is_a_failure_with_its_words_and_never_begins() {
    let (dir, world) = (tempfile::tempdir().unwrap(), World::new(Does::Refuse));
    let _process = Process::start(dir.path(), &world).await;
    let id = world.offer(1, "node.exec");
    assert_eq!(world.ended(id).await, Outcome::Failed { message: "not allowed".into(), report: None });
    assert!(!world.log().iter().any(|line| line.starts_with("begin") || line.starts_with("execute")), "{:?}", world.log());
}

#[tokio::test(start_paused = true)]
async fn only_so_many_run_at_once_and_only_those_have_begun() {
    let (dir, world) = (tempfile::tempdir().unwrap(), World::new(Does::WaitForTest));
    let process = Process::start_with(dir.path(), &world, Arc::clone(&world), AttemptSettings { at_once: 3, in_ledger: 5, ..settings() }).await;
    let ids: Vec<AttemptId> = (1..=9).map(|counter| world.offer(counter, "node.exec")).collect();
    world.until("three run", |state| state.executing == 3).await;
    process.until_ledger("five are accepted", |entries| entries.len() == 5).await;
    assert_eq!(world.log().iter().filter(|entry| entry.starts_with("begin")).count(), 3);
    world.go.cancel();
    for id in ids {
        world.ended(id).await;
        assert_eq!(world.executed(id), 1);
    }
    assert_eq!(world.look().most_executing, 3);
}
