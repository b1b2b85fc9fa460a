//! Hands, as the chart installs them: without them a step that changes a node is refused in words, with them it changes the
//! node, and their policy says what.

use mainstay_tests::kubernetes::Cluster;
use serde_json::Value;

use crate::installed::{Home, image};

/// What it is that changes each node: a file, in a folder that every node of the test's cluster has for itself.
const MARK: &str = "/var/lib/mark-of-hands";
const PLAN: &str = r#"
apiVersion: mainstay.dev/v1alpha1
kind: MaintenancePlan
metadata: {name: mark}
spec:
  inputs: {file: {type: text, default: /var/lib/mark-of-hands}}
  steps:
    - {name: mark, uses: node.exec, runOn: node, with: {command: [/usr/bin/touch, "${{ inputs.file }}"]}}
"#;
/// As little as a mesh has.
const SMALL: [&str; 2] = ["coordinator.replicas=1", "clusterAgent.replicas=1"];
const HANDS: [&str; 2] = [
    "hands.enabled=true",
    r#"hands.policy="[policy]\nallow = [\"node.exec\"]\n[[policy.exec]]\ncommand = [\"/usr/bin/touch\", \"/var/lib/mark-of-hands\"]\n""#,
];

/// Waits until exactly these agents are linked.
async fn linked(home: &Home<'_>, wanted: &[&str]) {
    home.until(&format!("{wanted:?} are linked"), || {
        let nodes = home.json(&["node", "list"])?;
        let all = nodes["nodes"].as_array().cloned().unwrap_or_default();
        let up: Vec<&str> = all.iter().filter(|node| node["link"] == "up").filter_map(|node| node["name"].as_str()).collect();
        if up == wanted { Ok(()) } else { Err(nodes.to_string()) }
    })
    .await;
}

/// Of the one step, on each node: how it ended, and by which agent.
fn ends(run: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let works = run["work"].as_array().into_iter().flatten();
    works
        .map(|work| {
            (text(&work["state"]), work["attempts"].as_array().and_then(|all| all.last()).map_or_else(String::new, |last| text(&last["agent"])))
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_changes_a_node_is_done_by_hands_and_by_nobody_without_them() {
    let cluster = Cluster::shared();
    image(cluster);
    let space = cluster.space("hands");
    let home = Home { cluster, space: &space, custom_resources: false, values: &SMALL };
    home.put("install", "without");
    home.cli(&["login", "--token-file", "/etc/mainstay/operator/token"]).unwrap_or_else(|error| panic!("{error}\n{}", home.look()));
    let observers = ["n1", "n2", "agent/mainstay-cluster-agent-0"];
    linked(&home, &observers).await;
    space
        .kubectl_with(&["exec", "-i", "mainstay-coordinator-0", "--", "mainstay", "plan", "apply", "-f", "-"], PLAN)
        .unwrap_or_else(|error| panic!("{error}\n{}", home.look()));

    let preview = home.cli(&["plan", "preview", "mark"]).expect_err("it says that it could not be done");
    assert!(preview.contains("node n1 has no hands") && preview.contains("hands.enabled=true"), "{preview}");
    let refused = home.start("mark", &[]).await;
    let refused = home.ended(&refused).await;
    assert!(refused["state"] != "completed" && refused.to_string().contains("node n2 has no hands"), "{refused}");

    let home = Home { values: &[SMALL[0], SMALL[1], HANDS[0], HANDS[1]], ..home };
    let notes = home.put("upgrade", "with");
    assert!(notes.contains("Hands run programs of the nodes, as root"), "{notes}");
    linked(&home, &["n1", "n2", "agent/mainstay-cluster-agent-0", "hands/n1", "hands/n2"]).await;
    let nodes = home.json(&["node", "list"]).expect("the nodes").to_string();
    assert_eq!(nodes.matches("\"kinds\":[\"node.exec\"]").count(), 2, "hands do nothing else: {nodes}");
    let audit = home.cli(&["audit", "-o", "json"]).expect("the audit log");
    assert!(audit.contains("enrol cluster/prod/node/n2/hands, vouched for by prod/agent/mainstay-cluster-agent-0 for pod "), "{audit}");

    let marked = home.start("mark", &[]).await;
    let marked = home.ended(&marked).await;
    assert_eq!(
        (&marked["state"], ends(&marked)),
        (&"completed".into(), [("succeeded".to_owned(), "prod/hands/n1".to_owned()), ("succeeded".to_owned(), "prod/hands/n2".to_owned())].to_vec()),
        "{marked}"
    );
    for node in ["n1", "n2"] {
        cluster.on(node, &["rm", MARK]).unwrap_or_else(|error| panic!("{node} was not changed: {error}"));
    }
    let other = home.start("mark", &["file=/etc/mark-of-hands"]).await;
    let other = home.ended(&other).await.to_string();
    assert!(other.contains("policy has no rule for this command"), "{other}");
    for node in ["n1", "n2"] {
        cluster.on(node, &["ls", "/etc/mark-of-hands"]).expect_err("what the policy does not name is not done");
    }
}
