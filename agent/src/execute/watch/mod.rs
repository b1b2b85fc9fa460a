//! Gates while something goes: each is asked again and again, and ends the work when it has failed.
//!
//! ```text
//!  gates of a step ─▶ gate (parsed) ─▶ eye (the way to whom it asks) ─▶ a probe each beat ─▶ tally ─▶ Broken
//! ```
//! Whoever does the work races it with [`Watch::until_failed`], which ends only when a gate has failed. Every probe is
//! counted; a slow one is given up and counts as failed; a beat at which no probe could begin is counted as missed. What
//! is kept of a gate is bounded, however long it is asked.

mod eye;
mod gate;
mod lines;
mod tally;

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use mainstay_core::report::{Check, Verdict};
use serde_json::{Map, Value};
use tokio::time::MissedTickBehavior;

use self::eye::Eye;
use self::gate::Gate;
pub use self::tally::Tally;
use super::{Context, StepError};
use crate::kube::Cluster;

/// Gates of one step.
const GATES_MAX: usize = 20;
/// After a probe that failed, the next comes after this part of a beat: it may have been one that was lost.
const SOONER: u32 = 4;

/// The gates of a step, and what was counted of each.
pub struct Watch {
    kind: &'static str,
    gates: Vec<(Gate, Mutex<Tally>)>,
}

/// A gate that has failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// Its place among the gates of the step.
    pub place: usize,
    /// Which one: `http http://web/health`.
    pub gate: String,
    /// What was seen.
    pub why: String,
    /// How many probes there were, in words.
    pub counted: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the gate {} has failed: {} ({})", self.gate, self.why, self.counted)
    }
}

impl Watch {
    /// Reads the `gates` of a step, and asks nobody yet.
    ///
    /// # Errors
    /// Refused, with what is wrong.
    pub fn of(kind: &'static str, gates: &[Map<String, Value>]) -> Result<Watch, StepError> {
        if gates.len() > GATES_MAX {
            return Err(StepError::refused(format!("{kind}: {} gates, and {GATES_MAX} is the most of one step", gates.len())));
        }
        let read = |given: &Map<String, Value>| Gate::read(kind, given).map(|gate| (gate, Mutex::default()));
        Ok(Watch { kind, gates: gates.iter().map(read).collect::<Result<_, _>>()? })
    }

    /// Whether there is anything to watch.
    pub fn is_empty(&self) -> bool {
        self.gates.is_empty()
    }

    /// Refuses a step before anything is done, where a gate could not be asked at all.
    ///
    /// # Errors
    /// Which one, and why.
    pub fn can_be_asked(&self, context: &Context, cluster: &Cluster, namespace: &str) -> Result<(), StepError> {
        for (gate, _) in &self.gates {
            let eye = Eye::of(self.kind, gate, context, cluster, namespace);
            eye.map_err(|why| StepError::refused(format!("{}: the gate {} cannot be asked: {why}", self.kind, gate.subject())))?;
        }
        Ok(())
    }

    /// Ends when a gate has failed, and never where none does. Objects and logs are read of that namespace, as whom the
    /// cluster is asked.
    pub async fn until_failed(&self, context: &Context, cluster: &Cluster, namespace: &str) -> Broken {
        let mut each: FuturesUnordered<_> =
            self.gates.iter().enumerate().map(|(place, (gate, tally))| follow(self.kind, place, gate, tally, context, cluster, namespace)).collect();
        match each.next().await {
            Some(broken) => broken,
            None => std::future::pending().await,
        }
    }

    /// What was counted so far, of all gates.
    pub fn counted(&self) -> Tally {
        let mut all = Tally::default();
        self.gates.iter().for_each(|(_, tally)| all.add(&locked(tally)));
        all
    }

    /// A check for each gate, the one that is broken as what it is.
    pub fn checks(&self, broken: Option<&Broken>) -> Vec<Check> {
        let check = |(place, (gate, tally)): (usize, &(Gate, Mutex<Tally>))| {
            let (subject, counted) = (gate.subject(), locked(tally).in_words());
            match broken.filter(|broken| broken.place == place) {
                Some(broken) => Check::stated(self.kind, &subject, Verdict::Critical, format!("{} ({counted})", broken.why)),
                None => Check::stated(self.kind, &subject, Verdict::Ok, counted),
            }
        };
        self.gates.iter().enumerate().map(check).collect()
    }

    /// The first gate of which no probe has ended: nobody knows whether it holds.
    pub fn unasked(&self) -> Option<String> {
        self.gates.iter().find(|(_, tally)| locked(tally).probes == 0).map(|(gate, _)| gate.subject())
    }
}

fn locked(tally: &Mutex<Tally>) -> MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Asks one gate, beat by beat, until it has failed.
async fn follow(
    kind: &'static str,
    place: usize,
    gate: &Gate,
    tally: &Mutex<Tally>,
    context: &Context,
    cluster: &Cluster,
    namespace: &str,
) -> Broken {
    let broken = |why: String| Broken { place, gate: gate.subject(), why, counted: locked(tally).in_words() };
    let eye = match Eye::of(kind, gate, context, cluster, namespace) {
        Ok(eye) => eye,
        Err(why) => return broken(format!("it cannot be asked: {why}")),
    };
    let mut beats = tokio::time::interval(gate.every.as_duration());
    beats.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut under_way = FuturesUnordered::new();
    loop {
        tokio::select! {
            _ = beats.tick() => {
                if under_way.len() < gate.at_once() { under_way.push(eye.look()) } else { locked(tally).miss() }
            }
            Some(seen) = under_way.next(), if !under_way.is_empty() => {
                let failed = seen.problem.is_some();
                let why = {
                    let mut tally = locked(tally);
                    tally.take(context.host.monotonic(), seen, gate.rules.over);
                    tally.breaks(&gate.rules)
                };
                if let Some(why) = why {
                    return broken(why);
                }
                if failed {
                    beats.reset_after(gate.every.as_duration() / SOONER);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
