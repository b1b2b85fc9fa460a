//! The bundled plan `blue-green`, with charts, in a real cluster.

use std::fs;
use std::path::Path;

use mainstay_tests::kubernetes::{Cluster, Space};
use mainstay_tests::up::{Options, Up};
use mainstay_tests::wait::PATIENCE;
use serde_json::json;

use super::agents::{MANIFEST, Replica, acts, kubeconfig, runner};

const RIGHTS: &str = "{apiGroups: [\"\"], resources: [secrets, configmaps], verbs: [get, list, watch, create, update, patch, delete]}, \
     {apiGroups: [coordination.k8s.io], resources: [leases], verbs: [get, create, patch]}, \
     {apiGroups: [apps], resources: [deployments, replicasets, statefulsets], verbs: [get, list, watch, create, patch, update, delete]}, \
     {apiGroups: [\"\"], resources: [services], verbs: [get, patch]}, {apiGroups: [\"\"], resources: [pods], verbs: [get, list, watch]}, \
     {apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [list]}, \
     {apiGroups: [\"\"], resources: [pods/log], verbs: [get]}, {apiGroups: [batch], resources: [jobs], verbs: [get, list, create, delete]}";

fn chart(folder: &Path) {
    let at = folder.join("web");
    fs::create_dir_all(at.join("templates")).expect("a folder");
    let write = |name: &str, text: &str| fs::write(at.join(name), text).expect("a file");
    write("Chart.yaml", "apiVersion: v2\nname: web\nversion: 1.2.3\nappVersion: \"1\"\n");
    write("values.yaml", "replicaCount: 2\nimage: {tag: \"1\"}\n");
    write(
        "templates/web.yaml",
        "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: {{ .Release.Name }}\n  labels: {app.kubernetes.io/instance: {{ .Release.Name }}}\nspec:\n  \
         replicas: {{ .Values.replicaCount }}\n  selector: {matchLabels: {app: web, app.kubernetes.io/instance: {{ .Release.Name }}}}\n  \
         template:\n    metadata: {labels: {app: web, app.kubernetes.io/instance: {{ .Release.Name }}}}\n    spec:\n      containers:\n        - name: web\n          \
         image: mainstay.test/nginx:{{ .Values.image.tag | default \"1\" }}\n          lifecycle: {preStop: {sleep: {seconds: 3}}}\n          \
         readinessProbe: {httpGet: {port: 80}, periodSeconds: 1}\n",
    );
}

struct Stage<'s> {
    up: Up,
    _replica: Replica,
    space: &'s Space<'s>,
    address: String,
}

impl<'s> Stage<'s> {
    async fn new(cluster: &Cluster, space: &'s Space<'s>) -> Stage<'s> {
        let up = Up::start(Options { coordinators: 1, agents: 1, ..Options::default() }).await;
        cluster.apply(MANIFEST);
        let kubeconfig = kubeconfig(cluster, &up, "mainstay", "mainstay-cluster-agent");
        let charts = up.scratch().join("charts");
        chart(&charts);
        let (helm, charts) = (cluster.program("helm").display().to_string(), charts.display().to_string());
        let more = ["--helm", &helm, "--helm-charts", &charts];
        let replica = Replica::start_told(&up, "prod", "r1", &kubeconfig, "[policy]\nallow = [\"*\"]\n", &more);
        acts(&up, "r1").await;
        runner(space, RIGHTS);
        for service in ["web", "web-admin", "web-preview"] {
            space.apply(&format!(
                "{{apiVersion: v1, kind: Service, metadata: {{name: {service}}}, spec: {{selector: {{app: web}}, ports: [{{port: 80}}]}}}}\n"
            ));
        }
        let address = space.until(PATIENCE, &["service", "web"], |service| service.pointer("/spec/clusterIP")?.as_str().map(str::to_owned)).await;
        Stage { up, _replica: replica, space, address }
    }

    fn starts(&self, more: &[&str]) -> String {
        let (namespace, url) = (format!("space={}", self.space.name()), format!("url=http://{}/", self.address));
        let usual =
            ["service=web", "also=[\"web-admin\"]", "preview=web-preview", "chart=web", "version=1.2.3", "within=60s", "watch=5s", &namespace, &url];
        let mut words = vec!["run", "start", "blue-green"];
        usual.iter().chain(more).for_each(|input| words.extend(["--set", input]));
        self.up.json(&words)["run"].as_str().expect("a run").to_owned()
    }

    fn live(&self) -> String {
        self.leads("web")
    }

    fn leads(&self, service: &str) -> String {
        let service = self.space.json(&["get", "service", service]).expect("it");
        service.pointer("/spec/selector").and_then(|selector| selector["app.kubernetes.io/instance"].as_str()).unwrap_or_default().to_owned()
    }

    /// Pods that a release is to have; nothing where it is not there.
    fn replicas(&self, release: &str) -> Option<i64> {
        self.space.json(&["get", "deployment", release]).ok()?.pointer("/spec/replicas")?.as_i64()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_comes_beside_the_one_that_is_live_and_is_kept_or_taken_back() {
    let cluster = Cluster::shared();
    let space = cluster.space("blue-green");
    let stage = Stage::new(cluster, &space).await;

    // The first time nothing is live.
    let ended = stage.up.ended(&stage.starts(&["replicas=2", "keepFor=0s"])).await;
    assert_eq!((&ended["state"], &ended["verdict"]), (&json!("completed"), &json!("ok")), "{ended}");
    assert_eq!((stage.live().as_str(), stage.replicas("web-blue"), stage.replicas("web-green")), ("web-blue", Some(2), None));

    // The next one has as many pods as what is live, is tried by a Job, and what was live loses its pods.
    let ended = stage
        .up
        .ended(&stage.starts(&["keepFor=1s", "smokeImage=mainstay.test/busybox:1", "smoke=[\"sh\", \"-c\", \"echo $RELEASE is well\"]"]))
        .await;
    assert_eq!((&ended["state"], &ended["verdict"]), (&json!("completed"), &json!("ok")), "{ended}");
    assert!(ended.to_string().contains("web-green is well"), "{ended}");
    assert_eq!((stage.live().as_str(), stage.replicas("web-blue"), stage.replicas("web-green")), ("web-green", Some(0), Some(2)));
    assert_eq!((stage.leads("web-admin").as_str(), stage.leads("web-preview").as_str()), ("web-green", "web-green"));

    // One that does not become ready is never live, and is taken back.
    let ended = stage.up.ended(&stage.starts(&["tag=none", "within=8s"])).await;
    assert_eq!(ended["state"], "failed", "{ended}");
    assert_eq!((stage.live().as_str(), stage.replicas("web-green")), ("web-green", Some(2)));

    // One that fails its smoke test neither.
    let ended = stage.up.ended(&stage.starts(&["smokeImage=mainstay.test/busybox:1", "smoke=[\"sh\", \"-c\", \"exit 3\"]"])).await;
    assert_eq!(ended["state"], "failed", "{ended}");
    assert_eq!((stage.live().as_str(), stage.leads("web-preview").as_str()), ("web-green", "web-green"), "{ended}");

    // One that is aborted while the other is kept leads back to it.
    let run = stage.starts(&["keepFor=10m"]);
    stage.up.work_is(&run, "keep", &["active"]).await;
    assert_eq!((stage.live().as_str(), stage.replicas("web-green")), ("web-blue", Some(2)));
    assert_eq!((stage.leads("web-admin").as_str(), stage.leads("web-preview").as_str()), ("web-blue", "web-blue"));
    let aborted = stage.up.cli(&["run", "abort", &run, "--reason", "not that one"]);
    assert!(aborted.status.success(), "{}", String::from_utf8_lossy(&aborted.stderr));
    let ended = stage.up.ended(&run).await;
    assert_eq!((&ended["state"], stage.live().as_str(), stage.replicas("web-green")), (&json!("aborted"), "web-green", Some(2)), "{ended}");
    assert_eq!(stage.leads("web-admin"), "web-green", "all of them, or none");

    // A preview shows its steps.
    let namespace = format!("space={}", space.name());
    let preview = stage.up.json(&[
        "plan",
        "preview",
        "blue-green",
        "--set",
        &namespace,
        "--set",
        "service=web",
        "--set",
        "chart=web",
        "--set",
        "version=1.2.3",
        "--set",
        "url=http://10.0.0.1/",
    ]);
    assert!(["kube.live", "helm.upgrade", "kube.switch", "kube.watch"].iter().all(|kind| preview.to_string().contains(kind)), "{preview}");
}
