//! The objects of a namespace as a backup: read with the rights that its owner gives, restored by kubectl into another namespace,
//! and by the mesh into a third one, and what they were.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use mainstay_tests::eventually;
use mainstay_tests::kubernetes::{Cluster, Space};
use mainstay_tests::up::{Options, Up};
use mainstay_tests::wait::PATIENCE;
use serde_json::{Value, json};

use super::agents::{MANIFEST, Replica, acts, kubeconfig};

const RUNNER: &str = include_str!("../../../deploy/kubernetes/runner.yaml");
const POLICY: &str = "[policy]\nallow = [\"backup.run\", \"recovery.drill\", \"backup.restore\"]\n";

/// A plan that does one thing to one connection.
fn plan(name: &str, uses: &str) -> String {
    format!(
        "apiVersion: mainstay.dev/v1alpha1\nkind: MaintenancePlan\nmetadata: {{ name: {name} }}\nspec:\n  inputs:\n    \
         connection: {{ type: text, default: objects, description: What is backed up }}\n  steps:\n    \
         - {{ name: run, uses: {uses}, with: {{ connection: \"${{{{ inputs.connection }}}}\" }} }}\n"
    )
}

/// A plan that puts them back.
const PUT: &str = "apiVersion: mainstay.dev/v1alpha1\nkind: MaintenancePlan\nmetadata: { name: put }\nspec:\n  inputs:\n    \
     into: { type: text, default: new, description: Where }\n    only: { type: list, default: [], description: Which }\n  steps:\n    \
     - name: put\n      uses: backup.restore\n      with: { connection: \"${{ inputs.into }}\", backup: prod/objects, only: \"${{ inputs.only }}\" }\n";

/// What is in the namespace: a Deployment that becomes ready only with all that it needs, and one of each other kind.
const OBJECTS: &str = r#"
apiVersion: v1
kind: ServiceAccount
metadata: {name: web}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: web}
rules: [{apiGroups: [""], resources: [configmaps], verbs: [get]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: web}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: web}
subjects: [{kind: ServiceAccount, name: web, namespace: NAMESPACE}]
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, labels: {app: web}, annotations: {team: shop}}
data: {text: "a line\nand ü another, with \u007f and --- in it\n---\n"}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: cache-1}
data: {text: left out}
---
apiVersion: v1
kind: Secret
metadata: {name: password}
stringData: {password: not-for-anybody-else}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {type: NodePort, selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: headless}
spec: {clusterIP: None, selector: {app: web}, ports: [{port: 80}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      serviceAccountName: web
      terminationGracePeriodSeconds: 0
      containers: [{name: app, image: "mainstay.test/busybox:1", volumeMounts: [{name: settings, mountPath: /settings}]}]
      volumes: [{name: settings, configMap: {name: settings}}]
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: night}
spec:
  schedule: "0 2 * * *"
  jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: main, image: "mainstay.test/busybox:1"}]}}}}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: web}
spec: {maxUnavailable: 1, selector: {matchLabels: {app: web}}}
"#;

/// Of these nothing may differ.
const COMPARED: [(&str, &str); 10] = [
    ("serviceaccount", "web"),
    ("role", "web"),
    ("rolebinding", "web"),
    ("configmap", "settings"),
    ("persistentvolumeclaim", "data"),
    ("service", "web"),
    ("service", "headless"),
    ("deployment", "web"),
    ("cronjob", "night"),
    ("poddisruptionbudget", "web"),
];

struct Stage<'c> {
    cluster: &'c Cluster,
    space: Space<'c>,
    copy: Space<'c>,
    /// Into this one the mesh puts them.
    new: Space<'c>,
    up: Up,
    _replica: Replica,
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().expect("it is installed: tests/packages");
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

impl<'c> Stage<'c> {
    async fn start(cluster: &'c Cluster) -> Stage<'c> {
        let (space, copy, new) = (cluster.space("export"), cluster.space("export-copy"), cluster.space("export-new"));
        let up = Up::start(Options { coordinators: 1, agents: 1, ..Options::default() }).await;
        let path = |name: &str| up.scratch().join(name).display().to_string();
        fs::create_dir(path("store")).expect("a directory");
        run("age-keygen", &["-o", &path("drill.txt")]);
        run("openssl", &["genpkey", "-algorithm", "ed25519", "-outform", "DER", "-out", &path("sign.der")]);
        let objects = |name: &str, more: &str| format!("[connections.{name}]\nkind = \"kubernetes\"\n{more}\n");
        let own = format!("namespaces = [\"{}\"]", space.name());
        let declared = [
            objects("objects", &format!("{own}\nexclude = [\"ConfigMap/cache-*\"]")),
            objects("secrets", &format!("{own}\nsecrets = true")),
            objects("new", &format!("namespaces = [\"{}\"]", new.name())),
            objects("nowhere", "namespaces = [\"no-such-place\"]"),
            objects("odd", &format!("{own}\nkinds = [\"shop.example/v1/Shop\"]")),
            objects("nothing", &format!("{own}\nlabelSelector = \"app=nobody\"")),
            format!(
                "[connections.backups]\nkind = \"store\"\nurl = \"file://{}\"\ndrill = [\"{}\"]\nsign = {{ file = \"{}\" }}\nidentity = {{ file = \"{}\" }}\n",
                path("store"),
                run("age-keygen", &["-y", &path("drill.txt")]),
                path("sign.der"),
                path("drill.txt"),
            ),
        ];
        fs::write(path("connections.toml"), declared.concat()).expect("the connections' file");
        cluster.apply(MANIFEST);
        cluster.apply(RUNNER);
        let kubeconfig = kubeconfig(cluster, &up, "mainstay", "mainstay-cluster-agent");
        let replica = Replica::start_told(&up, "prod", "r1", &kubeconfig, POLICY, &["--connections", &path("connections.toml")]);
        space.apply(&OBJECTS.replace("NAMESPACE", space.name()));
        acts(&up, "r1").await;
        for (name, uses) in [("export", "backup.run"), ("drill", "recovery.drill")] {
            up.apply(name, &plan(name, uses));
        }
        up.apply("put", PUT);
        Stage { cluster, space, copy, new, up, _replica: replica }
    }

    /// How a run ended, and all that it said.
    async fn run(&self, plan: &str, connection: &str) -> (String, String) {
        self.run_with(plan, &[&format!("connection={connection}")]).await
    }

    async fn run_with(&self, plan: &str, inputs: &[&str]) -> (String, String) {
        let mut words = vec!["run", "start", plan];
        words.extend(inputs.iter().flat_map(|set| ["--set", *set]));
        let id = self.up.json(&words)["run"].as_str().expect("a run's id").to_owned();
        let ended = self.up.ended(&id).await;
        (ended["state"].as_str().unwrap_or_default().to_owned(), ended.to_string())
    }

    /// Puts the objects back by the mesh; what it said.
    async fn put(&self, inputs: &[&str]) -> String {
        let (state, said) = self.run_with("put", inputs).await;
        assert_eq!(state, "completed", "{said}");
        said
    }

    async fn puts_nothing(&self, inputs: &[&str], words: &[&str]) {
        let (state, said) = self.run_with("put", inputs).await;
        assert_eq!(state, "failed", "{said}");
        for word in words {
            assert!(said.contains(word), "{word}: {said}");
        }
    }

    async fn fails(&self, connection: &str, words: &[&str]) {
        let (state, said) = self.run("export", connection).await;
        assert_eq!(state, "failed", "{said}");
        for word in words {
            assert!(said.contains(word), "{word}: {said}");
        }
        assert_eq!(self.backups(connection), Vec::<PathBuf>::new(), "none of it counts");
    }

    /// The directories of a connection's backups that count.
    fn backups(&self, connection: &str) -> Vec<PathBuf> {
        let of = self.up.scratch().join("store/prod").join(connection);
        let all = fs::read_dir(of).into_iter().flatten().flatten().map(|entry| entry.path());
        all.filter(|dir| dir.join("receipt.json").is_file()).collect()
    }

    async fn backup(&self, connection: &str) -> PathBuf {
        let (state, said) = self.run("export", connection).await;
        assert_eq!(state, "completed", "{said}");
        self.backups(connection).pop().expect("a backup that counts")
    }

    /// Binds a role to the namespace's runner, and waits until it counts: it may list these then.
    async fn gives(&self, role: &str, resource: &str) {
        gives(&self.space, role, ("list", resource)).await;
    }

    /// Restores a backup into a directory; the file with the objects.
    fn restored(&self, backup: &Path, to: &str, more: &[&str]) -> PathBuf {
        let scratch = self.up.scratch();
        let path = |name: &str| scratch.join(name).display().to_string();
        let id = backup.strip_prefix(scratch.join("store")).expect("in the store").display().to_string();
        let (store, key, to) = (path("store"), path("drill.txt"), path(to));
        let words = [&["backup", "restore", &id, "--store", &store, "--identity", &key, "--to", &to], more].concat();
        let output = self.up.cli(&words);
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        Path::new(&to).join("objects.json")
    }

    /// An object without what a cluster gives it, and without the name of its namespace.
    fn plain(&self, namespace: &str, (kind, name): (&str, &str)) -> Value {
        let mut object = self.cluster.json(&["--namespace", namespace, "get", kind, name]).expect("it is there");
        object.as_object_mut().expect("an object").remove("status");
        let mut annotations = object["metadata"]["annotations"].clone();
        for given in ["kubectl.kubernetes.io/last-applied-configuration", "deployment.kubernetes.io/revision"] {
            annotations.as_object_mut().and_then(|all| all.remove(given));
        }
        if let Some(all) = annotations.as_object_mut() {
            all.retain(|name, _| !name.starts_with("mainstay.dev/"));
        }
        let annotations = if annotations == json!({}) { Value::Null } else { annotations };
        object["metadata"] = json!({ "name": name, "labels": object["metadata"]["labels"], "annotations": annotations });
        if kind == "service" && name != "headless" {
            for given in ["clusterIP", "clusterIPs"] {
                object["spec"].as_object_mut().and_then(|spec| spec.remove(given)).expect("an address");
            }
            for port in object["spec"]["ports"].as_array_mut().into_iter().flatten() {
                port.as_object_mut().and_then(|port| port.remove("nodePort")).expect("a port of the nodes");
            }
        }
        serde_json::from_str(&object.to_string().replace(namespace, "NAMESPACE")).expect("JSON")
    }
}

/// Binds a role to the runner of a namespace, and waits until it counts.
async fn gives(space: &Space<'_>, role: &str, (verb, resource): (&str, &str)) {
    let account = format!("{}:mainstay-runner", space.name());
    space.kubectl(&["create", "rolebinding", role, "--clusterrole", role, "--serviceaccount", &account]).expect("a binding");
    let who = format!("--as=system:serviceaccount:{account}");
    let may = || std::future::ready(space.kubectl(&["auth", "can-i", verb, resource, &who]).map(drop));
    eventually(&format!("the runner may {verb} {resource}"), may).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_objects_of_a_namespace_are_exported_as_its_runner_and_restored_into_another_one() {
    let stage = Stage::start(Cluster::shared()).await;
    what_is_lacking_is_said_and_nothing_is_written(&stage).await;
    stage.space.kubectl(&["create", "serviceaccount", "mainstay-runner"]).expect("an account");
    stage.gives("mainstay-runner-export", "poddisruptionbudgets.policy").await;
    let backup = without_secrets(&stage).await;
    each_is_what_it_was_elsewhere(&stage, &backup);
    kubectl_takes_it_without_mainstay(&stage, &backup);
    the_mesh_lacks_rights_and_touches_nothing(&stage).await;
    what_cannot_be_made_leaves_nothing(&stage).await;
    the_mesh_puts_each_back(&stage).await;
    what_is_there_already_stays_what_it_is(&stage).await;
    with_secrets(&stage).await;
    what_cannot_be_meant_is_refused(&stage).await;
}

async fn what_is_lacking_is_said_and_nothing_is_written(stage: &Stage<'_>) {
    let name = stage.space.name();
    let lacks =
        format!("ServiceAccount {name}/mainstay-runner, which does not exist, lacks the right to list configmaps, cronjobs.batch, daemonsets.apps");
    let preview = stage.up.json(&["plan", "preview", "export"]).to_string();
    assert!(preview.contains(&lacks), "{preview}");
    stage.fails("objects", &[&lacks, "mainstay-runner-export"]).await;
}

async fn without_secrets(stage: &Stage<'_>) -> PathBuf {
    let backup = stage.backup("objects").await;
    let manifest: Value = serde_json::from_slice(&fs::read(backup.join("manifest.json")).expect("a manifest")).expect("JSON");
    let source = &manifest["manifest"]["source"];
    assert_eq!(source["kind"], "kube.export");
    let expected = json!({
        "ConfigMap": 1, "CronJob.batch": 1, "Deployment.apps": 1, "PersistentVolumeClaim": 1, "PodDisruptionBudget.policy": 1,
        "Role.rbac.authorization.k8s.io": 1, "RoleBinding.rbac.authorization.k8s.io": 2, "Service": 2, "ServiceAccount": 2,
    });
    assert_eq!(source["counted"], json!({ "leftOut": { "excluded": 1, "given": 2 }, "objects": { (stage.space.name()): expected } }));
    let (state, said) = stage.run("drill", "objects").await;
    assert!(state == "completed" && said.contains("12 objects of 1 namespaces"), "{state}: {said}");
    backup
}

fn each_is_what_it_was_elsewhere(stage: &Stage<'_>, backup: &Path) {
    let (from, to) = (stage.space.name(), stage.copy.name());
    let file = stage.restored(backup, "restored", &["--namespace", to]);
    let text = fs::read_to_string(&file).expect("the objects");
    assert!(!text.contains("not-for-anybody-else") && !text.contains("\"Secret\"") && !text.contains(&format!("\"{from}\"")), "{text}");
    stage.cluster.kubectl(&["apply", "-f", &file.display().to_string()]).expect("all of them are made");
    for which in COMPARED {
        assert_eq!(stage.plain(to, which), stage.plain(from, which), "{which:?}");
    }
    let subject = stage.copy.json(&["get", "rolebinding", "web"]).expect("it is there")["subjects"][0].clone();
    assert_eq!(subject["namespace"], to);
    stage.copy.kubectl(&["get", "secret", "password"]).expect_err("no Secret was asked for");
    stage.copy.wait("deployment/web", "condition=Available");

    let some = stage.restored(backup, "some", &["--only", "ConfigMap/*", "--only", "Deployment", "--label", "app=web"]);
    let some = fs::read_to_string(some).expect("the objects");
    assert!(some.lines().count() == 1 && some.contains("\"settings\"") && some.contains(from), "{some}");
}

/// As docs/backup-format.md says.
fn kubectl_takes_it_without_mainstay(stage: &Stage<'_>, backup: &Path) {
    let (key, part) = (stage.up.scratch().join("drill.txt"), backup.join("objects.zst.age"));
    let script = "age -d -i \"$1\" -o \"$5\" \"$(dirname \"$2\")/../key-1.age\" && \
                  age -d -i \"$5\" \"$2\" | zstd -dc | \"$3\" --kubeconfig \"$4\" apply --dry-run=server -o name -f -";
    let (kubectl, settings) = (stage.cluster.program("kubectl"), stage.cluster.kubeconfig());
    let targets = stage.up.scratch().join("target.key");
    let paths = [&key, &part, &kubectl, &settings, &targets].map(|path| path.display().to_string());
    let words = [&["-o", "pipefail", "-c", script, "open"][..], &paths.each_ref().map(String::as_str)].concat();
    let applied = run("bash", &words);
    assert_eq!(applied.lines().count(), 12, "{applied}");
}

async fn the_mesh_lacks_rights_and_touches_nothing(stage: &Stage<'_>) {
    let name = stage.new.name();
    let lacks = format!(
        "ServiceAccount {name}/mainstay-runner, which does not exist, lacks the right to get, create, patch, delete configmaps, cronjobs.batch, deployments.apps"
    );
    let preview = stage.up.json(&["plan", "preview", "put"]).to_string();
    assert!(preview.contains(&lacks), "{preview}");
    stage.puts_nothing(&[], &[&lacks, "nothing was touched", "mainstay-runner-import"]).await;
    stage.new.kubectl(&["create", "serviceaccount", "mainstay-runner"]).expect("an account");
    gives(&stage.new, "mainstay-runner-import", ("create", "poddisruptionbudgets.policy")).await;
    let preview = stage.up.json(&["plan", "preview", "put"]).to_string();
    assert!(preview.contains(&format!("would be restored into namespace {name}: 10 objects")), "{preview}");
    stage.new.kubectl(&["get", "configmap", "settings"]).expect_err("a preview makes nothing");
}

/// A second Service is one too many, which no trial of each by itself finds.
async fn what_cannot_be_made_leaves_nothing(stage: &Stage<'_>) {
    stage.new.apply("{apiVersion: v1, kind: ResourceQuota, metadata: {name: few}, spec: {hard: {count/services: \"1\"}}}\n");
    let counts = |quota: &Value| quota["status"]["hard"].is_object().then_some(());
    stage.new.until(PATIENCE, &["resourcequota", "few"], counts).await;
    let name = stage.new.name();
    let which = format!("{name}/Service/web, number 7 of 10, was not made");
    stage.puts_nothing(&[], &[&which, "exceeded quota", "what was made, 6 objects, is gone again"]).await;
    for (kind, name) in COMPARED {
        stage.new.kubectl(&["get", kind, name]).expect_err("it is gone again");
    }
    stage.new.kubectl(&["delete", "resourcequota", "few"]).expect("it goes");
}

async fn the_mesh_puts_each_back(stage: &Stage<'_>) {
    let (from, to) = (stage.space.name(), stage.new.name());
    let said = stage.put(&[]).await;
    assert!(said.contains(&format!("10 objects in namespace {to}")) && said.contains(&format!("{to}/ServiceAccount/mainstay-runner")), "{said}");
    for which in COMPARED {
        assert_eq!(stage.plain(to, which), stage.plain(from, which), "{which:?}");
    }
    let subject = stage.new.json(&["get", "rolebinding", "web"]).expect("it is there")["subjects"][0].clone();
    assert_eq!(subject["namespace"], to);
    stage.new.wait("deployment/web", "condition=Available");
    let made = stage.new.json(&["get", "configmap", "settings"]).expect("it is there");
    assert!(made["metadata"]["annotations"]["mainstay.dev/restored"].as_str().is_some_and(|of| of.starts_with("prod/objects/")), "{made}");
    // They are known again; what has gone since is made anew, and nothing else.
    assert!(stage.put(&[]).await.contains("an earlier try has restored it"));
    stage.new.kubectl(&["delete", "poddisruptionbudget", "web"]).expect("it goes");
    assert!(stage.put(&[]).await.contains("9 of them were there already"));
    assert_eq!(stage.plain(to, ("poddisruptionbudget", "web")), stage.plain(from, ("poddisruptionbudget", "web")));
    let again = stage.new.json(&["get", "configmap", "settings"]).expect("it is there");
    assert_eq!(again["metadata"]["uid"], made["metadata"]["uid"]);
}

async fn what_is_there_already_stays_what_it_is(stage: &Stage<'_>) {
    stage.new.kubectl(&["delete", "configmap", "settings"]).expect("it goes");
    stage.new.kubectl(&["create", "configmap", "settings", "--from-literal", "text=somebody's"]).expect("another one");
    stage.new.kubectl(&["delete", "cronjob", "night"]).expect("it goes");
    let words = format!("one of its objects is there already, and nothing was touched: {}/ConfigMap/settings", stage.new.name());
    let preview = stage.up.json(&["plan", "preview", "put"]).to_string();
    assert!(preview.contains(&words), "{preview}");
    stage.puts_nothing(&[], &[&words]).await;
    assert_eq!(stage.new.json(&["get", "configmap", "settings"]).expect("it is there")["data"]["text"], "somebody's");
    stage.new.kubectl(&["get", "cronjob", "night"]).expect_err("nothing was touched");
    stage.put(&["only=[\"CronJob\"]"]).await;
    stage.new.kubectl(&["get", "cronjob", "night"]).expect("it is made anew");
    stage.puts_nothing(&["into=objects"], &["name it twice:  overwrite: objects"]).await;
}

async fn with_secrets(stage: &Stage<'_>) {
    let name = stage.space.name();
    stage.fails("secrets", &[&format!("ServiceAccount {name}/mainstay-runner lacks the right to list secrets in {name}; the roles of")]).await;
    stage.gives("mainstay-runner-export-secrets", "secrets").await;
    let backup = stage.backup("secrets").await;
    let file = stage.restored(&backup, "with-secrets", &["--namespace", stage.copy.name(), "--only", "Secret"]);
    stage.cluster.kubectl(&["apply", "-f", &file.display().to_string()]).expect("it is made");
    assert_eq!(stage.plain(stage.copy.name(), ("secret", "password")), stage.plain(name, ("secret", "password")));
}

async fn what_cannot_be_meant_is_refused(stage: &Stage<'_>) {
    stage.fails("nowhere", &["there is no namespace no-such-place in the cluster: see `namespaces` at "]).await;
    stage.fails("odd", &["the cluster knows no shop.example/v1: see `kinds` at "]).await;
    stage.fails("nothing", &["there is nothing of these kinds in", "allowEmpty = true"]).await;
}
