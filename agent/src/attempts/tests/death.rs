//! The process dies at every point of an attempt; the step is done once, or called unknown.

use super::*;

#[tokio::test(start_paused = true)]
async fn dead_before_begin_nothing_has_happened() {
    let (dir, world) = (tempfile::tempdir().unwrap(), World::new(Does::Work));
    world.look().begin_answers.push_back(Answer::LostBefore);
    let process = Process::start(dir.path(), &world).await;
    let id = world.offer(1, "node.exec");
    world.until("it is asked for", |state| state.log == ["begin 1.1"]).await;
    process.crash().await;
    let process = Process::start(dir.path(), &world).await;
    assert_eq!(world.ended(id).await.word(), "succeeded");
    assert_eq!(world.log(), ["begin 1.1", "begin 1.1", "execute 1.1", "end 1.1 succeeded"]);
    process.until_ledger("it is forgotten", |entries| entries.is_empty()).await;
}

#[tokio::test(start_paused = true)]
async fn dead_after_begin_before_the_ledger_knows_nothing_has_happened() {
    let (dir, world) = (tempfile::tempdir().unwrap(), World::new(Does::Work));
    world.look().begin_answers.push_back(Answer::LostAfter);
    let process = Process::start(dir.path(), &world).await;
    let id = world.offer(1, "node.exec");
    world.until("the mesh has begun it", |state| state.wanted[0].begun).await;
    assert_eq!(process.ledger.entry(id), Some(LedgerState::Accepted));
    process.crash().await;
    let _process = Process::start(dir.path(), &world).await;
    assert_eq!(world.ended(id).await.word(), "succeeded");
    assert_eq!(world.executed(id), 1);
}

#[tokio::test(start_paused = true)]
async fn dead_in_the_middle_it_is_unknown_and_not_repeated() {
    let (dir, world) = (tempfile::tempdir().unwrap(), World::new(Does::WorkAndHang));
    let process = Process::start(dir.path(), &world).await;
    let id = world.offer(1, "node.exec");
    world.until("it runs", |state| state.executing == 1).await;
    process.crash().await;
    let process = Process::start(dir.path(), &world).await;
    let outcome = world.ended(id).await;
    assert!(matches!(&outcome, Outcome::Unknown { reason } if reason.contains("what it did is not known")), "{outcome:?}");
    assert_eq!(world.executed(id), 1);
    process.until_ledger("it is forgotten", |entries| entries.is_empty()).await;
}

#[tokio::test(start_paused = true)]
async fn dead_in_the_middle_what_may_be_repeated_is() {
    let (dir, world) = (tempfile::tempdir().unwrap(), World::new(Does::WaitForTest));
    let process = Process::start(dir.path(), &world).await;
    let id = world.offer(1, "wait");
    world.until("it runs", |state| state.executing == 1).await;
    process.crash().await;
    world.go.cancel();
    let _process = Process::start(dir.path(), &world).await;
    assert_eq!(world.ended(id).await.word(), "succeeded");
    assert_eq!(world.log(), ["begin 1.1", "execute 1.1", "execute 1.1", "end 1.1 succeeded"]);
}

#[tokio::test(start_paused = true)]
async fn dead_before_the_report_the_next_process_reports() {
    for lost in [Answer::LostBefore, Answer::LostAfter] {
        let (dir, world) = (tempfile::tempdir().unwrap(), World::new(Does::Work));
        world.look().end_answers.push_back(lost);
        let process = Process::start(dir.path(), &world).await;
        let id = world.offer(1, "node.exec");
        world.until("it is reported", |state| state.log.len() == 3).await;
        process.crash().await;
        let process = Process::start(dir.path(), &world).await;
        assert_eq!(world.ended(id).await.word(), "succeeded");
        assert_eq!(world.executed(id), 1);
        process.until_ledger("it is forgotten", |entries| entries.is_empty()).await;
    }
}

#[tokio::test(start_paused = true)]
async fn dead_and_the_ledger_gone_with_it_what_was_begun_is_unknown() {
    let (first, second, world) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), World::new(Does::WorkAndHang));
    let process = Process::start(first.path(), &world).await;
    let id = world.offer(1, "node.exec");
    world.until("it runs", |state| state.executing == 1).await;
    process.crash().await;
    let _process = Process::start(second.path(), &world).await;
    assert_eq!(world.ended(id).await.word(), "unknown");
    assert_eq!(world.executed(id), 1);
}
