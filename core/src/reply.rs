//! What applying a command answers.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::{AttemptId, PlanName, RunId};
use crate::state::lease::Grant;

/// The answer to a command, the same on every member.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Reply {
    /// Done, and nothing to say about it.
    Done,
    /// The lease is held.
    Granted(Grant),
    /// The lease is not held; the holder stands in the queue at this place, 1 being next.
    Queued {
        place: u32,
    },
    /// The lease is not held, and nobody asked to wait.
    Held {
        by: Vec<String>,
    },
    /// The plan has this revision now; `changed` is false when it was the same already.
    Applied {
        plan: PlanName,
        revision: u32,
        changed: bool,
    },
    Started(RunId),
    Offered(AttemptId),
    /// The link's epoch.
    Connected {
        epoch: u64,
    },
    /// What the sender had seen has changed since. Nothing was done.
    Stale(String),
    Refused(Refusal),
}

impl Reply {
    /// Turns refusals and stale answers into errors, for callers that want only success.
    pub fn into_result(self) -> Result<Reply, Refusal> {
        match self {
            Reply::Refused(refusal) => Err(refusal),
            Reply::Stale(what) => Err(Refusal::Changed(what)),
            other => Ok(other),
        }
    }
}

/// Why a command changed nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Refusal {
    NotFound {
        what: String,
        hint: String,
    },
    /// A limit is reached; there is room again later.
    Bound {
        what: String,
        limit: u64,
    },
    /// It contradicts what is there.
    Conflict(String),
    /// It can never be right.
    Invalid(String),
    /// What was seen has changed.
    Changed(String),
    /// A newer member would understand it.
    Unsupported(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::NotFound { what, hint } if hint.is_empty() => write!(f, "there is no {what}"),
            Refusal::NotFound { what, hint } => write!(f, "there is no {what}: {hint}"),
            Refusal::Bound { what, limit } => write!(f, "no room: at most {limit} {what}; try again when there are fewer"),
            Refusal::Conflict(text) | Refusal::Invalid(text) | Refusal::Unsupported(text) => f.write_str(text),
            Refusal::Changed(text) => write!(f, "changed meanwhile: {text}; look again and repeat"),
        }
    }
}

impl std::error::Error for Refusal {}
