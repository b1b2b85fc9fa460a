//! `helm.upgrade`, `helm.rollback` and `helm.uninstall`: releases of Helm, by the helm program, once.
//!
//! ```text
//!  lock ─▶ history ─▶ decide (pure) ─┬▶ nothing is left to do
//!                                    └▶ chart, values ─▶ rights to its objects ─▶ helm ─▶ history ─▶ report
//! ```
//! What is done to a release is decided from its own history, by whoever holds its lock. So a second attempt, of whichever
//! agent, goes on from what the first one left, and what takes a step back finds the revision that the step made.

mod chart;
mod decide;
mod history;
mod lock;
mod objects;
pub mod program;
mod release;
pub mod rollback;
pub mod uninstall;
pub mod upgrade;
mod values;

use serde::Deserialize;

use super::params::Span;

/// What helm waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Wait {
    #[default]
    Watcher,
    Legacy,
    HookOnly,
}

/// What all kinds say of how helm goes about it.
#[derive(Debug, Clone, Copy)]
pub struct How {
    hooks: bool,
    wait: Wait,
    wait_for_jobs: bool,
    within: Span,
}

impl How {
    /// As helm's arguments. Each time that it waits for something is bounded by helm, all of it by whoever calls it.
    fn arguments(&self) -> Vec<String> {
        let wait = match self.wait {
            Wait::Watcher => "watcher",
            Wait::Legacy => "legacy",
            Wait::HookOnly => "hookOnly",
        };
        let mut words = vec![format!("--wait={wait}"), format!("--timeout={}ms", self.within.0.0)];
        words.extend((!self.hooks).then(|| "--no-hooks".to_owned()));
        words.extend(self.wait_for_jobs.then(|| "--wait-for-jobs".to_owned()));
        words
    }
}

fn yes() -> bool {
    true
}

fn ten_minutes() -> Span {
    Span(mainstay_core::Millis::from_secs(600))
}
