//! The plan language: what an operator declares, checked.
//!
//! [`parse`] turns a YAML document into a [`Plan`] or into every problem it has, with line and column. A
//! [`Plan`] that exists is sound: its steps are unique and form a graph, its kinds and parameters are in
//! the catalogue, its times and counts are within bounds.

mod document;
mod graph;
mod problem;
mod syntax;

pub use document::parse;
pub use graph::order;
pub use problem::{PlanError, Problem};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::id::{PlanName, StepName};
use crate::time::Millis;

/// `apiVersion` of the documents that this program reads.
pub const API_VERSION: &str = "mainstay.dev/v1alpha1";
/// `kind` of a plan's document.
pub const DOCUMENT_KIND: &str = "MaintenancePlan";

/// Declared maintenance. A revision of it never changes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    pub name: PlanName,
    pub description: String,
    /// In the order of the document.
    pub steps: Vec<Step>,
    /// The document as it was given.
    pub source: String,
    /// SHA-256 of the source, in hexadecimal.
    pub digest: String,
}

/// One unit of a plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    pub name: StepName,
    pub description: String,
    /// The step kind.
    pub uses: String,
    pub with: Map<String, Value>,
    pub run_on: RunOn,
    /// Steps that must have gone well, on all their targets, before this one begins.
    pub needs: Vec<StepName>,
    pub timeout: Millis,
    pub retry: Retry,
    pub undo: Option<UndoStep>,
    pub on_unknown: OnUnknown,
}

/// What a step is done to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunOn {
    /// Each node that there is when the run starts.
    Node,
    /// Once in the whole mesh, by any agent that can.
    Once,
}

/// How often a failed attempt is tried again. Never applies to an attempt whose outcome is unknown, unless
/// the kind is idempotent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retry {
    /// Attempts in all, the first included.
    pub attempts: u32,
    /// Before the second attempt; doubles with each further one.
    pub backoff: Millis,
    /// Most that the doubling comes to.
    pub max_backoff: Millis,
}

impl Default for Retry {
    fn default() -> Retry {
        Retry { attempts: 1, backoff: Millis::from_secs(5), max_backoff: Millis::from_secs(300) }
    }
}

impl Retry {
    /// How long to wait after the attempt of this number failed: doubling, with up to a quarter more by
    /// `spread`, so that what failed together is not tried again together.
    #[must_use]
    pub fn pause(&self, failed: u32, spread: u64) -> Millis {
        let doubled = self.backoff.0.saturating_mul(1 << failed.saturating_sub(1).min(30)).min(self.max_backoff.0);
        Millis(doubled + (doubled / 4).checked_mul(spread % 1_000).map_or(0, |part| part / 1_000))
    }
}

/// What takes a step back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UndoStep {
    pub uses: String,
    pub with: Map<String, Value>,
    pub timeout: Millis,
    pub retry: Retry,
}

/// What an unknown outcome does to the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnUnknown {
    /// As a failure does: nothing that needs the step begins, and what was done is undone.
    #[default]
    Stop,
    /// The run goes on; its verdict says unknown.
    Continue,
}

impl Plan {
    #[must_use]
    pub fn step(&self, name: &StepName) -> Option<&Step> {
        self.steps.iter().find(|step| step.name == *name)
    }

    /// Bytes that the plan weighs in the replicated state, near enough.
    #[must_use]
    pub fn weight(&self) -> u64 {
        3 * self.source.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_their_ceiling() {
        let retry = Retry { attempts: 5, backoff: Millis(100), max_backoff: Millis(300) };
        assert_eq!([1, 2, 3, 9].map(|failed| retry.pause(failed, 0)), [100, 200, 300, 300].map(Millis));
        assert!(retry.pause(1, 999) < Millis(125));
        assert_eq!(Retry { backoff: Millis(u64::MAX), max_backoff: Millis(u64::MAX), attempts: 2 }.pause(40, 0), Millis(u64::MAX));
    }
}
