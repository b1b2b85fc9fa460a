//! The root of a running mesh is replaced as docs/root-rotation.md says, by the bundled plan and by the verbs below it:
//! no process is restarted and nobody loses its way; then the mesh is started anew under the new root alone.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::Path;
use std::process::Output;

use mainstay_client::Bundle;
use mainstay_client::identity::Roots;
use mainstay_tests::{Options, Up, eventually, process};
use serde_json::Value;

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn ok(up: &Up, args: &[&str]) -> String {
    let output = up.cli(args);
    assert!(output.status.success(), "{args:?}: {}\n{}", stderr(&output), up.log());
    stdout(&output)
}

/// The root that the certificate in a directory is of.
fn root_in(dir: &Path) -> String {
    let bundle = Bundle::load(dir).expect("an identity");
    let roots = Roots::of(&bundle.roots_pem).expect("its roots");
    roots.of_chain_pem(&bundle.chain_pem).expect("one of them").id.to_string()
}

async fn roots_are(up: &Up, what: &str, are: impl Fn(&[Value]) -> bool) {
    eventually(what, || async {
        let listed = up.try_json(&["mesh", "root", "list"])?;
        let roots = listed["roots"].as_array().cloned().unwrap_or_default();
        if are(&roots) { Ok(()) } else { Err(listed.to_string()) }
    })
    .await;
}

fn count(root: &Value, field: &str) -> usize {
    root[field].as_array().map_or(0, Vec::len)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_root_of_a_running_mesh_is_replaced() {
    let mut up = Up::start(Options { agents: 2, ..Options::default() }).await;
    let processes = ["c1", "c2", "c3", "a1", "a2"];
    let before = processes.map(|name| up.pid(name).expect("it runs"));
    let home = up.scratch().join("ben");
    let line = ok(&up, &["operator", "add", "ben", "--role", "viewer"]);
    let login: Vec<&str> = line.split_whitespace().skip(1).collect();
    assert!(up.cli_of(&home, &login).status.success());
    assert!(up.cli_of(&home, &["status"]).status.success());
    roots_are(&up, "the first root is known", |roots| roots.len() == 1 && roots[0]["issuing"] == true).await;
    let old = up.json(&["mesh", "root", "list"])["roots"][0]["id"].as_str().unwrap().to_owned();
    let only = up.cli(&["mesh", "root", "retire", &old]);
    assert_eq!(only.status.code(), Some(1));
    assert!(stderr(&only).contains("is the only one"), "{}", stderr(&only));

    // A new root, made without a mesh, and added.
    let place = up.scratch().join("new-root");
    let (cert, key) = (place.join("root.pem").display().to_string(), place.join("root.key").display().to_string());
    let to = place.display().to_string();
    assert!(ok(&up, &["mesh", "root", "new", "--mesh", "local", "--to", &to, "--dry-run"]).contains("nothing was done") && !place.exists());
    let new = up.json(&["mesh", "root", "new", "--mesh", "local", "--to", &to])["id"].as_str().unwrap().to_owned();
    assert_eq!(up.cli(&["mesh", "root", "new", "--mesh", "local", "--to", &to]).status.code(), Some(2), "a root is not written over");
    assert_eq!(up.cli(&["mesh", "root", "add", &key]).status.code(), Some(2));
    assert_eq!(up.cli(&["mesh", "root", "issue", "--root-key", &key]).status.code(), Some(2), "it is not a root of the mesh yet");
    ok(&up, &["mesh", "root", "add", &cert, "--dry-run"]);
    ok(&up, &["mesh", "root", "add", &cert]);
    roots_are(&up, "all members trust it", |roots| roots.len() == 2 && count(&roots[1], "membersTrusting") == 3).await;
    eventually("the list says what comes next", || async {
        let text = stdout(&up.cli(&["mesh", "root", "list"]));
        if text.contains("an issuer is to be signed for") && text.contains("mainstay mesh root issue --root-key FILE") { Ok(()) } else { Err(text) }
    })
    .await;
    // The agents learn of it by themselves; ben is away.
    let agents = ["a1", "a2"].map(|name| up.dir().join(name));
    eventually("the agents trust it", || async {
        let trust =
            agents.iter().all(|dir| fs::read_to_string(dir.join("identity.pem")).is_ok_and(|text| text.matches("BEGIN CERTIFICATE").count() == 4));
        if trust { Ok(()) } else { Err("not yet".to_owned()) }
    })
    .await;

    // Members get their issuers, and everybody who is there goes over.
    ok(&up, &["mesh", "root", "issue", "--root-key", &key, "--dry-run"]);
    let issued = ok(&up, &["mesh", "root", "issue", "--root-key", &key]);
    assert!(issued.contains("c1, c2, c3") || issued.matches(", ").count() == 2, "{issued}");
    roots_are(&up, "leaves are issued under it", |roots| roots[1]["issuing"] == true && count(&roots[1], "membersSigning") == 3).await;
    eventually("the agents are under it", || async {
        let roots: Vec<String> = agents.iter().map(|dir| root_in(dir)).collect();
        if roots.iter().all(|root| *root == new) { Ok(()) } else { Err(format!("{roots:?}")) }
    })
    .await;
    ok(&up, &["status"]);
    assert_eq!(root_in(&up.dir().join("operator")), new, "the CLI renewed after a verb");
    let early = up.cli(&["mesh", "root", "retire", &old]);
    assert_eq!(early.status.code(), Some(1));
    assert!(stderr(&early).contains("operator/ben (its certificate is of that root)"), "{}", stderr(&early));

    // Ben comes back with the old root only, finds the mesh, and has gone over after one verb.
    assert_eq!(root_in(&home.join("mainstay/local")), old);
    let status = up.cli_of(&home, &["status"]);
    assert!(status.status.success(), "{}", stderr(&status));
    assert_eq!(root_in(&home.join("mainstay/local")), new);
    assert!(up.cli_of(&home, &["status"]).status.success());
    eventually("nobody needs the old root", || async {
        let text = stdout(&up.cli(&["mesh", "root", "list"]));
        if text.contains(&format!("mainstay mesh root retire {old}")) { Ok(()) } else { Err(text) }
    })
    .await;
    ok(&up, &["mesh", "root", "retire", &old, "--dry-run"]);
    ok(&up, &["mesh", "root", "retire", &old]);
    roots_are(&up, "it is gone", |roots| roots.len() == 1 && roots[0]["id"] == *new && count(&roots[0], "membersTrusting") == 3).await;

    // Nobody was restarted, all are linked, and a newcomer is let in under the new root.
    assert_eq!(processes.map(|name| up.pid(name).expect("it runs")), before, "{}", up.log());
    up.ready(3, 2).await;
    let run = up.json(&["run", "start", "daily"])["run"].as_str().unwrap().to_owned();
    assert_eq!(up.ended(&run).await["state"], "completed");
    let line = ok(&up, &["operator", "add", "eve", "--role", "viewer"]);
    let login: Vec<&str> = line.split_whitespace().skip(1).collect();
    let eve = up.scratch().join("eve");
    let came = up.cli_of(&eve, &login);
    assert!(came.status.success(), "{}", stderr(&came));
    assert_eq!(root_in(&eve.join("mainstay/local")), new);

    // `up` signs for new members with what lies in ca/: the new pair belongs there from now on.
    for file in ["root.pem", "root.key"] {
        fs::copy(place.join(file), up.dir().join("ca").join(file)).expect("the new pair");
    }
    up.restart(Options { agents: 2, ..Options::default() }).await;
    assert!(up.cli_of(&home, &["status"]).status.success());
    let audit = ok(&up, &["audit", "--limit", "200"]);
    assert!(audit.contains(&format!("trust root {new}")) && audit.contains(&format!("retire root {old}")), "{audit}");
}

/// Waits until `why` gives a reason of this kind, and answers it.
async fn waits_for(up: &Up, run: &str, kind: &str) -> Value {
    eventually(&format!("{run} waits for {kind}"), || async {
        let why = up.try_json(&["why", run])?;
        let waits = why["waits"].as_array().cloned().unwrap_or_default();
        waits.into_iter().find(|wait| wait["kind"] == kind).ok_or_else(|| why.to_string())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bundled_plan_replaces_the_root() {
    let up = Up::start(Options { agents: 1, ..Options::default() }).await;
    roots_are(&up, "the first root is known", |roots| roots.len() == 1 && roots[0]["issuing"] == true).await;
    let old = up.json(&["mesh", "root", "list"])["roots"][0]["id"].as_str().unwrap().to_owned();
    let home = up.scratch().join("ben");
    let line = ok(&up, &["operator", "add", "ben", "--role", "operator"]);
    assert!(up.cli_of(&home, &line.split_whitespace().skip(1).collect::<Vec<_>>()).status.success());
    let place = up.scratch().join("new-root");
    let new = up.json(&["mesh", "root", "new", "--mesh", "local", "--to", &place.display().to_string()])["id"].as_str().unwrap().to_owned();
    let input = format!("root={}", fs::read_to_string(place.join("root.pem")).unwrap().trim_end());
    let start = ["run", "start", "root-rotation", "--set", &input];

    // What it would do is for all to see, and only an admin starts it.
    let preview = ok(&up, &["plan", "preview", "root-rotation", "--set", &input]);
    for words in [format!("certificate of root {new}"), "by the mesh itself".to_owned(), "point of no return".to_owned()] {
        assert!(preview.contains(&words) && !preview.contains("-----BEGIN"), "{words}: {preview}");
    }
    let seen = stdout(&up.cli_of(&home, &["plan", "preview", "root-rotation", "--set", &input]));
    assert!(seen.contains("only an admin"), "{seen}");
    let refused = up.cli_of(&home, &start);
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).contains("only an admin"), "{}", stderr(&refused));
    assert_eq!(up.json(&["mesh", "root", "list"])["roots"].as_array().map(Vec::len), Some(1), "nothing was done");

    let run = up.json(&start)["run"].as_str().unwrap().to_owned();
    let wait = waits_for(&up, &run, "signature").await;
    let reason = wait["reason"].as_str().unwrap();
    assert!(["c1", "c2", "c3", &new, "mainstay mesh root issue --root-key"].iter().all(|words| reason.contains(words)), "{reason}");
    let why = ok(&up, &["why", &run]);
    assert!(why.contains("▲ sign") && why.contains("mainstay mesh root issue --root-key FILE"), "{why}");

    // The run goes on under another leader.
    process::kill(up.pid(&up.leader().await).expect("the leader runs"));
    waits_for(&up, &run, "signature").await;
    up.ready(3, 1).await;
    let key = place.join("root.key").display().to_string();
    eventually("all issuers are signed", || async {
        let issued = up.cli(&["mesh", "root", "issue", "--root-key", &key]);
        let left = up.try_json(&["mesh", "root", "list"])?["requests"].as_array().map_or(0, Vec::len);
        if issued.status.success() && left == 0 { Ok(()) } else { Err(format!("{left} left: {}", stderr(&issued))) }
    })
    .await;

    // Ben's laptop sleeps: it is waited for by name, until it comes back and has gone over.
    let wait = waits_for(&up, &run, "root").await;
    assert!(wait["reason"].as_str().unwrap().contains("operator/ben"), "{wait}");
    for _ in 0..2 {
        let status = up.cli_of(&home, &["status"]);
        assert!(status.status.success(), "{}", stderr(&status));
    }
    let wait = waits_for(&up, &run, "approval").await;
    assert_eq!(wait["step"], "agree", "{wait}");
    let early = up.cli_of(&home, &["run", "approve", &run, "--step", "agree", "--yes"]);
    assert!(!early.status.success(), "{}", stdout(&early));
    ok(&up, &["run", "approve", &run, "--step", "agree", "--yes"]);
    let ended = up.ended(&run).await;
    assert_eq!((&ended["state"], &ended["verdict"]), (&"completed".into(), &"ok".into()), "{ended}");
    roots_are(&up, "the old root is gone", |roots| roots.len() == 1 && roots[0]["id"] == *new && count(&roots[0], "membersTrusting") == 3).await;
    for dir in [up.dir().join("a1"), up.dir().join("operator"), home.join("mainstay/local")] {
        assert_eq!(root_in(&dir), new, "{}", dir.display());
    }
    let audit = ok(&up, &["audit", "--limit", "200"]);
    assert!(
        audit.contains(&format!("trust root {new}, by {run}/add")) && audit.contains(&format!("retire what is older than root {new}")),
        "{audit}"
    );
    assert_ne!(old, new);
}
