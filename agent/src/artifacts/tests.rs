//! With a mesh of a few lines, real files and a real key.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods, reason = "tests use real files")]

use std::collections::VecDeque;
use std::os::unix::fs::PermissionsExt;
use std::sync::Mutex;

use futures::FutureExt;
use futures::future::BoxFuture;
use mainstay_core::report::Report;
use mainstay_core::time::Millis;
use serde_json::{Map, json};
use tempfile::TempDir;

use super::*;
use crate::execute::{Context, Labels, Output, Policy, StepError, execute};
use crate::observe::readings::Readings;

/// A mesh that keeps what it is given, once it has said what it was told to say.
#[derive(Default)]
struct Kept {
    files: Mutex<Vec<(ArtifactFile, Vec<u8>)>>,
    says: Mutex<VecDeque<Option<Code>>>,
    tries: Mutex<usize>,
}

impl Kept {
    /// `None` stands for silence.
    fn say(&self, answers: &[Option<Code>]) {
        self.says.lock().unwrap().extend(answers);
    }

    async fn answer(&self) -> Result<(), TransferError> {
        *self.tries.lock().unwrap() += 1;
        let said = self.says.lock().unwrap().pop_front();
        match said {
            Some(Some(code)) => Err(CallError::Refused { code, message: "the disks are full".into() }.into()),
            Some(None) => std::future::pending().await,
            None => Ok(()),
        }
    }

    fn get(&self, name: &str) -> Vec<u8> {
        self.files.lock().unwrap().iter().find(|(file, _)| file.name.as_str() == name).unwrap().1.clone()
    }

    fn names(&self) -> Vec<String> {
        self.files.lock().unwrap().iter().map(|(file, _)| file.name.to_string()).collect()
    }
}

impl Depot for Kept {
    fn put<'a>(&'a self, _: AttemptId, _: &LedgerId, file: &ArtifactFile, path: &'a Path) -> BoxFuture<'a, Result<(), TransferError>> {
        let file = file.clone();
        async move {
            self.answer().await?;
            self.files.lock().unwrap().push((file, std::fs::read(path).unwrap()));
            Ok(())
        }
        .boxed()
    }

    fn get_undo(&self, _: AttemptId) -> BoxFuture<'_, Result<Vec<u8>, TransferError>> {
        async move {
            self.answer().await?;
            let found = self.files.lock().unwrap().iter().find(|(file, _)| file.kind == ArtifactKind::Undo).map(|(_, bytes)| bytes.clone());
            found.ok_or_else(|| CallError::Refused { code: Code::NotFound, message: "none".into() }.into())
        }
        .boxed()
    }
}

struct Stand {
    dir: TempDir,
    mesh: Arc<Kept>,
    store: Arc<ArtifactStore>,
}

impl Stand {
    fn new() -> Stand {
        let dir = TempDir::new().unwrap();
        let mesh = Arc::new(Kept::default());
        let store = Arc::new(ArtifactStore::open(dir.path(), mesh.clone(), LedgerId("l".into())).unwrap());
        Stand { dir, mesh, store }
    }

    fn going(&self, direction: Direction) -> (Artifacts, CancellationToken) {
        let attempt = DesiredAttempt {
            id: "1.1".parse().unwrap(),
            run: "p-1".parse().unwrap(),
            step: "s".parse().unwrap(),
            target: "c/n".parse().unwrap(),
            direction,
            number: 1,
            kind: "node.exec".into(),
            with: Map::new(),
            timeout: Millis(60_000),
            begun: true,
            cancel: None,
        };
        let cancel = CancellationToken::new();
        (self.store.of(&attempt, cancel.clone()), cancel)
    }

    fn artifacts(&self) -> Artifacts {
        self.going(Direction::Do).0
    }

    fn spooled(&self) -> usize {
        std::fs::read_dir(self.dir.path().join("spool")).unwrap().count()
    }

    async fn sh(&self, script: &str) -> Result<Report, StepError> {
        let policy = Policy::parse("[policy]\nallow = [\"node.exec\"]\n[[policy.exec]]\ncommand = [\"/bin/sh\", \"**\"]").unwrap();
        let context = Context::new(Arc::default(), Readings::default(), Arc::default(), Arc::new(policy)).unwrap();
        let (artifacts, cancel) = self.going(Direction::Do);
        let context = context.for_attempt(Labels::default(), Output::unwatched(), cancel).with_artifacts(artifacts);
        execute("node.exec", json!({"command": ["/bin/sh", "-c", script]}).as_object().unwrap(), &context).await
    }
}

#[tokio::test]
async fn a_file_is_sent_whole_and_nothing_stays_behind() {
    let stand = Stand::new();
    let bytes: Vec<u8> = (0..600_000).map(|i| (i % 251) as u8).collect();
    stand.artifacts().put("data.bin", &bytes[..]).await.unwrap();
    assert_eq!((stand.mesh.get("data.bin"), stand.spooled()), (bytes, 0));
    let (file, _) = stand.mesh.files.lock().unwrap()[0].clone();
    assert_eq!((file.kind, file.bytes, file.encrypted), (ArtifactKind::Artifact, 600_000, false));
    let error = stand.artifacts().put("../data", &b""[..]).await.unwrap_err();
    assert!(matches!(error, ArtifactError::Name(_)), "{error}");
    let endless = tokio::io::repeat(7);
    let error = stand.artifacts().put("endless", endless).await.unwrap_err();
    assert!(matches!(error, ArtifactError::File(FileError::TooLong { limit: bounds::ARTIFACT_BYTES })), "{error}");
    assert_eq!((stand.mesh.names(), stand.spooled()), (vec!["data.bin".to_owned()], 0));
    let error = Artifacts::default().put("x", &b""[..]).await.unwrap_err();
    assert!(matches!(error, ArtifactError::Nowhere), "{error}");
}

#[tokio::test]
async fn what_may_pass_is_tried_again_and_a_refusal_is_not() {
    let stand = Stand::new();
    stand.mesh.say(&[Some(Code::Unavailable), Some(Code::Aborted)]);
    stand.artifacts().put("a", &b"1"[..]).await.unwrap();
    assert_eq!(*stand.mesh.tries.lock().unwrap(), 3);
    for (tries, no) in [(4, Code::PermissionDenied), (5, Code::ResourceExhausted)] {
        stand.mesh.say(&[Some(no)]);
        let error = stand.artifacts().put("b", &b"1"[..]).await.unwrap_err();
        assert!(error.to_string().contains("the mesh does not take it: the disks are full"), "{error}");
        assert_eq!(*stand.mesh.tries.lock().unwrap(), tries);
    }
}

#[tokio::test(start_paused = true)]
async fn tries_end_in_time_and_sooner_when_the_step_is_called_off() {
    let stand = Stand::new();
    let (artifacts, cancel) = stand.going(Direction::Do);
    stand.mesh.say(&[Some(Code::Unavailable), None]);
    let error = artifacts.get_undo().await.unwrap_err();
    assert!(matches!(&error, ArtifactError::TooLong(PATIENCE, last) if last == "the disks are full"), "{error}");
    stand.mesh.say(&[None]);
    cancel.cancel();
    let error = artifacts.get_undo().await.unwrap_err();
    assert!(matches!(error, ArtifactError::TooLong(CALLED_OFF_PATIENCE, _)), "{error}");
}

#[tokio::test]
async fn undo_data_can_be_read_with_this_agents_key_only() {
    let stand = Stand::new();
    assert_eq!(stand.artifacts().get_undo().await.unwrap(), None);
    let secret = b"password: hunter2 hunter2 hunter2".to_vec();
    stand.artifacts().put_undo(secret.clone()).await.unwrap();
    let sealed = stand.mesh.get("undo.age");
    assert!(sealed.starts_with(b"age-encryption.org/v1\n"));
    assert!(!sealed.windows(7).any(|part| part == b"hunter2"), "it is encrypted");
    let key = stand.dir.path().join("undo.key");
    assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    let (undo, _) = stand.going(Direction::Undo);
    assert_eq!(undo.get_undo().await.unwrap(), Some(secret));
    assert!(matches!(undo.put_undo(vec![1]).await.unwrap_err(), ArtifactError::OfAnUndo));

    let large = stand.artifacts().put_undo(vec![0; usize::try_from(bounds::UNDO_DATA_BYTES).unwrap()]).await.unwrap_err();
    assert!(matches!(large, ArtifactError::Refused(Refusal::Invalid(_))), "{large}");
    // Another agent in its place, or the same one without its directory.
    std::fs::remove_file(&key).unwrap();
    let gone = undo.get_undo().await.unwrap_err().to_string();
    assert!(gone.contains("undo.key"), "{gone}");
    stand.store.key.seal(vec![1]).await.unwrap();
    let other = undo.get_undo().await.unwrap_err().to_string();
    assert!(other.contains("made with another key") && other.contains("by hand"), "{other}");
    std::fs::write(&key, "something").unwrap();
    assert!(matches!(undo.get_undo().await.unwrap_err(), ArtifactError::Key(KeyError::NotAKey { .. })));
}

#[tokio::test]
async fn output_is_kept_when_a_report_cannot_hold_it_and_cut_at_its_limit() {
    let stand = Stand::new();
    let log = stand.artifacts().output_log();
    log.write(vec![b'x'; bounds::OUTPUT_BYTES]).await;
    assert_eq!((stand.artifacts().put_output(log).await, stand.mesh.names().len()), (None, 0), "a report holds it");

    let log = OutputLog::limited(Some(Arc::clone(&stand.store.spool)), 10_256);
    for line in 0..2_000 {
        log.clone().write(format!("line {line:04}\n").into_bytes()).await;
    }
    assert_eq!(stand.artifacts().put_output(log).await, None);
    let kept = String::from_utf8(stand.mesh.get("output.log")).unwrap();
    let lines: Vec<&str> = kept.lines().collect();
    assert_eq!((lines[0], lines[999]), ("line 0000", "line 0999"));
    assert_eq!(lines[1_000], "… 1000 more lines, 10000 bytes, are not kept: of an output the first 10000 bytes are");
    assert_eq!((lines.len(), stand.spooled()), (1_001, 0));
}

#[tokio::test]
async fn all_that_a_command_prints_is_stored_without_its_credentials() {
    let stand = Stand::new();
    stand.sh("echo short").await.unwrap();
    assert!(stand.mesh.names().is_empty());
    let report = stand.sh("echo password=hunter2; i=0; while [ $i -lt 1000 ]; do echo line $i; i=$((i+1)); done").await.unwrap();
    let kept = String::from_utf8(stand.mesh.get("output.log")).unwrap();
    let expected: String = std::iter::once("password=[redacted]\n".to_owned()).chain((0..1_000).map(|i| format!("line {i}\n"))).collect();
    assert_eq!(kept, expected);
    assert!(report.checks.is_empty() && report.output_tail.ends_with("line 999"));
    // Also of a command that fails.
    stand.mesh.files.lock().unwrap().clear();
    let error = stand.sh("i=0; while [ $i -lt 1000 ]; do echo line $i; i=$((i+1)); done; exit 3").await.unwrap_err();
    assert!(error.message.contains("status 3") && stand.mesh.names() == ["output.log"], "{error}");
}

#[tokio::test]
async fn a_full_output_that_cannot_be_stored_does_not_fail_the_step() {
    let long = "i=0; while [ $i -lt 1000 ]; do echo line $i; i=$((i+1)); done";
    let stand = Stand::new();
    stand.mesh.say(&[Some(Code::InvalidArgument)]);
    let report = stand.sh(long).await.unwrap();
    let check = &report.checks[0];
    assert_eq!((check.id.as_str(), check.subject.as_str(), check.verdict), ("artifact.stored", "output.log", Verdict::Skipped));
    assert!(check.message.starts_with("the full output is not stored: the mesh does not take it: the disks are full"), "{}", check.message);
    // Nor where the node itself has no place for it.
    std::fs::remove_dir(stand.dir.path().join("spool")).unwrap();
    let report = stand.sh(long).await.unwrap();
    assert!(report.checks[0].message.contains("the node's disk"), "{}", report.checks[0].message);
    assert!(report.output_tail.ends_with("line 999"));
}

#[test]
fn what_a_process_before_has_left_is_removed_at_the_start() {
    let stand = Stand::new();
    std::fs::write(stand.dir.path().join("spool").join("leftover"), "x").unwrap();
    ArtifactStore::open(stand.dir.path(), stand.mesh.clone(), LedgerId("l".into())).unwrap();
    assert_eq!(stand.spooled(), 0);
}
