//! A cluster with an application in two colours, a mesh whose agent acts there, and what is done with both.

use std::net::SocketAddr;
use std::process::{Command, Stdio};

use mainstay_tests::kubernetes::steady::{Asked, Sort, Steady};
use mainstay_tests::kubernetes::{Cluster, Replica, kubeconfig};
use mainstay_tests::{Options, Up, eventually};
use serde_json::Value;

const RIGHTS: &str = "{apiGroups: [apps], resources: [deployments, statefulsets], verbs: [get, list, patch]}, \
     {apiGroups: [\"\"], resources: [services], verbs: [get, patch]}, {apiGroups: [\"\"], resources: [pods], verbs: [list]}, \
     {apiGroups: [policy], resources: [poddisruptionbudgets], verbs: [list]}, \
     {apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [list]}";

pub struct Stage {
    cluster: Cluster,
    pub up: Up,
    /// Ends with the stage.
    _agent: Replica,
    pub address: SocketAddr,
}

/// Answers of one colour's pods on new connections.
pub fn by(asked: &[Asked], colour: &str) -> usize {
    let prefix = format!("web-{colour}-");
    asked.iter().filter(|one| one.sort == Sort::New && one.answer.as_ref().is_ok_and(|body| body.starts_with(&prefix))).count()
}

impl Stage {
    pub async fn start() -> Stage {
        let cluster = Cluster::start(0);
        let up = Up::start(Options { agents: 1, ..Options::default() }).await;
        cluster.apply(include_str!("../../../deploy/kubernetes/cluster-agent.yaml"));
        let account = kubeconfig(&cluster, &up, "mainstay", "mainstay-cluster-agent");
        let policy = up.scratch().join("policy.toml");
        std::fs::write(&policy, "[policy]\nallow = [\"*\"]\n").expect("the policy");
        let agent = Replica::start_told(&up, "prod", "r1", &account, &["--policy-file", &policy.display().to_string()]);
        cluster.apply(&format!(
            "{{apiVersion: v1, kind: ServiceAccount, metadata: {{name: mainstay-runner, namespace: default}}}}\n---\n\
             {{apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {{name: mainstay-runner, namespace: default}}, rules: [{RIGHTS}]}}\n---\n\
             {{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {{name: mainstay-runner, namespace: default}}, \
             roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: mainstay-runner}}, \
             subjects: [{{kind: ServiceAccount, name: mainstay-runner, namespace: default}}]}}\n"
        ));
        for colour in ["blue", "green"] {
            cluster.apply(&format!(
                "{{apiVersion: apps/v1, kind: Deployment, metadata: {{name: web-{colour}, namespace: default}}, spec: {{replicas: 2, \
                 selector: {{matchLabels: {{app: web, colour: {colour}}}}}, template: {{metadata: {{labels: {{app: web, colour: {colour}}}}}, spec: {{\
                 containers: [{{name: web, image: \"mainstay.test/nginx:1\", env: [{{name: VERSION, value: one}}], lifecycle: {{preStop: {{exec: {{command: [sh, -c, \"sleep 4; nginx -s quit; sleep 2\"]}}}}}}, \
                 readinessProbe: {{httpGet: {{port: 80}}, periodSeconds: 1}}}}]}}}}}}}}\n"
            ));
        }
        for colour in ["blue", "green"] {
            let name = format!("deployment/web-{colour}");
            cluster.kubectl(&["wait", "-n", "default", &name, "--for=condition=Available", "--timeout=180s"]).expect("its pods are ready");
        }
        cluster.apply(
            "{apiVersion: v1, kind: Service, metadata: {name: web, namespace: default}, spec: {selector: {app: web, colour: blue}, ports: [{port: 80}]}}\n",
        );
        let service = cluster.json(&["get", "service", "-n", "default", "web"]).expect("the Service");
        let address = service.pointer("/spec/clusterIP").and_then(Value::as_str).and_then(|ip| ip.parse().ok()).expect("its address");
        let stage = Stage { cluster, up, _agent: agent, address: SocketAddr::new(address, 80) };
        stage.is_answered_by("blue").await;
        stage
    }

    /// What clients were answered while something was done.
    pub async fn asked(&self, done: impl AsyncFnOnce()) -> Vec<Asked> {
        let steady = Steady::of(self.address);
        let few = || {
            let count = steady.asked().len();
            std::future::ready(if count > 100 { Ok(()) } else { Err(count.to_string()) })
        };
        eventually("clients are answered", few).await;
        done().await;
        let until = steady.asked().len() + 100;
        let more = || {
            let count = steady.asked().len();
            std::future::ready(if count > until { Ok(()) } else { Err(count.to_string()) })
        };
        eventually("clients are answered afterwards", more).await;
        steady.end().await
    }

    pub fn starts(&self, name: &str, steps: &str) -> String {
        let head = format!("apiVersion: mainstay.dev/v1alpha1\nkind: MaintenancePlan\nmetadata: {{name: {name}}}\nspec:\n  steps:\n");
        self.up.start_run(name, &format!("{head}{steps}"))
    }

    pub async fn completes(&self, name: &str, steps: &str) {
        let ended = self.up.ended(&self.starts(name, steps)).await;
        assert_eq!(ended["state"], "completed", "{ended}");
    }

    pub fn rollout(&self, version: &str) -> String {
        format!(
            "    - {{name: roll, uses: kube.rollout, with: {{namespace: default, name: web-blue, env: {{web: {{VERSION: {version}}}}}, within: 3m}}}}\n"
        )
    }

    /// Reads what is live, and leads the Service to the other.
    pub fn switch(&self) -> String {
        "    - {name: live, uses: kube.live, with: {namespace: default, names: [web], label: colour, of: [blue, green]}}\n    \
         - {name: switch, uses: kube.switch, needs: [live], with: {namespace: default, names: [web], label: colour, from: \"${{ steps.live.outputs.live }}\", \
         to: \"${{ steps.live.outputs.next }}\", seen: \"${{ steps.live.outputs.seen }}\"}}\n"
            .to_owned()
    }

    pub fn watch(&self, window: &str) -> String {
        format!(
            "    - {{name: watch, uses: kube.watch, needs: [switch], with: {{namespace: default, for: {window}, \
             gates: [{{http: {{url: \"http://{}/\", contains: web-}}, every: 1s, failures: 2}}]}}}}\n",
            self.address
        )
    }

    pub async fn rollout_by_hand(&self, version: &str) {
        let variable = format!("VERSION={version}");
        self.by_hand(&["set", "env", "-n", "default", "deployment/web-green", &variable]).await;
        self.by_hand(&["rollout", "status", "-n", "default", "deployment/web-green", "--timeout=180s"]).await;
    }

    pub async fn switch_by_hand(&self) {
        self.by_hand(&["patch", "service", "-n", "default", "web", "-p", "{\"spec\":{\"selector\":{\"colour\":\"blue\"}}}"]).await;
        self.is_answered_by("blue").await;
    }

    /// Beside the clients, which go on asking.
    async fn by_hand(&self, words: &[&str]) {
        let mut kubectl = Command::new(self.cluster.program("kubectl"));
        kubectl.arg("--kubeconfig").arg(self.cluster.kubeconfig()).args(words).stdout(Stdio::null());
        let ended = tokio::task::spawn_blocking(move || kubectl.status()).await.expect("kubectl is waited for").expect("kubectl runs");
        assert!(ended.success(), "{words:?}");
    }

    pub async fn leads_to_blue_again(&self) {
        self.by_hand(&["patch", "service", "-n", "default", "web", "-p", "{\"spec\":{\"selector\":{\"colour\":\"blue\"}}}"]).await;
        self.is_answered_by("blue").await;
    }

    async fn is_answered_by(&self, colour: &str) {
        eventually(&format!("only {colour} answers"), || async {
            let steady = Steady::of(self.address);
            tokio::time::sleep(std::time::Duration::from_millis(500)).await;
            let asked = steady.end().await;
            let (own, all) = (by(&asked, colour), asked.iter().filter(|one| one.sort == Sort::New).count());
            if own == all && all > 10 { Ok(()) } else { Err(format!("{own} of {all}")) }
        })
        .await;
    }

    /// All of green's pods answer with nothing.
    pub fn break_green(&self) {
        self.in_green("> /tmp/index.html");
    }

    /// Its pods end as they do, and others take their place.
    pub async fn ends_green(&self) {
        self.by_hand(&["rollout", "restart", "-n", "default", "deployment/web-green"]).await;
        self.by_hand(&["rollout", "status", "-n", "default", "deployment/web-green", "--timeout=180s"]).await;
    }

    pub fn mend_green(&self) {
        self.in_green("hostname > /tmp/index.html");
    }

    fn in_green(&self, command: &str) {
        let pods = self.cluster.json(&["get", "pods", "-n", "default", "-l", "colour=green"]).expect("its pods");
        let alive = pods["items"].as_array().into_iter().flatten().filter(|pod| pod.pointer("/metadata/deletionTimestamp").is_none());
        for name in alive.filter_map(|pod| pod.pointer("/metadata/name")?.as_str()) {
            self.cluster.kubectl(&["exec", "-n", "default", name, "--", "sh", "-c", command]).expect("it is done");
        }
    }
}
