//! What is on disk: kept over restarts, and never trusted when it is not what was written.

use std::fs;
use std::path::{Path, PathBuf};

use mainstay_client::files;
use mainstay_core::state::FEATURE_LEVEL;
use mainstay_core::{Command, Entry, MemberId};
use openraft::storage::{RaftLogStorage, RaftLogStorageExt};

use super::mesh::{Mesh, entry, settings, until};
use crate::store::failure::Failure;
use crate::store::host::Host;
use crate::store::log::LogStore;
use crate::store::raft::{EntryPayload, LeaderId, LogEntry, LogId};
use crate::store::{Disk, Settings, StartError, StopReason, StoreMetrics};

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_keeps_everything() {
    let mut mesh = Mesh::of(1, Settings { snapshot_every: 40, keep_entries: 50, ..settings() }).await;
    for number in 0..130u64 {
        mesh.put(number % 7, &format!("v{number}")).await;
    }
    until("a snapshot", || async { Some(()).filter(|()| mesh.member(1).gauges().snapshot_index >= 80) }).await;
    let before = mesh.member(1).state();
    let term = mesh.member(1).leadership_now().term;
    mesh.kill(1).await;
    mesh.start(1).await.unwrap();
    mesh.leader().await;
    let after = mesh.member(1).state();
    assert_eq!(after.state, before.state);
    assert!(after.index > before.index, "a new tenure begins with an entry");
    assert!(mesh.member(1).leadership_now().term > term);
    mesh.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_on_a_directory_is_refused() {
    let mesh = Mesh::of(1, settings()).await;
    let refused = Disk::open(&mesh.dir(1), MemberId(2));
    assert!(matches!(refused, Err(StartError::InUse { .. })), "{refused:?}");
    mesh.member(1).shutdown().await;
    assert_eq!(Disk::open(&mesh.dir(1), MemberId(2)).unwrap().member(), MemberId(1));
}

/// A member with a log of some entries, and a snapshot, stopped.
async fn stopped_member() -> Mesh {
    let mut mesh = Mesh::of(1, Settings { snapshot_every: 40, keep_entries: 50, ..settings() }).await;
    for number in 0..100u64 {
        mesh.put(number % 7, &format!("{number:0>200}")).await;
    }
    until("two snapshots", || async { Some(()).filter(|()| snapshots(&mesh.dir(1)).len() == 2) }).await;
    mesh.kill(1).await;
    mesh
}

fn snapshots(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(dir.join("snapshots")).unwrap().map(|file| file.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "snap"));
    files.sort();
    files
}

fn flip(file: &Path, at: impl Fn(&[u8]) -> usize) {
    let mut bytes = fs::read(file).unwrap();
    let at = at(&bytes);
    bytes[at] ^= 0x40;
    fs::write(file, bytes).unwrap();
}

fn find(bytes: &[u8], needle: &[u8]) -> usize {
    bytes.windows(needle.len()).rposition(|window| window == needle).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_byte_in_the_log_is_told_at_start() {
    let mut mesh = stopped_member().await;
    let log = mesh.dir(1).join("log.redb");
    flip(&log, |bytes| find(bytes, format!("{:0>200}", 99).as_bytes()) + 20);
    let refused = mesh.start(1).await;
    assert!(matches!(&refused, Err(StartError::Damaged { file, .. }) if *file == log), "{refused:?}");
}

/// Also not of a log whose member was killed: the file would rather take a damaged commit for one that was cut off.
#[tokio::test(flavor = "multi_thread")]
async fn no_flipped_byte_makes_an_older_log_of_it() {
    let mut mesh = Mesh::of(1, settings()).await;
    for number in 0..20u64 {
        mesh.put(number % 7, &format!("{number:0>200}")).await;
    }
    let killed = mesh.copy_disk(1, "killed");
    let vote = mesh.member(1).inner.log.vote();
    mesh.kill(1).await;
    for dir in [killed, mesh.dir(1)] {
        let (file, mark) = (dir.join("log.redb"), dir.join("log.mark"));
        let (whole, marked) = (fs::read(&file).unwrap(), fs::read(&mark).unwrap());
        let mut last = None;
        let mut refused = 0;
        // Steps of a prime, so that all parts of all pages are met; all of the header, and each bit of its ninth byte,
        // which says which of two commits is the newer one. First as it is.
        let header = (0..320).map(|at| (at, 0xff_u8)).chain((0..8).map(|bit| (9, 1 << bit)));
        for (at, flip) in [(0, 0)].into_iter().chain(header).chain((320..whole.len()).step_by(1_499).map(|at| (at, 0xff))) {
            let mut bytes = whole.clone();
            bytes[at] ^= flip;
            fs::write(&file, &bytes).unwrap();
            fs::write(&mark, &marked).unwrap();
            // The one that was refused before lets go of the directory when its last thread has ended.
            let disk = until("the directory", || async { Disk::open(&dir, MemberId(1)).ok() }).await;
            match LogStore::open(&disk, &Host::default(), StoreMetrics::default(), Failure::default()).await {
                Ok(log) => {
                    assert_eq!((log.vote(), log.last()), (vote, *last.get_or_insert(log.last())), "byte {at} ^ {flip} of {}", dir.display());
                    log.close().await;
                }
                Err(StartError::Damaged { .. }) => refused += 1,
                Err(other) => panic!("byte {at}: {other}"),
            }
        }
        assert!(refused > 0, "some of these bytes are in use");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_of_nonsense_is_told_at_start() {
    let mut mesh = stopped_member().await;
    let log = mesh.dir(1).join("log.redb");
    fs::write(&log, vec![0x5a; 100_000]).unwrap();
    let refused = mesh.start(1).await;
    assert!(matches!(&refused, Err(StartError::Damaged { file, .. }) if *file == log), "{refused:?}");
    assert!(fs::read(&log).unwrap() == vec![0x5a; 100_000], "it was changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_without_the_log_that_it_had_does_not_vote_as_its_former_self() {
    let mut mesh = stopped_member().await;
    let log = mesh.dir(1).join("log.redb");
    for empty in [true, false] {
        if empty {
            fs::write(&log, b"").unwrap()
        } else {
            fs::remove_file(&log).unwrap()
        }
        let refused = mesh.start(1).await;
        assert!(matches!(&refused, Err(StartError::Damaged { file, .. }) if *file == log), "{refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_snapshot_is_not_needed_while_the_one_before_and_the_log_have_it_all() {
    let mut mesh = stopped_member().await;
    let newest = snapshots(&mesh.dir(1)).pop().unwrap();
    flip(&newest, |bytes| bytes.len() / 2);
    mesh.start(1).await.unwrap();
    mesh.leader().await;
    assert_eq!(mesh.member(1).state().state.members[&MemberId(1)].name, format!("{:0>200}", 99));
    assert!(newest.with_extension("damaged").exists());
    mesh.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_snapshots_that_are_needed_are_told_at_start() {
    for damage in [truncate as fn(&Path), |file| flip(file, |bytes| bytes.len() - 9), |file| flip(file, |_| 3), |file| flip(file, |_| 30)] {
        let mut mesh = stopped_member().await;
        let all = snapshots(&mesh.dir(1));
        all.iter().for_each(|file| damage(file));
        let contents: Vec<_> = all.iter().map(|file| fs::read(file).unwrap()).collect();
        let refused = mesh.start(1).await;
        assert!(matches!(&refused, Err(StartError::Damaged { file, .. }) if Some(file) == all.last()), "{refused:?}");
        assert!(all.iter().map(|file| fs::read(file).unwrap()).eq(contents), "they were changed");
    }
}

fn truncate(file: &Path) {
    let bytes = fs::read(file).unwrap();
    fs::write(file, &bytes[..bytes.len() - 100]).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_that_are_gone_are_missed() {
    let mut mesh = Mesh::of(1, Settings { snapshot_every: 10, keep_entries: 11, ..settings() }).await;
    for number in 0..100u64 {
        mesh.put(number % 7, &format!("{number}")).await;
    }
    until("a purged log", || async { Some(()).filter(|()| mesh.member(1).gauges().purged_index > 0) }).await;
    mesh.kill(1).await;
    fs::remove_dir_all(mesh.dir(1).join("snapshots")).unwrap();
    let refused = mesh.start(1).await;
    assert!(matches!(&refused, Err(StartError::Damaged { what, .. }) if what.contains("no snapshot holds")), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn newer_formats_are_told_apart_from_damage_and_left_alone() {
    let mut mesh = stopped_member().await;
    let identity = mesh.dir(1).join("store.toml");
    let newer = files::sealed(&files::read_sealed(&identity, 1_000).unwrap().replace("format = 1", "format = 2"));
    fs::write(&identity, &newer).unwrap();
    let log = fs::read(mesh.dir(1).join("log.redb")).unwrap();
    let refused = mesh.start(1).await;
    assert!(matches!(refused, Err(StartError::Newer { found: 2, known: 1, .. })), "{refused:?}");
    assert_eq!(fs::read_to_string(&identity).unwrap(), newer);
    assert!(fs::read(mesh.dir(1).join("log.redb")).unwrap() == log, "it was changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_without_an_identity_is_not_adopted() {
    let mut mesh = stopped_member().await;
    let identity = mesh.dir(1).join("store.toml");
    fs::remove_file(&identity).unwrap();
    let refused = mesh.start(1).await;
    assert!(matches!(&refused, Err(StartError::Damaged { file, .. }) if *file == identity), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_sync_ends_the_member_and_is_never_tried_again() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    let mut mesh = Mesh::of(3, settings()).await;
    let leader = mesh.leader().await;
    let victim = (1..=3).find(|id| *id != leader).unwrap();
    mesh.kill(victim).await;
    // 0: all is well. From 1 on: it counts the failures.
    let failures = Arc::new(AtomicU64::new(0));
    let counted = failures.clone();
    mesh.hosts.get_mut(&MemberId(victim)).unwrap().before_sync = Arc::new(move || match counted.load(Ordering::Relaxed) {
        0 => Ok(()),
        _ => {
            counted.fetch_add(1, Ordering::Relaxed);
            Err(std::io::Error::other("the disk is gone"))
        }
    });
    mesh.start(victim).await.unwrap();
    mesh.caught_up(victim, leader).await;
    failures.store(1, Ordering::Relaxed);
    mesh.member(leader).propose(&entry(1, "x")).await.unwrap();
    let mut stopped = mesh.member(victim).stopped();
    let reason = tokio::time::timeout(super::mesh::PATIENCE, stopped.wait_for(Option::is_some)).await.unwrap().unwrap().clone().unwrap();
    assert!(matches!(&reason, StopReason::WriteFailed { error, .. } if error.contains("the disk is gone")), "{reason}");
    mesh.member(leader).propose(&entry(1, "y")).await.unwrap();
    assert!(mesh.member(victim).propose(&entry(1, "z")).await.is_err());
    assert_eq!(failures.load(Ordering::Relaxed), 2, "one sync failed, and no other was tried");
    mesh.shutdown().await;
}

/// An older program that is put back after the level has been raised.
#[tokio::test(flavor = "multi_thread")]
async fn a_feature_level_that_the_program_does_not_know_stops_it() {
    let mut mesh = Mesh::of(1, settings()).await;
    let raise = |level| Entry { command: Command::RaiseFeatureLevel { level }, ..entry(1, "") };
    mesh.put(1, "before").await;
    mesh.member(1).propose(&raise(FEATURE_LEVEL)).await.unwrap();
    mesh.member(1).propose(&raise(FEATURE_LEVEL + 1)).await.unwrap_err();
    for _ in 0..2 {
        let mut stopped = mesh.member(1).stopped();
        let reason = tokio::time::timeout(super::mesh::PATIENCE, stopped.wait_for(Option::is_some)).await.unwrap().unwrap().clone().unwrap();
        assert_eq!(reason, StopReason::TooOld { found: FEATURE_LEVEL + 1, known: FEATURE_LEVEL });
        mesh.kill(1).await;
        mesh.start(1).await.unwrap();
    }
    mesh.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_went_back_in_time_is_refused_and_a_new_member_takes_its_place() {
    let mut mesh = Mesh::of(3, settings()).await;
    let leader = mesh.leader().await;
    let victim = (1..=3).find(|id| *id != leader).unwrap();
    mesh.put(1, "old").await;
    mesh.kill(victim).await;
    let copy = mesh.copy_disk(victim, "copy");
    mesh.start(victim).await.unwrap();
    mesh.member(leader).propose(&entry(1, "new")).await.unwrap();
    mesh.caught_up(victim, leader).await;
    let index = mesh.member(leader).state().index;
    until("the leader to know", || async { mesh.member(leader).progress().filter(|p| p.matched(MemberId(victim)) >= Some(index)) }).await;
    mesh.kill(victim).await;
    mesh.restore_disk(victim, &copy);
    mesh.start(victim).await.unwrap();
    let mut stopped = mesh.member(victim).stopped();
    let reason = tokio::time::timeout(super::mesh::PATIENCE, stopped.wait_for(Option::is_some)).await.unwrap().unwrap().clone().unwrap();
    assert!(matches!(reason, StopReason::WentBack { .. }), "{reason}");
    mesh.kill(victim).await;
    assert_eq!(*mesh.member(leader).stopped().borrow(), None);
    let reborn = Disk::open(&mesh.dir(victim), MemberId(50)).unwrap();
    assert_eq!((reborn.member(), reborn.predecessor()), (MemberId(50), Some(MemberId(victim))));
    drop(reborn);
    // The next start finds the new member, once and for all.
    assert_eq!(Disk::open(&mesh.dir(victim), MemberId(51)).unwrap().member(), MemberId(50));
    mesh.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_ends_leaves_word_of_how_far_its_log_is_committed() {
    let mut mesh = Mesh::of(1, settings()).await;
    for round in 0..3 {
        mesh.put(1, &format!("round {round}")).await;
    }
    let applied = mesh.member(1).state().index;
    mesh.kill(1).await;
    let disk = Disk::open(&mesh.dir(1), MemberId(1)).unwrap();
    let mut log = LogStore::open(&disk, &Host::default(), StoreMetrics::default(), Failure::default()).await.unwrap();
    let committed = log.read_committed().await.unwrap();
    // Hints go along with one batch in many: these few had none of their own.
    assert_eq!(committed.map(|id| id.index), Some(applied));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_does_not_say_that_more_is_committed_than_it_has() {
    let mesh = Mesh::new(settings());
    let disk = Disk::open(&mesh.dir(1), MemberId(1)).unwrap();
    let open = async || LogStore::open(&disk, &Host::default(), StoreMetrics::default(), Failure::default()).await.unwrap();
    let id = |index| LogId { leader_id: LeaderId { term: 1, node_id: 1 }, index };
    let mut log = open().await;
    log.blocking_append((0..3).map(|index| LogEntry { log_id: id(index), payload: EntryPayload::Blank })).await.unwrap();
    // The others have it, and this disk is slow.
    log.save_committed(Some(id(7))).await.unwrap();
    log.close().await;
    let mut log = open().await;
    assert_eq!(log.read_committed().await.unwrap(), None);
    log.save_committed(Some(id(2))).await.unwrap();
    log.close().await;
    assert_eq!(open().await.read_committed().await.unwrap(), Some(id(2)));
}
