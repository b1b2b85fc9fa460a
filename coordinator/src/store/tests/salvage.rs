//! The disk of a member whose group is lost.

use mainstay_core::MemberId;

use super::mesh::{Mesh, entry, settings, until};
use crate::store::{Disk, StartError};

#[tokio::test(flavor = "multi_thread")]
async fn a_survivor_has_all_that_was_agreed_on_and_what_it_was_sent_besides() {
    let mut mesh = Mesh::of(3, settings()).await;
    let leader = mesh.leader().await;
    for number in 0..5 {
        mesh.member(leader).propose(&entry(number, "agreed")).await.unwrap();
    }
    let survivor = (1..=3).find(|id| *id != leader).unwrap();
    let third = 6 - leader - survivor;
    mesh.caught_up(survivor, leader).await;
    mesh.caught_up(third, leader).await;
    mesh.member(survivor).snapshot_now().await.unwrap();
    // One that the others have, and this one has not.
    mesh.wires.cut(MemberId(survivor), MemberId(leader));
    mesh.wires.cut(MemberId(survivor), MemberId(third));
    mesh.member(leader).propose(&entry(77, "lost")).await.unwrap();
    // And one that nobody has but the leader.
    mesh.wires.cut(MemberId(third), MemberId(leader));
    let alone = mesh.member(leader).clone();
    let last = alone.gauges().last_index;
    let open = tokio::spawn({
        let alone = alone.clone();
        async move { alone.propose(&entry(78, "open")).await }
    });
    until("it is in the leader's log", || async { (alone.gauges().last_index > last).then_some(()) }).await;
    open.abort();
    drop(alone);
    for id in [leader, third, survivor] {
        mesh.kill(id).await;
    }

    let salvaged = Disk::existing(&mesh.dir(survivor)).unwrap().salvage().await.unwrap();
    assert_eq!(salvaged.member, MemberId(survivor));
    assert_eq!(salvaged.state.members.len(), 5);
    assert!(salvaged.agreed <= salvaged.applied, "{salvaged:?}");
    let all = Disk::existing(&mesh.dir(leader)).unwrap().salvage().await.unwrap();
    assert_eq!(all.state.members.len(), 7, "with what may have been agreed on");
    assert!(all.agreed < all.applied && salvaged.applied < all.applied, "{} of {}, {}", all.agreed, all.applied, salvaged.applied);

    // Nothing has changed: they are a group again.
    for id in 1..=3 {
        mesh.start(id).await.unwrap();
    }
    mesh.wires.heal();
    let leader = mesh.leader().await;
    mesh.member(leader).propose(&entry(8, "goes on")).await.unwrap();
    mesh.caught_up(survivor, leader).await;
    let known = mesh.member(survivor).state().state.members.len();
    assert!((7..=8).contains(&known), "with the lost one, and perhaps the open one: {known}");
    mesh.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_born_where_something_is_to_be_salvaged() {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().join("nobody");
    assert!(matches!(Disk::existing(&dir), Err(StartError::Nobody { .. })));
    assert!(!dir.exists(), "nothing is made");
    let mesh = Mesh::of(1, settings()).await;
    let held = Disk::existing(&mesh.dir(1));
    assert!(matches!(held, Err(StartError::InUse { .. })), "{held:?}");
    mesh.shutdown().await;
    std::fs::write(mesh.dir(1).join("distrusted"), "it went back in time\n").unwrap();
    let distrusted = Disk::existing(&mesh.dir(1));
    assert!(matches!(&distrusted, Err(StartError::Distrusted { why, .. }) if why.contains("back in time")), "{distrusted:?}");
}
