//! A node that is rebooted by its hands while it is out of use, and comes back. The machine is played: what runs on the node
//! ends, its hands too, and starts again under another boot id.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use mainstay_tests::kubernetes::{Cluster, Space};
use mainstay_tests::up::Up;
use mainstay_tests::wait::{PATIENCE, eventually, eventually_within};
use serde_json::{Value, json};

use super::enrolment::{Agent, linked};
use super::upkeep::{FREE, TAKEN, deployment, on, stands, state_of};

const POLICY: &str = "[policy]\nallow = [\"node.reboot\"]\n[[policy.exec]]\ncommand = [\"/usr/bin/systemctl\", \"reboot\"]\n";
/// Nobody has asked for the first one. The second one is asked for in vain: the machine goes on.
const VAIN: &str = r#"
apiVersion: mainstay.dev/v1alpha1
kind: MaintenancePlan
metadata: {name: vain}
spec:
  steps:
    - {name: unasked, uses: node.reboot, if: target.node == "n1", with: {ifFile: /var/run/reboot-required}}
    - {name: vain, uses: node.reboot, if: target.node == "n1", needs: [unasked], with: {within: 1s}}
"#;

/// Hands that are on the node, where what reboots a machine only tells so. They go with it.
fn hands(cluster: &Cluster, up: &Up, words: &[&str], reboots: &Path) -> Agent {
    cluster.on("n1", &["mount", "--bind", &reboots.display().to_string(), "/usr/bin/systemctl"]).expect("it takes that one's place");
    Agent::start_through(&cluster.inside("n1"), up, "prod", &up.scratch().join("n1-hands"), words)
}

/// What the API server knows of the node: its boot id, and whether it is ready.
fn known(cluster: &Cluster) -> (String, bool) {
    let node = cluster.json(&["get", "node", "n1"]).expect("the node");
    let mut conditions = node.pointer("/status/conditions").and_then(Value::as_array).into_iter().flatten();
    let is_ready = conditions.any(|condition| condition["type"] == "Ready" && condition["status"] == "True");
    (node.pointer("/status/nodeInfo/bootID").and_then(Value::as_str).unwrap_or_default().to_owned(), is_ready)
}

/// Rebooted by the bundled plan; by hands that have these words said to them, the last one of which is their policy's file.
pub async fn a_reboot(cluster: &Cluster, space: &Space<'_>, up: &Up, words: &[&str]) {
    let (reboots, told) = (up.scratch().join("systemctl"), up.scratch().join("told"));
    fs::write(&reboots, format!("#!/bin/sh\necho \"$*\" >> {}\n", told.display())).expect("a program");
    fs::set_permissions(&reboots, fs::Permissions::from_mode(0o755)).expect("a program");
    fs::write(words.last().expect("the policy's file"), POLICY).expect("the policy");
    let has_told = || fs::read_to_string(&told).unwrap_or_default();
    let before = cluster.boot_id("n1");
    assert_eq!(known(cluster), (before.clone(), true), "the real kubelet says the same");
    let there = hands(cluster, up, words, &reboots);
    linked(up, "hands/n1").await;

    // Without the file it is left alone; a command that ends well and reboots nothing is a failure.
    let ended = up.ended(&up.start_run("vain", VAIN)).await;
    assert!(ended.to_string().contains("there is no /var/run/reboot-required: it needs no reboot"), "{ended}");
    assert_eq!((state_of(&ended, "unasked", "prod/n1"), &ended["state"]), (&json!("succeeded"), &json!("failed")), "{ended}");
    assert!(ended.to_string().contains("the machine goes on, 1s after /usr/bin/systemctl reboot has come off"), "{ended}");
    assert_eq!(has_told(), "reboot\n", "only who asked for it has run the command");

    // With it, by the bundled plan: what runs there goes elsewhere first.
    deployment(space, "web", "", 0);
    assert_eq!(on(space, "web", "n1"), 2);
    cluster.on("n1", &["touch", "/run/reboot-required"]).expect("a package asks for it");
    let sets = ["nodes=[\"n1\"]", "reboot=ifNeeded", "within=1m"];
    let words_of_run: Vec<&str> = ["run", "start", "node-maintenance"].into_iter().chain(sets.into_iter().flat_map(|set| ["--set", set])).collect();
    let started = up.json(&words_of_run);
    let run = started["run"].as_str().expect("a run");
    let asked = || std::future::ready(if has_told() == "reboot\nreboot\n" { Ok(()) } else { Err(format!("{}\n{}", has_told(), up.run(run))) });
    eventually("it is to be rebooted", asked).await;
    assert_eq!((stands(cluster, "n1"), on(space, "web", "n1"), on(space, "web", "n2")), (TAKEN, 0, 2), "it is out of use by then");

    // The machine goes down, and its hands with it: they are waited for, and the node stays out of use.
    cluster.power_off("n1");
    drop(there);
    eventually_within(PATIENCE, "it is away", || async {
        let nodes = up.try_json(&["node", "list"])?;
        let is_linked = nodes["nodes"].as_array().into_iter().flatten().any(|node| node["name"] == "hands/n1" && node["link"] == "up");
        if is_linked || known(cluster).1 { Err(nodes.to_string()) } else { Ok(()) }
    })
    .await;
    let waits = up.run(run);
    assert_eq!((&waits["state"], stands(cluster, "n1")), (&json!("running"), TAKEN), "{waits}");
    assert_ne!(state_of(&waits, "reboot", "prod/n1"), "succeeded", "{waits}");

    // It comes up again, and what proves it is another boot id.
    cluster.power_on("n1");
    let is_up = || {
        let (boot_id, is_ready) = known(cluster);
        std::future::ready(if boot_id != before && is_ready { Ok(boot_id) } else { Err(format!("{boot_id}, ready: {is_ready}")) })
    };
    let after = eventually_within(PATIENCE, "it is up", is_up).await;
    assert_eq!(after, cluster.boot_id("n1"));
    assert_eq!(stands(cluster, "n1"), TAKEN, "nobody has seen yet that it has been rebooted");
    let _there = hands(cluster, up, words, &reboots);
    let ended = up.ended(run).await;
    assert_eq!((&ended["state"], &ended["verdict"], stands(cluster, "n1")), (&json!("completed"), &json!("ok"), FREE), "{ended}");
    assert!(ended.to_string().contains(&format!("it was rebooted: boot id {before} before, {after} now")), "{ended}");
    assert_eq!(has_told(), "reboot\nreboot\n", "once");
    let works = ended["work"].as_array().into_iter().flatten();
    let last: Vec<&Value> = works
        .filter(|work| work["step"] == "reboot" && work["target"] == "prod/n1")
        .filter_map(|work| work["attempts"].as_array()?.last().map(|attempt| &attempt["agent"]))
        .collect();
    assert_eq!(last, ["prod/hands/n1"], "{ended}");
}
