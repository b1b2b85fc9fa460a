//! Agents of a cluster and of its nodes, beside the mesh that a suite has started.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use rustix::process::Pid;
use serde_json::{Value, json};

use super::Cluster;
use crate::up::{Up, binaries};

/// One process of a cluster agent. Ends with the value.
pub struct Replica(Child);

impl Drop for Replica {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Replica {
    pub fn start(up: &Up, cluster: &str, id: &str, kubeconfig: &Path) -> Replica {
        Replica::start_told(up, cluster, id, kubeconfig, &[])
    }

    /// With further flags.
    pub fn start_told(up: &Up, cluster: &str, id: &str, kubeconfig: &Path, flags: &[&str]) -> Replica {
        let kubeconfig = kubeconfig.display().to_string();
        Replica::spawn(up, "--cluster-agents", cluster, &[&["--cluster-agent", id, "--kubeconfig", &kubeconfig], flags].concat())
    }

    /// The agent of a node, which looks at this machine.
    pub fn of_node(up: &Up, cluster: &str, node: &str) -> Replica {
        Replica::of_node_told(up, cluster, node, &[])
    }

    /// With further flags.
    pub fn of_node_told(up: &Up, cluster: &str, node: &str, flags: &[&str]) -> Replica {
        Replica::spawn(up, "--nodes", cluster, &[&["--node", node, "--host"], flags].concat())
    }

    fn spawn(up: &Up, enrols: &str, cluster: &str, identity: &[&str]) -> Replica {
        let token = up.cli(&["token", "create", enrols, cluster]);
        assert!(token.status.success(), "{}", String::from_utf8_lossy(&token.stderr));
        let dir = up.scratch().join(format!("{cluster}-{}", identity[1]));
        fs::create_dir_all(&dir).expect("a directory");
        let token_file = dir.join("token");
        fs::write(&token_file, token.stdout).expect("the token's file");
        let members = up.json(&["status"])["members"].clone();
        let address = |which: &str| members[0][which].as_str().expect("an address").to_owned();
        let log = File::create(dir.join("log")).expect("a log");
        let child = Command::new(binaries().join("mainstay-agent"))
            .args(["--cluster", cluster, "--http-listen", "none", "--die-with-parent"])
            .args(identity)
            .args(["--coordinators", &address("address"), "--enrol", &address("enrolAddress")])
            .arg("--dir")
            .arg(&dir)
            .arg("--join-token-file")
            .arg(&token_file)
            .stderr(log)
            .spawn()
            .expect("the agent starts");
        Replica(child)
    }

    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.0)
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
