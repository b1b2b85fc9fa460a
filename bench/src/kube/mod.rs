//! What it costs to know a Kubernetes cluster: nodes and pods as plain objects in a real API server, nothing behind them.
//!
//! One cluster grows from step to step. At its full size the agent is started again, so that its list is measured, too.

mod api;

use std::time::{Duration, Instant};

use mainstay_proto::v1::{GetNodeRequest, ListNodesRequest};
use mainstay_tests::kubernetes::{Cluster, Replica, kubeconfig};
use mainstay_tests::{Options, Up, eventually, eventually_within, process};
use serde_json::{Value, json};

use self::api::Api;
use crate::results::{Row, median};

/// Numbers of nodes at which memory is read; the last is what the goals are for.
const SIZES: [usize; 4] = [100, 500, 1_000, 5_000];
const PODS_PER_NODE: usize = 10;
/// For an agent to know what has been made.
const PATIENCE: Duration = Duration::from_secs(600);
/// After all is known, before memory is read.
const SETTLE: Duration = Duration::from_secs(20);
/// Changes of nodes whose way is measured.
const CHANGES: usize = 200;
const MIB: f64 = (1 << 20) as f64;

/// Grows a cluster, and reads what its agent and the mesh take.
pub async fn measure() -> Vec<Row> {
    let cluster = Cluster::start(0);
    let api = Api::of(&cluster);
    // Nothing is to act on nodes that nobody runs.
    for program in ["kube-controller", "kube-scheduler"] {
        let _ = cluster.kill(program);
    }
    let up = Up::start(Options { agents: 1, ..Options::default() }).await;
    cluster.apply(include_str!("../../../deploy/kubernetes/cluster-agent.yaml"));
    let account = kubeconfig(&cluster, &up, "mainstay", "mainstay-cluster-agent");
    let agent = Replica::start(&up, "bench", "r1", &account);
    let leader = up.pid(&up.leader().await).expect("the leader's process");
    let empty = resident(leader);

    let mut rows = Vec::new();
    let mut made = 0;
    for size in SIZES {
        api.make((made..size).map(node)).await;
        api.make((made..size).flat_map(|node| (0..PODS_PER_NODE).map(move |number| pod(node, number)))).await;
        made = size;
        known(&up, size + 2).await;
        tokio::time::sleep(SETTLE).await;
        let name = format!("kube.growth.{size}");
        let settings = format!("{size} nodes, {} pods as plain objects, followed as they were made; resident", size * PODS_PER_NODE);
        rows.push(Row::below(&name, "MiB", resident(agent.pid()), 0.0, &settings).informs());
    }

    let mut changes = Vec::new();
    for change in 0..CHANGES {
        changes.push(latency(&up, &api, change).await);
    }
    changes.sort_by(f64::total_cmp);
    let p95 = changes[CHANGES * 95 / 100];
    let grown = resident(agent.pid());
    let coordinator = resident(leader);
    drop(agent);
    let agent = Replica::start(&up, "bench", "r2", &account);
    eventually_within(PATIENCE, "r2 tells of all", || async {
        let told = up.client().list_nodes(ListNodesRequest::default()).await.map_err(|error| error.to_string())?;
        let by = told.clusters.iter().find(|known| known.nodes.len() == made + 2).map(|known| known.told_by.clone());
        if by.as_deref() == Some("bench/agent/r2") { Ok(()) } else { Err(format!("{by:?}")) }
    })
    .await;
    tokio::time::sleep(SETTLE).await;
    let listed = resident(agent.pid());

    let size = format!("{made} nodes and {} pods as plain objects in a real API server", made * PODS_PER_NODE);
    rows.push(Row::below(
        "kube.cluster_agent_memory",
        "MiB",
        grown.max(listed),
        300.0,
        &format!("{size}; resident, the larger of {grown:.1} followed as they were made and {listed:.1} listed at the start"),
    ));
    rows.push(
        Row::below(
            "kube.coordinator_memory",
            "MiB",
            coordinator,
            0.0,
            &format!("{size}; resident, the leader of three; {empty:.1} before it was told of any"),
        )
        .informs(),
    );
    let (middle, worst) = (median(changes.clone()), changes[CHANGES - 1]);
    rows.push(Row::below(
        "kube.fact_latency",
        "s",
        p95,
        2.0,
        &format!(
            "{size}; from the request that cordons a node to its fact at the mesh's API, p95 of {CHANGES}, median {middle:.3}, slowest {worst:.3}"
        ),
    ));
    cluster.end();
    rows
}

fn resident(pid: rustix::process::Pid) -> f64 {
    process::resident_bytes(pid) as f64 / MIB
}

async fn known(up: &Up, nodes: usize) {
    let mesh = up.client();
    eventually_within(PATIENCE, &format!("{nodes} nodes are known"), || async {
        let told = mesh.list_nodes(ListNodesRequest::default()).await.map_err(|error| error.to_string())?;
        let count = told.clusters.first().map_or(0, |known| known.nodes.len());
        if count == nodes { Ok(()) } else { Err(format!("{count}")) }
    })
    .await;
}

/// Seconds from the request that changes a node until the mesh says so.
async fn latency(up: &Up, api: &Api, change: usize) -> f64 {
    let (mesh, name) = (up.client(), format!("node-{:05}", change * 17 % SIZES[0]));
    let cordon = (change * 17 / SIZES[0]).is_multiple_of(2);
    let begun = Instant::now();
    api.cordon(&name, cordon).await;
    eventually(&format!("the mesh knows {name}"), || async {
        let request = GetNodeRequest { cluster: "bench".to_owned(), name: name.clone() };
        let told = mesh.get_node(request).await.map_err(|error| error.to_string())?;
        if told.fact.is_some_and(|fact| fact.cordoned == cordon) { Ok(begun.elapsed().as_secs_f64()) } else { Err("not yet".to_owned()) }
    })
    .await
}

/// As a cloud's node: labels, addresses, conditions, images.
fn node(index: usize) -> (String, Value) {
    let name = format!("node-{index:05}");
    let images: Vec<Value> = (0..30)
        .map(|image| json!({"names": [format!("registry.example/team/app-{image}@sha256:{:064x}", image)], "sizeBytes": 123_456_789}))
        .collect();
    let condition = |kind: &str, status: &str| json!({"type": kind, "status": status, "reason": format!("Kubelet{kind}"), "message": "kubelet says so", "lastHeartbeatTime": "2026-11-29T00:00:00Z", "lastTransitionTime": "2026-11-29T00:00:00Z"});
    let object = json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "labels": {
            "kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64",
            "topology.kubernetes.io/zone": format!("zone-{}", index % 3), "topology.kubernetes.io/region": "region-1",
            "node.kubernetes.io/instance-type": "large",
        }},
        "status": {
            "capacity": {"cpu": "32", "memory": "128Gi", "pods": "110"}, "allocatable": {"cpu": "31850m", "memory": "120Gi", "pods": "110"},
            "conditions": [condition("MemoryPressure", "False"), condition("DiskPressure", "False"), condition("PIDPressure", "False"), condition("Ready", "True")],
            "nodeInfo": {"architecture": "amd64", "bootID": format!("boot-{index}"), "containerRuntimeVersion": "containerd://2.1.0", "kernelVersion": "6.12.0", "kubeProxyVersion": "", "kubeletVersion": "v1.36.2", "machineID": format!("{index:032x}"), "operatingSystem": "linux", "osImage": "Linux", "systemUUID": format!("{index:032x}")},
            "images": images,
        },
    });
    ("/api/v1/nodes".to_owned(), object)
}

/// As an application's pod, of one of a few hundred workloads.
fn pod(node: usize, number: usize) -> (String, Value) {
    let workload = (node * PODS_PER_NODE + number) / 100;
    let environment: Vec<Value> = (0..20)
        .map(|index| json!({"name": format!("SETTING_{index}"), "value": format!("value of setting {index} of workload {workload}")}))
        .collect();
    let container = |name: &str| json!({"name": name, "image": format!("registry.example/team/{name}:{workload}"), "env": environment, "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}}});
    let object = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": format!("app-{workload}-5d8f7c9b6-{node:05}-{number}"), "namespace": "default",
            "labels": {"app.kubernetes.io/name": format!("app-{workload}"), "app.kubernetes.io/part-of": "shop", "pod-template-hash": "5d8f7c9b6"},
        },
        "spec": {
            "nodeName": format!("node-{node:05}"), "automountServiceAccountToken": false, "tolerations": [{"operator": "Exists"}],
            "containers": [container("app"), container("proxy")],
        },
    });
    ("/api/v1/namespaces/default/pods".to_owned(), object)
}
