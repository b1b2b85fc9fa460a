//! Releases of Helm, by the helm program, in a real cluster: once, whoever dies in between, and back.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use base64::Engine as _;
use mainstay_tests::eventually;
use mainstay_tests::kubernetes::{Cluster, Space};
use mainstay_tests::servers::{Registry, free_port};
use mainstay_tests::up::{Options, Up};
use mainstay_tests::wait::{PATIENCE, eventually_within};
use serde_json::{Value, json};

use super::agents::{MANIFEST, Replica, acts, kubeconfig, plan, runner};

/// What the charts below need, and helm itself.
pub(super) const RIGHTS: &str = "{apiGroups: [\"\"], resources: [secrets, configmaps], verbs: [get, list, watch, create, update, patch, delete]}, \
     {apiGroups: [coordination.k8s.io], resources: [leases], verbs: [get, create, patch]}, \
     {apiGroups: [apps], resources: [deployments, replicasets], verbs: [get, list, watch, create, patch, update, delete]}, \
     {apiGroups: [\"\"], resources: [pods], verbs: [get, list, watch]}";

/// Where this suite's repository is; steps do not go there unless an agent is told so.
pub(super) const LOOPBACK: &str = "127.0.0.0/8";

/// A chart of small objects; and of a Deployment that becomes ready as late as a value says, where it says something.
pub(super) fn chart(folder: &Path) {
    let at = folder.join("web");
    fs::create_dir_all(at.join("templates")).expect("a folder");
    let write = |name: &str, text: &str| fs::write(at.join(name), text).expect("a file");
    write("Chart.yaml", "apiVersion: v2\nname: web\nversion: 1.2.3\nappVersion: \"7\"\n");
    write("values.yaml", "text: first\nseconds: 0\npassword: none\nimage: mainstay.test/busybox:1\n");
    write(
        "templates/objects.yaml",
        "{{ with .Values.refuse }}{{ fail . }}{{ end }}apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ .Release.Name }}\ndata:\n  text: {{ .Values.text | quote }}\n\
         ---\napiVersion: v1\nkind: Secret\nmetadata:\n  name: {{ .Release.Name }}\nstringData:\n  password: {{ .Values.password | quote }}\n\
         {{ if .Values.seconds }}---\napiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: {{ .Release.Name }}\nspec:\n  replicas: 1\n  selector: {matchLabels: {app: {{ .Release.Name }}}}\n  \
         template:\n    metadata:\n      labels: {app: {{ .Release.Name }}, app.kubernetes.io/instance: {{ .Release.Name }}}\n      annotations: {text: {{ .Values.text | quote }}}\n    \
         spec:\n      terminationGracePeriodSeconds: 0\n      containers:\n        - name: app\n          image: {{ .Values.image }}\n          \
         readinessProbe: {exec: {command: [\"true\"]}, initialDelaySeconds: {{ .Values.seconds }}, periodSeconds: 1}\n{{ end }}",
    );
}

/// A mesh whose cluster has one replica with helm and that chart.
struct Stage<'c> {
    cluster: &'c Cluster,
    up: Up,
    kubeconfig: PathBuf,
    charts: PathBuf,
}

/// Charts behind an address. Ends with the value.
struct Repository {
    url: String,
    server: Child,
}

impl Drop for Repository {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

impl<'c> Stage<'c> {
    async fn new(cluster: &'c Cluster) -> Stage<'c> {
        let up = Up::start(Options { coordinators: 1, agents: 1, ..Options::default() }).await;
        cluster.apply(MANIFEST);
        let kubeconfig = kubeconfig(cluster, &up, "mainstay", "mainstay-cluster-agent");
        let charts = up.scratch().join("charts");
        chart(&charts);
        Stage { cluster, up, kubeconfig, charts }
    }

    fn replica(&self, id: &str) -> Replica {
        let (helm, charts) = (self.cluster.program("helm").display().to_string(), self.charts.display().to_string());
        let more = ["--helm", &helm, "--helm-charts", &charts, "--allow-address", LOOPBACK];
        Replica::start_told(&self.up, "prod", id, &self.kubeconfig, "[policy]\nallow = [\"*\"]\n", &more)
    }

    /// That chart as an archive in a repository, the second of its versions with a text of its own.
    async fn repository(&self) -> Repository {
        let folder = self.up.scratch().join("repository");
        fs::create_dir_all(&folder).expect("a folder");
        let helm = |words: &[&str]| {
            let output = Command::new(self.cluster.program("helm")).args(words).env("HOME", self.up.scratch()).output().expect("helm runs");
            assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        };
        let (web, to) = (self.charts.join("web").display().to_string(), folder.display().to_string());
        for version in ["1.2.3", "2.0.0"] {
            helm(&["package", &web, "--version", version, "--destination", &to]);
        }
        helm(&["repo", "index", &to]);
        let port = free_port();
        let mut server = Command::new("python3");
        server.args(["-m", "http.server", "--bind", "127.0.0.1", "--directory", &to, &port.to_string()]).stdout(Stdio::null()).stderr(Stdio::null());
        let repository = Repository { url: format!("http://127.0.0.1:{port}"), server: server.spawn().expect("python3 runs") };
        eventually("the repository listens", || {
            let tried = std::net::TcpStream::connect(("127.0.0.1", port));
            std::future::ready(tried.map(|_| ()).map_err(|error| error.to_string()))
        })
        .await;
        repository
    }

    fn starts(&self, name: &str, steps: &str) -> String {
        self.up.start_run(name, &plan(name, steps))
    }

    async fn succeeds(&self, name: &str, steps: &str) -> Value {
        let ended = self.up.ended(&self.starts(name, steps)).await;
        assert_eq!((&ended["state"], &ended["verdict"]), (&json!("completed"), &json!("ok")), "{ended}");
        ended
    }

    async fn fails(&self, name: &str, steps: &str, part: &str) -> Value {
        let ended = self.up.ended(&self.starts(name, steps)).await;
        assert!(ended["state"] == "failed" && ended.to_string().contains(part), "{part}: {ended}");
        ended
    }

    fn helm(&self, space: &Space<'_>, words: &[&str]) -> Result<String, String> {
        let mut command = Command::new(self.cluster.program("helm"));
        command.arg("--kubeconfig").arg(self.cluster.kubeconfig()).args(["--namespace", space.name()]).args(words);
        let output = command.env("HOME", self.up.scratch()).output().expect("helm runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    /// Number and status of each revision.
    fn history(&self, space: &Space<'_>) -> Vec<(u64, String)> {
        let said = self.helm(space, &["history", "web", "-o", "json"]).unwrap_or_else(|_| "[]".to_owned());
        let said: Value = serde_json::from_str(&said).expect("JSON");
        let all = said.as_array().expect("a list").iter();
        all.map(|one| (one["revision"].as_u64().expect("a number"), one["status"].as_str().expect("a status").to_owned())).collect()
    }
}

fn revisions(list: &[(u64, &str)]) -> Vec<(u64, String)> {
    list.iter().map(|(number, status)| (*number, (*status).to_owned())).collect()
}

fn text_of(space: &Space<'_>) -> Option<String> {
    let map = space.json(&["get", "configmap", "web"]).ok()?;
    map["data"]["text"].as_str().map(str::to_owned)
}

fn upgrade(space: &Space<'_>, values: &str, more: &str) -> String {
    let name = space.name();
    format!(
        "    - {{name: upgrade, uses: helm.upgrade, retry: {{attempts: 1, backoff: 1s}}, with: {{namespace: {name}, release: web, chart: web, within: 60s, values: {{{values}}}{more}}}}}\n"
    )
}

/// A step that fails, so that what was done before it is taken back.
fn never(space: &Space<'_>, needs: &str, within: &str) -> String {
    let name = space.name();
    format!(
        "    - {{name: never, needs: [{needs}], uses: kube.wait, with: {{kind: ConfigMap, namespace: {name}, name: none, until: \"object != null\", within: {within}}}}}\n"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_is_installed_upgraded_brought_back_and_uninstalled_once_and_each_is_taken_back() {
    let cluster = Cluster::shared();
    let space = cluster.space("releases");
    let stage = Stage::new(cluster).await;
    let _replica = stage.replica("r1");
    acts(&stage.up, "r1").await;
    let name = space.name();

    // What the runner may not do is named before anything is done: for helm itself, then for what the chart has.
    space.apply("{apiVersion: v1, kind: ServiceAccount, metadata: {name: mainstay-runner}}\n");
    let ended = stage.fails("forbidden", &upgrade(&space, "", ""), "lacks the right to get secrets").await;
    assert!(ended.to_string().contains("patch leases of coordination.k8s.io"), "{ended}");
    let file = stage.up.scratch().join("previewed.yaml");
    fs::write(&file, plan("previewed", &upgrade(&space, "", ""))).expect("the plan's file");
    let preview = stage.up.json(&["plan", "preview", "-f", &file.display().to_string()]).to_string();
    assert!(
        preview.contains("create, delete, get, list, update secrets in") && preview.contains("--resource=leases.coordination.k8s.io"),
        "{preview}"
    );
    runner(&space, &RIGHTS.replace("watch, create, patch, update, delete", "watch"));
    stage.fails("half", &upgrade(&space, "seconds: 1", ""), &format!("create deployments of apps in {name}")).await;
    assert_eq!((stage.history(&space), text_of(&space)), (vec![], None), "nothing was done");
    runner(&space, RIGHTS);

    // A chart that does not render is refused in its own words, before anything is there.
    let ended = stage.fails("unrendered", &upgrade(&space, "refuse: no such size", ""), "no such size").await;
    assert!(ended.to_string().contains("helm.upgrade: helm upgrade: execution error at (web/templates/objects.yaml"), "{ended}");
    assert_eq!((stage.history(&space), text_of(&space)), (vec![], None), "nothing was done");

    // Installed, with a value of a Secret that is told nowhere.
    space.apply("{apiVersion: v1, kind: Secret, metadata: {name: web-values}, stringData: {values.yaml: \"password: hunter2-of-the-shop\\n\"}}\n");
    let ended = stage.succeeds("install", &upgrade(&space, "text: one", ", valuesFrom: [{secret: web-values}]")).await;
    assert!(ended.to_string().contains("revision 1, web-1.2.3: it was installed") && !ended.to_string().contains("hunter2"), "{ended}");
    let secret = space.json(&["get", "secret", "web"]).expect("it");
    assert_eq!((text_of(&space).as_deref(), &secret["data"]["password"]), (Some("one"), &json!("aHVudGVyMi1vZi10aGUtc2hvcA==")));
    stage.succeeds("upgrade", &upgrade(&space, "text: two", "")).await;
    assert_eq!((stage.history(&space), text_of(&space).as_deref()), (revisions(&[(1, "superseded"), (2, "deployed")]), Some("two")));

    // Taken back when a later step fails; not over somebody else.
    stage
        .fails(
            "back",
            &[upgrade(&space, "text: three", ""), never(&space, "upgrade", "1s")].concat(),
            "revision 4 has the content of revision 2 again",
        )
        .await;
    assert_eq!(text_of(&space).as_deref(), Some("two"));
    let run = stage.starts("meddled", &[upgrade(&space, "text: four", ""), never(&space, "upgrade", "8s")].concat());
    space
        .until(PATIENCE, &["secret", "sh.helm.release.v1.web.v5"], |secret| (secret["metadata"]["labels"]["status"] == "deployed").then_some(()))
        .await;
    let web = stage.charts.join("web").display().to_string();
    stage.helm(&space, &["upgrade", "web", &web, "--set", "text=somebody's"]).expect("somebody upgrades it");
    let ended = stage.up.ended(&run).await;
    assert!(ended.to_string().contains("somebody has changed it since: revision 6 is deployed, and the step left revision 5"), "{ended}");
    assert_eq!(text_of(&space).as_deref(), Some("somebody's"));

    // What does not come off, helm takes back by itself.
    let broken = upgrade(&space, "text: five, seconds: 1, image: \"mainstay.test/none:1\"", "").replace("within: 60s", "within: 25s");
    let ended = stage.fails("broken", &broken, "helm has brought it back to revision 6").await;
    // helm says only that its pods have not come.
    let why = format!("{name}/Deployment/web: the image mainstay.test/none:1 of app cannot be pulled");
    assert!(ended.to_string().contains("what was wrong with its pods last") && ended.to_string().contains(&why), "{ended}");
    assert_eq!(text_of(&space).as_deref(), Some("somebody's"));

    // Back to a revision, and that taken back.
    let rollback =
        |more: &str| format!("    - {{name: rollback, uses: helm.rollback, with: {{namespace: {name}, release: web, within: 60s{more}}}}}\n");
    stage.succeeds("rollback", &rollback(", revision: 1")).await;
    assert_eq!((text_of(&space).as_deref(), stage.history(&space).last()), (Some("one"), Some(&(9, "deployed".to_owned()))));
    stage
        .fails(
            "rollback-back",
            &[rollback(", revision: 2"), never(&space, "rollback", "1s")].concat(),
            "revision 11 has the content of revision 9 again",
        )
        .await;
    assert_eq!(text_of(&space).as_deref(), Some("one"));

    // Pending by somebody else: left alone, until somebody says that they have died.
    let mut somebody = Command::new(cluster.program("helm"));
    somebody.arg("--kubeconfig").arg(cluster.kubeconfig()).args(["-n", name, "upgrade", "web", &web, "--set", "text=lost,seconds=600", "--wait"]);
    let mut somebody = somebody.env("HOME", stage.up.scratch()).spawn().expect("somebody's helm");
    space.until(PATIENCE, &["secret", "sh.helm.release.v1.web.v12"], |secret| secret.pointer("/metadata/uid").map(|_| ())).await;
    somebody.kill().expect("it is killed");
    somebody.wait().expect("its end");
    assert_eq!(stage.history(&space).last(), Some(&(12, "pending-upgrade".to_owned())));
    stage.fails("pending", &upgrade(&space, "text: six", ""), "revision 12 is pending-upgrade since").await;
    stage.fails("pending-rollback", &rollback(""), "somebody else is at it").await;
    stage.succeeds("over-pending", &rollback(", overPending: true")).await;
    assert_eq!(text_of(&space).as_deref(), Some("one"));

    // Uninstalled, taken back from its history, and gone for good.
    let uninstall = |more: &str| format!("    - {{name: uninstall, uses: helm.uninstall, {more}}}\n");
    let with = |more: &str| format!("with: {{namespace: {name}, release: web, within: 60s{more}}}");
    stage.fails("uninstall-back", &[uninstall(&with("")), never(&space, "uninstall", "1s")].concat(), "again, after revision").await;
    assert_eq!(text_of(&space).as_deref(), Some("one"));
    stage.succeeds("uninstall", &uninstall(&format!("acceptIrreversible: true, {}", with(", keepHistory: false")))).await;
    assert_eq!((text_of(&space), stage.history(&space)), (None, vec![]));
    stage.succeeds("uninstall-again", &uninstall(&with(""))).await;

    // A first installation that is taken back leaves nothing.
    stage
        .fails("fresh", &[upgrade(&space, "text: seven", ""), never(&space, "upgrade", "1s")].concat(), "it is uninstalled: nothing of it is left")
        .await;
    assert_eq!((text_of(&space), stage.history(&space)), (None, vec![]));

    // From a repository, of the version that is named, and from the address of an archive.
    let repository = stage.repository().await;
    let from = |chart: &str| upgrade(&space, "text: far", "").replace("chart: web", chart);
    let named = from(&format!("chart: web, repository: \"{}\", version: 1.2.3", repository.url));
    let ended = stage.succeeds("from-repository", &named).await;
    assert!(ended.to_string().contains("revision 1, web-1.2.3: it was installed"), "{ended}");
    let ended = stage.succeeds("from-archive", &from(&format!("chart: \"{}/web-2.0.0.tgz\"", repository.url))).await;
    assert!(ended.to_string().contains("revision 2, web-2.0.0"), "{ended}");
    stage.fails("no-version", &named.replace("1.2.3", "9.9.9"), "9.9.9").await;
    assert_eq!(stage.history(&space).last(), Some(&(2, "deployed".to_owned())), "nothing was done");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_dies_while_helm_runs_takes_helm_along_and_the_next_try_goes_on() {
    let cluster = Cluster::shared();
    let space = cluster.space("helm-deaths");
    let stage = Stage::new(cluster).await;
    runner(&space, RIGHTS);
    let first = stage.replica("r1");
    acts(&stage.up, "r1").await;
    stage.succeeds("install", &upgrade(&space, "text: one", "")).await;

    // Amid an upgrade: the same replica comes back, and goes on.
    let slow = |text: &str| upgrade(&space, &format!("text: {text}, seconds: 6"), "").replace("attempts: 1", "attempts: 4");
    let run = stage.starts("amid", &slow("two"));
    let pending = |number: u32| {
        let secret = format!("sh.helm.release.v1.web.v{number}");
        let space = &space;
        async move {
            let is =
                |secret: &Value| secret["metadata"]["labels"]["status"].as_str().is_some_and(|status| status.starts_with("pending")).then_some(());
            space.until(PATIENCE, &["secret", &secret], is).await;
        }
    };
    pending(2).await;
    let first = first.again();
    let ended = stage.up.ended(&run).await;
    assert_eq!((&ended["state"], &ended["verdict"]), (&json!("completed"), &json!("ok")), "{ended}");
    assert!(ended.to_string().contains("after an attempt that had died over revision 2"), "{ended}");
    assert_eq!((stage.history(&space), text_of(&space).as_deref()), (revisions(&[(1, "superseded"), (2, "deployed")]), Some("two")));

    // Another replica takes over from one that does not come back.
    let _second = stage.replica("r2");
    let run = stage.starts("taken-over", &slow("three"));
    pending(3).await;
    drop(first);
    let gone = || std::future::ready(if lives("upgrade", space.name()) { Err("helm still runs".to_owned()) } else { Ok(()) });
    eventually_within(PATIENCE, "helm ends with its agent", gone).await;
    acts(&stage.up, "r2").await;
    let ended = stage.up.ended(&run).await;
    assert_eq!((&ended["state"], &ended["verdict"]), (&json!("completed"), &json!("ok")), "{ended}");
    assert_eq!(stage.history(&space), revisions(&[(1, "superseded"), (2, "superseded"), (3, "deployed")]), "{ended}");
    assert_eq!(text_of(&space).as_deref(), Some("three"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chart_comes_from_a_registry_that_wants_to_know_who_asks() {
    let cluster = Cluster::shared();
    let space = cluster.space("registry");
    let stage = Stage::new(cluster).await;
    runner(&space, RIGHTS);
    let registry = Registry::start().await;
    let (root, work) = (stage.up.scratch().join("registry-root.pem"), stage.up.scratch().join("pushed"));
    fs::write(&root, &registry.root).expect("a file");
    fs::create_dir_all(&work).expect("a folder");
    let place = format!("oci://127.0.0.1:{}/charts", registry.port);
    let helm = |words: &[&str]| {
        let output = Command::new(cluster.program("helm")).args(words).env("HOME", &work).env("SSL_CERT_FILE", &root).output().expect("helm runs");
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    helm(&["registry", "login", &format!("127.0.0.1:{}", registry.port), "--username", &registry.login.user, "--password", &registry.login.password]);
    for version in ["1.2.3", "2.0.0"] {
        let (web, to) = (stage.charts.join("web").display().to_string(), work.display().to_string());
        helm(&["package", &web, "--version", version, "--destination", &to]);
        helm(&["push", &work.join(format!("web-{version}.tgz")).display().to_string(), &place]);
    }
    let logins = work.join("logins.json");
    let written = base64::engine::general_purpose::STANDARD.encode(format!("{}:{}", registry.login.user, registry.login.password));
    fs::write(&logins, json!({"auths": {format!("127.0.0.1:{}", registry.port): {"auth": written}}}).to_string()).expect("a file");

    let program = cluster.program("helm").display().to_string();
    let usual = ["--helm", &program, "--allow-address", LOOPBACK];
    let policy = "[policy]\nallow = [\"*\"]\n";
    let from =
        |version: &str| upgrade(&space, "text: far", &format!(", version: {version}")).replace("chart: web", &format!("chart: \"{place}/web\""));
    // Who shows no login gets none, and whom the agent has no root of, it does not trust.
    let unknown = Replica::start_in(&stage.up, "prod", "r1", &stage.kubeconfig, policy, &usual, &[("SSL_CERT_FILE", root.as_path())]);
    acts(&stage.up, "r1").await;
    stage.fails("no-login", &from("1.2.3"), "basic credential not found").await;
    drop(unknown);
    let logins = logins.display().to_string();
    let told = [&usual[..], &["--helm-registry-config", &logins]].concat();
    let strange = Replica::start_in(&stage.up, "prod", "r2", &stage.kubeconfig, policy, &told, &[]);
    acts(&stage.up, "r2").await;
    stage.fails("no-root", &from("1.2.3"), "certificate signed by unknown authority").await;
    assert_eq!(stage.history(&space), vec![], "nothing was done");
    drop(strange);

    let _replica = Replica::start_in(&stage.up, "prod", "r3", &stage.kubeconfig, policy, &told, &[("SSL_CERT_FILE", root.as_path())]);
    acts(&stage.up, "r3").await;
    let ended = stage.succeeds("install", &from("1.2.3")).await;
    assert!(ended.to_string().contains("revision 1, web-1.2.3: it was installed"), "{ended}");
    stage.fails("back", &[from("2.0.0"), never(&space, "upgrade", "1s")].concat(), "revision 3 has the content of revision 1 again").await;
    stage.fails("no-version", &from("9.9.9"), "9.9.9").await;
    assert_eq!(text_of(&space).as_deref(), Some("far"));
}

/// Whether a helm does this to a release of this namespace.
fn lives(verb: &str, namespace: &str) -> bool {
    let processes = fs::read_dir("/proc").expect("processes").flatten();
    let lines = processes.filter_map(|entry| fs::read_to_string(entry.path().join("cmdline")).ok());
    let is_one = |line: String| {
        let words: Vec<&str> = line.split('\0').collect();
        words.first().is_some_and(|program| program.ends_with("/helm")) && words.contains(&verb) && words.contains(&namespace)
    };
    lines.into_iter().any(is_one)
}
