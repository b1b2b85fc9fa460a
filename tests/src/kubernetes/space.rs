//! A namespace of one test, in a cluster that others use too.

use std::time::Duration;

use serde_json::Value;

use super::Cluster;
use crate::wait::{PATIENCE, eventually_within};

/// Goes with what is in it when it is dropped.
pub struct Space<'a> {
    cluster: &'a Cluster,
    name: String,
}

impl<'a> Space<'a> {
    pub(super) fn create(cluster: &'a Cluster, name: &str) -> Space<'a> {
        let object = format!("apiVersion: v1\nkind: Namespace\nmetadata: {{generateName: {name}-}}\n");
        let created = cluster.kubectl_with(&["create", "-f", "-", "-o", "name"], &object).expect("a namespace");
        let name = created.trim().trim_start_matches("namespace/").to_owned();
        Space { cluster, name }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// As [`Cluster::kubectl`], in this namespace.
    pub fn kubectl(&self, words: &[&str]) -> Result<String, String> {
        self.cluster.kubectl(&[&["--namespace", &self.name], words].concat())
    }

    /// As [`Cluster::kubectl_with`], in this namespace.
    pub fn kubectl_with(&self, words: &[&str], input: &str) -> Result<String, String> {
        self.cluster.kubectl_with(&[&["--namespace", &self.name], words].concat(), input)
    }

    /// As [`Cluster::json`], in this namespace.
    pub fn json(&self, words: &[&str]) -> Result<Value, String> {
        self.cluster.json(&[&["--namespace", &self.name], words].concat())
    }

    pub fn apply(&self, objects: &str) {
        self.kubectl_with(&["apply", "-f", "-"], objects).unwrap_or_else(|error| panic!("{error}\n{objects}"));
    }

    /// Makes a pod that waits, on one node or wherever there is room, and waits until it is ready.
    pub fn pod(&self, name: &str, node: Option<&str>) {
        let node = node.map_or_else(String::new, |node| format!("nodeName: {node}, "));
        self.apply(&format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, labels: {{app: {name}}}}}\n\
             spec: {{{node}terminationGracePeriodSeconds: 0, containers: [{{name: main, image: \"mainstay.test/busybox:1\"}}]}}\n"
        ));
        self.wait(&format!("pod/{name}"), "condition=Ready");
    }

    /// Waits as `kubectl wait` does: for `condition=Ready`, `delete`, or what stands at a path of the object.
    pub fn wait(&self, object: &str, what: &str) {
        let (deadline, what) = (format!("--timeout={}s", PATIENCE.as_secs()), format!("--for={what}"));
        if let Err(error) = self.kubectl(&["wait", object, &what, &deadline]) {
            panic!("{object}: {what}: {error}\n{}", self.described(object));
        }
    }

    /// Runs a program in a pod.
    pub fn exec(&self, pod: &str, words: &[&str]) -> Result<String, String> {
        self.kubectl(&[&["exec", pod, "--"], words].concat())
    }

    /// Looks at objects until `state` finds in them what it looks for.
    pub async fn until<T>(&self, patience: Duration, objects: &[&str], state: impl Fn(&Value) -> Option<T>) -> T {
        let words = [&["get"], objects].concat();
        let look = || {
            let found = self.json(&words).and_then(|value| state(&value).ok_or_else(|| value.to_string()));
            std::future::ready(found)
        };
        eventually_within(patience, &objects.join(" "), look).await
    }

    /// What the cluster says of an object, and what has happened to it.
    fn described(&self, object: &str) -> String {
        self.kubectl(&["describe", object]).unwrap_or_else(|error| error)
    }
}

impl Drop for Space<'_> {
    fn drop(&mut self) {
        // The cluster goes soon; where it stays, so that a person can look, what failed stays too.
        if !std::thread::panicking() {
            let _ = self.cluster.kubectl(&["delete", "namespace", &self.name, "--wait=false"]);
        }
    }
}
