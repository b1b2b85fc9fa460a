//! What befalls a backup in the middle: its agent is killed or held still, another one is told to do the same, its database is
//! restarted, its store is emptied. Nothing bad is called good, nothing good is lost, and the next run succeeds.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use mainstay_client::lease::HoldOptions;
use mainstay_core::Millis;
use mainstay_core::state::lease::{LeaseKind, LeaseSpec};
use mainstay_tests::servers::Login;
use mainstay_tests::{eventually, process};
use rustix::process::Signal;
use serde_json::Value;

use super::backups::{PASSWORD, Said, Stage, run};
use super::restores::sees;

const POLICY: &str = "[policy]\nallow = [\"backup.run\"]\n";
const DATABASE: &str = "orders-db";
/// What does not compress, so that a limit holds a backup up.
const NOISE: &str = "CREATE TABLE noise AS SELECT n AS id, md5(n::text) || md5((n * 7)::text) AS what FROM generate_series(1, 6000) n";
/// Shorter than a lease of a backup has where nobody says otherwise, so that its end is not waited for so long.
const TTL: Millis = Millis(6_000);
/// Bytes a second with which a backup does not end before something befalls it.
const HELD_UP: &str = "limit=24Ki";
/// Bytes a second with which it takes a second or two.
const SLOWLY: &str = "limit=400Ki";
const MAKE: &str = "apiVersion: mainstay.dev/v1alpha1\nkind: MaintenancePlan\nmetadata: { name: make }\nspec:\n  concurrency: allow\n  inputs:\n    \
     limit: { type: text, default: 1Gi, description: Bytes a second }\n  steps:\n    \
     - { name: run, uses: backup.run, with: { connection: orders-db, limit: \"${{ inputs.limit }}\" } }\n";
const LOOK: &str = "apiVersion: mainstay.dev/v1alpha1\nkind: MaintenancePlan\nmetadata: { name: look }\nspec:\n  steps:\n    \
     - { name: look, uses: backup.check, with: { connection: orders-db } }\n";

/// Two agents that can do the same, and a good backup.
async fn stage() -> (Stage, String) {
    let stage = Stage::start_of(2, POLICY, "").await;
    stage.postgres.sql_as(&Login::new("app", PASSWORD), "orders", NOISE).await.expect("a table");
    for (name, plan) in [("make", MAKE), ("look", LOOK)] {
        stage.up.apply(name, plan);
    }
    // Who takes it first says how long it lasts.
    let agent = stage.up.client_of(&stage.up.dir().join("a1"));
    let spec = LeaseSpec { slots: 1, ttl: TTL, kind: LeaseKind::Ttl };
    let options = HoldOptions { spec: Some(spec), wait: Duration::ZERO, attributes: BTreeMap::new(), takes_over: false };
    let held = agent.hold_lease("backup/local/orders-db", options).await.expect("nobody has it");
    held.release().await.expect("it is given back");
    let first = stage.makes_one().await;
    (stage, first)
}

impl Stage {
    fn starts(&self, with: &[&str]) -> String {
        let mut words = vec!["run", "start", "make"];
        words.extend(with.iter().flat_map(|set| ["--set", set]));
        self.up.json(&words)["run"].as_str().expect("a run's id").to_owned()
    }

    /// Another one, which counts for the mesh and for who looks at the store; its name.
    async fn makes_one(&self) -> String {
        let (state, all) = self.run_of("make", &[]).await;
        assert_eq!(state, "completed", "{all:#?}");
        self.counts(&all[0])
    }

    fn counts(&self, said: &Said) -> String {
        let name = said.output("backup").as_str().unwrap_or_else(|| panic!("no backup: {said:?}")).to_owned();
        assert_eq!(self.state_of(&name), "good", "{said:?}");
        name
    }

    /// What the store alone says of each backup, without the mesh.
    fn scanned(&self) -> Vec<(String, String)> {
        let store = self.path("store").display().to_string();
        let listed = self.up.json(&["backup", "list", "--store", &store, "--signer", &self.signer()]);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        listed["backups"].as_array().into_iter().flatten().map(|one| (text(&one["id"]), text(&one["state"]))).collect()
    }

    fn state_of(&self, backup: &str) -> String {
        let scanned = self.scanned();
        scanned.iter().find(|(id, _)| id == backup).unwrap_or_else(|| panic!("{backup} is not in {scanned:?}")).1.clone()
    }

    fn states(&self) -> Vec<String> {
        self.scanned().into_iter().map(|(_, state)| state).collect()
    }

    /// The public half of the key that signs.
    pub fn signer(&self) -> String {
        let (key, public) = (self.path("sign.der").display().to_string(), self.path("sign.pub"));
        run("openssl", &["pkey", "-inform", "DER", "-in", &key, "-pubout", "-outform", "DER", "-out", &public.display().to_string()]);
        let public = fs::read(public).expect("its public half");
        format!("ed25519:{}", public[public.len() - 32..].iter().map(|byte| format!("{byte:02x}")).collect::<String>())
    }

    /// Waits until a run's backup has begun; where it is, and which agent is at it.
    async fn begun(&self, run: &str, before: usize) -> (PathBuf, String) {
        let place = eventually("a backup has begun", || async {
            let all = self.backups(DATABASE);
            match all.last() {
                Some(last) if all.len() > before && last.join("begun.json").is_file() => Ok(last.clone()),
                _ => Err(format!("{all:?}; {}", self.up.run(run))),
            }
        })
        .await;
        let agent = self.agent_of(run).expect("somebody is at it");
        assert!(!place.join("manifest.json").exists(), "it does not end before something befalls it");
        (place, agent)
    }

    /// `a1`
    fn agent_of(&self, run: &str) -> Option<String> {
        let agent = self.up.run(run)["work"][0]["attempts"].as_array()?.last()?["agent"].as_str()?.to_owned();
        agent.rsplit('/').next().map(str::to_owned)
    }

    async fn agents_are(&self, count: usize) {
        eventually(&format!("{count} agents are there"), || async {
            let status = self.up.try_json(&["status"])?;
            if status["agentsUp"] == count { Ok(()) } else { Err(status["agentsUp"].to_string()) }
        })
        .await;
    }

    fn newest_good(&self) -> Value {
        self.known(DATABASE)["newestGood"].clone()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_befalls_a_backup_in_the_middle_leaves_nothing_that_counts() {
    let (mut stage, first) = stage().await;
    its_agent_is_killed_and_two_are_told_to_do_the_same(&stage, &first).await;
    its_database_is_restarted(&mut stage).await;
    its_store_is_emptied(&stage).await;
}

async fn its_agent_is_killed_and_two_are_told_to_do_the_same(stage: &Stage, first: &str) {
    let dying = stage.starts(&[HELD_UP]);
    let (place, agent) = stage.begun(&dying, 1).await;
    // It is started again when the test says so.
    process::signal(stage.up.supervisor_pid(), Signal::STOP);
    process::kill_and_wait(&[stage.up.pid(&agent).expect("the agent runs")]);
    assert_eq!(stage.states(), ["good", "unfinished"]);
    stage.agents_are(1).await;
    let beside = stage.starts(&[SLOWLY]);
    eventually("another agent is told to make one", || async { stage.agent_of(&beside).ok_or_else(|| stage.up.run(&beside).to_string()) }).await;
    process::signal(stage.up.supervisor_pid(), Signal::CONT);
    stage.agents_are(2).await;
    // It has failed with its agent, or another one has made a whole one in its place.
    let (state, all) = stage.ended(&dying).await;
    let again = usize::from(state == "completed");
    if again == 0 {
        assert_eq!((state.as_str(), stage.state_of(first).as_str()), ("failed", "good"), "{all:#?}");
    } else {
        assert_ne!(stage.counts(&all[0]), first);
    }

    // The one that is back is told the same as the other, which is at it or waits for the lease of the dead.
    let same = stage.starts(&[SLOWLY]);
    let (one, other) = (stage.ended(&beside).await, stage.ended(&same).await);
    assert_eq!((one.0.as_str(), other.0.as_str()), ("completed", "completed"), "{one:#?} {other:#?}");
    assert_ne!(stage.agent_of(&beside), stage.agent_of(&same), "two agents");
    let both = [stage.counts(&one.1[0]), stage.counts(&other.1[0])];
    assert!(both[0] != both[1] && both.iter().any(|name| stage.newest_good() == name.as_str()), "one after the other: {both:?}");
    let good = stage.states().iter().filter(|state| *state == "good").count();
    assert_eq!((good, stage.states()[1].as_str()), (3 + again, "sealed"), "{:?}", stage.states());
    assert!(place.join("sealed.json").is_file() && !place.join("receipt.json").exists());
}

async fn its_database_is_restarted(stage: &mut Stage) {
    let before = stage.newest_good();
    // The dump waits for a table that somebody has for himself, so that it is in the middle.
    let login = Login::new("app", PASSWORD);
    let holds = stage.postgres.sql_as(&login, "orders", "BEGIN; LOCK TABLE customers IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(600)");
    let restarting = async {
        let stage = &*stage;
        let is_held = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
        let waits = "SELECT least(count(*), 1) FROM pg_stat_activity WHERE application_name = 'mainstay-backup' AND wait_event_type = 'Lock'";
        sees(stage, is_held).await;
        let id = stage.starts(&[]);
        sees(stage, waits).await;
        id
    };
    let id = tokio::select! {
        held = holds => panic!("nothing is held any more: {held:?}"),
        id = restarting => id,
    };
    stage.postgres.stop();
    stage.postgres.go_on().await;
    let (state, all) = stage.ended(&id).await;
    assert!(state == "failed" && all[0].state == "failed" && !all[0].message.is_empty(), "{all:#?}");
    assert_eq!((stage.newest_good(), stage.states().last().map(String::as_str)), (before, Some("sealed")));
    stage.makes_one().await;
}

async fn its_store_is_emptied(stage: &Stage) {
    let were: Vec<String> = stage.scanned().into_iter().filter(|(_, state)| state == "good").map(|(id, _)| id).collect();
    assert!(were.len() > 1, "{were:?}");
    for left in fs::read_dir(stage.path("store")).expect("the store").flatten() {
        fs::remove_dir_all(left.path()).expect("somebody's hand");
    }
    let (_, all) = stage.run_of("look", &[]).await;
    let gone: Vec<&str> = all[0].checks("backup.vanished").filter_map(|check| check["subject"].as_str()).collect();
    assert!(were.iter().all(|id| gone.contains(&id.as_str())), "{were:?} are named: {all:#?}");
    assert_eq!(all[0].check("backup.age")["verdict"], "critical", "{all:#?}");
    let made = stage.makes_one().await;
    assert_eq!((stage.newest_good(), stage.states()), (Value::from(made), vec!["good".to_owned()]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_that_was_held_still_makes_nothing_that_counts_ever() {
    let (mut stage, first) = stage().await;
    let held = stage.starts(&[HELD_UP]);
    let (place, agent) = stage.begun(&held, 1).await;
    let paused = stage.up.pid(&agent).expect("the agent runs");
    process::signal(paused, Signal::STOP);
    // Not heard of for long enough, it is told nothing, and its lease ends.
    stage.agents_are(1).await;
    let run = stage.starts(&[]);
    let (state, all) = stage.ended(&run).await;
    assert!(state == "completed" && stage.agent_of(&run) != Some(agent), "another agent makes one: {all:#?}");
    let second = stage.counts(&all[0]);
    process::signal(paused, Signal::CONT);
    let (state, all) = stage.ended(&held).await;
    assert!(state == "failed" && all[0].output("counts").is_null(), "{all:#?}");
    assert_eq!(stage.newest_good(), Value::from(second.as_str()));

    stage.up.kill_all();
    fs::remove_dir_all(stage.up.dir().join("c1")).expect("the coordinator's directory");
    assert!(place.join("begun.json").is_file() && !place.join("receipt.json").exists());
    let scanned = stage.scanned();
    let states: Vec<(&str, &str)> = scanned.iter().map(|(id, state)| (id.as_str(), state.as_str())).collect();
    assert_eq!((states.len(), states[0], states[1].1, states[2]), (3, (first.as_str(), "good"), "sealed", (second.as_str(), "good")), "{states:?}");
}
