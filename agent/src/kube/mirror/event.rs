//! Events on the objects: what has become of them since their status was last written. A status that says it already
//! has been told of; what is told is named by what it says, so that nobody tells it twice.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::object::Meta;
use crate::kube::mirror::condition::{found, holds};
use mainstay_core::plan::API_VERSION;

/// Bytes of a note that an API server takes.
const NOTE: usize = 1_000;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    pub kind: &'static str,
    pub namespace: String,
    pub name: String,
    pub uid: String,
    pub reason: &'static str,
    pub note: String,
    pub is_warning: bool,
    /// Tells it from another of the same reason on the same object.
    pub about: String,
}

impl Event {
    fn of(kind: &'static str, meta: &Meta, reason: &'static str, note: &str, about: &str) -> Event {
        Event {
            kind,
            namespace: meta.namespace.clone(),
            name: meta.name.clone(),
            uid: meta.uid.clone(),
            reason,
            note: note.to_owned(),
            is_warning: matches!(reason, "RunFailed" | "RunAborted" | "RunRefused" | "PlanRefused" | "WaitsForApproval"),
            about: about.to_owned(),
        }
    }

    /// The object that it is in the API.
    pub fn body(&self, at: jiff::Timestamp, by: &str) -> Value {
        let digest = Sha256::digest([&*self.uid, self.reason, &self.about].join("\n").as_bytes());
        let hash: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        json!({
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": { "namespace": self.namespace, "name": format!("{}.{hash}", self.name) },
            "eventTime": format!("{:.6}", at),
            "reportingController": "mainstay.dev/cluster-agent",
            "reportingInstance": by.chars().take(128).collect::<String>(),
            "action": self.reason,
            "reason": self.reason,
            "regarding": { "apiVersion": API_VERSION, "kind": self.kind, "namespace": self.namespace, "name": self.name, "uid": self.uid },
            "note": self.note.chars().take(NOTE / 4).collect::<String>(),
            "type": if self.is_warning { "Warning" } else { "Normal" },
        })
    }
}

/// What has become of a plan's object, from the status that it has and the one that it gets.
pub fn of_plan(meta: &Meta, before: &Value, after: &Value) -> Option<Event> {
    let accepted = found(after, "Accepted")?;
    let is_new = |found: &Value| ["status", "message", "observedGeneration"].iter().any(|field| found[field] != accepted[field]);
    if !found(before, "Accepted").is_none_or(is_new) {
        return None;
    }
    let reason = if accepted["status"] == "True" { "PlanAccepted" } else { "PlanRefused" };
    let note = accepted["message"].as_str().unwrap_or_default();
    Some(Event::of(super::status::PLAN, meta, reason, note, &format!("{} {note}", meta.generation)))
}

/// What has become of a run, on the object that shows it: reason, note, and what tells it from another.
pub fn of_run(before: &Value, after: &Value) -> Vec<(&'static str, String, String)> {
    let run = after["run"].as_str().unwrap_or_default();
    let mut told = Vec::new();
    let mut tell = |reason, note: String, about: String| told.push((reason, note, about));
    if run.is_empty() {
        if let Some(refused) = found(after, "Accepted").filter(|_| found(before, "Accepted").is_none() || holds(after, "Failed")) {
            let note = refused["message"].as_str().unwrap_or_default();
            tell("RunRefused", note.to_owned(), note.to_owned());
        }
        return told;
    }
    if before["run"] != after["run"] {
        tell("RunStarted", format!("run {run}, by {}", after["startedBy"].as_str().unwrap_or_default()), run.to_owned());
    }
    if holds(after, "AwaitsApproval") && !holds(before, "AwaitsApproval") {
        let note = after["waitsFor"].as_str().unwrap_or_default();
        tell("WaitsForApproval", note.to_owned(), format!("{run} {note}"));
    }
    let (was, is) = (before["state"].as_str().unwrap_or_default(), after["state"].as_str().unwrap_or_default());
    let reason = match is {
        "completed" if holds(after, "Complete") => "RunCompleted",
        "completed" | "failed" => "RunFailed",
        "aborted" => "RunAborted",
        _ => return told,
    };
    if was != is {
        let verdict = after["verdict"].as_str().unwrap_or("none");
        tell(reason, format!("run {run} {is}, verdict {verdict}"), format!("{run} {is} {}", after["endedAt"]));
    }
    told
}

/// The same as events on the object that shows it.
pub fn on(kind: &'static str, meta: &Meta, told: &[(&'static str, String, String)]) -> Vec<Event> {
    told.iter().map(|(reason, note, about)| Event::of(kind, meta, reason, note, about)).collect()
}
