//! A directory on a real disk that is full, or that nobody may write to: it is said in words, nothing counts, and the next one
//! that has room does.
#![allow(clippy::disallowed_methods, clippy::expect_used, clippy::panic, reason = "a test that cannot go on stops with words")]

use mainstay_backup::judge::Standing;
use mainstay_backup::store::Why;
use mainstay_backup::{Store, scan};
use mainstay_tests::faults::Tmpfs;

use support::{Given, Keys, Made, back_up, good_one, patient};

mod support;

/// Room on it, in KiB.
const DISK: u32 = 96 << 10;
/// What is left of it, in KiB: less than what is backed up has when it is compressed, and more than a probe.
const LEFT: u64 = 4 << 10;
const LARGE: usize = 60 << 20;

async fn standings(store: &Store, keys: &Keys) -> Vec<Standing> {
    scan(store, None, &keys.known()).await.expect("a scan").backups.into_iter().map(|judged| judged.standing).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn where_there_is_no_room_nothing_counts_and_the_next_one_does() {
    let place = tempfile::tempdir().expect("a directory");
    let disk = Tmpfs::mount(&place.path().join("disk"), DISK).unwrap_or_else(|error| panic!("a disk: {error}"));
    let dir = disk.path().join("store");
    let (store, keys) = (patient(Store::local(&dir).expect("a store")), Keys::new());
    good_one(&store, &keys, 1, 1000).await;
    disk.fill_but(LEFT);
    let error = back_up(&store, keys.order(2), &mut Given::one(Made::new(LARGE))).await.expect_err("it does not fit");
    let said = error.to_string();
    assert!(said.contains("No space left on device"), "{said}");
    assert!(said.contains("make room, by `mainstay backup prune` or a larger disk") && said.contains("data.zst.age"), "{said}");
    // The good one is as good as before; of the other there is at most that it began, or is void.
    let after = standings(&store, &keys).await;
    assert_eq!(after[0], Standing::Good);
    assert!(after[1..].iter().all(|standing| matches!(standing, Standing::Sealed { .. } | Standing::Unfinished | Standing::Leftover)), "{after:?}");
    // Half-written pieces are not left there: they would take the room of the next one.
    let staged = |name: &std::ffi::OsStr| name.to_string_lossy().contains('#');
    let left = walked(&dir).into_iter().filter(|path| path.file_name().is_some_and(staged)).collect::<Vec<_>>();
    assert_eq!(left, Vec::<std::path::PathBuf>::new());
    disk.make_room();
    good_one(&store, &keys, 3, LARGE).await;
    assert_eq!(standings(&store, &keys).await.last(), Some(&Standing::Good));
}

fn walked(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("an entry").path());
    entries.flat_map(|path| if path.is_dir() { walked(&path) } else { vec![path] }).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_cannot_be_written_to_is_found_by_the_probe() {
    let place = tempfile::tempdir().expect("a directory");
    let disk = Tmpfs::mount(&place.path().join("disk"), DISK).unwrap_or_else(|error| panic!("a disk: {error}"));
    let (store, keys) = (patient(Store::local(disk.path()).expect("a store")), Keys::new());
    good_one(&store, &keys, 1, 1000).await;
    disk.read_only(true);
    let error = store.probe().await.expect_err("nobody can write there");
    assert_eq!(error.why, Why::Refused, "{error}");
    assert!(
        error.to_string().contains("Read-only file system") && error.to_string().contains("the rights to list, read, write and delete"),
        "{error}"
    );
    assert_eq!(standings(&store, &keys).await, [Standing::Good], "it is read as before");
    disk.read_only(false);
    assert_eq!(store.probe().await.expect("a probe").kept, None);
}
