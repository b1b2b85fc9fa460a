//! The key of a target: lost, exchanged, destroyed by intent, and kept by a store that was told to destroy it.
#![allow(clippy::disallowed_methods, clippy::expect_used, clippy::panic, reason = "a test that cannot go on stops with words")]

use std::sync::Arc;

use mainstay_backup::erase::{EraseError, Erased, erase};
use mainstay_backup::judge::{Standing, newest_good};
use mainstay_backup::keys::{Identities, Recipients};
use mainstay_backup::manifest::{Manifest, Role};
use mainstay_backup::progress::Teller;
use mainstay_backup::receipt::Nobody;
use mainstay_backup::{Store, check, open, prune, scan};
use object_store::ObjectStoreExt;
use object_store::path::Path;

use support::faults::{Fault, Faulty};
use support::{Given, Keys, Made, back_up, good_one, patient};

mod support;

const TARGET: &str = "prod/orders-db";

fn place() -> (Arc<Faulty>, Store, Keys) {
    let faulty = Faulty::new([]);
    let store = patient(Store::of(faulty.clone(), "a faulty store"));
    (faulty, store, Keys::new())
}

async fn erased(store: &Store, keys: &Keys) -> Result<Erased, EraseError> {
    let at = "2026-11-30T09:00:00Z".parse().expect("a time");
    erase(store, &TARGET.parse().expect("a target"), at, &keys.sign).await
}

async fn standings(store: &Store, keys: &Keys) -> Vec<Standing> {
    scan(store, None, &keys.known()).await.expect("a scan").backups.into_iter().map(|judged| judged.standing).collect()
}

/// Why it does not open with these keys; nothing where it does.
async fn refusal(store: &Store, manifest: &Manifest, keys: &Identities) -> Option<String> {
    open(store, manifest, &manifest.parts[0], keys, &Teller::default()).await.err().map(|damage| damage.to_string())
}

fn is_damaged(standing: &Standing, words: &str) -> bool {
    matches!(standing, Standing::Damaged { what } if what[0].contains(words))
}

#[tokio::test(flavor = "multi_thread")]
async fn all_backups_of_a_target_have_one_key_and_nothing_else_opens_them() {
    let (_, store, keys) = place();
    let (one, two) = (good_one(&store, &keys, 1, 1000).await, good_one(&store, &keys, 2, 1000).await);
    let of = one.manifest.key.clone().expect("it has a key");
    assert_eq!((of.generation, two.manifest.key), (1, Some(of.clone())));
    // Without the object of the key, whoever can open that opens nothing; the one who checked it still does, in memory only.
    store.remove(&format!("{TARGET}/key-1.age")).await.expect("it is removed");
    let why = refusal(&store, &one.manifest, &keys.drill).await.expect("nothing opens it");
    assert_eq!(why, format!("{TARGET}/key-1.age is missing: it is not in the store any more"));
    assert_eq!(refusal(&store, &one.manifest, &one.check).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_lost_is_missed_by_whoever_looks() {
    let (_, store, keys) = place();
    let written = good_one(&store, &keys, 1, 1000).await;
    store.remove(&format!("{TARGET}/key-1.age")).await.expect("it is removed");
    assert!(is_damaged(&standings(&store, &keys).await[0], "its key is gone: key-1.age is missing"));
    // The check right after writing opens it without that key, and yet says so.
    let checked = check(&store, &written.manifest, &written.check, &Teller::default()).await;
    let wrong: Vec<(&str, bool)> = checked.parts.iter().map(|part| (part.name.as_str(), part.wrong.is_some())).collect();
    assert_eq!(wrong, [("data", false), ("key-1", true)], "{checked:?}");
    assert!(!mainstay_backup::check::stored(&store, &written.manifest, &Teller::default()).await.is_good());
    // The next one has a key of its own.
    let next = good_one(&store, &keys, 2, 1000).await;
    assert_eq!(next.manifest.key.as_ref().map(|key| key.generation), Some(2));
    assert_eq!(refusal(&store, &next.manifest, &keys.drill).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_was_exchanged_is_found() {
    let (faulty, store, keys) = place();
    let written = good_one(&store, &keys, 1, 1000).await;
    // Of a second key, which the same people can open.
    let stranger = Keys::new();
    let mut order = keys.order(2);
    order.recipients = stranger.recipients();
    back_up(&store, order, &mut Given::one(Made::new(1000))).await.expect("a backup");
    let object = |generation: u32| Path::from(format!("{TARGET}/key-{generation}.age"));
    faulty.inner.copy(&object(2), &object(1)).await.expect("memory copies it");
    assert!(is_damaged(&standings(&store, &keys).await[0], "key-1.age is not the key that it was encrypted to"));
    let why = refusal(&store, &written.manifest, &keys.drill).await.expect("it is another key");
    assert!(why.contains("key-1.age is damaged: its checksum"), "{why}");
    assert!(!check(&store, &written.manifest, &written.check, &Teller::default()).await.is_good());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_break_glass_key_is_for_new_backups() {
    let (_, store, keys) = place();
    let old = good_one(&store, &keys, 1, 1000).await.manifest;
    let glass = Identities::generate().0;
    let mut order = keys.order(2);
    let both = [(Role::BreakGlass, glass.public().remove(0)), (Role::Drill, keys.drill.public().remove(0))];
    order.recipients = Recipients::read(both.iter().map(|(role, key)| (*role, key.as_str()))).expect("recipients");
    let new = back_up(&store, order, &mut Given::one(Made::new(1000))).await.expect("a backup").manifest;
    let opens = [refusal(&store, &old, &glass).await, refusal(&store, &new, &glass).await, refusal(&store, &new, &keys.drill).await];
    assert!(opens[0].as_ref().is_some_and(|why| why.contains("none of these keys opens") && why.contains("the drill key")), "{opens:?}");
    assert_eq!(opens[1..], [None, None]);
    let known = scan(&store, None, &keys.known()).await.expect("a scan").keys;
    let known: Vec<(u32, bool, usize)> =
        known.iter().map(|key| (key.generation, key.secret.is_some(), key.record.as_ref().map_or(0, |record| record.recipients.len()))).collect();
    assert_eq!(known, [(1, true, 1), (2, true, 2)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_erased_nobody_opens_and_it_is_called_so() {
    let (_, store, keys) = place();
    let (one, two) = (good_one(&store, &keys, 1, 1000).await.manifest, good_one(&store, &keys, 2, 1000).await.manifest);
    let done = erased(&store, &keys).await.expect("it is erased");
    assert_eq!((done.destroyed, done.was_done), (vec![1], false));
    let by = mainstay_backup::receipt::Sign::signer(&keys.sign);
    let standing = Standing::Erased { at: "2026-11-30T09:00:00Z".to_owned(), by };
    assert_eq!(standings(&store, &keys).await, [standing.clone(), standing.clone()]);
    for manifest in [&one, &two] {
        assert!(refusal(&store, manifest, &keys.drill).await.is_some());
    }
    // Whose word does not count says nothing: then it is damage.
    let strangers = scan(&store, None, &Nobody).await.expect("a scan").backups;
    assert!(is_damaged(&strangers[0].standing, "erased-1.json says that it was erased, and does not count"), "{strangers:?}");
    let again = erased(&store, &keys).await.expect("it was erased");
    assert_eq!((again.destroyed, again.was_done), (vec![], true));
    // What is made afterwards has another key, and counts.
    let new = good_one(&store, &keys, 3, 1000).await.manifest;
    assert_eq!(new.key.as_ref().map(|key| key.generation), Some(2));
    assert_eq!(standings(&store, &keys).await, [standing.clone(), standing, Standing::Good]);
    let found = scan(&store, None, &keys.known()).await.expect("a scan");
    assert_eq!(newest_good(&found.backups, &one.backup.target, None).map(|judged| &judged.id), Some(&new.backup));
    assert_eq!(found.strays, Vec::<String>::new());
    // The key of what was removed is not what erases: it goes with the next erasure.
    prune::remove(&store, &one.backup).await.expect("it is removed");
    assert_eq!(erased(&store, &keys).await.expect("it is erased").destroyed, [2]);
    assert!(standings(&store, &keys).await.iter().all(|standing| matches!(standing, Standing::Erased { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_keeps_a_key_has_erased_nothing() {
    for (fault, words) in
        [(Fault::KeepsWhatIsRemoved, "can still be read after it was removed"), (Fault::RefusesToRemove, "the store keeps prod/orders-db/key-1.age")]
    {
        let (faulty, store, keys) = place();
        let written = good_one(&store, &keys, 1, 1000).await;
        faulty.now(fault.clone());
        let said = erased(&store, &keys).await.expect_err("the store keeps it").to_string();
        assert!(said.starts_with("NOT erased: ") && said.contains(words), "{fault:?}: {said}");
        assert_eq!(standings(&store, &keys).await, [Standing::Good], "{fault:?}");
        assert_eq!(refusal(&store, &written.manifest, &keys.drill).await, None);
        faulty.heal();
        assert!(!erased(&store, &keys).await.expect("it is erased").was_done);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_a_store_keeps_is_named_until_it_is_gone() {
    let (faulty, store, keys) = place();
    faulty.now(Fault::KeepsVersions);
    good_one(&store, &keys, 1, 1000).await;
    // Once when it is removed, and once more when only what was written about it knows of the version.
    for _ in 0..2 {
        let said = erased(&store, &keys).await.expect_err("a version is left").to_string();
        assert!(said.starts_with("NOT erased: ") && said.contains("version first of prod/orders-db/key-1.age can still be read"), "{said}");
        assert!(is_damaged(&standings(&store, &keys).await[0], "its key is gone"), "nothing says that it was erased");
    }
    faulty.inner.delete(&Path::from(format!("versions/{TARGET}/key-1.age"))).await.expect("memory removes it");
    assert!(!erased(&store, &keys).await.expect("it is erased").was_done);
    assert!(matches!(standings(&store, &keys).await[0], Standing::Erased { .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn where_there_is_no_key_nothing_is_destroyed() {
    let (_, store, keys) = place();
    let said = erased(&store, &keys).await.expect_err("there is none").to_string();
    assert!(said.contains("has no key of its own there"), "{said}");
}
