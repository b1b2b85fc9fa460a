//! A disk that begins with a state: the first one of a mesh that was recovered.

use mainstay_core::{Actor, Command, Entry, MemberId, MeshTime, State, WallTime};

use super::mesh::{Mesh, entry, peer, settings};
use crate::store::{Disk, StartError};

fn state() -> State {
    let mut state = State::default();
    let command = Command::FormMesh { mesh: "prod".parse().unwrap(), incarnation: 9 };
    state.apply(&Entry { at: MeshTime(1), wall: WallTime(1), by: Actor::Mesh, key: None, command });
    for number in 0..3 {
        state.apply(&entry(number, &format!("member {number}")));
    }
    state
}

#[tokio::test(flavor = "multi_thread")]
async fn a_planted_disk_is_a_mesh_of_one_that_goes_on_and_grows() {
    let mut mesh = Mesh::new(settings());
    let planted = state();
    let disk = Disk::open(&mesh.dir(4), MemberId(4)).unwrap();
    disk.plant(peer(4), 1_000, &planted).unwrap();
    disk.plant(peer(4), 1_000, &planted).unwrap();
    drop(disk);

    mesh.start(4).await.unwrap();
    assert_eq!(*mesh.member(4).state().state, planted);
    assert_eq!(mesh.leader().await, 4);
    assert!(mesh.member(4).is_formed());
    mesh.member(4).propose(&entry(7, "seven")).await.unwrap();
    assert!(mesh.member(4).state().index > 1_000);
    assert_eq!(mesh.member(4).state().state.members.len(), 4);

    // Others join, and get all of it although no log has it.
    mesh.start(5).await.unwrap();
    mesh.member(4).add_learner(MemberId(5), peer(5)).await.unwrap();
    mesh.member(4).promote(MemberId(5)).await.unwrap();
    mesh.caught_up(5, 4).await;
    assert_eq!(mesh.member(5).state().state, mesh.member(4).state().state);
    assert_eq!(mesh.member(5).state().state.incarnation, 9);

    // And it is there after a restart.
    mesh.kill(5).await;
    mesh.kill(4).await;
    mesh.start(4).await.unwrap();
    mesh.start(5).await.unwrap();
    mesh.leader().await;
    assert_eq!(mesh.member(4).state().state.members.len(), 4);
    mesh.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_has_been_used_is_not_planted_over() {
    let mesh = Mesh::of(1, settings()).await;
    mesh.shutdown().await;
    let disk = Disk::open(&mesh.dir(1), MemberId(1)).unwrap();
    assert!(matches!(disk.plant(peer(1), 1_000, &state()), Err(StartError::NotEmpty { .. })));
}
