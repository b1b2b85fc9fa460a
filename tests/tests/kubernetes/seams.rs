//! Where two things meet on one node, in a cluster of the test's own: a drain, a backup that needs the node, a rollout of
//! what runs there, and clients of it that never stop.

use mainstay_proto::v1;
use mainstay_tests::kubernetes::Cluster;
use mainstay_tests::kubernetes::steady::Steady;
use mainstay_tests::up::{Options, Up};
use mainstay_tests::wait::eventually;
use serde_json::{Value, json};

use super::agents::{MANIFEST, Replica, acts, kubeconfig, plan, runner};
use super::phases::none_failed;
use super::switching::{RIGHTS, colour, service};
use super::upkeep::{FREE, RUNNER, nodes_are_linked, stands, starts};

const BUDGET: &str =
    "{apiVersion: policy/v1, kind: PodDisruptionBudget, metadata: {name: web}, spec: {minAvailable: 1, selector: {matchLabels: {app: web}}}}\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_waits_for_a_backup_and_goes_beside_a_rollout_and_no_request_fails() {
    let cluster = Cluster::start(0);
    let space = cluster.space("seams");
    let up = Up::start(Options { coordinators: 1, agents: 1, ..Options::default() }).await;
    cluster.apply(MANIFEST);
    cluster.apply(RUNNER);
    let settings = kubeconfig(&cluster, &up, "mainstay", "mainstay-cluster-agent");
    let _replica = Replica::start_with(&up, "prod", "r1", &settings, "[policy]\nallow = [\"*\"]\n");
    acts(&up, "r1").await;
    let _nodes = nodes_are_linked(&up, &["n1", "n2"]).await;
    runner(&space, &format!("{RIGHTS}, {{apiGroups: [policy], resources: [poddisruptionbudgets], verbs: [list]}}"));
    colour(&space, "blue", 2);
    space.apply(BUDGET);
    let address = service(&space, "web").await;

    // An agent backs something up on the node, and says so in the lease: it is not touched. A stand-in for a long backup.
    let client = up.client_of(&up.scratch().join("prod-n1"));
    let backup = v1::AcquireRequest {
        name: "backup/prod/orders".into(),
        spec: Some(v1::LeaseSpec { ttl_ms: 600_000, ..v1::LeaseSpec::default() }),
        incarnation: "w1".into(),
        attributes: [("node".to_owned(), "n1".to_owned())].into(),
        ..v1::AcquireRequest::default()
    };
    let token = client.acquire_lease(backup).await.expect("the backup's lease").token;
    let drain = starts(&up, "n1");
    let waits = || {
        let why = String::from_utf8_lossy(&up.cli(&["why", &drain]).stdout).into_owned();
        std::future::ready(if why.contains("backup/prod/orders") { Ok(()) } else { Err(why) })
    };
    eventually("the drain waits for the backup", waits).await;
    assert_eq!(stands(&cluster, "n1"), FREE);

    // The backup ends while what runs there is rolled out: both come to their end.
    let steady = Steady::of(address);
    let name = space.name();
    let roll = format!(
        "    - {{name: roll, uses: kube.rollout, with: {{namespace: {name}, name: web-blue, env: {{web: {{VERSION: \"2\"}}}}, within: 3m}}}}\n"
    );
    let roll = up.start_run("roll", &plan("roll", &roll));
    up.work_is(&roll, "roll", &["active"]).await;
    let release = v1::ReleaseRequest { name: "backup/prod/orders".into(), token, incarnation: "w1".into() };
    client.release_lease(release).await.expect("the backup has ended");
    for run in [&drain, &roll] {
        let ended = up.ended(run).await;
        assert_eq!((&ended["state"], &ended["verdict"]), (&json!("completed"), &json!("ok")), "{ended}");
    }
    none_failed(&steady.end().await, "a drain beside a rollout");
    assert_eq!(stands(&cluster, "n1"), FREE);
    let deployment = space.json(&["get", "deployment", "web-blue"]).expect("it");
    let pods = |field: &str| deployment.pointer(&format!("/status/{field}")).and_then(Value::as_i64);
    assert_eq!((pods("updatedReplicas"), pods("availableReplicas")), (Some(2), Some(2)), "{deployment}");
}
