//! A second cluster on request, and the end of one: nothing of it is left.
#![allow(clippy::disallowed_methods, clippy::expect_used, clippy::panic, reason = "a test that cannot go on stops with words")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use mainstay_tests::kubernetes::Cluster;
use mainstay_tests::{eventually, process};
use rustix::process::Pid;

/// What a kubelet sets for a whole machine, which is not the cluster's.
const SETTINGS: [&str; 6] =
    ["vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops", "kernel/keys/root_maxkeys", "kernel/keys/root_maxbytes"];

fn settings() -> BTreeMap<&'static str, String> {
    SETTINGS.iter().map(|name| (*name, fs::read_to_string(Path::new("/proc/sys").join(name)).expect("a setting"))).collect()
}

fn output(program: &str, words: &[&str]) -> String {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let output = Command::new(program).args(words).env("PATH", path).output().expect("it runs");
    assert!(output.status.success(), "{program} {words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Processes by number, with when each began: a number is given out again.
fn processes() -> BTreeMap<i32, (i32, String)> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir("/proc").expect("/proc").flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        if let (Some(parent), Some(began)) = (fields.get(1).and_then(|text| text.parse().ok()), fields.get(19)) {
            found.insert(pid, (parent, (*began).to_owned()));
        }
    }
    found
}

/// What there is of a cluster outside of its own files.
struct Traces {
    processes: BTreeSet<(i32, String)>,
    /// Of processes, mounts and networks.
    namespaces: BTreeSet<String>,
}

impl Traces {
    /// Of the keeper and all that comes from it.
    fn of(cluster: &Cluster) -> Traces {
        let all = processes();
        let keeper = cluster.keeper().expect("it is this process's own") as i32;
        let comes_from_it = |pid: i32| {
            let parents = std::iter::successors(Some(pid), |pid| all.get(pid).map(|(parent, _)| *parent));
            parents.take_while(|pid| *pid > 0).any(|pid| pid == keeper)
        };
        let processes: BTreeSet<_> = all.iter().filter(|(pid, _)| comes_from_it(**pid)).map(|(pid, (_, began))| (*pid, began.clone())).collect();
        let own: BTreeSet<String> = namespaces_of("self").collect();
        let namespaces = processes.iter().flat_map(|(pid, _)| namespaces_of(&pid.to_string())).filter(|name| !own.contains(name)).collect();
        Traces { processes, namespaces }
    }

    fn assert_gone(&self, cluster: char) {
        let all = processes();
        let alive: Vec<&i32> =
            self.processes.iter().filter(|(pid, began)| all.get(pid).is_some_and(|(_, now)| now == began)).map(|(pid, _)| pid).collect();
        assert!(alive.is_empty(), "processes {alive:?} are left");
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mounts");
        let used: BTreeSet<String> = all.keys().flat_map(|pid| namespaces_of(&pid.to_string())).collect();
        let kept: Vec<&String> = self.namespaces.iter().filter(|name| used.contains(*name) || mounts.contains(name.as_str())).collect();
        assert!(kept.is_empty(), "namespaces {kept:?} are left");
        let name = format!("cluster-{cluster}");
        assert!(!mounts.contains(&name), "mounts are left: {mounts}");
        let link = format!("mainstay-{cluster}");
        let links = output("ip", &["-oneline", "link"]);
        assert!(!links.contains(&link), "{links}");
        let routes = output("ip", &["route", "show", "table", "all"]);
        assert!(!routes.contains(&link), "{routes}");
        let rules = output("nft", &["list", "ruleset"]);
        assert!(!rules.contains("kube-proxy"), "{rules}");
        for hierarchy in fs::read_dir("/sys/fs/cgroup").expect("cgroups").flatten() {
            assert!(!hierarchy.path().join(&link).exists(), "a cgroup is left in {}", hierarchy.path().display());
        }
        let files = fs::read_dir("/var/lib/mainstay-test").expect("the state of clusters").flatten();
        let files: Vec<_> = files.map(|entry| entry.file_name()).filter(|file| file.to_string_lossy().starts_with(&name)).collect();
        assert!(files.is_empty(), "{files:?} are left");
    }
}

fn namespaces_of(process: &str) -> impl Iterator<Item = String> + use<> {
    let folder = Path::new("/proc").join(process).join("ns");
    ["pid", "mnt", "net"].into_iter().filter_map(move |kind| Some(fs::read_link(folder.join(kind)).ok()?.display().to_string()))
}

fn uid(cluster: &Cluster) -> String {
    cluster.kubectl(&["get", "namespace", "kube-system", "-o", "jsonpath={.metadata.uid}"]).expect("it answers")
}

fn nodes(cluster: &Cluster) -> usize {
    cluster.kubectl(&["get", "nodes", "-o", "name"]).expect("it answers").lines().count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_clusters_stand_beside_each_other_and_leave_nothing_behind() {
    let before = settings();
    let (first, second) = (Cluster::start(0), Cluster::start(20));
    assert_eq!((nodes(&first), nodes(&second)), (2, 22));
    assert_ne!(uid(&first), uid(&second));
    let space = second.space("busy");
    for node in ["n1", "n2"] {
        space.pod(node, Some(node));
    }
    assert!(first.kubectl(&["get", "namespace", space.name()]).is_err(), "what is in one is not in the other");

    let (name, traces) = (second.name(), Traces::of(&second));
    assert!(traces.processes.len() > 15 && traces.namespaces.len() > 6, "the test sees what there is");
    assert!(output("ip", &["-oneline", "link"]).contains(&format!("mainstay-{name}")));
    drop(space);
    second.end();
    traces.assert_gone(name);
    assert_eq!(nodes(&first), 2, "the other goes on");

    for (link, ready) in [("down", "Unknown"), ("up", "True")] {
        first.on("control", &["ip", "link", "set", "n2", link]).expect("the network of a node");
        let state = format!("--for=jsonpath={{.status.conditions[?(@.type==\"Ready\")].status}}={ready}");
        first.kubectl(&["wait", "node/n2", &state, "--timeout=120s"]).expect("a node is lost with its network, and comes back with it");
    }

    // Nobody can tidy up after a keeper that is killed; what runs goes nevertheless, and the rest with the next start.
    let (name, traces, uid_of_first) = (first.name(), Traces::of(&first), uid(&first));
    process::kill(Pid::from_raw(first.keeper().expect("its keeper") as i32).expect("a process"));
    first.end();
    let gone = || {
        let all = processes();
        let alive: Vec<_> = traces.processes.iter().filter(|(pid, began)| all.get(pid).is_some_and(|(_, now)| now == began)).collect();
        std::future::ready(if alive.is_empty() { Ok(()) } else { Err(format!("{alive:?} are left")) })
    };
    eventually("the kernel ends what a keeper held", gone).await;
    let again = Cluster::named(name, 0).expect("the name is free again");
    assert_ne!(uid(&again), uid_of_first);
    again.end();
    traces.assert_gone(name);
    assert_eq!(settings(), before);
}
