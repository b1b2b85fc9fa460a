//! `mainstay support-bundle`: everything that helps is in it, no secret is, and less is in it when the mesh does not
//! answer.
#![allow(clippy::disallowed_methods, clippy::expect_used, clippy::panic, reason = "a test that cannot go on stops with words")]

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use mainstay_tests::canary::Canary;
use mainstay_tests::up::binaries;
use mainstay_tests::{Options, Up, eventually};
use serde_json::Value;

/// Prints what it was given, and then waits for a person.
const PLAN: &str = r#"apiVersion: mainstay.dev/v1alpha1
kind: MaintenancePlan
metadata: { name: nightly }
spec:
  inputs:
    word: { type: text, description: what is printed }
  steps:
    - { name: print, uses: node.exec, with: { command: [/bin/echo, "${{ inputs.word }}"] } }
    - { name: agree, uses: approval, needs: [print] }
"#;

/// Files of a bundle by their names, without the folder that they are in.
fn unpacked(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(File::open(path).expect("the bundle")));
    let mut files = BTreeMap::new();
    for entry in archive.entries().expect("an archive") {
        let mut entry = entry.expect("an entry");
        let name = entry.path().expect("its name").components().skip(1).collect::<std::path::PathBuf>().display().to_string();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).expect("its bytes");
        files.insert(name, bytes);
    }
    files
}

fn text(files: &BTreeMap<String, Vec<u8>>, name: &str) -> String {
    let bytes = files.get(name).unwrap_or_else(|| panic!("{name} is not in {:?}", files.keys()));
    String::from_utf8(bytes.clone()).expect("text")
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_helps_is_in_it_and_no_secret_is() {
    let canary = Canary::new();
    let secret = &canary.secret;
    // The secret is where people put secrets, well or badly: in a connection, in a policy, in a comment.
    let connections = "[connections.cache]\nkind = \"redis\"\nurl = \"redis://127.0.0.1:1\"\npassword = { file = \"FILE\" }\n";
    let place = tempfile::tempdir().expect("a directory");
    let held = place.path().join("held");
    fs::write(&held, secret).expect("the secret's file");
    let settings = connections.replace("FILE", &held.display().to_string());
    let policy = format!(
        "# the password is {secret}\n[policy]\nallow = [\"node.exec\"]\n[[policy.exec]]\ncommand = [\"/bin/echo\", \"*\"]\n\
         [[policy.exec]]\ncommand = [\"/usr/bin/psql\", \"postgres://app:{secret}@db/orders\"]\n"
    );
    let up = Up::start(Options { agents: 1, policy, settings, ..Options::default() }).await;
    // In what a run was given and has printed,
    up.apply("nightly", PLAN);
    let run = up.json(&["run", "start", "nightly", "--set", &format!("word={secret}")])["run"].as_str().expect("a run's id").to_owned();
    eventually("the run waits for a person", || async {
        let why = up.try_json(&["why", &run])?;
        if why["waits"][0]["kind"] == "approval" { Ok(()) } else { Err(why.to_string()) }
    })
    .await;
    assert!(canary.in_bytes(up.json(&["run", "show", &run]).to_string().as_bytes()).is_some(), "the mesh itself knows what the run was given");
    // and in a log, as a program would write it that was not careful.
    let mut log = OpenOptions::new().append(true).open(up.dir().join("logs/a1.log")).expect("a log");
    writeln!(
        log,
        "password={secret}\nAuthorization: Bearer {secret}\nkept -----BEGIN PRIVATE KEY-----\n{secret}\n-----END PRIVATE KEY-----\nlast line"
    )
    .expect("it is written");

    let to = place.path().join("bundle.tar.gz");
    let output = up.cli(&["support-bundle", "--to", &to.display().to_string()]);
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(fs::metadata(&to).expect("the bundle").permissions().mode() & 0o7777, 0o600);
    let files = unpacked(&to);
    let waits = format!("runs/{run}-waits.json");
    let (of_run, listed) = (format!("runs/{run}.json"), text(&files, "MANIFEST"));
    for name in [
        "doctor.json",
        "versions.json",
        "status.json",
        "agents.json",
        "invariants.json",
        "findings.json",
        "leases.json",
        "connections.json",
        "members/list.json",
        "members/described.json",
        "runs/daily-1.json",
        of_run.as_str(),
        waits.as_str(),
        "settings/up.toml",
        "settings/agent-policy.toml",
        "logs/c1.log",
        "logs/c2.log",
        "logs/c3.log",
        "logs/a1.log",
        "metrics/c1.txt",
        "metrics/c2.txt",
        "metrics/c3.txt",
    ] {
        assert!(files.contains_key(name), "{name} is not in {:?}", files.keys());
        assert!(listed.contains(&format!("  {name} ")), "{name} is not in\n{listed}");
    }
    assert!(listed.contains("Left out:\n") && listed.contains("keys, certificates, join tokens"), "{listed}");

    // Each says something.
    let value = |name: &str| serde_json::from_str::<Value>(&text(&files, name)).expect("JSON");
    assert_eq!(value("doctor.json")["exit"], 0);
    assert_eq!(value("members/list.json")["members"].as_array().map(Vec::len), Some(3));
    assert_eq!(value("members/described.json").as_array().map(Vec::len), Some(3));
    assert_eq!(value("versions.json")["members"]["c1"], env!("CARGO_PKG_VERSION"));
    assert_eq!(value("connections.json")["connections"][0]["name"], "cache");
    assert_eq!(value(&of_run)["inputs"]["word"], "(left out)");
    assert_eq!(value(&waits)["waits"][0]["kind"], "approval");
    assert!(text(&files, "metrics/c2.txt").contains("# TYPE "), "metrics as they are served");
    let log = text(&files, "logs/a1.log");
    assert!(log.ends_with("password=[redacted]\nAuthorization: Bearer [redacted]\nkept [redacted]\nlast line\n"), "{log}");
    assert!(text(&files, "settings/agent-policy.toml").contains("postgres://[redacted]@db/orders"));

    // The secret is in none of them, in no form.
    let found: Vec<String> = files.iter().filter_map(|(name, bytes)| canary.in_bytes(bytes).map(|form| format!("{name} {form}"))).collect();
    assert_eq!(found, Vec::<String>::new());
    for (name, bytes) in &files {
        assert!(!String::from_utf8_lossy(bytes).contains("PRIVATE KEY-----"), "{name} has a key");
    }
    // The search finds what is there.
    assert!(canary.in_bytes(&fs::read(up.dir().join("logs/a1.log")).expect("the log")).is_some());

    statuses(&up, &to);
    without_the_mesh(up, place.path()).await;
}

fn statuses(up: &Up, there: &Path) {
    let whole = fs::read(there).expect("the bundle");
    let again = up.cli(&["support-bundle", "--to", &there.display().to_string()]);
    assert_eq!(again.status.code(), Some(1), "{}", said(&again));
    assert!(said(&again).contains("nothing is written over"), "{}", said(&again));
    assert_eq!(fs::read(there).expect("the bundle"), whole, "it is as it was");
    let nowhere = up.cli(&["support-bundle", "--to", "/nowhere/bundle.tar.gz"]);
    assert_eq!(nowhere.status.code(), Some(1), "{}", said(&nowhere));
    assert_eq!(up.cli(&["support-bundle", "--nonsense"]).status.code(), Some(2));

    let dry = there.with_file_name("dry.tar.gz");
    let output = up.cli(&["support-bundle", "--dry-run", "--to", &dry.display().to_string()]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(said(&output).contains("  status.json ") && said(&output).contains("nothing was written"), "{}", said(&output));
    assert!(!dry.exists(), "a dry run writes nothing");
    let told = up.json(&["support-bundle", "--dry-run"]);
    assert_eq!(told["file"], Value::Null);
    assert!(told["entries"].as_array().is_some_and(|entries| entries.iter().any(|entry| entry["name"] == "doctor.json")), "{told}");
    assert!(told["leftOut"].as_array().is_some_and(|left| left.iter().all(|left| left["why"] != "")), "{told}");
}

/// It is needed most when nothing answers.
async fn without_the_mesh(mut up: Up, place: &Path) {
    up.kill_all();
    let to = place.join("dead.tar.gz");
    let output = up.cli(&["support-bundle", "--to", &to.display().to_string()]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let files = unpacked(&to);
    for name in ["doctor.json", "versions.json", "settings/up.toml", "logs/c1.log"] {
        assert!(files.contains_key(name), "{name} is not in {:?}", files.keys());
    }
    let listed = text(&files, "MANIFEST");
    for left in ["  status.json: the mesh did not answer", "no member answered", "  metrics/c1.txt: 127.0.0.1:"] {
        assert!(listed.contains(left), "{left} is not in\n{listed}");
    }

    // Where no mesh is known at all there is what this machine shows.
    let mut command = Command::new(binaries().join("mainstay"));
    command.env("XDG_CONFIG_HOME", place.join("config")).env_remove("MAINSTAY_CONTEXT").current_dir(place);
    let output = command.arg("support-bundle").stdin(Stdio::null()).output().expect("the CLI runs");
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let made = fs::read_dir(place).expect("the folder").flatten().map(|entry| entry.path());
    let made = made.into_iter().find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("mainstay-support-")));
    let files = unpacked(&made.expect("a file of the usual name in this folder"));
    assert_eq!(serde_json::from_str::<Value>(&text(&files, "doctor.json")).expect("JSON")["exit"], 3);
}
