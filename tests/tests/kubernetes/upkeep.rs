//! Nodes out of use and back, in a cluster of the test's own: by the bundled plan, as budgets allow, whoever dies in between.

use std::collections::BTreeMap;
use std::time::Duration;

use mainstay_tests::kubernetes::{self, Cluster, Space, Watched};
use mainstay_tests::up::{Options, Up};
use mainstay_tests::wait::{PATIENCE, eventually_within};
use serde_json::{Value, json};

use super::agents::{MANIFEST, Replica, acts, kubeconfig};

pub const RUNNER: &str = include_str!("../../../deploy/kubernetes/node-runner.yaml");
pub const POLICY: &str = "[policy]\nallow = [\"kube.cordon\", \"kube.drain\", \"kube.uncordon\"]\n";
/// For a replica that is gone to be noticed, and another one to go on.
const UNTIL_TAKEN_OVER: Duration = Duration::from_secs(120);

fn node(cluster: &Cluster, name: &str) -> Value {
    cluster.json(&["get", "node", name]).expect("the node")
}

/// What a node is like: cordoned, with Mainstay's taint, with the name of a run on it.
pub fn stands(cluster: &Cluster, name: &str) -> Standing {
    standing(&node(cluster, name))
}

/// As [`stands`] has it.
pub type Standing = (bool, bool, bool);

/// The same of an object of a node.
pub fn standing(node: &Value) -> Standing {
    let taints = node.pointer("/spec/taints").map(Value::to_string).unwrap_or_default();
    let is_named = node.pointer("/metadata/annotations").is_some_and(|all| all.get("mainstay.dev/cordoned").is_some());
    (node.pointer("/spec/unschedulable") == Some(&json!(true)), taints.contains("mainstay.dev/maintenance"), is_named)
}

/// What the node's conditions say of its maintenance.
fn conditions(cluster: &Cluster, name: &str) -> Vec<String> {
    let node = node(cluster, name);
    let all = node.pointer("/status/conditions").and_then(Value::as_array).into_iter().flatten();
    let own = ["MaintenancePlanned", "DrainInProgress", "Drained", "MaintenanceInProgress"];
    let said = all.filter_map(|condition| condition["type"].as_str().filter(|kind| own.contains(kind) && condition["status"] == "True"));
    said.map(str::to_owned).collect()
}

pub const FREE: Standing = (false, false, false);
pub const TAKEN: Standing = (true, true, true);

/// How the nodes have stood, change by change, until each of them was free again. The last change is told a moment later.
pub async fn changes(nodes: &Watched) -> Vec<(String, Standing)> {
    eventually_within(PATIENCE, "every node is free", || {
        let name = |node: &Value| node.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default().to_owned();
        let all: Vec<_> = nodes.seen().iter().map(|node| (name(node), standing(node))).collect();
        let last: BTreeMap<_, _> = all.iter().cloned().collect();
        std::future::ready(if last.values().all(|standing| *standing == FREE) { Ok(all) } else { Err(format!("{last:?}")) })
    })
    .await
}

/// Agents of the nodes, once they and others are linked.
pub async fn nodes_are_linked(up: &Up, all: &[&str]) -> [kubernetes::Replica; 2] {
    let nodes = ["n1", "n2"].map(|node| kubernetes::Replica::of_node(up, "prod", node));
    eventually_within(PATIENCE, "the nodes' agents are linked", || {
        let nodes = up.json(&["node", "list"]);
        let is_up = |name: &&str| nodes["nodes"].as_array().into_iter().flatten().any(|node| node["name"] == **name && node["link"] == "up");
        std::future::ready(if all.iter().all(is_up) { Ok(()) } else { Err(nodes.to_string()) })
    })
    .await;
    nodes
}

/// Starts the bundled plan on one node.
pub fn starts(up: &Up, node: &str) -> String {
    let nodes = format!("nodes=[\"{node}\"]");
    up.json(&["run", "start", "node-maintenance", "--set", &nodes])["run"].as_str().expect("a run").to_owned()
}

/// The same steps without a look beforehand, on the first node, for whoever does not heed what it says.
const HASTY: &str = r#"
apiVersion: mainstay.dev/v1alpha1
kind: MaintenancePlan
metadata: {name: hasty}
spec:
  strategy: {maxUnavailable: 1}
  steps:
    - {name: cordon, uses: kube.cordon, if: target.node == "n1"}
    - {name: drain, uses: kube.drain, if: target.node == "n1", needs: [cordon], with: {within: 4s}}
    - {name: uncordon, uses: kube.uncordon, if: target.node == "n1", needs: [drain]}
"#;

/// Pods of an application, on the first node unless something keeps them from there.
pub fn deployment(space: &Space<'_>, name: &str, command: &str, grace: u32) {
    space.apply(&format!(
        "{{apiVersion: apps/v1, kind: Deployment, metadata: {{name: {name}}}, spec: {{replicas: 2, selector: {{matchLabels: {{app: {name}}}}}, template: {{metadata: \
         {{labels: {{app: {name}}}}}, spec: {{terminationGracePeriodSeconds: {grace}, containers: [{{name: app, image: \"mainstay.test/busybox:1\"{command}}}], affinity: \
         {{nodeAffinity: {{requiredDuringSchedulingIgnoredDuringExecution: {{nodeSelectorTerms: [{{matchExpressions: [{{key: kubernetes.io/hostname, operator: In, values: \
         [n1, n2]}}]}}]}}, preferredDuringSchedulingIgnoredDuringExecution: [{{weight: 100, preference: {{matchExpressions: [{{key: kubernetes.io/hostname, operator: In, \
         values: [n1]}}]}}}}]}}}}}}}}}}}}\n"
    ));
    space.wait(&format!("deployment/{name}"), "condition=Available");
}

/// How many of its pods are on a node.
pub fn on(space: &Space<'_>, name: &str, node: &str) -> usize {
    let pods = space.json(&["get", "pods", "-l", &format!("app={name}")]).expect("pods");
    pods["items"].as_array().into_iter().flatten().filter(|pod| pod["spec"]["nodeName"] == node).count()
}

pub fn state_of<'r>(run: &'r Value, step: &str, target: &str) -> &'r Value {
    let works = run["work"].as_array().into_iter().flatten();
    works.filter(|work| work["step"] == step && work["target"] == target).map(|work| &work["state"]).next().unwrap_or(&Value::Null)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_is_drained_as_budgets_allow_and_given_back_as_it_was_whoever_dies_in_between() {
    let cluster = Cluster::start(0);
    let space = cluster.space("upkeep");
    let up = Up::start(Options { coordinators: 1, agents: 1, ..Options::default() }).await;
    cluster.apply(MANIFEST);
    let settings = kubeconfig(&cluster, &up, "mainstay", "mainstay-cluster-agent");
    let first = Replica::start_with(&up, "prod", "r1", &settings, POLICY);
    acts(&up, "r1").await;
    let _second = Replica::start_with(&up, "prod", "r2", &settings, POLICY);
    let _nodes = nodes_are_linked(&up, &["n1", "n2", "agent/r2"]).await;
    deployment(&space, "web", "", 0);
    assert_eq!(on(&space, "web", "n1"), 2);

    // Who lacks the account is told so, before and when.
    let preview = up.json(&["plan", "preview", "node-maintenance", "--set", "nodes=[\"n1\"]"]).to_string();
    let lacks = "ServiceAccount mainstay/mainstay-node-runner of cluster prod, which does not exist, lacks the right to get, patch nodes";
    assert!(preview.contains(lacks) && preview.contains("pods/eviction"), "{preview}");
    let ended = up.ended(&starts(&up, "n1")).await;
    assert!(ended["state"] == "failed" && ended.to_string().contains("lacks the right to get nodes"), "{ended}");
    cluster.apply(RUNNER);

    // A budget that never lets a pod go is named before any node is touched.
    space.apply(
        "{apiVersion: policy/v1, kind: PodDisruptionBudget, metadata: {name: cart}, spec: {minAvailable: 2, selector: {matchLabels: {app: web}}}}\n",
    );
    space.until(PATIENCE, &["pdb", "cart"], |budget| (budget.pointer("/status/currentHealthy")? == 2).then_some(())).await;
    let name = space.name();
    // A preview says so, and which pods fit on no other node.
    space.apply(
        "{apiVersion: apps/v1, kind: Deployment, metadata: {name: pinned}, spec: {replicas: 1, selector: {matchLabels: {app: pinned}}, template: {metadata: {labels: {app: pinned}}, \
         spec: {terminationGracePeriodSeconds: 0, nodeSelector: {kubernetes.io/hostname: n1}, containers: [{name: app, image: \"mainstay.test/busybox:1\"}]}}}}\n",
    );
    space.wait("deployment/pinned", "condition=Available");
    let preview = up.json(&["plan", "preview", "node-maintenance", "--set", "nodes=[\"n1\"]"]).to_string();
    let never = format!("in cluster prod: {name}/PodDisruptionBudget/cart: it needs 2 healthy pods, and there are to be 2: it never lets one go");
    for words in [&*never, "in cluster prod: node/n1: no other node has room for ", "in cluster prod: 0 of 1 nodes could be drained"] {
        assert!(preview.contains(words), "{words}: {preview}");
    }
    space.kubectl(&["delete", "deployment", "pinned", "--cascade=foreground"]).expect("it goes");
    let run = starts(&up, "n1");
    let ended = up.ended(&run).await;
    let text = ended.to_string();
    assert!(text.contains(&format!("{name}/PodDisruptionBudget/cart")) && text.contains("it never lets one go"), "{text}");
    assert_eq!(state_of(&ended, "cordon", "prod/n1"), "skipped", "{ended}");
    let why = String::from_utf8_lossy(&up.cli(&["why", &run]).stdout).into_owned();
    assert!(why.contains("cart") && why.contains("it never lets one go"), "{why}");

    // Who goes on all the same is held up by it, is told so, and the node is given back.
    let watched = Watched::start(&cluster, &["nodes"]).await;
    let ended = up.ended(&up.start_run("hasty", HASTY)).await;
    let text = ended.to_string();
    assert_eq!(ended["state"], "failed", "{ended}");
    assert!(text.contains("not drained within 4s: eviction of ") && text.contains("The disruption budget cart needs 2 healthy pods"), "{text}");
    assert_eq!((stands(&cluster, "n1"), on(&space, "web", "n1")), (FREE, 2));
    let changes = changes(&watched).await;
    assert!(changes.contains(&("n1".to_owned(), TAKEN)), "it was out of use: {changes:?}");
    drop(watched);

    // A pod that nothing makes again is not ended, and nothing else is then.
    space.kubectl(&["delete", "pdb", "cart"]).expect("it goes");
    space.pod("bare", Some("n1"));
    let ended = up.ended(&up.start_run("hasty", HASTY)).await;
    assert!(ended.to_string().contains(&format!("nothing was evicted: {name}/bare: nothing would make it again")), "{ended}");
    assert_eq!((stands(&cluster, "n1"), on(&space, "web", "n1")), (FREE, 2));
    space.kubectl(&["delete", "pod", "bare"]).expect("it goes");

    // A name that is none is not taken for done.
    let ended = up.ended(&starts(&up, "n9")).await.to_string();
    assert!(ended.contains("kube.drainable.missing") && ended.contains("the cluster has no node of this name"), "{ended}");

    // Nothing is in the way: its pods go elsewhere, and it takes pods again. The other node is not touched.
    let ended = up.ended(&starts(&up, "n1")).await;
    assert_eq!((&ended["state"], &ended["verdict"]), (&json!("completed"), &json!("ok")), "{ended}");
    assert_eq!((stands(&cluster, "n1"), on(&space, "web", "n1"), on(&space, "web", "n2")), (FREE, 0, 2), "{ended}");
    assert_eq!((state_of(&ended, "uncordon", "prod/n1"), state_of(&ended, "cordon", "prod/n2")), (&json!("succeeded"), &json!("omitted")), "{ended}");

    let told = cluster.json(&["get", "events", "-n", "default"]).expect("events").to_string();
    assert!(["NodeCordoned", "NodeDrained", "NodeUncordoned"].iter().all(|reason| told.contains(reason)), "{told}");

    // What somebody else has cordoned stays so.
    cluster.kubectl(&["cordon", "n2"]).expect("somebody does");
    let ended = up.ended(&starts(&up, "n2")).await;
    assert_eq!((&ended["state"], stands(&cluster, "n2"), on(&space, "web", "n1")), (&json!("completed"), (true, false, false), 2), "{ended}");
    cluster.kubectl(&["uncordon", "n2"]).expect("somebody does");

    // Called off while its pods end, it is given back.
    deployment(&space, "long", ", command: [sh, -c, \"trap : TERM; while :; do sleep 1; done\"]", 60);
    let run = starts(&up, "n1");
    up.work_is(&run, "drain", &["active"]).await;
    let aborted = up.cli(&["run", "abort", &run, "--reason", "not now"]);
    assert!(aborted.status.success(), "{}", String::from_utf8_lossy(&aborted.stderr));
    let ended = up.ended(&run).await;
    assert_eq!((&ended["state"], stands(&cluster, "n1")), (&json!("aborted"), FREE), "{ended}");
    space.kubectl(&["delete", "deployment", "long"]).expect("it goes");
    space.kubectl(&["delete", "pods", "-l", "app=long", "--grace-period=0", "--force"]).expect("they go");

    // The replica that drains dies while pods end; the other one goes on, and evicts none of the new ones.
    deployment(&space, "slow", ", command: [sh, -c, \"trap : TERM; while :; do sleep 1; done\"]", 35);
    assert_eq!(on(&space, "slow", "n1"), 2);
    let run = starts(&up, "n1");
    let ends = |pods: &Value| pods["items"].as_array()?.iter().any(|pod| pod.pointer("/metadata/deletionTimestamp").is_some()).then_some(());
    space.until(PATIENCE, &["pods", "-l", "app=slow"], ends).await;
    assert_eq!(conditions(&cluster, "n1"), ["DrainInProgress"]);
    let lease = up.json(&["lease", "show", "node/prod/n1"]).to_string();
    assert!(lease.contains(&run), "the run has claimed it: {lease}");
    drop(first);
    acts(&up, "r2").await;
    let over = || {
        let run = up.run(&run);
        std::future::ready(if run["state"] == "running" { Err(run.to_string()) } else { Ok(run) })
    };
    let ended = eventually_within(UNTIL_TAKEN_OVER, "the other one has done it", over).await;
    assert_eq!((&ended["state"], &ended["verdict"]), (&json!("completed"), &json!("ok")), "{ended}");
    let drained = ended["work"].as_array().into_iter().flatten().find(|work| work["step"] == "drain" && work["target"] == "prod/n1").expect("it");
    let by: Vec<&str> = drained["attempts"].as_array().into_iter().flatten().filter_map(|attempt| attempt["agent"].as_str()).collect();
    assert!(by.first() == Some(&"prod/agent/r1") && by.last() == Some(&"prod/agent/r2"), "{by:?}");
    assert_eq!((stands(&cluster, "n1"), on(&space, "slow", "n1"), on(&space, "slow", "n2")), (FREE, 0, 2));
    assert_eq!(conditions(&cluster, "n1"), [""; 0]);
}
