//! What goes in comes out, and can be read without Mainstay.
#![allow(clippy::disallowed_methods, clippy::expect_used, clippy::panic, reason = "a test that cannot go on stops with words")]

use std::process::{Command, Stdio};
use std::time::Duration;

use age::secrecy::ExposeSecret;
use mainstay_backup::judge::Standing;
use mainstay_backup::keys::{Identities, Recipients};
use mainstay_backup::manifest::{Outcome, Role};
use mainstay_backup::place;
use mainstay_backup::progress::Teller;
use mainstay_backup::receipt::Nobody;
use mainstay_backup::source::files::Files;
use mainstay_backup::store::CreateIfAbsent;
use mainstay_backup::write::{WriteError, confirm};
use mainstay_backup::{Store, check, open, prune, scan, write};
use tokio_util::sync::CancellationToken;

use support::{Given, Keys, Made, all_of, back_up, good_one};

mod support;

fn local() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Store::local(&dir.path().join("backups")).expect("a store");
    (dir, store)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_in_comes_out() {
    let (_dir, store) = local();
    let keys = Keys::new();
    // Nothing, less than a chunk, exactly one, several pieces of an upload.
    for (hour, bytes) in [(1, 0), (2, 1), (3, 256 << 10), (4, (256 << 10) + 1), (5, 90 << 20)] {
        let written = good_one(&store, &keys, hour, bytes).await;
        let part = &written.manifest.parts[0];
        assert_eq!(part.plain.bytes, bytes as u64);
        let came = open(&store, &written.manifest, part, &keys.drill, &Teller::default()).await.expect("it opens");
        assert!(all_of(came).await.expect("it is right") == all_of(Made::new(bytes)).await.expect("bytes"), "{bytes} bytes");
    }
    let found = scan(&store, None, &keys.known()).await.expect("a scan");
    assert_eq!(found.strays, Vec::<String>::new());
    assert!(found.backups.iter().all(|judged| judged.standing == Standing::Good), "{found:?}");
    assert_eq!(found.backups.len(), 5);
    // Without the key of who signs, nobody knows.
    let found = scan(&store, None, &Nobody).await.expect("a scan");
    assert!(found.backups.iter().all(|judged| matches!(judged.standing, Standing::Unconfirmed { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn several_streams_are_one_backup() {
    let (_dir, store) = local();
    let keys = Keys::new();
    let mut source = Given::many(vec![("globals", Made::new(10)), ("database", Made::new(1000))]);
    let written = back_up(&store, keys.order(1), &mut source).await.expect("a backup");
    let names: Vec<&str> = written.manifest.parts.iter().map(|part| part.name.as_str()).collect();
    assert_eq!(names, ["globals", "database"]);
    assert!(check(&store, &written.manifest, &written.check, &Teller::default()).await.is_good());
    let mut twice = Given::many(vec![("same", Made::new(10)), ("same", Made::new(10))]);
    assert!(matches!(back_up(&store, keys.order(2), &mut twice).await, Err(WriteError::Source(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn it_opens_with_age_and_zstd_alone() {
    let (dir, store) = local();
    let (identity, file) = Identities::generate();
    let key = dir.path().join("key.txt");
    std::fs::write(&key, file.expose_secret()).expect("a key file");
    let mut order = Keys::new().order(1);
    order.recipients = Recipients::read([(Role::BreakGlass, identity.public()[0].as_str())]).expect("a recipient");
    let written = back_up(&store, order, &mut Given::one(Made::new(3 << 20))).await.expect("a backup");
    let object = dir.path().join("backups").join(written.manifest.backup.to_string()).join("data.zst.age");
    // The target's key first: it opens all backups that name it.
    let (sealed, target_key) = (dir.path().join("backups/prod/orders-db/key-1.age"), dir.path().join("target.key"));
    let opened = Command::new("age").args(["--decrypt", "--identity"]).arg(&key).arg("--output").arg(&target_key).arg(&sealed).status();
    assert!(opened.expect("age starts; tests/packages installs it").success());
    let age = Command::new("age").arg("--decrypt").arg("--identity").arg(&target_key).arg(&object).stdout(Stdio::piped()).spawn();
    let mut age = age.expect("age starts; tests/packages installs it");
    let zstd = Command::new("zstd").args(["--decompress", "--stdout"]).stdin(age.stdout.take().expect("its output")).output();
    let zstd = zstd.expect("zstd starts; tests/packages installs it");
    assert!(age.wait().expect("age ends").success() && zstd.status.success());
    assert!(zstd.stdout == all_of(Made::new(3 << 20)).await.expect("bytes"));
    // And its manifest is JSON that says how.
    let text = std::fs::read_to_string(object.with_file_name("manifest.json")).expect("a manifest");
    let Outcome::Manifest(read) = mainstay_backup::manifest::read(text.as_bytes()).expect("a manifest") else { panic!("{text}") };
    assert_eq!(read, written.manifest);
    assert!(text.contains(&identity.public()[0]) && !text.contains("SECRET"));
}

#[tokio::test(flavor = "multi_thread")]
async fn files_come_back_as_they_were() {
    let (dir, store) = local();
    let keys = Keys::new();
    let from = dir.path().join("etc");
    std::fs::create_dir_all(from.join("sub/empty")).expect("directories");
    std::fs::write(from.join("a.conf"), "a = 1\n").expect("a file");
    std::fs::write(from.join("sub/large"), vec![7; 3 << 20]).expect("a file");
    std::fs::write(from.join(format!("sub/{}", "long".repeat(50))), "x").expect("a file");
    std::os::unix::fs::symlink("../a.conf", from.join("sub/link")).expect("a link");
    let written = back_up(&store, keys.order(1), &mut Files::new(vec![from.clone()])).await.expect("a backup");
    assert_eq!(written.manifest.source.counted["files"], 3);
    assert_eq!(written.manifest.source.counted["links"], 1);
    assert!(check(&store, &written.manifest, &written.check, &Teller::default()).await.is_good());
    let restored = dir.path().join("restored");
    let plain = open(&store, &written.manifest, &written.manifest.parts[0], &keys.drill, &Teller::default()).await.expect("it opens");
    place::files::unpack(plain, &restored).await.expect("it is restored");
    let same = Command::new("diff").args(["--recursive", "--no-dereference"]).arg(&from).arg(restored.join("etc")).status();
    assert!(same.expect("diff runs").success());
    // A place where something is is not touched.
    let plain = open(&store, &written.manifest, &written.manifest.parts[0], &keys.drill, &Teller::default()).await.expect("it opens");
    let refused = place::files::unpack(plain, &restored).await.expect_err("it is not empty").to_string();
    assert!(refused.contains("nothing was touched"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_breaks_off_makes_no_backup() {
    let (_dir, store) = local();
    let keys = Keys::new();
    let mut made = Made::new(40 << 20);
    made.breaks_at = Some(1 << 20);
    let error = back_up(&store, keys.order(1), &mut Given::one(made)).await.expect_err("it broke off");
    assert_eq!(error.to_string(), "part data: the source: the disk is on fire");
    let found = scan(&store, None, &keys.known()).await.expect("a scan").backups;
    assert!(matches!(&found[0].standing, Standing::Sealed { why, .. } if why.contains("on fire")), "{found:?}");
    // Nothing of it is in the store but who began, that it is void, and the target's key; the next one succeeds.
    let objects = store.list("").await.expect("a listing");
    let is_left = |name: &str| name.ends_with(".json") || name.ends_with("/key-1.age");
    assert!(objects.iter().all(|object| is_left(&object.name)), "{objects:?}");
    good_one(&store, &keys, 2, 1000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_calls_it_off_is_heard() {
    let (_dir, store) = local();
    let keys = Keys::new();
    let (tell, mut look) = Teller::new();
    let cancel = CancellationToken::new();
    let (order, stop) = (keys.order(1), cancel.clone());
    let (_never, endless) = tokio::io::duplex(1 << 20);
    let writing = tokio::spawn({
        let store = store.clone();
        async move { write(&store, order, &mut Given::one(endless), &tell, &cancel).await.map(drop) }
    });
    look.wait_for(|progress| progress.part == "data").await.expect("it has begun");
    stop.cancel();
    let ended = tokio::time::timeout(Duration::from_secs(10), writing).await.expect("it ends").expect("it does not panic");
    assert!(matches!(ended, Err(WriteError::Cancelled)), "{ended:?}");
    let found = scan(&store, None, &keys.known()).await.expect("a scan").backups;
    assert!(matches!(found[0].standing, Standing::Sealed { .. }), "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_is_told_in_bytes() {
    let (_dir, store) = local();
    let (tell, look) = Teller::new();
    let order = Keys::new().order(1);
    write(&store, order, &mut Given::one(Made::new(1 << 20)), &tell, &CancellationToken::new()).await.expect("a backup");
    let progress = look.borrow().clone();
    assert_eq!(progress.plain_bytes, 1 << 20);
    assert!(progress.stored_bytes > 0 && progress.stored_bytes < 1 << 20, "{progress:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_removed_is_gone_and_can_be_removed_again() {
    let (_dir, store) = local();
    let keys = Keys::new();
    let first = good_one(&store, &keys, 1, 1000).await.manifest.backup;
    let second = good_one(&store, &keys, 2, 1000).await.manifest.backup;
    for _ in 0..2 {
        assert_eq!(prune::remove(&store, &first).await.expect("it is removed"), prune::Pruned::Gone);
        let found = scan(&store, None, &keys.known()).await.expect("a scan").backups;
        assert_eq!(found.iter().map(|judged| &judged.id).collect::<Vec<_>>(), [&second]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_can_be_written_again_and_not_for_something_else() {
    let (_dir, store) = local();
    let keys = Keys::new();
    let written = good_one(&store, &keys, 1, 1000).await;
    let id = &written.manifest.backup;
    confirm(&store, id, &written.digest, &keys.sign).await.expect("again");
    confirm(&store, id, "another", &keys.sign).await.expect_err("another manifest");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_is_probed() {
    let (_dir, store) = local();
    let probe = store.probe().await.expect("a probe");
    assert_eq!(probe.create_if_absent, CreateIfAbsent::Honoured);
    assert_eq!(probe.kept, None);
    assert_eq!(store.list("").await.expect("a listing"), []);
}
