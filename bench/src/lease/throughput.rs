//! Writes, locks and linearizable reads, by the number of clients.

use std::sync::Arc;

use mainstay_client::Mesh;
use mainstay_proto::v1;
use mainstay_tests::Up;

use super::etcd::{self, Client, Etcd};
use super::load::{Load, closed};
use super::{COMMON, PEER, mainstay};
use crate::results::{Better, Row};

/// Connections that clients share, for both.
const CONNECTIONS: usize = 16;
/// Rounds of each, in turns; the middle one counts.
const ROUNDS: usize = 3;
/// Of a lease of etcd, so that none ends in between.
const TTL_SECONDS: i64 = 600;

/// So many clients, and operations of each in one round.
const PHASES: [(usize, usize); 3] = [(1, 600), (64, 80), (512, 16)];

pub async fn measure() -> Vec<Row> {
    let up = mainstay::start().await;
    let etcd = Etcd::start(etcd::DEFAULT).await;
    let mut rows = Vec::new();
    for (clients, each) in PHASES {
        let connections = clients.min(CONNECTIONS);
        let ours: Arc<[Mesh]> = mainstay::clients(&up, connections).into();
        let theirs: Arc<[Client]> = etcd.clients(connections).await.into();
        let settings = |load: &Load, other: &Load| {
            format!(
                "{COMMON}; {clients} clients over {connections} connections, {each} operations each, middle of {ROUNDS} rounds in turns; load generator {:.2} cores for Mainstay, {:.2} for etcd",
                load.generator, other.generator
            )
        };
        let (own, peer) = writes(&ours, &theirs, clients, each).await;
        let goal = if clients == 1 { 1.2 } else { 2.0 };
        let said = settings(&own, &peer);
        rows.push(Row::beside(&format!("lease.write.{clients}.throughput"), "1/s", Better::Higher, own.rate, (PEER, peer.rate), goal, &said));
        rows.push(Row::beside(&format!("lease.write.{clients}.p99"), "ms", Better::Lower, own.p99_ms, (PEER, peer.p99_ms), 1.0, &said));
        let (own, peer) = locks(&ours, &theirs, clients, each / 2).await;
        let said = settings(&own, &peer);
        rows.push(Row::beside(
            &format!("lease.acquire_release.{clients}.throughput"),
            "1/s",
            Better::Higher,
            own.rate,
            (PEER, peer.rate),
            3.0,
            &said,
        ));
    }
    rows.push(reads(&up, &etcd).await);
    rows
}

/// One acquire of a free lease against one put under a lease.
async fn writes(ours: &Arc<[Mesh]>, theirs: &Arc<[Client]>, clients: usize, each: usize) -> (Load, Load) {
    let (mut own, mut peer) = (Vec::new(), Vec::new());
    let leases = leases(theirs, clients).await;
    for round in 0..ROUNDS {
        let meshes = ours.clone();
        let name = move |client: usize, number: usize| format!("bench/w{clients}-{round}-{client}-{number}");
        own.push(
            closed(clients, each, move |client, number| {
                let mesh = meshes[client % meshes.len()].clone();
                async move { drop(mainstay::acquire(&mesh, name(client, number), "bench").await) }
            })
            .await,
        );
        let (stores, leases) = (theirs.clone(), leases.clone());
        peer.push(
            closed(clients, each, move |client, number| {
                let (store, lease) = (stores[client % stores.len()].clone(), leases[client]);
                async move { store.put(name(client, number), "held".into(), lease).await.expect("the put") }
            })
            .await,
        );
        // Not measured: what was acquired would be in the way of the next.
        let meshes = ours.clone();
        closed(clients, each, move |client, number| {
            let mesh = meshes[client % meshes.len()].clone();
            async move { mainstay::release(&mesh, name(client, number), "bench").await }
        })
        .await;
    }
    (Load::middle(&own), Load::middle(&peer))
}

/// Acquire and release against lock and unlock of etcd's own mutex, each client on a lock of its own.
async fn locks(ours: &Arc<[Mesh]>, theirs: &Arc<[Client]>, clients: usize, each: usize) -> (Load, Load) {
    let (mut own, mut peer) = (Vec::new(), Vec::new());
    let leases = leases(theirs, clients).await;
    for _ in 0..ROUNDS {
        let meshes = ours.clone();
        own.push(
            closed(clients, each, move |client, _| {
                let mesh = meshes[client % meshes.len()].clone();
                async move {
                    mainstay::acquire(&mesh, format!("bench/l{client}"), "bench").await;
                    mainstay::release(&mesh, format!("bench/l{client}"), "bench").await;
                }
            })
            .await,
        );
        let (stores, leases) = (theirs.clone(), leases.clone());
        peer.push(
            closed(clients, each, move |client, _| {
                let (store, lease) = (stores[client % stores.len()].clone(), leases[client]);
                async move {
                    let key = store.lock(format!("l{client}"), lease).await.expect("the lock");
                    store.unlock(key).await.expect("the unlock");
                }
            })
            .await,
        );
    }
    (Load::middle(&own), Load::middle(&peer))
}

/// A lease of etcd for each client.
async fn leases(theirs: &Arc<[Client]>, clients: usize) -> Arc<[i64]> {
    let mut leases = Vec::new();
    for client in 0..clients {
        leases.push(theirs[client % theirs.len()].grant(TTL_SECONDS).await.expect("a lease of etcd"));
    }
    leases.into()
}

/// One lease read against one key read, both linearizable.
async fn reads(up: &Up, etcd: &Etcd) -> Row {
    const CLIENTS: usize = 64;
    const EACH: usize = 300;
    let ours: Arc<[Mesh]> = mainstay::clients(up, CONNECTIONS).into();
    let theirs: Arc<[Client]> = etcd.clients(CONNECTIONS).await.into();
    mainstay::acquire(&ours[0], "bench/read".into(), "bench").await;
    theirs[0].put("read".into(), "held".into(), 0).await.expect("the put");
    let (mut own, mut peer) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let meshes = ours.clone();
        own.push(
            closed(CLIENTS, EACH, move |client, _| {
                let mesh = meshes[client % meshes.len()].clone();
                async move { drop(mesh.get_lease(v1::GetLeaseRequest { name: "bench/read".into() }).await.expect("the lease")) }
            })
            .await,
        );
        let stores = theirs.clone();
        peer.push(
            closed(CLIENTS, EACH, move |client, _| {
                let store = stores[client % stores.len()].clone();
                async move { assert_eq!(store.get("read").await.expect("the key"), 1) }
            })
            .await,
        );
    }
    let (own, peer) = (Load::middle(&own), Load::middle(&peer));
    let settings = format!(
        "{COMMON}; {CLIENTS} clients over {CONNECTIONS} connections, {EACH} reads each, middle of {ROUNDS} rounds in turns; load generator {:.2} cores for Mainstay, {:.2} for etcd",
        own.generator, peer.generator
    );
    Row::beside("lease.read", "1/s", Better::Higher, own.rate, (PEER, peer.rate), 1.5, &settings)
}
