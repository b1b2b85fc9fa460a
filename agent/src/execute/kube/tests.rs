#![allow(clippy::unwrap_used)]

use jiff::Timestamp;
use mainstay_core::Millis;
use mainstay_core::report::{Check, Report, Thresholds, Verdict};
use serde_json::{Value, json};

use super::judge::{Judge, Limits};
use super::now::Now;

const NOW: &str = "2026-11-28T12:00:00Z";
/// Longer ago than anything may take to settle.
const LONG_AGO: &str = "2026-11-28T11:00:00Z";
const JUST_NOW: &str = "2026-11-28T11:59:30Z";

fn judge() -> Judge {
    let limits = Limits { settle: Millis::from_secs(300), since: Millis::from_secs(86_400), restarts: Thresholds::above(3.0, 10.0) };
    Judge::new(limits, Now(NOW.parse::<Timestamp>().unwrap()))
}

/// A pod of Deployment shop/web.
fn pod(name: &str, status: &Value) -> Value {
    json!({
        "metadata": {
            "name": name, "namespace": "shop", "creationTimestamp": LONG_AGO, "labels": { "pod-template-hash": "5d8" },
            "ownerReferences": [{ "kind": "ReplicaSet", "name": "web-5d8", "controller": true }],
        },
        "status": status,
    })
}

fn report(pods: &[Value], workloads: &[(&str, Value)], jobs: &[Value]) -> Report {
    let mut judge = judge();
    pods.iter().for_each(|pod| judge.pod(&serde_json::from_value(pod.clone()).unwrap()));
    workloads.iter().for_each(|(kind, workload)| judge.workload(kind, &serde_json::from_value(workload.clone()).unwrap()));
    jobs.iter().for_each(|job| judge.job(&serde_json::from_value(job.clone()).unwrap()));
    judge.report()
}

/// What is told besides the line of what was looked at.
fn told(report: &Report) -> Vec<(&str, &str, Verdict)> {
    report
        .checks
        .iter()
        .filter(|check| check.id != "kube.workloads")
        .map(|check| (check.id.as_str(), check.subject.as_str(), check.verdict))
        .collect()
}

fn only(report: &Report) -> &Check {
    assert_eq!(told(report).len(), 1, "{report:?}");
    &report.checks[0]
}

fn container(state: &Value, last: &Value, restarts: u32) -> Value {
    json!({ "name": "app", "image": "shop/web:1", "restartCount": restarts, "ready": false, "state": state, "lastState": last })
}

#[test]
fn what_runs_or_has_run_as_it_should_is_no_fault() {
    let ready = pod("web-1", &json!({ "phase": "Running", "conditions": [{ "type": "Ready", "status": "True" }] }));
    let done = pod("task-1", &json!({ "phase": "Succeeded" }));
    let starting =
        pod("web-2", &json!({ "phase": "Running", "conditions": [{ "type": "Ready", "status": "False", "lastTransitionTime": JUST_NOW }] }));
    let deployment = json!({ "metadata": { "name": "web", "namespace": "shop" }, "spec": { "replicas": 2 }, "status": { "readyReplicas": 2 } });
    let complete =
        json!({ "metadata": { "name": "task", "namespace": "shop" }, "status": { "conditions": [{ "type": "Complete", "status": "True" }] } });
    let report = report(&[ready, done, starting], &[("Deployment", deployment)], &[complete]);
    assert_eq!(told(&report), []);
    assert_eq!(report.checks[0].message, "3 pods and 1 workload in 1 namespace: all run as they should");
    assert_eq!((&report.outputs["pods"], &report.outputs["podsNotReady"]), (&json!(3), &json!(1)));
}

#[test]
fn pods_of_one_workload_with_the_same_fault_are_told_once_and_stand_for_the_workload() {
    let ended = json!({ "terminated": { "exitCode": 3, "reason": "Error", "finishedAt": JUST_NOW } });
    let crashing =
        json!({ "phase": "Running", "containerStatuses": [container(&json!({ "waiting": { "reason": "CrashLoopBackOff" } }), &ended, 4)] });
    let deployment = json!({
        "metadata": { "name": "web", "namespace": "shop", "creationTimestamp": LONG_AGO }, "spec": { "replicas": 2 },
        "status": { "readyReplicas": 0, "conditions": [{ "type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded" }] },
    });
    let report = report(&[pod("web-1", &crashing), pod("web-2", &crashing)], &[("Deployment", deployment)], &[]);
    let check = only(&report);
    assert_eq!((check.id.as_str(), check.subject.as_str(), check.verdict), ("kube.pod.crashLoop", "shop/Deployment/web", Verdict::Critical));
    assert_eq!(check.message, "2 pods: app ends again and again: 4 restarts, the last time with exit status 3");
    assert_eq!(check.details, ["web-1", "web-2"]);
    assert_eq!(report.outputs["workloadsBehind"], json!(1));
}

#[test]
fn each_way_not_to_run_is_told_as_what_it_is() {
    let waiting =
        |reason: &str| json!({ "phase": "Pending", "containerStatuses": [container(&json!({ "waiting": { "reason": reason } }), &json!({}), 0)] });
    let unschedulable = |since: &str| json!({ "phase": "Pending", "conditions": [{ "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/2 nodes are available: 2 Insufficient cpu. no new claims to deallocate, preemption: 0/2 nodes are available.", "lastTransitionTime": since }] });
    let not_ready = json!({ "phase": "Running", "conditions": [{ "type": "Ready", "status": "False", "message": "containers with unready status: [app]", "lastTransitionTime": LONG_AGO }] });
    let killed = json!({ "phase": "Running", "conditions": [{ "type": "Ready", "status": "True" }], "containerStatuses": [container(&json!({}), &json!({ "terminated": { "exitCode": 137, "reason": "OOMKilled", "finishedAt": JUST_NOW } }), 1)] });
    let restarted = json!({ "phase": "Running", "conditions": [{ "type": "Ready", "status": "True" }], "containerStatuses": [container(&json!({}), &json!({ "terminated": { "exitCode": 1, "reason": "Error", "finishedAt": JUST_NOW } }), 5)] });
    let between = json!({ "phase": "Running", "conditions": [{ "type": "Ready", "status": "False", "lastTransitionTime": LONG_AGO }], "containerStatuses": [container(&json!({}), &json!({ "terminated": { "exitCode": 3, "reason": "Error", "finishedAt": JUST_NOW } }), 1)] });
    for (status, id, verdict, words) in [
        (waiting("ImagePullBackOff"), "kube.pod.image", Verdict::Critical, "the image shop/web:1 of app cannot be pulled (ImagePullBackOff)"),
        (waiting("CreateContainerConfigError"), "kube.pod.start", Verdict::Critical, "app cannot be started (CreateContainerConfigError)"),
        (
            unschedulable(LONG_AGO),
            "kube.pod.unschedulable",
            Verdict::Critical,
            "no node takes it for 60 min: 0/2 nodes are available: 2 Insufficient cpu",
        ),
        (json!({ "phase": "Pending" }), "kube.pod.pending", Verdict::Critical, "has not begun for 60 min"),
        (not_ready, "kube.pod.notReady", Verdict::Critical, "runs and has not been ready for 60 min: containers with unready status: [app]"),
        (killed, "kube.pod.memory", Verdict::Critical, "app was killed for want of memory 30 s ago"),
        (between, "kube.pod.crashLoop", Verdict::Critical, "app ends again and again: 1 restart, the last time with exit status 3"),
        (restarted, "kube.pod.restarts", Verdict::Warning, "app was restarted 5 times, the last time with exit status 1"),
        (
            json!({ "phase": "Failed", "reason": "Evicted", "message": "the node was low on memory" }),
            "kube.pod.failed",
            Verdict::Warning,
            "failed: Evicted: the node was low on memory",
        ),
        (json!({ "phase": "Unknown" }), "kube.pod.unknown", Verdict::Unknown, "its node does not say how it is"),
    ] {
        let report = report(&[pod("web-1", &status)], &[], &[]);
        let check = only(&report);
        assert_eq!((check.id.as_str(), check.verdict, check.message.as_str()), (id, verdict, words));
    }
    assert_eq!(told(&report(&[pod("web-1", &unschedulable(JUST_NOW))], &[], &[])), [], "it may still find a node");
}

#[test]
fn a_workload_without_a_pod_to_show_its_fault_is_told_itself() {
    let workload = |status: Value| json!({ "metadata": { "name": "web", "namespace": "shop", "creationTimestamp": LONG_AGO }, "spec": { "replicas": 3 }, "status": status });
    let quota = json!({ "conditions": [{ "type": "ReplicaFailure", "status": "True", "message": "exceeded quota: small" }] });
    let stuck = json!({ "readyReplicas": 2, "conditions": [{ "type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded" }] });
    let few = json!({ "readyReplicas": 2 });
    let daemons = json!({ "desiredNumberScheduled": 2, "numberReady": 0 });
    for (kind, status, id, verdict, words) in [
        ("Deployment", quota, "kube.workload.refused", Verdict::Critical, "its pods cannot be made: exceeded quota: small"),
        ("Deployment", stuck, "kube.workload.rollout", Verdict::Critical, "its rollout does not move: 2 of 3 pods are ready"),
        ("StatefulSet", few, "kube.workload.replicas", Verdict::Warning, "2 of 3 pods are ready"),
        ("DaemonSet", daemons, "kube.workload.replicas", Verdict::Critical, "0 of 2 pods are ready"),
    ] {
        let report = report(&[], &[(kind, workload(status))], &[]);
        let check = only(&report);
        assert_eq!((check.id.as_str(), check.verdict, check.message.as_str()), (id, verdict, words));
        assert_eq!(check.subject, format!("shop/{kind}/web"));
    }
}

#[test]
fn a_failed_job_is_told_and_neither_its_pods_nor_a_cron_jobs_are() {
    let job = |owners: Value, at: &str| {
        json!({
            "metadata": { "name": "task", "namespace": "shop", "ownerReferences": owners },
            "status": { "conditions": [{ "type": "Failed", "status": "True", "lastTransitionTime": at, "message": "Job has reached the specified backoff limit" }] },
        })
    };
    let of_job = json!({
        "metadata": { "name": "task-x", "namespace": "shop", "ownerReferences": [{ "kind": "Job", "name": "task", "controller": true }] },
        "status": { "phase": "Failed", "containerStatuses": [container(&json!({ "terminated": { "exitCode": 1, "reason": "Error" } }), &json!({}), 0)] },
    });
    let found = report(&[of_job], &[], &[job(json!([]), LONG_AGO)]);
    let check = only(&found);
    assert_eq!((check.id.as_str(), check.subject.as_str()), ("kube.job.failed", "shop/Job/task"));
    assert_eq!(check.message, "failed 60 min ago: Job has reached the specified backoff limit");
    let of_cron_job = json!([{ "kind": "CronJob", "name": "tidy", "controller": true }]);
    assert_eq!(told(&report(&[], &[], &[job(of_cron_job, LONG_AGO)])), [], "kube.cronjobs tells it");
    assert_eq!(told(&report(&[], &[], &[job(json!([]), "2026-11-20T00:00:00Z")])), [], "longer ago than counts");
}

fn node(name: &str, ready: &Value) -> Value {
    json!({ "metadata": { "name": name, "creationTimestamp": LONG_AGO }, "status": { "conditions": ready } })
}

#[test]
fn a_node_that_is_not_ready_is_told_and_stands_for_its_pods_and_their_workloads() {
    let since = |since: &str| json!([{ "type": "Ready", "status": "Unknown", "message": "Kubelet stopped posting node status.", "lastTransitionTime": since }]);
    let well = json!([{ "type": "Ready", "status": "True", "lastTransitionTime": LONG_AGO }]);
    let on = |node: &str, status: &Value| {
        let mut pod = pod("web-1", status);
        pod["spec"] = json!({ "nodeName": node });
        pod
    };
    let unready = json!({ "phase": "Running", "conditions": [{ "type": "Ready", "status": "False", "lastTransitionTime": LONG_AGO }] });
    let mut evicted = on("n1", &unready);
    evicted["metadata"]["deletionTimestamp"] = json!(LONG_AGO);
    let deployment =
        json!({ "metadata": { "name": "web", "namespace": "shop", "creationTimestamp": LONG_AGO }, "spec": { "replicas": 1 }, "status": {} });
    let report = |n1: &Value, pods: &[Value]| {
        let mut judge = judge();
        [node("n1", n1), node("n2", &well)].into_iter().for_each(|node| judge.node(&serde_json::from_value(node).unwrap()));
        pods.iter().for_each(|pod| judge.pod(&serde_json::from_value(pod.clone()).unwrap()));
        judge.workload("Deployment", &serde_json::from_value(deployment.clone()).unwrap());
        judge.report()
    };
    for pods in [[on("n1", &unready)], [evicted]] {
        let found = report(&since(LONG_AGO), &pods);
        let check = only(&found);
        assert_eq!((check.id.as_str(), check.subject.as_str(), check.verdict), ("kube.node.notReady", "Node/n1", Verdict::Critical));
        assert_eq!(check.message, "has not been ready for 60 min: Kubelet stopped posting node status.");
        assert_eq!((&found.outputs["podsNotReady"], &found.outputs["workloadsBehind"]), (&json!(1), &json!(1)));
    }
    assert_eq!(only(&report(&json!([]), &[on("n1", &unready)])).message, "has not been ready for 60 min: its kubelet has never said how it is");
    assert_eq!(told(&report(&since(JUST_NOW), &[on("n1", &unready)])), [], "it may come back");
    let beside = report(&since(LONG_AGO), &[on("n2", &unready)]);
    assert_eq!(told(&beside).iter().map(|(id, ..)| *id).collect::<Vec<_>>(), ["kube.node.notReady", "kube.pod.notReady"], "a pod of another node");
}

#[test]
fn nodes_that_may_not_be_seen_are_told_of_and_the_rest_is_looked_at() {
    let mut judge = judge();
    judge.nodes_unseen("/api/v1/nodes: the API server refuses it".to_owned());
    let failed = json!({ "phase": "Failed", "reason": "Evicted" });
    judge.pod(&serde_json::from_value(pod("web-1", &failed)).unwrap());
    let report = judge.report();
    let of_nodes = report.checks.iter().find(|check| check.id == "kube.node.notReady").unwrap();
    assert_eq!((of_nodes.subject.as_str(), of_nodes.verdict), ("Node/*", Verdict::Unknown));
    assert!(report.checks.iter().any(|check| check.id == "kube.pod.failed"), "{report:?}");
}
