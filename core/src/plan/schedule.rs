//! When a plan's runs start by themselves, and what is told to whom about them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::bounds;
use crate::time::Millis;

/// Instants at which runs of a plan start.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// Five fields, or `@daily` and the like.
    pub cron: String,
    /// IANA name of the zone in which the fields are read.
    pub zone: String,
    /// How long after its instant a run may still start; until the next instant where nothing is said.
    pub window: Option<Millis>,
    pub missed: Missed,
    pub inputs: BTreeMap<String, Value>,
    pub suspended: bool,
}

/// What becomes of instants that passed while nobody could start a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Missed {
    /// They are counted as missed.
    #[default]
    Skip,
    /// One run starts for all of them, within the window of the newest.
    Once,
}

/// What a schedule does while an earlier run of the plan has not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Concurrency {
    /// The instant is counted as held back.
    #[default]
    Forbid,
    Allow,
    /// The earlier run is aborted.
    Replace,
}

/// How many ended runs are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    pub successful: u32,
    pub failed: u32,
}

impl Default for History {
    fn default() -> History {
        History { successful: bounds::RUNS_KEPT, failed: bounds::RUNS_KEPT }
    }
}

/// Whom to tell of what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notify {
    pub when: Vec<Event>,
    /// Name of a route of the notifier.
    pub route: String,
}

/// What there is to tell of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Event {
    Started,
    /// Somebody has to approve, or nothing moves by itself.
    Waiting,
    Completed,
    Failed,
    Aborted,
    Warning,
    Critical,
    Unknown,
}

impl Event {
    /// Every event with its word.
    pub const ALL: [(Event, &'static str); 8] = [
        (Event::Started, "started"),
        (Event::Waiting, "waiting"),
        (Event::Completed, "completed"),
        (Event::Failed, "failed"),
        (Event::Aborted, "aborted"),
        (Event::Warning, "warning"),
        (Event::Critical, "critical"),
        (Event::Unknown, "unknown"),
    ];
}
