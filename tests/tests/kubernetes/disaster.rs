//! The plan `disaster-recovery`: a database, a cache and the objects of a namespace are lost; one command restores them, installs
//! the application, which answers with what was restored, and says how long that took and how much was lost.

use std::fs;
use std::path::Path;
use std::process::Command;

use mainstay_tests::kubernetes::{Cluster, Space};
use mainstay_tests::servers::{Login, Postgres, Redis};
use mainstay_tests::up::{Options, Up};
use mainstay_tests::wait::PATIENCE;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::agents::{MANIFEST, Replica, acts, kubeconfig, plan, runner};
use super::helm::{LOOPBACK, RIGHTS};

const PASSWORD: &str = "not-for-anybody-else";
const ROWS: &str =
    "CREATE TABLE orders (id integer PRIMARY KEY, what text); INSERT INTO orders SELECT n, 'order ' || n FROM generate_series(1, 500) n";
const KEYS: usize = 50;
const PAGE: &str = "the page of before";
/// More than the run can take, and the backups can be old.
const MOST_MS: u64 = 15 * 60 * 1_000;

/// Three backups, by the agents that have what is backed up.
const MAKE: &str = "    - {name: database, uses: backup.run, with: {connection: orders-db}}\n    \
     - {name: cache, uses: backup.run, with: {connection: cache}}\n    - {name: objects, uses: backup.run, with: {connection: shop-objects}}\n";

fn made(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().expect("it is installed: tests/packages");
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// A chart of an application that does not start without its ConfigMap, and answers with what is in it.
fn chart(folder: &Path) {
    let at = folder.join("shop");
    fs::create_dir_all(at.join("templates")).expect("a folder");
    let write = |name: &str, text: &str| fs::write(at.join(name), text).expect("a file");
    write("Chart.yaml", "apiVersion: v2\nname: shop\nversion: 1.2.3\nappVersion: \"7\"\n");
    write("values.yaml", "page: \"\"\n");
    write(
        "templates/web.yaml",
        "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: {{ .Release.Name }}\nspec:\n  replicas: 1\n  selector: {matchLabels: {app: {{ .Release.Name }}}}\n  \
         template:\n    metadata: {labels: {app: {{ .Release.Name }}}}\n    spec:\n      terminationGracePeriodSeconds: 0\n      containers:\n        - name: web\n          \
         image: mainstay.test/nginx:1\n          command: [/bin/sh, -ec]\n          \
         args: ['while read -r line; do echo \"$line\"; done < /page/index.html > /tmp/index.html; exec nginx -c /etc/nginx/nginx.conf']\n          \
         readinessProbe: {httpGet: {port: 80}, periodSeconds: 1}\n          volumeMounts: [{name: page, mountPath: /page}]\n      \
         volumes: [{name: page, configMap: {name: {{ required \"its page\" .Values.page }}}}]\n",
    );
}

/// Where the store, its keys and the new directory are.
struct Files(TempDir);

impl Files {
    fn new() -> Files {
        let files = Files(tempfile::Builder::new().prefix("disaster-").tempdir().expect("a directory"));
        fs::create_dir(files.0.path().join("store")).expect("a directory");
        fs::write(files.path("password"), PASSWORD).expect("a file");
        made("age-keygen", &["-o", &files.path("key.txt")]);
        made("openssl", &["genpkey", "-algorithm", "ed25519", "-outform", "DER", "-out", &files.path("sign.der")]);
        files
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    /// The store, as each agent has it.
    fn store(&self) -> String {
        format!(
            "[connections.backups]\nkind = \"store\"\nurl = \"file://{}\"\nbreakGlass = [\"{}\"]\nsign = {{ file = \"{}\" }}\nidentity = {{ file = \"{}\" }}\n",
            self.path("store"),
            made("age-keygen", &["-y", &self.path("key.txt")]),
            self.path("sign.der"),
            self.path("key.txt")
        )
    }

    /// Connections to the database and the cache, and to where they are restored.
    fn of_node(&self, postgres: u16, redis: u16) -> String {
        let password = self.path("password");
        let connection = |name: &str, kind: &str, url: &str| {
            format!("[connections.{name}]\nkind = \"{kind}\"\nurl = \"{url}\"\npassword = {{ file = \"{password}\" }}\n")
        };
        [
            connection("orders-db", "postgres", &format!("postgres://app@127.0.0.1:{postgres}/orders")),
            connection("orders-new", "postgres", &format!("postgres://app@127.0.0.1:{postgres}/orders_new")),
            connection("cache", "redis", &format!("redis://127.0.0.1:{redis}")),
            format!("[connections.cache-new]\nkind = \"files\"\nurl = \"file://{}\"\n", self.path("cache-new")),
            self.store(),
        ]
        .concat()
    }

    /// Connections to the objects, and to where they are restored.
    fn of_cluster(&self, before: &str, after: &str) -> String {
        let objects = |name: &str, namespace: &str| {
            format!("[connections.{name}]\nkind = \"kubernetes\"\nnamespaces = [\"{namespace}\"]\nkinds = [\"v1/ConfigMap\"]\n")
        };
        objects("shop-objects", before) + &objects("shop-new", after) + &self.store()
    }
}

/// What the application needs: its page, and the values of its chart.
fn objects(space: &Space<'_>) {
    space.apply(&format!(
        "{{apiVersion: v1, kind: ConfigMap, metadata: {{name: page}}, data: {{index.html: \"{PAGE}\\n\"}}}}\n---\n\
         {{apiVersion: v1, kind: ConfigMap, metadata: {{name: web-values}}, data: {{values.yaml: \"page: page\\n\"}}}}\n"
    ));
}

/// The body that is answered with.
async fn asked(address: &str) -> Result<String, std::io::Error> {
    let mut stream = TcpStream::connect((address, 80)).await?;
    stream.write_all(b"GET / HTTP/1.0\r\nHost: shop\r\n\r\n").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer.split_once("\r\n\r\n").map(|(_, body)| body.trim().to_owned()).unwrap_or(answer))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_command_leads_from_what_is_lost_to_a_healthy_copy() {
    let cluster = Cluster::shared();
    let (before, after) = (cluster.space("lost"), cluster.space("recovered"));
    let login = Login::new("app", PASSWORD);
    let (postgres, redis) = tokio::join!(Postgres::start(&login), Redis::start(PASSWORD));
    postgres.sql_as(&login, "orders", ROWS).await.expect("rows");
    for key in 0..KEYS {
        redis.command(&["SET", &format!("key:{key}"), &format!("value {key}")]).await.expect("a key");
    }
    objects(&before);
    let files = Files::new();
    let (settings, policy) = (files.of_node(postgres.port, redis.port), "[policy]\nallow = [\"backup.run\", \"backup.restore\"]\n".to_owned());
    let up = Up::start(Options { coordinators: 1, agents: 1, policy, settings, ..Options::default() }).await;
    cluster.apply(MANIFEST);
    let kubeconfig = kubeconfig(cluster, &up, "mainstay", "mainstay-cluster-agent");
    let charts = up.scratch().join("charts");
    chart(&charts);
    fs::write(files.path("connections.toml"), files.of_cluster(before.name(), after.name())).expect("the connections' file");
    let (helm, charts, connections) = (cluster.program("helm").display().to_string(), charts.display().to_string(), files.path("connections.toml"));
    let flags = ["--helm", &helm, "--helm-charts", &charts, "--allow-address", LOOPBACK, "--connections", &connections];
    let _replica = Replica::start_told(&up, "prod", "r1", &kubeconfig, "[policy]\nallow = [\"*\"]\n", &flags);
    acts(&up, "r1").await;
    runner(&before, "{apiGroups: [\"\"], resources: [configmaps], verbs: [list]}");
    runner(&after, RIGHTS);
    // What people use has an address that stays; nobody answers there yet.
    after.apply("{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {selector: {app: web}, ports: [{port: 80}]}}\n");
    let address = after.until(PATIENCE, &["service", "web"], |service| service.pointer("/spec/clusterIP")?.as_str().map(str::to_owned)).await;

    let ended = up.ended(&up.start_run("made", &plan("made", MAKE))).await;
    assert_eq!(ended["state"], "completed", "{ended}");
    // Values of outputs travel as JSON texts.
    let target = |step: &str| {
        let work = ended["work"].as_array().into_iter().flatten().find(|work| work["step"] == step).expect("the step");
        let name = work["attempts"][0]["outcome"]["report"]["outputs"]["backup"].as_str().expect("its name").trim_matches('"').to_owned();
        name.rsplit_once('/').expect("CLUSTER/CONNECTION/NAME").0.to_owned()
    };
    let (database, cache, shop) = (target("database"), target("cache"), target("objects"));
    assert_eq!(shop, "prod/shop-objects");

    drop(redis);
    postgres.sql("DROP DATABASE orders WITH (FORCE)").await.expect("it is lost");
    cluster.kubectl(&["delete", "namespace", before.name()]).expect("it is lost");
    postgres.sql("CREATE DATABASE orders_new OWNER app").await.expect("an empty one");

    let named = [
        format!("database={database}"),
        "databaseInto=orders-new".to_owned(),
        format!("cache={cache}"),
        "cacheInto=cache-new".to_owned(),
        format!("objects={shop}"),
        "objectsInto=shop-new".to_owned(),
        "cluster=prod".to_owned(),
        format!("space={}", after.name()),
        "release=web".to_owned(),
        "chart=shop".to_owned(),
        "values=web-values".to_owned(),
        "workload=web".to_owned(),
        format!("url=http://{address}/"),
        "slow=1m".to_owned(),
    ];
    let mut words = vec!["run", "start", "disaster-recovery"];
    words.extend(named.iter().flat_map(|set| ["--set", set.as_str()]));
    let id = up.json(&words)["run"].as_str().expect("a run's id").to_owned();
    let ended = up.ended(&id).await;
    assert_eq!(ended["state"], "completed", "{ended}");
    let states = |step: &str| {
        let works = ended["work"].as_array().into_iter().flatten().filter(|work| work["step"] == step);
        works.map(|work| work["state"].clone()).collect::<Vec<Value>>()
    };
    for step in ["database", "cache", "objects", "application", "ready", "workloads", "services", "restored-database", "answers"] {
        assert_eq!(states(step), [json!("succeeded")], "{step}: {ended}");
    }
    for step in ["space", "settings", "application-from-repository"] {
        assert_eq!(states(step), [json!("omitted")], "{step}: {ended}");
    }
    assert!(ended.to_string().contains("no connection is named for it"), "what is left out says why: {ended}");
    is_there_again(&postgres, &login, &files, &after).await;
    assert_eq!(asked(&address).await.expect("an answer"), PAGE);
    says_what_was_lost(&up, &id, &ended);
}

async fn is_there_again(postgres: &Postgres, login: &Login, files: &Files, space: &Space<'_>) {
    assert_eq!(postgres.sql_as(login, "orders_new", "SELECT count(*) FROM orders").await.as_deref(), Ok("500"));
    // Whoever runs servers has to come by there.
    made("chmod", &["711", &files.0.path().display().to_string()]);
    let server = Redis::start_on(PASSWORD, Path::new(&files.path("cache-new"))).await;
    assert_eq!(server.command(&["DBSIZE"]).await.as_deref(), Ok(KEYS.to_string().as_str()));
    assert_eq!(server.command(&["GET", "key:7"]).await.as_deref(), Ok("value 7"));
    let page = space.json(&["get", "configmap", "page"]).expect("the page");
    assert_eq!(page["data"]["index.html"].as_str().map(str::trim), Some(PAGE));
    let web = space.json(&["get", "deployment", "web"]).expect("the application");
    assert_eq!(web["status"]["readyReplicas"], 1, "{web}");
}

/// RTO and RPO, as numbers and in the head of the report.
fn says_what_was_lost(up: &Up, id: &str, ended: &Value) {
    let number = |name: &str| ended["recovered"][name].as_u64().unwrap_or_else(|| panic!("{name} is no number: {ended}"));
    let (rto, rpo) = (number("rtoMs"), number("rpoMs"));
    assert!(rto > 0 && rto < MOST_MS && rpo < MOST_MS, "{ended}");
    assert_eq!(ended["tookMs"].as_u64(), Some(rto), "from the start until all was well");
    let ages = ended["work"].as_array().into_iter().flatten().filter_map(|work| {
        let outputs = &work["attempts"].as_array()?.last()?["outcome"]["report"]["outputs"];
        outputs["rpoSeconds"].as_f64()
    });
    let ages: Vec<u64> = ages.map(|seconds| (seconds * 1_000.0) as u64).collect();
    assert_eq!((ages.len(), ages.iter().max().copied()), (3, Some(rpo)), "the oldest of what was restored: {ended}");
    let report = String::from_utf8_lossy(&up.cli(&["run", "show", id]).stdout).into_owned();
    let head = report.lines().next().unwrap_or_default();
    assert!(head.contains(" · RTO ") && head.contains(" · RPO "), "{report}");
}
