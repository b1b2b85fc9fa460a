//! An API server that keeps objects in memory, and refuses as it is told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use http::{Request, Response};
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::kube::Cluster;

/// Version, kind and plural of what it knows.
const KINDS: [(&str, &str, &str); 6] = [
    ("v1", "ServiceAccount", "serviceaccounts"),
    ("v1", "ConfigMap", "configmaps"),
    ("v1", "Secret", "secrets"),
    ("rbac.authorization.k8s.io/v1", "Role", "roles"),
    ("rbac.authorization.k8s.io/v1", "RoleBinding", "rolebindings"),
    ("apps/v1", "Deployment", "deployments"),
];

#[derive(Default)]
pub struct State {
    /// By their paths.
    pub objects: BTreeMap<String, Value>,
    /// `create configmaps`: what nobody may.
    pub lacking: BTreeSet<String>,
    /// Names of objects that it does not make, though it says that it would.
    pub makes_not: BTreeSet<String>,
    /// Names of objects that it does not delete.
    pub keeps: BTreeSet<String>,
    /// What is called off when an object of that name is made.
    pub calls_off: Option<(String, CancellationToken)>,
    /// What was changed: method and path.
    pub changed: Vec<String>,
    versions: u64,
}

#[derive(Default, Clone)]
pub struct Api(Arc<Mutex<State>>);

impl Api {
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub fn cluster(&self) -> Cluster {
        let api = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let api = api.clone();
            async move {
                let (parts, body) = request.into_parts();
                let body = body.collect().await?.to_bytes();
                let body: Value = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body)? };
                let who = parts.headers.get("Impersonate-User").and_then(|who| who.to_str().ok()).unwrap_or_default().to_owned();
                let uri = parts.uri.to_string().replace("%2D", "-").replace("%2E", ".").replace("%3D", "=");
                let (code, answer) = api.state().answer(parts.method.as_str(), &uri, &body, &who);
                Ok::<_, tower::BoxError>(Response::builder().status(code).body(Body::from(answer.to_string().into_bytes()))?)
            }
        });
        Cluster::played(Client::new(service, "default"))
    }

    /// Has an object, as if somebody had made it.
    pub fn has(&self, object: Value) {
        let path = format!("{}/{}", path(&object), object["metadata"]["name"].as_str().unwrap());
        self.state().put(path, object);
    }

    /// NAMESPACE/KIND/NAME of all that there is of a namespace.
    pub fn names(&self, namespace: &str) -> Vec<String> {
        let state = self.state();
        let of = state.objects.values().filter(|object| object["metadata"]["namespace"] == namespace);
        of.map(|object| format!("{}/{}", object["kind"].as_str().unwrap(), object["metadata"]["name"].as_str().unwrap())).collect()
    }
}

/// Where others of its kind are.
fn path(object: &Value) -> String {
    let kind = KINDS.iter().find(|(_, kind, _)| object["kind"] == *kind).unwrap();
    format!("{}/namespaces/{}/{}", root(kind.0), object["metadata"]["namespace"].as_str().unwrap(), kind.2)
}

fn root(version: &str) -> String {
    if version.contains('/') { format!("/apis/{version}") } else { format!("/api/{version}") }
}

fn refusal(code: u16, message: &str) -> (u16, Value) {
    (code, json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "reason": "No", "code": code }))
}

impl State {
    fn put(&mut self, path: String, mut object: Value) -> Value {
        self.versions += 1;
        object["metadata"]["resourceVersion"] = json!(self.versions.to_string());
        if object["metadata"]["uid"].is_null() {
            object["metadata"]["uid"] = json!(format!("uid-{}", self.versions));
        }
        self.objects.insert(path, object.clone());
        object
    }

    fn answer(&mut self, method: &str, uri: &str, body: &Value, who: &str) -> (u16, Value) {
        let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
        let is_dry = query.contains("dryRun=All");
        if path == "/version" {
            return (200, json!({ "gitVersion": "v1.36.0" }));
        }
        if path.ends_with("/selfsubjectaccessreviews") {
            let of = &body["spec"]["resourceAttributes"];
            let right = format!("{} {}", of["verb"].as_str().unwrap(), of["resource"].as_str().unwrap());
            return (201, json!({ "status": { "allowed": !self.lacking.contains(&right) } }));
        }
        if KINDS.iter().any(|(version, ..)| path == root(version)) {
            let known = KINDS.iter().filter(|(version, ..)| path == root(version));
            let all: Vec<Value> = known.map(|(_, kind, plural)| json!({ "name": plural, "kind": kind, "namespaced": true })).collect();
            return (200, json!({ "resources": all }));
        }
        let is_list = KINDS.iter().any(|(.., plural)| path.ends_with(&format!("/{plural}")));
        match method {
            "GET" if is_list => {
                let name = query.split('&').find_map(|part| part.strip_prefix("fieldSelector=metadata.name="));
                let own = self.objects.iter().filter(|(of, _)| of.strip_prefix(path).is_some_and(|rest| rest.starts_with('/')));
                let own = own.map(|(_, object)| object).filter(|object| name.is_none_or(|name| object["metadata"]["name"] == name));
                (200, json!({ "metadata": {}, "items": own.collect::<Vec<_>>() }))
            }
            "GET" => self.objects.get(path).map_or_else(|| refusal(404, "not found"), |object| (200, object.clone())),
            _ if !who.starts_with("system:serviceaccount:") => refusal(403, "only runners change anything"),
            "POST" => self.make(path, body, is_dry),
            "PATCH" => self.patch(path, body),
            "DELETE" => self.delete(path, body),
            _ => refusal(405, "no"),
        }
    }

    fn make(&mut self, path: &str, body: &Value, is_dry: bool) -> (u16, Value) {
        let name = body["metadata"]["name"].as_str().unwrap().to_owned();
        let full = format!("{path}/{name}");
        if self.objects.contains_key(&full) {
            return refusal(409, "it is there already");
        }
        if is_dry {
            return (201, body.clone());
        }
        if let Some((_, cancel)) = self.calls_off.as_ref().filter(|(of, _)| *of == name) {
            cancel.cancel();
        }
        if self.makes_not.contains(&name) {
            return refusal(403, "exceeded quota: small");
        }
        self.changed.push(format!("POST {full}"));
        (201, self.put(full, body.clone()))
    }

    fn patch(&mut self, path: &str, body: &Value) -> (u16, Value) {
        let Some(mut object) = self.objects.get(path).cloned() else { return refusal(404, "not found") };
        if body["metadata"]["resourceVersion"] != object["metadata"]["resourceVersion"] {
            return refusal(409, "it is not what it was");
        }
        for (name, value) in body["metadata"]["annotations"].as_object().unwrap() {
            object["metadata"]["annotations"][name.as_str()] = value.clone();
        }
        self.changed.push(format!("PATCH {path}"));
        (200, self.put(path.to_owned(), object))
    }

    fn delete(&mut self, path: &str, body: &Value) -> (u16, Value) {
        let Some(object) = self.objects.get(path) else { return refusal(404, "not found") };
        let wanted = &body["preconditions"];
        if wanted["uid"] != object["metadata"]["uid"] || wanted["resourceVersion"] != object["metadata"]["resourceVersion"] {
            return refusal(409, "it is not what it was");
        }
        if self.keeps.contains(object["metadata"]["name"].as_str().unwrap()) {
            return refusal(403, "it is to stay");
        }
        self.changed.push(format!("DELETE {path}"));
        self.objects.remove(path);
        (200, json!({ "kind": "Status", "apiVersion": "v1", "status": "Success" }))
    }
}
