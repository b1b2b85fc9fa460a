//! The mesh's own snapshot, and a mesh that is begun again from it after all its coordinators are gone.
#![allow(clippy::disallowed_methods, clippy::expect_used, clippy::panic, reason = "a test that cannot go on stops with words")]

use std::fs;
use std::path::Path;
use std::time::Duration;

use mainstay_client::lease::HoldOptions;
use mainstay_core::state::lease::{LeaseKind, LeaseSpec};
use mainstay_core::{Millis, Token};
use mainstay_tests::{Options, Up, eventually, scripts};
use serde_json::Value;

fn with_exec() -> Options {
    Options { policy: scripts::POLICY.to_owned(), ..Options::default() }
}

/// One step that leaves a line and then waits for ever, and one after it.
fn plan(marker: &Path) -> String {
    format!(
        r#"apiVersion: mainstay.dev/v1alpha1
kind: MaintenancePlan
metadata:
  name: mark
spec:
  steps:
    - name: mark
      uses: node.exec
      runOn: once
      timeout: 300s
      with:
        command: [/bin/sh, -c, "echo $MAINSTAY_ATTEMPT >> {marker}; sleep 300"]
    - name: after
      needs: [mark]
      uses: node.exec
      runOn: once
      with:
        command: [/bin/sh, -c, "echo after >> {marker}"]
"#,
        marker = marker.display()
    )
}

fn lines(path: &Path) -> Vec<String> {
    fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn token(of: &Value) -> Token {
    of["held"][0]["token"].as_str().expect("a token").parse().expect("a token")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mesh_that_lost_all_coordinators_begins_again_from_its_snapshot() {
    let mut up = Up::start(with_exec()).await;
    let marker = up.scratch().join("marker");
    let client = up.client();
    let of = |secs| HoldOptions { spec: Some(LeaseSpec { slots: 1, ttl: Millis::from_secs(secs), kind: LeaseKind::Ttl }), ..HoldOptions::default() };
    let short = client.hold_lease("deploy/shop", of(6)).await.expect("the lease");
    let long = client.hold_lease("deploy/long", of(3_600)).await.expect("the lease");
    let before: Token = short.token().parse().expect("a token");
    let run = up.start_run("mark", &plan(&marker));
    eventually("the step has begun", || async { if lines(&marker).len() == 1 { Ok(()) } else { Err("no marker yet".to_owned()) } }).await;
    let began = up.work_is(&run, "mark", &["active"]).await;

    let file = up.scratch().join("mesh.snapshot");
    let file_text = file.display().to_string();
    let snapshot = up.json(&["mesh", "snapshot", "--to", &file_text]);
    assert_eq!((snapshot["mesh"].as_str(), snapshot["incarnation"].as_u64()), (Some("local"), Some(1)), "{snapshot}");
    assert_eq!(snapshot["bytes"].as_u64(), Some(fs::metadata(&file).expect("the snapshot").len()));
    let piped = up.cli(&["mesh", "snapshot", "--to", "-"]);
    assert!(piped.status.success() && piped.stdout.starts_with(b"MAINMESH"), "{}", text(&piped.stderr));

    // What runs, or has its disks, is not recovered over.
    let refused = up.cli(&["mesh", "recover", "--from", &file_text]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("a mesh runs in"), "{}", text(&refused.stderr));
    up.kill_all();
    let refused = up.cli(&["mesh", "recover", "--from", &file_text]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("3 of 3 members still have their disks"), "{}", text(&refused.stderr));

    for name in ["c1", "c2", "c3"] {
        fs::remove_dir_all(up.dir().join(name)).expect("a coordinator's directory");
    }
    let planned = up.json(&["mesh", "recover", "--from", &file_text, "--dry-run"]);
    assert_eq!((planned["dryRun"].as_bool(), planned["account"]["attempts"][0]["step"].as_str()), (Some(true), Some("mark")), "{planned}");
    assert!(!up.dir().join("c1").exists(), "nothing was changed");
    let done = up.json(&["mesh", "recover", "--from", &file_text]);
    let incarnation = done["incarnation"].as_u64().expect("an incarnation");
    assert!(incarnation > 1, "{done}");
    assert_eq!(done["account"]["runsPaused"], serde_json::json!([run]), "{done}");
    assert_eq!(done["account"]["members"].as_array().map(Vec::len), Some(3), "{done}");

    // The agents come back by themselves, with the identities and ledgers that they have.
    up.start_again(Options { ..with_exec() }).await;
    let status = up.json(&["status"]);
    assert_eq!((status["mesh"].as_str(), status["incarnation"].as_u64()), (Some("local"), Some(incarnation)), "{status}");
    assert!(status["applied"].as_u64() > snapshot["applied"].as_u64(), "the entries go on: {status}");

    let ended = up.ended(&run).await;
    assert_eq!(ended["state"], "failed", "{ended}");
    let work = |step: &str| ended["work"].as_array().into_iter().flatten().find(|work| work["step"] == step).cloned().unwrap_or_default();
    assert_eq!(work("mark")["state"], "unknown", "{ended}");
    assert_eq!(work("after")["state"], "skipped", "{ended}");
    assert_eq!(work("mark")["attempts"].as_array().map(Vec::len), Some(1), "the one attempt of before: {ended}");
    assert_eq!(lines(&marker).len(), 1, "nothing was begun again: {began}");

    // Whoever had a lease may believe in it for its TTL: nobody else gets it before, and then under a greater token.
    assert!(long.token().parse::<Token>().expect("a token") > before);
    let locked = up.json(&["lease", "show", "deploy/long"]);
    assert!(token(&locked) > before && locked["held"][0]["identity"].as_str().is_some_and(|by| by.starts_with("coordinator/")), "{locked}");
    // Nor a lease that was taken after the snapshot, for as long as the longest TTL that is known, within bounds.
    assert_eq!(done["account"]["unknownLeasesMs"], 600_000, "{done}");
    assert!(up.client().hold_lease("deploy/new", HoldOptions { wait: Duration::ZERO, ..HoldOptions::default() }).await.is_err());
    let guarded = up.json(&["lease", "show", "deploy/new"]);
    assert!(guarded["held"][0]["identity"].as_str().is_some_and(|by| by.starts_with("coordinator/")), "{guarded}");
    let again = up.client().hold_lease("deploy/shop", HoldOptions { wait: Duration::from_secs(60), ..HoldOptions::default() }).await;
    let again: Token = again.expect("the lease, after its TTL").token().parse().expect("a token");
    assert!(again > before && again.0.incarnation == incarnation, "{again}");

    // The mesh does its work, and its audit says what happened.
    let run = up.json(&["run", "start", "daily"])["run"].as_str().expect("a run").to_owned();
    up.ended(&run).await;
    let audit = up.json(&["audit", "--limit", "500"]);
    assert_eq!(audit["intact"], true);
    let told =
        audit["records"].as_array().into_iter().flatten().any(|record| record["what"].as_str().is_some_and(|what| what.starts_with("recover mesh")));
    assert!(told, "{audit}");
}
