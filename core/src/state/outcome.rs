//! How an attempt ended, as its agent or the mesh says it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::report::{Check, Report};

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Outcome {
    Succeeded(Report),
    Failed {
        message: String,
        report: Option<Report>,
    },
    /// Stopped on demand.
    Cancelled {
        message: String,
    },
    /// Stopped by its own deadline.
    TimedOut {
        message: String,
    },
    /// May have had effects; nobody can say which.
    Unknown {
        reason: String,
    },
}

/// Longest message of an outcome.
const MESSAGE_MAX: usize = 1_024;

impl Outcome {
    #[must_use]
    pub fn report(&self) -> Option<&Report> {
        match self {
            Outcome::Succeeded(report) => Some(report),
            Outcome::Failed { report, .. } => report.as_ref(),
            _ => None,
        }
    }

    /// Bytes that its report takes in the state.
    #[must_use]
    pub(crate) fn weight(&self) -> u64 {
        self.report().map_or(0, |report| report.weight() as u64)
    }

    /// The outcome in a line.
    #[must_use]
    pub fn summary(&self) -> String {
        match self {
            Outcome::Succeeded(report) if report.checks.len() == 1 => format!("1 check, {}", report.verdict()),
            Outcome::Succeeded(report) => format!("{} checks, {}", report.checks.len(), report.verdict()),
            Outcome::Failed { message, .. } | Outcome::TimedOut { message } => message.clone(),
            Outcome::Cancelled { message } => message.clone(),
            Outcome::Unknown { reason } => reason.clone(),
        }
    }

    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Outcome::Succeeded(_) => "succeeded",
            Outcome::Failed { .. } => "failed",
            Outcome::Cancelled { .. } => "cancelled",
            Outcome::TimedOut { .. } => "timed out",
            Outcome::Unknown { .. } => "unknown",
        }
    }

    /// Its report cut down to the verdict: there is no room for more in the state.
    #[must_use]
    pub(super) fn without_details(self) -> Outcome {
        let cut = |report: Report| {
            let left_out = report.left_out.saturating_add(u32::try_from(report.checks.len()).unwrap_or(u32::MAX));
            let check = Check::stated("report.size", "", report.verdict(), "the state of the mesh is full: what was found is left out");
            Report { checks: vec![check], left_out, ..Report::default() }
        };
        match self {
            Outcome::Succeeded(report) => Outcome::Succeeded(cut(report)),
            Outcome::Failed { message, report } => Outcome::Failed { message, report: report.map(cut) },
            other => other,
        }
    }

    /// Cut down to its bounds, whoever made it.
    #[must_use]
    pub fn bounded(self) -> Outcome {
        let short = |text: String| if text.len() <= MESSAGE_MAX { text } else { text.chars().take(MESSAGE_MAX / 4).collect::<String>() + "…" };
        match self {
            Outcome::Succeeded(report) => Outcome::Succeeded(report.bounded()),
            Outcome::Failed { message, report } => Outcome::Failed { message: short(message), report: report.map(Report::bounded) },
            Outcome::Cancelled { message } => Outcome::Cancelled { message: short(message) },
            Outcome::TimedOut { message } => Outcome::TimedOut { message: short(message) },
            Outcome::Unknown { reason } => Outcome::Unknown { reason: short(reason) },
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.word())
    }
}
