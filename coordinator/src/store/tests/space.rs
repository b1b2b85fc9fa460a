//! A disk that fills up, and one that is slow.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mainstay_core::MemberId;

use super::mesh::{Mesh, PATIENCE, entry, settings, until};
use crate::store::host::Host;
use crate::store::space::Space;
use crate::store::{Disk, ProposeError, Settings};

fn host_with(free: &Arc<AtomicU64>) -> Host {
    let free = free.clone();
    Host { free_bytes: Arc::new(move |_| Ok(free.load(Ordering::Relaxed))), ..Host::default() }
}

fn quick() -> Settings {
    Settings { space_interval: Duration::from_millis(20), reserve_bytes: 1 << 20, ..settings() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_disk_is_full_gives_leadership_away_and_takes_part_again_later() {
    let mut mesh = Mesh::new(quick());
    let mut free = Vec::new();
    for id in 1..=3u64 {
        free.push(Arc::new(AtomicU64::new(1 << 40)));
        mesh.hosts.insert(MemberId(id), host_with(&free[id as usize - 1]));
        mesh.start(id).await.unwrap();
    }
    mesh.member(1).form((1..=3).map(|id| (MemberId(id), super::mesh::peer(id))).collect()).await.unwrap();
    let old = mesh.leader().await;
    mesh.put(1, "before").await;
    free[old as usize - 1].store(20 << 20, Ordering::Relaxed);
    let new = mesh.leader_after(old).await;
    mesh.member(new).propose(&entry(1, "meanwhile")).await.unwrap();
    // It still takes what the others agree on.
    mesh.caught_up(old, new).await;
    // It is not asked to lead again before there is room.
    assert!(mesh.member(new).transfer_leadership(Some(MemberId(old))).await.is_err());
    free[old as usize - 1].store(1 << 40, Ordering::Relaxed);
    until("room", || async { Some(()).filter(|()| !mesh.member(old).gauges().disk_full) }).await;
    mesh.member(new).transfer_leadership(Some(MemberId(old))).await.unwrap();
    mesh.put(1, "after").await;
    mesh.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_all_disks_full_proposals_are_refused_until_there_is_room_and_nothing_is_lost() {
    let free = Arc::new(AtomicU64::new(1 << 40));
    let mut mesh = Mesh::new(quick());
    for id in 1..=3 {
        mesh.hosts.insert(MemberId(id), host_with(&free));
        mesh.start(id).await.unwrap();
    }
    mesh.member(1).form((1..=3).map(|id| (MemberId(id), super::mesh::peer(id))).collect()).await.unwrap();
    mesh.put(1, "before").await;
    until("the reserve", || async { Some(()).filter(|()| mesh.dir(1).join("reserve").exists()) }).await;
    free.store(20 << 20, Ordering::Relaxed);
    until("a full disk", || async { Some(()).filter(|()| (1..=3).all(|id| mesh.member(id).gauges().disk_full)) }).await;
    // The first to notice may have handed leadership over to one that had not looked yet: whoever leads refuses.
    let state = until("a leader that refuses and can be read", || async {
        let leading = mesh.member(mesh.leader().await);
        match leading.propose(&entry(1, "x")).await {
            Err(ProposeError::DiskFull { free }) if free == 20 << 20 => leading.read().await.ok(),
            Err(ProposeError::NotLeader { .. }) => None,
            other => panic!("{other:?}"),
        }
    })
    .await;
    assert_eq!(state.members[&MemberId(1)].name, "before");
    // With next to nothing left the reserve is given up, and an election still works.
    free.store(1 << 20, Ordering::Relaxed);
    until("no reserve", || async { Some(()).filter(|()| !mesh.dir(1).join("reserve").exists()) }).await;
    free.store(1 << 40, Ordering::Relaxed);
    mesh.put(1, "after").await;
    until("the reserve again", || async { Some(()).filter(|()| mesh.dir(1).join("reserve").exists()) }).await;
    mesh.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_stalls_for_half_a_second_is_no_reason_for_an_election() {
    let mut mesh = Mesh::new(settings());
    let stalls: Vec<Arc<AtomicU64>> = (0..3).map(|_| Arc::default()).collect();
    for id in 1..=3u64 {
        let stall = stalls[id as usize - 1].clone();
        let before_sync = Arc::new(move || {
            std::thread::sleep(Duration::from_millis(stall.load(Ordering::Relaxed)));
            Ok(())
        });
        mesh.hosts.insert(MemberId(id), Host { before_sync, ..Host::default() });
        mesh.start(id).await.unwrap();
    }
    mesh.member(1).form((1..=3).map(|id| (MemberId(id), super::mesh::peer(id))).collect()).await.unwrap();
    let leader = mesh.leader().await;
    let tenure = mesh.member(leader).leadership_now().settled();
    for stall in &stalls {
        stall.store(500, Ordering::Relaxed);
        for number in 0..4 {
            let proposed = tokio::time::timeout(PATIENCE, mesh.member(leader).propose(&entry(1, &format!("{number}")))).await;
            proposed.unwrap().unwrap();
        }
        stall.store(0, Ordering::Relaxed);
    }
    stalls.iter().for_each(|stall| stall.store(500, Ordering::Relaxed));
    mesh.member(leader).propose(&entry(1, "all")).await.unwrap();
    assert_eq!(mesh.member(leader).leadership_now().settled(), tenure);
    stalls.iter().for_each(|stall| stall.store(0, Ordering::Relaxed));
    mesh.shutdown().await;
}

#[test]
fn the_table_of_free_space() {
    let dir = tempfile::TempDir::new().unwrap();
    let disk = Disk::open(dir.path(), MemberId(1)).unwrap();
    let free = Arc::new(AtomicU64::new(0));
    let settings = Settings { free_bytes: 64 << 20, ..quick() };
    let space = Space::new(&disk, host_with(&free), &settings);
    let reserve = dir.path().join("reserve");
    // Free MiB, then: newly full, full, critical, and whether the reserve is there afterwards.
    let steps = [
        (65, (false, false, false, true)),
        (63, (true, true, false, true)),
        (65, (false, true, false, true)),
        (7, (false, true, false, false)),
        (23, (false, true, false, false)),
        (7, (false, true, true, false)),
        (64, (false, true, false, false)),
        (73, (false, false, false, true)),
        (9, (true, true, false, true)),
    ];
    for (number, (mib, expected)) in steps.into_iter().enumerate() {
        free.store(mib << 20, Ordering::Relaxed);
        let became = space.look();
        assert_eq!((became, space.is_full(), space.is_critical(), reserve.exists()), expected, "step {number}: {mib} MiB");
    }
    space.expect_snapshot(100 << 20);
    free.store(150 << 20, Ordering::Relaxed);
    space.look();
    assert_eq!(space.admit(), Err(150 << 20));
}
