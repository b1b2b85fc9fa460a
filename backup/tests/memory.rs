//! What a backup holds in memory does not grow with what is backed up. Alone in its process, which is measured.
#![allow(clippy::disallowed_methods, clippy::expect_used, clippy::panic, reason = "a test that cannot go on stops with words")]

use mainstay_backup::progress::Teller;
use mainstay_backup::{Store, check};

use support::{Given, Keys, Made, back_up};

mod support;

/// What an agent may take while it backs up.
const MOST: u64 = 64 << 20;
const LARGE: usize = 1 << 30;

fn most_resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("the process's own state");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("the most that was resident");
    line.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).expect("a number") << 10
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gigabyte_passes_through_little_memory() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Store::local(dir.path()).expect("a store");
    let began = std::time::Instant::now();
    let written = back_up(&store, Keys::new().order(1), &mut Given::one(Made::new(LARGE))).await.expect("a backup");
    let wrote = began.elapsed();
    assert_eq!(written.manifest.parts[0].plain.bytes, LARGE as u64);
    let checked = check(&store, &written.manifest, &written.check, &Teller::default()).await;
    assert!(checked.is_good(), "{checked:?}");
    let most = most_resident();
    let stored = written.manifest.parts[0].stored.bytes;
    println!("written in {wrote:?}, read back in {} ms, {} MiB stored, {} MiB at most", checked.took_ms, stored >> 20, most >> 20);
    assert!(most <= MOST, "{} MiB", most >> 20);
}
