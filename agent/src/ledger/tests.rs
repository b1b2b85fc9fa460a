#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

use mainstay_core::state::run::Outcome;

use super::*;

fn attempt(counter: u64) -> AttemptId {
    format!("1.{counter}").parse().unwrap()
}

fn id(text: &str) -> LedgerId {
    LedgerId(text.into())
}

fn version(incarnation: u64, generation: u64) -> Version {
    Version { incarnation, generation }
}

fn ended() -> LedgerState {
    LedgerState::Ended(Outcome::Failed { message: "it did not work".into(), report: None })
}

#[tokio::test]
async fn a_ledger_survives_its_process_and_keeps_its_id() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(dir.path(), id("first")).unwrap();
    ledger.write(attempt(1), LedgerState::Accepted).await.unwrap();
    ledger.write(attempt(2), LedgerState::Accepted).await.unwrap();
    ledger.write(attempt(2), LedgerState::Begun).await.unwrap();
    ledger.write(attempt(3), ended()).await.unwrap();
    ledger.forget(vec![attempt(1), attempt(9)]).await.unwrap();
    let before = ledger.entries();
    drop(ledger);
    let ledger = Ledger::open(dir.path(), id("second")).unwrap();
    assert_eq!(ledger.id(), &id("first"));
    assert_eq!(ledger.entries(), before);
    assert_eq!(before, [(attempt(2), LedgerState::Begun), (attempt(3), ended())].into());
}

#[tokio::test]
async fn an_older_desired_set_is_known_as_such_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(dir.path(), id("a")).unwrap();
    assert!(ledger.see(version(2, 10)).await.unwrap());
    assert!(ledger.see(version(2, 10)).await.unwrap(), "the same one again");
    assert!(!ledger.see(version(2, 9)).await.unwrap());
    assert!(!ledger.see(version(1, 99)).await.unwrap());
    assert!(ledger.see(version(2, 12)).await.unwrap());
    ledger.write(attempt(1), LedgerState::Accepted).await.unwrap();
    drop(ledger);
    let ledger = Ledger::open(dir.path(), id("b")).unwrap();
    assert_eq!(ledger.seen(), version(2, 12));
    assert!(!ledger.see(version(1, 99)).await.unwrap());
}

#[tokio::test]
async fn two_processes_cannot_have_one_ledger() {
    let dir = tempfile::tempdir().unwrap();
    let _held = Ledger::open(dir.path(), id("a")).unwrap();
    assert!(matches!(Ledger::open(dir.path(), id("b")), Err(LedgerError::InUse { .. })));
}

async fn filled(dir: &Path) -> std::path::PathBuf {
    let ledger = Ledger::open(dir, id("a")).unwrap();
    for counter in 0..20 {
        ledger.write(attempt(counter), ended()).await.unwrap();
    }
    dir.join(FILE_NAME)
}

#[tokio::test]
async fn flipped_bytes_never_make_an_older_ledger_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = filled(dir.path()).await;
    let (whole, entries) = (std::fs::read(&path).unwrap(), Ledger::open(dir.path(), id("b")).unwrap().entries());
    let mut refused = 0;
    // Steps of a prime, so that all parts of all pages are met.
    for at in (0..whole.len()).step_by(1_031) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0xff;
        std::fs::write(&path, &bytes).unwrap();
        match Ledger::open(dir.path(), id("c")) {
            Err(LedgerError::Damaged { .. }) => refused += 1,
            Err(other) => panic!("byte {at}: {other}"),
            Ok(ledger) => assert_eq!((ledger.id(), ledger.entries()), (&id("a"), entries.clone()), "byte {at}"),
        }
    }
    assert!(refused > 0, "some of these bytes are in use");
}

#[tokio::test]
async fn nonsense_is_refused_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(FILE_NAME);
    std::fs::write(&path, vec![7; 10_000]).unwrap();
    let error = Ledger::open(dir.path(), id("a")).unwrap_err().to_string();
    assert!(error.contains("is damaged") && error.contains("move the file away") && error.contains("ledger.redb"), "{error}");
}

#[tokio::test]
async fn a_newer_format_is_refused_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = filled(dir.path()).await;
    {
        let database = redb::Database::create(&path).unwrap();
        let transaction = database.begin_write().unwrap();
        let head: redb::TableDefinition<&str, &[u8]> = redb::TableDefinition::new("head");
        transaction.open_table(head).unwrap().insert("ledger", [9_u8, 1, 2, 3].as_slice()).unwrap();
        transaction.commit().unwrap();
    }
    let error = Ledger::open(dir.path(), id("b")).unwrap_err();
    assert!(matches!(error, LedgerError::Newer { found: 9, known: 1, .. }), "{error}");
    assert!(error.to_string().contains("start a newer version"), "{error}");
}
