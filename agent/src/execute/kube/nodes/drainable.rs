//! `kube.drainable`: whether nodes could be drained, each by itself, before any of them is touched.
//!
//! In: all nodes, pods and disruption budgets. Out: a check for each node, and one for each budget, and for each node whose
//! pods would lose something or find no place. It is a look at one moment, and promises nothing.

use std::collections::{BTreeMap, BTreeSet};

use mainstay_client::work;
use mainstay_core::report::{Check, Report, Verdict};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::super::super::params;
use super::super::super::{Context, StepError};
use super::super::wants;
use super::budget::{Budget, Says};
use super::room::{Node, Room};
use super::sort::{HOW_TO_LOSE, Loss, Pod, Rules, some, sort};
use crate::kube::Selected;

const KIND: &str = "kube.drainable";
const BUDGET: &str = "kube.drainable.budget";
const LOST: &str = "kube.drainable.lost";
const MISSING: &str = "kube.drainable.missing";
const ROOM: &str = "kube.drainable.room";

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Params {
    nodes: Vec<String>,
    bare_pods: Loss,
    empty_dir: Loss,
    no_room: NoRoom,
}

/// What it is that pods find no place.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
enum NoRoom {
    Warning,
    #[default]
    Critical,
}

/// What a look found.
#[derive(Debug, Default)]
struct Found {
    checks: Vec<Check>,
    looked: usize,
    blocked: usize,
}

/// Looks.
///
/// # Errors
/// Refused parameters; a cluster that cannot be seen.
pub async fn execute(with: &Map<String, Value>, context: &Context) -> Result<Report, StepError> {
    let params: Params = params::read(KIND, with)?;
    let cluster = super::super::cluster(KIND, context)?;
    let failed = |error| super::super::failed(KIND, &error);
    let nodes: Vec<Node> = cluster.list("/api/v1/nodes", Selected::default()).await.map_err(failed)?;
    let budgets: Vec<Budget> = cluster.list("/apis/policy/v1/poddisruptionbudgets", Selected::default()).await.map_err(failed)?;
    let pods: Vec<Pod> = cluster.list("/api/v1/pods", Selected::default()).await.map_err(failed)?;
    let is_there = |name: &String| name.contains('*') || nodes.iter().any(|node| node.metadata.name == *name);
    let missing: Vec<Check> = params.nodes.iter().filter(|name| !is_there(name)).map(|name| no_such(name)).collect();
    let (home, replica) = (cluster.home().to_owned(), context.labels.replica.clone());
    let found = work::blocking(move || {
        let own = replica.as_deref().map(|pod| (&*home, pod));
        let rules = Rules { bare_pods: params.bare_pods, empty_dir: params.empty_dir, own };
        let is_meant = |node: &Node| params.nodes.is_empty() || wants(&params.nodes, &[], &node.metadata.name);
        look(&nodes, &pods, &budgets, rules, params.no_room, is_meant)
    });
    let Found { mut checks, looked, blocked } = found.await.map_err(|error| StepError::failed(format!("{KIND}: the look ended early: {error}")))?;
    checks.extend(missing);
    checks.sort_by_key(|check| std::cmp::Reverse(check.verdict));
    checks.push(Check::stated(KIND, "", Verdict::Ok, format!("{} of {looked} nodes could be drained, each by itself", looked - blocked)));
    let outputs = [("nodes", looked), ("blocked", blocked)].map(|(name, number)| (name.to_owned(), Value::from(number))).into();
    Ok(Report { checks, outputs, ..Report::default() })
}

/// Of what was mistyped nothing would be done, and that is not to pass for done.
fn no_such(name: &str) -> Check {
    let check = Check::stated(MISSING, &format!("node/{name}"), Verdict::Critical, "the cluster has no node of this name");
    check.with_hint("kubectl get nodes shows the names; where the mesh has several clusters, say which one is meant")
}

fn look(nodes: &[Node], pods: &[Pod], budgets: &[Budget], rules: Rules<'_>, no_room: NoRoom, is_meant: impl Fn(&Node) -> bool) -> Found {
    let room = Room::of(nodes, pods);
    let (mut found, mut told) = (Found::default(), BTreeSet::new());
    let mut by_node: BTreeMap<&str, Vec<Pod>> = BTreeMap::new();
    pods.iter().for_each(|pod| by_node.entry(&pod.spec.node_name).or_default().push(pod.clone()));
    for node in nodes.iter().filter(|node| is_meant(node)) {
        let name = &*node.metadata.name;
        let sorted = sort(by_node.remove(name).unwrap_or_default(), rules);
        let before = found.checks.len();
        let mut is_blocked = false;
        if let Some(named) = sorted.would_lose() {
            found.checks.push(Check::stated(LOST, &format!("node/{name}"), Verdict::Critical, named).with_hint(HOW_TO_LOSE));
        }
        let without = room.without(name, &sorted.evict);
        if !without.is_empty() {
            let verdict = if matches!(no_room, NoRoom::Warning) { Verdict::Warning } else { Verdict::Critical };
            let message = format!("no other node has room for {}", some(&without));
            found.checks.push(Check::stated(ROOM, &format!("node/{name}"), verdict, message).with_hint("add a node, or say `noRoom: warning`"));
        }
        for pod in sorted.evict.iter().chain(&sorted.own) {
            let own: Vec<&Budget> = budgets.iter().filter(|budget| budget.is_for(pod)).collect();
            if own.len() > 1 && told.insert(pod.full_name()) {
                let names: Vec<String> = own.iter().map(|budget| budget.full_name()).collect();
                let message = format!("more than one budget is for it, and the API server evicts no such pod: {}", names.join(", "));
                found.checks.push(Check::stated(BUDGET, &pod.full_name(), Verdict::Critical, message).with_hint("leave one of them"));
            }
            for budget in own {
                let (verdict, message) = match budget.says() {
                    Says::Yes => continue,
                    Says::NotNow(message) => (Verdict::Warning, message),
                    Says::Never(message) => (Verdict::Critical, message),
                };
                is_blocked |= verdict == Verdict::Critical;
                if told.insert(budget.full_name()) {
                    let subject = format!("{}/PodDisruptionBudget/{}", budget.metadata.namespace, budget.metadata.name);
                    let hint = "more pods, or a budget that can do without one of them";
                    found.checks.push(Check::stated(BUDGET, &subject, verdict, message).with_hint(hint));
                }
            }
        }
        is_blocked |= found.checks.iter().skip(before).any(|check| check.verdict == Verdict::Critical);
        found.looked += 1;
        found.blocked += usize::from(is_blocked);
    }
    found
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn node(name: &str) -> Node {
        let status = json!({ "allocatable": { "cpu": "2", "memory": "4Gi", "pods": "10" }, "conditions": [{ "type": "Ready", "status": "True" }] });
        serde_json::from_value(json!({ "metadata": { "name": name }, "status": status })).unwrap()
    }

    fn pod(name: &str, on: &str, owner: bool) -> Pod {
        let owners = if owner { json!([{ "kind": "ReplicaSet", "name": "rs", "controller": true }]) } else { json!([]) };
        let metadata = json!({ "namespace": "shop", "name": name, "labels": { "app": name }, "ownerReferences": owners });
        serde_json::from_value(json!({ "metadata": metadata, "spec": { "nodeName": on }, "status": { "phase": "Running" } })).unwrap()
    }

    fn budget(name: &str, app: &str, desired: u32, expected: u32) -> Budget {
        let status =
            json!({ "currentHealthy": expected, "desiredHealthy": desired, "expectedPods": expected, "disruptionsAllowed": expected - desired });
        let spec = json!({ "selector": { "matchLabels": { "app": app } } });
        serde_json::from_value(json!({ "metadata": { "namespace": "shop", "name": name }, "spec": spec, "status": status })).unwrap()
    }

    fn found(nodes: &[Node], pods: &[Pod], budgets: &[Budget]) -> (Vec<(String, String)>, usize, usize) {
        let Found { checks, looked, blocked } = look(nodes, pods, budgets, Rules::default(), NoRoom::Critical, |_| true);
        (checks.into_iter().map(|check| (check.id, check.subject)).collect(), looked, blocked)
    }

    fn is(id: &str, subject: &str) -> (String, String) {
        (id.to_owned(), subject.to_owned())
    }

    #[test]
    fn nothing_is_said_where_nothing_is_in_the_way() {
        let nodes = [node("n1"), node("n2")];
        let pods = [pod("web", "n1", true), pod("cart", "n2", true)];
        assert_eq!(found(&nodes, &pods, &[budget("web", "web", 1, 2)]), (vec![], 2, 0));
        assert_eq!(found(&nodes[..1], &[], &[budget("web", "web", 1, 1)]), (vec![], 1, 0), "a budget of pods that are not there");
    }

    #[test]
    fn a_budget_that_never_lets_go_is_told_once_and_blocks_each_node_with_its_pods() {
        let nodes = [node("n1"), node("n2"), node("n3")];
        let pods = [pod("web", "n1", true), pod("web", "n2", true)];
        assert_eq!(found(&nodes, &pods, &[budget("b", "web", 2, 2)]), (vec![is(BUDGET, "shop/PodDisruptionBudget/b")], 3, 2));
        let two = [budget("a", "web", 1, 2), budget("b", "web", 1, 2)];
        assert_eq!(found(&nodes, &pods[..1], &two), (vec![is(BUDGET, "shop/web")], 3, 1));
    }

    #[test]
    fn what_would_be_lost_or_finds_no_place_is_told_of_its_node() {
        let nodes = [node("n1"), node("n2")];
        assert_eq!(found(&nodes, &[pod("bare", "n1", false)], &[]), (vec![is(LOST, "node/n1")], 2, 1));
        assert_eq!(found(&nodes[..1], &[pod("web", "n1", true)], &[]), (vec![is(ROOM, "node/n1")], 1, 1));
    }
}
