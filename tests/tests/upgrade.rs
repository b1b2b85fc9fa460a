//! Members of this build and of the last one in one mesh, under load: an upgrade one by one, with the leader last, and
//! one that is taken back half way.
#![allow(clippy::disallowed_methods, clippy::expect_used, clippy::panic, reason = "a test that cannot go on stops with words")]

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use mainstay_client::Mesh;
use mainstay_client::lease::{Held, HoldOptions};
use mainstay_core::state::FEATURE_LEVEL;
use mainstay_core::state::lease::{LeaseKind, LeaseSpec};
use mainstay_core::{Millis, Token};
use mainstay_proto::v1;
use mainstay_tests::builds::{Build, Builds};
use mainstay_tests::up::binaries;
use mainstay_tests::{Options, Up, eventually, process};
use rustix::process::Signal;
use tokio::task::JoinHandle;

/// Leases that are held from the beginning to the end.
const HELD: usize = 10;
/// Clients that take leases and give them back, and the leases that they share.
const CLIENTS: usize = 4;
const SHARED: usize = 3;
/// Long enough for members to be started anew and for another one to lead, on a machine that does other things too.
const TTL: Millis = Millis(30_000);

/// A run that goes on while members are exchanged.
const LONG: &str = "
apiVersion: mainstay.dev/v1alpha1
kind: MaintenancePlan
metadata: { name: long }
spec:
  strategy: { maxUnavailable: 1 }
  steps:
    - { name: one, uses: wait, runOn: node, with: { for: 4s } }
    - { name: two, uses: wait, runOn: node, needs: [one], with: { for: 4s } }
    - { name: three, uses: wait, needs: [two], with: { for: 4s } }
    - { name: four, uses: wait, needs: [three], lease: deploy/long, with: { for: 100ms } }
";
/// One that is over soon.
const SHORT: &str = "
apiVersion: mainstay.dev/v1alpha1
kind: MaintenancePlan
metadata: { name: short }
spec:
  steps:
    - { name: one, uses: wait, runOn: node, with: { for: 100ms } }
    - { name: two, uses: wait, needs: [one], lease: deploy/short, with: { for: 100ms } }
";

/// A grant as its client saw it.
struct Grant {
    lease: usize,
    asked: Instant,
    told: Instant,
    token: Token,
}

/// Clients of a mesh, until they are told to end.
struct Load {
    held: Vec<Held>,
    clients: Vec<JoinHandle<()>>,
    grants: Arc<Mutex<Vec<Grant>>>,
    is_over: Arc<AtomicBool>,
}

impl Load {
    async fn start(up: &Up) -> Load {
        let mesh = up.client();
        let options = || HoldOptions { spec: Some(spec()), ..HoldOptions::default() };
        let mut held = Vec::new();
        for number in 0..HELD {
            held.push(mesh.hold_lease(&format!("held/{number}"), options()).await.expect("a lease that nobody has"));
        }
        let (grants, is_over) = (Arc::default(), Arc::default());
        let clients = (0..CLIENTS).map(|number| tokio::spawn(client(number, up.client(), Arc::clone(&grants), Arc::clone(&is_over)))).collect();
        Load { held, clients, grants, is_over }
    }

    /// No lease was lost that was renewed, and tokens grew.
    async fn end(self) {
        self.is_over.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.await.expect("a client ends");
        }
        let lost: Vec<&str> = self.held.iter().filter(|held| held.is_lost()).map(Held::name).collect();
        assert!(lost.is_empty(), "lost: {lost:?}");
        for held in self.held {
            held.release().await.expect("a lease that is held is given back");
        }
        let mut grants = std::mem::take(&mut *self.grants.lock().expect("the grants"));
        assert!(grants.len() > 20 * CLIENTS, "{} grants", grants.len());
        grants.sort_by_key(|grant| grant.token);
        for two in grants.windows(2) {
            let [before, after] = two else { continue };
            assert_ne!(before.token, after.token, "a token is given once");
        }
        for (place, grant) in grants.iter().enumerate() {
            let late = grants[..place].iter().find(|other| other.lease == grant.lease && other.asked > grant.told);
            assert!(late.is_none(), "lease {} was granted with {} before {}", grant.lease, grant.token, late.map_or(grant.token, |late| late.token));
        }
    }
}

fn spec() -> LeaseSpec {
    LeaseSpec { slots: 1, ttl: TTL, kind: LeaseKind::Ttl }
}

async fn client(number: usize, mesh: Mesh, grants: Arc<Mutex<Vec<Grant>>>, is_over: Arc<AtomicBool>) {
    let mut turn = number;
    while !is_over.load(Ordering::Relaxed) {
        turn += 1;
        let lease = turn % SHARED;
        let (name, incarnation) = (format!("shared/{lease}"), format!("{number}-{turn}"));
        let asked = Instant::now();
        let request = v1::AcquireRequest { name: name.clone(), incarnation: incarnation.clone(), wait_ms: 2_000, ..v1::AcquireRequest::default() };
        // What has no answer is known by nobody; a lease that it may have got ends by time.
        let Ok(answer) = mesh.acquire_lease(request).await else { continue };
        if let Ok(token) = answer.token.parse() {
            grants.lock().expect("the grants").push(Grant { lease, asked, told: Instant::now(), token });
        }
        let release = v1::ReleaseRequest { name, token: answer.token, incarnation };
        let _ = mesh.release_lease(release).await;
    }
}

async fn mesh(builds: &Builds) -> Up {
    Up::start(Options { agents: 2, programs: Some(builds.dir().to_owned()), ..Options::default() }).await
}

fn level(up: &Up) -> u64 {
    up.json(&["status"])["featureLevel"].as_u64().expect("a level")
}

/// Ends a member or an agent as an operator would; it is started again as what its link points to.
async fn exchange(up: &Up, name: &str) {
    let before = up.pid(name).expect("it runs");
    process::signal(before, Signal::TERM);
    eventually(&format!("{name} is started again"), || async {
        match up.pid(name) {
            Some(pid) if pid != before => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    up.ready(3, 2).await;
    eventually(&format!("{name} has caught up"), || async {
        let members = up.try_json(&["member", "list"])?;
        let behind = |member: &serde_json::Value| member["reachable"] != true || member["behind"].as_u64().is_some_and(|entries| entries > 50);
        if members["members"].as_array().into_iter().flatten().any(behind) { Err(members.to_string()) } else { Ok(()) }
    })
    .await;
}

/// All members, the leader last.
async fn leader_last(up: &Up) -> Vec<String> {
    let leader = up.leader().await;
    let others = ["c1", "c2", "c3"].map(str::to_owned).into_iter().filter(|name| *name != leader);
    others.chain([leader.clone()]).collect()
}

async fn run_is_well(up: &Up, name: &str) {
    let run = up.json(&["run", "start", name])["run"].as_str().expect("a run").to_owned();
    let run = up.ended(&run).await;
    assert_eq!(run["state"], "completed", "{run}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_are_upgraded_one_by_one_and_nothing_is_lost() {
    let builds = Builds::of(Build::Last);
    let up = mesh(&builds).await;
    let before = level(&up);
    assert!(before < u64::from(FEATURE_LEVEL), "the last build knows level {before}: name an older one in tests/last-build");
    let load = Load::start(&up).await;
    let run = up.start_run("long", LONG);
    // A CLI that is newer than the mesh.
    let status = Command::new(binaries().join("mainstay")).arg("--dir").arg(up.dir()).arg("status").output().expect("the CLI runs");
    assert!(status.status.success(), "{}", String::from_utf8_lossy(&status.stderr));

    builds.coordinators(Build::This);
    for member in leader_last(&up).await {
        assert_eq!(level(&up), before, "{member} and others are of the last build");
        exchange(&up, &member).await;
    }
    eventually("the level is raised", || async {
        Some(()).filter(|()| level(&up) == u64::from(FEATURE_LEVEL)).ok_or_else(|| level(&up).to_string())
    })
    .await;
    builds.agents(Build::This);
    for agent in ["a1", "a2"] {
        exchange(&up, agent).await;
    }
    let run = up.ended(&run).await;
    assert_eq!(run["state"], "completed", "{run}");
    load.end().await;
    up.apply("short", SHORT);
    run_is_well(&up, "short").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_goes_back_before_the_level_is_raised() {
    let builds = Builds::of(Build::Last);
    let up = mesh(&builds).await;
    let before = level(&up);
    up.apply("short", SHORT);
    let load = Load::start(&up).await;
    let members = leader_last(&up).await;
    let [first, second, old] = members.as_slice() else { panic!("three members") };
    builds.coordinators(Build::This);
    builds.agents(Build::This);
    exchange(&up, first).await;
    exchange(&up, second).await;
    exchange(&up, "a1").await;
    // Each build leads over the other.
    for leader in [first, old] {
        // Another one may be elected while it moves: then it is asked for again.
        eventually(&format!("{leader} leads"), || async {
            if up.leader().await == *leader {
                return Ok(());
            }
            Err(String::from_utf8_lossy(&up.cli(&["member", "transfer", leader]).stderr).into_owned())
        })
        .await;
        run_is_well(&up, "short").await;
    }
    assert_eq!(level(&up), before, "one member is of the last build");
    builds.coordinators(Build::Last);
    builds.agents(Build::Last);
    for name in [first, second, "a1"] {
        exchange(&up, name).await;
    }
    run_is_well(&up, "short").await;
    assert_eq!(level(&up), before);
    load.end().await;
}
