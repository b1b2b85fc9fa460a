//! Gates: what must hold before a step begins on a target.
//!
//! Window and freeze are judged by the leader, with its wall clock ([`crate::seen::Seen::calendar`]); lease,
//! approval and health by the state alone; fresh backups and drills by the catalogue of backups and that clock
//! ([`crate::freshness`]). What has no source yet is unknown, and unknown holds the step.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::PlanName;
use crate::state::enrolment::OperatorRole;
use crate::time::Millis;

/// One gate of a step, or of a whole plan.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Gate {
    /// Starts are allowed within it.
    Window(Window),
    /// Starts are not allowed within it.
    Freeze(Freeze),
    /// Nobody else holds the lease, or any lease that fits the pattern.
    Lease { name: String },
    /// Somebody who may has agreed to what they saw.
    Approval(Approval),
    /// The newest run of a plan found nothing bad, not longer ago than `max_age`.
    Health { plan: PlanName, max_age: Millis },
    /// What something else in the mesh knows of, or nothing yet.
    Declared(Declared),
}

/// A time of the week in which starts are allowed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Window {
    /// `mon` to `sun`; all when empty. Of a window that passes midnight it is the day on which it begins.
    pub days: Vec<String>,
    /// `22:00`, in the zone.
    pub from: String,
    pub to: String,
    /// IANA name.
    pub zone: String,
}

/// A span of days in which starts are not allowed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Freeze {
    /// A date, or a date and time, in the zone.
    pub from: String,
    /// Included when it is a date.
    pub to: String,
    pub zone: String,
    pub reason: String,
}

/// Who has to agree, and to how much at a time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Approval {
    /// Least role of whoever approves.
    pub by: OperatorRole,
    /// Whether it must be another person than the one who started the run.
    pub not_author: bool,
    /// How long an approval is good for, until the start that it allows.
    pub expires: Millis,
    pub each: Each,
}

/// What one approval covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Each {
    /// The step, or the run where the gate is the plan's.
    #[default]
    Step,
    /// One wave of the strategy.
    Wave,
}

/// A gate whose source is another part of the mesh, or comes with a later version.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Declared {
    /// Enough capacity is left for what will be unavailable.
    Capacity,
    /// The newest good backup of the target is not older.
    BackupFresh { target: String, max_age: Millis },
    /// The newest good drill of the target is not older.
    DrillFresh { target: String, max_age: Millis },
    /// At least so many percent of the service's error budget are left.
    ErrorBudget { service: String, at_least: u32 },
}

impl Gate {
    /// The gate's name in a plan.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Gate::Window(_) => "window",
            Gate::Freeze(_) => "freeze",
            Gate::Lease { .. } => "lease",
            Gate::Approval(_) => "approval",
            Gate::Health { .. } => "health",
            Gate::Declared(Declared::Capacity) => "capacity",
            Gate::Declared(Declared::BackupFresh { .. }) => "backupFresh",
            Gate::Declared(Declared::DrillFresh { .. }) => "drillFresh",
            Gate::Declared(Declared::ErrorBudget { .. }) => "errorBudget",
        }
    }

    /// Whether the leader's wall clock decides.
    #[must_use]
    pub fn is_calendar(&self) -> bool {
        matches!(self, Gate::Window(_) | Gate::Freeze(_))
    }
}

/// The gate in a phrase, for `plan preview` and `why`.
impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Gate::Window(window) => {
                let days = if window.days.is_empty() { "every day".to_owned() } else { window.days.join(", ") };
                write!(f, "window {days} {}–{} {}", window.from, window.to, window.zone)
            }
            Gate::Freeze(freeze) => {
                write!(f, "freeze from {} to {} {}", freeze.from, freeze.to, freeze.zone)?;
                if freeze.reason.is_empty() { Ok(()) } else { write!(f, " ({})", freeze.reason) }
            }
            Gate::Lease { name } => write!(f, "nobody else holds lease {name}"),
            Gate::Approval(approval) => {
                write!(f, "approval by an {}", approval.by)?;
                if approval.not_author {
                    f.write_str(" other than who started the run")?;
                }
                if approval.each == Each::Wave { f.write_str(", for each wave") } else { Ok(()) }
            }
            Gate::Health { plan, max_age } => write!(f, "plan {plan} found nothing bad within the last {max_age}"),
            Gate::Declared(Declared::Capacity) => f.write_str("enough capacity"),
            Gate::Declared(Declared::BackupFresh { target, max_age }) => write!(f, "a good backup of {target} from the last {max_age}"),
            Gate::Declared(Declared::DrillFresh { target, max_age }) => write!(f, "a good drill of {target} within the last {max_age}"),
            Gate::Declared(Declared::ErrorBudget { .. }) => f.write_str("error budget left"),
        }
    }
}
