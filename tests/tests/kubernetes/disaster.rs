//! The plan `disaster-recovery`: a database that was lost is restored outside the cluster, and its application installed in the
//! cluster, by one command.

use std::fs;
use std::path::Path;
use std::process::Command;

use mainstay_tests::kubernetes::Cluster;
use mainstay_tests::servers::{Login, Postgres};
use mainstay_tests::up::{Options, Up};
use serde_json::{Value, json};

use super::agents::{MANIFEST, Replica, acts, kubeconfig, plan, runner};
use super::helm::{LOOPBACK, RIGHTS, chart};

const PASSWORD: &str = "not-for-anybody-else";
const ROWS: &str =
    "CREATE TABLE orders (id integer PRIMARY KEY, what text); INSERT INTO orders SELECT n, 'order ' || n FROM generate_series(1, 500) n";

fn made(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().expect("it is installed: tests/packages");
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Connections to the database, to the one that it is restored into, and to a store.
fn connections(place: &Path, port: u16) -> String {
    let path = |name: &str| place.join(name).display().to_string();
    fs::create_dir(place.join("store")).expect("a directory");
    fs::write(path("password"), PASSWORD).expect("a file");
    made("age-keygen", &["-o", &path("key.txt")]);
    made("openssl", &["genpkey", "-algorithm", "ed25519", "-outform", "DER", "-out", &path("sign.der")]);
    let key = made("age-keygen", &["-y", &path("key.txt")]);
    let database = |connection: &str, name: &str| {
        format!(
            "[connections.{connection}]\nkind = \"postgres\"\nurl = \"postgres://app@127.0.0.1:{port}/{name}\"\npassword = {{ file = \"{}\" }}\n",
            path("password")
        )
    };
    format!(
        "{}{}[connections.backups]\nkind = \"store\"\nurl = \"file://{}\"\nbreakGlass = [\"{key}\"]\nsign = {{ file = \"{}\" }}\nidentity = {{ file = \"{}\" }}\n",
        database("orders-db", "orders"),
        database("orders-new", "orders_new"),
        path("store"),
        path("sign.der"),
        path("key.txt")
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_command_leads_from_a_lost_database_to_a_healthy_copy() {
    let cluster = Cluster::shared();
    let space = cluster.space("recovered");
    let login = Login::new("app", PASSWORD);
    let postgres = Postgres::start(&login).await;
    postgres.sql_as(&login, "orders", ROWS).await.expect("rows");
    let place = tempfile::Builder::new().prefix("disaster-").tempdir().expect("a directory");
    let settings = connections(place.path(), postgres.port);
    let policy = "[policy]\nallow = [\"backup.run\", \"backup.restore\"]\n".to_owned();
    let up = Up::start(Options { coordinators: 1, agents: 1, policy, settings, ..Options::default() }).await;
    cluster.apply(MANIFEST);
    let kubeconfig = kubeconfig(cluster, &up, "mainstay", "mainstay-cluster-agent");
    let charts = up.scratch().join("charts");
    chart(&charts);
    let (helm, charts) = (cluster.program("helm").display().to_string(), charts.display().to_string());
    let flags = ["--helm", &helm, "--helm-charts", &charts, "--allow-address", LOOPBACK];
    let _replica = Replica::start_told(&up, "prod", "r1", &kubeconfig, "[policy]\nallow = [\"*\"]\n", &flags);
    acts(&up, "r1").await;
    runner(&space, RIGHTS);
    space.apply("{apiVersion: v1, kind: ConfigMap, metadata: {name: web-values}, data: {values.yaml: \"text: recovered\\nseconds: 1\\n\"}}\n");

    let made = up.start_run("made", &plan("made", "    - {name: run, uses: backup.run, with: {connection: orders-db}}\n"));
    let made = up.ended(&made).await;
    assert_eq!(made["state"], "completed", "{made}");
    let target = made["work"][0]["attempts"][0]["outcome"]["report"]["outputs"]["backup"].to_string();
    let target = target.trim_matches(['"', '\\']).rsplit_once('/').expect("CLUSTER/CONNECTION/NAME").0.to_owned();
    postgres.sql("DROP DATABASE orders WITH (FORCE)").await.expect("it is lost");
    postgres.sql("CREATE DATABASE orders_new OWNER app").await.expect("an empty one");

    let named = [
        format!("database={target}"),
        "databaseInto=orders-new".to_owned(),
        "cluster=prod".to_owned(),
        format!("space={}", space.name()),
        "release=web".to_owned(),
        "chart=web".to_owned(),
        "version=1.2.3".to_owned(),
        "values=web-values".to_owned(),
        "workload=web".to_owned(),
    ];
    let mut words = vec!["run", "start", "disaster-recovery"];
    words.extend(named.iter().flat_map(|set| ["--set", set.as_str()]));
    let id = up.json(&words)["run"].as_str().expect("a run's id").to_owned();
    let ended = up.ended(&id).await;
    assert_eq!(ended["state"], "completed", "{ended}");
    let state = |step: &str| {
        let works = ended["work"].as_array().into_iter().flatten().filter(|work| work["step"] == step);
        works.map(|work| work["state"].clone()).collect::<Vec<Value>>()
    };
    for step in ["database", "application", "ready", "workloads", "services", "restored-database"] {
        assert_eq!(state(step), [json!("succeeded")], "{step}: {ended}");
    }
    for step in ["space", "cache", "settings", "application-from-repository", "answers"] {
        assert_eq!(state(step), [json!("omitted")], "{step}: {ended}");
    }
    assert_eq!(postgres.sql_as(&login, "orders_new", "SELECT count(*) FROM orders").await.as_deref(), Ok("500"));
    let web = space.json(&["get", "deployment", "web"]).expect("the application");
    assert_eq!(web["status"]["readyReplicas"], 1, "{web}");
    // What it comes to as a whole is in the head of its report.
    let report = String::from_utf8_lossy(&up.cli(&["run", "show", &id]).stdout).into_owned();
    let head = report.lines().next().unwrap_or_default();
    assert!(head.contains(" · RTO ") && head.contains(" · RPO "), "{report}");
}
