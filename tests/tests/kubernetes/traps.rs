//! What goes wrong in scripts for transitions does not go wrong here: each trap by its name, in the bundled plan `blue-green`
//! on the real cluster.

use std::time::{Duration, Instant};

use mainstay_tests::kubernetes::steady::{Asked, CLIENTS, Sort, Steady, failures};
use mainstay_tests::kubernetes::{Cluster, Space};
use mainstay_tests::wait::{PATIENCE, eventually};
use serde_json::{Value, json};

use super::blue_green::{INSTANCE, Stage};
use super::switching::{UNTIL_BACK, by};

/// For so long green answers well after the switch.
const WELL_FOR: Duration = Duration::from_secs(10);
/// As the pods have it, but for one that answers nothing but errors.
const NGINX: &str = include_str!("../../kubernetes/nginx.conf");

fn state_of<'r>(run: &'r Value, step: &str) -> Vec<&'r str> {
    let works = run["work"].as_array().into_iter().flatten().filter(|work| work["step"] == step);
    works.filter_map(|work| work["state"].as_str()).collect()
}

/// Trap: the first time there is nothing to upgrade; later, whatever was live, a rollback leads to a fixed colour, in a namespace
/// that nobody has said.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t1_what_is_live_is_read_and_the_first_time_is_like_any_other() {
    let cluster = Cluster::shared();
    let space = cluster.space("t1");
    let stage = Stage::new(cluster, &space).await;
    let elsewhere = cluster.space("t1-elsewhere");
    elsewhere.apply("{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {selector: {app: web}, ports: [{port: 80}]}}\n");

    // The first time nothing is live.
    stage.completes(&["replicas=2", "keepFor=0s"]).await;
    assert_eq!((stage.live().as_str(), stage.replicas("web-blue"), stage.replicas("web-green")), ("web-blue", Some(2), None));

    // The next one has as many pods as what is live, is tried by a Job, and what was live loses its pods.
    let smoke = "smoke=[\"sh\", \"-c\", \"echo $RELEASE is well\"]";
    let ended = stage.completes(&["keepFor=1s", "smokeImage=mainstay.test/busybox:1", smoke]).await;
    assert!(ended.to_string().contains("web-green is well"), "{ended}");
    assert_eq!((stage.live().as_str(), stage.replicas("web-blue"), stage.replicas("web-green")), ("web-green", Some(0), Some(2)));
    assert_eq!((stage.leads("web-admin").as_str(), stage.leads("web-preview").as_str()), ("web-green", "web-green"));

    // One that does not become ready is never live, and is taken back: not to blue, as whoever knows one colour would.
    stage.fails(&["tag=none", "within=8s"]).await;
    assert_eq!((stage.live().as_str(), stage.replicas("web-green")), ("web-green", Some(2)));
    let service = elsewhere.json(&["get", "service", "web"]).expect("it");
    assert_eq!(service.pointer("/spec/selector"), Some(&json!({ "app": "web" })), "another namespace's is not touched");
}

/// Has all pods of green answer with errors from now on.
fn breaks(space: &Space<'_>, pods: &[(String, String)]) {
    let broken = NGINX.replace("root /tmp;", "return 500;");
    assert_ne!(broken, NGINX);
    let ill = &["sh", "-c", "echo \"$0\" > /etc/nginx/nginx.conf; kill -HUP 1", &broken];
    std::thread::scope(|all| {
        for (pod, _) in pods {
            all.spawn(move || space.exec(pod, ill).expect("it begins to fail"));
        }
    });
}

/// Trap: one sample after five minutes decides, so that what fails in between is not seen, and is taken back late.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t2_every_probe_of_the_window_counts_and_a_green_that_fails_is_left_within_seconds() {
    let cluster = Cluster::shared();
    let space = cluster.space("t2");
    let stage = Stage::with_blue(cluster, &space).await;
    let blue = stage.ready("web-blue");
    assert_eq!(blue.len(), 2, "{blue:?}");
    let steady = Steady::of(stage.address);
    let run = stage.starts(&["watch=3m"]);
    stage.up.work_is(&run, "watch", &["active"]).await;
    eventually("green answers well for a while", || {
        let asked = steady.asked();
        let green = by(&asked, "green");
        let span = green.first().zip(green.last()).map(|(first, last)| last.at - first.at).unwrap_or_default();
        std::future::ready(if span >= WELL_FOR { Ok(()) } else { Err(format!("{} answers by green, over {span:?}", green.len())) })
    })
    .await;
    let green = stage.ready("web-green");
    assert_eq!(green.len(), 2, "as many as blue has: {green:?}");
    let is_well = failures(&steady.asked(), Sort::New).is_empty();
    assert!(is_well, "none failed so far: {:?}", failures(&steady.asked(), Sort::New));
    breaks(&space, &green);

    let ended = stage.up.ended(&run).await;
    assert_eq!(ended["state"], "failed", "{ended}");
    assert!(ended.to_string().contains("probes failed one after another"), "{ended}");
    assert_eq!((stage.live().as_str(), stage.leads("web-admin").as_str(), stage.leads("web-preview").as_str()), ("web-blue", "web-blue", "web-blue"));
    assert_eq!((stage.ready("web-blue"), stage.replicas("web-green")), (blue, None), "blue is what it was, and green is gone: {ended}");

    // Connections that were kept are blue's now, though green's pods had them.
    let over = Instant::now();
    let by_blue = |one: &Asked| one.answer.as_ref().is_ok_and(|body| body.starts_with("web-blue-"));
    eventually("kept connections are answered afterwards", || {
        let kept = steady.asked().into_iter().filter(|one| one.sort == Sort::Kept && one.at > over).count();
        std::future::ready(if kept > 10 * CLIENTS { Ok(()) } else { Err(format!("{kept} answers")) })
    })
    .await;
    let asked = steady.end().await;
    let strays: Vec<&Asked> = asked.iter().filter(|one| one.at > over && !by_blue(one)).collect();
    assert!(strays.is_empty(), "all is blue's: {strays:?}");
    let is_cut = |one: &&Asked| one.sort == Sort::Kept && one.answer.as_ref().is_err_and(|why| !why.starts_with("HTTP "));
    let cut: Vec<&Asked> = asked.iter().filter(is_cut).collect();
    // Once where green begins to fail, which ends its connections, and once where its pods end.
    assert!(cut.len() <= 2 * CLIENTS, "the loser ended gracefully: {cut:?}");
    let failed: Vec<&Asked> = asked.iter().filter(|one| one.sort == Sort::New && one.answer.is_err()).collect();
    let (first, last) = (failed.first().expect("green failed").at, failed.last().expect("green failed").at);
    assert!(last - first < UNTIL_BACK, "{} failures over {:?}", failed.len(), last - first);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t3_t18_t24_one_after_another() {
    let cluster = Cluster::shared();
    let space = cluster.space("t3");
    let stage = Stage::with_blue(cluster, &space).await;
    t24_what_says_no_version_is_pointed_out_beforehand(&stage);
    t18_what_comes_after_a_check_that_failed_is_not_begun(&stage).await;
    t3_what_was_live_keeps_its_pods_and_going_back_is_a_matter_of_seconds(&stage).await;
}

/// Trap: charts and images that are whatever is newest then.
fn t24_what_says_no_version_is_pointed_out_beforehand(stage: &Stage<'_>) {
    let remarks = |words: &[&str]| {
        let preview = stage.up.json(words);
        let all = preview["remarks"].as_array().into_iter().flatten().filter(|remark| remark["severity"] == "warning");
        all.filter_map(|remark| remark["message"].as_str()).collect::<Vec<_>>().join("\n")
    };
    let of_chart = |version: &str| {
        let words = stage.words(&["plan", "preview"], &["chart=oci://registry.test/charts/web", version]);
        remarks(&words.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let range = of_chart("version=^1.2.0");
    assert!(range.contains("its chart is whatever is the newest of version ^1.2.0 then"), "{range}");
    let pinned = of_chart("version=1.2.3");
    assert!(!pinned.contains("its chart"), "{pinned}");
    let (space, image) = (format!("space={}", stage.space.name()), "image=mainstay.test/nginx:latest");
    let words = ["plan", "preview", "rolling-update", "--set", "cluster=prod", "--set", &space, "--set", "name=web-blue", "--set", image];
    let latest = remarks(&words);
    assert!(latest.contains("mainstay.test/nginx:latest: whatever is newest"), "{latest}");
}

/// Trap: a check that failed does not end the script, and what follows builds on it.
async fn t18_what_comes_after_a_check_that_failed_is_not_begun(stage: &Stage<'_>) {
    let failing = ["smokeImage=mainstay.test/busybox:1", "smoke=[\"sh\", \"-c\", \"exit 3\"]"];
    let words = stage.words(&["run", "start"], &failing);
    let words: Vec<&str> = words.iter().map(String::as_str).chain(["--wait"]).collect();
    let output = stage.up.cli(&words);
    assert_eq!(output.status.code(), Some(1), "who waits for it is told: {}", String::from_utf8_lossy(&output.stdout));
    let runs = stage.up.json(&["run", "list", "--plan", "blue-green"]);
    let run = runs.pointer("/runs/0/id").and_then(Value::as_str).expect("the run");
    let ended = stage.up.ended(run).await;
    assert_eq!(
        (&ended["state"], state_of(&ended, "switch"), state_of(&ended, "end")),
        (&json!("failed"), vec!["skipped"], vec!["skipped"]),
        "{ended}"
    );
    assert_eq!((stage.live().as_str(), stage.leads("web-preview").as_str()), ("web-blue", "web-blue"), "{ended}");
    assert_eq!((stage.ready("web-blue").len(), stage.replicas("web-green")), (2, None), "{ended}");
}

/// Trap: what was live is removed at once, and a minute later there is nothing to return to.
async fn t3_what_was_live_keeps_its_pods_and_going_back_is_a_matter_of_seconds(stage: &Stage<'_>) {
    let blue = stage.ready("web-blue");
    let run = stage.starts(&["keepFor=10m"]);
    stage.up.work_is(&run, "keep", &["active"]).await;
    assert_eq!((stage.live().as_str(), stage.ready("web-blue")), ("web-green", blue.clone()));
    assert_eq!((stage.leads("web-admin").as_str(), stage.leads("web-preview").as_str()), ("web-green", "web-green"));
    let aborted = stage.up.cli(&["run", "abort", &run, "--reason", "not that one"]);
    assert!(aborted.status.success(), "{}", String::from_utf8_lossy(&aborted.stderr));
    let back = |service: &Value| (service.pointer("/spec/selector")?.get(INSTANCE)? == "web-blue").then_some(());
    stage.space.until(PATIENCE, &["service", "web"], back).await;
    let ended = stage.up.ended(&run).await;
    assert_eq!((&ended["state"], stage.live().as_str(), stage.ready("web-blue")), (&json!("aborted"), "web-blue", blue), "{ended}");
    assert_eq!(stage.leads("web-admin"), "web-blue", "all of them, or none");
}

/// Trap: a script that is interrupted leaves two environments and half a switch, and nobody knows which is which.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t4_what_an_interrupted_run_leaves_is_removed_or_taken_over() {
    let cluster = Cluster::shared();
    let space = cluster.space("t4");
    let mut stage = Stage::with_blue(cluster, &space).await;

    // The agent dies while it deploys, and the run is given up while nobody is there: the next process removes what is there.
    let run = stage.starts(&["tag=none"]);
    let is_half = |green: &Value| (green.pointer("/status/unavailableReplicas")? == 2).then_some(());
    space.until(PATIENCE, &["deployment", "-l", &format!("{INSTANCE}=web-green")], |all| is_half(all["items"].get(0)?)).await;
    stage.up.work_is(&run, "deploy", &["active"]).await;
    let mut replica = stage.replica.take().expect("the replica");
    replica.kill();
    let aborted = stage.up.cli(&["run", "abort", &run, "--reason", "interrupted"]);
    assert!(aborted.status.success(), "{}", String::from_utf8_lossy(&aborted.stderr));
    stage.replica = Some(replica.again());
    let ended = stage.up.ended(&run).await;
    assert_eq!((&ended["state"], stage.live().as_str(), stage.replicas("web-green")), (&json!("aborted"), "web-blue", None), "{ended}");
    assert_eq!(stage.ready("web-blue").len(), 2, "{ended}");

    // What nobody removed, without pods and of which no run knows, is recognised and taken over.
    let charts = stage.up.scratch().join("charts/web").display().to_string();
    let mut helm = std::process::Command::new(cluster.program("helm"));
    helm.arg("--kubeconfig").arg(cluster.kubeconfig()).args(["--namespace", space.name(), "install", "web-green", &charts]);
    let left = helm.env("HOME", stage.up.scratch()).output().expect("helm runs");
    assert!(left.status.success(), "{}", String::from_utf8_lossy(&left.stderr));
    space.kubectl(&["scale", "deployment", "web-green", "--replicas=1"]).expect("it is scaled");
    let ended = stage.completes(&["keepFor=0s"]).await;
    assert!(ended.to_string().contains("web-green comes next, of which"), "{ended}");
    assert_eq!((stage.live().as_str(), stage.ready("web-green").len(), stage.replicas("web-blue")), ("web-green", 2, Some(0)), "{ended}");
}
