//! A cluster's own agents against the real thing: which of them acts, what it finds, and what it may not see.

use std::collections::BTreeSet;
use std::time::Duration;

use mainstay_tests::kubernetes::Cluster;
use mainstay_tests::up::{Options, Up};
use mainstay_tests::wait::eventually_within;
use serde_json::json;

use super::agents::{MANIFEST, Replica, acts, findings, kubeconfig};

/// A fault that begins with a pod has shown when its kubelet has tried a few times.
const UNTIL_FOUND: Duration = Duration::from_secs(120);

/// What is well, and what is not, each in a way of its own.
const WORK: &str = r#"
{apiVersion: apps/v1, kind: Deployment, metadata: {name: well}, spec: {replicas: 2, selector: {matchLabels: {app: well}}, template: {metadata: {labels: {app: well}}, spec: {terminationGracePeriodSeconds: 0, containers: [{name: app, image: "mainstay.test/busybox:1"}]}}}}
---
{apiVersion: batch/v1, kind: Job, metadata: {name: done}, spec: {template: {spec: {restartPolicy: Never, containers: [{name: app, image: "mainstay.test/busybox:1", command: ["true"]}]}}}}
---
{apiVersion: apps/v1, kind: Deployment, metadata: {name: crash}, spec: {replicas: 2, selector: {matchLabels: {app: crash}}, template: {metadata: {labels: {app: crash}}, spec: {containers: [{name: app, image: "mainstay.test/busybox:1", command: [sh, -c, "exit 3"]}]}}}}
---
{apiVersion: apps/v1, kind: Deployment, metadata: {name: image}, spec: {selector: {matchLabels: {app: image}}, template: {metadata: {labels: {app: image}}, spec: {containers: [{name: app, image: "mainstay.test/none:1"}]}}}}
---
{apiVersion: apps/v1, kind: StatefulSet, metadata: {name: large}, spec: {serviceName: large, selector: {matchLabels: {app: large}}, template: {metadata: {labels: {app: large}}, spec: {containers: [{name: app, image: "mainstay.test/busybox:1", resources: {requests: {cpu: "1000"}}}]}}}}
---
{apiVersion: apps/v1, kind: Deployment, metadata: {name: sick}, spec: {selector: {matchLabels: {app: sick}}, template: {metadata: {labels: {app: sick}}, spec: {terminationGracePeriodSeconds: 0, containers: [{name: app, image: "mainstay.test/busybox:1", readinessProbe: {exec: {command: ["false"]}, periodSeconds: 1}}]}}}}
---
{apiVersion: v1, kind: Pod, metadata: {name: unset}, spec: {containers: [{name: app, image: "mainstay.test/busybox:1", env: [{name: A, valueFrom: {configMapKeyRef: {name: none, key: a}}}]}]}}
---
{apiVersion: batch/v1, kind: Job, metadata: {name: task}, spec: {backoffLimit: 0, template: {spec: {restartPolicy: Never, containers: [{name: app, image: "mainstay.test/busybox:1", command: ["false"]}]}}}}
"#;

const FAULTS: [(&str, &str); 7] = [
    ("kube.pod.crashLoop", "Deployment/crash"),
    ("kube.pod.image", "Deployment/image"),
    ("kube.pod.unschedulable", "StatefulSet/large"),
    ("kube.pod.notReady", "Deployment/sick"),
    ("kube.pod.start", "unset"),
    ("kube.job.failed", "Job/task"),
    ("kube.workload.refused", "Deployment/refused"),
];

/// Of a namespace whose quota leaves no room for a pod.
const REFUSED: &str = r#"
{apiVersion: v1, kind: ResourceQuota, metadata: {name: none}, spec: {hard: {pods: "0"}}}
---
{apiVersion: apps/v1, kind: Deployment, metadata: {name: refused}, spec: {selector: {matchLabels: {app: refused}}, template: {metadata: {labels: {app: refused}}, spec: {containers: [{name: app, image: "mainstay.test/busybox:1"}]}}}}
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_agent_that_acts_finds_each_fault_once_and_nothing_else_and_another_goes_on_after_it() {
    let cluster = Cluster::shared();
    let (space, full) = (cluster.space("faults"), cluster.space("full"));
    full.apply(REFUSED);
    space.apply(WORK);
    let up = Up::start(Options { coordinators: 1, agents: 1, ..Options::default() }).await;
    cluster.apply(MANIFEST);
    let kubeconfig = kubeconfig(cluster, &up, "mainstay", "mainstay-cluster-agent");
    let first = Replica::start(&up, "prod", "r1", &kubeconfig);
    acts(&up, "r1").await;
    let _second = Replica::start(&up, "prod", "r2", &kubeconfig);

    let plan = format!(
        "apiVersion: mainstay.dev/v1alpha1\nkind: MaintenancePlan\nmetadata: {{name: look}}\nspec:\n  steps:\n    - name: workloads\n      \
         uses: kube.workloads\n      retry: {{attempts: 3}}\n      with: {{namespaces: [{}, {}], settleFor: 3s}}\n",
        space.name(),
        full.name()
    );
    up.apply("look", &plan);
    let expected: BTreeSet<(String, String)> = FAULTS
        .iter()
        .map(|(check, of)| ((*check).to_owned(), format!("{}/{of}", if *check == "kube.workload.refused" { full.name() } else { space.name() })))
        .collect();
    let looked = || async {
        let run = up.json(&["run", "start", "look"])["run"].as_str().expect("a run").to_owned();
        let ended = up.ended(&run).await;
        assert_eq!(ended["state"], "completed", "{ended}");
        let found = findings(&up, "prod");
        if found == expected { Ok(ended) } else { Err(format!("found {found:#?}")) }
    };
    let ended = eventually_within(UNTIL_FOUND, "each fault is found, and nothing else", looked).await;
    assert_eq!((&ended["verdict"], &ended["work"][0]["target"]), (&json!("critical"), &json!("cluster:prod")), "{ended}");
    assert_eq!(ended["work"][0]["attempts"][0]["agent"], "prod/agent/r1", "{ended}");

    // What is mended is told no more.
    space.kubectl(&["delete", "job/task", "pod/unset", "deployment/sick", "--wait=true", "--timeout=60s"]).expect("they go");
    drop(first);
    acts(&up, "r2").await;
    let gone = ["kube.job.failed", "kube.pod.start", "kube.pod.notReady"];
    let mended: BTreeSet<_> = expected.iter().filter(|(check, _)| !gone.contains(&check.as_str())).cloned().collect();
    let looked = || async {
        let run = up.json(&["run", "start", "look"])["run"].as_str().expect("a run").to_owned();
        let ended = up.ended(&run).await;
        let found = findings(&up, "prod");
        if found == mended { Ok(ended) } else { Err(format!("found {found:#?}; {ended}")) }
    };
    let ended = eventually_within(UNTIL_FOUND, "what is mended is told no more", looked).await;
    assert_eq!(ended["work"][0]["attempts"][0]["agent"], "prod/agent/r2", "{ended}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_without_the_right_says_which_one_it_lacks() {
    let cluster = Cluster::shared();
    let space = cluster.space("blind");
    let up = Up::start(Options { coordinators: 1, agents: 1, ..Options::default() }).await;
    let kubeconfig = kubeconfig(cluster, &up, space.name(), "default");
    let _blind = Replica::start(&up, "blind", "r1", &kubeconfig);
    acts(&up, "r1").await;
    let plan = "apiVersion: mainstay.dev/v1alpha1\nkind: MaintenancePlan\nmetadata: {name: look}\nspec: {steps: [{name: workloads, uses: kube.workloads}]}\n";
    let run = up.start_run("look", plan);
    let ended = up.ended(&run).await;
    assert_eq!(ended["state"], "failed", "{ended}");
    assert!(ended.to_string().contains("cannot list resource \\\"pods\\\"") && ended.to_string().contains("needs the right"), "{ended}");
    assert!(findings(&up, "blind").is_empty());
}
