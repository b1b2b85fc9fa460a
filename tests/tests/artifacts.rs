//! Files of steps through the whole mesh: real processes, real disks, `kill -9`.
#![allow(clippy::disallowed_methods, clippy::expect_used, clippy::panic, reason = "a test that cannot go on stops with words")]

use std::fs;
use std::path::Path;

use mainstay_tests::{Options, Up, eventually, process, scripts};
use rustix::process::Signal;

/// One line of what the step prints, and how many of them make a MiB.
const LINE: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde";
const LINES: usize = 16_384;

fn long_output(name: &str) -> String {
    scripts::plan(name, "print", &format!("yes {LINE} | head -n {LINES}"))
}

/// Whether what `--get` saves is what was printed.
fn fetched(up: &Up, run: &str, to: &Path) -> Result<(), String> {
    let _ = fs::remove_file(to);
    let output = up.cli(&["run", "artifacts", run, "--get", "output.log", "--to", &to.display().to_string()]);
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let saved = fs::read_to_string(to).map_err(|error| error.to_string())?;
    assert!(saved == format!("{LINE}\n").repeat(LINES), "{} bytes were saved, and they are others than were printed", saved.len());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_that_a_step_printed_outlives_the_leader() {
    let up = Up::start(Options { policy: scripts::POLICY.to_owned(), ..Options::default() }).await;
    let run = up.start_run("long", &long_output("long"));
    assert_eq!(up.ended(&run).await["state"], "completed");
    let listed = up.json(&["run", "artifacts", &run]);
    let artifact = &listed["artifacts"][0];
    assert_eq!(
        (artifact["name"].as_str(), artifact["bytes"].as_u64(), artifact["kind"].as_str()),
        (Some("output.log"), Some(1 << 20), Some("output"))
    );
    let to = up.scratch().join("saved.log");
    fetched(&up, &run, &to).expect("the file");
    assert_eq!(up.cli(&["run", "artifacts", &run, "--get", "output.log", "--to", "-"]).stdout.len(), 1 << 20);

    // Bad usage has its status, and says what to do.
    let status = |args: &[&str]| up.cli(&[&["run", "artifacts"], args].concat()).status.code();
    assert_eq!(status(&[&run, "--get", "other.log"]), Some(2));
    assert_eq!(status(&[&run, "--get", "output.log", "--to", &to.display().to_string()]), Some(2), "what is there is not overwritten");
    assert_eq!(status(&["long-99"]), Some(2));
    assert_eq!(status(&[&run]), Some(0));

    let leader = up.leader().await;
    process::kill(up.pid(&leader).expect("the leader runs"));
    eventually("the file is read from another member", || async { fetched(&up, &run, &to) }).await;

    assert_eq!(status(&[&run, "--forget", "output.log", "--dry-run"]), Some(0));
    assert_eq!(up.json(&["run", "artifacts", &run])["artifacts"].as_array().map(Vec::len), Some(1));
    assert_eq!(status(&[&run, "--forget", "output.log"]), Some(0));
    assert_eq!(status(&[&run, "--get", "output.log"]), Some(2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_survives_a_change_of_leaders() {
    let up = Up::start(Options { policy: scripts::POLICY.to_owned(), ..Options::default() }).await;
    let gate = up.scratch().join("gate");
    let script = format!("yes {LINE} | head -n {LINES}; while [ ! -e {} ]; do sleep 0.05; done", gate.display());
    let run = up.start_run("gated", &scripts::plan("gated", "print", &script));
    up.work_is(&run, "print", &["active"]).await;
    let leader = up.leader().await;
    // The step ends, and wants to store what it printed, while nobody leads.
    process::kill(up.pid(&leader).expect("the leader runs"));
    fs::write(&gate, "").expect("the gate opens");
    let ended = up.ended(&run).await;
    assert_eq!(ended["state"], "completed", "{ended}");
    assert_eq!(ended["work"][0]["attempts"][0]["outcome"]["report"]["checks"].as_array().map(Vec::len), Some(0), "nothing is missing: {ended}");
    eventually("the file can be read", || async { fetched(&up, &run, &up.scratch().join("saved.log")) }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_hangs_holds_up_no_step_and_catches_up() {
    let up = Up::start(Options { policy: scripts::POLICY.to_owned(), ..Options::default() }).await;
    let leader = up.leader().await;
    let hung = ["c1", "c2", "c3"].into_iter().find(|name| *name != leader).expect("a follower");
    let pid = up.pid(hung).expect("the follower runs");
    process::signal(pid, Signal::STOP);
    let run = up.start_run("long", &long_output("long"));
    let ended = up.ended(&run).await;
    assert_eq!(ended["state"], "completed", "{ended}");
    let copies = |listed: &serde_json::Value| listed["artifacts"][0]["storedOn"].as_array().map(Vec::len);
    assert_eq!(copies(&up.json(&["run", "artifacts", &run])), Some(2));
    process::signal(pid, Signal::CONT);
    eventually("the third copy", || async {
        let listed = up.try_json(&["run", "artifacts", &run])?;
        if copies(&listed) == Some(3) { Ok(()) } else { Err(listed.to_string()) }
    })
    .await;
}
