//! Cluster agents as processes beside a real cluster, with the rights that the manifest gives them.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use mainstay_tests::eventually;
use mainstay_tests::kubernetes::{Cluster, Space};
use mainstay_tests::up::{Up, binaries};
use serde_json::{Value, json};

/// What gives a cluster's agents their rights.
pub const MANIFEST: &str = include_str!("../../../deploy/kubernetes/cluster-agent.yaml");

/// One process of a cluster agent. Ends with the value.
pub struct Replica {
    process: Child,
    again: Command,
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Replica {
    /// With the policy that an agent has by itself.
    pub fn start(up: &Up, cluster: &str, id: &str, kubeconfig: &Path) -> Replica {
        Replica::start_with(up, cluster, id, kubeconfig, "")
    }

    pub fn start_with(up: &Up, cluster: &str, id: &str, kubeconfig: &Path, policy: &str) -> Replica {
        Replica::start_told(up, cluster, id, kubeconfig, policy, &[])
    }

    /// With further flags.
    pub fn start_told(up: &Up, cluster: &str, id: &str, kubeconfig: &Path, policy: &str, flags: &[&str]) -> Replica {
        Replica::start_in(up, cluster, id, kubeconfig, policy, flags, &[])
    }

    /// With further flags, and variables of its environment whose values are paths.
    pub fn start_in(up: &Up, cluster: &str, id: &str, kubeconfig: &Path, policy: &str, flags: &[&str], paths: &[(&str, &Path)]) -> Replica {
        let token = up.cli(&["token", "create", "--cluster-agents", cluster]);
        assert!(token.status.success(), "{}", String::from_utf8_lossy(&token.stderr));
        let dir = up.scratch().join(format!("{cluster}-{id}"));
        fs::create_dir_all(&dir).expect("a directory");
        let (token_file, policy_file) = (dir.join("token"), dir.join("policy.toml"));
        fs::write(&token_file, token.stdout).expect("the token's file");
        fs::write(&policy_file, policy).expect("the policy's file");
        let members = up.json(&["status"])["members"].clone();
        let address = |which: &str| members[0][which].as_str().expect("an address").to_owned();
        let log = File::create(dir.join("log")).expect("a log");
        let mut command = Command::new(binaries().join("mainstay-agent"));
        command
            .args(["--cluster", cluster, "--cluster-agent", id, "--http-listen", "none", "--die-with-parent"])
            .args(["--coordinators", &address("address"), "--enrol", &address("enrolAddress")])
            .arg("--dir")
            .arg(&dir)
            .arg("--join-token-file")
            .arg(&token_file)
            .arg("--policy-file")
            .arg(&policy_file)
            .arg("--kubeconfig")
            .arg(kubeconfig)
            .args(flags)
            .envs(paths.iter().copied())
            .stderr(log);
        Replica { process: command.spawn().expect("the agent starts"), again: command }
    }

    /// It is gone without a word; what it has on its disk stays.
    pub fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// Kills it, and starts it again with what it has on its disk.
    pub fn again(mut self) -> Replica {
        self.kill();
        self.process = self.again.spawn().expect("the agent starts again");
        self
    }
}

/// The settings of a client that is this ServiceAccount.
pub fn kubeconfig(cluster: &Cluster, up: &Up, namespace: &str, account: &str) -> PathBuf {
    let token = cluster.kubectl(&["--namespace", namespace, "create", "token", account, "--duration", "1h"]).expect("a token");
    let settings = cluster.kubectl(&["config", "view", "--raw", "--flatten", "-o", "json"]).expect("settings");
    let mut settings: Value = serde_json::from_str(&settings).expect("JSON");
    settings["users"][0]["user"] = json!({ "token": token.trim() });
    let file = up.scratch().join(format!("{account}.kubeconfig"));
    fs::write(&file, settings.to_string()).expect("the settings' file");
    file
}

/// What is found in a cluster, as check and subject.
pub fn findings(up: &Up, cluster: &str) -> BTreeSet<(String, String)> {
    let target = format!("cluster:{cluster}");
    let all = up.json(&["finding", "list"]);
    let own = all["findings"].as_array().into_iter().flatten().filter(|finding| finding["target"] == target);
    let text = |finding: &Value, field: &str| finding[field].as_str().unwrap_or_default().to_owned();
    own.map(|finding| (text(finding, "check"), text(finding, "subject"))).collect()
}

pub async fn acts(up: &Up, id: &str) {
    eventually(&format!("{id} acts"), || async {
        let nodes = up.try_json(&["node", "list"])?;
        let acting = nodes["nodes"].as_array().into_iter().flatten().find(|node| node["acts"] == true && node["link"] == "up");
        if acting.is_some_and(|node| node["name"] == format!("agent/{id}")) { Ok(()) } else { Err(nodes.to_string()) }
    })
    .await;
}

/// Lets the runner of a namespace do this.
pub fn runner(space: &Space<'_>, rules: &str) {
    let name = space.name();
    space.apply(&format!(
        "{{apiVersion: v1, kind: ServiceAccount, metadata: {{name: mainstay-runner}}}}\n---\n\
         {{apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {{name: mainstay-runner}}, rules: [{rules}]}}\n---\n\
         {{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {{name: mainstay-runner}}, \
         roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: mainstay-runner}}, \
         subjects: [{{kind: ServiceAccount, name: mainstay-runner, namespace: {name}}}]}}\n"
    ));
}

/// A plan with these steps.
pub fn plan(name: &str, steps: &str) -> String {
    format!("apiVersion: mainstay.dev/v1alpha1\nkind: MaintenancePlan\nmetadata: {{name: {name}}}\nspec:\n  steps:\n{steps}")
}
