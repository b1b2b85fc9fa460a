//! The step `backup.restore` with a real PostgreSQL, a real Redis and a directory: what was lost is there again, elsewhere, row
//! by row; nothing goes over anything, and who dies in the middle leaves nothing that looks whole.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use mainstay_tests::servers::{Login, Redis};
use mainstay_tests::{eventually, process};
use serde_json::Value;

use super::backups::{PASSWORD, Said, Stage};

const POLICY: &str = "[policy]\nallow = [\"backup.run\", \"backup.restore\"]\n";
/// Where things are restored, and a store whose identity opens nothing there.
const MORE: &str = r#"[connections.orders-new]
kind = "postgres"
url = "postgres://app@127.0.0.1:PORT/orders_new"
password = { file = "PLACE/password" }
[connections.cache-new]
kind = "files"
url = "file://PLACE/cache-new"
[connections.settings-new]
kind = "files"
url = "file://PLACE/settings-new"
[connections.locked]
kind = "store"
url = "file://PLACE/store"
drill = ["BREAK-GLASS"]
sign = { file = "PLACE/sign.der" }
identity = { file = "PLACE/other.txt" }
"#;
const MAKE: &str = "apiVersion: mainstay.dev/v1alpha1\nkind: MaintenancePlan\nmetadata: { name: make }\nspec:\n  steps:\n    \
     - { name: database, uses: backup.run, with: { connection: orders-db, store: backups, content: true } }\n    \
     - { name: cache, uses: backup.run, with: { connection: cache, store: backups } }\n    \
     - { name: settings, uses: backup.run, with: { connection: settings, store: backups } }\n";
const RESTORE: &str = "apiVersion: mainstay.dev/v1alpha1\nkind: MaintenancePlan\nmetadata: { name: restore }\nspec:\n  inputs:\n    \
     of: { type: text, description: What }\n    into: { type: text, description: Where }\n    \
     store: { type: text, default: backups, description: From }\n    twice: { type: text, default: \"\", description: Twice }\n    \
     jobs: { type: integer, default: 1, description: At a time }\n    scratch: { type: text, default: /var/tmp, description: Meanwhile }\n    \
     dryRun: { type: boolean, default: false, description: Only look }\n  steps:\n    \
     - name: restore\n      uses: backup.restore\n      retry: { attempts: ATTEMPTS, backoff: 1s }\n      with:\n        \
       connection: \"${{ inputs.into }}\"\n        backup: \"${{ inputs.of }}\"\n        store: \"${{ inputs.store }}\"\n        \
       jobs: \"${{ inputs.jobs }}\"\n        scratch: \"${{ inputs.scratch }}\"\n        \
       overwrite: \"${{ inputs.twice }}\"\n        dryRun: \"${{ inputs.dryRun }}\"\n        rtoWithin: { critical: 10m }\n        rpoWithin: { critical: 1h }\n";
/// One table of two.
const TABLE: &str = "apiVersion: mainstay.dev/v1alpha1\nkind: MaintenancePlan\nmetadata: { name: table }\nspec:\n  inputs:\n    \
     table: { type: text, description: Which }\n  steps:\n    \
     - name: restore\n      uses: backup.restore\n      with: { connection: orders-new, backup: orders-db, store: backups, tables: [\"${{ inputs.table }}\"] }\n";
/// What the rows are, of both tables.
const SUMS: &str = "SELECT (SELECT count(*) || ' ' || md5(string_agg(o::text, ',' ORDER BY id)) FROM orders o), \
     (SELECT count(*) || ' ' || md5(string_agg(c::text, ',' ORDER BY id)) FROM customers c)";

/// A stage on which all is backed up.
async fn backed_up() -> Stage {
    let stage = Stage::start_with(POLICY, MORE).await;
    for (name, plan) in [("make", MAKE), ("restore", &RESTORE.replace("ATTEMPTS", "1")), ("again", &again())] {
        stage.up.apply(name, plan);
    }
    let (state, all) = stage.run_of("make", &[]).await;
    assert_eq!(state, "completed", "{all:#?}");
    stage
}

/// The same plan under another name, which tries more than once.
fn again() -> String {
    RESTORE.replace("{ name: restore }", "{ name: again }").replace("ATTEMPTS", "4")
}

fn app() -> Login {
    Login::new("app", PASSWORD)
}

impl Stage {
    async fn restored(&self, with: &[&str]) -> Said {
        self.run_of("restore", with).await.1.remove(0)
    }

    async fn database(&self, statement: &str) -> String {
        self.postgres.sql(statement).await.expect("a statement")
    }

    /// How many tables and other things of its own the new database has.
    async fn objects(&self) -> String {
        let own = "SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'public'";
        self.postgres.sql_as(&app(), "orders_new", own).await.expect("a number")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_lost_is_there_again_row_by_row() {
    let stage = backed_up().await;
    let before = stage.postgres.sql_as(&app(), "orders", SUMS).await.expect("the rows");
    stage.database("DROP DATABASE orders WITH (FORCE)").await;
    stage.database("CREATE DATABASE orders_new OWNER app").await;
    a_table(&stage).await;
    a_database(&stage, &before).await;
    a_snapshot(&stage).await;
    a_directory(&stage).await;
    assert!(!stage.up.log().contains("AGE-SECRET-KEY"), "a secret is told");
}

async fn a_database(stage: &Stage, before: &str) {
    let with = ["of=orders-db", "into=orders-new"];
    let preview = stage.up.json(&["plan", "preview", "restore", "--set", with[0], "--set", with[1]]).to_string();
    assert!(preview.contains("would be restored into postgres://app@127.0.0.1"), "{preview}");
    let locked = stage.restored(&[with[0], with[1], "store=locked"]).await;
    assert!(locked.state == "failed" && locked.message.contains("the identity of locked does not open"), "{locked:?}");
    // A file system that never has room.
    let full = stage.restored(&[with[0], with[1], "jobs=2", "scratch=/proc"]).await;
    assert!(full.state == "failed" && full.message.contains("/proc has 0 B left, and ") && full.message.contains("nothing was touched"), "{full:?}");
    let parallel = stage.up.json(&["plan", "preview", "restore", "--set", with[0], "--set", with[1], "--set", "jobs=2"]).to_string();
    assert!(parallel.contains(" of scratch space in /var/tmp"), "{parallel}");
    assert_eq!(stage.objects().await, "0");

    let said = stage.restored(&with).await;
    let done = said.check("restore.done");
    assert!(done["verdict"] == "ok" && done["message"].as_str().is_some_and(|message| message.contains("2 tables, 20500 rows")), "{said:?}");
    assert_eq!((said.output("counted"), said.output("same")), (Value::from(20_500), Value::from(true)), "{said:?}");
    assert_eq!((&said.check("restore.rto")["verdict"], &said.check("restore.rpo")["verdict"]), (&Value::from("ok"), &Value::from("ok")));
    assert_eq!(stage.postgres.sql_as(&app(), "orders_new", SUMS).await.as_deref(), Ok(before));

    // Once more it is known. What is written since stays.
    let known = stage.restored(&with).await;
    assert!(known.check("restore.done")["message"].as_str().is_some_and(|message| message.contains("an earlier try has restored it")), "{known:?}");
    stage.postgres.sql_as(&app(), "orders_new", "DELETE FROM customers WHERE id > 100").await.expect("it is written to");
    let changed = stage.restored(&with).await;
    assert_eq!(changed.check("restore.done")["verdict"], "warning", "{changed:?}");
    assert_eq!(stage.postgres.sql_as(&app(), "orders_new", "SELECT count(*) FROM customers").await.as_deref(), Ok("100"));

    // Over something else, nothing goes.
    stage.database("COMMENT ON DATABASE orders_new IS NULL").await;
    let taken = stage.restored(&with).await;
    assert!(taken.state == "failed" && taken.message.contains("nothing was touched: name an empty database"), "{taken:?}");
    let preview = stage.up.json(&["plan", "preview", "restore", "--set", with[0], "--set", with[1]]).to_string();
    assert!(preview.contains("nothing was touched: name an empty database"), "{preview}");
    assert_eq!(stage.postgres.sql_as(&app(), "orders_new", "SELECT count(*) FROM customers").await.as_deref(), Ok("100"));

    // Into its own place, which is made anew: only by who says it twice.
    stage.database("CREATE DATABASE orders OWNER app").await;
    let once = stage.restored(&["of=orders-db", "into=orders-db"]).await;
    assert!(once.state == "failed" && once.message.contains("name it twice:  overwrite: orders-db"), "{once:?}");
    // By two connections, over which the same is true.
    let twice = stage.restored(&["of=orders-db", "into=orders-db", "twice=orders-db", "jobs=2"]).await;
    assert_eq!(twice.check("restore.done")["verdict"], "ok", "{twice:?}");
    assert_eq!(stage.postgres.sql_as(&app(), "orders", SUMS).await.as_deref(), Ok(before));
}

/// One of two, and counted alone; thrown away again.
async fn a_table(stage: &Stage) {
    stage.up.apply("table", TABLE);
    let none = stage.run_of("table", &["table=public.none"]).await.1.remove(0);
    assert!(none.state == "failed" && none.message.contains("it has no table public.none"), "{none:?}");
    assert_eq!(stage.objects().await, "0");
    let said = stage.run_of("table", &["table=public.customers"]).await.1.remove(0);
    assert_eq!((said.output("counted"), said.output("same")), (Value::from(500), Value::from(true)), "{said:?}");
    assert_eq!(stage.postgres.sql_as(&app(), "orders_new", "SELECT count(*) FROM customers").await.as_deref(), Ok("500"));
    let all = stage.restored(&["of=orders-db", "into=orders-new"]).await;
    assert!(all.state == "failed" && all.message.contains("(1 of it, "), "{all:?}");
    stage.database("DROP DATABASE orders_new").await;
    stage.database("CREATE DATABASE orders_new OWNER app").await;
}

/// A server that is started there has every key.
async fn a_snapshot(stage: &Stage) {
    let wrong = stage.restored(&["of=cache", "into=orders-new"]).await;
    assert!(wrong.message.contains("goes into a connection of kind files"), "{wrong:?}");
    let said = stage.restored(&["of=cache", "into=cache-new"]).await;
    assert_eq!((said.output("counted"), said.output("same")), (Value::from(200), Value::from(true)), "{said:?}");
    fs::set_permissions(stage.place.path(), fs::Permissions::from_mode(0o711)).expect("its permissions");
    let server = Redis::start_on(PASSWORD, &stage.path("cache-new")).await;
    assert_eq!(server.command(&["DBSIZE"]).await.as_deref(), Ok("200"));
    assert_eq!(server.command(&["GET", "key:7"]).await.as_deref(), Ok("value 7"));
}

async fn a_directory(stage: &Stage) {
    fs::create_dir(stage.path("settings-new")).expect("a directory");
    fs::write(stage.path("settings-new/mine"), "x").expect("somebody's file");
    let taken = stage.restored(&["of=settings", "into=settings-new"]).await;
    assert!(taken.state == "failed" && taken.message.contains("it is not empty; nothing was touched"), "{taken:?}");
    fs::remove_file(stage.path("settings-new/mine")).expect("it is removed");
    let said = stage.restored(&["of=settings", "into=settings-new"]).await;
    assert_eq!((said.output("counted"), said.output("same")), (Value::from(1), Value::from(true)), "{said:?}");
    assert_eq!(fs::read_to_string(stage.path("settings-new/app.conf")).expect("the file"), "workers = 4\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_dies_in_the_middle_leaves_nothing_and_the_next_try_goes_on() {
    let stage = backed_up().await;
    let before = stage.postgres.sql_as(&app(), "orders", SUMS).await.expect("the rows");
    stage.database("CREATE DATABASE orders_new OWNER app").await;
    let login = app();
    // A name that somebody else is about to take: who wants it too waits for what becomes of that.
    let holding = stage.postgres.sql_as(&login, "orders_new", "BEGIN; CREATE TABLE customers (id integer); SELECT pg_sleep(600)");
    let dying = async {
        sees(&stage, "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(600)%' AND pid <> pg_backend_pid()").await;
        let id = stage.up.json(&["run", "start", "again", "--set", "of=orders-db", "--set", "into=orders-new"]);
        let id = id["run"].as_str().expect("a run's id").to_owned();
        sees(&stage, "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'mainstay-backup' AND wait_event_type = 'Lock'").await;
        process::kill(stage.up.pid("a1").expect("the agent runs"));
        assert_eq!(stage.objects().await, "0", "nobody sees half of it");
        let freed = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(600)%' AND pid <> pg_backend_pid()";
        assert_eq!(stage.database(freed).await, "1");
        id
    };
    let (held, id) = tokio::join!(holding, dying);
    assert!(held.is_err(), "it was ended");
    let (state, all) = stage.ended(&id).await;
    assert_eq!(state, "completed", "{all:#?}\n{}", stage.up.log());
    assert_eq!(all[0].output("same"), Value::from(true), "{all:#?}");
    assert_eq!(stage.postgres.sql_as(&app(), "orders_new", SUMS).await, Ok(before));
}

/// Waits until a count is one.
pub(super) async fn sees(stage: &Stage, count: &str) {
    eventually(&format!("one is there: {count}"), || async {
        match stage.postgres.sql(count).await {
            Ok(number) if number == "1" => Ok(()),
            Ok(other) | Err(other) => Err(other),
        }
    })
    .await;
}
