//! `mainstay doctor` on real meshes: what is well, and what it says of each thing that a person broke, with the
//! status that it ends with.
#![allow(clippy::disallowed_methods, clippy::expect_used, clippy::panic, reason = "a test that cannot go on stops with words")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use mainstay_tests::up::binaries;
use mainstay_tests::{Options, Up, eventually, process};
use rustix::process::Signal;
use serde_json::Value;

/// What it found that is not well, and the status it ended with.
struct Told {
    status: i32,
    all: Value,
}

impl Told {
    fn of(output: &Output) -> Told {
        let all: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
        let status = output.status.code().expect("it ended by itself");
        assert_eq!(all["exit"], status, "the answer has the status in it");
        Told { status, all }
    }

    /// What it says by one check with this verdict.
    fn line(&self, check: &str, verdict: &str) -> Option<&Value> {
        self.all["diagnoses"].as_array().into_iter().flatten().find(|line| line["check"] == check && line["verdict"] == verdict)
    }

    fn expect(&self, check: &str, verdict: &str) -> String {
        let line = self.line(check, verdict).unwrap_or_else(|| panic!("nothing {verdict} by {check} in {:#}", self.all));
        assert!(verdict == "ok" || !line["then"].as_str().unwrap_or_default().is_empty(), "what is wrong has a next step: {line}");
        format!("{}: {} → {}", line["place"].as_str().unwrap_or(""), line["what"].as_str().unwrap_or(""), line["then"].as_str().unwrap_or(""))
    }
}

fn doctor(up: &Up) -> Told {
    Told::of(&up.cli(&["doctor", "-o", "json"]))
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("the file's mode");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_finds_what_is_broken_in_a_mesh_and_nothing_else() {
    let mut up = Up::start(Options::default()).await;

    // Nothing is wrong: each part is said to be well, and nobody is told to do anything.
    let told = doctor(&up);
    assert_eq!(told.status, 0, "{:#}", told.all);
    for check in ["context", "identity", "reach", "quorum", "agents", "invariant", "findings"] {
        told.expect(check, "ok");
    }
    let wanting: Vec<&Value> = told.all["diagnoses"].as_array().into_iter().flatten().filter(|line| line["verdict"] != "ok").collect();
    assert!(wanting.is_empty(), "{wanting:#?}");
    let text = up.cli(&["doctor"]);
    assert!(String::from_utf8_lossy(&text.stdout).ends_with("✔ nothing is wrong\n"), "{text:?}");

    // The private key is open to others, which no verb but this one looks at.
    let key = up.dir().join("operator/identity.pem");
    set_mode(&key, 0o644);
    let told = doctor(&up);
    assert_eq!(told.status, 1);
    let line = told.expect("identity", "critical");
    assert!(line.contains("mode 0644") && line.ends_with(&format!("→ chmod 600 {}", key.display())), "{line}");
    set_mode(&key, 0o600);
    assert_eq!(doctor(&up).status, 0, "what it said to do was enough");

    // One member is killed. Who would start it again is held, so that it stays down.
    process::signal(up.supervisor_pid(), Signal::STOP);
    let gone = if up.leader().await == "c3" { "c2" } else { "c3" };
    process::kill(up.pid(gone).expect("the member runs"));
    eventually("the mesh has noticed", || async {
        let told = doctor(&up);
        if told.line("member", "warning").is_some() { Ok(()) } else { Err(told.all.to_string()) }
    })
    .await;
    let told = doctor(&up);
    assert_eq!(told.status, 0, "two of three go on: {:#}", told.all);
    assert!(told.expect("member", "warning").starts_with(&format!("{gone}: silent")));
    assert!(told.expect("reach", "warning").starts_with(&format!("{gone} (127.0.0.1:")));
    assert!(told.expect("quorum", "warning").contains("2 of 3 are up: the loss of one more stops the mesh"));

    // A second one is killed: the one that is left answers, and nothing can be decided.
    let second = up.leader().await;
    process::kill(up.pid(&second).expect("the member runs"));
    let told = doctor(&up);
    assert_eq!(told.status, 1, "{:#}", told.all);
    told.expect("reach", "ok");

    // Nobody is left.
    up.kill_all();
    let told = doctor(&up);
    assert_eq!(told.status, 3);
    let line = told.expect("context", "critical");
    assert!(line.contains("does not run") && line.contains("→ mainstay up --dir"), "{line}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_says_why_an_identity_is_of_no_use() {
    let up = Up::start(Options { coordinators: 1, agents: 1, ..Options::default() }).await;
    let key = up.dir().join("operator/identity.pem");

    // By the clock of this machine the certificate has ended: at first it is renewed, after 30 days it is not.
    let told = Told::of(&up.cli_ahead("+8d", &["doctor", "-o", "json"]));
    let line = told.expect("identity", "warning");
    assert!(line.contains("the certificate of operator/local ended") && line.ends_with("mainstay login"), "{line}");
    let told = Told::of(&up.cli_ahead("+60d", &["doctor", "-o", "json"]));
    assert_eq!(told.status, 3, "nobody takes it any more: {:#}", told.all);
    let line = told.expect("identity", "critical");
    assert!(line.contains("mainstay operator add NAME") && line.contains("mainstay login TOKEN"), "{line}");
    told.expect("reach", "critical");

    // It is cut short, as by a full disk.
    let whole = fs::read(&key).expect("the identity");
    fs::write(&key, &whole[..whole.len() / 3]).expect("half of it");
    let told = doctor(&up);
    assert_eq!(told.status, 3, "{:#}", told.all);
    assert!(told.expect("identity", "critical").contains("cannot be used"));
    // It is gone.
    fs::remove_file(&key).expect("it is taken away");
    let told = doctor(&up);
    assert_eq!(told.status, 3);
    assert!(told.expect("identity", "critical").contains("identity.pem"));
    fs::write(&key, &whole).expect("it is back");
    set_mode(&key, 0o600);
    assert_eq!(doctor(&up).status, 0);
}

#[test]
fn without_any_mesh_it_says_what_is_missing() {
    let nowhere = tempfile::tempdir().expect("a directory");
    let run = |args: &[&str]| {
        let mut command = Command::new(binaries().join("mainstay"));
        command.env("XDG_CONFIG_HOME", nowhere.path()).env_remove("MAINSTAY_CONTEXT").current_dir(nowhere.path());
        command.args(args).stdin(Stdio::null()).output().expect("the CLI runs")
    };
    let told = Told::of(&run(&["doctor", "-o", "json"]));
    assert_eq!(told.status, 3);
    assert!(told.expect("context", "critical").contains("mainstay up"));
    assert_eq!(run(&["doctor"]).status.code(), Some(3));
    assert_eq!(run(&["doctor", "--nonsense"]).status.code(), Some(2));
}
