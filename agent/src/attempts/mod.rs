//! Carries out what the mesh wants of this agent.
//!
//! In: desired sets, newest only. Out: `Begin` and `End` at the mesh, states in the ledger, output lines.
//! What to do is decided by `mainstay_core::reconcile`, from the desired set, the ledger and what runs; it is
//! asked again after each desired set and each local change, so that start-up, a lost message and the happy
//! path are one path.
//!
//! ```text
//!  desired set ─▶ reconcile ─▶ live (one task an attempt, at most 8 at once) ─▶ ledger "ended" ─▶ report (task) ─▶ forget
//!                    ▲                                            │                    │
//!                    └────────────────────────────────────────────┴────────────────────┘
//! ```

mod coordination;
mod life;
mod metrics;
mod steps;
mod stop;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use mainstay_core::command::CancelReason;
use mainstay_core::id::AttemptId;
use mainstay_core::reconcile::{Action, DesiredAttempt, LedgerState, reconcile};
use mainstay_core::state::run::Outcome;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinError;
use tokio_util::sync::CancellationToken;
use tokio_util::task::JoinMap;

pub use coordination::{Coordination, Executor, Unanswered};
use life::{From, Lived, Shared};
pub use metrics::AttemptMetrics;
pub use steps::{Steps, kinds};
use stop::{Stop, StopReason};

use crate::ledger::{Ledger, LedgerError};
use crate::link::{LinkHandle, Wanted};

/// How much at once and for how long.
#[derive(Debug, Clone, Copy)]
pub struct AttemptSettings {
    /// Attempts executed at once; others wait as accepted, not begun.
    pub at_once: usize,
    /// Attempts in the ledger; others wait with the mesh. Bounds what outcomes may weigh while the mesh is away.
    pub in_ledger: usize,
    /// From asking an executor to stop to ending it by force. Shorter than what the mesh waits for.
    pub stop_grace: Duration,
    /// Pauses between tries of one call to the mesh.
    pub retry_first: Duration,
    pub retry_ceiling: Duration,
    /// How long running attempts may go on after the order to leave.
    pub drain: Duration,
    /// How long the outcomes may take to reach the mesh then.
    pub report_grace: Duration,
}

impl Default for AttemptSettings {
    fn default() -> AttemptSettings {
        AttemptSettings {
            at_once: 8,
            in_ledger: 64,
            stop_grace: Duration::from_secs(10),
            retry_first: Duration::from_millis(100),
            retry_ceiling: Duration::from_secs(5),
            drain: Duration::from_secs(20),
            report_grace: Duration::from_secs(5),
        }
    }
}

/// The order to leave, in two degrees.
#[derive(Debug, Clone, Default)]
pub struct Leave {
    /// Nothing begins any more; what runs may end.
    pub soon: CancellationToken,
    /// What runs is stopped.
    pub now: CancellationToken,
}

/// What carries out attempts; run it once.
pub struct Attempts<C, E> {
    shared: Arc<Shared<C, E>>,
    wanted: watch::Receiver<Option<Arc<Wanted>>>,
    leave: Leave,
    lives: JoinMap<AttemptId, Result<Lived, LedgerError>>,
    stops: BTreeMap<AttemptId, Stop>,
    reports: JoinMap<AttemptId, ()>,
    /// What the mesh has answered already, for the attempt as it stood in the desired set of this link. The
    /// same is not asked again until either changes.
    answered: BTreeMap<AttemptId, (u64, DesiredAttempt)>,
    /// What of the ledger the mesh has answered how it ended.
    told: BTreeSet<AttemptId>,
}

/// How far leaving has come.
enum Leaving {
    No,
    /// Attempts may end by themselves.
    Draining,
    /// They have been stopped.
    Stopping,
    /// Only outcomes are on their way.
    Reporting,
}

impl<C: Coordination, E: Executor> Attempts<C, E> {
    #[must_use]
    pub fn new(
        settings: AttemptSettings,
        ledger: Ledger,
        coordination: Arc<C>,
        executor: Arc<E>,
        link: LinkHandle,
        metrics: AttemptMetrics,
        leave: Leave,
    ) -> Attempts<C, E> {
        let LinkHandle { wanted, outbox, .. } = link;
        let slots = Arc::new(Semaphore::new(settings.at_once));
        let shared = Arc::new(Shared { ledger, coordination, executor, outbox, slots, leaving: leave.soon.clone(), settings, metrics });
        Attempts {
            shared,
            wanted,
            leave,
            lives: JoinMap::new(),
            stops: BTreeMap::new(),
            reports: JoinMap::new(),
            answered: BTreeMap::new(),
            told: BTreeSet::new(),
        }
    }

    /// Runs until it has left: nothing executes any more, and outcomes have been reported or given time to.
    ///
    /// # Errors
    /// When the ledger cannot be written: without it nothing may be begun. What runs is dropped, its children
    /// end, and the next process finds the ledger as far as it came.
    pub async fn run(mut self) -> Result<(), LedgerError> {
        let settings = self.shared.settings;
        let mut leaving = Leaving::No;
        let deadline = tokio::time::sleep(Duration::MAX);
        tokio::pin!(deadline);
        // Where the sender is gone no new set comes, and what is known stays wanted.
        let mut is_told = true;
        loop {
            let wanted = self.wanted.borrow_and_update().clone();
            if let Some(wanted) = wanted {
                self.reconcile(&wanted).await?;
            }
            self.count();
            if !matches!(leaving, Leaving::No | Leaving::Reporting) && self.lives.is_empty() {
                leaving = Leaving::Reporting;
                deadline.set(tokio::time::sleep(settings.report_grace));
            }
            if matches!(leaving, Leaving::Reporting) && self.reports.is_empty() {
                return Ok(());
            }
            tokio::select! {
                biased;
                () = self.leave.now.cancelled(), if matches!(leaving, Leaving::No | Leaving::Draining) => {
                    self.leave.soon.cancel();
                    self.stop_all();
                    leaving = Leaving::Stopping;
                }
                () = self.leave.soon.cancelled(), if matches!(leaving, Leaving::No) => {
                    leaving = Leaving::Draining;
                    deadline.set(tokio::time::sleep(settings.drain));
                }
                () = &mut deadline, if matches!(leaving, Leaving::Draining | Leaving::Reporting) => match leaving {
                    Leaving::Reporting => return Ok(()),
                    _ => {
                        self.stop_all();
                        leaving = Leaving::Stopping;
                    }
                },
                Some((attempt, lived)) = self.lives.join_next() => self.lived(attempt, lived).await?,
                Some((attempt, reported)) = self.reports.join_next() => self.reported(attempt, reported),
                changed = self.wanted.changed(), if is_told => is_told = changed.is_ok(),
            }
        }
    }

    async fn reconcile(&mut self, wanted: &Wanted) -> Result<(), LedgerError> {
        self.answered.retain(|id, (link, answered)| {
            *link == wanted.link && wanted.desired.attempts.iter().any(|attempt| attempt.id == *id && attempt == answered)
        });
        let running = self.stops.keys().copied().collect();
        let mut forgotten = Vec::new();
        for action in reconcile(&wanted.desired, &self.shared.ledger.entries(), &running, &self.told) {
            match action {
                Action::Accept(id) => self.live(wanted, id, From::Nothing),
                Action::Resume(id) => self.live(wanted, id, From::Accepted),
                Action::ExecuteAgain(id) => self.live(wanted, id, From::Begun),
                Action::Cancel(id) => self.cancel(wanted, id),
                Action::Settle(id, outcome) => self.settle(id, outcome).await?,
                Action::Report(id) => self.report(id),
                Action::Forget(id) => forgotten.push(id),
            }
        }
        for id in &forgotten {
            self.reports.abort(id);
            self.told.remove(id);
        }
        self.shared.ledger.forget(forgotten).await
    }

    fn live(&mut self, wanted: &Wanted, id: AttemptId, from: From) {
        let is_full = from == From::Nothing && self.shared.ledger.len().max(self.stops.len()) >= self.shared.settings.in_ledger;
        if self.leave.soon.is_cancelled() || self.answered.contains_key(&id) || is_full {
            return;
        }
        let Some(attempt) = find(wanted, id) else { return };
        let stop = Stop::default();
        self.stops.insert(id, stop.clone());
        self.lives.spawn(id, Arc::clone(&self.shared).live(attempt.clone(), from, stop));
    }

    fn cancel(&self, wanted: &Wanted, id: AttemptId) {
        let reason = match find(wanted, id).and_then(|attempt| attempt.cancel) {
            Some(CancelReason::TimedOut) => StopReason::TimedOut,
            Some(CancelReason::Aborted) | None => StopReason::CalledOff,
        };
        if let Some(stop) = self.stops.get(&id) {
            stop.stop(reason);
        }
    }

    /// Writes an outcome that needs no executing. It is reported in the same way as any other.
    async fn settle(&mut self, id: AttemptId, outcome: Outcome) -> Result<(), LedgerError> {
        if self.answered.contains_key(&id) {
            return Ok(());
        }
        tracing::info!(attempt = %id, outcome = %outcome, "{}", outcome.summary());
        self.shared.metrics.ended(&outcome);
        self.shared.ledger.write(id, LedgerState::Ended(outcome)).await?;
        self.report(id);
        Ok(())
    }

    fn report(&mut self, id: AttemptId) {
        if self.answered.contains_key(&id) || self.reports.contains_key(&id) {
            return;
        }
        let Some(LedgerState::Ended(outcome)) = self.shared.ledger.entry(id) else { return };
        self.reports.spawn(id, Arc::clone(&self.shared).report(id, outcome));
    }

    async fn lived(&mut self, attempt: AttemptId, lived: Result<Result<Lived, LedgerError>, JoinError>) -> Result<(), LedgerError> {
        self.stops.remove(&attempt);
        match lived {
            Ok(lived) => match lived? {
                Lived::Ended => {}
                // Not asked for again on its own; an order to stop is in the desired set, or this agent leaves.
                Lived::NotBegun | Lived::LeftBegun => {}
                Lived::Refused(why) => {
                    tracing::info!(%attempt, error = why, "the mesh does not let it begin");
                    self.shared.ledger.forget(vec![attempt]).await?;
                    self.note_answer(attempt);
                }
            },
            Err(panicked) => {
                // How far it came is in the ledger; whether something was done is not.
                tracing::error!(%attempt, error = %panicked, "carrying out an attempt failed unexpectedly: a fault of the agent");
                let outcome = Outcome::Unknown { reason: "the agent failed unexpectedly in the middle of it: its log says more".into() };
                self.shared.ledger.write(attempt, LedgerState::Ended(outcome)).await?;
            }
        }
        Ok(())
    }

    fn reported(&mut self, attempt: AttemptId, reported: Result<(), JoinError>) {
        match reported {
            Ok(()) => {}
            Err(error) if error.is_cancelled() => return,
            Err(panicked) => tracing::error!(%attempt, error = %panicked, "reporting failed unexpectedly: a fault of the agent"),
        }
        // One that has been forgotten meanwhile is not asked about any more.
        if self.shared.ledger.entry(attempt).is_some() {
            self.told.insert(attempt);
        }
        self.note_answer(attempt);
    }

    fn note_answer(&mut self, id: AttemptId) {
        let wanted = self.wanted.borrow().clone();
        if let Some(wanted) = wanted
            && let Some(attempt) = find(&wanted, id)
        {
            self.answered.insert(id, (wanted.link, attempt.clone()));
        }
    }

    fn stop_all(&self) {
        self.stops.values().for_each(|stop| stop.stop(StopReason::Leaving));
    }

    fn count(&self) {
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.shared.metrics.ledger_entries.set(number(self.shared.ledger.len()));
        self.shared.metrics.unreported.set(number(self.reports.len()));
    }
}

fn find(wanted: &Wanted, id: AttemptId) -> Option<&DesiredAttempt> {
    wanted.desired.attempts.iter().find(|attempt| attempt.id == id)
}

#[cfg(test)]
mod tests;
