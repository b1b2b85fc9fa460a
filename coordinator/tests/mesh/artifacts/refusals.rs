//! What is not taken, not given, and not left lying about.

use mainstay_client::{TransferError, channel};
use mainstay_proto::v1;
use mainstay_proto::v1::artifacts_client::ArtifactsClient;
use mainstay_proto::v1::put_artifact_request::Part;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use super::{begun, content, incoming, on_disk, read};
use crate::harness::{Mesh, eventually};

fn refusal(result: Result<u32, TransferError>) -> (Option<Code>, String) {
    match result {
        Err(TransferError::Call(error)) => (error.code(), error.to_string()),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn undo_data_is_read_by_the_agent_that_made_it_and_by_nobody_else() {
    let mut mesh = Mesh::of(1).await;
    let begun = begun(&mesh, "a1").await;
    let (code, words) = refusal(begun.put("undo", v1::ArtifactKind::Undo, b"plain text").await);
    assert!(code == Some(Code::InvalidArgument) && words.contains("age format"), "{words}");
    let undo = v1::GetUndoRequest { attempt: begun.attempt.clone() };
    assert_eq!(begun.agent.get_undo(undo.clone()).await.err().unwrap().code(), Some(Code::NotFound), "there is none yet");
    let sealed = b"age-encryption.org/v1\nnot really".as_slice();
    begun.put("undo", v1::ArtifactKind::Undo, sealed).await.unwrap();
    assert_eq!(read(begun.agent.get_undo(undo.clone()).await.unwrap()).await, sealed);

    let denied = |error: mainstay_client::CallError| {
        assert_eq!(error.code(), Some(Code::PermissionDenied), "{error}");
        error.to_string()
    };
    let admin = mesh.operator("ana");
    let words = denied(admin.get_artifact(begun.get("undo")).await.err().unwrap());
    assert!(words.contains("only the agent that made it reads it"), "{words}");
    denied(admin.get_undo(undo.clone()).await.err().unwrap());
    let other = mesh.enrol("cluster/local/node/a2").await;
    denied(other.get_undo(undo).await.err().unwrap());
    denied(other.get_artifact(begun.get("undo")).await.err().unwrap());
    denied(begun.agent.get_artifact(begun.get("undo")).await.err().unwrap());
    assert_eq!(begun.list(&mesh).await[0].kind(), v1::ArtifactKind::Undo, "that it is there is no secret");
    mesh.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_stores_files_of_its_own_attempts_only() {
    let mut mesh = Mesh::of(1).await;
    let begun = begun(&mesh, "a1").await;
    let bytes = content(10);
    let header = begun.header("x", v1::ArtifactKind::Artifact, &bytes);
    let code = |result: Result<v1::ArtifactStored, TransferError>| refusal(result.map(|stored| stored.copies)).0;
    for stranger in [mesh.enrol("cluster/local/node/a2").await, mesh.operator("ana"), mesh.client("ci")] {
        assert_eq!(code(stranger.put_artifact(header.clone(), &begun.file(&bytes)).await), Some(Code::PermissionDenied));
    }
    let other_ledger = v1::PutArtifactHeader { ledger: "another".into(), ..header.clone() };
    assert_eq!(code(begun.agent.put_artifact(other_ledger, &begun.file(&bytes)).await), Some(Code::FailedPrecondition));
    let outside = v1::ArtifactFile { name: "../../etc/passwd".into(), ..header.file.clone().unwrap() };
    let outside = v1::PutArtifactHeader { file: Some(outside), ..header.clone() };
    assert_eq!(code(begun.agent.put_artifact(outside, &begun.file(&bytes)).await), Some(Code::InvalidArgument));
    // What is sent is not what was announced.
    let (code, words) = refusal(begun.agent.put_artifact(header.clone(), &begun.file(b"something!")).await.map(|stored| stored.copies));
    assert!(code == Some(Code::InvalidArgument) && words.contains("not what was announced"), "{words}");
    let (code, words) = refusal(begun.agent.put_artifact(header, &begun.file(&content(11))).await.map(|stored| stored.copies));
    assert!(code == Some(Code::InvalidArgument) && words.contains("more than 10 bytes came"), "{words}");
    assert!(begun.list(&mesh).await.is_empty());
    eventually("nothing is left over", async || (incoming(&mesh, 0) == 0).then_some(())).await;
    assert!(!on_disk(&mesh, 0, &bytes).exists());
    mesh.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_much_is_refused_before_it_is_sent() {
    let mut mesh = Mesh::with(1, |_, settings| settings.artifacts.max_bytes = 1_000).await;
    let begun = begun(&mesh, "a1").await;
    let mut header = begun.header("x", v1::ArtifactKind::Artifact, b"");
    header.file.as_mut().unwrap().bytes = (64 << 20) + 1;
    let missing = std::path::Path::new("/no/such/file");
    let (code, words) = refusal(begun.agent.put_artifact(header, missing).await.map(|stored| stored.copies));
    assert!(code == Some(Code::InvalidArgument) && words.contains("at most 67108864 are stored"), "{words}");
    let (code, words) = refusal(begun.put("y", v1::ArtifactKind::Artifact, &content(1_001)).await);
    assert!(code == Some(Code::ResourceExhausted) && words.contains("at most 1000 bytes of artifacts"), "{words}");
    begun.put("z", v1::ArtifactKind::Artifact, &content(1_000)).await.unwrap();
    mesh.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_disks_are_named_and_one_alone_is_passed_over() {
    let full = |settings: &mut mainstay_coordinator::settings::Settings| settings.artifacts.reserve_bytes = u64::MAX / 2;
    let mut mesh = Mesh::with(3, |index, settings| {
        if index > 0 {
            full(settings)
        }
    })
    .await;
    let begun_ = begun(&mesh, "a1").await;
    let (code, words) = refusal(begun_.put("x", v1::ArtifactKind::Artifact, &content(10)).await);
    assert_eq!(code, Some(Code::ResourceExhausted), "{words}");
    assert!(words.contains("of the 2 members that are to have it") && words.contains("c2: ") && words.contains("there is no room"), "{words}");
    assert!(begun_.list(&mesh).await.is_empty());
    mesh.stop_all().await;

    let mut mesh = Mesh::with(3, |index, settings| {
        if index == 0 {
            full(settings)
        }
    })
    .await;
    let begun = begun(&mesh, "a1").await;
    assert_eq!(begun.put("x", v1::ArtifactKind::Artifact, &content(10)).await.unwrap(), 2, "two have room");
    assert_eq!(read(mesh.operator("ana").get_artifact(begun.get("x")).await.unwrap()).await, content(10));
    mesh.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_is_cut_off_leaves_nothing() {
    let mut mesh = Mesh::of(3).await;
    let begun = begun(&mesh, "a1").await;
    let admin = mesh.operator("ana");
    let leader = mesh.leader(&admin).await;
    let bytes = content(2 << 20);
    let channel = channel::connect(&mesh.addresses()[leader], begun.agent.identity()).await.unwrap();
    let (send, outgoing) = tokio::sync::mpsc::channel(1);
    let part = |part| v1::PutArtifactRequest { part: Some(part) };
    send.try_send(part(Part::Header(begun.header("x", v1::ArtifactKind::Artifact, &bytes)))).unwrap();
    let mut answers = ArtifactsClient::new(channel).put(ReceiverStream::new(outgoing)).await.unwrap().into_inner();
    assert!(matches!(answers.message().await.unwrap().unwrap().answer, Some(v1::put_artifact_response::Answer::Send(_))));
    send.send(part(Part::Data(bytes[..1 << 20].to_vec()))).await.unwrap();
    eventually("all members take it in", async || (0..3).all(|member| incoming(&mesh, member) == 1).then_some(())).await;
    drop((send, answers));
    eventually("nothing is left over", async || (0..3).all(|member| incoming(&mesh, member) == 0).then_some(())).await;
    assert!(begun.list(&mesh).await.is_empty());
    assert!((0..3).all(|member| !on_disk(&mesh, member, &bytes).exists()));
    begun.put("x", v1::ArtifactKind::Artifact, &bytes).await.unwrap();
    mesh.stop_all().await;
}
