//! What is to be changed, and what is said of it.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::super::super::now::Now;
use super::super::begin::is_own;
use super::super::changes::changes;
use super::super::lint::{Room, lints, room};
use super::super::merge::merge;
use super::super::record;
use super::super::template::{Change, images};
use super::super::why::{Fault, fault, is_stale, selector};
use super::{after, change, workload};
use crate::kube::objects::{Event, Pod};

const SINCE: &str = "2026-11-28T11:58:00Z";
const NOW: &str = "2026-11-28T12:00:00Z";

fn container<'t>(template: &'t Value, name: &str) -> &'t Value {
    let mut all = template["spec"]["containers"].as_array().unwrap().iter().chain(template["spec"]["initContainers"].as_array().unwrap());
    all.find(|container| container["name"] == name).unwrap()
}

#[test]
fn a_template_is_changed_where_the_plan_says_and_nowhere_else() {
    let new = after(json!({
        "images": { "app": "shop/web:2", "init": "shop/init:2" },
        "env": { "app": { "LEVEL": "debug", "OLD": null, "PORT": 80 }, "proxy": { "ON": true } },
        "resources": { "app": { "requests": { "memory": null, "cpu": "200m" }, "limits": { "memory": "128Mi" } } },
    }))
    .unwrap();
    let app = container(&new, "app");
    assert_eq!((&app["image"], &container(&new, "init")["image"]), (&json!("shop/web:2"), &json!("shop/init:2")));
    assert_eq!(app["env"], json!([{ "name": "LEVEL", "value": "debug" }, { "name": "PORT", "value": "80" }]));
    assert_eq!(container(&new, "proxy")["env"], json!([{ "name": "ON", "value": "true" }]));
    assert_eq!(app["resources"], json!({ "requests": { "cpu": "200m" }, "limits": { "memory": "128Mi" } }));
    let said = changes(record::template(&workload()), &new);
    for line in [
        "spec.containers[app].image: shop/web:1 → shop/web:2",
        "spec.initContainers[init].image: shop/init:1 → shop/init:2",
        "spec.containers[app].env[LEVEL].value: changed",
        "spec.containers[app].env[OLD]: taken away",
        "spec.containers[app].env[PORT]: set",
        "spec.containers[app].resources.requests.cpu: 100m → 200m",
        "spec.containers[app].resources.requests.memory: 64Mi → taken away",
    ] {
        assert!(said.contains(&line.to_owned()), "{line}: {said:#?}");
    }
    assert!(!said.join(" ").contains("debug"), "what a variable is set to may be a secret");
    // An input that was left empty names nothing.
    let mut single = workload();
    single["spec"]["template"]["spec"]["containers"].as_array_mut().unwrap().truncate(1);
    let Change::Edits(edits) = change(json!({ "image": "shop/web:2", "container": "" })).unwrap() else { panic!("edits") };
    let new = super::edited(record::template(&single), &edits).unwrap();
    assert_eq!(images(&new), "app=shop/web:2");
}

#[test]
fn what_cannot_be_done_is_said() {
    for (more, words) in [
        (json!({}), "it says nothing that is to be changed"),
        (json!({ "image": "x:1" }), "it has several containers (app, proxy): say which under `container`"),
        (json!({ "images": { "web": "x:1" } }), "it has no container `web`: it has app, proxy, init"),
        (json!({ "images": { "app": "" } }), "`` is no image"),
        (json!({ "images": { "app": "a b" } }), "`a b` is no image"),
        (json!({ "env": { "app": { "A": { "valueFrom": {} } } } }), "`env.app.A` should be text"),
        (json!({ "resources": { "app": "1" } }), "`resources.app` should be a block"),
        (json!({ "images": { "app": "x:1" }, "object": { "spec": { "template": {} } } }), "an `object` says all of it"),
        (json!({ "object": { "spec": {} } }), "has no spec.template"),
        (json!({ "object": { "metadata": { "namespace": "other" }, "spec": { "template": {} } } }), "\"other\" at /metadata/namespace"),
        (json!({ "object": { "metadata": { "name": "api" }, "spec": { "template": {} } } }), "and the step is about web"),
        (json!({ "object": { "kind": "DaemonSet", "spec": { "template": {} } } }), "and the step is about Deployment"),
        (json!({ "object": { "apiVersion": 1, "spec": { "template": {} } } }), "has 1 at /apiVersion"),
        (json!({ "imagee": "x" }), "unknown field `imagee`"),
    ] {
        let said = after(more.clone()).unwrap_err();
        assert!(said.contains(words), "{more}: {said}");
    }
    let Change::Apply(object) = change(json!({ "object": { "spec": { "template": {} } } })).unwrap() else { panic!("an object") };
    assert_eq!(object["metadata"], json!({ "namespace": "shop", "name": "web" }));
    assert_eq!((&object["apiVersion"], &object["kind"]), (&json!("apps/v1"), &json!("Deployment")));
}

/// What is said of the workload with this over it.
fn said(patch: Value) -> Vec<&'static str> {
    let mut workload = workload();
    merge(&mut workload, &patch);
    lints(&workload).into_iter().map(|lint| lint.id).collect()
}

#[test]
fn what_will_be_noticed_is_said_beforehand() {
    let only = |container: Value| json!({ "spec": { "template": { "spec": { "containers": [container] } } } });
    let well = json!({ "name": "app", "image": "host:5000/web@sha256:ab", "readinessProbe": {}, "lifecycle": { "preStop": {} } });
    let with = |name: &str, value: Value| {
        let mut container = well.clone();
        merge(&mut container, &json!({ name: value }));
        only(container)
    };
    assert_eq!(said(json!({})), Vec::<&str>::new());
    assert_eq!(said(only(well.clone())), Vec::<&str>::new());
    assert_eq!(said(with("readinessProbe", Value::Null)), ["kube.rollout.readiness"]);
    assert_eq!(said(with("lifecycle", Value::Null)), ["kube.rollout.ending"]);
    assert_eq!(said(json!({ "spec": { "template": { "spec": { "terminationGracePeriodSeconds": 0 } } } })), ["kube.rollout.ending"]);
    for image in ["shop/web", "shop/web:latest", "host:5000/web"] {
        assert_eq!(said(with("image", json!(image))), ["kube.rollout.image"], "{image}");
    }
    let strategy = |surge: Value, unavailable: Value| json!({ "spec": { "strategy": { "rollingUpdate": { "maxSurge": surge, "maxUnavailable": unavailable } } } });
    assert_eq!(said(json!({ "spec": { "strategy": { "type": "Recreate" } } })), ["kube.rollout.room"]);
    assert_eq!(said(strategy(json!(0), json!(2))), ["kube.rollout.room"]);
    assert_eq!(said(strategy(json!(0), json!("100%"))), ["kube.rollout.room"]);
    assert_eq!(said(strategy(json!(0), json!(1))), Vec::<&str>::new());
    assert_eq!(said(json!({ "spec": { "replicas": 1 } })), ["kube.rollout.replicas"]);
    let mut alone = strategy(json!(0), json!(1));
    alone["spec"]["replicas"] = json!(1);
    assert_eq!(said(alone), ["kube.rollout.replicas"]);
    assert_eq!(said(json!({ "kind": "StatefulSet" })), Vec::<&str>::new());
    assert_eq!(said(json!({ "kind": "StatefulSet", "spec": { "replicas": 1 } })), ["kube.rollout.replicas"]);
    assert_eq!(said(json!({ "kind": "DaemonSet" })), ["kube.rollout.room"]);
    let surging = json!({ "updateStrategy": { "rollingUpdate": { "maxSurge": 1, "maxUnavailable": 0 } } });
    assert_eq!(said(json!({ "kind": "DaemonSet", "spec": surging })), Vec::<&str>::new());
}

#[test]
fn room_is_counted_as_the_cluster_counts_it() {
    let of = |kind: &str, replicas: i64, strategy: Value| {
        room(&json!({ "kind": kind, "spec": { "replicas": replicas, "strategy": strategy }, "status": { "desiredNumberScheduled": 3 } }))
    };
    let rolling = |surge, unavailable| Room::Rolling { surge, unavailable };
    assert_eq!(of("Deployment", 1, json!({})), rolling(1, 0));
    assert_eq!(of("Deployment", 10, json!({})), rolling(3, 2));
    let strategy = |surge: &str, unavailable: &str| json!({ "rollingUpdate": { "maxSurge": surge, "maxUnavailable": unavailable } });
    assert_eq!(of("Deployment", 3, strategy("50%", "50%")), rolling(2, 1));
    assert_eq!(of("Deployment", 3, strategy("0%", "10%")), rolling(0, 1), "it has to move");
    assert_eq!(of("Deployment", 3, json!({ "type": "Recreate" })), Room::AllAtOnce);
    assert_eq!(of("StatefulSet", 3, json!({})), rolling(0, 1));
    assert_eq!(of("DaemonSet", 0, json!({})), rolling(0, 1));
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn pod(created: &str, status: &Value) -> Pod {
    let owner = json!([{ "kind": "ReplicaSet", "name": "web-5d8", "controller": true }]);
    serde_json::from_value(json!({
        "metadata": { "name": "web-1", "namespace": "shop", "creationTimestamp": created, "labels": { "pod-template-hash": "5d8" }, "ownerReferences": owner },
        "status": status,
    }))
    .unwrap()
}

fn waiting(reason: &str) -> Value {
    json!({ "phase": "Pending", "containerStatuses": [{ "name": "app", "image": "shop/web:2", "state": { "waiting": { "reason": reason } } }] })
}

#[test]
fn why_it_does_not_move_is_said_of_the_new_pods() {
    let asked = |workload: &Value, pods: &[Pod], events: &[Event]| fault(workload, pods, events, Some(at(SINCE)), Now(at(NOW)));
    let of = |status: &Value| asked(&workload(), &[pod(SINCE, status)], &[]);
    let lasting = |words: &str| Some(Fault { message: words.to_owned(), is_lasting: true });
    assert_eq!(of(&waiting("ImagePullBackOff")), lasting("the image shop/web:2 of app cannot be pulled (ImagePullBackOff)"));
    assert_eq!(of(&waiting("CreateContainerConfigError")), lasting("app cannot be started (CreateContainerConfigError)"));
    assert!(of(&waiting("CrashLoopBackOff")).is_some_and(|fault| fault.is_lasting && fault.message.contains("ends again and again")));
    let condition = |r#type: &str, message: &str| json!({ "type": r#type, "status": "False", "message": message, "lastTransitionTime": SINCE });
    let unschedulable = json!({ "phase": "Pending", "conditions": [condition("PodScheduled", "0/2 nodes are available: 2 Insufficient cpu.")] });
    assert!(of(&unschedulable).is_some_and(|fault| fault.is_lasting && fault.message.contains("Insufficient cpu")));
    let not_ready = json!({ "phase": "Running", "conditions": [condition("Ready", "containers with unready status: [app]")] });
    assert!(of(&not_ready).is_some_and(|fault| !fault.is_lasting && fault.message.contains("has not been ready for 2 min")));
    assert_eq!(of(&json!({ "phase": "Running", "conditions": [{ "type": "Ready", "status": "True" }] })), None);
    // What the old ones suffer from is why somebody rolls out another version.
    assert_eq!(asked(&workload(), &[pod("2026-11-28T11:57:59Z", &waiting("ImagePullBackOff"))], &[]), None);
    // A quota: a Deployment says so itself; of others it is told as an event.
    let mut refused = workload();
    refused["status"]["conditions"] =
        json!([{ "type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "exceeded quota: small" }]);
    assert_eq!(asked(&refused, &[], &[]), lasting("its pods cannot be made: exceeded quota: small"));
    let event = |at: &str| -> Event {
        serde_json::from_value(json!({ "reason": "FailedCreate", "message": "exceeded quota: small", "lastTimestamp": at })).unwrap()
    };
    assert_eq!(asked(&workload(), &[], &[event(NOW)]), lasting("its pods cannot be made: exceeded quota: small"));
    assert_eq!(asked(&workload(), &[], &[event("2026-11-28T11:00:00Z")]), None, "of an earlier rollout");
}

#[test]
fn a_word_of_an_earlier_rollout_is_known() {
    let said = |at: &str| json!({ "status": { "conditions": [{ "type": "Progressing", "lastTransitionTime": at }] } });
    assert!(is_stale(&said("2026-11-28T11:57:00Z"), Some(at(SINCE))));
    assert!(!is_stale(&said("2026-11-28T11:59:00Z"), Some(at(SINCE))) && !is_stale(&said(SINCE), None) && !is_stale(&json!({}), Some(at(SINCE))));
}

#[test]
fn pods_are_found_by_each_form_of_a_selector() {
    let workload = json!({ "spec": { "selector": { "matchLabels": { "app": "web" }, "matchExpressions": [
        { "key": "tier", "operator": "In", "values": ["a", "b"] }, { "key": "x", "operator": "NotIn", "values": ["y"] },
        { "key": "z", "operator": "Exists" }, { "key": "old", "operator": "DoesNotExist" },
    ] } } });
    assert_eq!(selector(&workload), "app=web,tier in (a,b),x notin (y),z,!old");
}

#[test]
fn what_mainstay_has_set_in_another_way_is_its_own() {
    assert!(is_own("Apply failed with 1 conflict: conflict with \"mainstay\" using apps/v1: .spec.replicas"));
    let both =
        "Apply failed with 2 conflicts: conflicts with \"mainstay\" using apps/v1:\n- .a\nconflicts with \"kubectl-edit\" using apps/v1:\n- .b";
    assert!(!is_own(both) && !is_own("Apply failed with 1 conflict"));
}
