//! The daily look at a machine: what it shows, and that each of six real faults is found.
#![allow(clippy::disallowed_methods, clippy::expect_used, clippy::panic, reason = "a test that cannot go on stops with words")]

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use mainstay_tests::faults::{MemoryGroup, Tmpfs};
use mainstay_tests::{Options, Up, eventually};
use rcgen::{CertificateParams, KeyPair};
use serde_json::Value;

fn plan(name: &str, uses: &str, with: &str) -> String {
    format!(
        "apiVersion: mainstay.dev/v1alpha1\nkind: MaintenancePlan\nmetadata:\n  name: {name}\nspec:\n  steps:\n    - name: look\n      uses: {uses}\n      runOn: node\n      with:\n{}",
        with.lines().map(|line| format!("        {line}\n")).collect::<String>()
    )
}

/// All checks of a run, whichever step found them.
fn checks(run: &Value) -> Vec<Value> {
    let works = run["work"].as_array().into_iter().flatten();
    let attempts = works.flat_map(|work| work["attempts"].as_array().cloned().unwrap_or_default());
    attempts.flat_map(|attempt| attempt["outcome"]["report"]["checks"].as_array().cloned().unwrap_or_default()).collect()
}

fn find<'a>(checks: &'a [Value], id: &str, subject: &str) -> Option<&'a Value> {
    checks.iter().find(|check| {
        check["id"].as_str().is_some_and(|own| own.starts_with(id)) && check["subject"].as_str().is_some_and(|own| own.contains(subject))
    })
}

async fn look(up: &Up, name: &str, uses: &str, with: &str) -> Vec<Value> {
    let run = up.start_run(name, &plan(name, uses, with));
    let ended = up.ended(&run).await;
    assert_eq!(ended["state"], "completed", "{ended}");
    checks(&ended)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_daily_report_shows_what_a_person_would_look_at() {
    let up = Up::start(Options::default()).await;
    let run = up.json(&["run", "start", "daily"])["run"].as_str().expect("a run").to_owned();
    let ended = up.ended(&run).await;
    assert_eq!(ended["state"], "completed", "{ended}");
    let nodes: Vec<&str> = ended["work"].as_array().into_iter().flatten().filter_map(|work| work["target"].as_str()).collect();
    // What has no connection is left out, once.
    assert!(
        nodes.iter().all(|node| node.ends_with("/a1") || *node == "once"),
        "one agent speaks for the machine, nothing is counted three times: {nodes:?}"
    );
    let checks = checks(&ended);
    for (id, subject) in [
        ("cpu", ""),
        ("memory", ""),
        ("load", ""),
        ("pressure.cpu", ""),
        ("pressure.memory", ""),
        ("pressure.io", ""),
        ("disk.used", "/"),
        ("disk.inodes", "/"),
    ] {
        let check = find(&checks, id, subject).unwrap_or_else(|| panic!("there is a check of {id} {subject}: {checks:#?}"));
        assert!(check["value"].is_number(), "with a value: {check}");
        assert!(check["thresholds"]["warning"].is_number() || check["thresholds"]["critical"].is_number(), "with a threshold: {check}");
        assert!(matches!(check["verdict"].as_str(), Some("ok" | "warning" | "critical")), "with a verdict: {check}");
        assert!(check["unit"].is_string(), "with a unit: {check}");
    }
    for id in ["service", "logs", "tls"] {
        assert!(find(&checks, id, "").is_some(), "{id} is looked at, or it is said why not: {checks:#?}");
    }

    // The same on a terminal's width, in words.
    let text = up.cli(&["run", "show", &run, "--all"]);
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(text.contains("daily") && text.to_lowercase().contains("memory"), "{text}");
    assert!(!text.contains('\u{1b}'), "no colour in a pipe: {text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_found() {
    let up = Up::start(Options { agents: 1, coordinators: 1, ..Options::default() }).await;
    let disk = Tmpfs::mount(&up.scratch().join("full"), 1024).expect("the test may mount");
    disk.fill();
    let checks = look(&up, "disk", "node.resources", "since: 1h").await;
    let check = find(&checks, "disk.used", &disk.path().display().to_string()).unwrap_or_else(|| panic!("the disk is found: {checks:#?}"));
    assert_eq!(check["verdict"], "critical", "{check}");
    assert!(check["value"].as_f64().is_some_and(|value| value > 95.0), "{check}");
    let findings = up.json(&["finding", "list"]);
    assert!(findings.to_string().contains(&disk.path().display().to_string()), "it is a finding: {findings}");

    // And it clears itself when the same look finds nothing wrong.
    fs::remove_file(disk.path().join("filler")).expect("room is made");
    look(&up, "disk", "node.resources", "since: 1h").await;
    let findings = up.json(&["finding", "list"]);
    assert!(!findings.to_string().contains(&disk.path().display().to_string()), "it has cleared: {findings}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expired_certificate_is_found() {
    let up = Up::start(Options { agents: 1, coordinators: 1, ..Options::default() }).await;
    let file = up.scratch().join("site.pem");
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(vec!["site.example".to_owned()]).expect("parameters");
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    fs::write(&file, params.self_signed(&key).expect("a certificate").pem()).expect("the file");
    let checks = look(&up, "certificates", "tls.check", &format!("files: [{}]", file.display())).await;
    let check = find(&checks, "tls", "site.pem").unwrap_or_else(|| panic!("the certificate is found: {checks:#?}"));
    assert_eq!(check["verdict"], "critical", "{check}");
    assert!(check["value"].as_f64().is_some_and(|days| days < -1_000.0), "days left, below zero: {check}");
    assert_eq!(check["unit"], "d");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn error_lines_are_found_and_what_only_looks_like_them_is_not() {
    let up = Up::start(Options { agents: 1, coordinators: 1, ..Options::default() }).await;
    let file = up.scratch().join("shop.log");
    let now = String::from_utf8(Command::new("date").args(["-u", "+%Y-%m-%dT%H:%M:%SZ"]).output().expect("date runs").stdout).expect("text");
    let now = now.trim();
    let mut text = String::new();
    for i in 0..7 {
        text += &format!("{now} ERROR connection to 10.0.0.{i} refused\n");
    }
    text += &format!("{now} INFO finished with 0 errors\n{now} INFO error_rate=0\n2001-01-01T00:00:00Z ERROR long ago\n");
    fs::write(&file, text).expect("the log");
    let checks = look(&up, "logs", "logs.errors", &format!("files: [{}]\nsince: 24h\ncritical: 5", file.display())).await;
    let check = find(&checks, "logs", "shop.log").unwrap_or_else(|| panic!("the log is found: {checks:#?}"));
    assert_eq!(check["value"].as_f64(), Some(7.0), "seven, no more and no less: {check}");
    assert_eq!(check["verdict"], "critical");
    assert!(check["details"].to_string().contains("refused"), "with an example: {check}");
}

struct Sleeper(Child);

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_service_is_found() {
    let scratch = tempfile::tempdir().expect("a directory");
    let pidfile = scratch.path().join("shopd.pid");
    let mut service = Sleeper(Command::new("sleep").arg("1000").arg0("shopd").stdin(Stdio::null()).spawn().expect("a service"));
    fs::write(&pidfile, service.0.id().to_string()).expect("its pid file");
    let settings = format!("services = [{{ name = \"shopd\", pidfile = \"{}\" }}]\n", pidfile.display());
    let up = Up::start(Options { agents: 1, coordinators: 1, settings, ..Options::default() }).await;
    let alive = look(&up, "services", "node.services", "services: [shopd]").await;
    assert_eq!(find(&alive, "service", "shopd").map(|check| check["verdict"].clone()), Some("ok".into()), "{alive:#?}");
    service.0.kill().expect("it dies");
    service.0.wait().expect("it is dead");
    let dead = look(&up, "services", "node.services", "services: [shopd]").await;
    assert_eq!(find(&dead, "service", "shopd").map(|check| check["verdict"].clone()), Some("critical".into()), "{dead:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_out_of_memory_kill_in_a_cgroup_is_found() {
    let up = Up::start(Options { agents: 1, coordinators: 1, ..Options::default() }).await;
    let group = MemoryGroup::create("oom", 32 << 20).expect("the test may make a cgroup");
    let mut victim = group.python("b = bytearray(256 << 20); b[::4096] = b'x' * len(b[::4096])");
    let status = victim.wait().expect("it ends");
    assert!(!status.success(), "the kernel ended it");
    let found = eventually("the kill is found", || async {
        let checks = look(&up, "kernel", "node.resources", "since: 5m").await;
        let oom = checks.iter().find(|check| check["id"].as_str().is_some_and(|id| id.contains("outOfMemory"))).cloned();
        oom.filter(|check| check["value"].as_f64().is_some_and(|kills| kills >= 1.0)).ok_or_else(|| format!("{checks:#?}"))
    })
    .await;
    assert_eq!(found["verdict"], "critical", "{found}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_pressure_is_found() {
    let up = Up::start(Options { agents: 1, coordinators: 1, ..Options::default() }).await;
    let used = |checks: &[Value]| find(checks, "memory.used", "").and_then(|check| check["value"].as_f64()).expect("memory is measured");
    let before = used(&look(&up, "memory", "node.resources", "memory: { critical: 99% }").await);
    // A process takes more than the threshold leaves; a small machine is not brought to its knees for it.
    let limit = before + 4.0;
    let program = "import time\nb = bytearray(3 << 30)\nb[::4096] = b'x' * len(b[::4096])\ntime.sleep(1000)";
    let _hog = Sleeper(Command::new("python3").args(["-c", program]).stdin(Stdio::null()).spawn().expect("python3 is there"));
    let found = eventually("the pressure is found", || async {
        let checks = look(&up, "pressed", "node.resources", &format!("memory: {{ warning: {limit:.1}%, critical: 99% }}")).await;
        let check = find(&checks, "memory.used", "").cloned();
        check.filter(|check| check["verdict"] == "warning").ok_or_else(|| format!("{checks:#?}"))
    })
    .await;
    assert!(found["value"].as_f64().is_some_and(|share| share >= limit), "{found}");
    assert!(up.json(&["finding", "list"]).to_string().contains("memory.used"), "and it is a finding");
}
