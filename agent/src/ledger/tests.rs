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

/// A ledger with something in it, as a clean end left it, or as a power cut did.
async fn filled(dir: &Path, cleanly: bool) -> std::path::PathBuf {
    let path = dir.join(FILE_NAME);
    let ledger = Ledger::open(dir, id("a")).unwrap();
    for counter in 0..20 {
        ledger.write(attempt(counter), ended()).await.unwrap();
    }
    ledger.write(attempt(20), LedgerState::Accepted).await.unwrap();
    ledger.write(attempt(20), LedgerState::Begun).await.unwrap();
    let image = std::fs::read(&path).unwrap();
    drop(ledger);
    if !cleanly {
        std::fs::write(&path, image).unwrap();
    }
    path
}

#[tokio::test]
async fn a_power_cut_takes_nothing_back() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), false).await;
    let ledger = Ledger::open(dir.path(), id("b")).unwrap();
    assert_eq!((ledger.id(), ledger.len(), ledger.entry(attempt(20))), (&id("a"), 21, Some(LedgerState::Begun)));
}

#[tokio::test]
async fn flipped_bytes_never_make_an_older_ledger_of_it() {
    for cleanly in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let path = filled(dir.path(), cleanly).await;
        let whole = std::fs::read(&path).unwrap();
        let mark = std::fs::read(dir.path().join("ledger.mark")).unwrap();
        let entries = Ledger::open(dir.path(), id("b")).unwrap().entries();
        let mut refused = 0;
        // Steps of a prime, so that all parts of all pages are met; all of the header, and each bit of its ninth byte,
        // which says which of two commits is the newer one.
        let header = (0..320).map(|at| (at, 0xff_u8)).chain((0..8).map(|bit| (9, 1 << bit)));
        for (at, flip) in header.chain((320..whole.len()).step_by(1_499).map(|at| (at, 0xff))) {
            let mut bytes = whole.clone();
            bytes[at] ^= flip;
            std::fs::write(&path, &bytes).unwrap();
            std::fs::write(dir.path().join("ledger.mark"), &mark).unwrap();
            match Ledger::open(dir.path(), id("c")) {
                Err(LedgerError::Damaged { .. }) => refused += 1,
                Err(other) => panic!("byte {at}: {other}"),
                Ok(ledger) => assert_eq!((ledger.id(), ledger.entries()), (&id("a"), entries.clone()), "byte {at} ^ {flip}, cleanly: {cleanly}"),
            }
        }
        assert!(refused > 0, "some of these bytes are in use");
    }
}

#[tokio::test]
async fn an_older_copy_beside_the_mark_of_a_newer_one_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = filled(dir.path(), true).await;
    let older = std::fs::read(&path).unwrap();
    Ledger::open(dir.path(), id("b")).unwrap().write(attempt(20), ended()).await.unwrap();
    std::fs::write(&path, older).unwrap();
    let error = Ledger::open(dir.path(), id("b")).unwrap_err();
    assert!(matches!(&error, LedgerError::Damaged { what, .. } if what.contains("has only")), "{error}");
    // As the message says: another ledger is another holder, and the mark is not its.
    std::fs::remove_file(&path).unwrap();
    assert_eq!(Ledger::open(dir.path(), id("new")).unwrap().id(), &id("new"));
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
    let path = filled(dir.path(), true).await;
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

#[tokio::test]
async fn room_on_the_disk_is_taken_in_advance() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let dir = tempfile::tempdir().unwrap();
    let path = filled(dir.path(), true).await;
    let meta = std::fs::metadata(&path).unwrap();
    assert!(meta.blocks() * 512 >= 1 << 20, "{} blocks", meta.blocks());
    assert!(meta.len() < 1 << 20);
    assert_eq!(meta.permissions().mode() & 0o777, 0o600);
}
