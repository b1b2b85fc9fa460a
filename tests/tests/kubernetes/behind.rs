//! Steps that change something, while the way to the API server fails under them: each is done, and once.

use std::time::Instant;

use mainstay_tests::eventually;
use mainstay_tests::kubernetes::{Cluster, Proxy, Space, Trouble};
use mainstay_tests::up::{Options, Up};

use super::agents::{MANIFEST, Replica, acts, kubeconfig, plan, runner};
use super::writing::{RIGHTS, deployment, replicas, revisions, succeeds};

/// How often it is tried before the trouble ends.
const TRIED: usize = 3;

/// A restart, a scaling, an object, a Job that a CronJob makes; and the object deleted.
fn steps(namespace: &str, replicas: usize) -> String {
    let step = |name: &str, needs: &str, uses: &str, with: &str| format!("    - {{name: {name}, {needs}uses: {uses}, with: {{{with}}}}}\n");
    let own = |more: &str| format!("namespace: {namespace}, {more}");
    [
        step("restart", "", "kube.restart", &own("name: web, within: 3m")),
        step("scale", "needs: [restart], ", "kube.scale", &own(&format!("name: web, replicas: {replicas}, within: 3m"))),
        step(
            "note",
            "needs: [scale], ",
            "kube.apply",
            &format!("object: {{apiVersion: v1, kind: ConfigMap, metadata: {{name: note, namespace: {namespace}}}, data: {{pods: \"{replicas}\"}}}}"),
        ),
        step("job", "needs: [note], ", "kube.cronjob.trigger", &own("name: tidy, within: 3m")),
        step("wait", "needs: [job], ", "kube.wait", &own("apiVersion: v1, kind: ConfigMap, name: note, until: object != null, within: 1m")),
        step("delete", "needs: [wait], ", "kube.delete", &own("kind: ConfigMap, name: note")),
    ]
    .concat()
}

fn jobs(space: &Space<'_>) -> usize {
    space.json(&["get", "jobs"]).expect("jobs")["items"].as_array().map_or(0, Vec::len)
}

/// Each step came off at its first try.
async fn is_done_once(up: &Up, space: &Space<'_>, run: &str, times: usize) {
    let ended = succeeds(up, run).await;
    for work in ended["work"].as_array().expect("its work") {
        assert_eq!(work["attempts"].as_array().map(Vec::len), Some(1), "{work}");
    }
    assert_eq!((revisions(space, "web"), replicas(space, "web"), jobs(space)), (1 + times, 1 + times as i64, times), "{ended}");
    assert!(space.json(&["get", "configmap", "note"]).is_err(), "it is deleted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_to_be_done_is_done_once_whatever_lies_on_the_way_to_the_api_server() {
    let cluster = Cluster::shared();
    let space = cluster.space("behind");
    let proxy = Proxy::of(cluster).await;
    let up = Up::start(Options { coordinators: 1, agents: 1, ..Options::default() }).await;
    cluster.apply(MANIFEST);
    let kubeconfig = kubeconfig(cluster, &up, "mainstay", "mainstay-cluster-agent");
    proxy.leads(&kubeconfig);
    let _replica = Replica::start_with(&up, "prod", "r1", &kubeconfig, "[policy]\nallow = [\"*\"]\n");
    acts(&up, "r1").await;
    runner(&space, &format!("{RIGHTS}, {{apiGroups: [\"\"], resources: [configmaps], verbs: [get, create, patch, delete]}}"));
    deployment(&space, "web", 0);
    space.kubectl(&["scale", "deployment", "web", "--replicas=1"]).expect("one pod");
    space.apply(
        "{apiVersion: batch/v1, kind: CronJob, metadata: {name: tidy}, spec: {schedule: \"0 0 1 1 *\", suspend: true, successfulJobsHistoryLimit: 10, jobTemplate: {spec: {template: {spec: \
         {restartPolicy: Never, terminationGracePeriodSeconds: 0, containers: [{name: app, image: \"mainstay.test/busybox:1\", command: [\"true\"]}]}}}}}}\n",
    );
    let start = |times: usize| up.start_run("change", &plan("change", &steps(space.name(), 1 + times)));

    let troubles = [Trouble::Refused("429 Too Many Requests\r\nRetry-After: 1"), Trouble::Refused("500 Internal Server Error"), Trouble::Away];
    for (before, trouble) in troubles.into_iter().enumerate() {
        proxy.is(trouble.clone());
        proxy.cut();
        let begun = Instant::now();
        let run = start(before + 1);
        eventually(&format!("it is tried more than once: {trouble:?}"), || {
            let asked = proxy.asked_since(begun);
            let most = asked.iter().filter(|line| line.contains("/apis/apps/v1")).count();
            std::future::ready(if most >= TRIED { Ok(()) } else { Err(format!("{asked:?}")) })
        })
        .await;
        proxy.is(Trouble::Nothing);
        is_done_once(&up, &space, &run, before + 1).await;
    }

    // What was done and not heard of is asked for again, and found done.
    proxy.is(Trouble::AnswersLost);
    is_done_once(&up, &space, &start(4), 4).await;
    let lost = proxy.lost();
    for what in ["PATCH /apis/apps/v1/", "PATCH /api/v1/", "POST /apis/batch/v1/", "DELETE /api/v1/"] {
        assert!(lost.iter().any(|line| line.starts_with(what)), "the answer of {what} was not lost: {lost:?}");
    }
}
