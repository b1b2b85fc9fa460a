//! Ten thousand leases that are held: how fast they are renewed, and what they and a thousand runs cost in memory.

use std::sync::Arc;

use mainstay_client::Mesh;
use mainstay_proto::v1;
use mainstay_tests::{Up, process};
use rustix::process::Pid;
use tokio::sync::{Mutex, mpsc};
use tonic::Streaming;

use super::etcd::api::etcdserverpb::{LeaseKeepAliveRequest, LeaseKeepAliveResponse};
use super::etcd::{self, Client, Etcd};
use super::load::{Load, closed};
use super::{COMMON, PEER, mainstay};
use crate::results::{Better, Row};

const LEASES: usize = 10_000;
const CLIENTS: usize = 64;
/// Leases of each client; what is over goes to nobody.
const EACH: usize = LEASES / CLIENTS + 1;
const CONNECTIONS: usize = 16;
const ROUNDS: usize = 3;
/// How often each client renews all of its leases in one round.
const PASSES: usize = 20;
const TTL_SECONDS: i64 = 600;
const PLANS: usize = 50;
const RUNS_OF_EACH: usize = 20;
const MIB: f64 = (1 << 20) as f64;

pub async fn measure() -> Vec<Row> {
    let up = mainstay::start().await;
    let etcd = Etcd::start(etcd::DEFAULT).await;
    let ours: Arc<[Mesh]> = mainstay::clients(&up, CONNECTIONS).into();
    let theirs: Arc<[Client]> = etcd.clients(CONNECTIONS).await.into();
    let tokens = hold(&ours).await;
    let keepers = grant(&theirs).await;
    let mut rows = vec![keepalive(&ours, tokens, keepers).await];
    finished_runs(&up).await;
    let largest = |pids: Vec<Pid>| pids.into_iter().map(|pid| process::resident_bytes(pid) as f64 / MIB).fold(0.0, f64::max);
    let (own, peer) = (largest(mainstay::pids(&up)), largest(etcd.pids()));
    let settings = format!(
        "{COMMON}; resident, the largest member: {LEASES} held leases and {} finished runs, etcd {LEASES} leases with a key each and no runs",
        PLANS * RUNS_OF_EACH
    );
    rows.push(Row::beside("lease.memory", "MiB", Better::Lower, own, (PEER, peer), 1.0, &settings));
    rows
}

fn name(client: usize, number: usize) -> String {
    format!("bench/h{client}-{number}")
}

type Tokens = Arc<[Vec<String>]>;

async fn hold(ours: &Arc<[Mesh]>) -> Tokens {
    let tokens: Arc<Vec<Mutex<Vec<String>>>> = Arc::new((0..CLIENTS).map(|_| Mutex::default()).collect());
    let (meshes, kept) = (ours.clone(), tokens.clone());
    closed(CLIENTS, EACH, move |client, number| {
        let (mesh, kept) = (meshes[client % meshes.len()].clone(), kept.clone());
        async move {
            let token = mainstay::acquire(&mesh, name(client, number), "bench").await;
            kept[client].lock().await.push(token);
        }
    })
    .await;
    let mut all = Vec::new();
    for client in tokens.iter() {
        all.push(client.lock().await.clone());
    }
    all.into()
}

/// What one client of etcd renews its leases by: ids, and the one stream that carries them all.
struct Keeper {
    leases: Vec<i64>,
    renewals: mpsc::Sender<LeaseKeepAliveRequest>,
    answers: Streaming<LeaseKeepAliveResponse>,
}

type Keepers = Arc<Vec<Mutex<Keeper>>>;

/// A lease with a key for each.
async fn grant(theirs: &Arc<[Client]>) -> Keepers {
    let leases: Arc<Vec<Mutex<Vec<i64>>>> = Arc::new((0..CLIENTS).map(|_| Mutex::default()).collect());
    let (stores, kept) = (theirs.clone(), leases.clone());
    closed(CLIENTS, EACH, move |client, number| {
        let (store, kept) = (stores[client % stores.len()].clone(), kept.clone());
        async move {
            let lease = store.grant(TTL_SECONDS).await.expect("a lease of etcd");
            store.put(name(client, number), "held".into(), lease).await.expect("its key");
            kept[client].lock().await.push(lease);
        }
    })
    .await;
    let mut keepers = Vec::new();
    for (client, leases) in leases.iter().enumerate() {
        let (renewals, outgoing) = mpsc::channel(EACH);
        let outgoing = futures::stream::unfold(outgoing, |mut outgoing| async move { outgoing.recv().await.map(|next| (next, outgoing)) });
        // The server answers the call when the first renewal has come.
        let leases = leases.lock().await.clone();
        renewals.send(LeaseKeepAliveRequest { id: leases[0] }).await.expect("room for the first");
        let mut answers = theirs[client % theirs.len()].leases().lease_keep_alive(outgoing).await.expect("its stream").into_inner();
        answers.message().await.expect("its answer");
        keepers.push(Mutex::new(Keeper { leases, renewals, answers }));
    }
    Arc::new(keepers)
}

async fn keepalive(ours: &Arc<[Mesh]>, tokens: Tokens, keepers: Keepers) -> Row {
    let (mut own, mut peer) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (meshes, tokens) = (ours.clone(), tokens.clone());
        own.push(
            closed(CLIENTS, PASSES, move |client, _| {
                let (mesh, tokens) = (meshes[client % meshes.len()].clone(), tokens.clone());
                async move {
                    let renewal = |(number, token): (usize, &String)| v1::RenewRequest {
                        name: name(client, number),
                        token: token.clone(),
                        incarnation: "bench".into(),
                    };
                    let request = v1::RenewManyRequest { leases: tokens[client].iter().enumerate().map(renewal).collect() };
                    let renewals = mesh.renew_leases(request).await.expect("the renewals").renewals;
                    assert!(renewals.len() == EACH && renewals.iter().all(|renewal| renewal.ttl_ms > 0), "all leases live");
                }
            })
            .await,
        );
        let keepers = keepers.clone();
        peer.push(
            closed(CLIENTS, PASSES, move |client, _| {
                let keepers = keepers.clone();
                async move {
                    let Keeper { leases, renewals, answers } = &mut *keepers[client].lock().await;
                    let send = async {
                        for id in leases.iter() {
                            renewals.send(LeaseKeepAliveRequest { id: *id }).await.expect("the stream lives");
                        }
                    };
                    let receive = async {
                        for _ in leases.iter() {
                            let answer = answers.message().await.expect("its answer").expect("the stream lives");
                            assert!(answer.ttl > 0, "the lease lives");
                        }
                    };
                    tokio::join!(send, receive);
                }
            })
            .await,
        );
    }
    let (own, peer) = (Load::middle(&own), Load::middle(&peer));
    let settings = format!(
        "{COMMON}; {CLIENTS} clients over {CONNECTIONS} connections renew {LEASES} live leases, each client all of its own again and again, {PASSES} times, middle of {ROUNDS} rounds in turns; Mainstay by one call for all leases of a client, etcd by one stream for each client, which is what its interface has for that, on which all renewals are sent before the first answer is waited for; load generator {:.2} cores for Mainstay, {:.2} for etcd",
        own.generator, peer.generator
    );
    let each = EACH as f64;
    Row::beside("lease.keepalive", "1/s", Better::Higher, own.rate * each, (PEER, peer.rate * each), 1.5, &settings)
}

/// Runs with one step that has nothing to do.
async fn finished_runs(up: &Up) {
    let mesh = up.client();
    for number in 0..PLANS {
        let name = format!("bench-{number}");
        up.apply(
            &name,
            &format!(
                "apiVersion: mainstay.dev/v1alpha1\nkind: MaintenancePlan\nmetadata: {{ name: {name} }}\nspec:\n  concurrency: allow\n  steps:\n    - {{ name: look, uses: wait, if: \"run.number < 0\", with: {{ for: 1s }} }}\n"
            ),
        );
        for _ in 0..RUNS_OF_EACH {
            let request = v1::StartRunRequest { plan: name.clone(), ..v1::StartRunRequest::default() };
            mesh.start_run(request).await.expect("the run");
        }
    }
    mainstay_tests::eventually("all runs have ended", || async {
        let status = up.try_json(&["status"])?;
        if status["runsOpen"].as_u64().unwrap_or(0) == 0 { Ok(()) } else { Err(status.to_string()) }
    })
    .await;
}
