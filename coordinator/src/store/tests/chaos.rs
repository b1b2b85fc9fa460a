//! Kills, cuts, transfers and snapshots at random, while clients write; then peace. What was acknowledged
//! is there, nobody goes back, and all members agree.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mainstay_core::{MemberId, RequestKey};
use tokio::sync::RwLock;

use super::mesh::{Mesh, PATIENCE, entry, settings, until};
use crate::store::{Consensus, Settings};

/// Members that may be there or not, for clients that only look.
type Members = Arc<RwLock<Vec<Consensus>>>;

/// Writes ever greater numbers under one id; a number is acknowledged, or its outcome is unknown and it is
/// tried again under the same key.
async fn write(id: u64, members: Members, end: Arc<AtomicBool>, acknowledged: Arc<AtomicU64>) {
    for number in 1.. {
        let mut write = entry(id, &format!("{number:08}"));
        write.key = Some(RequestKey(format!("{id}-{number}")));
        loop {
            if end.load(Ordering::Relaxed) {
                return;
            }
            let now = members.read().await.clone();
            let mut done = false;
            for member in &now {
                done = member.propose(&write).await.is_ok();
                if done {
                    break;
                }
            }
            if done {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        acknowledged.store(number, Ordering::Release);
    }
}

/// Reads what a client wrote, and finds nothing older than what had been acknowledged before.
async fn read(id: u64, members: Members, end: Arc<AtomicBool>, acknowledged: Arc<AtomicU64>) -> u64 {
    let mut reads = 0;
    while !end.load(Ordering::Relaxed) {
        let before = acknowledged.load(Ordering::Acquire);
        for member in members.read().await.clone() {
            if let Ok(state) = member.read().await {
                let found = state.members.get(&MemberId(id)).map_or(0, |member| member.name.parse().unwrap());
                assert!(found >= before, "a read found {found} after {before} had been acknowledged");
                reads += 1;
            }
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    reads
}

/// Numbers that look random, the same for one seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

async fn disturb(mesh: &mut Mesh, members: &Members, dice: &mut Dice) {
    let victim = 1 + dice.roll(3);
    let up = mesh.members.contains_key(&MemberId(victim));
    match dice.roll(6) {
        0 | 1 if up => mesh.kill(victim).await,
        2 => (1..=3).filter(|id| *id != victim).for_each(|id| mesh.wires.cut(MemberId(victim), MemberId(id))),
        3 => mesh.wires.heal(),
        4 if up => drop(mesh.member(victim).transfer_leadership(None).await),
        5 if up => drop(mesh.member(victim).snapshot_now().await),
        _ if !up => mesh.start(victim).await.unwrap(),
        _ => {}
    }
    *members.write().await = mesh.members.values().cloned().collect();
}

async fn run(seed: u64) {
    let settings = Settings {
        snapshot_every: 100,
        keep_entries: 120,
        digest_every: 50,
        propose_timeout: Duration::from_millis(700),
        change_timeout: Duration::from_millis(700),
        ..settings()
    };
    let mut mesh = Mesh::of(3, settings).await;
    let members: Members = Arc::new(RwLock::new(mesh.members.values().cloned().collect()));
    let end = Arc::new(AtomicBool::new(false));
    let acknowledged: Vec<Arc<AtomicU64>> = (0..4).map(|_| Arc::default()).collect();
    let writers: Vec<_> =
        (0u64..).zip(&acknowledged).map(|(id, acknowledged)| tokio::spawn(write(id, members.clone(), end.clone(), acknowledged.clone()))).collect();
    let reader = tokio::spawn(read(0, members.clone(), end.clone(), acknowledged[0].clone()));

    let mut dice = Dice(seed);
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(8) {
        disturb(&mut mesh, &members, &mut dice).await;
        tokio::time::sleep(Duration::from_millis(100 + dice.roll(400))).await;
    }
    mesh.wires.heal();
    for id in 1..=3 {
        if !mesh.members.contains_key(&MemberId(id)) {
            mesh.start(id).await.unwrap();
        }
    }
    *members.write().await = mesh.members.values().cloned().collect();
    let before_peace: Vec<u64> = acknowledged.iter().map(|number| number.load(Ordering::Relaxed)).collect();
    until("every client to get on", || async {
        Some(()).filter(|()| acknowledged.iter().zip(&before_peace).all(|(now, before)| now.load(Ordering::Relaxed) > before + 5))
    })
    .await;
    end.store(true, Ordering::Relaxed);
    for writer in writers {
        tokio::time::timeout(PATIENCE, writer).await.unwrap().unwrap();
    }
    assert!(tokio::time::timeout(PATIENCE, reader).await.unwrap().unwrap() > 0);

    let leader = mesh.leader().await;
    let state = mesh.member(leader).read().await.unwrap();
    for (id, acknowledged) in (0u64..).zip(&acknowledged) {
        let found: u64 = state.members[&MemberId(id)].name.parse().unwrap();
        let acknowledged = acknowledged.load(Ordering::Relaxed);
        assert!(found == acknowledged || found == acknowledged + 1, "seed {seed}: {found} found, {acknowledged} acknowledged");
    }
    for id in 1..=3 {
        mesh.caught_up(id, leader).await;
        assert_eq!(*mesh.member(id).stopped().borrow(), None, "seed {seed}");
        let (mine, theirs) = (mesh.member(id).state(), mesh.member(leader).state());
        assert!(mine.index != theirs.index || mine.state == theirs.state, "seed {seed}: member {id} has another state");
    }
    mesh.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_everything_that_happens() {
    for seed in [1, 2] {
        run(seed).await;
    }
}
