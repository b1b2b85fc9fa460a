//! The plan language: what an operator declares, checked.
//!
//! [`parse`] turns a YAML document into a [`Plan`] or into every problem it has, with line and column. A
//! [`Plan`] that exists is sound: its steps are unique and form a graph, its kinds and parameters are in
//! the catalogue, its times and counts are within bounds.

pub mod confined;
mod document;
pub mod gate;
mod graph;
pub mod input;
mod problem;
pub mod schedule;
pub mod schema;
pub mod strategy;
pub mod structural;
mod syntax;

pub use document::parse;
pub(crate) use document::value;
pub use gate::Gate;
pub use graph::order;
pub use input::Input;
pub use problem::{PlanError, Problem};
pub use schedule::{Concurrency, History, Notify, Schedule};
pub use strategy::Strategy;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::catalogue::{self, Kind, Scope, Undo};
use crate::codec;
use crate::id::{LeaseName, PlanName, StepName};
use crate::state::lease::LeaseSpec;
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
    #[serde(default)]
    pub inputs: BTreeMap<String, Input>,
    /// In the order of the document.
    pub steps: Vec<Step>,
    /// Before each step begins, and where there is a strategy before each node's first.
    #[serde(default)]
    pub gates: Vec<Gate>,
    /// Of all steps that are done to nodes, as one.
    #[serde(default)]
    pub strategy: Option<Strategy>,
    #[serde(default)]
    pub schedules: Vec<Schedule>,
    #[serde(default)]
    pub concurrency: Concurrency,
    #[serde(default)]
    pub history: History,
    #[serde(default)]
    pub notify: Vec<Notify>,
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
    /// May hold `${{ }}`, which is filled in when the step's needs have ended.
    pub with: Map<String, Value>,
    pub run_on: RunOn,
    /// An expression; where it is false the step is omitted.
    #[serde(default, rename = "if")]
    pub condition: Option<String>,
    /// Before the step begins on each of its targets.
    #[serde(default)]
    pub gates: Vec<Gate>,
    #[serde(default)]
    pub strategy: Option<Strategy>,
    /// Held by the run from before the step begins on a target until it has ended there.
    #[serde(default)]
    pub lease: Option<StepLease>,
    /// Steps that must have gone well, on all their targets, before this one begins.
    pub needs: Vec<StepName>,
    pub timeout: Millis,
    pub retry: Retry,
    pub undo: Option<UndoStep>,
    pub on_unknown: OnUnknown,
    /// What the document says of it, or of a step that it needs, directly or not. Not written where it is the default: a state
    /// is to be the same bytes for members that do not know it.
    #[serde(default, skip_serializing_if = "OnFailure::is_undo")]
    pub on_failure: OnFailure,
}

impl Step {
    /// Whether what it did can be taken back: by the step under `undo`, or by the mesh itself.
    #[must_use]
    pub fn has_undo(&self) -> bool {
        let by_itself = |kind: &Kind| kind.scope == Scope::Mesh && kind.undo == Undo::Reversible;
        self.undo.is_some() || catalogue::kind(&self.uses).is_some_and(by_itself)
    }

    /// Whether what takes it back looks itself how much of it was done, so that a part is taken back as well as the whole.
    #[must_use]
    pub fn takes_back_a_part(&self) -> bool {
        let is_reversible = |kind: &Kind| kind.undo == Undo::Reversible;
        let is_its_own = |undo: &UndoStep| undo.uses == self.uses;
        catalogue::kind(&self.uses).is_some_and(is_reversible) && self.undo.as_ref().is_some_and(is_its_own)
    }
}

/// A lease that a run holds while a step goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepLease {
    pub name: LeaseName,
    /// What the first acquire of the name defines.
    pub spec: LeaseSpec,
}

/// What a step is done to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunOn {
    /// Each node that there is when the run starts.
    Node,
    /// Once in the whole mesh, by any agent that can.
    Once,
    /// Each cluster whose agents the mesh knows when the run starts, by the one of them that acts.
    Cluster,
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

/// What a failure does to what was done before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    /// It is taken back.
    #[default]
    Undo,
    /// It stays, until a person takes it back.
    Keep,
}

impl OnFailure {
    fn is_undo(&self) -> bool {
        *self == OnFailure::Undo
    }
}

impl Plan {
    /// The plan's own gates that are asked of a step. What was done within a window is watched after its end too: left to
    /// itself until the next one, nobody would lead back what fails.
    pub fn gates_of(&self, step: &Step) -> impl Iterator<Item = &Gate> {
        let watches = step.uses == catalogue::WATCH;
        self.gates.iter().filter(move |gate| !(watches && matches!(gate, Gate::Window(_) | Gate::Freeze(_))))
    }

    #[must_use]
    pub fn step(&self, name: &StepName) -> Option<&Step> {
        self.steps.iter().find(|step| step.name == *name)
    }

    /// Bytes that the plan takes in an entry of the log, with all that its aliases repeat.
    #[must_use]
    pub fn bytes(&self) -> usize {
        codec::size(self)
    }

    /// Bytes that the plan weighs in the replicated state, near enough: the source, what was made of it, and what
    /// its aliases repeat. It goes by what the plan says and not by how that is held, so that members of several
    /// versions agree.
    #[must_use]
    pub fn weight(&self) -> u64 {
        let source = self.source.len() as u64;
        let blocks = self.steps.iter().flat_map(|step| [Some(&step.with), step.undo.as_ref().map(|undo| &undo.with)]).flatten();
        let kept: u64 = blocks.flatten().map(|(name, value)| name.len() as u64 + characters(value)).sum();
        let needs: u64 = self.steps.iter().flat_map(|step| &step.needs).map(|need| need.as_str().len() as u64).sum();
        3 * source + 2 * (kept + needs).saturating_sub(source)
    }
}

/// Characters that a value takes at least where it is written out.
fn characters(value: &Value) -> u64 {
    match value {
        Value::String(text) => text.len() as u64,
        Value::Array(items) => 1 + items.iter().map(characters).sum::<u64>(),
        Value::Object(fields) => 1 + fields.iter().map(|(name, value)| name.len() as u64 + characters(value)).sum::<u64>(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 1,
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
