//! Rights and identities are judged as they are in a cluster that somebody runs.

use std::collections::BTreeSet;

use mainstay_tests::eventually;
use mainstay_tests::kubernetes::{Cluster, Space};
use serde_json::{Value, json};

use super::agents::MANIFEST;

/// What the server says of a token.
fn review(cluster: &Cluster, token: &str, audience: &str) -> Value {
    let asked = json!({
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
        "spec": {"token": token, "audiences": [audience]},
    });
    let answer = cluster.kubectl_with(&["create", "-o", "json", "-f", "-"], &asked.to_string()).expect("a review");
    serde_json::from_str::<Value>(&answer).expect("JSON")["status"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_reviewed_with_its_pod_and_node_until_the_pod_is_gone() {
    let cluster = Cluster::shared();
    let space = cluster.space("tokens");
    space.pod("holder", Some("n2"));
    let token = space
        .kubectl(&["create", "token", "default", "--audience", "mainstay", "--bound-object-kind", "Pod", "--bound-object-name", "holder"])
        .expect("a token");
    let token = token.trim();

    let status = review(cluster, token, "mainstay");
    assert_eq!(status["authenticated"], true, "{status}");
    assert_eq!(status["user"]["username"], format!("system:serviceaccount:{}:default", space.name()));
    let extra = |name: &str| status["user"]["extra"][format!("authentication.kubernetes.io/{name}")][0].clone();
    assert_eq!((extra("pod-name"), extra("node-name")), (json!("holder"), json!("n2")));
    let node = cluster.json(&["get", "node", "n2"]).expect("the node");
    assert_eq!(extra("node-uid"), node["metadata"]["uid"]);

    assert_ne!(review(cluster, token, "another")["authenticated"], true, "it is for one audience");
    space.kubectl(&["delete", "pod", "holder", "--timeout=60s"]).expect("it goes");
    // The server remembers for some seconds what it has judged.
    let judge = || {
        let status = review(cluster, token, "mainstay");
        std::future::ready(if status["authenticated"] == true { Err("it is still taken".to_owned()) } else { Ok(()) })
    };
    eventually("a token is of no use without its pod", judge).await;
}

#[test]
fn a_node_changes_itself_and_no_other() {
    let cluster = Cluster::shared();
    let kubectl = cluster.program("kubectl").display().to_string();
    let annotate = |node: &str| {
        cluster.on("n1", &[&kubectl, "--kubeconfig", "/var/lib/kubelet/kubeconfig", "annotate", "--overwrite", "node", node, "tried=yes"])
    };
    annotate("n1").expect("a node may annotate itself");
    let refused = annotate("n2").expect_err("n1 may not change n2");
    assert!(refused.contains("nodes \"n2\" is forbidden: User \"system:node:n1\""), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_may_what_its_role_says() {
    let space = Cluster::shared().space("roles");
    let may = |verb: &str| {
        let account = format!("--as=system:serviceaccount:{}:default", space.name());
        space.kubectl(&["auth", "can-i", verb, "pods", &account]).is_ok_and(|said| said.trim() == "yes")
    };
    assert!(!may("list"), "an account has no rights at first");
    space.kubectl(&["create", "role", "reader", "--verb=list", "--resource=pods"]).expect("a role");
    let account = format!("--serviceaccount={}:default", space.name());
    space.kubectl(&["create", "rolebinding", "reader", "--role=reader", &account]).expect("a binding");
    let granted = || std::future::ready(may("list").then_some(()).ok_or_else(|| "it may not list pods".to_owned()));
    eventually("a role gives a right", granted).await;
    assert!(!may("delete"), "the role says nothing of it");
}

/// Everything that an account may do, as the server lists it, but for what everybody may.
fn may_do(space: &Space<'_>, account: &str) -> BTreeSet<String> {
    let list = |who: &str| {
        let said = space.kubectl(&["auth", "can-i", "--list", "--no-headers", &format!("--as=system:serviceaccount:{who}")]).expect("its rights");
        said.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<BTreeSet<_>>()
    };
    let everybody = list(&format!("{}:default", space.name()));
    list(account).difference(&everybody).cloned().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_agent_changes_its_own_resources_only_and_a_runner_what_it_is_given_in_its_namespace() {
    let cluster = Cluster::shared();
    let (space, other) = (cluster.space("runner"), cluster.space("other"));
    cluster.apply(MANIFEST);
    cluster.apply(include_str!("../../../deploy/kubernetes/runner.yaml"));
    space.kubectl(&["create", "serviceaccount", "mainstay-runner"]).expect("an account");
    let runner = format!("{}:mainstay-runner", space.name());
    let bind = ["create", "rolebinding", "mainstay-runner", "--clusterrole=mainstay-runner", "--serviceaccount", &runner];
    space.kubectl(&bind).expect("a binding");
    let agent = BTreeSet::from(
        [
            "nodes [] [] [list watch]",
            "pods [] [] [list watch]",
            "services [] [] [list]",
            "events [] [] [list]",
            "serviceaccounts [] [] [list]",
            "serviceaccounts [] [mainstay-runner] [impersonate]",
            "serviceaccounts [] [mainstay-node-runner] [impersonate]",
            "deployments.apps [] [] [list]",
            "statefulsets.apps [] [] [list]",
            "daemonsets.apps [] [] [list]",
            "jobs.batch [] [] [list]",
            "cronjobs.batch [] [] [list]",
            "poddisruptionbudgets.policy [] [] [list]",
            "endpointslices.discovery.k8s.io [] [] [list]",
            "tokenreviews.authentication.k8s.io [] [] [create]",
            "nodes/status [] [] [patch]",
            "maintenanceplans.mainstay.dev [] [] [get list watch]",
            "maintenanceruns.mainstay.dev [] [] [get list watch create delete]",
            "maintenanceplans.mainstay.dev/status [] [] [patch]",
            "maintenanceruns.mainstay.dev/status [] [] [patch]",
            "events.events.k8s.io [] [] [create]",
        ]
        .map(str::to_owned),
    );
    let of_runner = BTreeSet::from(
        [
            "deployments.apps [] [] [get list patch]",
            "statefulsets.apps [] [] [get list patch]",
            "daemonsets.apps [] [] [get list patch]",
            "poddisruptionbudgets.policy [] [] [get list]",
            "jobs.batch [] [] [get list create delete]",
            "cronjobs.batch [] [] [get list]",
            "pods [] [] [get list]",
            "pods/log [] [] [get]",
        ]
        .map(str::to_owned),
    );
    let is = |space: &Space<'_>, account: &str, expected: &BTreeSet<String>| {
        let found = may_do(space, account);
        std::future::ready(if found == *expected { Ok(()) } else { Err(format!("{account} may {found:#?}")) })
    };
    eventually("the agent looks, asks whose a token is, and is a runner", || is(&space, "mainstay:mainstay-cluster-agent", &agent)).await;
    eventually("the runner may what its role says", || is(&space, &runner, &of_runner)).await;
    eventually("and nothing elsewhere", || is(&other, &runner, &BTreeSet::new())).await;
}
