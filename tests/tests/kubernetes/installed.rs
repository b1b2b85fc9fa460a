//! The mesh as the chart installs it, in a cluster, and the CLI in one of its pods.

use std::process::Command;
use std::time::Duration;

use mainstay_tests::kubernetes::{Cluster, Space};
use mainstay_tests::up::binaries;
use mainstay_tests::wait::eventually_or;
use serde_json::Value;

use crate::chart::chart;

pub const IMAGE: &str = "mainstay.test/mainstay:dev";
const PROGRAMS: [&str; 3] = ["mainstay", "mainstay-agent", "mainstay-coordinator"];
/// For anything that pods have to start for.
const PATIENCE: Duration = Duration::from_secs(300);

/// The programs without their symbols, a shell for the pod that holds a lease, and helm with a chart, as docs/clusters.md
/// puts it into the agents' image.
pub fn image(cluster: &Cluster) {
    let scratch = tempfile::tempdir().expect("a directory");
    let mut sources = vec!["/bin/busybox:/bin/sh".to_owned(), "/bin/busybox:/bin/sleep".to_owned()];
    for program in PROGRAMS {
        let small = scratch.path().join(program);
        let stripped = Command::new("strip").arg("-o").arg(&small).arg(binaries().join(program)).status().expect("strip runs");
        assert!(stripped.success(), "{program}");
        sources.push(format!("{}:/usr/bin/{program}", small.display()));
    }
    let chart = scratch.path().join("charts/notes");
    std::fs::create_dir_all(chart.join("templates")).expect("a folder");
    std::fs::write(chart.join("Chart.yaml"), "apiVersion: v2\nname: notes\nversion: 1.2.3\n").expect("a file");
    let object = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ .Release.Name }}}\ndata: {text: {{ .Values.text | quote }}}\n";
    std::fs::write(chart.join("templates/notes.yaml"), object).expect("a file");
    sources.push(format!("{}:/charts", scratch.path().join("charts").display()));
    sources.push(format!("{}:/usr/bin/helm", cluster.program("helm").display()));
    cluster.load_files(IMAGE, "/usr/bin/mainstay", &sources);
}

/// One release of the chart.
pub struct Home<'a> {
    pub cluster: &'a Cluster,
    pub space: &'a Space<'a>,
    /// Whether it has those of the cluster: one release in it does.
    pub custom_resources: bool,
    /// Further values, as JSON.
    pub values: &'a [&'a str],
}

impl Home<'_> {
    pub fn helm(&self, words: &[&str]) -> String {
        let mut helm = Command::new(self.cluster.program("helm"));
        helm.args(words).args(["--namespace", self.space.name(), "--kubeconfig"]).arg(self.cluster.kubeconfig());
        let output = helm.output().expect("helm runs");
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "helm {words:?}: {said}\n{}", self.look());
        said
    }

    /// Installs or upgrades, and waits until all of it is ready.
    pub fn put(&self, verb: &str, note: &str) -> String {
        let note = [
            format!("coordinator.podAnnotations.note={note}"),
            format!("clusterAgent.podAnnotations.note={note}"),
            format!("nodeAgent.podAnnotations.note={note}"),
        ];
        let (repository, tag) = IMAGE.split_once(':').expect("a tag");
        let (repository, tag) = (format!("image.repository={repository}"), format!("image.tag={tag}"));
        let mut words = vec![verb, "mainstay"];
        let chart = chart();
        words.push(&chart);
        words.extend(["--wait", "--timeout", "300s", "--set", "coordinator.storage.size=1Gi", "--set", "mesh.name=prod"]);
        words.extend(["--set", &repository, "--set", &tag]);
        if !self.custom_resources {
            words.extend(["--set", "customResources.enabled=false"]);
        }
        for value in self.values {
            words.extend(["--set-json", value]);
        }
        for note in &note {
            words.extend(["--set", note]);
        }
        self.helm(&words)
    }

    /// For a message of failure.
    pub fn look(&self) -> String {
        let logs = ["coordinator", "cluster-agent", "node-agent", "hands", "installer"].map(|component| {
            let selector = format!("app.kubernetes.io/component={component}");
            self.space.kubectl(&["logs", "--prefix", "--tail=12", "-l", &selector]).unwrap_or_else(|error| error)
        });
        let pods = self.space.kubectl(&["get", "pods,pvc,events", "-o", "wide"]).unwrap_or_else(|error| error);
        format!("{pods}\n{}", logs.join("\n"))
    }

    /// The CLI in a coordinator's pod.
    pub fn cli(&self, words: &[&str]) -> Result<String, String> {
        self.space.exec("mainstay-coordinator-0", &[&["mainstay"], words].concat())
    }

    pub fn json(&self, words: &[&str]) -> Result<Value, String> {
        let said = self.cli(&[words, &["-o", "json"]].concat())?;
        serde_json::from_str(&said).map_err(|error| format!("{error}: {said}"))
    }

    pub async fn until<T>(&self, what: &str, look: impl Fn() -> Result<T, String>) -> T {
        eventually_or(PATIENCE, what, || std::future::ready(look()), || self.look()).await
    }

    /// Three members vote, one leads, and the agents of both nodes and of the cluster are linked, one of which acts.
    pub async fn whole(&self) {
        self.until("the mesh is whole", || {
            let status = self.json(&["status"])?;
            let members = status["members"].as_array().cloned().unwrap_or_default();
            let voters = members.iter().filter(|member| member["role"] == "voter" && member["reachable"] != false).count();
            let leads = members.iter().filter(|member| member["leader"] == true).count();
            let nodes = self.json(&["node", "list"])?;
            let all = nodes["nodes"].as_array().cloned().unwrap_or_default();
            let up: Vec<&str> = all.iter().filter(|node| node["link"] == "up").filter_map(|node| node["name"].as_str()).collect();
            let wanted = ["agent/mainstay-cluster-agent-0", "agent/mainstay-cluster-agent-1", "n1", "n2"];
            let acts = all.iter().any(|node| node["acts"] == true && node["link"] == "up");
            let is_whole =
                members.len() == 3 && voters == 3 && leads == 1 && acts && all.len() == wanted.len() && wanted.iter().all(|name| up.contains(name));
            if is_whole { Ok(()) } else { Err(format!("{status}\n{nodes}")) }
        })
        .await;
    }

    /// Asked for again where no leader answers in time.
    pub async fn start(&self, plan: &str, inputs: &[&str]) -> String {
        let set: Vec<&str> = inputs.iter().flat_map(|input| ["--set", input]).collect();
        let words = [&["run", "start", plan], &set[..]].concat();
        let started = self.until(&format!("a run of {plan} is started"), || self.json(&words)).await;
        started["run"].as_str().expect("a run").to_owned()
    }

    /// Waits until a run has ended, as it may.
    pub async fn ended(&self, run: &str) -> Value {
        self.until(&format!("run {run} ends"), || {
            let shown = self.json(&["run", "show", run])?;
            if matches!(shown["state"].as_str(), Some("completed" | "failed" | "aborted")) { Ok(shown) } else { Err(shown.to_string()) }
        })
        .await
    }

    pub async fn completed(&self, run: &str) -> Value {
        self.until(&format!("run {run} completes"), || {
            let shown = self.json(&["run", "show", run])?;
            if shown["state"] == "completed" { Ok(shown) } else { Err(shown.to_string()) }
        })
        .await
    }
}
