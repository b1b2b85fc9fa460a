//! The custom resources, before a real API server; and kubectl's plugin, by a real kubectl.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use mainstay_tests::kubernetes::{Cluster, Space, program};
use mainstay_tests::up::binaries;
use serde_json::Value;

/// A plan as it is good.
const PLAN: &str = r#"
apiVersion: mainstay.dev/v1alpha1
kind: MaintenancePlan
metadata: {name: renew}
spec:
  inputs: {pods: {type: integer, minimum: 1, maximum: 9, default: 3}, words: {type: list, default: [a]}}
  gates: [{window: {from: "22:00", to: "04:00"}}, {capacity: {}}]
  steps:
    - name: look
      uses: kube.workloads
      with: {namespaces: [shop]}
      retry: {attempts: 2}
      lease: deploy/shop
    - name: scale
      uses: kube.scale
      if: inputs.pods > 3
      needs: [look]
      with: {namespace: shop, name: web, replicas: "${{ inputs.pods }}"}
      strategy: {maxUnavailable: 25%}
"#;

/// What is changed in the plan, to what, and what the API server says to that.
const REFUSED: [(&str, &str, &str); 13] = [
    ("kube.scale", "node.exec", "spec.steps[1].uses: Unsupported value: \"node.exec\": supported values: \"kube.workloads\""),
    ("name: scale", "name: look", "Duplicate value: {\"name\":\"look\"}"),
    ("needs: [look]", "needs: [scale]", "a step cannot need itself"),
    ("needs: [look]", "needs: [look, look]", "Duplicate value: \"look\""),
    ("      with: {namespace: shop, name: web, replicas: \"${{ inputs.pods }}\"}\n", "", "this kind needs parameters: give them under `with`"),
    ("from: \"22:00\"", "from: \"22\"", "spec.gates[0].window.from"),
    ("{capacity: {}}", "{capacity: {}, health: {plan: x, maxAge: 1h}}", "must have at most 1 item"),
    ("  gates:", "  strategy: {order: name}\n  gates:", "a plan of a namespace does nothing to nodes"),
    ("      if:", "      runOn: node\n      if:", "a plan of a namespace does nothing to nodes"),
    ("attempts: 2", "attempts: 0", "spec.steps[0].retry.attempts"),
    ("minimum: 1", "minimum: 10", "`maximum` is less than `minimum`"),
    ("maxUnavailable: 25%", "maxUnavailable: many", "spec.steps[1].strategy.maxUnavailable"),
    ("name: renew", "name: renew-renew-renew-renew-renew-renew-renew-renew-renew-renew-renew", "a plan's name has at most 63 letters"),
];

const RUN: &str =
    "apiVersion: mainstay.dev/v1alpha1\nkind: MaintenanceRun\nmetadata: {name: now}\nspec: {plan: renew, inputs: {pods: 4, words: [x]}}\n";

/// The release that has the definitions and nothing else.
fn release(space: &Space<'_>, cluster: &Cluster, chart: &str, words: &[&str]) {
    let off = ["coordinator", "clusterAgent", "nodeAgent", "installer"].map(|part| format!("{part}.enabled=false"));
    let others = ["external.coordinators={c:7400}", "external.enrol={c:7401}", "mesh.name=m", "mesh.cluster=c"].map(str::to_owned);
    let root = format!("mesh.rootSha256={}", "a".repeat(64));
    let mut helm = Command::new(program("helm"));
    helm.args(words).args(["--namespace", space.name()]).arg("--kubeconfig").arg(cluster.kubeconfig());
    if words[0] != "uninstall" {
        helm.arg(chart);
        for value in off.iter().chain(&others).chain([&root]) {
            helm.args(["--set", value]);
        }
    }
    let done = helm.output().expect("helm runs");
    assert!(done.status.success(), "{words:?}: {}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
}

/// The chart as it may have been before: the definition of a plan has no columns.
fn older(folder: &Path) -> String {
    let copied = Command::new("cp").arg("-r").arg(super::chart::chart()).arg(folder).status().expect("cp runs");
    assert!(copied.success());
    let file = folder.join("mainstay/files/custom-resources/maintenanceplans.json");
    let mut definition: Value = serde_json::from_str(&fs::read_to_string(&file).expect("the definition")).expect("JSON");
    definition["spec"]["versions"][0].as_object_mut().expect("a version").remove("additionalPrinterColumns").expect("columns");
    fs::write(&file, definition.to_string()).expect("the older one");
    folder.join("mainstay").display().to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_custom_resources_take_what_is_good_outlive_the_release_and_are_acted_on() {
    let cluster = Cluster::shared();
    let space = cluster.space("custom");
    let (chart, folder) = (super::chart::chart(), tempfile::tempdir().expect("a directory"));
    release(&space, cluster, &older(folder.path()), &["install", "resources", "--wait"]);
    release(&space, cluster, &chart, &["upgrade", "resources", "--wait"]);
    space.wait("crd/maintenanceplans.mainstay.dev", "condition=Established");
    space.wait("crd/maintenanceruns.mainstay.dev", "condition=Established");

    space.apply(PLAN);
    for (from, to, words) in REFUSED {
        assert!(PLAN.contains(from), "{from}");
        let refused = space.kubectl_with(&["apply", "--dry-run=server", "-f", "-"], &PLAN.replace(from, to)).expect_err(to);
        assert!(refused.contains(words), "{to}: {refused}");
    }
    // What the plan language does not know is for the mesh to refuse, and stays until it does.
    space.apply(&PLAN.replace("  gates:", "  gatess: [{approval: {}}]\n  gates:"));
    let kept = space.json(&["get", "mplan", "renew"]).expect("the plan");
    assert!(kept["spec"]["gatess"][0]["approval"].is_object(), "{kept}");
    assert_eq!((&kept["spec"]["steps"][1]["if"], kept["spec"]["steps"][0].get("timeout")), (&"inputs.pods > 3".into(), None), "nothing is filled in");

    space.apply(RUN);
    space.kubectl(&["label", "mrun", "now", "team=web"]).expect("what is no part of the run may change");
    for (from, to) in [("pods: 4", "pods: 5"), ("words: [x]", "words: [x], more: 1"), ("plan: renew", "plan: other")] {
        let refused = space.kubectl_with(&["apply", "-f", "-"], &RUN.replace(from, to)).expect_err(to);
        assert!(refused.contains("make another object for another run"), "{to}: {refused}");
    }
    let both = RUN.replace("name: now", "name: both").replace("plan: renew", "plan: renew, number: 3");
    assert!(space.kubectl_with(&["apply", "-f", "-"], &both).expect_err("both").contains("leave out `inputs`, or `number`"));

    // The status is a part of its own, and columns show it.
    let status = r#"{"status":{"revision":7,"lastRun":{"state":"completed","verdict":"ok"},"conditions":[{"type":"Ready","status":"True","reason":"Applied","message":"m","lastTransitionTime":"2026-01-01T00:00:00Z"}]}}"#;
    space.kubectl(&["patch", "mplan", "renew", "--type=merge", "-p", status]).expect("the rest is as it was");
    let row = |words: &[&str]| space.kubectl(&[&["get", "--no-headers"], words].concat()).expect("a row");
    assert!(!row(&["mplan", "renew"]).contains("completed"), "{}", row(&["mplan", "renew"]));
    space.kubectl(&["patch", "mplan", "renew", "--subresource=status", "--type=merge", "-p", status]).expect("its status");
    let words: Vec<String> = row(&["mplan", "renew"]).split_whitespace().map(str::to_owned).collect();
    assert_eq!(words[..5], ["renew", "True", "7", "completed", "ok"]);
    assert!(row(&["mainstay"]).contains("now"), "all of a namespace by their category");

    // They are kept with what they hold, and the next release of the name has them again.
    release(&space, cluster, "", &["uninstall", "resources", "--wait"]);
    space.kubectl(&["get", "mplan", "renew"]).expect("the plan is still there");
    release(&space, cluster, &chart, &["install", "resources", "--wait"]);
    assert!(row(&["mplan", "renew"]).contains("completed"), "the plan is still there, and has its columns");
    // Before an agent acts on all of them.
    drop(space);
    super::mirror::goes_both_ways(cluster).await;
}

#[test]
fn kubectl_has_mainstay_as_a_plugin() {
    let folder = tempfile::tempdir().expect("a directory");
    for name in ["kubectl-mainstay", "kubectl_complete-mainstay"] {
        symlink(binaries().join("mainstay"), folder.path().join(name)).expect("a link");
    }
    let kubectl = |words: &[&str]| {
        let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap_or_default());
        let output = Command::new(program("kubectl")).args(words).env("PATH", path).output().expect("kubectl runs");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (status, steps, error) = kubectl(&["mainstay", "steps", "kube.scale", "-o", "json"]);
    assert!(status == Some(0) && steps.contains("kube.scale"), "{steps}{error}");
    let (_, help, error) = kubectl(&["mainstay", "run", "--help"]);
    assert!(help.contains("Usage: kubectl mainstay run"), "{help}{error}");
    let (status, _, error) = kubectl(&["mainstay", "nothing-like-it"]);
    assert!(status == Some(2) && error.contains("nothing-like-it"), "{error}");
    let (_, offered, error) = kubectl(&["__complete", "mainstay", "run", "sta"]);
    assert!(offered.starts_with("start\t") && offered.ends_with(":4\n"), "{offered}{error}");
}
