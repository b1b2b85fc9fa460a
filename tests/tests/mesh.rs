//! Real processes, real `kill -9`: nothing is begun twice and nothing is forgotten.
#![allow(clippy::disallowed_methods, clippy::expect_used, clippy::panic, reason = "a test that cannot go on stops with words")]

use std::fs;
use std::time::Duration;

use mainstay_client::lease::HoldOptions;
use mainstay_tests::{Options, Up, eventually, process, scripts};
use rustix::process::Signal;

fn with_exec() -> Options {
    Options { policy: scripts::POLICY.to_owned(), ..Options::default() }
}

/// A plan with one step that appends a line to `marker` and then waits until `gate` exists.
fn marker_plan(name: &str, marker: &str, gate: &str) -> String {
    scripts::plan(name, "mark", &format!("echo begun >> {marker}; while [ ! -e {gate} ]; do sleep 0.05; done"))
}

/// Three steps on all agents, one after the other, each leaving a line.
fn three_steps(name: &str, dir: &str) -> String {
    let step = |step: &str, needs: &str| {
        format!(
            r#"
    - name: {step}
      uses: node.exec
      runOn: node
      {needs}
      timeout: 60s
      with:
        command: [/bin/sh, -c, "echo $MAINSTAY_ATTEMPT >> {dir}/{step}; sleep 0.7"]
"#
        )
    };
    format!(
        "apiVersion: mainstay.dev/v1alpha1\nkind: MaintenancePlan\nmetadata:\n  name: {name}\nspec:\n  steps:{}{}{}",
        step("one", ""),
        step("two", "needs: [one]"),
        step("three", "needs: [two]")
    )
}

fn lines(path: &std::path::Path) -> Vec<String> {
    fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_leader_dies_while_a_run_goes_and_a_lease_is_held() {
    let up = Up::start(with_exec()).await;
    let scratch = up.scratch();
    let client = up.client();
    let held = client.hold_lease("demo", HoldOptions::default()).await.expect("the lease");
    let run = up.start_run("steps", &three_steps("steps", &scratch.display().to_string()));
    up.work_is(&run, "two", &["active"]).await;

    let leader = up.leader().await;
    process::kill(up.pid(&leader).expect("the leader runs"));

    let ended = up.ended(&run).await;
    assert_eq!(ended["state"], "completed", "{ended}");
    for step in ["one", "two", "three"] {
        let attempts = lines(&scratch.join(step));
        assert_eq!(attempts.len(), 3, "each of three agents did {step} once: {attempts:?}");
    }
    assert!(!held.is_lost(), "the lease is still held");
    let token = held.token().to_owned();
    let lease = up.json(&["lease", "show", "demo"]);
    assert_eq!(lease["held"][0]["token"], token.as_str(), "under the same token: {lease}");
    held.release().await.expect("the release");
    // The one that died was started again and has caught up.
    up.ready(3, 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_dies_and_nobody_notices() {
    let up = Up::start(with_exec()).await;
    let leader = up.leader().await;
    let follower = ["c1", "c2", "c3"].into_iter().find(|name| *name != leader).expect("a follower");
    let run = up.start_run("steps", &three_steps("steps", &up.scratch().display().to_string()));
    up.work_is(&run, "one", &["active"]).await;
    process::kill(up.pid(follower).expect("the follower runs"));
    assert_eq!(up.ended(&run).await["state"], "completed");
    assert_eq!(up.leader().await, leader, "the leader stayed");
    up.ready(3, 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_dies_in_the_middle_of_a_step() {
    let up = Up::start(with_exec()).await;
    let (marker, gate) = (up.scratch().join("marker"), up.scratch().join("gate"));
    let run = up.start_run("mark", &marker_plan("mark", &marker.display().to_string(), &gate.display().to_string()));
    let work = up.work_is(&run, "mark", &["active"]).await;
    eventually("the step has begun", || async { if lines(&marker).len() == 1 { Ok(()) } else { Err("no marker yet".to_owned()) } }).await;
    let agent = agent_of(&work);
    process::kill(up.pid(&agent).expect("the agent runs"));

    let ended = up.ended(&run).await;
    let work = &ended["work"][0];
    assert_eq!(work["state"], "unknown", "what may have been done is called unknown: {ended}");
    assert_eq!(ended["verdict"], "unknown");
    assert_eq!(lines(&marker).len(), 1, "and is not done again");
    fs::write(&gate, "").expect("the gate opens");
    // The agent was started again and works.
    up.ready(3, 3).await;
    let again = up.start_run("again", &marker_plan("again", &up.scratch().join("second").display().to_string(), &gate.display().to_string()));
    assert_eq!(up.ended(&again).await["state"], "completed");
}

/// Waits until the link of a node is as it should be.
async fn node_is(up: &Up, name: &str, link: &str) {
    eventually(&format!("{name} is {link}"), || async {
        let nodes = up.try_json(&["node", "list"])?;
        let found = nodes["nodes"].as_array().into_iter().flatten().any(|node| node["name"] == name && node["link"] == link);
        if found { Ok(()) } else { Err(nodes.to_string()) }
    })
    .await;
}

/// A machine that is moved, or a hypervisor that pauses it, looks like this; its connections outlive it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_stood_still_comes_back() {
    let up = Up::start(Options { coordinators: 1, agents: 2, ..Options::default() }).await;
    let agent = up.pid("a2").expect("a2 runs");
    process::signal(agent, Signal::STOP);
    node_is(&up, "a2", "lost").await;
    process::signal(agent, Signal::CONT);
    node_is(&up, "a2", "up").await;
    assert_eq!(up.pid("a2"), Some(agent), "it is the same process");
    let run = up.start_run("here", "apiVersion: mainstay.dev/v1alpha1\nkind: MaintenancePlan\nmetadata: { name: here }\nspec: { steps: [{ name: here, uses: wait, runOn: node, with: { for: 1s } }] }\n");
    assert_eq!(up.ended(&run).await["state"], "completed", "and it works");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_dies_and_its_ledger_is_lost() {
    let up = Up::start(with_exec()).await;
    let (marker, gate) = (up.scratch().join("marker"), up.scratch().join("gate"));
    let run = up.start_run("mark", &marker_plan("mark", &marker.display().to_string(), &gate.display().to_string()));
    let work = up.work_is(&run, "mark", &["active"]).await;
    eventually("the step has begun", || async { if lines(&marker).len() == 1 { Ok(()) } else { Err("no marker yet".to_owned()) } }).await;
    let agent = agent_of(&work);
    // Held still, so that the agent is not back before its ledger is gone.
    process::signal(up.supervisor_pid(), Signal::STOP);
    process::kill(up.pid(&agent).expect("the agent runs"));
    fs::remove_file(up.dir().join(&agent).join("ledger.redb")).expect("the ledger is there");
    process::signal(up.supervisor_pid(), Signal::CONT);

    let ended = up.ended(&run).await;
    assert_eq!(ended["work"][0]["state"], "unknown", "{ended}");
    let detail = ended["work"][0]["detail"].as_str().unwrap_or_default();
    assert!(detail.contains("another ledger"), "it says why: {detail}");
    assert_eq!(lines(&marker).len(), 1, "it is not repeated");
    fs::write(&gate, "").expect("the gate opens");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_agents_with_one_identity_one_works() {
    let up = Up::start(with_exec()).await;
    let first = up.pid("a2").expect("the agent runs");
    let line = fs::read(format!("/proc/{}/cmdline", first.as_raw_nonzero())).expect("its command line");
    let words: Vec<String> = line.split(|b| *b == 0).filter(|word| !word.is_empty()).map(|word| String::from_utf8_lossy(word).into_owned()).collect();

    // On the same directory: the second one says that it is in use, and ends.
    let same = std::process::Command::new(&words[0]).args(&words[1..]).output().expect("the second agent starts");
    assert_eq!(same.status.code(), Some(1), "{}", String::from_utf8_lossy(&same.stderr));
    assert!(String::from_utf8_lossy(&same.stderr).contains("in use by another process"), "{}", String::from_utf8_lossy(&same.stderr));
    assert!(process::is_alive(first), "the first one goes on");

    // A copy of the identity on another directory: the newer link ends the older, and never do both work.
    let copy = up.scratch().join("a2");
    fs::create_dir_all(&copy).expect("a directory");
    fs::copy(up.dir().join("a2/identity.pem"), copy.join("identity.pem")).expect("the identity");
    let own = up.dir().join("a2").display().to_string();
    let http = words.iter().position(|word| word == "--http-listen").map(|at| words[at + 1].clone());
    let moved = |word: &String| {
        if *word == own {
            copy.display().to_string()
        } else if Some(word) == http.as_ref() {
            "none".to_owned()
        } else {
            word.clone()
        }
    };
    let moved: Vec<String> = words[1..].iter().map(moved).collect();
    process::signal(up.supervisor_pid(), Signal::STOP);
    let mut second = std::process::Command::new(&words[0]).args(&moved).stderr(std::process::Stdio::null()).spawn().expect("the copy starts");
    eventually("the older one ends", || async { if process::is_alive(first) { Err("both live".to_owned()) } else { Ok(()) } }).await;
    let nodes = up.json(&["node", "list"]);
    let a2 = nodes["nodes"].as_array().and_then(|nodes| nodes.iter().find(|node| node["name"] == "a2")).cloned().unwrap_or_default();
    assert_eq!(a2["link"], "up", "the newer one works: {nodes}");
    second.kill().expect("the copy ends");
    second.wait().expect("the copy has ended");
    process::signal(up.supervisor_pid(), Signal::CONT);
    up.ready(3, 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_lost_its_disk_comes_back_as_a_learner() {
    let up = Up::start(Options::default()).await;
    let leader = up.leader().await;
    let lost = ["c1", "c2", "c3"].into_iter().find(|name| *name != leader).expect("a follower");
    let id = |status: &serde_json::Value, name: &str| {
        let members = status["members"].as_array().cloned().unwrap_or_default();
        members.iter().filter(|member| member["name"] == name).map(|member| member["id"].as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    let before = id(&up.json(&["status"]), lost);
    process::signal(up.supervisor_pid(), Signal::STOP);
    process::kill(up.pid(lost).expect("the member runs"));
    let dir = up.dir().join(lost);
    for entry in fs::read_dir(&dir).expect("its directory").flatten() {
        // What the installer gave stays: the authority that lets it make a certificate for its new self.
        let name = entry.file_name().to_string_lossy().into_owned();
        if !["roots.pem", "issuer.pem", "issuer.key"].contains(&name.as_str()) {
            let path = entry.path();
            let _ = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        }
    }
    process::signal(up.supervisor_pid(), Signal::CONT);
    eventually("it votes again, as somebody else", || async {
        let status = up.try_json(&["status"])?;
        let after = id(&status, lost);
        let voters = status["members"].as_array().into_iter().flatten().filter(|member| member["role"] == "voter").count();
        if after.len() == 1 && after != before && voters == 3 { Ok(()) } else { Err(status.to_string()) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_is_there_after_a_restart() {
    let mut up = Up::start(Options::default()).await;
    let run = up.json(&["run", "start", "daily"])["run"].as_str().expect("a run").to_owned();
    let before = up.ended(&run).await;
    up.restart(Options::default()).await;
    let after = up.run(&run);
    assert_eq!(before["work"], after["work"], "the run is what it was");
    assert_eq!(up.end(), Some(0), "Ctrl-C ends it cleanly");
    let left = process::find(&[&up.dir().display().to_string()]);
    assert!(left.is_empty(), "no process is left: {left:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lease_run_guards_a_command() {
    let up = Up::start(Options::default()).await;
    let output = up.cli(&["lease", "run", "demo", "--", "/bin/sh", "-c", "echo token=$MAINSTAY_LEASE_TOKEN; exit 7"]);
    assert_eq!(output.status.code(), Some(7), "the command's own status");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let first = text.trim().strip_prefix("token=").expect("a token").to_owned();
    assert!(first.split_once('.').is_some_and(|(a, b)| a.parse::<u64>().is_ok() && b.parse::<u64>().is_ok()), "{text}");

    let held = up.client().hold_lease("demo", HoldOptions::default()).await.expect("the lease");
    let refused = up.cli(&["lease", "run", "demo", "--wait", "1s", "--", "/bin/true"]);
    assert_eq!(refused.status.code(), Some(125), "not had in time");
    held.release().await.expect("the release");
    tokio::time::timeout(Duration::from_secs(20), async {
        let again = up.cli(&["lease", "run", "demo", "--wait", "10s", "--", "/bin/true"]);
        assert_eq!(again.status.code(), Some(0), "{}", String::from_utf8_lossy(&again.stderr));
    })
    .await
    .expect("it is had at once");
}

/// Name of the agent that a work item's newest attempt is with: `a2` of `local/a2`.
fn agent_of(work: &serde_json::Value) -> String {
    let attempts = work["attempts"].as_array().cloned().unwrap_or_default();
    let agent = attempts.last().and_then(|attempt| attempt["agent"].as_str()).unwrap_or_default().to_owned();
    agent.rsplit('/').next().unwrap_or_default().to_owned()
}
