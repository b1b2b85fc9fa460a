//! The bundled plan `blue-green`, with a chart, in a real cluster: the stage on which [`super::traps`] and
//! [`super::phases`] try it.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use mainstay_tests::kubernetes::{Cluster, Space};
use mainstay_tests::up::{Options, Up};
use mainstay_tests::wait::PATIENCE;
use serde_json::{Value, json};

use super::agents::{MANIFEST, Replica, acts, kubeconfig, runner};

const RIGHTS: &str = "{apiGroups: [\"\"], resources: [secrets, configmaps], verbs: [get, list, watch, create, update, patch, delete]}, \
     {apiGroups: [coordination.k8s.io], resources: [leases], verbs: [get, create, patch]}, \
     {apiGroups: [apps], resources: [deployments, replicasets, statefulsets], verbs: [get, list, watch, create, patch, update, delete]}, \
     {apiGroups: [\"\"], resources: [services], verbs: [get, patch]}, {apiGroups: [\"\"], resources: [pods], verbs: [get, list, watch]}, \
     {apiGroups: [policy], resources: [poddisruptionbudgets], verbs: [list]}, \
     {apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [list]}, \
     {apiGroups: [\"\"], resources: [pods/log], verbs: [get]}, {apiGroups: [batch], resources: [jobs], verbs: [get, list, create, delete]}";

/// By which charts say of which release something is.
pub const INSTANCE: &str = "app.kubernetes.io/instance";

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

/// A replica with helm and the charts.
fn joined(cluster: &Cluster, up: &Up, id: &str) -> Replica {
    let kubeconfig = kubeconfig(cluster, up, "mainstay", "mainstay-cluster-agent");
    let (helm, charts) = (cluster.program("helm").display().to_string(), up.scratch().join("charts").display().to_string());
    Replica::start_told(up, "prod", id, &kubeconfig, "[policy]\nallow = [\"*\"]\n", &["--helm", &helm, "--helm-charts", &charts])
}

/// A mesh whose cluster has one replica with helm, and Services that lead to nothing yet.
pub struct Stage<'s> {
    cluster: &'s Cluster,
    pub up: Up,
    pub replica: Option<Replica>,
    pub space: &'s Space<'s>,
    pub address: SocketAddr,
}

impl<'s> Stage<'s> {
    pub async fn new(cluster: &'s Cluster, space: &'s Space<'s>) -> Stage<'s> {
        Stage::of_members(cluster, space, 1).await
    }

    /// One whose mesh has so many members.
    pub async fn of_members(cluster: &'s Cluster, space: &'s Space<'s>, coordinators: usize) -> Stage<'s> {
        let up = Up::start(Options { coordinators, agents: 1, ..Options::default() }).await;
        cluster.apply(MANIFEST);
        chart(&up.scratch().join("charts"));
        let replica = joined(cluster, &up, "r1");
        acts(&up, "r1").await;
        runner(space, RIGHTS);
        let services = ["web", "web-admin", "web-preview"].map(|service| {
            format!("{{apiVersion: v1, kind: Service, metadata: {{name: {service}}}, spec: {{selector: {{app: web}}, ports: [{{port: 80}}]}}}}\n")
        });
        space.apply(&services.join("---\n"));
        let address = space.until(PATIENCE, &["service", "web"], |service| service.pointer("/spec/clusterIP")?.as_str()?.parse().ok()).await;
        Stage { cluster, up, replica: Some(replica), space, address: SocketAddr::new(address, 80) }
    }

    /// A further replica.
    pub fn joined(&self, id: &str) -> Replica {
        joined(self.cluster, &self.up, id)
    }

    /// One whose blue is live already, made by hand and no release.
    pub async fn with_blue(cluster: &'s Cluster, space: &'s Space<'s>) -> Stage<'s> {
        // It comes while the mesh does.
        space.apply(&format!(
            "{{apiVersion: apps/v1, kind: Deployment, metadata: {{name: web-blue, labels: {{{INSTANCE}: web-blue}}}}, spec: {{replicas: 2, \
             selector: {{matchLabels: {{app: web, {INSTANCE}: web-blue}}}}, template: {{metadata: {{labels: {{app: web, {INSTANCE}: web-blue}}}}, spec: {{\
             containers: [{{name: web, image: \"mainstay.test/nginx:1\", lifecycle: {{preStop: {{sleep: {{seconds: 3}}}}}}, \
             readinessProbe: {{httpGet: {{port: 80}}, periodSeconds: 1}}}}]}}}}}}}}\n"
        ));
        let stage = Stage::new(cluster, space).await;
        for service in ["web", "web-admin", "web-preview"] {
            let led = json!({ "spec": { "selector": { INSTANCE: "web-blue" } } }).to_string();
            space.kubectl(&["patch", "service", service, "-p", &led]).expect("it leads to blue");
        }
        space.wait("deployment/web-blue", "condition=Available");
        stage
    }

    /// Inputs of the plan, of which those under `more` go before the usual ones.
    fn inputs(&self, more: &[&str]) -> Vec<String> {
        let (namespace, url) = (format!("space={}", self.space.name()), format!("url=http://{}/", self.address));
        let usual =
            ["service=web", "also=[\"web-admin\"]", "preview=web-preview", "chart=web", "version=1.2.3", "within=60s", "watch=3s", &namespace, &url];
        let name = |input: &str| input.split('=').next().unwrap_or_default().to_owned();
        let is_said = |input: &str| more.iter().any(|said| name(said) == name(input));
        let all = usual.into_iter().filter(|input| !is_said(input)).chain(more.iter().copied());
        all.flat_map(|input| ["--set".to_owned(), input.to_owned()]).collect()
    }

    /// A verb about the plan, with its inputs.
    pub fn words(&self, verb: &[&str], more: &[&str]) -> Vec<String> {
        let verb = verb.iter().map(|word| (*word).to_owned());
        verb.chain(["blue-green".to_owned()]).chain(self.inputs(more)).collect()
    }

    pub fn starts(&self, more: &[&str]) -> String {
        let words = self.words(&["run", "start"], more);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        self.up.json(&words)["run"].as_str().expect("a run").to_owned()
    }

    pub async fn completes(&self, more: &[&str]) -> Value {
        let ended = self.up.ended(&self.starts(more)).await;
        assert_eq!((&ended["state"], &ended["verdict"]), (&json!("completed"), &json!("ok")), "{ended}");
        ended
    }

    pub async fn fails(&self, more: &[&str]) -> Value {
        let ended = self.up.ended(&self.starts(more)).await;
        assert_eq!(ended["state"], "failed", "{ended}");
        ended
    }

    pub fn live(&self) -> String {
        self.leads("web")
    }

    pub fn leads(&self, service: &str) -> String {
        let service = self.space.json(&["get", "service", service]).expect("it");
        service.pointer("/spec/selector").and_then(|selector| selector[INSTANCE].as_str()).unwrap_or_default().to_owned()
    }

    /// Pods that a release is to have; nothing where it is not there.
    pub fn replicas(&self, release: &str) -> Option<i64> {
        self.space.json(&["get", "deployment", release]).ok()?.pointer("/spec/replicas")?.as_i64()
    }

    /// Name and UID of each pod of a release that is ready.
    pub fn ready(&self, release: &str) -> Vec<(String, String)> {
        let pods = self.space.json(&["get", "pods", "-l", &format!("{INSTANCE}={release}")]).expect("pods");
        let is_ready = |pod: &&Value| {
            let conditions = pod.pointer("/status/conditions").and_then(Value::as_array).into_iter().flatten();
            let mut ready = conditions.filter(|condition| condition["type"] == "Ready" && condition["status"] == "True");
            ready.next().is_some() && pod.pointer("/metadata/deletionTimestamp").is_none()
        };
        let text = |pod: &Value, field: &str| pod["metadata"][field].as_str().unwrap_or_default().to_owned();
        pods["items"].as_array().into_iter().flatten().filter(is_ready).map(|pod| (text(pod, "name"), text(pod, "uid"))).collect()
    }
}
