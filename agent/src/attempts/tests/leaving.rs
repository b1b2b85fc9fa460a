//! The order to leave: what runs may end, what has not begun stays with the ledger.

use super::*;

#[tokio::test(start_paused = true)]
async fn with_nothing_to_do_it_leaves_at_once() {
    let (dir, world) = (tempfile::tempdir().unwrap(), World::new(Does::Work));
    let process = Process::start(dir.path(), &world).await;
    process.leave.soon.cancel();
    process.left().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_runs_may_end_and_is_reported_and_nothing_more_begins() {
    let (dir, world) = (tempfile::tempdir().unwrap(), World::new(Does::WaitForTest));
    let process = Process::start_with(dir.path(), &world, Arc::clone(&world), AttemptSettings { at_once: 1, ..settings() }).await;
    let runs = world.offer(1, "node.exec");
    world.until("one runs", |state| state.executing == 1).await;
    let waits = world.offer(2, "node.exec");
    process.until_ledger("the other waits", |entries| entries.get(&waits) == Some(&LedgerState::Accepted)).await;
    process.leave.soon.cancel();
    let late = world.offer(3, "node.exec");
    world.go.cancel();
    let ledger = process.ledger.clone();
    process.left().await.unwrap();
    assert_eq!(world.look().ended[&runs].word(), "succeeded");
    assert_eq!((world.executed(waits), world.executed(late)), (0, 0));
    assert_eq!((ledger.entry(waits), ledger.entry(late)), (Some(LedgerState::Accepted), None));
}

#[tokio::test(start_paused = true)]
async fn what_does_not_end_in_time_is_stopped() {
    let (dir, world) = (tempfile::tempdir().unwrap(), World::new(Does::WaitForStop));
    let process = Process::start(dir.path(), &world).await;
    let (exec, idempotent) = (world.offer(1, "node.exec"), world.offer(2, "lease.hold"));
    world.until("both run", |state| state.executing == 2).await;
    process.leave.soon.cancel();
    let ledger = process.ledger.clone();
    process.left().await.unwrap();
    let outcome = world.look().ended[&exec].clone();
    assert!(matches!(&outcome, Outcome::Cancelled { message } if message.contains("the agent was shut down")), "{outcome:?}");
    // The next process takes it up again, as after a crash: an update of the agent fails no step that may be repeated.
    assert_eq!(ledger.entry(idempotent), Some(LedgerState::Begun));
    assert!(!world.look().ended.contains_key(&idempotent));
}

#[tokio::test(start_paused = true)]
async fn asked_again_it_does_not_wait() {
    let (dir, world) = (tempfile::tempdir().unwrap(), World::new(Does::WaitForStop));
    let settings = AttemptSettings { drain: Duration::from_secs(86_400), ..settings() };
    let process = Process::start_with(dir.path(), &world, Arc::clone(&world), settings).await;
    let id = world.offer(1, "node.exec");
    world.until("it runs", |state| state.executing == 1).await;
    process.leave.now.cancel();
    process.left().await.unwrap();
    assert_eq!(world.look().ended[&id].word(), "cancelled");
}

#[tokio::test(start_paused = true)]
async fn a_mesh_that_is_away_does_not_hold_it_up_and_the_outcome_stays_in_the_ledger() {
    let (dir, world) = (tempfile::tempdir().unwrap(), World::new(Does::Work));
    world.look().end_answers.push_back(Answer::LostBefore);
    let process = Process::start(dir.path(), &world).await;
    let id = world.offer(1, "node.exec");
    world.until("it is reported", |state| state.log.len() == 3).await;
    process.leave.soon.cancel();
    let ledger = process.ledger.clone();
    process.left().await.unwrap();
    assert!(matches!(ledger.entry(id), Some(LedgerState::Ended(Outcome::Succeeded(_)))));
}
