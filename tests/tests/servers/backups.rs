//! The plan `backup` against a real PostgreSQL, a real Redis and a directory: what it makes counts, is opened by the programs
//! of others, and is looked at and thinned out; what is changed or taken from the store is found. The mesh's catalogue says so
//! too, and opens gates by it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use mainstay_tests::servers::{Login, Postgres, Redis};
use mainstay_tests::{Options, Up};
use serde_json::Value;
use tempfile::TempDir;

const POLICY: &str = "[policy]\nallow = [\"backup.run\", \"backup.prune\", \"recovery.drill\"]\n";
pub(super) const PASSWORD: &str = "not-for-anybody-else";
const ROWS: &str = "CREATE TABLE orders (id integer PRIMARY KEY, what text);
     INSERT INTO orders SELECT n, 'order ' || n FROM generate_series(1, 20000) n;
     CREATE TABLE customers (id integer PRIMARY KEY, name text);
     INSERT INTO customers SELECT n, 'customer ' || n FROM generate_series(1, 500) n";

/// A backup that is tried once.
const ONCE: &str = "apiVersion: mainstay.dev/v1alpha1\nkind: MaintenancePlan\nmetadata: { name: once }\nspec:\n  inputs:\n    \
     store: { type: text, default: \"\", description: Where to }\n  steps:\n    \
     - { name: run, uses: backup.run, with: { connection: orders-db, store: \"${{ inputs.store }}\" } }\n";

pub(super) struct Stage {
    pub up: Up,
    pub postgres: Postgres,
    _cache: Redis,
    pub place: TempDir,
}

/// What one step of a run said of one target.
#[derive(Debug, Clone)]
pub(super) struct Said {
    pub step: String,
    pub target: String,
    pub state: String,
    pub message: String,
    report: Value,
}

impl Said {
    pub fn output(&self, name: &str) -> Value {
        // Values travel as JSON texts.
        let text = self.report["outputs"][name].as_str().map(str::to_owned);
        text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_else(|| self.report["outputs"][name].clone())
    }

    pub fn check(&self, id: &str) -> &Value {
        self.checks(id).next().unwrap_or(&Value::Null)
    }

    pub fn checks(&self, id: &str) -> impl Iterator<Item = &Value> {
        self.report["checks"].as_array().into_iter().flatten().filter(move |check| check["id"] == id)
    }
}

pub(super) fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().expect("it is installed: tests/packages");
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

impl Stage {
    async fn start() -> Stage {
        Stage::start_with(POLICY, "").await
    }

    /// With further connections, in which PLACE is where everything is, PORT PostgreSQL's, and BREAK-GLASS a key's public half.
    pub async fn start_with(policy: &str, more: &str) -> Stage {
        Stage::start_of(1, policy, more).await
    }

    /// With so many agents, each of which has all the connections.
    pub async fn start_of(agents: usize, policy: &str, more: &str) -> Stage {
        let login = Login::new("app", PASSWORD);
        let (postgres, cache) = tokio::join!(Postgres::start(&login), Redis::start(PASSWORD));
        postgres.sql_as(&login, "orders", ROWS).await.expect("tables");
        for key in 0..200 {
            cache.command(&["SET", &format!("key:{key}"), &format!("value {key}")]).await.expect("a key");
        }
        let place = tempfile::Builder::new().prefix("backups-").tempdir().expect("a directory");
        let path = |name: &str| place.path().join(name).display().to_string();
        for dir in ["store", "settings"] {
            fs::create_dir(place.path().join(dir)).expect("a directory");
        }
        fs::write(path("settings/app.conf"), "workers = 4\n").expect("a file that is backed up");
        fs::write(path("password"), PASSWORD).expect("the password's file");
        for name in ["break-glass.txt", "drill.txt", "other.txt"] {
            run("age-keygen", &["-o", &path(name)]);
        }
        run("openssl", &["genpkey", "-algorithm", "ed25519", "-outform", "DER", "-out", &path("sign.der")]);
        let public = |name: &str| run("age-keygen", &["-y", &path(name)]);
        let settings = format!(
            r#"[connections.orders-db]
kind = "postgres"
url = "postgres://app@127.0.0.1:{}/orders"
password = {{ file = "{password}" }}
[connections.cache]
kind = "redis"
url = "redis://127.0.0.1:{}"
password = {{ file = "{password}" }}
[connections.settings]
kind = "files"
url = "file://{}"
[connections.backups]
kind = "store"
url = "file://{}"
breakGlass = ["{}"]
drill = ["{}"]
sign = {{ file = "{}" }}
identity = {{ file = "{}" }}
"#,
            postgres.port,
            cache.port,
            path("settings"),
            path("store"),
            public("break-glass.txt"),
            public("drill.txt"),
            path("sign.der"),
            path("drill.txt"),
            password = path("password"),
        );
        let more = more.replace("PLACE", &place.path().display().to_string()).replace("PORT", &postgres.port.to_string());
        let settings = settings + &more.replace("BREAK-GLASS", &public("break-glass.txt"));
        let up = Up::start(Options { coordinators: 1, agents, policy: policy.to_owned(), settings, ..Options::default() }).await;
        Stage { up, postgres, _cache: cache, place }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    async fn run(&self, with: &[&str]) -> (String, Vec<Said>) {
        self.run_of("backup", with).await
    }

    pub async fn run_of(&self, plan: &str, with: &[&str]) -> (String, Vec<Said>) {
        let mut words = vec!["run", "start", plan];
        words.extend(with.iter().flat_map(|set| ["--set", set]));
        let id = self.up.json(&words)["run"].as_str().expect("a run's id").to_owned();
        self.ended(&id).await
    }

    /// What each step of a run said, when it has ended.
    pub async fn ended(&self, id: &str) -> (String, Vec<Said>) {
        let ended = self.up.ended(id).await;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let said = |work: &Value| {
            let outcome = work["attempts"].as_array().and_then(|attempts| attempts.last()).map_or(Value::Null, |last| last["outcome"].clone());
            let target = text(&work["target"]);
            let target = target.strip_prefix("connection:").unwrap_or(&target).to_owned();
            let report = outcome["report"].clone();
            Said { step: text(&work["step"]), target, state: text(&work["state"]), message: text(&outcome["message"]), report }
        };
        (text(&ended["state"]), ended["work"].as_array().into_iter().flatten().map(said).collect())
    }

    /// What a run said of a step on a target, which has come off.
    async fn of(&self, with: &[&str], step: &str, target: &str) -> Said {
        let (state, all) = self.run(with).await;
        let found = all.iter().find(|said| said.step == step && said.target == target);
        found.unwrap_or_else(|| panic!("{step} of {target} in a run that has {state}: {all:#?}")).clone()
    }

    /// The directories of a target's backups.
    pub fn backups(&self, target: &str) -> Vec<PathBuf> {
        let under = |dir: &Path| fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect::<Vec<_>>();
        let clusters = under(&self.path("store")).into_iter().filter(|dir| !dir.ends_with("probe"));
        // Beside them are the target's keys.
        let mut all: Vec<PathBuf> = clusters.flat_map(|cluster| under(&cluster.join(target))).filter(|path| path.is_dir()).collect();
        all.sort();
        all
    }

    /// What the mesh's catalogue has of a target.
    pub fn known(&self, target: &str) -> Value {
        let listed = self.up.json(&["backup", "list"]);
        let is_it = |known: &&Value| known["target"].as_str().is_some_and(|name| name.ends_with(&format!("/{target}")));
        listed["targets"].as_array().into_iter().flatten().find(is_it).cloned().unwrap_or_default()
    }

    fn good(&self, target: &str) -> usize {
        self.backups(target).iter().filter(|backup| backup.join("receipt.json").is_file()).count()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_connections_lead_to_is_backed_up_checked_and_thinned_out() {
    let stage = Stage::start().await;
    a_dry_run_writes_nothing(&stage).await;
    each_is_backed_up(&stage).await;
    they_are_one_set(&stage);
    others_open_it(&stage);
    let guarded = what_was_never_drilled_holds_a_step(&stage);
    each_is_restored_and_compared(&stage).await;
    assert_eq!(stage.up.ended(&guarded).await["state"], "completed", "the drill has opened its gates");
    each_is_looked_at_every_day(&stage).await;
    what_is_changed_or_gone_is_found(&stage).await;
    what_no_rule_keeps_goes(&stage).await;
    what_is_wrong_is_said_before_anything_is_written(&stage).await;
    what_is_erased_nobody_opens(&stage).await;
}

async fn a_dry_run_writes_nothing(stage: &Stage) {
    let said = stage.of(&["dryRun=true"], "run", "orders-db").await;
    assert!(said.check("backup.dryRun")["message"].as_str().unwrap_or_default().contains("would be backed up"), "{said:?}");
    assert_eq!(stage.backups("orders-db"), Vec::<PathBuf>::new());
}

async fn each_is_backed_up(stage: &Stage) {
    let (state, all) = stage.run(&[]).await;
    assert_eq!(state, "completed", "{all:#?}");
    for (target, counted) in [("orders-db", 2), ("cache", 200), ("settings", 1)] {
        let of = |step: &str| all.iter().find(|said| said.step == step && said.target == target).expect("each step is done to each");
        let (run, check, prune) = (of("run"), of("check"), of("prune"));
        assert_eq!(run.state, "succeeded", "{run:?}");
        assert_eq!((run.output("counts"), run.output("counted")), (Value::from(true), Value::from(counted)), "{run:?}");
        assert!(run.output("backup").as_str().is_some_and(|name| name.contains(&format!("/{target}/"))), "{run:?}");
        assert!(run.output("storedBytes").as_u64() > Some(0) && run.output("checksum").as_str().is_some_and(|sum| sum.len() == 64), "{run:?}");
        let others = check.report["checks"].as_array().into_iter().flatten().filter(|check| check["id"] != "backup.drill");
        let verdicts: Vec<&Value> = others.map(|check| &check["verdict"]).collect();
        assert!(!verdicts.is_empty() && verdicts.iter().all(|verdict| **verdict == "ok"), "{check:?}");
        assert_eq!(check.check("backup.drill")["verdict"], "warning", "it was never drilled: {check:?}");
        assert!(check.check("backup.content")["message"].as_str().is_some_and(|message| message.contains("opened")), "{check:?}");
        assert_eq!((check.output("newest"), check.output("good")), (run.output("backup"), Value::from(1)));
        assert_eq!((prune.output("removed"), prune.output("kept")), (Value::from(0), Value::from(1)), "{prune:?}");
        assert_eq!(stage.good(target), 1);
        let known = stage.known(target);
        let (id, newest) = (&known["backups"][0]["id"], &known["newestGood"]);
        assert_eq!((id, newest), (&run.output("backup"), &run.output("backup")), "{known}");
        let said = ["counts", "good", "read", "checksum", "store"].map(|name| known["backups"][0][name].clone());
        assert_eq!(said, [true.into(), true.into(), "ok".into(), run.output("checksum"), "backups".into()], "{known}");
    }
    let everything = format!("{all:?}{}", stage.up.log());
    assert!(!everything.contains(PASSWORD) && !everything.contains("AGE-SECRET-KEY"), "a secret is told");
}

/// What the store alone says of all that one run has made.
fn they_are_one_set(stage: &Stage) {
    let store = stage.path("store").display().to_string();
    let listed = stage.up.json(&["backup", "list", "--store", &store, "--signer", &stage.signer()]);
    let sets = listed["sets"].as_array().expect("sets");
    assert!(sets.len() == 1 && sets[0]["backups"].as_array().map(Vec::len) == Some(3), "{listed}");
    let span = [&sets[0]["span"]["from"], &sets[0]["span"]["to"]].map(|at| at.as_str().unwrap_or_default());
    assert!(sets[0]["name"].as_str().is_some_and(|name| name.starts_with("backup-")) && !span[0].is_empty() && span[0] <= span[1], "{listed}");
}

/// Nothing is read of the parts.
async fn each_is_looked_at_every_day(stage: &Stage) {
    let (state, all) = stage.run_of("daily", &[]).await;
    assert_eq!(state, "completed", "{all:#?}");
    for target in ["orders-db", "cache", "settings"] {
        let said = all.iter().find(|said| said.step == "backups" && said.target == target).expect("each is looked at");
        for id in ["backup.age", "backup.keys", "backup.drill"] {
            assert_eq!(said.check(id)["verdict"], "ok", "{said:?}");
        }
        assert!(said.checks("backup.content").next().is_none(), "{said:?}");
    }
}

/// With nothing of this program: `age`, `zstd`, `pg_restore`, `tar`.
fn others_open_it(stage: &Stage) {
    let open = |target: &str, part: &str| {
        let part = stage.backups(target).pop().expect("a backup").join(format!("{part}.zst.age"));
        let (key, part, to) = (stage.path("break-glass.txt"), part.display().to_string(), stage.path(&format!("opened-{target}")));
        let script = "age -d -i \"$1\" -o \"$3.key\" \"$(dirname \"$2\")/../key-1.age\" && age -d -i \"$3.key\" \"$2\" | zstd -dc > \"$3\"";
        run("bash", &["-o", "pipefail", "-c", script, "open", &key.display().to_string(), &part, &to.display().to_string()]);
        to.display().to_string()
    };
    assert!(fs::read(open("orders-db", "database")).expect("an archive").starts_with(b"PGDMP"));
    assert!(run("tar", &["-tf", &open("settings", "files")]).contains("settings/app.conf"));
    assert!(fs::read(open("cache", "rdb")).expect("a snapshot").starts_with(b"REDIS"));
}

/// A step that waits for a drill; it says so.
fn what_was_never_drilled_holds_a_step(stage: &Stage) -> String {
    let target = stage.known("orders-db")["target"].as_str().expect("its name").to_owned();
    let gates = format!("gates: [{{ backupFresh: {{ target: {target}, maxAge: 1h }} }}, {{ drillFresh: {{ target: {target}, maxAge: 1h }} }}]");
    let plan = format!(
        "apiVersion: mainstay.dev/v1alpha1\nkind: MaintenancePlan\nmetadata: {{ name: guarded }}\nspec:\n  steps:\n    \
         - {{ name: go, uses: wait, with: {{ for: 1ms }}, {gates} }}\n"
    );
    stage.up.apply("guarded", &plan);
    let preview = stage.up.json(&["plan", "preview", "guarded"]).to_string();
    assert!(preview.contains("never been restored in a drill") && preview.contains("recovery-drill"), "{preview}");
    stage.up.json(&["run", "start", "guarded"])["run"].as_str().expect("a run's id").to_owned()
}

/// Into a server of its own, of which nothing is left afterwards.
async fn each_is_restored_and_compared(stage: &Stage) {
    let scratch = stage.path("scratch");
    fs::create_dir(&scratch).expect("a directory");
    // Servers run as somebody else there, who has to come by.
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o711);
    fs::set_permissions(stage.place.path(), open).expect("its permissions");
    let with = format!("scratch={}", scratch.display());
    let (state, all) = stage.run_of("recovery-drill", &[&with, "rto=10m"]).await;
    assert_eq!(state, "completed", "{all:#?}");
    for (target, compared) in [("orders-db", "2 tables, 20500 rows"), ("cache", "200 keys"), ("settings", "1 files, 12 bytes")] {
        let said = all.iter().find(|said| said.target == target).expect("each is drilled");
        let verdict = said.check("drill.restored");
        assert!(verdict["verdict"] == "ok" && verdict["message"].as_str().is_some_and(|message| message.contains(compared)), "{said:?}");
        assert_eq!((said.output("proven"), said.check("drill.rto")["verdict"].clone()), (Value::from(true), Value::from("ok")), "{said:?}");
        assert!(said.output("rtoMs").as_u64() > Some(0), "{said:?}");
        let drill = stage.known(target)["drill"].clone();
        assert!(drill["proven"] == true && drill["backup"] == said.output("backup") && drill["rtoMs"] == said.output("rtoMs"), "{drill}");
    }
    assert_eq!(fs::read_dir(&scratch).expect("the directory").count(), 0, "what was restored is removed");
}

async fn what_is_changed_or_gone_is_found(stage: &Stage) {
    // A byte of the newest, in the middle of what is stored. The run makes a newer one first, so it looks without one.
    let check = "apiVersion: mainstay.dev/v1alpha1\nkind: MaintenancePlan\nmetadata: { name: look }\nspec:\n  steps:\n    \
                 - { name: look, uses: backup.check, with: { connection: orders-db } }\n";
    stage.up.apply("look", check);
    let look = async || {
        let id = stage.up.json(&["run", "start", "look"])["run"].as_str().expect("a run's id").to_owned();
        let ended = stage.up.ended(&id).await;
        ended["work"][0]["attempts"][0]["outcome"]["report"].clone()
    };
    let critical = |report: &Value, id: &str| {
        let checks = report["checks"].as_array().cloned().unwrap_or_default();
        let found = checks.into_iter().find(|check| check["id"] == id && check["verdict"] == "critical");
        found.map(|check| check["message"].as_str().unwrap_or_default().to_owned())
    };
    let backup = stage.backups("orders-db").pop().expect("a backup");
    let part = backup.join("database.zst.age");
    let whole = fs::read(&part).expect("a part");
    let mut flipped = whole.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    fs::write(&part, &flipped).expect("a byte is flipped");
    let report = look().await;
    assert!(critical(&report, "backup.content").is_some_and(|message| message.contains("damaged")), "{report}");
    fs::write(&part, &whole[..middle]).expect("it is cut off");
    let report = look().await;
    assert!(critical(&report, "backup.damaged").is_some_and(|message| message.contains("database.zst.age has")), "{report}");
    fs::write(&part, &whole).expect("it is whole again");
    let report = look().await;
    assert_eq!(report["checks"].as_array().into_iter().flatten().filter(|check| check["verdict"] != "ok").count(), 0, "{report}");
    let aside = stage.path("aside");
    fs::rename(&backup, &aside).expect("it is taken away");
    let report = look().await;
    assert!(critical(&report, "backup.vanished").is_some() && critical(&report, "backup.age").is_some(), "{report}");
    fs::rename(&aside, &backup).expect("it is back");
}

async fn what_no_rule_keeps_goes(stage: &Stage) {
    let once = ["connection=orders-db", "asSet=false", "last=2", "daily=0", "weekly=0", "monthly=0"];
    for _ in 0..2 {
        stage.of(&once, "prune", "orders-db").await;
    }
    // The first belongs to the set of the newest ones of the others, and stays with them.
    assert_eq!(stage.good("orders-db"), 3);
    let said = stage.of(&once, "prune", "orders-db").await;
    assert_eq!((said.output("removed"), said.output("kept"), stage.good("orders-db")), (Value::from(1), Value::from(3), 3), "{said:?}");
    assert_eq!(stage.good("cache"), 1, "another target's");
    // What somebody holds stays, whatever the rules say.
    let oldest = || {
        let known = stage.known("orders-db");
        let all = known["backups"].as_array().expect("backups");
        all[all.len() - 2]["id"].as_str().expect("the oldest of no set").to_owned()
    };
    let held = oldest();
    stage.up.json(&["backup", "hold", &held, "--reason", "the audit of November"]);
    let said = stage.of(&once, "prune", "orders-db").await;
    assert_eq!((said.output("removed"), said.output("kept"), oldest()), (Value::from(0), Value::from(4), held.clone()), "{said:?}");
    let audit = stage.up.json(&["audit"]).to_string();
    assert!(audit.contains(&format!("hold backup {held}: the audit of November")), "{audit}");
    who_removes_by_hand_is_told_what_is_held(stage, &held);
    stage.up.json(&["backup", "hold", &held, "--off"]);
    let said = stage.of(&once, "prune", "orders-db").await;
    assert_eq!((said.output("removed"), stage.good("orders-db")), (Value::from(2), 3), "{said:?}");
    assert_eq!(stage.known("orders-db")["backups"].as_array().map(Vec::len), Some(3), "the catalogue has what the store has");
}

/// The mesh is asked by whoever goes straight to the store, too.
fn who_removes_by_hand_is_told_what_is_held(stage: &Stage, held: &str) {
    let known = stage.known("orders-db");
    let (target, store) = (known["target"].as_str().expect("its name"), stage.path("store").display().to_string());
    let receipt = fs::read(stage.path("store").join(held).join("receipt.json")).expect("its receipt");
    let receipt: Value = serde_json::from_slice(&receipt).expect("a record");
    let signer = receipt["signer"].as_str().expect("who signed");
    let there = stage.good("orders-db");
    let prune = ["backup", "prune", target, "--store", &store, "--signer", signer, "--last", "1"];
    let fate = |words: &[&str]| {
        let said = stage.up.json(words);
        let of_held = said["backups"].as_array().into_iter().flatten().find(|one| one["backup"] == held).cloned();
        (said["holdsKnown"].clone(), of_held.unwrap_or_default())
    };
    let (asked, one) = fate(&[&prune[..], &["--dry-run"]].concat());
    assert!(asked == true && one["is"] == "stays" && one["fate"].to_string().contains("the audit of November"), "{one}");
    let (asked, one) = fate(&[&prune[..], &["--dry-run", "--without-mesh"]].concat());
    assert!(asked == false && one["is"] == "would go", "{one}");
    assert_eq!(stage.good("orders-db"), there, "nothing was removed");
}

async fn what_is_wrong_is_said_before_anything_is_written(stage: &Stage) {
    let before = stage.backups("orders-db");
    stage.up.apply("once", ONCE);
    let tried = async |with: &[&str]| stage.run_of("once", with).await.1.remove(0);
    stage.postgres.set_password(&Login::new("app", "another")).await;
    let said = tried(&[]).await;
    assert!(said.state == "failed" && said.message.contains("password authentication failed") && !said.message.contains(PASSWORD), "{said:?}");
    stage.postgres.set_password(&Login::new("app", PASSWORD)).await;
    let said = tried(&["store=elsewhere"]).await;
    assert!(said.message.contains("no connection elsewhere") && said.message.contains("kind = \"store\""), "{said:?}");
    assert_eq!(stage.backups("orders-db"), before);
}

async fn what_is_erased_nobody_opens(stage: &Stage) {
    let known = stage.known("cache");
    let (target, newest) = (known["target"].as_str().expect("its name"), known["newestGood"].as_str().expect("a good one"));
    let (store, sign) = (stage.path("store").display().to_string(), stage.path("sign.der").display().to_string());
    let words = ["backup", "erase", target, "--store", &store, "--sign", &sign];
    let erase = [&words[..], &["--confirm", target]].concat();
    // The mesh is asked first, and nothing is destroyed without the name said twice.
    stage.up.json(&["backup", "hold", newest, "--reason", "the audit of December"]);
    let held = stage.up.cli(&erase);
    let said = String::from_utf8_lossy(&held.stderr);
    assert!(!held.status.success() && said.contains("is held by"), "{said}");
    stage.up.json(&["backup", "hold", newest, "--off"]);
    let looked = stage.up.json(&[&words[..], &["--dry-run"]].concat());
    assert_eq!((&looked["newest"], &looked["keys"]), (&newest.into(), &serde_json::json!([1])), "{looked}");
    assert_eq!(stage.up.cli(&words).status.code(), Some(2));
    let key = stage.backups("cache").pop().expect("a backup").with_file_name("key-1.age");
    assert!(key.is_file() && stage.known("cache")["newestGood"] == newest, "nothing was destroyed");
    let erased = stage.up.json(&erase);
    assert!(erased["erased"]["destroyed"] == serde_json::json!([1]) && !key.exists(), "{erased}");
    assert_eq!(stage.up.json(&erase)["erased"]["wasDone"], true);
    // Who looks at the store without the mesh sees it, and the mesh has it.
    let signer = erased["erased"]["tombstone"]["signer"].as_str().expect("who signed");
    let listed = stage.up.json(&["backup", "list", target, "--store", &store, "--signer", signer]);
    let backups = listed["backups"].as_array().expect("backups");
    assert!(!backups.is_empty() && backups.iter().all(|backup| backup["state"] == "erased"), "{listed}");
    let known = stage.known("cache");
    assert!(known["newestGood"].as_str().is_none_or(str::is_empty) && !known["backups"][0]["erased"]["by"].is_null(), "{known}");
    let audit = stage.up.json(&["audit"]).to_string();
    assert!(audit.contains(&format!("erase the backups of {target}")), "{audit}");
    // The next one has another key, and counts.
    let said = stage.of(&[], "run", "cache").await;
    let known = stage.known("cache");
    assert!(said.state == "succeeded" && known["newestGood"] == said.output("backup"), "{said:?} {known}");
    assert!(key.with_file_name("key-2.age").is_file());
    let said = stage.of(&[], "check", "cache").await;
    assert!(said.checks("backup.damaged").next().is_none() && said.checks("backup.erased").next().is_none(), "{said:?}");
}
