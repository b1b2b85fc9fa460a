//! A store that fails, hangs, lies, loses and overwrites: after each, no bad backup is called good, no good one is lost, and
//! the next one succeeds.
#![allow(clippy::disallowed_methods, clippy::expect_used, clippy::panic, reason = "a test that cannot go on stops with words")]

use std::time::Duration;

use mainstay_backup::judge::{Judged, Standing};
use mainstay_backup::progress::Teller;
use mainstay_backup::prune::{self, Pruned};
use mainstay_backup::store::CreateIfAbsent;
use mainstay_backup::write::{WriteError, confirm};
use mainstay_backup::{Id, Store, check, open, scan};
use object_store::ObjectStoreExt;
use object_store::path::Path;
use tokio::io::AsyncReadExt;

use support::faults::{Fault, Faulty};
use support::{Given, Keys, Made, all_of, back_up, good_one, impatient, patient};

mod support;

/// Several pieces of an upload.
const LARGE: usize = 60 << 20;

fn of(faulty: &std::sync::Arc<Faulty>) -> Store {
    patient(Store::of(faulty.clone(), "a faulty store"))
}

async fn scanned(store: &Store, keys: &Keys) -> Vec<Judged> {
    scan(store, None, &keys.known()).await.expect("a scan").backups
}

fn standing<'j>(judged: &'j [Judged], id: &Id) -> &'j Standing {
    &judged.iter().find(|one| one.id == *id).expect("it is there").standing
}

/// Writes with a fault, as an agent would: no receipt without a check that went well. Then the store heals, and is judged.
async fn after(fault: Fault, bytes: usize) -> (Result<Id, String>, Standing) {
    let (faulty, keys) = (Faulty::new([]), Keys::new());
    let store = of(&faulty);
    let before = good_one(&store, &keys, 1, 1000).await.manifest.backup;
    faulty.now(fault.clone());
    let outcome = async {
        let store = if matches!(fault, Fault::HangsOnPut(_)) { impatient(store.clone()) } else { store.clone() };
        let written = back_up(&store, keys.order(2), &mut Given::one(Made::new(bytes))).await.map_err(|error| error.to_string())?;
        let checked = check(&store, &written.manifest, &written.check, &Teller::default()).await;
        if let Some(wrong) = checked.parts.iter().find_map(|part| part.wrong.clone()) {
            return Err(wrong);
        }
        confirm(&store, &written.manifest.backup, &written.digest, &keys.sign).await.map_err(|error| error.to_string())?;
        Ok(written.manifest.backup)
    }
    .await;
    faulty.heal();
    let own = Id::new(keys.order(2).target, keys.order(2).time, keys.order(2).token);
    let judged = scanned(&store, &keys).await;
    assert_eq!(standing(&judged, &before), &Standing::Good, "the one before, after {fault:?}");
    let standing = judged.iter().find(|one| one.id == own).map_or(Standing::Leftover, |one| one.standing.clone());
    assert_eq!(standing == Standing::Good, outcome.is_ok(), "{fault:?}: {outcome:?} and {standing:?}");
    let next = good_one(&store, &keys, 3, 1000).await.manifest.backup;
    assert_eq!(self::standing(&scanned(&store, &keys).await, &next), &Standing::Good, "the next one, after {fault:?}");
    (outcome, standing)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_not_given_takes_nothing_from_the_others() {
    let (faulty, keys) = (Faulty::new([]), Keys::new());
    let store = of(&faulty);
    let first = good_one(&store, &keys, 1, 1000).await.manifest.backup;
    let second = good_one(&store, &keys, 2, 1000).await.manifest.backup;
    for end in ["-1.2/begun.json", "-1.2/manifest.json", "-1.2/receipt.json"] {
        faulty.now(Fault::RefusesGet(end));
        let judged = scanned(&store, &keys).await;
        assert!(matches!(standing(&judged, &first), Standing::Unread { why } if why.contains("not for you")), "{end}: {judged:?}");
        assert_eq!(standing(&judged, &second), &Standing::Good, "{end}");
        faulty.heal();
    }
    // Whoever is let read nothing at all is told so, and not that nothing is known of each.
    faulty.now(Fault::RefusesGet(""));
    let refused = scan(&store, None, &keys.known()).await.expect_err("nothing is given").to_string();
    assert!(refused.contains("give whoever asks the rights"), "{refused}");
    faulty.heal();
    assert!(scanned(&store, &keys).await.iter().all(|one| one.standing == Standing::Good));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_fault_makes_a_bad_backup_good() {
    let objects = ["begun.json", "data.zst.age", "manifest.json"];
    let faults = objects
        .into_iter()
        .flat_map(|end| [Fault::FailsPut(end), Fault::LosesPut(end), Fault::HangsOnPut(end), Fault::Flips(end), Fault::CutsShort(end)]);
    for fault in faults {
        for bytes in [1000, LARGE] {
            // Of a large part nothing is cut short but by a piece that is lost.
            if bytes == LARGE && matches!(fault, Fault::CutsShort("data.zst.age")) {
                continue;
            }
            let (outcome, standing) = after(fault.clone(), bytes).await;
            let said = outcome.expect_err("it is not good");
            assert!(!matches!(standing, Standing::Good), "{fault:?}: {said}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_said() {
    for (fault, bytes, words) in [
        (Fault::HangsOnPut("data.zst.age"), LARGE, "no answer within"),
        (Fault::LosesPut("manifest.json"), LARGE, "does not keep what it takes"),
        (Fault::LosesPut("data.zst.age"), LARGE, "bytes, and"),
        (Fault::LosesPut("data.zst.age"), 1000, "is missing"),
        (Fault::Flips("data.zst.age"), LARGE, "is damaged"),
    ] {
        let said = after(fault.clone(), bytes).await.0.expect_err("it is not good");
        assert!(said.contains(words), "{fault:?}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_receipt_it_does_not_count() {
    for fault in [Fault::FailsPut("receipt.json"), Fault::LosesPut("receipt.json"), Fault::Flips("receipt.json"), Fault::CutsShort("receipt.json")] {
        let (faulty, keys) = (Faulty::new([]), Keys::new());
        let store = of(&faulty);
        faulty.now(fault.clone());
        let written = back_up(&store, keys.order(1), &mut Given::one(Made::new(1000))).await.expect("a backup");
        let id = written.manifest.backup.clone();
        // Whoever is told that it failed tries again; who is lied to finds out by the scan.
        let _ = confirm(&store, &id, &written.digest, &keys.sign).await;
        faulty.heal();
        assert!(matches!(standing(&scanned(&store, &keys).await, &id), Standing::Unconfirmed { .. }), "{fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_was_lost_is_no_refusal() {
    for end in ["begun.json", "manifest.json", "receipt.json", "data.zst.age"] {
        let (faulty, keys) = (Faulty::new([Fault::FailsAfterPut(end)]), Keys::new());
        let store = of(&faulty);
        let written = good_one(&store, &keys, 1, 1000).await;
        assert_eq!(standing(&scanned(&store, &keys).await, &written.manifest.backup), &Standing::Good, "{end}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_every_other_time_comes_off() {
    let (faulty, keys) = (Faulty::new([Fault::Stutters]), Keys::new());
    let store = of(&faulty);
    let written = good_one(&store, &keys, 1, 1000).await;
    assert_eq!(standing(&scanned(&store, &keys).await, &written.manifest.backup), &Standing::Good);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_that_breaks_off_is_taken_up_again() {
    let (faulty, keys) = (Faulty::new([]), Keys::new());
    let store = of(&faulty);
    let written = good_one(&store, &keys, 1, 20 << 20).await;
    faulty.now(Fault::BreaksReads(100_000));
    let came = open(&store, &written.manifest, &written.manifest.parts[0], &keys.drill, &Teller::default()).await.expect("it opens");
    assert!(all_of(came).await.expect("it is right") == all_of(Made::new(20 << 20)).await.expect("bytes"));
    faulty.now(Fault::HangsOnGet("data.zst.age"));
    let checked = check(&impatient(store), &written.manifest, &keys.drill, &Teller::default()).await;
    assert!(checked.parts[0].wrong.as_ref().is_some_and(|wrong| wrong.contains("no answer within")), "{checked:?}");
    assert!(checked.parts[0].unread && !checked.is_good(), "it says nothing of the part: {checked:?}");
}

/// It stands still before its manifest, another one comes to its end, everything but the store is lost, and it goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_was_paused_for_an_hour_makes_nothing_appear() {
    for ignores in [false, true] {
        // Held before it has begun, after that, and before the end.
        for held in ["begun.json", "data.zst.age", "manifest.json"] {
            let (faulty, keys) = (Faulty::new([Fault::HoldsPut(held)]), Keys::new());
            if ignores {
                faulty.now(Fault::IgnoresCreate);
            }
            // It is waited for as long as it takes: what is paused is the writer, as much as the store.
            let patient = Store::of(faulty.clone(), "a faulty store");
            let (order, go_on) = (keys.order(1), faulty.go_on.clone());
            let old = Id::new(order.target.clone(), order.time, order.token);
            let paused = tokio::spawn(async move { back_up(&patient, order, &mut Given::one(Made::new(1000))).await.map(drop) });
            faulty.held.notified().await;
            faulty.heal();
            if ignores {
                faulty.now(Fault::IgnoresCreate);
            }
            let store = of(&faulty);
            let new = good_one(&store, &keys, 2, 1000).await.manifest.backup;
            go_on.notify_one();
            let ended = tokio::time::timeout(Duration::from_secs(20), paused).await.expect("it ends").expect("it does not panic");
            let case = format!("held at {held}, the store overwrites: {ignores}");
            assert!(matches!(ended, Err(WriteError::Overtaken { .. } | WriteError::Sealed { .. })), "{case}: {ended:?}");
            let judged = scanned(&store, &keys).await;
            assert_eq!(standing(&judged, &new), &Standing::Good, "{case}");
            assert!(matches!(standing(&judged, &old), Standing::Sealed { .. }), "{case}: {judged:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_who_were_told_the_same_one_writes() {
    let (faulty, keys) = (Faulty::new([]), Keys::new());
    let store = of(&faulty);
    let mut orders = [keys.order(1), keys.order(1)];
    orders[1].writer = "another".to_owned();
    let [one, two] = orders.map(|order| {
        let store = store.clone();
        tokio::spawn(async move { back_up(&store, order, &mut Given::one(Made::new(LARGE))).await })
    });
    let (one, two) = (one.await.expect("it does not panic"), two.await.expect("it does not panic"));
    let (won, lost) = if one.is_ok() { (one, two) } else { (two, one) };
    let won = won.expect("one of them wrote");
    assert!(matches!(lost, Err(WriteError::Taken(_))), "{lost:?}");
    assert!(check(&store, &won.manifest, &won.check, &Teller::default()).await.is_good());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_did_to_the_store_is_named() {
    let (faulty, keys) = (Faulty::new([]), Keys::new());
    let store = of(&faulty);
    let written = good_one(&store, &keys, 1, 1000).await;
    let id = written.manifest.backup.clone();
    let data = Path::from(format!("{id}/data.zst.age"));
    let checked = || async { check(&store, &written.manifest, &keys.drill, &Teller::default()).await.parts.remove(0).wrong.expect("it is not good") };
    let whole = faulty.inner.get(&data).await.expect("the part").bytes().await.expect("its bytes");
    // Every byte, flipped; every length, cut.
    for at in (0..whole.len()).step_by(7) {
        let mut flipped = whole.to_vec();
        flipped[at] ^= 1;
        faulty.inner.put(&data, flipped.into()).await.expect("memory takes it");
        // In the header, a key that fits may be what is damaged.
        let wrong = checked().await;
        assert!(wrong.contains("is damaged") || wrong.contains("none of these keys"), "byte {at}: {wrong}");
        faulty.inner.put(&data, whole.slice(..at).into()).await.expect("memory takes it");
        assert!(checked().await.contains("bytes, and"), "cut at {at}");
    }
    faulty.inner.delete(&data).await.expect("memory removes it");
    assert_eq!(checked().await, format!("{id}/data.zst.age is missing: it is not in the store any more"));
    assert_eq!(standing(&scanned(&store, &keys).await, &id), &Standing::Damaged { what: vec!["data.zst.age is missing".to_owned()] });
}

/// The object of another backup: it opens, and is not what was written here. Nobody gets to see the end of it.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_exchanged_is_found_before_its_end_is_given_out() {
    let (faulty, keys) = (Faulty::new([]), Keys::new());
    let store = of(&faulty);
    let (bytes, part) = (3 << 20, |id: &Id| Path::from(format!("{id}/data.zst.age")));
    let one = good_one(&store, &keys, 1, bytes).await.manifest;
    let same = good_one(&store, &keys, 2, bytes).await.manifest;
    let mut sevens = Given::one(tokio::io::repeat(7).take(bytes as u64));
    let other = back_up(&store, keys.order(3), &mut sevens).await.expect("a backup").manifest;
    // The same data, encrypted anew: only its stored form differs, and not in length. Other data, by whoever could write
    // the manifest too, but not the sum of what the source gave.
    let mut with_length = one.clone();
    with_length.parts[0].stored.bytes = same.parts[0].stored.bytes;
    let mut with_sum = one.clone();
    with_sum.parts[0].stored = other.parts[0].stored.clone();
    for (manifest, from, said) in [(with_length, same, "damaged: its checksum"), (with_sum, other, "damaged: the checksum of what is in it")] {
        faulty.inner.copy(&part(&from.backup), &part(&one.backup)).await.expect("memory copies it");
        let mut came = open(&store, &manifest, &manifest.parts[0], &keys.drill, &Teller::default()).await.expect("it has the right length");
        let (mut read, mut buffer) = (0, vec![0; 1 << 16]);
        let error = loop {
            match came.read(&mut buffer).await {
                Ok(0) => panic!("it ended"),
                Ok(more) => read += more,
                Err(error) => break error.to_string(),
            }
        };
        assert!(error.contains(said), "{error}");
        assert!(read < bytes, "all {read} bytes were given out");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_key_is_said_to_be_one() {
    let (faulty, keys) = (Faulty::new([]), Keys::new());
    let store = of(&faulty);
    let written = good_one(&store, &keys, 1, 1000).await;
    let checked = check(&store, &written.manifest, &Keys::new().drill, &Teller::default()).await;
    let wrong = checked.parts[0].wrong.clone().expect("it is not good");
    assert!(wrong.contains("none of these keys opens") && wrong.contains(&format!("the drill key {}", keys.drill.public()[0])), "{wrong}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_overwrites_is_found_out() {
    let store = of(&Faulty::new([Fault::IgnoresCreate]));
    assert_eq!(store.probe().await.expect("a probe").create_if_absent, CreateIfAbsent::Ignored);
    let store = of(&Faulty::new([]));
    assert_eq!(store.probe().await.expect("a probe").create_if_absent, CreateIfAbsent::Honoured);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_still_locked_is_no_error_and_goes_when_its_lock_has_ended() {
    let (faulty, keys) = (Faulty::new([]), Keys::new());
    let store = of(&faulty);
    let [old, new] = [good_one(&store, &keys, 1, 1000).await, good_one(&store, &keys, 2, 1000).await].map(|written| written.manifest.backup);
    faulty.now(Fault::RefusesToRemove);
    let kept = store.probe().await.expect("a probe").kept;
    assert!(kept.is_some_and(|kept| kept.contains("it is locked")), "what stays of a probe is told");
    let pruned = prune::remove(&store, &old).await.expect("it is no error");
    assert!(matches!(&pruned, Pruned::Locked { why } if why.contains("it is locked")), "{pruned:?}");
    let judged = scanned(&store, &keys).await;
    // Nothing of it is gone, so that it counts as it did.
    assert_eq!([&old, &new].map(|id| standing(&judged, id)), [&Standing::Good, &Standing::Good]);
    faulty.heal();
    assert_eq!(prune::remove(&store, &old).await, Ok(Pruned::Gone));
    let judged = scanned(&store, &keys).await;
    assert_eq!((judged.len(), standing(&judged, &new)), (1, &Standing::Good));
}
