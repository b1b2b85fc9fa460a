//! Plans on a real mesh: people who approve, hold up and take back; schedules; and the leader's death in between.
#![allow(clippy::disallowed_methods, clippy::expect_used, clippy::panic, reason = "a test that cannot go on stops with words")]

use std::fs;
use std::path::Path;

use mainstay_tests::{Options, Up, eventually, process};
use serde_json::Value;

const EXEC: &str =
    "[policy]\nallow = [\"node.exec\"]\n[[policy.exec]]\ncommand = [\"/usr/bin/touch\", \"**\"]\n[[policy.exec]]\ncommand = [\"/bin/rm\", \"**\"]\n";

fn options() -> Options {
    Options { policy: EXEC.to_owned(), ..Options::default() }
}

fn plan(name: &str, spec: &str) -> String {
    format!("apiVersion: mainstay.dev/v1alpha1\nkind: MaintenancePlan\nmetadata: {{ name: {name} }}\nspec:\n{spec}")
}

/// One step that makes a file, and takes it away when it is undone.
fn makes(file: &Path) -> String {
    let file = file.display();
    format!(
        "{{ uses: node.exec, name: make, with: {{ command: [/usr/bin/touch, {file}] }}, undo: {{ uses: node.exec, with: {{ command: [/bin/rm, {file}] }} }} }}"
    )
}

/// Waits until `why` gives a reason that contains this.
async fn waits_for(up: &Up, run: &str, words: &str) -> Value {
    eventually(&format!("{run} waits for {words}"), || async {
        let why = up.try_json(&["why", run])?;
        let waits = why["waits"].as_array().cloned().unwrap_or_default();
        let found = waits.into_iter().find(|wait| wait["reason"].as_str().is_some_and(|reason| reason.contains(words)));
        found.ok_or_else(|| why.to_string())
    })
    .await
}

fn done(up: &Up, args: &[&str]) {
    let output = up.cli(args);
    assert!(output.status.success(), "mainstay {args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_approval_outlives_the_leader_and_what_was_done_can_be_taken_back() {
    let up = Up::start(options()).await;
    let file = up.scratch().join("made");
    let steps = format!(
        "  steps:\n    - {{ name: ask, uses: approval, with: {{ message: may I }} }}\n    - {}\n",
        makes(&file).replace("name: make", "name: make, needs: [ask]")
    );
    let run = up.start_run("change", &plan("change", &steps));
    let wait = waits_for(&up, &run, "approval").await;
    assert_eq!((&wait["step"], &wait["approval"]["message"]), (&"ask".into(), &"may I".into()), "{wait}");

    let leader = up.leader().await;
    process::kill(up.pid(&leader).expect("the leader runs"));
    let wait = waits_for(&up, &run, "approval").await;
    assert!(!file.exists(), "nothing is done before somebody has agreed");
    assert!(wait["approval"]["seen"].as_str().is_some_and(|seen| seen.len() == 16), "{wait}");

    // In a pipe nobody can be asked: that is bad usage, and changes nothing.
    let unsure = up.cli(&["run", "approve", &run]);
    assert_eq!(unsure.status.code(), Some(2), "{}", String::from_utf8_lossy(&unsure.stderr));
    done(&up, &["run", "approve", &run, "--yes"]);
    let ended = up.ended(&run).await;
    assert_eq!((&ended["state"], file.exists()), (&"completed".into(), true), "{ended}");

    done(&up, &["run", "undo", &run, "--reason", "the wrong day"]);
    let undone = eventually("it is taken back", || async {
        let shown = up.try_json(&["run", "show", &run])?;
        if shown["undo"] == "done" { Ok(shown) } else { Err(shown.to_string()) }
    })
    .await;
    assert!(!file.exists(), "{undone}");
    let again = up.cli(&["run", "undo", &run, "--reason", "again"]);
    assert_eq!(again.status.code(), Some(1), "{}", String::from_utf8_lossy(&again.stderr));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schedule_starts_a_run_by_itself_and_not_while_it_is_suspended() {
    let up = Up::start(Options { coordinators: 1, agents: 1, ..Options::default() }).await;
    let spec = "  schedules: [{ cron: \"* * * * *\", zone: Etc/UTC }]\n  steps: [{ name: a, uses: wait, with: { for: 1ms } }]\n";
    let file = up.scratch().join("minutely.yaml");
    fs::write(&file, plan("minutely", spec)).expect("the plan's file");
    done(&up, &["plan", "apply", "-f", &file.display().to_string()]);
    // Until the minute is full.
    let ended = up.ended("minutely-1").await;
    assert_eq!(ended["state"], "completed", "{ended}");
    assert!(ended["startedBy"].as_str().is_some_and(|by| by.contains("schedule")), "{ended}");

    done(&up, &["plan", "suspend", "minutely", "--reason", "enough"]);
    let plans = up.json(&["plan", "list"]);
    let own = plans["plans"].as_array().into_iter().flatten().find(|plan| plan["name"] == "minutely").cloned().expect("the plan");
    assert_eq!((&own["suspendedReason"], &own["schedules"][0]["started"]), (&"enough".into(), &1.into()), "{own}");
    assert_eq!(own["schedules"][0]["nextUnixMs"], 0, "a plan that is suspended has no next run: {own}");
    done(&up, &["plan", "resume", "minutely"]);
    let plans = up.json(&["plan", "list"]);
    let own = plans["plans"].as_array().into_iter().flatten().find(|plan| plan["name"] == "minutely").cloned().expect("the plan");
    assert!(own["schedules"][0]["nextUnixMs"].as_i64().is_some_and(|next| next > 0), "{own}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_is_held_up_goes_on_and_what_failed_is_done_again() {
    let up = Up::start(Options { coordinators: 1, ..options() }).await;
    let file = up.scratch().join("no/such/dir/made");
    let spec = format!(
        "  inputs: {{ hold: {{ type: duration, default: 1s }} }}\n  steps:\n    - {{ name: first, uses: wait, with: {{ for: \"${{{{ inputs.hold }}}}\" }} }}\n    - {}\n",
        makes(&file).replace("name: make", "name: make, needs: [first]")
    );
    let run = up.start_run("held", &plan("held", &spec));
    done(&up, &["run", "pause", &run, "--reason", "lunch"]);
    waits_for(&up, &run, "lunch").await;
    assert_eq!(up.run(&run)["pauseReason"], "lunch");
    done(&up, &["run", "resume", &run]);
    let ended = up.ended(&run).await;
    assert_eq!(ended["state"], "failed", "the directory is not there: {ended}");

    fs::create_dir_all(file.parent().expect("a parent")).expect("the directory");
    done(&up, &["run", "retry", &run]);
    let ended = eventually("the retry comes off", || async {
        let shown = up.try_json(&["run", "show", &run])?;
        if shown["state"] == "completed" { Ok(shown) } else { Err(shown.to_string()) }
    })
    .await;
    assert!(file.exists(), "{ended}");
    let first = ended["work"].as_array().into_iter().flatten().find(|work| work["step"] == "first").cloned().expect("the first step");
    assert_eq!(first["attempts"].as_array().map(Vec::len), Some(1), "what had come off is not done again: {first}");

    // An input that does not fit is refused before anything starts.
    let wrong = up.cli(&["run", "start", "held", "--set", "hold=soon"]);
    assert_eq!(wrong.status.code(), Some(2), "{}", String::from_utf8_lossy(&wrong.stderr));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("should be a duration"), "{}", String::from_utf8_lossy(&wrong.stderr));
}
