//! A member dies at every step of every write of its store: as `kill -9` does, and as a power cut. What was acknowledged
//! is there afterwards, whatever else is, and the member goes on.
//!
//! The dying is done by a child: this same executable, told by its environment what to do, where, and when to die.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mainstay_client::failpoint::Point;
use mainstay_client::failpoint::trial::{self, Trial, note, noted};
use mainstay_core::{MemberId, State};
use tempfile::TempDir;

use super::mesh::{Mesh, entry, settings, until};
use crate::store::host::Host;
use crate::store::raft::SnapshotMeta;
use crate::store::snapshot::{SnapshotFault, SnapshotFile, Snapshots};
use crate::store::space::Space;
use crate::store::{Disk, Settings, StopReason, StoreMetrics};

/// What is put: enough for three snapshots and a shorter log.
const PUTS: u64 = 135;

fn quick() -> Settings {
    Settings {
        snapshot_every: 40,
        keep_entries: 50,
        heartbeat: Duration::from_millis(50),
        election: (Duration::from_millis(100), Duration::from_millis(250)),
        reserve_bytes: 1 << 20,
        ..settings()
    }
}

/// Numbers of one kind that were noted, in order.
fn told(place: &Path, kind: &str) -> Vec<u64> {
    noted(place).iter().filter_map(|line| line.strip_prefix(kind)?.trim().parse().ok()).collect()
}

async fn put(mesh: &Mesh, place: &Path, number: u64) {
    note(place, &format!("begun {number}"));
    let leader = mesh.put(1_000 + number % 7, &format!("{number:0>6}")).await;
    note(place, &format!("done {number}"));
    note(place, &format!("term {}", mesh.member(leader).leadership_now().term));
}

/// One member, from its birth on: entries, votes, snapshots, a shorter log, a clean end, and a start with leftovers and a
/// damaged snapshot.
async fn one(place: &Path) {
    let mut mesh = Mesh::at(place, quick());
    mesh.form(1).await;
    for number in 0..PUTS {
        put(&mesh, place, number).await;
    }
    until("a purged log", || async { Some(()).filter(|()| mesh.member(1).gauges().purged_index > 0) }).await;
    mesh.kill(1).await;
    let snapshots = mesh.dir(1).join("snapshots");
    let newest = fs::read_dir(&snapshots).unwrap().map(|file| file.unwrap().path()).max().unwrap();
    let mut bytes = fs::read(&newest).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&newest, bytes).unwrap();
    fs::write(snapshots.join("old.tmp"), "").unwrap();
    // And the disk is full for a while.
    let free = Arc::new(AtomicU64::new(1 << 30));
    let now = free.clone();
    mesh.hosts.insert(MemberId(1), Host { free_bytes: Arc::new(move |_| Ok(now.load(Ordering::Relaxed))), ..Host::default() });
    mesh.start(1).await.unwrap();
    mesh.leader().await;
    free.store(1 << 20, Ordering::Relaxed);
    until("the reserve is given up", || async { Some(()).filter(|()| !mesh.dir(1).join("reserve").exists()) }).await;
    mesh.shutdown().await;
}

/// Three members, of which one gets a snapshot, and one gives up entries that the others did not agree to.
async fn three(place: &Path) {
    let mut mesh = Mesh::at(place, Settings { propose_timeout: Duration::from_millis(300), ..quick() });
    mesh.form(3).await;
    put(&mesh, place, 0).await;
    let leader = mesh.leader().await;
    let others: Vec<u64> = (1..=3).filter(|id| *id != leader).collect();
    others.iter().for_each(|other| mesh.wires.cut(MemberId(leader), MemberId(*other)));
    for number in 0..3 {
        assert!(mesh.member(leader).propose(&entry(2_000 + number, "nobody agrees")).await.is_err());
    }
    // Whoever takes the entries meanwhile is not the one that was cut off.
    for number in 1..PUTS {
        put(&mesh, place, number).await;
    }
    let now = until("another leader", || async { Some(mesh.leader().await).filter(|id| *id != leader) }).await;
    until("a log that does not go back far enough", || async { Some(()).filter(|()| mesh.member(now).gauges().purged_index > 5) }).await;
    mesh.wires.heal();
    mesh.caught_up(leader, now).await;

    // Once more, for so short a time that the log is enough.
    let leader = mesh.leader().await;
    let others: Vec<u64> = (1..=3).filter(|id| *id != leader).collect();
    others.iter().for_each(|other| mesh.wires.cut(MemberId(leader), MemberId(*other)));
    assert!(mesh.member(leader).propose(&entry(2_009, "nobody agrees")).await.is_err());
    put(&mesh, place, PUTS).await;
    let now = until("another leader", || async { Some(mesh.leader().await).filter(|id| *id != leader) }).await;
    mesh.wires.heal();
    mesh.caught_up(leader, now).await;
    mesh.shutdown().await;
}

/// A member that found its own disk wrong, and the one that is born after it.
async fn aside(place: &Path) {
    let mut mesh = Mesh::at(place, quick());
    mesh.form(1).await;
    put(&mesh, place, 0).await;
    mesh.kill(1).await;
    let disk = Disk::open(&mesh.dir(1), MemberId(1)).unwrap();
    disk.distrust(&StopReason::Diverged { index: 1 });
    note(place, "distrusted 1");
    drop(disk);
    assert_eq!(Disk::open(&mesh.dir(1), MemberId(9)).unwrap().member(), MemberId(9));
}

/// A snapshot that lies elsewhere becomes a member's own.
fn copy(place: &Path) {
    let on = |name: &str| {
        let disk = Disk::open(&place.join(name), MemberId(1)).unwrap();
        let space = Arc::new(Space::new(&disk, Host::default(), &quick()));
        Snapshots::new(&disk, StoreMetrics::default(), space)
    };
    let built = on("elsewhere").build(SnapshotMeta::default(), &State::default()).unwrap();
    on("member-1").adopt(built).unwrap();
    note(place, "adopted");
}

fn judge_copy(place: &Path) -> Result<(), String> {
    let file = place.join("member-1/snapshots").join(format!("{:016x}-{:016x}.snap", 0, 0));
    match SnapshotFile::open(&file) {
        Ok(snapshot) => snapshot.state().map(drop).map_err(|error| error.to_string()),
        Err(SnapshotFault::Io(error)) if error.kind() == std::io::ErrorKind::NotFound && noted(place).is_empty() => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

/// Runs only as a child of the tests below.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    let Some((job, place)) = trial::asked() else { return };
    match job.as_str() {
        "one" => one(&place).await,
        "three" => three(&place).await,
        "aside" => aside(&place).await,
        "copy" => copy(&place),
        other => panic!("{other}"),
    }
}

fn trial(job: &str) -> Trial<'_> {
    Trial { test: "store::tests::crashes::child", job }
}

fn place() -> TempDir {
    TempDir::new().unwrap()
}

/// What a member is after it died and started again: everything that was told is so, and it goes on.
async fn judge_members(members: u64, place: &Path) -> Result<(), String> {
    let mut mesh = Mesh::at(place, quick());
    for id in 1..=members {
        mesh.start(id).await.map_err(|error| error.to_string())?;
    }
    mesh.group(members).await;
    let leader = mesh.leader().await;
    let term = mesh.member(leader).leadership_now().term;
    if let Some(last) = told(place, "term").into_iter().max()
        && last >= term
    {
        return Err(format!("it led in term {last} before, and leads in {term} now: the vote is lost"));
    }
    for id in 1..=members {
        mesh.caught_up(id, leader).await;
    }
    let (done, begun) = (told(place, "done"), told(place, "begun"));
    let state = mesh.member(leader).state().state;
    for key in 0..7 {
        let last = done.iter().rev().find(|number| *number % 7 == key).map(|number| format!("{number:0>6}"));
        let tried = begun.last().filter(|number| *number % 7 == key).map(|number| format!("{number:0>6}"));
        let found = state.members.get(&MemberId(1_000 + key)).map(|member| member.name.clone());
        if found != last && found != tried {
            return Err(format!("key {key} is {found:?}; {last:?} was acknowledged, {tried:?} was tried"));
        }
    }
    mesh.put(1_000, "afterwards").await;
    let index = mesh.member(leader).state().index;
    for id in 1..=members {
        let mut applied = mesh.member(id).applied();
        let there = applied.wait_for(|now| now.index >= index);
        tokio::time::timeout(super::mesh::PATIENCE, there).await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
    }
    let states: Vec<_> = (1..=members).map(|id| mesh.member(id).state().state).collect();
    if states.windows(2).any(|pair| pair[0] != pair[1]) {
        return Err("members differ".into());
    }
    mesh.shutdown().await;
    Ok(())
}

/// Nobody votes under an id whose log is gone, and nobody who was found wrong goes on.
fn judge_aside(place: &Path) -> Result<(), String> {
    let dir = place.join("member-1");
    let disk = Disk::open(&dir, MemberId(8)).map_err(|error| error.to_string())?;
    let distrusted = !told(place, "distrusted").is_empty();
    match disk.member() {
        MemberId(1) if distrusted => Err("it was found wrong, and goes on".into()),
        MemberId(1) if !dir.join("log.redb").exists() && !disk.is_new() => Err("its log is gone, and it goes on".into()),
        MemberId(1) => Ok(()),
        _ if disk.predecessor() != Some(MemberId(1)) => Err(format!("whom it replaces is forgotten: {:?}", disk.predecessor())),
        _ if dir.join("set-aside-0000000000000001/log.redb").exists() => Ok(()),
        _ => Err("the log was not set aside".into()),
    }
}

fn judge(members: u64, place: &Path) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let judged = runtime.block_on(judge_members(members, place));
    runtime.shutdown_background();
    judged
}

#[test]
fn one_member_dies_at_every_write_of_its_log() {
    let points = [Point::LogOpen, Point::LogAppend, Point::LogVote, Point::LogPurge, Point::LogClose, Point::LogMark];
    trial("one").everywhere(&points, &["", ":lose", ":lose=1", ":lose:nth=2", ":lose=2:nth=3"], place, |place| judge(1, place));
}

#[test]
fn one_member_dies_at_every_write_beside_its_log() {
    let points = [
        Point::Lock,
        Point::StoreDirectory,
        Point::StoreIdentity,
        Point::StoreLeftover,
        Point::StoreReserve,
        Point::StoreGiveUp,
        Point::SnapshotBuild,
        Point::SnapshotDamaged,
        Point::SnapshotOld,
    ];
    trial("one").everywhere(&points, &["", ":lose"], place, |place| judge(1, place));
}

#[test]
fn three_members_die_while_one_catches_up() {
    let points = [Point::LogCut, Point::SnapshotReceive, Point::SnapshotAdopt];
    trial("three").everywhere(&points, &["", ":lose"], place, |place| judge(3, place));
}

#[test]
fn a_snapshot_from_elsewhere_is_there_whole_or_not_at_all() {
    trial("copy").everywhere(&[Point::SnapshotCopy], &["", ":lose"], place, judge_copy);
}

#[test]
fn a_disk_that_was_found_wrong_goes_out_of_the_way_whenever_its_member_dies() {
    trial("aside").everywhere(&[Point::StoreDistrust, Point::StoreSetAside], &["", ":lose", ":nth=2", ":lose:nth=3"], place, judge_aside);
}
