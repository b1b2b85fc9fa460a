#![allow(clippy::unwrap_used)]

mod decisions;
mod words;

use serde_json::{Map, Value, json};

use super::super::work::Work;
use super::merge::{difference, merge};
use super::record::{self, Record};
use super::template::{Change, Params, edited};

/// Deployment shop/web, rolled out, as an API server has it.
fn workload() -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {
            "name": "web", "namespace": "shop", "generation": 1, "resourceVersion": "10", "labels": { "team": "a" }, "annotations": {},
        },
        "spec": {
            "replicas": 2,
            "selector": { "matchLabels": { "app": "web" } },
            "strategy": { "type": "RollingUpdate", "rollingUpdate": { "maxSurge": "25%", "maxUnavailable": "25%" } },
            "template": {
                "metadata": { "labels": { "app": "web" }, "creationTimestamp": null },
                "spec": {
                    "terminationGracePeriodSeconds": 30,
                    "containers": [
                        {
                            "name": "app", "image": "shop/web:1", "readinessProbe": {}, "lifecycle": { "preStop": {} },
                            "env": [{ "name": "LEVEL", "value": "info" }, { "name": "OLD", "valueFrom": { "secretKeyRef": { "name": "s", "key": "k" } } }],
                            "resources": { "requests": { "cpu": "100m", "memory": "64Mi" } },
                        },
                        { "name": "proxy", "image": "shop/proxy:1", "readinessProbe": {}, "lifecycle": { "preStop": {} } },
                    ],
                    "initContainers": [{ "name": "init", "image": "shop/init:1" }],
                },
            },
        },
        "status": { "observedGeneration": 1, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2 },
    })
}

fn params(more: Value) -> Result<Params, String> {
    let mut with = json!({ "namespace": "shop", "name": "web" });
    // As it is written: a null within it is a value.
    for (name, value) in more.as_object().unwrap() {
        with[name] = value.clone();
    }
    serde_json::from_value(with).map_err(|error| error.to_string())
}

fn change(more: Value) -> Result<Change, String> {
    params(more)?.change()
}

/// The template of the workload after a change.
fn after(more: Value) -> Result<Value, String> {
    match change(more)? {
        Change::Edits(edits) => edited(record::template(&workload()), &edits),
        Change::Apply(object) => Ok(object),
    }
}

/// As an API server does it: another version, and another generation where the specification changes.
fn patched(workload: &Value, fields: &Value) -> Value {
    assert_eq!(fields["metadata"]["resourceVersion"], workload["metadata"]["resourceVersion"], "over what was read");
    let mut patched = workload.clone();
    merge(&mut patched, fields);
    let count = |pointer: &str| workload.pointer(pointer).and_then(Value::as_i64).unwrap_or_default();
    if patched["spec"] != workload["spec"] {
        patched["metadata"]["generation"] = json!(count("/metadata/generation") + 1);
    }
    let version: u64 = workload["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
    patched["metadata"]["resourceVersion"] = json!((version + 1).to_string());
    patched
}

/// What its controller says when all pods are as they are to be.
fn rolled_out(workload: &Value) -> Value {
    let mut workload = workload.clone();
    workload["status"]["observedGeneration"] = workload["metadata"]["generation"].clone();
    for field in ["replicas", "updatedReplicas", "availableReplicas"] {
        workload["status"][field] = workload["spec"]["replicas"].clone();
    }
    workload
}

/// The workload after an attempt has begun.
fn begun(workload: &Value, work: &Work, more: Value) -> Value {
    let Change::Edits(edits) = change(more).unwrap() else { panic!("a change of the template") };
    let template = record::template(workload);
    let mut fields = json!({});
    if let Some(difference) = difference(template, &edited(template, &edits).unwrap()) {
        fields["spec"]["template"] = difference;
    }
    record::merge_marks(&mut fields, workload, work, Map::new());
    let after = patched(workload, &fields);
    record::merge_marks(&mut fields, workload, work, Record::of(work, workload, &after).marks(work));
    patched(workload, &fields)
}
