//! What is kept of the objects: who they are, what they ask for, and what is said on them. Not a plan's spec, of which
//! only the digest is kept: whoever may make objects can make large ones.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::source::{digest, source};

/// On objects that were made here.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
pub const MAINSTAY: &str = "mainstay";
/// A status that is larger was not written here; what it says does not count.
const STATUS_BYTES: usize = 64 << 10;

/// A plan: namespace and name of its object, and what belongs to it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    pub namespace: String,
    pub plan: String,
}

/// Of a MaintenancePlan.
#[derive(Debug, Clone, Default)]
pub struct PlanObject {
    pub meta: Meta,
    /// Of the document that it is.
    pub digest: String,
    pub status: Value,
}

/// Of a MaintenanceRun.
#[derive(Debug, Clone, Default)]
pub struct RunObject {
    pub meta: Meta,
    pub plan: String,
    /// Of the run that it shows; nothing where it asks for one.
    pub number: Option<u64>,
    pub status: Value,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Meta {
    pub namespace: String,
    pub name: String,
    pub uid: String,
    pub generation: i64,
    pub resource_version: String,
    pub creation_timestamp: Timestamp,
    pub deletion_timestamp: Option<Timestamp>,
    labels: Labels,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Labels {
    #[serde(rename = "app.kubernetes.io/managed-by")]
    managed_by: String,
}

/// As the API server has it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Raw {
    pub metadata: Meta,
    pub spec: Value,
    pub status: Value,
}

impl Meta {
    /// Whether it is not on its way out.
    pub fn lives(&self) -> bool {
        self.deletion_timestamp.is_none()
    }

    /// Whether it was made here, to show a run.
    pub fn is_ours(&self) -> bool {
        self.labels.managed_by == MAINSTAY
    }
}

impl Raw {
    pub fn into_plan(self) -> PlanObject {
        let digest = digest(&source(&self.metadata.name, &self.spec));
        PlanObject { digest, status: bounded(self.status), meta: self.metadata }
    }

    pub fn into_run(self) -> RunObject {
        RunObject {
            plan: self.spec["plan"].as_str().unwrap_or_default().to_owned(),
            number: self.spec["number"].as_u64(),
            status: bounded(self.status),
            meta: self.metadata,
        }
    }
}

fn bounded(status: Value) -> Value {
    if status.to_string().len() > STATUS_BYTES { Value::Null } else { status }
}
