//! Backups that workers make: pods in the namespace of what is backed up, with its client programs and an account of their own.
//! The cluster agent has neither the database's password nor the client programs.

use std::fs;
use std::process::Command;
use std::time::Duration;

use mainstay_tests::kubernetes::{Cluster, Space};
use mainstay_tests::servers::{Login, Postgres, Relay, S3};
use mainstay_tests::up::{Options, Up, binaries};
use mainstay_tests::{eventually, eventually_within};
use serde_json::{Value, json};

use super::agents::{MANIFEST, Replica, acts, kubeconfig};

const RUNNER: &str = include_str!("../../../deploy/kubernetes/runner.yaml");
const POLICY: &str = "[policy]\nallow = [\"backup.run\"]\n";
const IMAGE: &str = "mainstay.test/worker:dev";
const PASSWORD: &str = "canary-Wk4rPs-word";
const ACCESS: &str = "worker";
const SECRET: &str = "canary-Ws3kEy-word";
const POSTGRES: &str = "/usr/lib/postgresql";
const CLIENTS: [&str; 3] = ["pg_dump", "pg_dumpall", "psql"];
const PATIENCE: Duration = Duration::from_secs(90);
const ROWS: &str =
    "CREATE TABLE orders (id integer PRIMARY KEY, what text); INSERT INTO orders SELECT n, repeat(md5(n::text), 30) FROM generate_series(1, 20000) n";
const PLAN: &str = "apiVersion: mainstay.dev/v1alpha1\nkind: MaintenancePlan\nmetadata: { name: worker }\nspec:\n  inputs:\n    \
    connection: { type: text, description: What is backed up }\n    limit: { type: text, default: 1Gi, description: Bytes a second }\n  steps:\n    \
    - { name: run, uses: backup.run, with: { connection: \"${{ inputs.connection }}\", limit: \"${{ inputs.limit }}\" } }\n";

fn made(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().expect("it is installed: tests/packages");
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// The command line and the client programs of the newest PostgreSQL that is here.
fn image(cluster: &Cluster) {
    let scratch = tempfile::tempdir().expect("a directory");
    let small = scratch.path().join("mainstay").display().to_string();
    made("strip", &["-o", &small, &binaries().join("mainstay").display().to_string()]);
    let versions = fs::read_dir(POSTGRES).expect("PostgreSQL is installed: tests/packages").flatten();
    let newest = versions.max_by_key(|entry| entry.file_name().to_string_lossy().parse::<u32>().unwrap_or_default()).expect("a version").path();
    // pg_dumpall calls pg_dump by a shell.
    let mut sources = vec![format!("{small}:/usr/bin/mainstay"), "/bin/busybox:/bin/sh".to_owned()];
    sources.extend(CLIENTS.iter().map(|client| newest.join("bin").join(client).display().to_string()));
    cluster.load_files(IMAGE, "/usr/bin/mainstay", &sources);
}

struct Stage<'c> {
    space: Space<'c>,
    up: Up,
    postgres: Postgres,
    login: Login,
    s3: S3,
    _relays: [Relay; 2],
    _replica: Replica,
}

impl<'c> Stage<'c> {
    async fn start(cluster: &'c Cluster) -> Stage<'c> {
        image(cluster);
        let (space, machine) = (cluster.space("workers"), cluster.machine());
        let login = Login::new("app", PASSWORD);
        let postgres = Postgres::start(&login).await;
        postgres.sql_as(&login, "orders", ROWS).await.expect("rows");
        let s3 = S3::start_named(&["127.0.0.1", &machine]).await;
        s3.bucket("backups").await;
        let relays = [Relay::start(&machine, postgres.port).await, Relay::start(&machine, s3.port).await];
        let up = Up::start(Options { coordinators: 1, agents: 1, ..Options::default() }).await;
        let path = |name: &str| up.scratch().join(name).display().to_string();
        fs::write(path("ca.pem"), &s3.root).expect("a file");
        fs::write(path("secret"), SECRET).expect("a file");
        made("age-keygen", &["-o", &path("key.txt")]);
        made("openssl", &["genpkey", "-algorithm", "ed25519", "-outform", "DER", "-out", &path("sign.der")]);
        let worker =
            |image: &str, more: &str| format!("worker = {{ namespace = \"{}\", image = \"{image}\", secret = \"worker\"{more} }}\n", space.name());
        let database = |name: &str, worker: &str| {
            let port = relays[0].port;
            format!("[connections.{name}]\nkind = \"postgres\"\nurl = \"postgres://app@{machine}:{port}/orders\"\ntls = \"off\"\n{worker}\n")
        };
        let declared = [
            database("orders-db", &worker(IMAGE, "")),
            database("no-image", &worker("mainstay.test/no-such:1", "")),
            database("no-account", &worker(IMAGE, ", serviceAccount = \"nobody\"")),
            format!("[connections.data]\nkind = \"files\"\nurl = \"file:///data\"\n{}\n", worker(IMAGE, ", claim = \"data\", user = 0")),
            format!(
                "[connections.backups]\nkind = \"store\"\nurl = \"s3://backups/prod\"\nendpoint = \"https://{machine}:{}\"\nusername = \"{}\"\n\
                 password = {{ file = \"{}\" }}\nca = \"{}\"\nbreakGlass = [\"{}\"]\nsign = {{ file = \"{}\" }}\n",
                relays[1].port,
                ACCESS,
                path("secret"),
                path("ca.pem"),
                made("age-keygen", &["-y", &path("key.txt")]),
                path("sign.der"),
            ),
        ];
        fs::write(path("connections.toml"), declared.concat()).expect("the connections' file");
        cluster.apply(MANIFEST);
        cluster.apply(RUNNER);
        let kubeconfig = kubeconfig(cluster, &up, "mainstay", "mainstay-cluster-agent");
        let replica = Replica::start_told(&up, "prod", "r1", &kubeconfig, POLICY, &["--connections", &path("connections.toml")]);
        let secret = |password: &str| {
            json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "worker" }, "stringData": {
                "PGPASSWORD": password, "AWS_ACCESS_KEY_ID": ACCESS, "AWS_SECRET_ACCESS_KEY": SECRET } })
        };
        space.apply(&secret(PASSWORD).to_string());
        acts(&up, "r1").await;
        up.apply("worker", PLAN);
        Stage { space, up, postgres, login, s3, _relays: relays, _replica: replica }
    }

    fn begin(&self, connection: &str, more: &[&str]) -> String {
        let set = format!("connection={connection}");
        let words = [&["run", "start", "worker", "--set", &set], more].concat();
        self.up.json(&words)["run"].as_str().expect("a run's id").to_owned()
    }

    async fn run(&self, connection: &str) -> Value {
        let id = self.begin(connection, &[]);
        self.up.ended(&id).await
    }

    async fn fails(&self, connection: &str, words: &[&str]) {
        let ended = self.run(connection).await;
        assert_eq!(ended["state"], "failed", "{ended}");
        for word in words {
            assert!(ended.to_string().contains(word), "{word}: {ended}");
        }
        assert_eq!(self.jobs(), Vec::<String>::new(), "nothing of it goes on");
    }

    /// Jobs that have not ended.
    fn jobs(&self) -> Vec<String> {
        let all = self.space.json(&["get", "jobs"]).expect("Jobs");
        let open = all["items"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|job| job["status"]["active"].as_u64().is_some() || job["status"].get("conditions").is_none());
        open.map(|job| job["metadata"]["name"].to_string()).collect()
    }

    /// The command line, which knows nothing of a mesh, at the same bucket.
    fn backup(&self, words: &[&str]) -> (bool, String) {
        let ca = self.up.scratch().join("ca.pem").display().to_string();
        let endpoint = format!("https://127.0.0.1:{}", self.s3.port);
        let mut command = Command::new(binaries().join("mainstay"));
        command.arg("backup").args(words).args(["--store", "s3://backups/prod", "--endpoint", &endpoint, "--ca", &ca]);
        command.env("AWS_ACCESS_KEY_ID", ACCESS).env("AWS_SECRET_ACCESS_KEY", SECRET).env("PGPASSWORD", PASSWORD);
        let output = command.output().expect("it runs");
        (output.status.success(), format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)))
    }
}

fn output<'v>(ended: &'v Value, name: &str) -> Option<&'v Value> {
    ended["work"][0]["attempts"].as_array()?.last()?["outcome"]["report"]["outputs"].get(name)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_backs_up_what_its_agent_has_no_password_for() {
    let cluster = Cluster::shared();
    let stage = Stage::start(cluster).await;
    let Stage { space, up, postgres, login, .. } = &stage;

    stage.fails("orders-db", &["mainstay-runner lacks the right to", "create jobs", "the role mainstay-runner"]).await;
    space.kubectl(&["create", "serviceaccount", "mainstay-runner"]).expect("an account");
    let account = format!("{}:mainstay-runner", space.name());
    space.kubectl(&["create", "rolebinding", "runner", "--clusterrole", "mainstay-runner", "--serviceaccount", &account]).expect("a binding");
    let who = format!("--as=system:serviceaccount:{account}");
    eventually("the runner may make Jobs", || std::future::ready(space.kubectl(&["auth", "can-i", "create", "jobs.batch", &who]).map(drop))).await;
    stage.fails("orders-db", &["there is no ServiceAccount", "mainstay-worker for the worker"]).await;
    space.kubectl(&["create", "serviceaccount", "mainstay-worker"]).expect("an account");
    stage.fails("no-account", &["nobody for the worker"]).await;
    stage.fails("no-image", &["its worker", "does not begin", "its image cannot be had"]).await;

    let ended = stage.run("orders-db").await;
    assert_eq!(ended["state"], "completed", "{ended}");
    assert_eq!((output(&ended, "counts"), output(&ended, "counted")), (Some(&json!(true)), Some(&json!(1))), "{ended}");
    let id = output(&ended, "backup").and_then(Value::as_str).expect("a name").to_owned();
    assert!(!ended.to_string().contains(PASSWORD), "a password was told");
    let pods = space.json(&["get", "pods", "-l", "mainstay.dev/worker=backup"]).expect("pods");
    let pod = pods["items"].as_array().into_iter().flatten().find(|pod| pod["status"]["phase"] == "Succeeded").expect("its pod");
    assert_eq!(pod["spec"]["serviceAccountName"], "mainstay-worker");
    let mounts = pod["spec"]["containers"][0]["volumeMounts"].to_string();
    assert!(!mounts.contains("serviceaccount"), "it has a token: {mounts}");

    // It is one as any other: who has the offline key restores it.
    let (signer, key) = (up.scratch().join("sign.der").display().to_string(), up.scratch().join("key.txt").display().to_string());
    assert!(std::path::Path::new(&signer).is_file());
    let (good, said) = stage.backup(&["check", &id, "--identity", &key]);
    assert!(good, "{said}");
    postgres.sql(&format!("CREATE DATABASE restored OWNER {}", login.user)).await.expect("a database");
    let to = format!("postgres://{}@127.0.0.1:{}/restored", login.user, postgres.port);
    let (good, said) = stage.backup(&["restore", &id, "--identity", &key, "--to", &to]);
    assert!(good, "{said}");
    let count = "SELECT count(*) || ' ' || md5(string_agg(what, '' ORDER BY id)) FROM orders";
    let there = postgres.sql_as(login, "restored", count).await;
    assert_eq!(there, postgres.sql_as(login, "orders", count).await);
    assert!(there.is_ok_and(|there| there.starts_with("20000 ")));

    // Called off in the middle, nothing is left that goes on, and the next one makes void what was begun.
    let run = stage.begin("orders-db", &["--set", "limit=20Ki"]);
    eventually_within(PATIENCE, "its worker writes", || {
        let logs = space.kubectl(&["logs", "-l", "mainstay.dev/worker=backup", "--tail=50"]);
        std::future::ready(logs.and_then(|said| if said.contains("\"writing\"") { Ok(()) } else { Err(said) }))
    })
    .await;
    assert!(up.cli(&["run", "abort", &run, "--reason", "a test"]).status.success());
    let aborted = up.ended(&run).await;
    assert_eq!(aborted["state"], "aborted", "{aborted}");
    eventually("its Job is gone", || std::future::ready(if stage.jobs().is_empty() { Ok(()) } else { Err(stage.jobs().join(" ")) })).await;
    let (_, listed) = stage.backup(&["list"]);
    assert_eq!(listed.matches(&id).count(), 1, "{listed}");

    // A wrong password is the worker's to find, in PostgreSQL's own words.
    space.kubectl(&["patch", "secret", "worker", "-p", "{\"stringData\":{\"PGPASSWORD\":\"wrong\"}}"]).expect("another password");
    stage.fails("orders-db", &["password authentication failed"]).await;
    files_of_a_volume(cluster, &stage).await;
}

/// A volume that a pod of the namespace writes to.
async fn files_of_a_volume(cluster: &Cluster, stage: &Stage<'_>) {
    let space = &stage.space;
    let name = space.name();
    cluster.apply(&format!(
        "apiVersion: v1\nkind: PersistentVolume\nmetadata: {{name: {name}-data}}\nspec: {{capacity: {{storage: 1Gi}}, accessModes: [ReadWriteOnce], \
         persistentVolumeReclaimPolicy: Retain, storageClassName: \"\", hostPath: {{path: /tmp/{name}-data, type: DirectoryOrCreate}}, \
         claimRef: {{namespace: {name}, name: data}}}}\n"
    ));
    space.apply(
        "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: data}\n\
         spec: {accessModes: [ReadWriteOnce], storageClassName: \"\", resources: {requests: {storage: 1Gi}}}\n---\n\
         apiVersion: v1\nkind: Pod\nmetadata: {name: writer}\nspec: {nodeName: n1, terminationGracePeriodSeconds: 0, \
         containers: [{name: main, image: \"mainstay.test/busybox:1\", volumeMounts: [{name: data, mountPath: /data}]}], \
         volumes: [{name: data, persistentVolumeClaim: {claimName: data}}]}\n",
    );
    space.wait("pod/writer", "condition=Ready");
    space.exec("writer", &["sh", "-c", "echo 7 workers > /data/app.conf"]).expect("a file");
    let ended = stage.run("data").await;
    let removed = cluster.kubectl(&["delete", "pv", &format!("{name}-data"), "--wait=false"]);
    assert_eq!(ended["state"], "completed", "{ended}");
    assert!(removed.is_ok(), "{removed:?}");
    let id = output(&ended, "backup").and_then(Value::as_str).expect("a name").to_owned();
    let (key, to) = (stage.up.scratch().join("key.txt").display().to_string(), stage.up.scratch().join("restored"));
    let (good, said) = stage.backup(&["restore", &id, "--identity", &key, "--to", &to.display().to_string()]);
    assert!(good, "{said}");
    assert_eq!(fs::read_to_string(to.join("data/app.conf")).as_deref().ok(), Some("7 workers\n"));
}
