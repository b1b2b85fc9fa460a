//! What an operator types to preview, start, approve, hold up, take back and explain; and the status that each
//! of it ends with.
#![allow(clippy::disallowed_methods, clippy::expect_used, clippy::panic, reason = "a test that cannot go on stops with words")]

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use mainstay_proto::v1::{AcquireRequest, LeaseKind, LeaseSpec};
use mainstay_tests::up::binaries;
use mainstay_tests::{Options, Up, eventually};
use serde_json::Value;

/// Lets the agents run `sh` on scripts of the test.
const EXEC: &str = r#"
[policy]
allow = ["node.exec"]

[[policy.exec]]
command = ["/bin/sh", "**"]
"#;

async fn small() -> Up {
    Up::start(Options { coordinators: 1, agents: 2, policy: EXEC.to_owned(), ..Options::default() }).await
}

fn write(up: &Up, name: &str, spec: &str) -> String {
    let file = up.scratch().join(format!("{name}.yaml"));
    let plan = format!("apiVersion: mainstay.dev/v1alpha1\nkind: MaintenancePlan\nmetadata:\n  name: {name}\nspec:\n{spec}");
    fs::write(&file, plan).expect("the plan's file");
    file.display().to_string()
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs the CLI and holds its status against the expected one; what it printed, then what it said of errors.
fn ends(up: &Up, status: i32, args: &[&str]) -> String {
    let output = up.cli(args);
    let text = format!("{}{}", out(&output), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(status), "mainstay {args:?}\n{text}");
    text
}

fn apply(up: &Up, name: &str, spec: &str) {
    ends(up, 0, &["plan", "apply", "-f", &write(up, name, spec)]);
}

fn start(up: &Up, args: &[&str]) -> String {
    up.json(&[&["run", "start"], args].concat())["run"].as_str().expect("a run's id").to_owned()
}

/// Waits until a run waits for something of this kind.
async fn waits_for(up: &Up, run: &str, kind: &str) -> Value {
    eventually(&format!("{run} waits for {kind}"), || async {
        let why = up.try_json(&["why", run])?;
        let wait = why["waits"].as_array().into_iter().flatten().find(|wait| wait["kind"] == kind).cloned();
        wait.ok_or_else(|| why.to_string())
    })
    .await
}

fn plan_of<'a>(list: &'a Value, name: &str) -> Option<&'a Value> {
    list["plans"].as_array().into_iter().flatten().find(|plan| plan["name"] == name)
}

const WEEKLY: &str = r#"  inputs:
    image: { type: text, description: what to look at }
  schedules:
    - { cron: "0 3 * * 1", zone: Europe/Berlin, inputs: { image: nightly } }
  steps:
    - { name: look, uses: wait, with: { for: 1s } }
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_is_previewed_compared_suspended_and_removed() {
    let up = small().await;
    let file = write(&up, "weekly", WEEKLY);

    // A preview changes nothing, and says what to type next.
    let text = ends(&up, 0, &["plan", "preview", "-f", &file, "--set", "image=1.10"]);
    assert!(text.contains("nothing is changed by this command") && text.contains("image = \"1.10\""), "{text}");
    assert!(plan_of(&up.json(&["plan", "list"]), "weekly").is_none(), "a preview stores no plan");
    assert!(ends(&up, 2, &["plan", "preview", "-f", &file]).contains("input `image` is missing"), "a value is missing");
    ends(&up, 2, &["plan", "preview", "nothing"]);
    ends(&up, 2, &["plan", "preview", "-f", "/nowhere/weekly.yaml"]);
    // Something is in the way: no agent may run the command.
    let refused = write(&up, "refused", "  steps:\n    - { name: look, uses: lease.hold, with: { name: x, for: 1s } }\n");
    let text = ends(&up, 1, &["plan", "preview", "-f", &refused]);
    assert!(text.contains("✖ problem") && text.contains("lease.hold"), "{text}");
    // A dry run of a start finds the same, and ends alike.
    ends(&up, 0, &["plan", "apply", &refused]);
    ends(&up, 1, &["plan", "preview", "refused"]);
    let text = ends(&up, 1, &["run", "start", "refused", "--dry-run"]);
    assert!(text.contains("✖ as things are now: look: no connected agent can do it now"), "{text}");
    assert!(plan_of(&up.json(&["plan", "list"]), "refused").is_some_and(|plan| plan["lastRun"].is_null()), "nothing was started");
    // A gate that is to come is refused when the plan is handed in, with the reason.
    let gate =
        "  steps:\n    - { name: roll, uses: kube.rollout, with: { namespace: a, name: b, image: \"c:1\", gates: [{ newSignatures: {} }] } }\n";
    let text = ends(&up, 2, &["plan", "apply", &write(&up, "new-lines", gate)]);
    assert!(text.contains("cannot be used yet: not until signatures of log messages exist"), "{text}");
    assert!(plan_of(&up.json(&["plan", "list"]), "new-lines").is_none(), "it is not there");

    assert!(ends(&up, 2, &["plan", "diff", "-f", &file]).contains("plan weekly"), "there is nothing to compare with");
    ends(&up, 0, &["plan", "apply", "-f", &file]);
    ends(&up, 0, &["plan", "diff", "-f", &file]);
    assert!(ends(&up, 2, &["plan", "diff", "weekly"]).contains("has no revision before 1"), "only one revision");
    let changed = write(&up, "weekly", &WEEKLY.replace("for: 1s", "for: 2s"));
    assert!(ends(&up, 1, &["plan", "diff", "-f", &changed]).contains("with.for: 1s → 2s"), "the change by its name");
    ends(&up, 0, &["plan", "apply", "-f", &changed]);
    let diff: Value = serde_json::from_slice(&up.cli(&["plan", "diff", "weekly", "-o", "json"]).stdout).expect("JSON");
    assert_eq!((&diff["same"], &diff["changes"][0]["what"]), (&false.into(), &"step look".into()), "{diff}");
    ends(&up, 1, &["plan", "diff", "weekly", "--revision", "1"]);
    let revisions = up.json(&["plan", "show", "weekly", "--revisions"]);
    assert_eq!(revisions["revisions"].as_array().map(Vec::len), Some(2), "{revisions}");

    let next = |up: &Up| plan_of(&up.json(&["plan", "list"]), "weekly").expect("it is there")["schedules"][0]["nextUnixMs"].as_i64().unwrap_or(0);
    assert!(next(&up) > 0, "it runs next at some time");
    ends(&up, 0, &["plan", "suspend", "weekly", "--reason", "the move", "--dry-run"]);
    assert!(next(&up) > 0, "a dry run changes nothing");
    ends(&up, 0, &["plan", "suspend", "weekly", "--reason", "the move"]);
    assert_eq!(next(&up), 0, "it starts nothing");
    assert!(ends(&up, 0, &["plan", "list"]).contains("weekly was suspended"), "the list says so");
    ends(&up, 0, &["plan", "resume", "weekly"]);
    assert!(next(&up) > 0, "it runs next at some time again");
    ends(&up, 2, &["plan", "suspend", "nothing", "--reason", "x"]);

    assert!(ends(&up, 0, &["plan", "remove", "weekly", "--dry-run"]).contains("revisions 1, 2 would be gone"), "what would go");
    ends(&up, 0, &["plan", "show", "weekly"]);
    ends(&up, 0, &["plan", "remove", "weekly"]);
    ends(&up, 2, &["plan", "show", "weekly"]);
    assert!(ends(&up, 1, &["plan", "remove", "daily"]).contains("comes with the program"), "what is bundled stays");
}

const CHANGE: &str = r#"  inputs:
    image: { type: text }
    hosts: { type: list, default: [] }
  steps:
    - { name: ask, uses: approval, with: { message: is the new one good } }
    - name: change
      uses: node.exec
      needs: [ask]
      with: { command: [/bin/sh, -c, "touch DIR/changed-$0", "${{ inputs.image }}"] }
      undo: { uses: node.exec, with: { command: [/bin/sh, -c, "rm DIR/changed-$0", "${{ inputs.image }}"] } }
    - name: more
      uses: wait
      needs: [change]
      gates: [{ approval: { by: operator } }]
      with: { for: 1s }
"#;

fn change(up: &Up) -> String {
    CHANGE.replace("DIR", &up.scratch().display().to_string())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_is_approved_held_up_and_taken_back() {
    let up = small().await;
    apply(&up, "change", &change(&up));
    let made = up.scratch().join("changed-1.10");

    ends(&up, 0, &["run", "start", "change", "--set", "image=1.10", "--dry-run"]);
    ends(&up, 2, &["run", "start", "change", "--dry-run"]);
    assert!(ends(&up, 2, &["run", "start", "change", "--set", "image=a", "--set", "hosts=a"]).contains("should be a list"), "not a list");
    assert_eq!(up.json(&["run", "list", "--plan", "change"])["runs"].as_array().map(Vec::len), Some(0), "nothing was started");

    let values = up.scratch().join("values.yaml");
    fs::write(&values, "image: from the file\nhosts: [a, b]\n").expect("the values");
    let run = start(&up, &["change", "--values", &values.display().to_string(), "--set", "image=1.10"]);
    let inputs = &up.run(&run)["inputs"];
    assert_eq!((&inputs["image"], &inputs["hosts"]), (&"1.10".into(), &serde_json::json!(["a", "b"])), "a text stays a text: {inputs}");

    // Somebody has to agree, and is told how.
    let wait = waits_for(&up, &run, "approval").await;
    assert_eq!(wait["approval"]["steps"][0]["name"], "change", "{wait}");
    let text = ends(&up, 0, &["why", &run]);
    assert!(text.contains("▲ approve") && text.contains(&format!("→ mainstay run approve {run} --step ask")), "{text}");
    assert_eq!(up.json(&["status"])["runsOnHold"][0]["run"], run.as_str(), "the status says so as well");
    assert!(ends(&up, 2, &["run", "approve", &run]).contains("--yes"), "there is nobody to ask");
    assert!(ends(&up, 2, &["run", "approve", &run, "--step", "change", "--yes"]).contains("--step ask"), "another step asks");
    let text = ends(&up, 0, &["run", "approve", &run, "--dry-run"]);
    assert!(text.contains("is the new one good"), "what is asked: {text}");
    let undo = format!("↺ undo   by node.exec: /bin/sh -c 'rm {}/changed-$0' 1.10\n", up.scratch().display());
    assert!(text.contains(&undo), "what would take it back: {text}");
    waits_for(&up, &run, "approval").await;

    // While it is held up, it asks for nothing.
    ends(&up, 0, &["run", "pause", &run, "--dry-run"]);
    ends(&up, 0, &["run", "pause", &run, "--reason", "lunch"]);
    waits_for(&up, &run, "paused").await;
    assert!(ends(&up, 0, &["why", &run]).contains("by operator/local: lunch"), "who holds it up");
    assert!(ends(&up, 1, &["run", "approve", &run, "--yes"]).contains(&format!("mainstay run resume {run}")), "first it goes on");
    ends(&up, 0, &["run", "resume", &run]);
    waits_for(&up, &run, "approval").await;
    ends(&up, 0, &["run", "approve", &run, "--yes"]);
    up.work_is(&run, "change", &["succeeded"]).await;
    assert!(made.exists(), "it was done once it was approved");

    // Stopped behind the next approval, it takes back what it did.
    waits_for(&up, &run, "approval").await;
    ends(&up, 1, &["run", "retry", &run]);
    let would = up.json(&["run", "abort", &run, "--reason", "x", "--dry-run"]);
    assert_eq!(would["would"].as_array().map(Vec::len), Some(2), "one is not begun, one is taken back: {would}");
    assert!(made.exists() && up.run(&run)["state"] == "running", "a dry run changes nothing");
    ends(&up, 0, &["run", "abort", &run, "--reason", "wrong image"]);
    up.ended(&run).await;
    assert!(!made.exists(), "what was done is taken back");
    let text = ends(&up, 0, &["why", &run]);
    assert!(text.contains("by operator/local: wrong image") && text.contains("↺ undone"), "{text}");
    ends(&up, 1, &["run", "watch", &run]);
    ends(&up, 1, &["run", "undo", &run, "--reason", "again"]);
    ends(&up, 1, &["run", "retry", &run]);
    ends(&up, 1, &["run", "pause", &run]);
    ends(&up, 1, &["run", "approve", &run, "--yes"]);
    ends(&up, 2, &["why", "change-99"]);

    // A no ends it.
    let run = start(&up, &["change", "--set", "image=b"]);
    waits_for(&up, &run, "approval").await;
    ends(&up, 0, &["run", "approve", &run, "--deny", "--reason", "not before Monday", "--yes"]);
    assert_eq!(up.ended(&run).await["state"], "failed");
    assert!(ends(&up, 0, &["why", &run]).contains("operator/local did not approve it: not before Monday"), "who said no, and why");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_did_not_come_off_is_explained_done_again_and_undone() {
    let up = small().await;
    let (needed, made) = (up.scratch().join("needed"), up.scratch().join("made"));
    let spec = format!(
        r#"  steps:
    - name: make
      uses: node.exec
      with: {{ command: [/bin/sh, -c, "test -e {needed} && touch {made}"] }}
      undo: {{ uses: node.exec, with: {{ command: [/bin/sh, -c, "rm {made}"] }} }}
    - {{ name: after, uses: wait, needs: [make], with: {{ for: 1s }} }}
"#,
        needed = needed.display(),
        made = made.display()
    );
    apply(&up, "make", &spec);
    let run = start(&up, &["make"]);
    up.ended(&run).await;
    let text = ends(&up, 0, &["why", &run]);
    assert!(text.contains("✖ failed    make") && text.contains("– skipped   after"), "{text}");
    assert!(text.contains(&format!("→ mainstay run retry {run} --dry-run")), "{text}");
    ends(&up, 1, &["run", "undo", &run, "--reason", "nothing was done"]);
    ends(&up, 2, &["run", "retry", &run, "--step", "nothing"]);
    assert!(ends(&up, 0, &["run", "retry", &run, "--dry-run"]).contains("done again  2 steps: make, after"), "what would be done");
    assert_eq!(up.run(&run)["state"], "failed", "a dry run changes nothing");

    fs::write(&needed, "").expect("what was missing");
    ends(&up, 0, &["run", "retry", &run]);
    ends(&up, 0, &["run", "watch", &run]);
    assert!(made.exists(), "now it came off");
    assert!(ends(&up, 0, &["why", &run]).contains("everything that was to be done went well"), "it waits for nothing");

    assert!(ends(&up, 0, &["run", "undo", &run, "--reason", "x", "--dry-run"]).contains("taken back"), "what would be undone");
    assert!(made.exists(), "a dry run changes nothing");
    ends(&up, 0, &["run", "undo", &run, "--reason", "not wanted any more"]);
    eventually("it is taken back", || async {
        let undone = up.try_json(&["run", "show", &run])?;
        if undone["undo"] == "done" { Ok(()) } else { Err(undone.to_string()) }
    })
    .await;
    assert!(!made.exists(), "what it made is gone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_waits_for_a_run_is_told_that_it_needs_a_person() {
    let up = small().await;
    apply(&up, "ask", "  steps:\n    - { name: ask, uses: approval, with: { message: may it go on } }\n");
    let notes = up.scratch().join("notes");
    let mut child = follow(&up, &notes, &["run", "start", "ask", "--wait"]);
    eventually("it is said for what the run waits", || async {
        let said = fs::read_to_string(&notes).unwrap_or_default();
        if said.contains("ask-1 waits: ask, to be approved by an operator:  mainstay run approve ask-1 --step ask") { Ok(()) } else { Err(said) }
    })
    .await;
    ends(&up, 0, &["run", "approve", "ask-1", "--yes"]);
    assert_eq!(child.wait().expect("it ends").code(), Some(0), "it ends as the run does");
}

fn follow(up: &Up, notes: &Path, args: &[&str]) -> std::process::Child {
    let notes = File::create(notes).expect("a file for what it says");
    let mut command = Command::new(binaries().join("mainstay"));
    command.arg("--dir").arg(up.dir()).args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(notes).spawn().expect("the CLI runs")
}

/// What only changes this user's own settings, and what frees a claim: tried first, with nothing changed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_is_freed_and_a_context_added_after_a_dry_run() {
    let up = small().await;
    let spec = LeaseSpec { slots: 1, ttl_ms: 0, kind: LeaseKind::Claim.into() };
    let claim = AcquireRequest { name: "maintenance/a9".into(), spec: Some(spec), incarnation: "863633ba".into(), ..AcquireRequest::default() };
    up.client().acquire_lease(claim).await.expect("the claim is had");
    let held = |up: &Up| up.json(&["lease", "show", "maintenance/a9"])["held"].as_array().map_or(0, Vec::len);
    assert_eq!(held(&up), 1);
    let release = ["lease", "release", "maintenance/a9", "--proof", "it was replaced"];
    let text = ends(&up, 0, &[release.as_slice(), &["--dry-run"]].concat());
    assert!(text.contains("would free maintenance/a9 of its holder with token ") && text.contains("nothing was changed"), "{text}");
    assert_eq!(held(&up), 1, "a dry run frees nothing");
    // What would be refused is refused in a dry run, too.
    ends(&up, 1, &[release.as_slice(), &["--token", "1.999999", "--dry-run"]].concat());
    ends(&up, 0, &release);
    assert_eq!(held(&up), 0, "nobody holds it");

    let (home, identity) = (up.scratch(), up.dir().join("operator").display().to_string());
    let contexts = || fs::read_to_string(home.join("mainstay/contexts.toml")).unwrap_or_default();
    let cli = |args: &[&str]| up.cli_of(&home, args);
    let add = ["context", "add", "lab", "--members", "127.0.0.1:1", "--identity", &identity];
    assert_eq!(cli(&[add.as_slice(), &["--dry-run"]].concat()).status.code(), Some(0));
    assert_eq!(contexts(), "", "a dry run adds nothing");
    assert_eq!(cli(&["context", "add", "lab", "--members", "127.0.0.1:1", "--identity", "/nowhere", "--dry-run"]).status.code(), Some(2));
    for name in ["lab", "prod"] {
        assert_eq!(cli(&[&["context", "add", name], &add[3..]].concat()).status.code(), Some(0));
    }
    let before = contexts();
    assert!(out(&cli(&["context", "use", "prod", "--dry-run"])).contains("nothing was changed"));
    assert_eq!(contexts(), before, "a dry run switches nothing");
    assert_eq!(cli(&["context", "use", "nothing", "--dry-run"]).status.code(), Some(2));
    assert_eq!(cli(&["context", "use", "prod"]).status.code(), Some(0));
    assert_ne!(contexts(), before);
}
