//! How long a member takes that is started on a log of a hundred thousand entries.

use std::time::Instant;

use mainstay_tests::process;

use super::etcd::{self, Etcd};
use super::load::closed;
use super::{COMMON, PEER, mainstay, metrics};
use crate::results::{Better, Row, median};

const ENTRIES: usize = 100_000;
const CLIENTS: usize = 256;
const CONNECTIONS: usize = 16;
const TIMES: usize = 3;

/// From the start of a follower's process to its first answer that it is caught up; etcd's to a linearizable read.
pub async fn measure() -> Row {
    let (own, peer) = (ours().await, theirs().await);
    let settings =
        format!("{COMMON}; a follower ended by kill -9 after {ENTRIES} entries, snapshots as each one's defaults have them, median of {TIMES}");
    Row::beside("lease.restart", "s", Better::Lower, own, (PEER, peer), 1.0, &settings)
}

async fn ours() -> f64 {
    let up = mainstay::start().await;
    let meshes = mainstay::clients(&up, CONNECTIONS);
    closed(CLIENTS, ENTRIES / CLIENTS / 2, move |client, _| {
        let mesh = meshes[client % meshes.len()].clone();
        async move {
            mainstay::acquire(&mesh, format!("bench/r{client}"), "bench").await;
            mainstay::release(&mesh, format!("bench/r{client}"), "bench").await;
        }
    })
    .await;
    let leader = up.leader().await;
    let follower = ["c1", "c2", "c3"].into_iter().find(|name| *name != leader).expect("a follower");
    let port = mainstay::http_port(&up, follower);
    let mut seconds = Vec::new();
    for _ in 0..TIMES {
        let old = up.pid(follower).expect("it runs");
        process::kill(old);
        // `up` pauses before it starts it again, which is not the member's time.
        mainstay_tests::eventually("it is started again", || async {
            up.pid(follower).filter(|new| *new != old).map(drop).ok_or_else(|| "not yet".to_owned())
        })
        .await;
        let begun = Instant::now();
        while !metrics::is_ready(port).await {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
        seconds.push(begun.elapsed().as_secs_f64());
    }
    median(seconds)
}

async fn theirs() -> f64 {
    let mut etcd = Etcd::start(etcd::DEFAULT).await;
    let clients = etcd.clients(CONNECTIONS).await;
    closed(CLIENTS, ENTRIES / CLIENTS, move |client, number| {
        let store = clients[client % clients.len()].clone();
        async move { store.put(format!("r{client}"), number.to_string(), 0).await.expect("the put") }
    })
    .await;
    let leader = etcd.leader().await;
    let follower = (leader + 1) % 3;
    let mut seconds = Vec::new();
    for _ in 0..TIMES {
        process::kill(etcd.pid(follower));
        etcd.bury(follower);
        let begun = Instant::now();
        etcd.started_again(follower).await;
        seconds.push(begun.elapsed().as_secs_f64());
    }
    median(seconds)
}
