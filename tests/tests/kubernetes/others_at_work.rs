//! Nodes that others are at work on, too: kured, the operators of medik8s, the other nodes of the control plane; and what
//! hands do on a node while it is out of use, until it has been rebooted.

use std::collections::BTreeSet;
use std::fs;

use mainstay_tests::kubernetes::{Cluster, Watched, program};
use mainstay_tests::up::{Options, Up};
use mainstay_tests::wait::eventually;
use serde_json::{Value, json};

use super::agents::{MANIFEST, Replica, acts, kubeconfig};
use super::enrolment::{Agent, Door, linked, token};
use super::reboots::a_reboot;
use super::upkeep::{FREE, POLICY, RUNNER, changes, nodes_are_linked, stands};

const MEDIK8S: &str = include_str!("../../../deploy/kubernetes/node-runner-medik8s.yaml");
/// As kured makes it, for no node: its lock is an annotation.
const KURED: &str = "{apiVersion: apps/v1, kind: DaemonSet, metadata: {namespace: kube-system, name: kured, annotations: {weave.works/kured-node-lock: \
    '{\"nodeID\":\"n2\",\"metadata\":{\"unschedulable\":false},\"created\":\"2026-11-28T12:00:00Z\",\"TTL\":0}'}}, spec: {selector: {matchLabels: \
    {app: kured}}, template: {metadata: {labels: {app: kured}}, spec: {nodeSelector: {nowhere: \"true\"}, containers: [{name: kured, image: \
    \"mainstay.test/busybox:1\"}]}}}}\n";
/// By the node maintenance operator, for as long as the test takes.
const LEASE: &str = "{apiVersion: v1, kind: Namespace, metadata: {name: medik8s-leases}}\n---\n\
    {apiVersion: coordination.k8s.io/v1, kind: Lease, metadata: {namespace: medik8s-leases, name: node-n1}, spec: {holderIdentity: node-maintenance, \
    leaseDurationSeconds: 3600, renewTime: \"2100-01-01T00:00:00.000000Z\"}}\n";

/// Out of use and back, on these nodes, with a pause between; what is in the way is waited for so long.
fn plan(name: &str, within: &str, nodes: &str) -> String {
    format!(
        "apiVersion: mainstay.dev/v1alpha1\nkind: MaintenancePlan\nmetadata: {{name: {name}}}\nspec:\n  strategy: {{maxUnavailable: 2}}\n  steps:\n    \
         - {{name: cordon, uses: kube.cordon, if: 'target.node in {nodes}', with: {{within: {within}}}}}\n    \
         - {{name: pause, uses: wait, runOn: node, if: 'target.node in {nodes}', needs: [cordon], with: {{for: 2s}}}}\n    \
         - {{name: uncordon, uses: kube.uncordon, if: 'target.node in {nodes}', needs: [pause]}}\n"
    )
}

/// Gives up on what is in the way, with these words, and leaves the node as it was.
async fn gives_up(cluster: &Cluster, up: &Up, words: &str) {
    let ended = up.ended(&up.start_run("hasty", &plan("hasty", "1s", "[\"n1\"]"))).await;
    assert!(ended["state"] == "failed" && ended.to_string().contains(words), "{words}: {ended}");
    assert_eq!(stands(cluster, "n1"), FREE);
}

async fn comes_off(cluster: &Cluster, up: &Up, run: &str) -> Value {
    let ended = up.ended(run).await;
    assert_eq!((&ended["state"], stands(cluster, "n1")), (&json!("completed"), FREE), "{ended}");
    ended
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_is_taken_when_nobody_else_has_it_and_worked_on_by_its_hands_while_it_is_out_of_use() {
    let cluster = Cluster::start(0);
    let space = cluster.space("others");
    let up = Up::start(Options { coordinators: 1, agents: 1, ..Options::default() }).await;
    cluster.apply(MANIFEST);
    cluster.apply(RUNNER);
    let settings = kubeconfig(&cluster, &up, "mainstay", "mainstay-cluster-agent");
    let hands = format!("{}/hands", space.name());
    let _replica = Replica::start_told(&up, "prod", "r1", &settings, POLICY, &["--vouch-for-hands", &hands]);
    acts(&up, "r1").await;
    let _nodes = nodes_are_linked(&up, &["n1", "n2"]).await;

    // kured is about to reboot a node, and then is not any more.
    cluster.apply(KURED);
    gives_up(&cluster, &up, "not within 1s: kured reboots node n2, by the lock on DaemonSet kube-system/kured").await;
    let run = up.start_run("patient", &plan("patient", "60s", "[\"n1\"]"));
    up.work_is(&run, "cordon", &["active"]).await;
    cluster.kubectl(&["-n", "kube-system", "annotate", "daemonset", "kured", "weave.works/kured-node-lock-"]).expect("kured has done");
    comes_off(&cluster, &up, &run).await;

    // Of the control plane one goes at a time, and never the last.
    let label = "node-role.kubernetes.io/control-plane";
    cluster.kubectl(&["label", "node", "n1", &format!("{label}=")]).expect("a label");
    gives_up(&cluster, &up, "it is the only node of the control plane that is ready and takes pods").await;
    cluster.kubectl(&["label", "node", "n2", &format!("{label}=")]).expect("a label");
    cluster.kubectl(&["cordon", "n2"]).expect("somebody does");
    gives_up(&cluster, &up, "node n2 of the control plane is out already: not ready, or cordoned").await;
    cluster.kubectl(&["uncordon", "n2"]).expect("somebody does");
    let watched = Watched::start(&cluster, &["nodes"]).await;
    let ended = up.ended(&up.start_run("both", &plan("both", "60s", "[\"n1\", \"n2\"]"))).await;
    let (mut out, mut have_been) = (BTreeSet::new(), BTreeSet::new());
    for (node, (is_cordoned, ..)) in changes(&watched).await {
        if is_cordoned {
            have_been.insert(node.clone());
            out.insert(node);
        } else {
            out.remove(&node);
        }
        assert!(out.len() < 2, "both nodes of the control plane are out of use at one time");
    }
    drop(watched);
    assert_eq!((&ended["state"], have_been.len()), (&json!("completed"), 2), "{ended}");
    for node in ["n1", "n2"] {
        cluster.kubectl(&["label", "node", node, &format!("{label}-")]).expect("no label");
    }

    // Where the operators of medik8s leave word of whose a node is, theirs is waited for, and the run's is there for them.
    cluster.apply(LEASE);
    let preview = up.json(&["plan", "preview", "hasty"]).to_string();
    assert!(preview.contains("lacks the right to create, delete, get, patch leases.coordination.k8s.io in medik8s-leases"), "{preview}");
    gives_up(&cluster, &up, "lacks the right to get leases").await;
    cluster.apply(MEDIK8S);
    gives_up(&cluster, &up, "not within 1s: node-maintenance holds Lease medik8s-leases/node-n1, until 2100-01-01T01:00:00Z unless").await;
    let lease = || cluster.kubectl(&["-n", "medik8s-leases", "get", "lease", "node-n1", "-o", "jsonpath={.spec.holderIdentity}"]);
    assert_eq!(lease().as_deref(), Ok("node-maintenance"), "what is another's stays so");
    let leases = Watched::start(&cluster, &["leases", "-n", "medik8s-leases"]).await;
    let run = up.start_run("patient", &plan("patient", "60s", "[\"n1\"]"));
    up.work_is(&run, "cordon", &["active"]).await;
    cluster.kubectl(&["-n", "medik8s-leases", "delete", "lease", "node-n1"]).expect("the operator has done");
    comes_off(&cluster, &up, &run).await;
    eventually("the run has held it", || {
        let holders: Vec<Value> = leases.seen().iter().map(|lease| lease["spec"]["holderIdentity"].clone()).collect();
        let is_run = |holder: &Value| holder.as_str().is_some_and(|holder| holder.starts_with("mainstay/") && holder.ends_with(&format!("/{run}")));
        std::future::ready(if holders.iter().any(is_run) { Ok(()) } else { Err(format!("{holders:?}")) })
    })
    .await;
    drop(leases);
    assert!(lease().is_err_and(|error| error.contains("not found")), "it is given back");

    // What is done in the middle is done by the node's hands, while the node is out of use.
    space.apply("{apiVersion: v1, kind: ServiceAccount, metadata: {name: hands}}\n---\n{apiVersion: v1, kind: Pod, metadata: {name: hands}, spec: {nodeName: n1, serviceAccountName: hands, terminationGracePeriodSeconds: 0, containers: [{name: main, image: \"mainstay.test/busybox:1\"}]}}\n");
    space.wait("pod/hands", "condition=Ready");
    let (token_file, policy, found) = (up.scratch().join("hands-token"), up.scratch().join("hands-policy"), up.scratch().join("found"));
    let root = Door::of(&up).root_sha256;
    fs::write(&token_file, token(&space, "hands", "mainstay/local", Some("hands"))).expect("the pod's token");
    fs::write(&policy, "[policy]\nallow = [\"node.exec\"]\n[[policy.exec]]\ncommand = [\"/bin/sh\", \"-c\", \"*\"]\n").expect("the policy");
    let words = [
        "--node",
        "n1",
        "--hands",
        "--root-sha256",
        &root,
        "--pod-token-file",
        &token_file.display().to_string(),
        "--policy-file",
        &policy.display().to_string(),
    ];
    let hands = Agent::start(&up, "prod", &up.scratch().join("n1-hands"), &words);
    linked(&up, "hands/n1").await;
    let kubectl = format!("{} --kubeconfig {}", program("kubectl").display(), cluster.kubeconfig().display());
    let script = format!(
        "{kubectl} get node n1 -o 'jsonpath={{.spec.unschedulable}} {{.status.conditions[?(@.type==\"Drained\")].status}}' > {}",
        found.display()
    );
    let command = format!("command={}", json!(["/bin/sh", "-c", script]));
    let started =
        up.json(&["run", "start", "node-maintenance", "--set", "nodes=[\"n1\"]", "--set", &command, "--set", "barePods=evict", "--set", "within=1m"]);
    let run = started["run"].as_str().expect("a run");
    let ended = comes_off(&cluster, &up, run).await;
    assert_eq!(fs::read_to_string(&found).expect("what the hands saw"), "true True", "{ended}");
    let works = ended["work"].as_array().into_iter().flatten();
    let by: Vec<&Value> =
        works.filter(|work| work["step"] == "work" && work["target"] == "prod/n1").map(|work| &work["attempts"][0]["agent"]).collect();
    assert_eq!(by, ["prod/hands/n1"], "{ended}");

    // And it is rebooted there, by hands that go with it.
    drop(hands);
    a_reboot(&cluster, &space, &up, &words).await;
}
