//! Wrong input and broken ground: a clear error, nothing lost, nothing half done.
#![allow(clippy::disallowed_methods, clippy::expect_used, clippy::panic, reason = "a test that cannot go on stops with words")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use mainstay_client::clock::{Clock, SystemClock};
use mainstay_client::identity::{Issuer, NewKey, Root};
use mainstay_client::{Bundle, CallError, ClientIdentity, Mesh};
use mainstay_core::Identity;
use mainstay_core::id::MeshName;
use mainstay_core::time::{Millis, WallTime};
use mainstay_proto::v1;
use mainstay_tests::faults::Tmpfs;
use mainstay_tests::{Options, Up, eventually, process};
use rustix::process::Signal;
use tonic::Code;

const DAY: Millis = Millis(86_400_000);

fn one() -> Options {
    Options { coordinators: 1, agents: 1, ..Options::default() }
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn plan(steps: &str) -> String {
    format!("apiVersion: mainstay.dev/v1alpha1\nkind: MaintenancePlan\nmetadata:\n  name: wrong\nspec:\n  steps:\n{steps}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_plan_is_refused_in_words_and_leaves_nothing() {
    let up = Up::start(one()).await;
    let bomb = {
        let mut text = String::from("a: &a [x,x,x,x,x,x,x,x,x]\n");
        for (name, of) in [("b", "a"), ("c", "b"), ("d", "c"), ("e", "d"), ("f", "e"), ("g", "f"), ("h", "g"), ("i", "h")] {
            text += &format!("{name}: &{name} [{}]\n", vec![format!("*{of}"); 9].join(","));
        }
        text
    };
    let cases: Vec<(&str, String, &str)> = vec![
        ("unknown kind", plan("    - name: a\n      uses: node.resourcs\n"), "did you mean `node.resources`"),
        ("wrong type", plan("    - name: a\n      uses: wait\n      with: { for: [5] }\n"), "should be a duration"),
        (
            "cycle",
            plan(
                "    - name: a\n      uses: wait\n      needs: [b]\n      with: { for: 1s }\n    - name: b\n      uses: wait\n      needs: [a]\n      with: { for: 1s }\n",
            ),
            "circle",
        ),
        ("unknown field", plan("    - name: a\n      uses: wait\n      wiht: { for: 1s }\n"), "wiht"),
        ("YAML bomb", bomb, ""),
        ("10 MB of nonsense", "\u{7f}x: [".repeat(2 << 20), "bytes"),
        ("nothing", String::new(), ""),
    ];
    for (name, source, words) in &cases {
        let file = up.scratch().join("wrong.yaml");
        fs::write(&file, source).expect("the file");
        let output = up.cli(&["plan", "apply", "-f", &file.display().to_string()]);
        assert_eq!(output.status.code(), Some(2), "{name}: {}", text(&output));
        assert!(text(&output).contains(words), "{name} is named: {}", text(&output));
        assert!(text(&output).len() < 8_000, "{name}: the error is short enough to read");
    }
    // The mesh itself refuses them too, whoever sends them.
    let client = up.client();
    for (name, source, _) in cases.iter().filter(|(_, source, _)| source.len() < 1 << 20) {
        match client.apply_plan(v1::ApplyPlanRequest { source: source.clone(), dry_run: false }).await {
            Err(CallError::Refused { code: Code::InvalidArgument, .. }) => {}
            other => panic!("{name}: {other:?}"),
        }
    }
    let plans = up.json(&["plan", "list"]);
    assert!(!plans.to_string().contains("wrong"), "nothing is left of them: {plans}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_over_the_limit_is_refused() {
    let up = Up::start(one()).await;
    let client = up.client();
    let answer = client.apply_plan(v1::ApplyPlanRequest { source: "x".repeat(6 << 20), dry_run: false }).await;
    assert!(matches!(answer, Err(CallError::Refused { code: Code::OutOfRange | Code::ResourceExhausted | Code::InvalidArgument, .. })), "{answer:?}");
    let attributes = [("a".to_owned(), "x".repeat(300 << 10))].into();
    let answer =
        client.acquire_lease(v1::AcquireRequest { name: "demo".into(), incarnation: "i".into(), attributes, ..v1::AcquireRequest::default() }).await;
    assert!(matches!(answer, Err(CallError::Refused { .. })), "{answer:?}");
    assert_eq!(up.json(&["lease", "list"])["leases"].as_array().map_or(0, Vec::len), 0, "nothing was done");
    up.ready(1, 1).await;
}

/// An identity of the mesh `up`, made with the authority of its first coordinator.
fn forged(up: &Up, identity: &str, now: WallTime, life: Millis) -> ClientIdentity {
    let dir = up.dir().join("c1");
    let read = |name: &str| fs::read_to_string(dir.join(name)).expect("the coordinator's authority");
    let issuer = Issuer::from_pem(&read("issuer.pem"), &read("issuer.key")).expect("an issuer");
    client_identity(&issuer, &read("roots.pem"), identity, now, life)
}

fn client_identity(issuer: &Issuer, roots: &str, identity: &str, now: WallTime, life: Millis) -> ClientIdentity {
    mainstay_client::tls::install_provider();
    let mesh: MeshName = "local".parse().expect("a name");
    let identity: Identity = identity.parse().expect("an identity");
    let key = NewKey::generate().expect("a key");
    let chain = issuer.issue(&key.csr_pem().expect("a request"), &mesh, &identity, now, life).expect("a certificate");
    ClientIdentity::with_clock(key.into_bundle(chain, roots.to_owned()), Arc::new(SystemClock)).expect("an identity")
}

fn mesh_as(up: &Up, identity: ClientIdentity) -> Mesh {
    let status = up.json(&["status"]);
    let endpoints = status["members"].as_array().into_iter().flatten().filter_map(|member| member["address"].as_str()).map(str::to_owned).collect();
    Mesh::new(endpoints, identity)
}

fn denied(answer: Result<impl std::fmt::Debug, CallError>) -> String {
    match answer {
        Err(CallError::Refused { code: Code::PermissionDenied, message }) => message,
        other => panic!("it should be denied: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_that_are_not_good_are_refused() {
    let up = Up::start(one()).await;
    let now = SystemClock.wall();
    let status = v1::GetStatusRequest {};

    // Of the wrong role: an agent does not start runs.
    let agent = mesh_as(&up, forged(&up, "cluster/local/node/a1", now, DAY));
    let words = denied(agent.start_run(v1::StartRunRequest { plan: "daily".into(), ..v1::StartRunRequest::default() }).await);
    assert!(words.contains("node agent"), "{words}");

    // An operator that nobody added.
    let words = denied(mesh_as(&up, forged(&up, "operator/stranger", now, DAY)).get_status(status).await);
    assert!(words.contains("no role"), "{words}");

    // Expired, by days and by months; of an issuer that was there then.
    let ca = |name: &str| fs::read_to_string(up.dir().join("ca").join(name)).expect("the root that `up` made");
    let root = Root::from_pem(&ca("root.pem"), &ca("root.key")).expect("the root");
    let ago = |days: i64| WallTime(now.0 - days * DAY.0 as i64);
    let old = root.issuer("old", ago(100)).expect("an issuer");
    let words = denied(mesh_as(&up, client_identity(&old, root.cert_pem(), "operator/local", ago(3), DAY)).get_status(status).await);
    assert!(words.contains("expired"), "{words}");
    let answer = mesh_as(&up, client_identity(&old, root.cert_pem(), "operator/local", ago(90), DAY)).get_status(status).await;
    assert!(matches!(&answer, Err(CallError::Unreachable { .. })) && format!("{}", answer.as_ref().unwrap_err()).contains("expired"), "{answer:?}");

    // Of another authority.
    let mesh: MeshName = "local".parse().expect("a name");
    let other = Root::create(&mesh, now).expect("a root");
    let issuer = other.issuer("x", now).expect("an issuer");
    let roots = fs::read_to_string(up.dir().join("c1/roots.pem")).expect("the roots");
    let answer = mesh_as(&up, client_identity(&issuer, &roots, "operator/local", now, DAY)).get_status(status).await;
    assert!(matches!(&answer, Err(CallError::Unreachable { .. })), "{answer:?}");
    // And the other way: this client does not trust the mesh.
    let answer = mesh_as(&up, client_identity(&issuer, other.cert_pem(), "operator/local", now, DAY)).get_status(status).await;
    assert!(format!("{}", answer.expect_err("it is refused")).contains("another mesh"));
    up.ready(1, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_reports_as_itself_only() {
    let up = Up::start(Options { coordinators: 1, agents: 2, ..Options::default() }).await;
    let run = up.start_run("long", "apiVersion: mainstay.dev/v1alpha1\nkind: MaintenancePlan\nmetadata:\n  name: long\nspec:\n  steps:\n    - name: pause\n      uses: wait\n      runOn: node\n      with: { for: 10m }\n");
    let work = up.work_is(&run, "pause", &["active"]).await;
    let attempt = work["attempts"][0]["id"].as_str().expect("an attempt").to_owned();
    let owner = work["attempts"][0]["agent"].as_str().expect("its agent").to_owned();
    let other = if owner.ends_with("a1") { "cluster/local/node/a2" } else { "cluster/local/node/a1" };
    let liar = mesh_as(&up, forged(&up, other, SystemClock.wall(), DAY));
    let outcome = v1::Outcome { kind: v1::outcome::Kind::Succeeded.into(), ..v1::Outcome::default() };
    denied(liar.begin_attempt(v1::BeginRequest { attempt: attempt.clone(), ledger: "x".into() }).await);
    denied(liar.end_attempt(v1::EndRequest { attempt: attempt.clone(), ledger: "x".into(), outcome: Some(outcome.clone()) }).await);
    // As itself, but with another ledger: it is not that attempt's holder.
    let own = mesh_as(&up, forged(&up, &format!("cluster/{}", owner.replacen('/', "/node/", 1)), SystemClock.wall(), DAY));
    let answer = own.end_attempt(v1::EndRequest { attempt, ledger: "x".into(), outcome: Some(outcome) }).await;
    assert!(matches!(&answer, Err(CallError::Refused { code: Code::FailedPrecondition, .. })), "{answer:?}");
    assert_eq!(up.run(&run)["state"], "running", "nothing has changed");
    assert_eq!(up.cli(&["run", "abort", &run, "--reason", "the test is over"]).status.code(), Some(0));
    assert_eq!(up.ended(&run).await["state"], "aborted");
}

/// A process of the mesh, its words, and the mesh held still around it.
async fn take_out(up: &Up, name: &str) -> Vec<String> {
    let pid = up.pid(name).expect("it runs");
    let line = fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).expect("its command line");
    process::signal(up.supervisor_pid(), Signal::STOP);
    process::kill(pid);
    eventually("it is dead", || async { if process::is_alive(pid) { Err("it lives".to_owned()) } else { Ok(()) } }).await;
    line.split(|b| *b == 0)
        .filter(|word| !word.is_empty())
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .filter(|word| word != "--die-with-parent")
        .collect()
}

/// Starts it alone and waits until it ends by itself.
async fn run_alone(words: &[String]) -> Output {
    let mut child =
        Command::new(&words[0]).args(&words[1..]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    eventually("it ends by itself", || {
        let state = child.try_wait();
        async move { state.map_err(|error| error.to_string())?.ok_or_else(|| "it runs".to_owned()) }
    })
    .await;
    child.wait_with_output().expect("what it said")
}

fn largest_file(dir: &Path) -> std::path::PathBuf {
    let mut files = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).expect("a directory").flatten() {
            if entry.path().is_dir() {
                dirs.push(entry.path());
            } else if entry.path().extension().is_some_and(|extension| extension == "redb") {
                files.push((entry.metadata().map_or(0, |meta| meta.len()), entry.path()));
            }
        }
    }
    files.sort();
    files.pop().expect("a database").1
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flipped_bytes_on_a_members_disk_stop_it_with_the_files_name() {
    let up = Up::start(Options { agents: 1, ..Options::default() }).await;
    let leader = up.leader().await;
    let follower = ["c1", "c2", "c3"].into_iter().find(|name| *name != leader).expect("a follower");
    let words = take_out(&up, follower).await;
    let file = largest_file(&up.dir().join(follower));
    let mut bytes = fs::read(&file).expect("its database");
    for byte in bytes.iter_mut().skip(512).step_by(97) {
        *byte ^= 0x55;
    }
    fs::write(&file, &bytes).expect("flipped");
    let output = run_alone(&words).await;
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains(&file.file_name().expect("a name").to_string_lossy().into_owned()), "it names the file: {}", text(&output));
    assert_eq!(fs::read(&file).expect("its database"), bytes, "and changes nothing");
    // The others go on.
    assert!(up.try_json(&["run", "start", "daily"]).is_ok());
    process::signal(up.supervisor_pid(), Signal::CONT);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flipped_bytes_in_an_agents_ledger_stop_it_with_the_files_name() {
    let up = Up::start(one()).await;
    let words = take_out(&up, "a1").await;
    let file = largest_file(&up.dir().join("a1"));
    let mut bytes = fs::read(&file).expect("its ledger");
    for byte in bytes.iter_mut().skip(512).step_by(97) {
        *byte ^= 0x55;
    }
    fs::write(&file, &bytes).expect("flipped");
    let output = run_alone(&words).await;
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains("ledger"), "it names the file: {}", text(&output));
    process::signal(up.supervisor_pid(), Signal::CONT);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_in_use_is_named() {
    let up = Up::start(one()).await;
    let words = take_out(&up, "c1").await;
    let listen = words.iter().position(|word| word == "--listen").map(|at| words[at + 1].clone()).expect("its listener");
    let _other =
        eventually("somebody else takes the port", || async { std::net::TcpListener::bind(&listen).map_err(|error| error.to_string()) }).await;
    let output = run_alone(&words).await;
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains(&listen) && text(&output).contains("another process listens there"), "{}", text(&output));
    process::signal(up.supervisor_pid(), Signal::CONT);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_in_words_and_recovers() {
    let place = tempfile::tempdir().expect("a directory");
    let disk = Tmpfs::mount(&place.path().join("disk"), 160 << 10).expect("the test may mount");
    let options = Options { coordinators: 1, agents: 1, ..Options::default() };
    let up = Up::start_at(disk.path(), options).await;
    let client = up.client();
    let acquire = |name: &str| v1::AcquireRequest { name: name.to_owned(), incarnation: "i".into(), ..v1::AcquireRequest::default() };
    let before = client.acquire_lease(acquire("before")).await.expect("there is room");
    disk.fill();
    let words = eventually("it refuses", || async {
        match client.clone().with_deadline(std::time::Duration::from_secs(3)).acquire_lease(acquire("full")).await {
            Err(CallError::Refused { code: Code::ResourceExhausted, message }) => Ok(message),
            Err(CallError::NoLeader { message }) if message.contains("disk") => Ok(message),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    assert!(words.contains("disk") || words.contains("full"), "{words}");
    disk.make_room();
    eventually("it recovers", || async { client.acquire_lease(acquire("after")).await.map_err(|error| error.to_string()) }).await;
    let lease = up.json(&["lease", "show", "before"]);
    assert_eq!(lease["held"][0]["token"], before.token.as_str(), "nothing was lost: {lease}");
}

#[test]
fn wrong_usage_has_its_own_exit_status() {
    let mainstay = |args: &[&str]| {
        Command::new(mainstay_tests::up::binaries().join("mainstay"))
            .args(args)
            .current_dir("/")
            .env("HOME", "/nonexistent")
            .env_remove("XDG_CONFIG_HOME")
            .output()
            .expect("it runs")
    };
    assert_eq!(mainstay(&["no-such-verb"]).status.code(), Some(2));
    let nowhere = mainstay(&["--dir", "/nonexistent/.mainstay", "status"]);
    assert_eq!(nowhere.status.code(), Some(2), "{}", text(&nowhere));
    assert!(text(&nowhere).contains("mainstay up"), "it says what to do: {}", text(&nowhere));
    let _ = Bundle::load(Path::new("/nonexistent")).expect_err("there is no identity");
}
