//! How long no write is possible after the leader was killed.

use std::time::{Duration, Instant};

use mainstay_client::Mesh;
use mainstay_proto::v1;
use mainstay_tests::{Up, process};

use super::etcd::{self, Client, Etcd, Timeouts};
use super::{COMMON, PEER, mainstay, metrics};
use crate::results::{Better, Row, median};

const TIMES: usize = 20;
/// Of one try of a client of etcd, which then asks the next member.
const TRY: Duration = Duration::from_millis(100);

/// Our followers stand 0.85 to 1.2 s after the leader's last heartbeat, or sooner when its process is known to have ended;
/// etcd's after one to two of these.
const EQUAL: Timeouts = Timeouts { heartbeat_ms: 100, election_ms: 600 };

pub async fn measure() -> Vec<Row> {
    let own = ours().await;
    let mut rows = Vec::new();
    for (name, timeouts, goal) in [("equal", EQUAL, 1.0), ("default", etcd::DEFAULT, 2.0)] {
        let peer = theirs(timeouts).await;
        let settings = format!(
            "{COMMON}; kill -9 of the leader to the next write that a client has an answer to, {TIMES} times; Mainstay as shipped (heartbeat 100 ms, election after 0.85 to 1.2 s, and at once when the leader's process is found to have ended, which is asked after 0.25 s), etcd heartbeat {} ms, election timeout {} ms",
            timeouts.heartbeat_ms, timeouts.election_ms
        );
        for (figure, of) in [("median", median as fn(Vec<f64>) -> f64), ("worst", worst)] {
            let (own, peer) = (of(own.clone()), of(peer.clone()));
            rows.push(Row::beside(&format!("lease.failover.{name}.{figure}"), "s", Better::Lower, own, (PEER, peer), goal, &settings));
        }
    }
    rows
}

fn worst(seconds: Vec<f64>) -> f64 {
    seconds.into_iter().fold(0.0, f64::max)
}

async fn ours() -> Vec<f64> {
    let up: Up = mainstay::start().await;
    let mesh: Mesh = up.client().with_deadline(Duration::from_secs(30));
    let mut seconds = Vec::new();
    for round in 0..TIMES {
        let write = |part: &'static str| {
            let request = v1::AcquireRequest { name: format!("bench/f{round}-{part}"), incarnation: "bench".into(), ..v1::AcquireRequest::default() };
            let mesh = mesh.clone();
            async move { drop(mesh.acquire_lease(request).await.expect("the write")) }
        };
        write("before").await;
        let leader = up.leader().await;
        process::kill(up.pid(&leader).expect("the leader runs"));
        let begun = Instant::now();
        write("after").await;
        seconds.push(begun.elapsed().as_secs_f64());
        // The next one is killed when the last one is back: a mesh of two has no majority without either.
        mainstay_tests::eventually("all members are there again", || async {
            for name in ["c1", "c2", "c3"] {
                if !metrics::is_ready(mainstay::http_port(&up, name)).await {
                    return Err(format!("{name} is not ready"));
                }
            }
            Ok(())
        })
        .await;
        up.ready(3, 1).await;
    }
    seconds
}

async fn theirs(timeouts: Timeouts) -> Vec<f64> {
    let mut etcd = Etcd::start(timeouts).await;
    let mut seconds = Vec::new();
    for round in 0..TIMES {
        let leader = etcd.leader().await;
        let mut clients = Vec::new();
        for place in (0..3).filter(|place| *place != leader) {
            clients.push(etcd.client(place).await.expect("a connection to etcd"));
        }
        process::kill(etcd.pid(leader));
        let begun = Instant::now();
        written(&clients, round).await;
        seconds.push(begun.elapsed().as_secs_f64());
        etcd.bury(leader);
        etcd.started_again(leader).await;
    }
    seconds
}

/// Asks those that are left in turns, until one has written.
async fn written(clients: &[Client], round: usize) {
    loop {
        for client in clients {
            if let Ok(Ok(_)) = tokio::time::timeout(TRY, client.put("failover".into(), round.to_string(), 0)).await {
                return;
            }
        }
    }
}
