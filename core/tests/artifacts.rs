//! Artifacts: who may record what, what goes when there is no room, and who has the files.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod rig;

use std::collections::BTreeSet;

use mainstay_core::artifact::{Artifact, ArtifactFile, ArtifactKind, FileDigest};
use mainstay_core::report::Report;
use mainstay_core::state::artifact::ArtifactKey;
use mainstay_core::state::member::Member;
use mainstay_core::state::run::Outcome;
use mainstay_core::{AttemptId, Command, LedgerId, MemberId, Refusal, Reply, RunId, bounds};
use rig::Rig;

const PLAN: &str = "apiVersion: mainstay.dev/v1alpha1\nkind: MaintenancePlan\nmetadata: { name: look }\nspec: { steps: [ { name: a, uses: node.exec, with: { command: [/bin/true] }, undo: { uses: node.exec, with: { command: [/bin/true] } } }, { name: b, needs: [a], uses: node.exec, with: { command: [/bin/false] } } ] }\n";
const MIB: u64 = 1 << 20;
const ROOM: u64 = bounds::ARTIFACTS_BYTES;

/// A mesh of three members and one agent.
fn mesh() -> Rig {
    let mut rig = Rig::new();
    for id in 1..=3 {
        rig.mesh(Command::PutMember { member: Member { id: MemberId(id), ..Member::default() } });
    }
    rig.apply_plan(PLAN);
    rig.connect("c/n", "l1", &["node.exec"]);
    rig
}

/// A run whose first step has begun.
fn begun(rig: &mut Rig) -> (RunId, AttemptId) {
    let run = rig.start("look");
    (run, begin(rig))
}

fn begin(rig: &mut Rig) -> AttemptId {
    rig.settle();
    let id = rig.state.attempts.values().find(|attempt| attempt.is_open()).unwrap().id;
    assert_eq!(rig.mesh(Command::BeginAttempt { attempt: id, ledger: ledger() }), Reply::Done);
    id
}

fn end(rig: &mut Rig, attempt: AttemptId, outcome: Outcome) {
    assert_eq!(rig.mesh(Command::EndAttempt { attempt, ledger: ledger(), outcome }), Reply::Done);
    rig.settle();
}

/// Both steps done, in a run that ended.
fn end_well(rig: &mut Rig, first: AttemptId) {
    end(rig, first, Outcome::Succeeded(Report::default()));
    let second = begin(rig);
    end(rig, second, Outcome::Succeeded(Report::default()));
}

fn ledger() -> LedgerId {
    LedgerId("l1".into())
}

fn file(name: &str, kind: ArtifactKind, bytes: u64) -> ArtifactFile {
    ArtifactFile { name: name.parse().unwrap(), kind, bytes, sha256: digest(name, bytes), encrypted: kind == ArtifactKind::Undo }
}

/// Something that differs with name and size.
fn digest(name: &str, bytes: u64) -> FileDigest {
    let mut digest = [0; 32];
    digest[..8].copy_from_slice(&bytes.to_le_bytes());
    name.bytes().zip(&mut digest[8..]).for_each(|(from, to)| *to = from);
    FileDigest(digest)
}

fn on(members: &[u64]) -> BTreeSet<MemberId> {
    members.iter().copied().map(MemberId).collect()
}

fn record(attempt: AttemptId, file: ArtifactFile) -> Command {
    Command::RecordArtifact { attempt, ledger: ledger(), file, stored_on: on(&[1, 2]), room: ROOM }
}

fn names(rig: &Rig) -> Vec<String> {
    rig.state.artifacts.all().map(|(run, key, _)| format!("{run} {}", key.name)).collect()
}

fn get(rig: &Rig, run: &RunId, attempt: AttemptId, name: &str) -> Artifact {
    rig.state.artifacts.get(run, &ArtifactKey { attempt, name: name.parse().unwrap() }).unwrap().clone()
}

fn refused(reply: &Reply) -> &Refusal {
    let Reply::Refused(refusal) = reply else { panic!("{reply:?}") };
    refusal
}

#[test]
fn only_a_begun_attempt_of_the_same_ledger_has_artifacts() {
    let mut rig = mesh();
    let run = rig.start("look");
    rig.settle();
    let offered = rig.state.attempts.values().next().unwrap().id;
    let log = file("output.log", ArtifactKind::Output, 5_000);
    assert!(matches!(rig.mesh(record(offered, log.clone())), Reply::Stale(_)), "not begun");
    let attempt = begin(&mut rig);
    let other = Command::RecordArtifact { attempt, ledger: LedgerId("l2".into()), file: log.clone(), stored_on: on(&[1]), room: ROOM };
    assert!(matches!(rig.mesh(other), Reply::Stale(_)), "another ledger");
    let nobody = Command::RecordArtifact { attempt, ledger: ledger(), file: log.clone(), stored_on: on(&[7]), room: ROOM };
    assert!(matches!(rig.mesh(nobody), Reply::Stale(_)), "a member that is gone");
    assert_eq!(rig.mesh(record(attempt, log.clone())), Reply::Done);
    let stored = get(&rig, &run, attempt, "output.log");
    assert_eq!((stored.file, stored.stored_on.into_iter().collect::<BTreeSet<_>>()), (log.clone(), on(&[1, 2])));
    end(&mut rig, attempt, Outcome::Succeeded(Report::default()));
    assert!(matches!(rig.mesh(record(attempt, file("late", ArtifactKind::Artifact, 1))), Reply::Stale(_)), "it has ended");
}

#[test]
fn repeating_is_harmless_and_a_later_output_takes_the_place_of_an_earlier() {
    let mut rig = mesh();
    let (run, attempt) = begun(&mut rig);
    assert_eq!(rig.mesh(record(attempt, file("output.log", ArtifactKind::Output, 10))), Reply::Done);
    let before = rig.state.artifacts.clone();
    assert_eq!(rig.mesh(record(attempt, file("output.log", ArtifactKind::Output, 10))), Reply::Done);
    assert_eq!(rig.state.artifacts, before);
    let again =
        Command::RecordArtifact { attempt, ledger: ledger(), file: file("output.log", ArtifactKind::Output, 10), stored_on: on(&[3]), room: ROOM };
    assert_eq!(rig.mesh(again), Reply::Done);
    assert_eq!(get(&rig, &run, attempt, "output.log").stored_on.into_iter().collect::<BTreeSet<_>>(), on(&[1, 2, 3]));
    assert_eq!(rig.mesh(record(attempt, file("output.log", ArtifactKind::Output, 30))), Reply::Done);
    assert_eq!((rig.state.artifacts.bytes, rig.state.artifacts.count), (30, 1));
}

#[test]
fn undo_data_is_encrypted_never_replaced_and_the_first_counts() {
    let mut rig = mesh();
    let (run, first) = begun(&mut rig);
    let plain = ArtifactFile { encrypted: false, ..file("undo", ArtifactKind::Undo, 10) };
    assert!(matches!(refused(&rig.mesh(record(first, plain))), Refusal::Invalid(_)));
    let large = file("undo", ArtifactKind::Undo, bounds::UNDO_DATA_BYTES + 1);
    assert!(matches!(refused(&rig.mesh(record(first, large))), Refusal::Invalid(_)));
    assert_eq!(rig.mesh(record(first, file("undo", ArtifactKind::Undo, 10))), Reply::Done);
    assert!(matches!(refused(&rig.mesh(record(first, file("undo", ArtifactKind::Undo, 11)))), Refusal::Conflict(_)));
    assert!(matches!(refused(&rig.mesh(record(first, file("undo", ArtifactKind::Artifact, 11)))), Refusal::Conflict(_)));
    let forget = Command::ForgetArtifact { run: run.clone(), attempt: first, name: "undo".parse().unwrap() };
    assert!(matches!(refused(&rig.operator(forget)), Refusal::Conflict(_)), "the run may need it");
    end(&mut rig, first, Outcome::Succeeded(Report::default()));
    let second = begin(&mut rig);
    assert!(rig.state.undo_data_for(second).is_none(), "of another step");
    end(&mut rig, second, Outcome::Failed { message: "no".into(), report: None });
    let undo = begin(&mut rig);
    assert!(matches!(refused(&rig.mesh(record(undo, file("undo", ArtifactKind::Undo, 12)))), Refusal::Invalid(_)), "an undo has none");
    let (key, found) = rig.state.undo_data_for(undo).unwrap();
    assert_eq!((key.attempt, found.file.bytes), (first, 10));
}

#[test]
fn each_bound_is_a_refusal_that_changes_nothing() {
    let mut rig = mesh();
    let (_, attempt) = begun(&mut rig);
    assert!(matches!(refused(&rig.mesh(record(attempt, file("big", ArtifactKind::Artifact, bounds::ARTIFACT_BYTES + 1)))), Refusal::Invalid(_)));
    for part in 0..4 {
        assert_eq!(rig.mesh(record(attempt, file(&format!("part{part}"), ArtifactKind::Artifact, 64 * MIB))), Reply::Done);
    }
    let before = rig.state.artifacts.clone();
    let bound = |reply: &Reply| match refused(reply) {
        Refusal::Bound { what, limit } => (what.clone(), *limit),
        other => panic!("{other}"),
    };
    let reply = rig.mesh(record(attempt, file("more", ArtifactKind::Output, 1)));
    assert_eq!(bound(&reply), ("bytes of artifacts of one run".into(), bounds::RUN_ARTIFACT_BYTES));
    let tight =
        Command::RecordArtifact { attempt, ledger: ledger(), file: file("undo", ArtifactKind::Undo, 2), stored_on: on(&[1]), room: 256 * MIB + 1 };
    assert_eq!(bound(&rig.mesh(tight)), ("bytes of artifacts".into(), 256 * MIB + 1));
    assert_eq!(rig.state.artifacts, before);
    assert_eq!(rig.mesh(record(attempt, file("undo", ArtifactKind::Undo, 2))), Reply::Done, "undo data has room of its own");
    for number in 5..bounds::ATTEMPT_ARTIFACTS {
        assert_eq!(rig.mesh(record(attempt, file(&format!("empty{number}"), ArtifactKind::Artifact, 0))), Reply::Done);
    }
    let reply = rig.mesh(record(attempt, file("last", ArtifactKind::Artifact, 0)));
    assert_eq!(bound(&reply), ("artifacts of one attempt".into(), bounds::ATTEMPT_ARTIFACTS as u64));
}

#[test]
fn output_of_ended_runs_makes_room_oldest_first() {
    let mut rig = mesh();
    for _ in 0..2 {
        let (_, attempt) = begun(&mut rig);
        rig.mesh(record(attempt, file("output.log", ArtifactKind::Output, 10)));
        rig.mesh(record(attempt, file("report.html", ArtifactKind::Artifact, 10)));
        end_well(&mut rig, attempt);
        rig.advance(mainstay_core::Millis(1_000));
    }
    let (_, attempt) = begun(&mut rig);
    rig.mesh(record(attempt, file("output.log", ArtifactKind::Output, 10)));
    let tight = |bytes, room| Command::RecordArtifact {
        attempt,
        ledger: ledger(),
        file: file("new", ArtifactKind::Artifact, bytes),
        stored_on: on(&[1, 2]),
        room,
    };
    assert!(matches!(refused(&rig.mesh(tight(21, 50))), Refusal::Bound { limit: 50, .. }), "not even all of it would do");
    assert_eq!(names(&rig).len(), 5, "then nothing is dropped for it");
    assert_eq!(rig.mesh(tight(10, 50)), Reply::Done);
    assert_eq!(names(&rig), ["look-1 report.html", "look-2 output.log", "look-2 report.html", "look-3 new", "look-3 output.log"]);
}

#[test]
fn artifacts_go_with_their_run() {
    let mut rig = mesh();
    for _ in 0..=bounds::RUNS_KEPT {
        let (_, attempt) = begun(&mut rig);
        rig.mesh(record(attempt, file("output.log", ArtifactKind::Output, 10)));
        end_well(&mut rig, attempt);
    }
    assert_eq!(rig.state.artifacts.count, bounds::RUNS_KEPT as u64);
    assert_eq!(names(&rig)[0], "look-2 output.log");
}

#[test]
fn members_say_what_they_have_and_those_that_leave_have_nothing() {
    let mut rig = mesh();
    let (run, attempt) = begun(&mut rig);
    let (one, two) = (file("one", ArtifactKind::Artifact, 1), file("two", ArtifactKind::Artifact, 2));
    rig.mesh(record(attempt, one.clone()));
    rig.mesh(record(attempt, two.clone()));
    let note = |member, present: &[&ArtifactFile], absent: &[&ArtifactFile]| {
        let digests = |files: &[&ArtifactFile]| files.iter().map(|file| file.sha256).collect();
        Command::NoteArtifactCopies { member: MemberId(member), present: digests(present), absent: digests(absent) }
    };
    let stored = |rig: &Rig, name: &str| get(rig, &run, attempt, name).stored_on.into_iter().map(|id| id.0).collect::<Vec<_>>();
    assert_eq!(rig.mesh(note(3, &[&one, &two], &[])), Reply::Done);
    assert_eq!(rig.mesh(note(1, &[&one], &[&two])), Reply::Done);
    assert_eq!((stored(&rig, "one"), stored(&rig, "two")), (vec![1, 2, 3], vec![2, 3]));
    assert!(matches!(rig.mesh(note(9, &[&one], &[])), Reply::Stale(_)), "no member");
    let many = vec![&one; bounds::ARTIFACT_NOTES + 1];
    assert!(matches!(refused(&rig.mesh(note(1, &many, &[]))), Refusal::Bound { .. }));
    rig.operator(Command::RemoveMember { id: MemberId(2) });
    assert_eq!((stored(&rig, "one"), stored(&rig, "two")), (vec![1, 3], vec![3]));
    let forget = |name: &str| Command::ForgetArtifact { run: run.clone(), attempt, name: name.parse().unwrap() };
    assert_eq!(rig.operator(forget("one")), Reply::Done);
    assert!(matches!(refused(&rig.operator(forget("one"))), Refusal::NotFound { .. }));
    assert!(rig.state.audit.records.iter().any(|record| record.what.starts_with("forget artifact one of attempt ")));
}
