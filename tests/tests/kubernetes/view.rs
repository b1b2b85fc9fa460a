//! What the mesh knows of a cluster's nodes, while the API server and what lies before and behind it fail.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use mainstay_tests::kubernetes::{Cluster, Proxy, Replica, Trouble, kubeconfig};
use mainstay_tests::up::{Options, Up};
use mainstay_tests::wait::eventually_within;
use mainstay_tests::{eventually, process};
use serde_json::Value;

use super::agents::{acts, findings};

/// A node that nobody runs.
const PAPER: &str = "{apiVersion: v1, kind: Node, metadata: {name: paper, labels: {topology.kubernetes.io/zone: z9}}}";
/// What a control plane may take to be there again.
const RECOVERY: Duration = Duration::from_secs(180);
/// Seconds without an API server, where `make soak` says no others.
const OUTAGE: u64 = 15;
/// What an agent may ask for within this time: `BURST` and `PER_SECOND` of `agent/src/kube/view/pace.rs`.
const WINDOW: Duration = Duration::from_secs(10);
const ASKED_MOST: usize = 10 + 10 * 10;

/// What the mesh says of a cluster; an error where it says nothing.
fn told(up: &Up, cluster: &str) -> Result<Value, String> {
    let nodes = up.try_json(&["node", "list"])?;
    let found = nodes["clusters"].as_array().into_iter().flatten().find(|known| known["cluster"] == cluster);
    found.cloned().ok_or_else(|| nodes.to_string())
}

fn node(known: &Value, name: &str) -> Option<Value> {
    known["nodes"].as_array().into_iter().flatten().find(|node| node["name"] == name).cloned()
}

/// Waits until a node is as it is to be; `None`: it is not there.
async fn is(up: &Up, name: &str, state: impl Fn(Option<&Value>) -> bool) {
    eventually_within(RECOVERY, &format!("the mesh knows how {name} is"), || async {
        let known = told(up, "prod")?;
        if state(node(&known, name).as_ref()) { Ok(()) } else { Err(known.to_string()) }
    })
    .await;
}

async fn is_cordoned(up: &Up, name: &str, cordoned: bool) {
    is(up, name, |node| node.is_some_and(|node| node["cordoned"] == cordoned)).await;
}

/// Runs the daily plan until what it has found of nodes is this one, or nothing.
async fn is_found(up: &Up, name: &str, away: bool) {
    let expected: Vec<String> = away.then(|| format!("Node/{name}")).into_iter().collect();
    eventually_within(RECOVERY, &format!("{name} is found: {away}"), || async {
        let run = up.json(&["run", "start", "daily", "--set", "settleFor=1s"])["run"].as_str().expect("a run").to_owned();
        let ended = up.ended(&run).await;
        let found = findings(up, "prod").into_iter().filter(|(check, _)| check == "kube.node.notReady").map(|(_, of)| of);
        if found.eq(expected.iter().cloned()) { Ok(()) } else { Err(ended.to_string()) }
    })
    .await;
}

/// Changes something as soon as the API server takes it.
async fn kubectl(cluster: &Cluster, words: &[&str]) {
    eventually_within(RECOVERY, &words.join(" "), || std::future::ready(cluster.kubectl(words))).await;
}

/// The kubeconfig of the cluster agent, by way of the proxy.
pub fn through(proxy: &Proxy, cluster: &Cluster, up: &Up) -> PathBuf {
    cluster.apply(include_str!("../../../deploy/kubernetes/cluster-agent.yaml"));
    let file = kubeconfig(cluster, up, "mainstay", "mainstay-cluster-agent");
    proxy.leads(&file);
    file
}

/// Two containers on n1 of which one writes an error and is near its limit, and one of another node.
const WORK: &str = r#"
{apiVersion: apps/v1, kind: Deployment, metadata: {name: web}, spec: {selector: {matchLabels: {app: web}}, template: {metadata: {labels: {app: web}}, spec: {nodeName: n1, terminationGracePeriodSeconds: 0, containers: [
  {name: app, image: "mainstay.test/busybox:1", command: [sh, -c, "echo $(date -u +%Y-%m-%dT%H:%M:%SZ) ERROR no such cart; x=$(head -c 29000000 /dev/zero | tr '\\0' x); sleep infinity"], resources: {requests: {memory: 16Mi, cpu: 10m}, limits: {memory: 64Mi}}},
  {name: side, image: "mainstay.test/busybox:1"}]}}}}
---
{apiVersion: v1, kind: Pod, metadata: {name: elsewhere}, spec: {nodeName: n2, terminationGracePeriodSeconds: 0, containers: [{name: app, image: "mainstay.test/busybox:1"}]}}
"#;

/// Of all nodes; only one of them is of the cluster.
const LOOK: &str = "apiVersion: mainstay.dev/v1alpha1
kind: MaintenancePlan
metadata: {name: pods}
spec:
  steps:
    - {name: resources, uses: node.resources}
    - {name: logs, uses: logs.errors, with: {files: [LOGS]}}
";

async fn knows_its_pods(cluster: &Cluster, up: &Up) {
    let space = cluster.space("pods");
    space.apply(WORK);
    space.wait("deployment/web", "condition=Available");
    let logs = cluster.state().join("n1/var/log/pods/*/*/*.log").display().to_string();
    up.apply("pods", &LOOK.replace("LOGS", &logs));
    let name = space.name().to_owned();
    eventually_within(RECOVERY, "the agent of n1 knows the pods of n1", || async {
        let run = up.json(&["run", "start", "pods"])["run"].as_str().expect("a run").to_owned();
        let ended = up.ended(&run).await;
        let attempts = ended["work"].as_array().into_iter().flatten().flat_map(|work| work["attempts"].as_array().into_iter().flatten());
        let checks: Vec<Value> =
            attempts.flat_map(|attempt| attempt["outcome"]["report"]["checks"].as_array().cloned().unwrap_or_default()).collect();
        let said = |id: &str, what: &[&str]| {
            let text = |check: &Value| format!("{} {} {}", check["subject"], check["message"], check["details"]);
            checks.iter().any(|check| check["id"] == id && what.iter().all(|part| text(check).contains(part)))
        };
        let used = said("pods.used", &[&format!("{name}/web-"), "/app of Deployment/web: ", "(16.0 MiB requested, limit 64.0 MiB)", "/side of "]);
        let other = said("pods.used", &["elsewhere"]);
        let errors = said("logs.errors", &[&format!("{name}/web-"), "/app", "no such cart"]);
        if used && errors && !other { Ok(()) } else { Err(format!("{used} {errors} {other}: {ended}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_mesh_knows_each_node_whatever_happens_to_the_api_server() {
    let cluster = Cluster::start(3);
    let proxy = Proxy::of(&cluster).await;
    let up = Up::start(Options { coordinators: 3, agents: 1, ..Options::default() }).await;
    let kubeconfig = through(&proxy, &cluster, &up);
    let first = Replica::start(&up, "prod", "r1", &kubeconfig);
    acts(&up, "r1").await;

    // All of them, with agent or without.
    for name in ["n1", "n2", "kwok-1", "kwok-2", "kwok-3"] {
        is(&up, name, |node| node.is_some_and(|node| node["ready"] == true && node["cordoned"] == false)).await;
    }
    let known = told(&up, "prod").expect("the cluster");
    assert_eq!(
        (known["nodes"].as_array().map(Vec::len), &known["toldBy"], &known["stale"]),
        (Some(5), &"prod/agent/r1".into(), &false.into()),
        "{known}"
    );
    assert_eq!(node(&known, "n2").expect("n2")["zone"], "z2");

    // One comes, changes and goes.
    cluster.apply(PAPER);
    is(&up, "paper", |node| node.is_some_and(|node| node["ready"] == false && node["zone"] == "z9")).await;
    let shown = up.json(&["node", "show", "prod/paper"]);
    assert_eq!((&shown["agent"], &shown["fact"]["notReadyReason"]), (&Value::Null, &"its kubelet has never said how it is".into()), "{shown}");
    is_found(&up, "paper", true).await;
    kubectl(&cluster, &["cordon", "kwok-1"]).await;
    is_cordoned(&up, "kwok-1", true).await;
    kubectl(&cluster, &["delete", "node", "paper"]).await;
    is_found(&up, "paper", false).await;
    is(&up, "paper", |node| node.is_none()).await;
    assert_eq!(up.cli(&["node", "show", "prod/paper"]).status.code(), Some(2));

    // What was changed while a watch was cut comes with the next one.
    proxy.cut();
    kubectl(&cluster, &["cordon", "kwok-2"]).await;
    is_cordoned(&up, "kwok-2", true).await;

    // What a watch would go on from is forgotten each time: the nodes are listed again, and known all the same.
    let begun = Instant::now();
    proxy.is(Trouble::Forgetful);
    proxy.cut();
    kubectl(&cluster, &["uncordon", "kwok-2"]).await;
    is_cordoned(&up, "kwok-2", false).await;
    let asked = proxy.asked_since(begun);
    let is_asked = |what: &str| asked.iter().any(|line| line.contains("/api/v1/nodes?") && line.contains(what));
    assert!(is_asked("watch=1") && is_asked("limit=500"), "{asked:?}");
    proxy.is(Trouble::Nothing);
    kubectl(&cluster, &["cordon", "kwok-2"]).await;
    is_cordoned(&up, "kwok-2", true).await;

    // An API server that refuses, and says when to come again.
    for refusal in ["429 Too Many Requests\r\nRetry-After: 1", "500 Internal Server Error"] {
        let begun = Instant::now();
        proxy.is(Trouble::Refused(refusal));
        proxy.cut();
        kubectl(&cluster, &["uncordon", "kwok-2"]).await;
        eventually("it is asked more than once", || {
            let asked = proxy.asked_since(begun).len();
            std::future::ready(if asked >= 3 { Ok(()) } else { Err(asked.to_string()) })
        })
        .await;
        proxy.is(Trouble::Nothing);
        is_cordoned(&up, "kwok-2", false).await;
        kubectl(&cluster, &["cordon", "kwok-2"]).await;
        is_cordoned(&up, "kwok-2", true).await;
    }

    // A node's own pods are known to its agent.
    let node_agent = Replica::of_node(&up, "prod", "n1");
    knows_its_pods(&cluster, &up).await;
    drop(node_agent);

    // No API server for a while: what is known stays known, and gets older. What it has forgotten is listed again.
    let outage = std::env::var("MAINSTAY_OUTAGE").map_or(OUTAGE, |seconds| seconds.parse().expect("seconds"));
    let killed = cluster.kill("kube-apiserver");
    eventually("what is known gets old", || async {
        let known = told(&up, "prod")?;
        if known["ageMs"].as_u64() >= Some(outage * 1_000) { Ok(()) } else { Err(known.to_string()) }
    })
    .await;
    assert_eq!(told(&up, "prod").expect("the cluster")["nodes"].as_array().map(Vec::len), Some(5));
    let begun = Instant::now();
    cluster.revive(&killed);
    kubectl(&cluster, &["uncordon", "kwok-1"]).await;
    is_cordoned(&up, "kwok-1", false).await;
    let asked = proxy.asked_since(begun);
    assert!(asked.iter().any(|line| line.contains("limit=500")), "a version that was forgotten makes a list: {asked:?}");

    // Its store dies under it.
    let killed = cluster.kill("etcd");
    cluster.revive(&killed);
    kubectl(&cluster, &["cordon", "kwok-3"]).await;
    is_cordoned(&up, "kwok-3", true).await;

    // Another member leads, and is told of all again.
    let leader = up.leader().await;
    process::kill(up.pid(&leader).expect("the leader's process"));
    kubectl(&cluster, &["uncordon", "kwok-3"]).await;
    is_cordoned(&up, "kwok-3", false).await;
    assert_eq!(told(&up, "prod").expect("the cluster")["nodes"].as_array().map(Vec::len), Some(5));

    let most = proxy.most_within(WINDOW);
    assert!(most <= ASKED_MOST, "{most} requests within {WINDOW:?}");

    // The other replica asks for nothing of the cluster while it does not act, and for all when it does.
    let second = Proxy::of(&cluster).await;
    let _second = Replica::start(&up, "prod", "r2", &through(&second, &cluster, &up));
    eventually("r2 is linked", || async {
        let nodes = up.try_json(&["node", "list"])?;
        let linked = nodes["nodes"].as_array().into_iter().flatten().any(|node| node["name"] == "agent/r2" && node["link"] == "up");
        if linked { Ok(()) } else { Err(nodes.to_string()) }
    })
    .await;
    // But for where it is itself, which it tells with the lease.
    let asked: Vec<String> = second.asked_since(begun).into_iter().filter(|line| !line.contains("fieldSelector=metadata%2Ename%3Dr2")).collect();
    assert_eq!(asked, Vec::<String>::new());
    process::kill(first.pid());
    acts(&up, "r2").await;
    kubectl(&cluster, &["cordon", "kwok-1"]).await;
    is_cordoned(&up, "kwok-1", true).await;
    assert_eq!(told(&up, "prod").expect("the cluster")["toldBy"], "prod/agent/r2");
    cluster.end();
}
