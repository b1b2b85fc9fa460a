//! What keeps a node from being taken out of use now, besides itself. Pure.

use serde::Deserialize;
use serde_json::Value;

use super::super::work::{annotation, text};
use super::mark::{Cordoned, is_cordoned};

/// Labels of the nodes that run the control plane.
const CONTROL_PLANE: [&str; 2] = ["node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master"];
/// Where kured says which node it reboots.
pub const KURED_LOCK: &str = "weave.works/kured-node-lock";

pub fn is_of_control_plane(node: &Value) -> bool {
    let labels = node.pointer("/metadata/labels");
    CONTROL_PLANE.iter().any(|label| labels.is_some_and(|labels| labels.get(label).is_some()))
}

pub fn is_ready(node: &Value) -> bool {
    let mut conditions = node.pointer("/status/conditions").and_then(Value::as_array).into_iter().flatten();
    conditions.any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

/// Nodes of the control plane go one at a time, and one that is ready stays: without it nobody could be asked to bring
/// the others back.
pub fn control_plane(node: &Value, all: &[Value]) -> Option<String> {
    if !is_of_control_plane(node) {
        return None;
    }
    let name = text(node, "/metadata/name");
    let others: Vec<&Value> = all.iter().filter(|other| is_of_control_plane(other) && text(other, "/metadata/name") != name).collect();
    if let Some((other, cordoned)) = others.iter().find_map(|other| Some((other, Cordoned::of(other)?))) {
        let (other, run) = (text(other, "/metadata/name"), cordoned.run());
        return Some(format!("nodes of the control plane go one at a time, and run {run} has {other}"));
    }
    if let Some(other) = others.iter().find(|other| !is_ready(other) || is_cordoned(other)) {
        return Some(format!("node {} of the control plane is out already: not ready, or cordoned", text(other, "/metadata/name")));
    }
    let stays = !others.is_empty();
    (!stays).then(|| "it is the only node of the control plane that is ready and takes pods: another one has to be".to_owned())
}

/// Which nodes a lock of kured is for, where somebody holds it: one, or several where kured is told so.
#[derive(Debug, Deserialize)]
struct Lock {
    #[serde(rename = "nodeID", default)]
    node: String,
    #[serde(default)]
    locks: Vec<Lock>,
}

impl Lock {
    fn nodes(&self) -> Vec<&str> {
        let own = (!self.node.is_empty()).then_some(self.node.as_str());
        own.into_iter().chain(self.locks.iter().flat_map(Lock::nodes)).collect()
    }
}

/// Whether kured is about to reboot a node, by what it has written on its DaemonSet.
pub fn kured(daemons: &[Value]) -> Option<String> {
    daemons.iter().find_map(|daemons| {
        let lock: Lock = serde_json::from_str(annotation(daemons, KURED_LOCK)?).ok()?;
        let of = (text(daemons, "/metadata/namespace"), text(daemons, "/metadata/name"));
        let nodes = lock.nodes();
        (!nodes.is_empty()).then(|| format!("kured reboots node {}, by the lock on DaemonSet {}/{}", nodes.join(", "), of.0, of.1))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::super::mark::CORDONED;
    use super::*;

    fn node(name: &str, of_control_plane: bool, ready: bool) -> Value {
        let labels = if of_control_plane { json!({ CONTROL_PLANE[0]: "" }) } else { json!({}) };
        let status = if ready { "True" } else { "Unknown" };
        json!({ "metadata": { "name": name, "labels": labels }, "status": { "conditions": [{ "type": "Ready", "status": status }] } })
    }

    #[test]
    fn the_control_plane_goes_one_at_a_time_and_never_all_of_it() {
        let (a, b, w) = (node("a", true, true), node("b", true, true), node("w", false, true));
        let all = [a.clone(), b.clone(), w.clone()];
        assert_eq!(control_plane(&a, &all), None);
        assert_eq!(control_plane(&w, std::slice::from_ref(&w)), None, "it is about nodes of the control plane");
        assert!(control_plane(&a, &[a.clone(), w.clone()]).unwrap().contains("the only node"));
        assert!(control_plane(&a, &[a.clone(), node("b", true, false), w.clone()]).unwrap().contains("node b of the control plane is out"));
        let three = [a.clone(), node("b", true, false), node("c", true, true)];
        assert!(control_plane(&a, &three).unwrap().contains("node b of the control plane is out"), "two of three would be");
        let mut cordoned = b.clone();
        cordoned["spec"] = json!({ "unschedulable": true });
        assert!(control_plane(&a, &[a.clone(), cordoned.clone(), w.clone()]).unwrap().contains("node b of the control plane is out"));
        cordoned["metadata"]["annotations"] = json!({ CORDONED: r#"{"by":"1/roll-1","wasCordoned":false}"# });
        let third = node("c", true, true);
        let why = control_plane(&a, &[a.clone(), cordoned, third, w]).unwrap();
        assert_eq!(why, "nodes of the control plane go one at a time, and run roll-1 has b");
    }

    #[test]
    fn kured_is_let_go_first() {
        let daemons = |lock: &str| {
            let metadata = json!({ "namespace": "kube-system", "name": "kured", "annotations": { KURED_LOCK: lock } });
            vec![json!({ "metadata": metadata })]
        };
        let lock = r#"{"nodeID":"n1","metadata":{"unschedulable":false},"created":"2026-11-28T12:00:00Z","TTL":0}"#;
        assert_eq!(kured(&daemons(lock)).unwrap(), "kured reboots node n1, by the lock on DaemonSet kube-system/kured");
        let several = r#"{"maxOwners":2,"locks":[{"nodeID":"n1","TTL":0},{"nodeID":"n2","TTL":0}]}"#;
        assert_eq!(kured(&daemons(several)).unwrap(), "kured reboots node n1, n2, by the lock on DaemonSet kube-system/kured");
        assert_eq!((kured(&daemons("{}")), kured(&daemons(r#"{"maxOwners":2,"locks":[]}"#)), kured(&[])), (None, None, None));
    }
}
