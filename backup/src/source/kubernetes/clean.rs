//! An object without what only its cluster knows of it, so that it can be made again, there or elsewhere. Pure.
//!
//! Of an object's metadata only what people give stays. Owners go whatever they are: they are named by a UID, and an object whose
//! owner has another one by then would be collected as garbage. What a controller makes of another object is left out, where that
//! other one is in the backup too, or is of a kind whose controller is a part of Kubernetes.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::Kind;

/// What stays of metadata.
const META: [&str; 5] = ["name", "namespace", "labels", "annotations", "finalizers"];
/// Annotations that say how something is at the moment, or whose value is that of another cluster.
const ANNOTATIONS: [&str; 14] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    "deployment.kubernetes.io/revision",
    "deployment.kubernetes.io/desired-replicas",
    "deployment.kubernetes.io/max-replicas",
    "deprecated.daemonset.template.generation",
    "autoscaling.alpha.kubernetes.io/conditions",
    "autoscaling.alpha.kubernetes.io/current-metrics",
    "control-plane.alpha.kubernetes.io/leader",
    "endpoints.kubernetes.io/last-change-trigger-time",
    "pv.kubernetes.io/bind-completed",
    "pv.kubernetes.io/bound-by-controller",
    "volume.beta.kubernetes.io/storage-provisioner",
    "volume.kubernetes.io/storage-provisioner",
    "volume.kubernetes.io/selected-node",
];
/// What Mainstay writes on objects that it is changing: it is of a run of that mesh.
const OWN_ANNOTATIONS: &str = "mainstay.dev/";
/// Finalizers that the cluster itself gives where they are needed.
const FINALIZERS: [&str; 5] = [
    "kubernetes.io/pvc-protection",
    "service.kubernetes.io/load-balancer-cleanup",
    "foregroundDeletion",
    "orphan",
    "batch.kubernetes.io/job-tracking",
];
/// Labels that tie a Job to its pods, by its UID or as generated from its name.
const JOB_LABELS: [&str; 4] = ["controller-uid", "batch.kubernetes.io/controller-uid", "job-name", "batch.kubernetes.io/job-name"];
/// Groups of APIs whose controllers are a part of Kubernetes: they make what they own again.
const BUILT_IN: [&str; 5] = ["", "apps", "batch", "autoscaling", "policy"];
/// Certificates of the cluster's authority, in every namespace.
const ROOT_CERTIFICATES: &str = "kube-root-ca.crt";
const TOKEN: &str = "kubernetes.io/service-account-token";
const BOOTSTRAP: &str = "bootstrap.kubernetes.io/token";

/// Why an object is not in a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LeftOut {
    /// A pattern says so.
    Excluded,
    /// A controller makes it of another object.
    Owned,
    /// Every namespace or cluster has one of its own.
    Given,
    /// A token, which opens nothing elsewhere.
    Token,
    /// It is about to go.
    Ending,
    /// A Job that has ended: made again, it would run again.
    Ended,
}

impl LeftOut {
    /// As it is counted.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            LeftOut::Excluded => "excluded",
            LeftOut::Owned => "owned",
            LeftOut::Given => "given",
            LeftOut::Token => "tokens",
            LeftOut::Ending => "ending",
            LeftOut::Ended => "ended",
        }
    }
}

/// An object as it is written down; `exported` are the kinds that are.
///
/// # Errors
/// Why it is left out.
pub fn clean(mut object: Value, kind: &Kind, exported: &BTreeSet<Kind>) -> Result<Value, LeftOut> {
    if let Some(why) = left_out(&object, kind, exported) {
        return Err(why);
    }
    if let Some(fields) = object.as_object_mut() {
        fields.remove("status");
        // In lists it is said once for all of them.
        fields.insert("apiVersion".to_owned(), Value::from(kind.api_version.as_str()));
        fields.insert("kind".to_owned(), Value::from(kind.kind.as_str()));
    }
    metadata(&mut object, "/metadata");
    if let Some(meta) = fields(&mut object, "/metadata") {
        meta.retain(|name, _| META.contains(&name.as_str()));
    }
    match (kind.group(), kind.kind.as_str()) {
        ("", "Service") => service(&mut object),
        ("", "PersistentVolumeClaim") => claim(&mut object, ""),
        // The names of its tokens.
        ("", "ServiceAccount") => remove(&mut object, "", &["secrets"]),
        ("apps", _) => workload(&mut object),
        ("batch", "CronJob") => {
            template(&mut object, "/spec/jobTemplate");
            template(&mut object, "/spec/jobTemplate/spec/template");
        }
        ("batch", "Job") => job(&mut object),
        _ => {}
    }
    // Asked last: what is left of it then is what somebody has given.
    if is_plain_account(&object, kind) { Err(LeftOut::Given) } else { Ok(object) }
}

fn left_out(object: &Value, kind: &Kind, exported: &BTreeSet<Kind>) -> Option<LeftOut> {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    if object.pointer("/metadata/deletionTimestamp").is_some_and(|at| !at.is_null()) {
        return Some(LeftOut::Ending);
    }
    let mut owners = object.pointer("/metadata/ownerReferences").and_then(Value::as_array).into_iter().flatten();
    if owners.any(|owner| owner["controller"] == true && comes_again(owner, exported)) {
        return Some(LeftOut::Owned);
    }
    match (kind.group(), kind.kind.as_str()) {
        ("", "ConfigMap") if text("/metadata/name") == ROOT_CERTIFICATES => Some(LeftOut::Given),
        ("", "Service") if (text("/metadata/namespace"), text("/metadata/name")) == ("default", "kubernetes") => Some(LeftOut::Given),
        ("", "Secret") if [TOKEN, BOOTSTRAP].contains(&text("/type")) => Some(LeftOut::Token),
        ("batch", "Job") if has_ended(object) => Some(LeftOut::Ended),
        _ => None,
    }
}

/// Whether what this owner has is made again where the owner is.
fn comes_again(owner: &Value, exported: &BTreeSet<Kind>) -> bool {
    let (version, kind) = (owner["apiVersion"].as_str().unwrap_or_default(), owner["kind"].as_str().unwrap_or_default());
    let group = version.split_once('/').map_or("", |(group, _)| group);
    BUILT_IN.contains(&group) || exported.iter().any(|other| other.group() == group && other.kind == kind)
}

fn has_ended(job: &Value) -> bool {
    let mut conditions = job.pointer("/status/conditions").and_then(Value::as_array).into_iter().flatten();
    conditions.any(|condition| condition["status"] == "True" && (condition["type"] == "Complete" || condition["type"] == "Failed"))
}

/// The account that every namespace gets, with nothing that somebody has given it.
fn is_plain_account(object: &Value, kind: &Kind) -> bool {
    let is_default = kind.group().is_empty() && kind.kind == "ServiceAccount" && object["metadata"]["name"] == "default";
    let plain = |fields: &Value, known: &[&str]| fields.as_object().is_some_and(|fields| fields.keys().all(|name| known.contains(&name.as_str())));
    is_default && plain(object, &["apiVersion", "kind", "metadata"]) && plain(&object["metadata"], &["name", "namespace"])
}

/// Annotations, finalizers and labels that are not somebody's, and what is empty then.
fn metadata(object: &mut Value, pointer: &str) {
    let Some(meta) = fields(object, pointer) else { return };
    if let Some(Value::Object(annotations)) = meta.get_mut("annotations") {
        annotations.retain(|name, _| !ANNOTATIONS.contains(&name.as_str()) && !name.starts_with(OWN_ANNOTATIONS));
    }
    if let Some(Value::Array(finalizers)) = meta.get_mut("finalizers") {
        finalizers.retain(|name| !name.as_str().is_some_and(|name| FINALIZERS.contains(&name)));
    }
    meta.retain(|_, value| match value {
        Value::Null => false,
        Value::Object(fields) => !fields.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => true,
    });
}

/// The metadata of something that an object has a template of.
fn template(object: &mut Value, pointer: &str) {
    remove(object, &format!("{pointer}/metadata"), &["creationTimestamp"]);
    metadata(object, &format!("{pointer}/metadata"));
}

/// Addresses and ports that the cluster has given it. A headless one has none, which somebody has said.
fn service(object: &mut Value) {
    if object.pointer("/spec/clusterIP").is_none_or(|address| address != "None") {
        remove(object, "/spec", &["clusterIP", "clusterIPs"]);
    }
    remove(object, "/spec", &["healthCheckNodePort"]);
    for port in items(object, "/spec/ports") {
        remove(port, "", &["nodePort"]);
    }
}

/// The volume that it is bound to: elsewhere it gets one of its own.
fn claim(object: &mut Value, pointer: &str) {
    remove(object, &format!("{pointer}/spec"), &["volumeName"]);
}

fn workload(object: &mut Value) {
    template(object, "/spec/template");
    for claimed in items(object, "/spec/volumeClaimTemplates") {
        remove(claimed, "", &["status"]);
        template(claimed, "");
        claim(claimed, "");
    }
}

/// What ties it to its pods by its UID, unless somebody has chosen the selector.
fn job(object: &mut Value) {
    template(object, "/spec/template");
    if object.pointer("/spec/manualSelector") == Some(&Value::Bool(true)) {
        return;
    }
    remove(object, "/spec", &["selector"]);
    for pointer in ["/metadata", "/spec/template/metadata"] {
        remove(object, &format!("{pointer}/labels"), &JOB_LABELS);
        metadata(object, pointer);
    }
}

fn fields<'o>(object: &'o mut Value, pointer: &str) -> Option<&'o mut Map<String, Value>> {
    object.pointer_mut(pointer).and_then(Value::as_object_mut)
}

fn items<'o>(object: &'o mut Value, pointer: &str) -> impl Iterator<Item = &'o mut Value> {
    object.pointer_mut(pointer).and_then(Value::as_array_mut).into_iter().flatten()
}

fn remove(object: &mut Value, pointer: &str, names: &[&str]) {
    if let Some(fields) = fields(object, pointer) {
        fields.retain(|name, _| !names.contains(&name.as_str()));
    }
}

#[cfg(test)]
mod tests;
