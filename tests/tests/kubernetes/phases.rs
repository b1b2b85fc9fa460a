//! At each phase of a transition its leader dies, its agent dies, or somebody calls it off: no request fails, and what is
//! there afterwards is whole. One phase of each transition is drawn here, all of them in `make soak`.
//!
//! `MAINSTAY_PHASES=all` runs all, `MAINSTAY_PHASES=5` the sixth.

use mainstay_tests::kubernetes::steady::{Asked, CLIENTS, Sort, Steady, failures};
use mainstay_tests::kubernetes::{Cluster, Space};
use mainstay_tests::process;
use mainstay_tests::up::{Options, Up};
use mainstay_tests::wait::{PATIENCE, eventually};
use rand::seq::IndexedRandom as _;
use serde_json::{Value, json};

use super::agents::{MANIFEST, Replica, acts, kubeconfig, plan, runner};
use super::blue_green;
use super::switching::{RIGHTS, by, colour, service};

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    Abort,
    LeaderDies,
    AgentDies,
}

/// A transition, and how far it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// So many pods of the rollout are new.
    Rolled(i64),
    /// That step of the bundled plan `blue-green` goes.
    Step(&'static str),
}

const EVENTS: [Event; 3] = [Event::Abort, Event::LeaderDies, Event::AgentDies];
const ROLLOUT: [Phase; 3] = [Phase::Rolled(0), Phase::Rolled(1), Phase::Rolled(2)];
const BLUE_GREEN: [Phase; 7] = [
    Phase::Step("deploy"),
    Phase::Step("ready"),
    Phase::Step("smoke"),
    Phase::Step("switch"),
    Phase::Step("watch"),
    Phase::Step("keep"),
    Phase::Step("end"),
];
const ALLOWED: &str = "[policy]\nallow = [\"*\"]\n";

/// Those of this run of the suite.
fn chosen(phases: &[Phase]) -> Vec<(Phase, Event)> {
    let all: Vec<(Phase, Event)> = phases.iter().flat_map(|phase| EVENTS.map(|event| (*phase, event))).collect();
    match std::env::var("MAINSTAY_PHASES").as_deref() {
        Ok("all") => all,
        Ok(number) => vec![all[number.parse::<usize>().expect("all, or a number") % all.len()]],
        Err(_) => all.choose(&mut rand::rng()).copied().into_iter().collect(),
    }
}

/// Each by its name, the one that acts first.
type Replicas = Vec<(String, Replica)>;

/// Has it happen to a run; whoever dies is followed by another one that `joined` starts.
async fn happens(event: Event, run: &str, up: &Up, replicas: &mut Replicas, number: usize, joined: impl FnOnce(&str) -> Replica) {
    match event {
        Event::Abort => {
            let aborted = up.cli(&["run", "abort", run, "--reason", "not now"]);
            // It may have come to its end meanwhile.
            let is_over = up.run(run)["state"] == "completed";
            assert!(aborted.status.success() || is_over, "{}", String::from_utf8_lossy(&aborted.stderr));
        }
        Event::LeaderDies => {
            let leader = up.leader().await;
            process::kill(up.pid(&leader).expect("the leader's process"));
        }
        Event::AgentDies => {
            // The one that acts is the one that has been there longest.
            drop(replicas.remove(0));
            let next = replicas.first().expect("another one").0.clone();
            acts(up, &next).await;
            let id = format!("r{}", number + 3);
            let replica = joined(&id);
            replicas.push((id, replica));
        }
    }
}

/// A mesh of three members, whose cluster has two replicas.
struct Stage<'s> {
    cluster: &'s Cluster,
    space: &'s Space<'s>,
    up: Up,
    replicas: Replicas,
    address: std::net::SocketAddr,
}

impl<'s> Stage<'s> {
    async fn new(cluster: &'s Cluster, space: &'s Space<'s>) -> Stage<'s> {
        let up = Up::start(Options { coordinators: 3, agents: 1, ..Options::default() }).await;
        cluster.apply(MANIFEST);
        runner(space, &format!("{RIGHTS}, {{apiGroups: [policy], resources: [poddisruptionbudgets], verbs: [list]}}"));
        colour(space, "blue", 2);
        let address = service(space, "web").await;
        let mut stage = Stage { cluster, space, up, replicas: Vec::new(), address };
        for id in ["r1", "r2"] {
            let replica = stage.joined(id);
            acts(&stage.up, "r1").await;
            stage.replicas.push((id.to_owned(), replica));
        }
        stage
    }

    fn joined(&self, id: &str) -> Replica {
        let kubeconfig = kubeconfig(self.cluster, &self.up, "mainstay", "mainstay-cluster-agent");
        Replica::start_with(&self.up, "prod", id, &kubeconfig, ALLOWED)
    }

    /// Whether all pods of a colour are there, as many as it has.
    fn pods(&self, colour: &str) -> (i64, i64) {
        let deployment = self.space.json(&["get", "deployment", &format!("web-{colour}")]).expect("it");
        let number = |pointer: &str| deployment.pointer(pointer).and_then(Value::as_i64).unwrap_or_default();
        (number("/spec/replicas"), number("/status/availableReplicas"))
    }
}

pub fn none_failed(asked: &[Asked], what: &str) {
    let failed = failures(asked, Sort::New);
    assert!(failed.is_empty(), "{what}: {failed:?} of {} requests", asked.len());
    // A server that ends may cut a kept connection while a request is on its way.
    let cut: usize = failures(asked, Sort::Kept).values().sum();
    assert!(cut <= 2 * CLIENTS, "{what}: kept connections: {:?}", failures(asked, Sort::Kept));
    assert!(asked.len() > 50, "{what}: {}", asked.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollout_loses_no_request_whatever_happens_amid_it() {
    let cluster = Cluster::shared();
    let space = cluster.space("phases-rollout");
    let mut stage = Stage::new(cluster, &space).await;
    let version = |space: &Space<'_>| {
        let deployment = space.json(&["get", "deployment", "web-blue"]).expect("it");
        deployment.pointer("/spec/template/spec/containers/0/env/0/value").and_then(Value::as_str).unwrap_or("none").to_owned()
    };
    for (number, (phase, event)) in chosen(&ROLLOUT).into_iter().enumerate() {
        let what = format!("{phase:?} {event:?}");
        println!("{what}");
        let (before, next) = (version(&space), format!("v{number}"));
        let name = space.name();
        let steps = format!(
            "    - {{name: roll, uses: kube.rollout, retry: {{attempts: 4, backoff: 1s}}, with: {{namespace: {name}, name: web-blue, env: {{web: {{VERSION: {next}}}}}, within: 3m}}}}\n"
        );
        let steady = Steady::of(stage.address);
        let run = stage.up.start_run("roll", &plan("roll", &steps));
        let Phase::Rolled(new) = phase else { panic!("{phase:?} is no phase of a rollout") };
        let is_there = |deployment: &Value| {
            let is_changed = deployment.pointer("/spec/template/spec/containers/0/env/0/value")? == &json!(next);
            let updated = deployment.pointer("/status/updatedReplicas").and_then(Value::as_i64).unwrap_or_default();
            let is_seen = deployment.pointer("/status/observedGeneration") == deployment.pointer("/metadata/generation");
            (is_changed && is_seen && updated >= new).then_some(())
        };
        space.until(PATIENCE, &["deployment", "web-blue"], is_there).await;
        let joined = |id: &str| {
            let kubeconfig = kubeconfig(cluster, &stage.up, "mainstay", "mainstay-cluster-agent");
            Replica::start_with(&stage.up, "prod", id, &kubeconfig, ALLOWED)
        };
        happens(event, &run, &stage.up, &mut stage.replicas, number, joined).await;
        let ended = stage.up.ended(&run).await;
        none_failed(&steady.end().await, &what);
        // An abort may come after all was done.
        let (state, left) = if ended["state"] == "aborted" { ("aborted", before) } else { ("completed", next) };
        assert!(event == Event::Abort || state == "completed", "{what}: {ended}");
        assert_eq!((ended["state"].as_str(), version(&space)), (Some(state), left), "{what}: {ended}");
        eventually("all of its pods are there", || {
            let pods = stage.pods("blue");
            std::future::ready(if pods == (2, 2) { Ok(()) } else { Err(format!("{pods:?}")) })
        })
        .await;
        stage.up.whole(3).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blue_green_run_loses_no_request_whatever_happens_amid_it() {
    let cluster = Cluster::shared();
    let space = cluster.space("phases-blue-green");
    let mut stage = blue_green::Stage::of_members(cluster, &space, 3).await;
    // The first one is like any other, but that nobody asks yet.
    stage.completes(&["replicas=2", "keepFor=0s"]).await;
    let mut replicas = vec![("r1".to_owned(), stage.replica.take().expect("the replica"))];
    replicas.push(("r2".to_owned(), stage.joined("r2")));
    for (number, (phase, event)) in chosen(&BLUE_GREEN).into_iter().enumerate() {
        let what = format!("{phase:?} {event:?}");
        println!("{what}");
        let before = stage.live();
        let after = if before == "web-blue" { "web-green" } else { "web-blue" };
        let steady = Steady::of(stage.address);
        let run = stage.starts(&["watch=4s", "keepFor=4s", "smokeImage=mainstay.test/busybox:1", "smoke=[\"sleep\", \"3\"]"]);
        let Phase::Step(step) = phase else { panic!("{phase:?} is no phase of a blue-green run") };
        stage.up.work_is(&run, step, &["active", "succeeded"]).await;
        happens(event, &run, &stage.up, &mut replicas, number, |id| stage.joined(id)).await;
        let ended = stage.up.ended(&run).await;
        let asked = steady.end().await;
        none_failed(&asked, &what);
        let (is_aborted, live) = (ended["state"] == "aborted", stage.live());
        assert!(is_aborted || ended["state"] == "completed", "{what}: {ended}");
        assert!(event == Event::Abort || !is_aborted, "{what}: {ended}");
        assert_eq!(live, if is_aborted { before.as_str() } else { after }, "{what}: {ended}");
        assert!(!by(&asked, before.trim_start_matches("web-")).is_empty(), "{what}");
        eventually("what is live has all its pods, and what is not live has none or, after an abort, those of its release", || {
            let (all, other) = (stage.ready(&live).len(), if live == "web-blue" { "web-green" } else { "web-blue" });
            let others = stage.replicas(other).unwrap_or_default();
            let is = all == 2 && (others == 0 || (is_aborted && others == 2));
            std::future::ready(if is { Ok(()) } else { Err(format!("{all} pods, and {others} of {other}: {ended}")) })
        })
        .await;
        stage.up.whole(3).await;
    }
}
