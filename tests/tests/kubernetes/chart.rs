//! The chart as helm renders it: golden manifests for several sets of values, lint, and values that are refused.
//! `UPDATE=1` writes the manifests anew.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use mainstay_tests::kubernetes::{Cluster, program};

/// Name of a set, and its values.
const SETS: [(&str, &[&str]); 4] = [
    ("usual", &[]),
    (
        "agents",
        &[
            "coordinator.enabled=false",
            "external.coordinators={c1.example:7400,c2.example:7400}",
            "external.enrol={c1.example:7401,c2.example:7401}",
            "mesh.name=prod",
            "mesh.cluster=edge",
            "nodeAgent.kubelet=false",
            "customResources.enabled=false",
            "nodeConditions.enabled=false",
            "nodeConditions.rights=false",
            "mesh.rootSha256=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        ],
    ),
    (
        "hands",
        &[
            "mesh.name=prod",
            "hands.enabled=true",
            "nodeRunner.enabled=true",
            "nodeRunner.medik8sLeases=true",
            "hands.policy=[policy]",
            "hands.capabilities={DAC_OVERRIDE,SYS_BOOT}",
            "hands.dir=/srv/hands",
            "hands.nodeSelector.pool=workers",
            "hands.podLabels.team=ops",
            "networkPolicy.enabled=true",
            "serviceMonitor.enabled=true",
        ],
    ),
    (
        "all",
        &[
            "mesh.name=prod",
            "coordinator.replicas=5",
            "coordinator.advertise=POD.mesh.example:7400",
            "coordinator.joinTokenSecret=join-later",
            "coordinator.storage.className=fast",
            "coordinator.podLabels.team=ops",
            "coordinator.nodeSelector.pool=control",
            "clusterAgent.replicas=3",
            "clusterAgent.priorityClassName=high",
            "clusterAgent.policy=[policy]",
            "clusterAgent.secrets={orders-db,cache.internal}",
            "nodeAgent.dir=/srv/mainstay",
            "nodeAgent.policy=[policy]",
            "nodeAgent.secrets={cache}",
            "nodeAgent.podAnnotations.note=yes",
            "networkPolicy.enabled=true",
            "networkPolicy.from[0].ipBlock.cidr=10.0.0.0/8",
            "serviceMonitor.enabled=true",
            "serviceMonitor.labels.release=prometheus",
            "prometheusRule.enabled=true",
            "dashboards.enabled=true",
            "imagePullSecrets[0].name=registry",
        ],
    ),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

pub(crate) fn chart() -> String {
    root().join("deploy/helm/mainstay").display().to_string()
}

fn helm(words: &[&str], values: &[&str]) -> Output {
    let mut command = Command::new(program("helm"));
    command.args(words);
    for value in values {
        command.args(["--set", value]);
    }
    command.output().expect("helm runs")
}

#[test]
fn what_the_chart_renders_is_what_was_reviewed() {
    for (name, values) in SETS {
        let rendered = helm(&["template", "mainstay", &chart(), "--namespace", "ops"], values);
        assert!(rendered.status.success(), "{name}: {}", String::from_utf8_lossy(&rendered.stderr));
        let rendered = String::from_utf8_lossy(&rendered.stdout).into_owned();
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/kubernetes/chart/{name}.yaml"));
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&golden, &rendered).expect("the golden manifests");
        }
        let reviewed = fs::read_to_string(&golden).unwrap_or_default();
        let differs = reviewed.lines().zip(rendered.lines()).find(|(a, b)| a != b);
        assert!(
            reviewed == rendered,
            "{} is stale at {differs:?}: UPDATE=1 cargo test -p mainstay-tests --test kubernetes reviewed",
            golden.display()
        );
        let linted = helm(&["lint", "--strict", &chart()], values);
        assert!(linted.status.success(), "{name}: {}{}", String::from_utf8_lossy(&linted.stdout), String::from_utf8_lossy(&linted.stderr));
    }
}

#[test]
fn values_that_make_no_sense_are_refused() {
    for (values, words) in [
        (&["coordinator.replicas=2"][..], "/coordinator/replicas"),
        (&["coordinator.enabled=false"], "/external/coordinators"),
        (&["coordinator.enabled=false"], "/mesh/rootSha256"),
        (&["mesh.name=Prod"], "/mesh/name"),
        (&["nodeConditions.rights=false"], "nodeConditions.enabled needs nodeConditions.rights"),
        (&["nodeAgent.hostNetwork=true"], "hostNetwork"),
        (&["hands.hostPID=true"], "hostPID"),
        (&["hands.enabled=true", "nodeAgent.enabled=false"], "/nodeAgent/enabled"),
        (&["hands.enabled=true", "clusterAgent.enabled=false"], "/clusterAgent/enabled"),
        (&["hands.capabilities={CAP_KILL}"], "/hands/capabilities"),
        (&["clusterAgent.secrets={../etc}"], "secrets"),
        (&["coordinator.storage.size=4"], "/coordinator/storage/size"),
    ] {
        let refused = helm(&["template", "mainstay", &chart()], values);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && said.contains(words), "{values:?}: {said}");
    }
}

/// The real API server judges: everything is as Pod Security `restricted` wants it, but for the node agents.
#[test]
fn only_the_node_agents_need_more_than_a_restricted_namespace_gives() {
    let space = Cluster::shared().space("restricted");
    space.kubectl(&["label", "namespace", space.name(), "pod-security.kubernetes.io/warn=restricted"]).expect("a label");
    let judged = |values: &[&str]| {
        // The custom resources are another test's.
        let values = [values, &["customResources.enabled=false"]].concat();
        let rendered = helm(&["template", "mainstay", &chart(), "--namespace", space.name()], &values);
        space.kubectl_with(&["apply", "--dry-run=server", "--warnings-as-errors", "-f", "-"], &String::from_utf8_lossy(&rendered.stdout))
    };
    judged(&["nodeAgent.enabled=false", "networkPolicy.enabled=true", "networkPolicy.from[0].ipBlock.cidr=10.0.0.0/8"]).expect("no warning");
    let warned = judged(&[]).expect_err("they read the node's files");
    let (container, wrong) = ("container \"agent\" must not include \"DAC_READ_SEARCH\"", ["hostNetwork", "privileged", "hostPID"]);
    assert!(warned.contains(container) && !wrong.iter().any(|word| warned.contains(word)), "{warned}");
    let warned = judged(&["hands.enabled=true"]).expect_err("they change the node");
    let hands = "container \"agent\" must not include \"DAC_OVERRIDE\", \"KILL\", \"SYS_CHROOT\"";
    assert!(warned.contains(hands) && !wrong.iter().any(|word| warned.contains(word)), "{warned}");
}

/// No pod of the usual installation is privileged or shares a namespace with its node, nothing binds cluster-admin, and
/// what a cluster agent may is the same with and without the chart.
#[test]
fn the_chart_asks_for_no_more_than_it_needs() {
    let render = |values: &[&str]| {
        let rendered = String::from_utf8_lossy(&helm(&["template", "mainstay", &chart(), "--namespace", "ops"], values).stdout).into_owned();
        for word in ["privileged: true", "hostNetwork", "hostPID", "hostIPC", "cluster-admin", "runAsNonRoot: false"] {
            assert!(!rendered.contains(word), "{word}");
        }
        rendered
    };
    let (rendered, with_hands) = (render(SETS[3].1), render(&["hands.enabled=true"]));
    assert_eq!(with_hands.matches("path: /,").count(), 1, "the node's root folder is the hands' alone");
    assert!(!rendered.contains("-hands"), "there are no hands unless they are asked for");
    assert_eq!(rendered.matches("hostPath:").count(), 3, "a folder of its own, and the node's logs and control groups to read");
    let rules = |file: &str| -> Vec<String> {
        let text = fs::read_to_string(root().join(file)).expect("the rules");
        text.lines().map(str::trim).filter(|line| line.starts_with("- { apiGroups")).map(str::to_owned).collect()
    };
    let files = ["cluster-agent-rules.yaml", "node-conditions-rules.yaml", "custom-resources-rules.yaml"];
    let chart = files.map(|file| rules(&format!("deploy/helm/mainstay/files/{file}"))).concat();
    assert_eq!(chart, rules("deploy/kubernetes/cluster-agent.yaml"));
}
