//! What the expressions of a run's steps came to. They are evaluated off the decision path and come back in a
//! command, so that applying an entry never evaluates anything.

use imbl::OrdMap;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::run::{Direction, Run};
use crate::id::{StepName, Target};

/// One step's expressions on one target, or on all.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Resolution {
    /// It is to be done, with these parameters; those of the plan where there is none.
    Go { with: Option<Map<String, Value>> },
    /// Its `if` is false.
    Omit { reason: String },
    /// An expression has no value, or one that does not fit.
    Fail { message: String },
}

/// All of a run.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Resolutions {
    forward: OrdMap<StepName, Resolved>,
    undo: OrdMap<StepName, Resolved>,
    /// What they add to the weight of the run.
    weight: u64,
}

/// Of one step. What is said of a target goes before what is said of all.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
struct Resolved {
    all: Option<Resolution>,
    each: OrdMap<Target, Resolution>,
}

impl Resolution {
    fn weight(&self) -> u64 {
        128 + match self {
            Resolution::Go { with } => with.as_ref().map_or(0, |with| Value::Object(with.clone()).to_string().len() as u64),
            Resolution::Omit { reason: text } | Resolution::Fail { message: text } => text.len() as u64,
        }
    }
}

impl Resolutions {
    fn side(&self, direction: Direction) -> &OrdMap<StepName, Resolved> {
        match direction {
            Direction::Do => &self.forward,
            Direction::Undo => &self.undo,
        }
    }

    /// Of a step on a target; `None` asks for what holds on all targets.
    #[must_use]
    pub fn get(&self, step: &StepName, target: Option<&Target>, direction: Direction) -> Option<&Resolution> {
        let resolved = self.side(direction).get(step)?;
        target.and_then(|target| resolved.each.get(target)).or(resolved.all.as_ref())
    }

    pub(super) fn put(&mut self, step: &StepName, target: Option<Target>, direction: Direction, resolution: Resolution) {
        self.weight += resolution.weight();
        let side = match direction {
            Direction::Do => &mut self.forward,
            Direction::Undo => &mut self.undo,
        };
        let resolved = side.entry(step.clone()).or_default();
        match target {
            Some(target) => drop(resolved.each.insert(target, resolution)),
            None => resolved.all = Some(resolution),
        }
    }

    /// A step is done again: what it came to may be something else now.
    pub(super) fn forget(&mut self, step: &StepName) {
        self.forward.remove(step);
        let each = |resolved: &Resolved| resolved.all.iter().chain(resolved.each.values()).map(Resolution::weight).sum::<u64>();
        self.weight = self.forward.values().chain(self.undo.values()).map(each).sum();
    }
}

impl Run {
    /// Brings the weight of run and state in line with what has been resolved.
    pub(super) fn reweigh_resolutions(&mut self, of_state: &mut u64) {
        let counted = self.resolutions_weight;
        let now = self.resolved.weight;
        self.weight = self.weight.saturating_sub(counted) + now;
        *of_state = of_state.saturating_sub(counted) + now;
        self.resolutions_weight = now;
    }
}
