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
use super::switching::{RIGHTS, by, colour, leads_to, service, switch, watch};

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
    /// That step of a switch goes.
    Step(&'static str),
}

const EVENTS: [Event; 3] = [Event::Abort, Event::LeaderDies, Event::AgentDies];
const ROLLOUT: [Phase; 3] = [Phase::Rolled(0), Phase::Rolled(1), Phase::Rolled(2)];
const SWITCH: [Phase; 4] = [Phase::Step("switch"), Phase::Step("watch"), Phase::Step("keep"), Phase::Step("end")];

/// Those of this run of the suite.
fn chosen(phases: &[Phase]) -> Vec<(Phase, Event)> {
    let all: Vec<(Phase, Event)> = phases.iter().flat_map(|phase| EVENTS.map(|event| (*phase, event))).collect();
    match std::env::var("MAINSTAY_PHASES").as_deref() {
        Ok("all") => all,
        Ok(number) => vec![all[number.parse::<usize>().expect("all, or a number") % all.len()]],
        Err(_) => all.choose(&mut rand::rng()).copied().into_iter().collect(),
    }
}

/// A mesh of three members, whose cluster has two replicas.
struct Stage<'s> {
    cluster: &'s Cluster,
    space: &'s Space<'s>,
    up: Up,
    replicas: Vec<(String, Replica)>,
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
        stage.joined("r1");
        acts(&stage.up, "r1").await;
        stage.joined("r2");
        stage
    }

    fn joined(&mut self, id: &str) {
        let kubeconfig = kubeconfig(self.cluster, &self.up, "mainstay", "mainstay-cluster-agent");
        let replica = Replica::start_with(&self.up, "prod", id, &kubeconfig, "[policy]\nallow = [\"*\"]\n");
        self.replicas.push((id.to_owned(), replica));
    }

    async fn happens(&mut self, event: Event, run: &str, number: usize) {
        match event {
            Event::Abort => {
                let aborted = self.up.cli(&["run", "abort", run, "--reason", "not now"]);
                assert!(aborted.status.success(), "{}", String::from_utf8_lossy(&aborted.stderr));
            }
            Event::LeaderDies => {
                let leader = self.up.leader().await;
                process::kill(self.up.pid(&leader).expect("the leader's process"));
            }
            Event::AgentDies => {
                // The one that acts is the one that has been there longest.
                drop(self.replicas.remove(0));
                let next = self.replicas.first().expect("another one").0.clone();
                acts(&self.up, &next).await;
                self.joined(&format!("r{}", number + 3));
            }
        }
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
        stage.happens(event, &run, number).await;
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
async fn a_switch_loses_no_request_whatever_happens_amid_it() {
    let cluster = Cluster::shared();
    let space = cluster.space("phases-switch");
    let mut stage = Stage::new(cluster, &space).await;
    colour(&space, "green", 2);
    for (number, (phase, event)) in chosen(&SWITCH).into_iter().enumerate() {
        let what = format!("{phase:?} {event:?}");
        println!("{what}");
        let before = leads_to(&space, "web");
        let after = if before == "blue" { "green" } else { "blue" };
        // Whoever is next has pods again.
        space.kubectl(&["scale", "deployment", &format!("web-{after}"), "--replicas=2"]).expect("it is scaled");
        eventually("both colours have their pods", || {
            let pods = (stage.pods("blue"), stage.pods("green"));
            std::future::ready(if pods == ((2, 2), (2, 2)) { Ok(()) } else { Err(format!("{pods:?}")) })
        })
        .await;
        let name = space.name();
        let steps = [
            switch(&space, "web", ", settle: 3s"),
            watch(&space, stage.address, "4s"),
            "    - {name: keep, needs: [watch], uses: wait, with: {for: 4s}}\n".to_owned(),
            format!(
                "    - {{name: end, needs: [keep], uses: kube.scale, retry: {{attempts: 4, backoff: 1s}}, with: {{namespace: {name}, name: \"web-{before}\", replicas: 0, notBehind: [web], within: 2m}}}}\n"
            ),
        ];
        let steady = Steady::of(stage.address);
        let run = stage.up.start_run("change", &plan("change", &steps.concat()));
        let Phase::Step(step) = phase else { panic!("{phase:?} is no phase of a switch") };
        stage.up.work_is(&run, step, &["active", "succeeded"]).await;
        stage.happens(event, &run, number).await;
        let ended = stage.up.ended(&run).await;
        let asked = steady.end().await;
        none_failed(&asked, &what);
        let is_aborted = ended["state"] == "aborted";
        assert!(is_aborted || ended["state"] == "completed", "{what}: {ended}");
        assert!(event == Event::Abort || !is_aborted, "{what}: {ended}");
        let led = if is_aborted { before.as_str() } else { after };
        assert_eq!(leads_to(&space, "web"), led, "{what}: {ended}");
        assert!(!by(&asked, &before).is_empty(), "{what}");
        eventually("what is live has all its pods, and what is not live has them where it was kept", || {
            let (live, other) = (stage.pods(led), stage.pods(if led == "blue" { "green" } else { "blue" }));
            let is = live == (2, 2) && (if is_aborted { other == (2, 2) } else { other.0 == 0 });
            std::future::ready(if is { Ok(()) } else { Err(format!("{live:?} {other:?}")) })
        })
        .await;
        stage.up.whole(3).await;
    }
}
