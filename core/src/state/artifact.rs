//! Which artifacts there are, who made them and which members have them. The files are elsewhere.
//!
//! ```text
//!  an agent puts a file ─▶ a majority of the voters has it on disk ─▶ RecordArtifact
//!  a member gets a copy, or finds that it has lost one ─────────────▶ NoteArtifactCopies
//!  the run leaves the history, somebody asks, room is needed ───────▶ the record goes, and then the files
//! ```
//! A record belongs to its attempt and goes with its run. A file that no record names is removed by the members.

use std::collections::BTreeSet;

use imbl::OrdMap;
use serde::{Deserialize, Serialize};

use super::{State, When};
use crate::artifact::{Artifact, ArtifactFile, ArtifactKind, ArtifactName, FileDigest, RECORD_WEIGHT};
use crate::bounds;
use crate::id::{AttemptId, LedgerId, MemberId, RunId};
use crate::reply::{Refusal, Reply};
use crate::state::run::Direction;

/// All that are stored.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Artifacts {
    pub by_run: OrdMap<RunId, RunArtifacts>,
    /// Bytes of all files. One that is recorded twice counts twice.
    pub bytes: u64,
    /// Records.
    pub count: u64,
}

/// Those of one run.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RunArtifacts {
    pub files: OrdMap<ArtifactKey, Artifact>,
    /// Bytes of artifacts and full outputs.
    pub bytes: u64,
    /// Bytes of undo data, which have a bound of their own: output never takes the room that an undo needs.
    pub undo_bytes: u64,
}

/// Names an artifact within its run.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ArtifactKey {
    pub attempt: AttemptId,
    pub name: ArtifactName,
}

impl RunArtifacts {
    fn bytes_like(&mut self, kind: ArtifactKind) -> &mut u64 {
        match kind {
            ArtifactKind::Undo => &mut self.undo_bytes,
            ArtifactKind::Artifact | ArtifactKind::Output => &mut self.bytes,
        }
    }

    /// Those of one attempt.
    pub fn of(&self, attempt: AttemptId) -> impl Iterator<Item = (&ArtifactKey, &Artifact)> {
        self.files.iter().filter(move |(key, _)| key.attempt == attempt)
    }
}

impl Artifacts {
    #[must_use]
    pub fn get(&self, run: &RunId, key: &ArtifactKey) -> Option<&Artifact> {
        self.by_run.get(run)?.files.get(key)
    }

    /// Every record with its run, oldest run of a plan first.
    pub fn all(&self) -> impl Iterator<Item = (&RunId, &ArtifactKey, &Artifact)> {
        self.by_run.iter().flat_map(|(run, artifacts)| artifacts.files.iter().map(move |(key, artifact)| (run, key, artifact)))
    }

    /// Bytes that the records add to [`State::weight`].
    pub(crate) fn weight(&self) -> u64 {
        self.count * RECORD_WEIGHT
    }

    /// A copy of the member's that is there, or is not.
    fn note(&mut self, member: MemberId, present: &BTreeSet<FileDigest>, absent: &BTreeSet<FileDigest>) {
        let differs = |artifact: &Artifact| match artifact.stored_on.contains(&member) {
            true => absent.contains(&artifact.file.sha256),
            false => present.contains(&artifact.file.sha256),
        };
        let changes: Vec<(RunId, ArtifactKey)> =
            self.all().filter(|(_, _, artifact)| differs(artifact)).map(|(run, key, _)| (run.clone(), key.clone())).collect();
        for (run, key) in changes {
            let Some(artifact) = self.by_run.get_mut(&run).and_then(|run| run.files.get_mut(&key)) else { continue };
            if artifact.stored_on.remove(&member).is_none() {
                artifact.stored_on.insert(member);
            }
        }
    }

    /// A member that is gone has no copies any more.
    pub(super) fn forget_member(&mut self, member: MemberId) {
        let all: BTreeSet<FileDigest> = self.all().filter(|(_, _, a)| a.stored_on.contains(&member)).map(|(_, _, a)| a.file.sha256).collect();
        self.note(member, &BTreeSet::new(), &all);
    }
}

impl State {
    /// `room`: the most that all files together may have, as the leader was told.
    pub(super) fn record_artifact(
        &mut self,
        id: AttemptId,
        ledger: &LedgerId,
        file: &ArtifactFile,
        stored_on: &BTreeSet<MemberId>,
        room: u64,
        when: When,
    ) -> Reply {
        let Some(attempt) = self.attempts.get(&id) else { return Reply::Stale(format!("there is no attempt {id}")) };
        if attempt.ledger != *ledger {
            return Reply::Stale(format!("attempt {id} belongs to another ledger"));
        }
        if !attempt.has_begun() {
            return Reply::Stale(format!("attempt {id} is not begun and open"));
        }
        if file.kind == ArtifactKind::Undo && attempt.direction == Direction::Undo {
            return Reply::Refused(Refusal::Invalid(format!("attempt {id} takes something back itself: it has no undo data")));
        }
        if let Err(refusal) = file.check() {
            return Reply::Refused(refusal);
        }
        let stored_on: BTreeSet<MemberId> = stored_on.iter().copied().filter(|member| self.members.contains_key(member)).collect();
        if stored_on.is_empty() {
            return Reply::Stale("no member of the mesh has the file any more".into());
        }
        let (run, key) = (attempt.run.clone(), ArtifactKey { attempt: id, name: file.name.clone() });
        let replaced = match self.artifacts.get(&run, &key) {
            // Asked for twice: the first answer was lost.
            Some(before) if before.file == *file => {
                if let Some(artifact) = self.artifacts.by_run.get_mut(&run).and_then(|run| run.files.get_mut(&key)) {
                    artifact.stored_on.extend(stored_on);
                }
                return Reply::Done;
            }
            // It says how things were before the first effect; a later look would say how they are after it.
            Some(before) if before.file.kind == ArtifactKind::Undo || file.kind == ArtifactKind::Undo => {
                return Reply::Refused(Refusal::Conflict(format!("attempt {id} has {} already, and undo data is never replaced", file.name)));
            }
            // An attempt that its agent took up again has printed something else.
            Some(before) => Some(before.file.bytes),
            None => None,
        };
        if let Some(refusal) = self.no_room(&run, id, file, replaced, room) {
            return Reply::Refused(refusal);
        }
        self.forget(&run, &key);
        while (self.artifacts.bytes + file.bytes > room || self.artifacts.count >= bounds::ARTIFACTS) && self.forget_oldest_outputs() {}
        let artifacts = &mut self.artifacts;
        let of_run = artifacts.by_run.entry(run).or_default();
        *of_run.bytes_like(file.kind) += file.bytes;
        of_run.files.insert(key, Artifact { file: file.clone(), stored_on: stored_on.into_iter().collect(), at: when.wall });
        artifacts.bytes += file.bytes;
        artifacts.count += 1;
        self.weight += RECORD_WEIGHT;
        Reply::Done
    }

    /// Whether there is room for one more file, also at the cost of the full outputs of runs that have ended.
    fn no_room(&self, run: &RunId, attempt: AttemptId, file: &ArtifactFile, replaced: Option<u64>, room: u64) -> Option<Refusal> {
        let bound = |what: &str, limit: u64| Some(Refusal::Bound { what: what.to_owned(), limit });
        let (freed_bytes, freed_count) = (replaced.unwrap_or(0), u64::from(replaced.is_some()));
        let mut of_run = self.artifacts.by_run.get(run).cloned().unwrap_or_default();
        if replaced.is_none() && of_run.of(attempt).count() >= bounds::ATTEMPT_ARTIFACTS {
            return bound("artifacts of one attempt", bounds::ATTEMPT_ARTIFACTS as u64);
        }
        if *of_run.bytes_like(file.kind) + file.bytes - freed_bytes > bounds::RUN_ARTIFACT_BYTES {
            let what = if file.kind == ArtifactKind::Undo { "bytes of undo data of one run" } else { "bytes of artifacts of one run" };
            return bound(what, bounds::RUN_ARTIFACT_BYTES);
        }
        let (bytes, count) = (self.artifacts.bytes + file.bytes - freed_bytes, self.artifacts.count + 1 - freed_count);
        if bytes <= room && count <= bounds::ARTIFACTS {
            return None;
        }
        let (outputs, output_bytes) = self.spare_outputs().fold((0, 0), |(count, bytes), (_, _, output)| (count + 1, bytes + output.file.bytes));
        if count - outputs > bounds::ARTIFACTS {
            bound("artifacts", bounds::ARTIFACTS)
        } else if bytes - output_bytes > room {
            bound("bytes of artifacts", room)
        } else {
            None
        }
    }

    /// What goes first when there is no room: what steps printed in runs that have ended.
    fn spare_outputs(&self) -> impl Iterator<Item = (&RunId, &ArtifactKey, &Artifact)> {
        let is_ended = |run: &RunId| self.runs.get(run).is_some_and(super::run::Run::is_ended);
        self.artifacts.all().filter(move |(run, _, artifact)| artifact.file.kind == ArtifactKind::Output && is_ended(run))
    }

    /// Drops the spare outputs of the run that began longest ago, if there are any.
    fn forget_oldest_outputs(&mut self) -> bool {
        let oldest = self.spare_outputs().map(|(run, _, _)| run).min_by_key(|run| self.runs.get(*run).map(|run| run.started_at)).cloned();
        let Some(run) = oldest else { return false };
        let outputs: Vec<ArtifactKey> = self.spare_outputs().filter(|(of, _, _)| **of == run).map(|(_, key, _)| key.clone()).collect();
        outputs.iter().for_each(|key| self.forget(&run, key));
        true
    }

    pub(super) fn forget_artifact(&mut self, run: &RunId, attempt: AttemptId, name: &ArtifactName) -> Reply {
        let key = ArtifactKey { attempt, name: name.clone() };
        let needed = self.runs.get(run).is_some_and(|run| !run.is_ended());
        match self.artifacts.get(run, &key) {
            None => Reply::Refused(Refusal::NotFound {
                what: format!("artifact {name} of attempt {attempt} in {run}"),
                hint: format!("see `mainstay run artifacts {run}`"),
            }),
            Some(artifact) if artifact.file.kind == ArtifactKind::Undo && needed => {
                Reply::Refused(Refusal::Conflict(format!("{name} is needed to take {run} back: wait until the run has ended")))
            }
            Some(_) => {
                self.forget(run, &key);
                Reply::Done
            }
        }
    }

    fn forget(&mut self, run: &RunId, key: &ArtifactKey) {
        let Some(of_run) = self.artifacts.by_run.get_mut(run) else { return };
        let Some(artifact) = of_run.files.remove(key) else { return };
        let bytes = artifact.file.bytes;
        *of_run.bytes_like(artifact.file.kind) -= bytes;
        if of_run.files.is_empty() {
            self.artifacts.by_run.remove(run);
        }
        self.artifacts.bytes -= bytes;
        self.artifacts.count -= 1;
        self.weight = self.weight.saturating_sub(RECORD_WEIGHT);
    }

    /// All of a run that leaves the history.
    pub(super) fn drop_artifacts(&mut self, run: &RunId) {
        let Some(of_run) = self.artifacts.by_run.remove(run) else { return };
        let count = of_run.files.len() as u64;
        self.artifacts.bytes -= of_run.bytes + of_run.undo_bytes;
        self.artifacts.count -= count;
        self.weight = self.weight.saturating_sub(count * RECORD_WEIGHT);
    }

    pub(super) fn note_artifact_copies(&mut self, member: MemberId, present: &[FileDigest], absent: &[FileDigest]) -> Reply {
        if present.len() + absent.len() > bounds::ARTIFACT_NOTES {
            return Reply::Refused(Refusal::Bound { what: "copies in one note".into(), limit: bounds::ARTIFACT_NOTES as u64 });
        }
        if !self.members.contains_key(&member) {
            return Reply::Stale(format!("{member} is no member of the mesh"));
        }
        self.artifacts.note(member, &present.iter().copied().collect(), &absent.iter().copied().collect());
        Reply::Done
    }

    /// The undo data of the step and target that an attempt is at: what was stored first, by the earliest
    /// attempt that stored any. What a later attempt saw may be what an earlier one left.
    #[must_use]
    pub fn undo_data_for(&self, id: AttemptId) -> Option<(&ArtifactKey, &Artifact)> {
        let asked = self.attempts.get(&id)?;
        let files = &self.artifacts.by_run.get(&asked.run)?.files;
        files.iter().filter(|(_, artifact)| artifact.file.kind == ArtifactKind::Undo).find(|(key, _)| {
            let made = self.attempts.get(&key.attempt);
            made.is_some_and(|made| made.step == asked.step && made.target == asked.target)
        })
    }
}
