//! Installing on servers as docs/install.md says it: its own commands, in its order, with the settings files of
//! `mainstay init` and of deploy/systemd. Directories stand for machines, and processes that are started here for
//! what systemd would start; the units themselves are judged by systemd's own tools.
#![allow(clippy::disallowed_methods, clippy::expect_used, clippy::panic, clippy::print_stderr, reason = "a test that cannot go on stops with words")]

mod machines;
mod page;
mod units;

use machines::Machines;
use mainstay_tests::eventually;
use serde_json::Value;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_leads_to_a_mesh_that_can_be_kept() {
    let mut machines = Machines::new(&["server1", "server2", "server3", "server7"]);
    for (on, command) in page::commands("docs/install.md") {
        machines.carry_out(&on, &command).await;
    }
    is_as_it_says(&machines).await;
    members_come_and_go(&mut machines).await;
    nodes_go(&mut machines).await;
}

/// Three members that vote, an agent, and nothing that `doctor` has to say but that one member has no issuer: the
/// page gives one to the second, and says that each further one is to get its own.
async fn is_as_it_says(machines: &Machines) {
    let status = eventually("the mesh is whole", || async {
        let status = machines.json("server1", &["status"])?;
        let voters = status["members"].as_array().into_iter().flatten().filter(|member| member["role"] == "voter").count();
        if voters == 3 && status["agentsUp"] == 1 { Ok(status) } else { Err(status.to_string()) }
    })
    .await;
    assert_eq!(status["mesh"], "prod");
    let told = machines.json("server1", &["doctor"]).expect("JSON");
    assert_eq!(told["exit"], 0, "{told:#}");
    let lines: Vec<&Value> = told["diagnoses"].as_array().into_iter().flatten().filter(|line| line["verdict"] != "ok").collect();
    assert_eq!(lines.len(), 1, "{lines:#?}");
    assert_eq!((&lines[0]["check"], &lines[0]["place"]), (&"issuer".into(), &"c3".into()), "{lines:#?}");
    let health = machines.mainstay("server1", &["run", "start", "health", "--wait"]);
    assert_eq!(health.status.code(), Some(0), "{health:?}");
    // Secrets are for those whose they are.
    for (on, file) in [
        ("server1", "var/lib/mainstay/identity.pem"),
        ("server1", "var/lib/mainstay/issuer.key"),
        ("server2", "var/lib/mainstay/issuer.key"),
        ("server1", "root/prod-root.pem"),
        ("server7", "var/lib/mainstay-agent/identity.pem"),
    ] {
        assert_eq!(machines.mode(on, file), 0o600, "{file} on {on}");
    }
    assert!(!machines.has("server3", "var/lib/mainstay/issuer.key"), "nobody has given it one");
}

/// Leadership moves, and a member goes for good.
async fn members_come_and_go(machines: &mut Machines) {
    let leader = || async { machines.leader("server1").await };
    assert_eq!(leader().await, "c1");
    let said = machines.ok("server1", &["member", "transfer", "c2", "--dry-run"]);
    assert!(said.contains("c2 would lead; nothing was changed"), "{said}");
    assert_eq!(leader().await, "c1", "a dry run moves nothing");
    machines.ok("server1", &["member", "transfer", "c2"]);
    assert_eq!(leader().await, "c2");
    machines.refused("server1", &["member", "transfer", "c9"], 2);

    let said = machines.ok("server1", &["member", "remove", "c3", "--dry-run"]);
    assert!(said.contains("2 voters would be left, of which 0 may fail; nothing was changed"), "{said}");
    assert_eq!(machines.members("server1").len(), 3, "a dry run removes nobody");
    machines.refused("server1", &["member", "remove", "c9", "--dry-run"], 2);
    machines.ok("server1", &["member", "remove", "c3"]);
    assert_eq!(machines.members("server1"), ["c1", "c2"]);
    let (status, log) = machines.ends("server3", "mainstay-coordinator").await;
    assert_ne!(status, Some(0), "that is no end that somebody asked for: {log}");
    let last = log.lines().last().unwrap_or_default();
    assert!(last.contains("the mesh does not take this member any more"), "its last line says why: {log}");
    // The other two go on.
    machines.ok("server1", &["run", "start", "health", "--wait"]);
}

/// A node is taken out once its agent is gone.
async fn nodes_go(machines: &mut Machines) {
    machines.stop("server7", "mainstay-agent").await;
    eventually("the mesh misses the agent", || async {
        let status = machines.json("server1", &["status"])?;
        if status["agentsUp"] == 0 { Ok(()) } else { Err(status.to_string()) }
    })
    .await;
    let said = machines.ok("server1", &["node", "forget", "prod/server7", "--dry-run"]);
    assert!(said.contains("would take prod/server7 out of the registry; nothing was changed"), "{said}");
    assert_eq!(machines.json("server1", &["status"]).expect("JSON")["agentsTotal"], 1);
    machines.ok("server1", &["node", "forget", "prod/server7"]);
    assert_eq!(machines.json("server1", &["status"]).expect("JSON")["agentsTotal"], 0);
    machines.refused("server1", &["node", "forget", "prod/server7", "--dry-run"], 2);
}
