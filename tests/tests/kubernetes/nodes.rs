//! Nodes, and the network between their pods.

use std::collections::BTreeSet;

use mainstay_tests::eventually;
use mainstay_tests::kubernetes::{Cluster, SIMULATED};
use mainstay_tests::up::binaries;
use mainstay_tests::wait::PATIENCE;
use serde_json::Value;

/// Two pods, one on each node, that say who they are.
const WEB: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 0
      topologySpreadConstraints:
      - {maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {app: web}}}
      containers: [{name: web, image: "mainstay.test/nginx:1", readinessProbe: {httpGet: {port: 80}, periodSeconds: 1}}]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80}]}
"#;

fn text<'a>(value: &'a Value, path: &str) -> &'a str {
    value.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

#[test]
fn two_nodes_are_real_and_the_others_as_many_as_asked_for() {
    let cluster = Cluster::shared();
    let list = cluster.json(&["get", "nodes"]).expect("nodes");
    let nodes = list["items"].as_array().expect("a list");
    let ready = |node: &Value| {
        let conditions = node.pointer("/status/conditions").and_then(Value::as_array).expect("conditions");
        conditions.iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
    };
    let runtime = |node: &Value| text(node, "/status/nodeInfo/containerRuntimeVersion").to_owned();
    let real: Vec<&str> = nodes.iter().filter(|node| runtime(node).starts_with("containerd://")).map(|node| text(node, "/metadata/name")).collect();
    assert_eq!(real, ["n1", "n2"]);
    assert_eq!(nodes.iter().filter(|node| runtime(node).starts_with("kwok")).count(), SIMULATED);
    assert_eq!(nodes.len(), 2 + SIMULATED);
    assert!(nodes.iter().all(ready), "{list}");
    // Each has a name, a network, and files of its own.
    for node in real {
        assert_eq!(cluster.on(node, &["hostname"]).expect("its name").trim(), node);
        let links = cluster.on(node, &["ip", "-br", "address", "show", "eth0"]).expect("its address");
        assert!(links.contains(text(nodes.iter().find(|one| text(one, "/metadata/name") == node).expect("it"), "/status/addresses/0/address")));
        assert!(cluster.on(node, &["ls", "/var/lib/kubelet/pods"]).is_ok());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_is_reached_by_name_from_the_pods_of_either_node() {
    let space = Cluster::shared().space("web");
    space.apply(WEB);
    space.wait("deployment/web", "condition=Available");
    let pods = space.json(&["get", "pods", "-l", "app=web"]).expect("pods");
    let pods = pods["items"].as_array().expect("a list");
    let nodes: BTreeSet<&str> = pods.iter().map(|pod| text(pod, "/spec/nodeName")).collect();
    assert_eq!(nodes, BTreeSet::from(["n1", "n2"]));
    let names: BTreeSet<&str> = pods.iter().map(|pod| text(pod, "/metadata/name")).collect();
    let service = format!("http://web.{}.svc.cluster.local/", space.name());
    for node in nodes {
        let client = format!("client-{node}");
        space.pod(&client, Some(node));
        // Whom one reaches is drawn at random each time. The name and the rules come a little after the pods.
        let script = format!("for i in $(seq 20); do wget -qO- {service} || exit 1; done");
        let ask = || {
            let said = space.exec(&client, &["sh", "-c", &script]);
            let reached = said.and_then(|said| if said.lines().collect::<BTreeSet<_>>() == names { Ok(()) } else { Err(said) });
            std::future::ready(reached)
        };
        eventually(&format!("both pods are reached from {node}"), ask).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_of_a_simulated_node_is_ready_without_running() {
    let space = Cluster::shared().space("simulated");
    space.apply(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: shadow}\n\
         spec: {nodeSelector: {type: kwok}, tolerations: [{operator: Exists}], containers: [{name: main, image: \"nowhere/nothing:1\"}]}\n",
    );
    space.wait("pod/shadow", "condition=Ready");
    let node = space.until(PATIENCE, &["pod", "shadow"], |pod| pod.pointer("/spec/nodeName")?.as_str().map(str::to_owned)).await;
    assert!(node.starts_with("kwok-"), "{node}");
}

#[test]
fn a_program_that_was_built_here_runs_in_a_pod() {
    let cluster = Cluster::shared();
    cluster.load("mainstay.test/mainstay:1", &binaries().join("mainstay"));
    let space = cluster.space("built");
    for node in ["n1", "n2"] {
        space.apply(&format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {node}}}\n\
             spec: {{nodeName: {node}, restartPolicy: Never, containers: [{{name: main, image: \"mainstay.test/mainstay:1\", args: [--version]}}]}}\n"
        ));
        space.wait(&format!("pod/{node}"), "jsonpath={.status.phase}=Succeeded");
        let said = space.kubectl(&["logs", node]).expect("what it said");
        assert!(said.starts_with("mainstay "), "{said}");
    }
}
