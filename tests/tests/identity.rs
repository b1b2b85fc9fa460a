//! Operators come in, change and are shut out; a mesh whose certificates have all ended comes back.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;
use std::time::{Duration, Instant};

use mainstay_client::{Bundle, ClientIdentity, Mesh};
use mainstay_proto::v1::{GetLeaseRequest, GetRunRequest, GetStatusRequest};
use mainstay_tests::{Options, Up, clock, eventually, process};
use rustix::process::Signal;
use tonic::Code;

/// How soon connections are to end after their identity was revoked.
const AT_ONCE: Duration = Duration::from_secs(1);

const LONG: &str = "apiVersion: mainstay.dev/v1alpha1
kind: MaintenancePlan
metadata:
  name: long
spec:
  steps:
    - name: pause
      uses: wait
      runOn: node
      with:
        for: 10m
";

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Adds an operator, and has it log in with the line that was printed.
fn let_in(up: &Up, name: &str, role: &str, home: &Path) {
    let added = up.cli(&["operator", "add", name, "--role", role]);
    assert!(added.status.success(), "{}", stderr(&added));
    let line = stdout(&added);
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(&words[..2], ["mainstay", "login"], "one line to hand over: {line}");
    let login = up.cli_of(home, &words[1..]);
    assert!(login.status.success(), "{}", stderr(&login));
}

/// A client of these members only, with somebody's identity.
fn client(addresses: Vec<String>, dir: &Path) -> Mesh {
    mainstay_client::tls::install_provider();
    let bundle = Bundle::load(dir).expect("an identity");
    Mesh::new(addresses, ClientIdentity::new(bundle).expect("a certificate"))
}

fn addresses(up: &Up) -> Vec<String> {
    let members = up.json(&["status"])["members"].as_array().cloned().unwrap_or_default();
    members.iter().filter_map(|member| member["address"].as_str()).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_logs_in_works_and_leaves() {
    let up = Up::start(Options { agents: 1, ..Options::default() }).await;
    let home = up.scratch().join("ben");

    let rehearsed = up.cli(&["operator", "add", "ben", "--role", "viewer", "--dry-run"]);
    assert!(rehearsed.status.success() && !stdout(&rehearsed).contains("mst1."), "{}", stdout(&rehearsed));
    assert_eq!(up.json(&["operator", "list"])["operators"].as_array().map(Vec::len), Some(1));

    let_in(&up, "ben", "viewer", &home);
    let file = home.join("mainstay/local/identity.pem");
    assert_eq!(fs::metadata(&file).expect("the identity").permissions().mode() & 0o777, 0o600);
    let status = up.cli_of(&home, &["status"]);
    assert!(status.status.success(), "the context is in use: {}", stderr(&status));
    let started = up.cli_of(&home, &["run", "start", "daily"]);
    assert_eq!(started.status.code(), Some(1), "{}", stderr(&started));
    assert!(stderr(&started).contains("operator ben is viewer: this needs operator"), "{}", stderr(&started));

    let role = up.cli(&["operator", "role", "ben", "operator"]);
    assert_eq!(stdout(&role), "✔ ben is operator from now on, and was viewer\n");
    assert!(up.cli_of(&home, &["run", "start", "daily"]).status.success());

    // The token was good once.
    let added = up.json(&["operator", "add", "ben", "--role", "operator"]);
    let token = added["token"].as_str().expect("a token").to_owned();
    let other = up.scratch().join("other");
    assert!(up.cli_of(&other, &["login", &token, "--name", "mine", "--dry-run"]).status.success());
    assert!(!other.exists(), "a dry run stores nothing");
    assert!(up.cli_of(&other, &["login", &token, "--name", "mine"]).status.success());
    let again = up.cli_of(&up.scratch().join("third"), &["login", &token]);
    assert_eq!(again.status.code(), Some(1));
    assert!(stderr(&again).contains("no such join token"), "{}", stderr(&again));
    assert_eq!(up.cli_of(&other, &["login", "mst1.x"]).status.code(), Some(2));

    // Without a token, the certificate in use is renewed.
    let before = fs::read(&file).expect("the identity");
    let renewed = up.cli_of(&home, &["login"]);
    assert!(renewed.status.success() && fs::read(&file).expect("the identity") != before, "{}", stderr(&renewed));

    let typo = up.cli(&["operator", "revoke", "bem", "--reason", "left"]);
    assert_eq!(typo.status.code(), Some(2), "{}", stderr(&typo));
    assert!(stderr(&typo).contains("operators are ben, local"), "{}", stderr(&typo));
    assert!(up.cli(&["operator", "revoke", "ben", "--reason", "left", "--dry-run"]).status.success());
    assert!(up.cli_of(&home, &["status"]).status.success(), "a dry run revokes nobody");
    assert!(up.cli(&["operator", "revoke", "ben", "--reason", "left"]).status.success());
    let refused = up.cli_of(&home, &["status"]);
    assert_eq!(refused.status.code(), Some(1), "{}", stderr(&refused));
    assert!(stderr(&refused).contains("operator/ben is revoked"), "{}", stderr(&refused));
    let burnt = up.cli(&["operator", "add", "ben", "--role", "viewer"]);
    assert!(!burnt.status.success() && stderr(&burnt).contains("operator/ben is revoked (left), for good"), "{}", stderr(&burnt));
    let text = stdout(&up.cli(&["operator", "list"]));
    assert!(text.lines().any(|line| line.starts_with("ben") && line.contains("✖ revoked") && line.ends_with(": left")), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revocation_ends_streams_and_links_at_once_on_every_member() {
    let up = Up::start(Options::default()).await;
    let home = up.scratch().join("ben");
    let_in(&up, "ben", "operator", &home);
    let identity = home.join("mainstay/local");
    let run = up.start_run("long", LONG);
    up.work_is(&run, "pause", &["active"]).await;
    let leader = up.leader().await;
    let behind = ["c1", "c2", "c3"].into_iter().find(|name| *name != leader).expect("a follower");

    let ben = client(addresses(&up), &identity);
    let mut watched_run = ben.watch_run(GetRunRequest { run: run.clone() }).await.expect("a stream");
    watched_run.message().await.expect("the run").expect("the run");
    let mut watched_lease = ben.watch_lease(GetLeaseRequest { name: "demo".into() }).await.expect("a stream");
    watched_lease.message().await.expect("the lease").expect("the lease");

    // One member does not hear of it.
    let paused = up.pid(behind).expect("the follower runs");
    process::signal(paused, Signal::STOP);
    let revoked = up.cli(&["revoke", "operator/ben", "--reason", "left"]);
    let begun = Instant::now();
    assert!(revoked.status.success(), "{}", stderr(&revoked));
    let ends = async {
        while let Ok(Some(_)) = watched_run.message().await {}
        while let Ok(Some(_)) = watched_lease.message().await {}
    };
    tokio::time::timeout(AT_ONCE, ends).await.unwrap_or_else(|_| panic!("streams are open {:?} after the revocation", begun.elapsed()));

    process::signal(paused, Signal::CONT);
    for address in addresses(&up) {
        let there = client(vec![address.clone()], &identity);
        eventually(&format!("{address} refuses in words"), || async {
            match there.get_status(GetStatusRequest {}).await {
                Err(error) if error.code() == Some(Code::PermissionDenied) && error.to_string().contains("operator/ben is revoked") => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
    }

    // An agent: the mesh calls it lost, and its process hears why.
    let revoked = up.cli(&["revoke", "cluster/local/node/a2", "--reason", "stolen"]);
    let begun = Instant::now();
    assert!(revoked.status.success(), "{}", stderr(&revoked));
    eventually("the link has ended", || async {
        let log = fs::read_to_string(up.dir().join("logs/a2.log")).unwrap_or_default();
        if log.contains("cluster/local/node/a2 is revoked") { Ok(()) } else { Err(log) }
    })
    .await;
    assert!(begun.elapsed() < AT_ONCE + Duration::from_secs(1), "it took {:?}", begun.elapsed());
    eventually("the mesh says so", || async {
        let nodes = up.try_json(&["node", "list"])?;
        let node = nodes["nodes"].as_array().and_then(|nodes| nodes.iter().find(|node| node["name"] == "a2")).cloned().unwrap_or_default();
        if node["link"] == "lost" { Ok(()) } else { Err(node.to_string()) }
    })
    .await;
    up.cli(&["run", "abort", &run, "--reason", "the test is over"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_can_be_set_ahead_for_one_process() {
    let mut date = std::process::Command::new("date");
    clock::ahead(date.arg("+%s"), "+3d");
    let ahead: i64 = stdout(&date.output().expect("date runs")).trim().parse().expect("seconds");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock").as_secs();
    let days = (ahead - i64::try_from(now).expect("seconds")) / 86_400;
    assert!((2..=3).contains(&days), "{days} days ahead");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mesh_that_was_down_for_three_lifetimes_comes_back_by_itself() {
    let mut up = Up::start(Options::default()).await;
    let home = up.scratch().join("ben");
    let_in(&up, "ben", "operator", &home);
    let dirs = ["c1", "c2", "c3", "a1", "a2", "a3", "operator"].map(|name| up.dir().join(name));
    let ends = |dir: &Path| Bundle::load(dir).expect("an identity").validity().expect("its dates").1;
    let before: Vec<_> = dirs.iter().map(|dir| ends(dir)).collect();
    let ben_before = ends(&home.join("mainstay/local"));

    // Three lifetimes later all of these have ended long ago.
    let later = Options { ahead: "+73h".into(), ..Options::default() };
    up.restart(later).await;
    let run = up.json(&["run", "start", "daily"])["run"].as_str().expect("a run").to_owned();
    assert_eq!(up.ended(&run).await["state"], "completed");
    for (dir, before) in dirs.iter().zip(before) {
        let hours = (ends(dir).0 - before.0) / 3_600_000;
        assert!((70..=76).contains(&hours), "{} was renewed {hours} h later", dir.display());
    }

    // An operator's laptop slept as long: its next verb renews, without a word.
    let status = up.cli_of(&home, &["status"]);
    assert!(status.status.success() && stderr(&status).is_empty(), "{}", stderr(&status));
    assert!(ends(&home.join("mainstay/local")).0 > ben_before.0 + 70 * 3_600_000);

    // After more than 30 days more it has to log in again, and is told how.
    up.restart(Options { ahead: "+1000h".into(), ..Options::default() }).await;
    let refused = up.cli_of(&home, &["status"]);
    assert_eq!(refused.status.code(), Some(3), "{}", stderr(&refused));
    assert!(stderr(&refused).contains("mainstay operator add ben --role ROLE"), "{}", stderr(&refused));
    let_in(&up, "ben", "operator", &home);
    assert!(up.cli_of(&home, &["status"]).status.success());
}
