//! A further cluster: its agents by the chart, its mesh on a machine outside of it.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command};

use mainstay_tests::eventually;
use mainstay_tests::kubernetes::Cluster;
use mainstay_tests::servers::free_port;
use mainstay_tests::up::binaries;
use serde_json::Value;

use crate::installed::{Home, image};

/// A mesh of one member, laid out as docs/install.md has it. Ends with the value.
struct Outside<'d> {
    place: &'d Path,
    member: Child,
}

impl Drop for Outside<'_> {
    fn drop(&mut self) {
        let _ = self.member.kill();
        let _ = self.member.wait();
    }
}

impl<'d> Outside<'d> {
    fn start(place: &'d Path, address: &str, ports: (u16, u16)) -> Outside<'d> {
        let settings = place.join("coordinator.toml");
        let (grpc, enrol) = (format!("{address}:{}", ports.0), format!("{address}:{}", ports.1));
        let init = cli(place)
            .args(["init", "--name", "prod", "--advertise", &grpc, "--members", "1", "--operator", "ana", "--root-key"])
            .arg(place.join("root.pem"))
            .arg("--dir")
            .arg(place.join("state"))
            .arg("--config")
            .arg(&settings)
            .output()
            .expect("mainstay runs");
        assert!(init.status.success(), "{init:?}");
        let member = Command::new(binaries().join("mainstay-coordinator"))
            .arg("--config")
            .arg(&settings)
            .args(["--listen", &grpc, "--enrol-listen", &enrol, "--http-listen", &format!("{address}:{}", free_port())])
            .stderr(File::create(place.join("log")).expect("a log"))
            .spawn()
            .expect("the coordinator starts");
        Outside { place, member }
    }

    fn said(&self, words: &[&str]) -> Result<String, String> {
        let output = cli(self.place).args(words).output().map_err(|error| error.to_string())?;
        if output.status.code() == Some(3) || output.stdout.is_empty() {
            let log = fs::read_to_string(self.place.join("log")).unwrap_or_default();
            return Err(format!("{}\n{log}", String::from_utf8_lossy(&output.stderr)));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn json(&self, words: &[&str]) -> Result<Value, String> {
        let said = self.said(&[words, &["-o", "json"]].concat())?;
        serde_json::from_str(&said).map_err(|error| format!("{error}: {said}"))
    }
}

fn cli(home: &Path) -> Command {
    let mut command = Command::new(binaries().join("mainstay"));
    command.env("HOME", home).env_remove("XDG_CONFIG_HOME").env_remove("MAINSTAY_CONTEXT").current_dir(home);
    command
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_further_cluster_has_agents_only_and_its_mesh_is_elsewhere() {
    let cluster = Cluster::shared();
    image(cluster);
    let space = cluster.space("edge");
    let place = tempfile::tempdir().expect("a directory");
    let address = cluster.machine();
    let ports = (free_port(), free_port());
    let outside = Outside::start(place.path(), &address, ports);
    let token = eventually("the mesh outside answers", || {
        std::future::ready(outside.said(&["token", "create", "--cluster-agents", "edge", "--uses", "2", "--valid", "8h"]))
    })
    .await;
    // As docs/clusters.md has it.
    let digest = Command::new("sh")
        .args(["-c", "openssl x509 -in root.pem -outform der | sha256sum | cut -d' ' -f1"])
        .current_dir(place.path())
        .output()
        .expect("a shell");
    let digest = String::from_utf8_lossy(&digest.stdout).trim().to_owned();
    space.kubectl(&["create", "secret", "generic", "mainstay-join", &format!("--from-literal=token={}", token.trim())]).expect("a Secret");

    let values = [
        "coordinator.enabled=false".to_owned(),
        "mesh.cluster=\"edge\"".to_owned(),
        format!("mesh.rootSha256=\"{digest}\""),
        format!("external.coordinators=[\"{address}:{}\"]", ports.0),
        format!("external.enrol=[\"{address}:{}\"]", ports.1),
    ];
    let values: Vec<&str> = values.iter().map(String::as_str).collect();
    let home = Home { cluster, space: &space, custom_resources: false, values: &values };
    let notes = home.put("install", "edge");
    assert!(notes.contains("Agents of cluster edge are on their way to the mesh at"), "{notes}");
    let kinds = space.kubectl(&["get", "statefulset,job,pvc", "-o", "name"]).expect("what is there");
    assert_eq!(kinds.trim(), "statefulset.apps/mainstay-cluster-agent", "agents only");

    home.until("both nodes and both replicas are linked", || {
        let nodes = outside.json(&["node", "list"])?;
        let all = nodes["nodes"].as_array().cloned().unwrap_or_default();
        let mut up: Vec<&str> = all.iter().filter(|node| node["link"] == "up").filter_map(|node| node["name"].as_str()).collect();
        up.sort_unstable();
        let wanted = ["agent/mainstay-cluster-agent-0", "agent/mainstay-cluster-agent-1", "n1", "n2"];
        let known = nodes["clusters"].as_array().into_iter().flatten().find(|known| known["cluster"] == "edge");
        let all_known = known
            .and_then(|known| known["nodes"].as_array())
            .is_some_and(|all| ["n1", "n2"].iter().all(|name| all.iter().any(|node| node["name"] == *name)));
        if up == wanted && all_known { Ok(()) } else { Err(nodes.to_string()) }
    })
    .await;
    let run = outside.json(&["run", "start", "daily"]).expect("it starts")["run"].as_str().expect("a run").to_owned();
    let ended = home
        .until("the daily plan completes", || {
            let shown = outside.json(&["run", "show", &run])?;
            if shown["state"] == "completed" { Ok(shown) } else { Err(shown.to_string()) }
        })
        .await;
    let done = |kind: &str, target: &str| {
        let works = ended["work"].as_array().into_iter().flatten();
        works.filter(|work| work["kind"] == kind && work["target"] == target && work["state"] == "succeeded").count()
    };
    assert_eq!((done("kube.workloads", "cluster:edge"), done("node.resources", "edge/n1")), (1, 1), "{ended}");
}
