//! Which things of a namespace a step has in its hands, by its kind and parameters: what leads traffic, workloads, and
//! Helm's releases. Pure; the engine makes a claim of each (`decide/run/thing.rs`).
//!
//! It does not know what is behind a name: which workloads a release has, a chart says, and which Services lead to a
//! workload, a selector. Who changes a thing under one of its names, and under another one, is kept apart by what the kinds
//! themselves compare.

use serde_json::{Map, Value};

use super::{HELM_ROLLBACK, HELM_UNINSTALL, HELM_UPGRADE, Kind, SWITCH};
use crate::plan::Plan;

/// The kind that reads what traffic is led to, for what the steps after it make of that.
pub const LIVE: &str = "kube.live";
/// The kinds that give a workload other pods, new ones, or another number of them.
pub const ROLLOUT: &str = "kube.rollout";
pub const RESTART: &str = "kube.restart";
pub const SCALE: &str = "kube.scale";
/// The kinds that make any object what a plan says, or delete it.
pub const APPLY: &str = "kube.apply";
pub const DELETE: &str = "kube.delete";

/// How a release of Helm is called here. It is no object of the cluster.
const RELEASE: &str = "Release";
/// The objects that are such things, where a kind may be about any object.
const KINDS: [&str; 6] = ["Deployment", "StatefulSet", "DaemonSet", "Service", "Ingress", "HTTPRoute"];

/// One thing of a namespace, or several of one kind whose names nobody knows before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thing<'w> {
    pub namespace: &'w str,
    pub kind: &'w str,
    /// Nothing where a selector says which.
    pub name: Option<&'w str>,
}

/// The things that a step of this kind with these parameters has in its hands. An expression that has not been filled in is
/// no name.
#[must_use]
pub fn things<'w>(kind: &Kind, with: &'w Map<String, Value>) -> Vec<Thing<'w>> {
    let text = |name: &str| with.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let Some(namespace) = text("namespace").or_else(|| of_object(with, "namespace")) else { return Vec::new() };
    let of = |own: &'w str, name: Option<&'w str>| Thing { namespace, kind: own, name };
    // What is left out is what the kind declares.
    let own = text("kind").or_else(|| kind.param("kind").map(|param| param.default).filter(|default| !default.is_empty()));
    match (kind.name, own) {
        (LIVE | SWITCH, Some(own)) => {
            let names = with.get("names").and_then(Value::as_array).into_iter().flatten();
            names.filter_map(Value::as_str).map(|name| of(own, Some(name))).collect()
        }
        (ROLLOUT | SCALE, Some(own)) => text("name").map(|name| of(own, Some(name))).into_iter().collect(),
        (RESTART, Some(own)) => vec![of(own, text("name"))],
        (DELETE, Some(own)) if KINDS.contains(&own) => text("name").map(|name| of(own, Some(name))).into_iter().collect(),
        (APPLY, _) => {
            let own = with.get("object").and_then(|object| object.get("kind")).and_then(Value::as_str).filter(|own| KINDS.contains(own));
            own.zip(of_object(with, "name")).map(|(own, name)| of(own, Some(name))).into_iter().collect()
        }
        (HELM_UPGRADE | HELM_ROLLBACK | HELM_UNINSTALL, _) => text("release").map(|name| of(RELEASE, Some(name))).into_iter().collect(),
        _ => Vec::new(),
    }
}

/// Whether a plan changes such things. One that only looks at them need not be kept apart from those that do.
#[must_use]
pub fn changes_things(plan: &Plan) -> bool {
    let changes = |uses: &str| [SWITCH, ROLLOUT, RESTART, SCALE, APPLY, DELETE, HELM_UPGRADE, HELM_ROLLBACK, HELM_UNINSTALL].contains(&uses);
    plan.steps.iter().any(|step| changes(&step.uses) || step.undo.as_ref().is_some_and(|undo| changes(&undo.uses)))
}

fn of_object<'w>(with: &'w Map<String, Value>, field: &str) -> Option<&'w str> {
    with.get("object")?.get("metadata")?.get(field)?.as_str()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::catalogue::{KINDS as ALL, kind};

    fn named(uses: &str, with: &Value) -> Vec<String> {
        let things = things(kind(uses).unwrap(), with.as_object().unwrap());
        things.iter().map(|thing| format!("{}/{}/{}", thing.namespace, thing.kind, thing.name.unwrap_or("?"))).collect()
    }

    #[test]
    fn what_a_step_has_in_its_hands_is_told_by_its_parameters() {
        for (uses, with, expected) in [
            (
                LIVE,
                json!({ "namespace": "shop", "names": ["web", "web-admin"], "of": ["a", "b"] }),
                vec!["shop/Service/web", "shop/Service/web-admin"],
            ),
            (SWITCH, json!({ "namespace": "shop", "kind": "HTTPRoute", "names": ["web"], "to": "b" }), vec!["shop/HTTPRoute/web"]),
            (ROLLOUT, json!({ "namespace": "shop", "name": "web", "image": "x:1" }), vec!["shop/Deployment/web"]),
            (ROLLOUT, json!({ "namespace": "shop", "kind": "DaemonSet", "name": "web", "image": "x:1" }), vec!["shop/DaemonSet/web"]),
            (SCALE, json!({ "namespace": "shop", "kind": "StatefulSet", "name": "db", "replicas": 1 }), vec!["shop/StatefulSet/db"]),
            (RESTART, json!({ "namespace": "shop", "name": "web" }), vec!["shop/Deployment/web"]),
            (RESTART, json!({ "namespace": "shop", "selector": "app=web" }), vec!["shop/Deployment/?"]),
            (DELETE, json!({ "namespace": "shop", "kind": "Service", "name": "web" }), vec!["shop/Service/web"]),
            (DELETE, json!({ "namespace": "shop", "kind": "ConfigMap", "name": "web" }), vec![]),
            (APPLY, json!({ "object": { "kind": "Deployment", "metadata": { "name": "web", "namespace": "shop" } } }), vec!["shop/Deployment/web"]),
            (APPLY, json!({ "object": { "kind": "ConfigMap", "metadata": { "name": "web", "namespace": "shop" } } }), vec![]),
            (HELM_UPGRADE, json!({ "namespace": "shop", "release": "web", "chart": "c" }), vec!["shop/Release/web"]),
            (HELM_UNINSTALL, json!({ "namespace": "shop", "release": "web" }), vec!["shop/Release/web"]),
            ("kube.workloads", json!({ "namespaces": ["shop"] }), vec![]),
            ("kube.wait", json!({ "namespace": "shop", "kind": "Deployment", "name": "web", "until": "true" }), vec![]),
        ] {
            assert_eq!(named(uses, &with), expected, "{uses} {with}");
        }
    }

    #[test]
    fn the_kinds_that_are_named_here_are_there() {
        for name in [LIVE, ROLLOUT, RESTART, SCALE, APPLY, DELETE] {
            assert!(ALL.iter().any(|kind| kind.name == name), "{name}");
        }
    }
}
