//! Files of steps, over real sockets and on real disks.
#![allow(clippy::disallowed_methods, reason = "tests stand outside of the seams")]

mod losses;
mod refusals;

use std::path::{Path, PathBuf};

use mainstay_client::Download;
use mainstay_proto::v1;
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tokio::sync::mpsc;

use super::PLAN;
use super::harness::{Mesh, eventually};

/// Where an attempt of an agent has begun.
pub struct Begun {
    pub agent: mainstay_client::Mesh,
    pub run: String,
    pub attempt: String,
    ledger: String,
    files: TempDir,
    _link: (tonic::Streaming<v1::MeshMessage>, mpsc::Sender<v1::AgentMessage>),
}

/// A run on one agent, whose attempt has begun.
pub async fn begun(mesh: &Mesh, node: &str) -> Begun {
    let admin = mesh.operator("ana");
    mesh.ready(&admin).await;
    let agent = mesh.enrol(&format!("cluster/local/node/{node}")).await;
    let mut link = mesh.linked(&agent, node).await;
    admin.apply_plan(v1::ApplyPlanRequest { source: PLAN.replace("runOn: node", "runOn: once"), dry_run: false }).await.unwrap();
    let run = admin.start_run(v1::StartRunRequest { plan: "pause".into(), ..Default::default() }).await.unwrap().run;
    let attempt = loop {
        let message = tokio::time::timeout(super::harness::PATIENCE, link.0.message()).await.unwrap().unwrap().unwrap();
        if let Some(v1::mesh_message::Message::Desired(desired)) = message.message
            && let Some(attempt) = desired.attempts.into_iter().next()
        {
            break attempt.id;
        }
    };
    let ledger = format!("ledger of {node}");
    agent.begin_attempt(v1::BeginRequest { attempt: attempt.clone(), ledger: ledger.clone() }).await.unwrap();
    Begun { agent, run, attempt, ledger, files: TempDir::new().unwrap(), _link: link }
}

impl Begun {
    pub fn header(&self, name: &str, kind: v1::ArtifactKind, bytes: &[u8]) -> v1::PutArtifactHeader {
        let file = v1::ArtifactFile {
            name: name.into(),
            kind: kind.into(),
            bytes: bytes.len() as u64,
            sha256: sha256(bytes),
            encrypted: kind == v1::ArtifactKind::Undo,
        };
        v1::PutArtifactHeader { attempt: self.attempt.clone(), ledger: self.ledger.clone(), file: Some(file) }
    }

    pub fn file(&self, bytes: &[u8]) -> PathBuf {
        let path = self.files.path().join(sha256(bytes));
        std::fs::write(&path, bytes).unwrap();
        path
    }

    pub async fn put(&self, name: &str, kind: v1::ArtifactKind, bytes: &[u8]) -> Result<u32, mainstay_client::TransferError> {
        self.agent.put_artifact(self.header(name, kind, bytes), &self.file(bytes)).await.map(|stored| stored.copies)
    }

    pub fn get(&self, name: &str) -> v1::GetArtifactRequest {
        v1::GetArtifactRequest { run: self.run.clone(), attempt: self.attempt.clone(), name: name.into() }
    }

    pub async fn list(&self, mesh: &Mesh) -> Vec<v1::Artifact> {
        eventually("the list", async || mesh.operator("ana").list_artifacts(v1::ListArtifactsRequest { run: self.run.clone() }).await.ok())
            .await
            .artifacts
    }

    /// Waits until so many members say that they have the file.
    pub async fn until_copies(&self, mesh: &Mesh, name: &str, copies: usize) {
        eventually(&format!("{copies} copies of {name}"), async || {
            let artifacts = self.list(mesh).await;
            artifacts.iter().find(|artifact| artifact.name == name).filter(|artifact| artifact.stored_on.len() == copies).map(drop)
        })
        .await;
    }
}

pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Bytes that differ from place to place.
pub fn content(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i / 3 % 251) as u8).collect()
}

pub async fn read(mut download: Download) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Some(piece) = download.next().await.unwrap() {
        bytes.extend_from_slice(&piece);
    }
    bytes
}

/// Where a member has a file with this content.
pub fn on_disk(mesh: &Mesh, member: usize, bytes: &[u8]) -> PathBuf {
    let name = sha256(bytes);
    mesh.dir(member).join("state").join("artifacts").join(&name[..2]).join(name)
}

pub fn incoming(mesh: &Mesh, member: usize) -> usize {
    entries(&mesh.dir(member).join("state").join("artifacts").join("incoming"))
}

fn entries(dir: &Path) -> usize {
    std::fs::read_dir(dir).unwrap().count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_is_stored_listed_read_and_forgotten() {
    let mut mesh = Mesh::with(3, |_, settings| settings.artifacts.keep_unnamed = std::time::Duration::from_millis(200)).await;
    let begun = begun(&mesh, "a1").await;
    let admin = mesh.operator("ana");
    let bytes = content(700_001);
    assert!(begun.put("report.html", v1::ArtifactKind::Artifact, &bytes).await.unwrap() >= 2);
    // What is there already is not sent again, whatever it is called: the file is not even looked at.
    let again = begun.header("copy.html", v1::ArtifactKind::Artifact, &bytes);
    begun.until_copies(&mesh, "report.html", 3).await;
    begun.agent.put_artifact(again.clone(), Path::new("/no/such/file")).await.unwrap();
    begun.agent.put_artifact(again, Path::new("/no/such/file")).await.unwrap();
    begun.put("empty", v1::ArtifactKind::Output, b"").await.unwrap();

    let listed = begun.list(&mesh).await;
    let row = |a: &v1::Artifact| (a.name.clone(), a.bytes, a.step.clone(), a.target.clone(), a.agent.clone(), a.number);
    let expected = |name: &str, bytes| (name.to_owned(), bytes, "pause".to_owned(), "once".to_owned(), "local/a1".to_owned(), 1);
    assert_eq!(
        listed.iter().map(row).collect::<Vec<_>>(),
        [expected("copy.html", bytes.len() as u64), expected("empty", 0), expected("report.html", bytes.len() as u64)]
    );
    for (name, bytes) in [("report.html", &bytes[..]), ("copy.html", &bytes), ("empty", b"")] {
        assert_eq!(read(admin.get_artifact(begun.get(name)).await.unwrap()).await, bytes, "{name}");
    }
    let (_, metrics) = mesh.http(0, "/metrics").await;
    assert!(metrics.contains("mainstay_artifacts_files 2") && metrics.contains("mainstay_artifacts_bytes 700001"), "{metrics}");

    let forget = |name: &str, dry_run| {
        let v1::GetArtifactRequest { run, attempt, name } = begun.get(name);
        v1::ForgetArtifactRequest { run, attempt, name, dry_run }
    };
    admin.forget_artifact(forget("report.html", true)).await.unwrap();
    assert_eq!(begun.list(&mesh).await.len(), 3, "a trial changes nothing");
    admin.forget_artifact(forget("report.html", false)).await.unwrap();
    assert_eq!(read(admin.get_artifact(begun.get("copy.html")).await.unwrap()).await, bytes, "another record names the file");
    admin.forget_artifact(forget("copy.html", false)).await.unwrap();
    eventually("the file is gone everywhere", async || (0..3).all(|member| !on_disk(&mesh, member, &bytes).exists()).then_some(())).await;
    assert!((0..3).all(|member| on_disk(&mesh, member, b"").exists()), "a file that is named stays");
    mesh.stop_all().await;
}
