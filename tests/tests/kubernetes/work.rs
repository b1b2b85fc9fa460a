//! What pods do, and what becomes of them.

use std::time::Duration;

use mainstay_tests::kubernetes::Cluster;
use serde_json::Value;

/// A schedule has minutes; to this come the pod's start, and a machine that is busy.
const NEXT_MINUTE: Duration = Duration::from_secs(150);

#[test]
fn a_job_completes_and_what_it_said_can_be_read() {
    let space = Cluster::shared().space("jobs");
    space.apply(
        r#"
apiVersion: batch/v1
kind: Job
metadata: {name: once}
spec:
  template:
    spec:
      restartPolicy: Never
      containers: [{name: main, image: "mainstay.test/busybox:1", command: [sh, -c, "echo it is done"]}]
"#,
    );
    space.wait("job/once", "condition=Complete");
    assert_eq!(space.kubectl(&["logs", "job/once"]).expect("its log"), "it is done\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schedule_makes_jobs_that_complete() {
    let space = Cluster::shared().space("schedules");
    space.apply(
        r#"
apiVersion: batch/v1
kind: CronJob
metadata: {name: often}
spec:
  schedule: "* * * * *"
  jobTemplate:
    spec:
      template:
        spec: {restartPolicy: Never, containers: [{name: main, image: "mainstay.test/busybox:1", command: ["true"]}]}
"#,
    );
    let finished = |cron: &Value| cron.pointer("/status/lastSuccessfulTime")?.as_str().map(str::to_owned);
    space.until(NEXT_MINUTE, &["cronjob", "often"], finished).await;
}

#[test]
fn programs_run_in_pods_and_end_with_their_own_code() {
    let space = Cluster::shared().space("exec");
    for node in ["n1", "n2"] {
        space.pod(node, Some(node));
        assert_eq!(space.exec(node, &["hostname"]).expect("its name"), format!("{node}\n"));
        let failed = space.exec(node, &["sh", "-c", "echo no; exit 7"]).expect_err("it failed");
        assert!(failed.contains("no\n") && failed.contains("exit code 7"), "{failed}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_budget_refuses_an_eviction() {
    let space = Cluster::shared().space("budgets");
    space.pod("needed", None);
    space.apply(
        "apiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {name: needed}\n\
         spec: {minAvailable: 1, selector: {matchLabels: {app: needed}}}\n",
    );
    let observed = |budget: &Value| (budget.pointer("/status/currentHealthy")? == 1).then_some(());
    space.until(mainstay_tests::wait::PATIENCE, &["pdb", "needed"], observed).await;
    let evict = || {
        let path = format!("/api/v1/namespaces/{}/pods/needed/eviction", space.name());
        let eviction = r#"{"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "needed"}}"#;
        space.kubectl_with(&["create", "--raw", &path, "-f", "-"], eviction)
    };
    let refused = evict().expect_err("the budget stands against it");
    assert!(refused.contains("violate the pod's disruption budget"), "{refused}");
    assert!(space.json(&["get", "pod", "needed"]).expect("the pod")["metadata"]["deletionTimestamp"].is_null());
    space.kubectl(&["delete", "pdb", "needed"]).expect("it goes");
    evict().expect("nothing stands against it any more");
    space.wait("pod/needed", "delete");
}

#[test]
fn a_volume_is_bound_where_its_pod_is_and_keeps_what_is_written() {
    let cluster = Cluster::shared();
    let space = cluster.space("volumes");
    let claim = "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: data}\n\
                 spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}\n";
    space.apply(claim);
    let claimed = |path: &str| space.kubectl(&["get", "pvc", "data", "-o", &format!("jsonpath={{{path}}}")]).expect("the claim");
    assert_eq!(claimed(".status.phase"), "Pending", "it waits for a pod");
    let pod = |name: &str, command: &str| {
        space.apply(&format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  restartPolicy: Never\n  \
             containers: [{{name: main, image: \"mainstay.test/busybox:1\", command: [sh, -c, \"{command}\"], \
             volumeMounts: [{{name: data, mountPath: /data}}]}}]\n  \
             volumes: [{{name: data, persistentVolumeClaim: {{claimName: data}}}}]\n"
        ));
        space.wait(&format!("pod/{name}"), "jsonpath={.status.phase}=Succeeded");
        space.kubectl(&["get", "pod", name, "-o", "jsonpath={.spec.nodeName}"]).expect("its node")
    };
    let node = pod("writer", "echo kept > /data/note");
    assert_eq!(claimed(".status.phase"), "Bound");
    space.kubectl(&["delete", "pod", "writer", "--timeout=60s"]).expect("it goes");
    assert_eq!(pod("reader", "cat /data/note"), node, "the volume is on one node");
    assert_eq!(space.kubectl(&["logs", "reader"]).expect("what it read"), "kept\n");

    let volume = claimed(".spec.volumeName");
    space.kubectl(&["delete", "pod/reader", "pvc/data", "--timeout=60s"]).expect("they go");
    let deadline = format!("--timeout={}s", mainstay_tests::wait::PATIENCE.as_secs());
    cluster.kubectl(&["wait", "pv", &volume, "--for=jsonpath={.status.phase}=Released", &deadline]).expect("the volume is kept");
    let path = cluster.kubectl(&["get", "pv", &volume, "-o", "jsonpath={.spec.local.path}"]).expect("where it lies");
    assert_eq!(cluster.on(&node, &["cat", &format!("{path}/note")]).expect("what is in it"), "kept\n");
}
