//! Every way of writing, with a process that dies at every step of it: once as `kill -9` does, once as a power cut.
#![allow(clippy::disallowed_methods, reason = "tests look at the disk as it is")]

use std::fs;
use std::path::Path;

use bytes::Bytes;
use mainstay_core::artifact::FileDigest;
use sha2::{Digest, Sha256};

use super::armed::{Loss, Order};
use super::effects::Unsynced;
use super::trial::{self, Trial};
use super::{Point, Step};
use crate::files::{self, Content, Output, Writing};

#[test]
fn points_and_steps_have_names_of_their_own() {
    let mut names: Vec<&str> = Point::ALL.iter().map(|point| point.name()).collect();
    names.extend(Step::ALL.iter().map(|step| step.name()));
    assert!(names.iter().all(|name| !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b"-.".contains(&b))), "{names:?}");
    let points = Point::ALL.len();
    let mut own = names[..points].to_vec();
    own.sort_unstable();
    own.dedup();
    assert_eq!(own.len(), points);
}

#[test]
fn orders_are_read() {
    let order = |nth, loss| Some(Order { point: Point::LogAppend, step: Step::Sync, nth, loss });
    assert_eq!(Order::parse("log.append:sync"), order(1, None));
    assert_eq!(Order::parse("log.append:sync:nth=3"), order(3, None));
    assert_eq!(Order::parse("log.append:sync:lose:nth=2"), order(2, Some(Loss::All)));
    assert_eq!(Order::parse("log.append:sync:lose=7"), order(1, Some(Loss::Some { seed: 7 })));
    for wrong in ["", "log.append", "log.append:sink", "log.upend:sync", "log.append:sync:nth=0", "log.append:sync:loose"] {
        assert_eq!(Order::parse(wrong), None, "{wrong}");
    }
}

#[test]
fn a_disk_forgets_what_was_not_synced_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let mut disk = Unsynced::default();
    let write = |disk: &mut Unsynced, name: &str, text: &str| {
        let is_new = !at(name).exists();
        let file = fs::File::options().read(true).write(true).create(true).truncate(false).open(at(name)).unwrap();
        if is_new {
            disk.made(&at(name));
        }
        disk.written(&file, 0, text.len());
        std::os::unix::fs::FileExt::write_all_at(&file, text.as_bytes(), 0).unwrap();
        file
    };
    let kept = write(&mut disk, "kept", "first");
    disk.synced(&kept);
    disk.dir_synced(dir.path());
    drop(write(&mut disk, "kept", "second"));
    let removed = write(&mut disk, "removed", "something");
    disk.synced(&removed);
    let named = write(&mut disk, "named", "not synced");
    disk.dir_synced(dir.path());
    disk.renamed(&at("kept"), &at("moved"));
    fs::rename(at("kept"), at("moved")).unwrap();
    disk.removed(&at("removed"));
    fs::remove_file(at("removed")).unwrap();
    fs::create_dir(at("sub")).unwrap();
    disk.made(&at("sub"));
    fs::write(at("sub").join("inner"), "x").unwrap();
    disk.lose(Loss::All);
    assert_eq!(fs::read_to_string(at("kept")).unwrap(), "first");
    assert_eq!(fs::read_to_string(at("removed")).unwrap(), "something");
    assert_eq!(named.metadata().unwrap().len(), 0, "its name was synced, its content was not");
    assert!(!at("moved").exists() && !at("sub").exists());
}

/// What a child does: `job` on the old content of `place`, with the new one. Afterwards comes the power cut.
async fn work(job: &str, place: &Path) {
    let path = place.join("file");
    match job {
        "replace" => files::write_atomic(Point::MemberRecord, &path, b"new", 0o600).unwrap(),
        "stream" => {
            let content = Content { bytes: 3, sha256: FileDigest(Sha256::digest(b"new").into()) };
            let mut writing = Writing::begin(Point::MemberRecord, place.join("temporary"), 100);
            writing.write(Bytes::from_static(b"new")).await.unwrap();
            writing.finish_as(path, content).await.unwrap();
        }
        "rename" => {
            files::write_atomic(Point::Saved, &place.join("other").join("file"), b"new", 0o600).unwrap();
            files::rename(Point::MemberRecord, &place.join("other").join("file"), &path).unwrap();
        }
        "remove" => files::remove(Point::MemberRecord, &path).unwrap(),
        "directory" => {
            files::create_private_dir(Point::MemberRecord, &place.join("a/b/c")).unwrap();
            files::write_atomic(Point::Saved, &place.join("a/b/c/file"), b"new", 0o600).unwrap();
        }
        "append" => {
            let mut output = Output::append(Point::MemberRecord, &path, 0o600).unwrap();
            output.write_all(b"new").unwrap();
            output.sync().unwrap();
        }
        other => panic!("{other}"),
    }
    // Whatever was not made to last by now is lost.
    drop(files::lock_exclusive(&place.join("end")));
}

/// Runs only as a child of the tests below.
#[tokio::test]
async fn child() {
    if let Some((job, place)) = trial::asked() {
        work(&job, &place).await;
    }
}

struct Dead {
    place: tempfile::TempDir,
    /// Where it died, or nothing where it did all of its work.
    fired: Option<String>,
}

impl Dead {
    /// A child that dies as ordered.
    fn of(job: &str, order: &str) -> Dead {
        let place = tempfile::tempdir().unwrap();
        fs::write(place.path().join("file"), "old").unwrap();
        fs::create_dir(place.path().join("other")).unwrap();
        let died = Trial { test: "failpoint::tests::child", job }.dies(place.path(), order);
        let fired = fs::read_to_string(place.path().join("fired")).ok();
        assert_eq!(died, fired.is_some(), "{job} {order}");
        Dead { place, fired }
    }

    fn text(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.place.path().join(name)).ok()
    }
}

/// How a write ends up that is to replace "old" by "new", or to take it away.
const JOBS: [(&str, Option<&str>); 4] = [("replace", Some("new")), ("stream", Some("new")), ("rename", Some("new")), ("remove", None)];

#[test]
fn at_every_step_there_is_the_old_or_the_new() {
    for (job, after) in JOBS {
        let mut died = 0;
        for step in Step::ALL {
            for loss in ["", ":lose"] {
                let dead = Dead::of(job, &format!("member.record:{}{loss}", step.name()));
                let found = dead.text("file");
                if dead.fired.is_none() {
                    continue;
                }
                died += 1;
                let is_new = found.as_deref() == after;
                assert!(is_new || found.as_deref() == Some("old"), "{job} {step:?}{loss}: {found:?}");
                assert!(is_new || step != Step::Done, "{job}: it was on the disk, and is lost");
                assert!(!is_new || step >= Step::Named, "{job} {step:?}{loss}: too early");
                assert!(!is_new || step == Step::Done || loss.is_empty(), "{job} {step:?}: a name that was not synced is kept");
            }
        }
        assert!(died >= 6, "{job} died {died} times");
    }
}

#[test]
fn what_was_done_outlives_a_power_cut() {
    let cut = "lock:write:lose";
    for (job, after) in JOBS {
        let dead = Dead::of(job, cut);
        assert_eq!((dead.fired.is_some(), dead.text("file").as_deref()), (true, after), "{job}");
    }
    assert_eq!(Dead::of("append", cut).text("file").as_deref(), Some("oldnew"));
    assert_eq!(Dead::of("directory", cut).text("a/b/c/file").as_deref(), Some("new"), "directories above it are on the disk too");
    assert_eq!(Dead::of("append", "member.record:sync:lose").text("file").as_deref(), Some("old"));
    assert_eq!(Dead::of("append", "member.record:torn").text("file").as_deref(), Some("oldn"));
}

#[test]
fn a_death_comes_once_and_at_the_time_that_was_ordered() {
    let dead = Dead::of("directory", "member.record:named:nth=2");
    assert!(dead.place.path().join("a/b").is_dir() && !dead.place.path().join("a/b/c").exists());
    assert_eq!(dead.fired.as_deref(), Some("member.record named\n"));
    assert!(Dead::of("directory", "member.record:named:nth=4").fired.is_none());
}
