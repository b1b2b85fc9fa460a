//! A disk that is lost, a bit that flips, a leader that goes.

use mainstay_proto::v1;

use super::{begun, content, on_disk, read};
use crate::harness::{Mesh, eventually};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_disk_costs_nothing_and_gets_its_copies_back() {
    let mut mesh = Mesh::of(3).await;
    let begun = begun(&mesh, "a1").await;
    let bytes = content(300_000);
    begun.put("output.log", v1::ArtifactKind::Output, &bytes).await.unwrap();
    begun.until_copies(&mesh, "output.log", 3).await;
    let admin = mesh.operator("ana");
    let leader = mesh.leader(&admin).await;
    mesh.stop(leader).await;
    mesh.lose_disk(leader);
    let request = begun.get("output.log");
    let download = eventually("a new leader", async || admin.get_artifact(request.clone()).await.ok()).await;
    assert_eq!(read(download).await, bytes, "while the member is away");
    mesh.start(leader).await;
    eventually("the copy is back", async || on_disk(&mesh, leader, &bytes).exists().then_some(())).await;
    begun.until_copies(&mesh, "output.log", 3).await;
    mesh.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flipped_bit_is_noticed_when_it_is_read_and_mended() {
    let mut mesh = Mesh::of(3).await;
    let begun = begun(&mesh, "a1").await;
    let bytes = content(300_000);
    begun.put("output.log", v1::ArtifactKind::Output, &bytes).await.unwrap();
    begun.until_copies(&mesh, "output.log", 3).await;
    let admin = mesh.operator("ana");
    let leader = mesh.leader(&admin).await;
    let path = on_disk(&mesh, leader, &bytes);
    let mut flipped = bytes.clone();
    flipped[200_000] ^= 4;
    std::fs::write(&path, &flipped).unwrap();
    assert_eq!(read(admin.get_artifact(begun.get("output.log")).await.unwrap()).await, bytes, "from another member");
    eventually("a good copy in its place", async || (std::fs::read(&path).ok()? == bytes).then_some(())).await;
    let (_, metrics) = mesh.http(leader, "/metrics").await;
    assert!(metrics.contains("mainstay_artifacts_damaged_total 1"), "{metrics}");

    // Where no good copy is left, that is what is said.
    for member in 0..3 {
        let path = on_disk(&mesh, member, &bytes);
        eventually("a copy", async || path.exists().then_some(())).await;
        std::fs::write(path, &flipped).unwrap();
    }
    let error = admin.get_artifact(begun.get("output.log")).await.err().unwrap();
    assert_eq!(error.code(), Some(tonic::Code::DataLoss), "{error}");
    let words = error.to_string();
    assert!(words.contains("is lost: no member that answers has a good copy") && words.contains("c1: ") && words.contains("damaged"), "{words}");
    begun.until_copies(&mesh, "output.log", 0).await;
    mesh.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_reads_is_looked_at_all_the_same() {
    let mut mesh = Mesh::with(3, |_, settings| settings.artifacts.verify_every = std::time::Duration::from_millis(100)).await;
    let begun = begun(&mesh, "a1").await;
    let bytes = content(3_000);
    begun.put("output.log", v1::ArtifactKind::Output, &bytes).await.unwrap();
    begun.until_copies(&mesh, "output.log", 3).await;
    let path = on_disk(&mesh, 2, &bytes);
    std::fs::write(&path, content(2_999)).unwrap();
    eventually("a good copy in its place", async || (std::fs::read(&path).ok()? == bytes).then_some(())).await;
    mesh.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_loss_of_one_member_does_not_stop_uploads() {
    let mut mesh = Mesh::of(3).await;
    let begun = begun(&mesh, "a1").await;
    let admin = mesh.operator("ana");
    let leader = mesh.leader(&admin).await;
    let away = (leader + 1) % 3;
    mesh.stop(away).await;
    let bytes = content(300_000);
    assert_eq!(begun.put("output.log", v1::ArtifactKind::Output, &bytes).await.unwrap(), 2);
    mesh.start(away).await;
    begun.until_copies(&mesh, "output.log", 3).await;
    assert_eq!(std::fs::read(on_disk(&mesh, away, &bytes)).unwrap(), bytes);
    mesh.stop_all().await;
}
