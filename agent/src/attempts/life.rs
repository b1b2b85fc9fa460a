//! One attempt, from "accepted" in the ledger to "ended" in the ledger.
//!
//! ```text
//!  accepted ──slot──▶ Begin ──granted──▶ begun ──▶ execute ──▶ ended
//!      │                │refused           each of these words is on disk before the next arrow
//!      └─ asked to stop: nothing has happened, the ledger keeps "accepted"; refused by this agent: "ended"
//! ```

use std::sync::Arc;
use std::time::Duration;

use mainstay_client::random::Backoff;
use mainstay_core::catalogue;
use mainstay_core::id::AttemptId;
use mainstay_core::reconcile::{DesiredAttempt, LedgerState};
use mainstay_core::report::Report;
use mainstay_core::state::run::Outcome;
use tokio::sync::Semaphore;
use tokio::task::JoinError;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::AttemptSettings;
use super::coordination::{Coordination, Executor, Unanswered};
use super::metrics::AttemptMetrics;
use super::stop::{Stop, StopReason};
use crate::execute::{Ended, Output, OutputLine, StepError};
use crate::ledger::{Ledger, LedgerError};
use crate::link::Outbox;

/// Lines of one attempt between its executor and the outbox; the outbox takes them at once.
const LINES_WAITING: usize = 256;
/// For an executor that was aborted: it ends at its next await, or hangs in a call that nobody can end.
const ABORT_GRACE: Duration = Duration::from_secs(1);

/// From where an attempt goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum From {
    /// It is not in the ledger.
    Nothing,
    /// The ledger has it as accepted.
    Accepted,
    /// The ledger has it as begun, and its kind is idempotent.
    Begun,
}

/// How far this process has brought it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Lived {
    /// Its outcome is in the ledger.
    Ended,
    /// It was to stop before it began; nothing has happened.
    NotBegun,
    /// The mesh refused its begin; nothing has happened.
    Refused(String),
    /// Begun, idempotent and cut off by the end of this process: the next one takes it up again.
    LeftBegun,
}

/// What all attempts of this process share.
pub(super) struct Shared<C, E> {
    pub ledger: Ledger,
    pub coordination: Arc<C>,
    pub executor: Arc<E>,
    pub outbox: Arc<Outbox>,
    pub slots: Arc<Semaphore>,
    /// Nothing begins any more.
    pub leaving: CancellationToken,
    pub settings: AttemptSettings,
    pub metrics: AttemptMetrics,
}

impl<C: Coordination, E: Executor> Shared<C, E> {
    /// Lives one attempt.
    ///
    /// # Errors
    /// When the ledger cannot be written. An outcome that could not be written has been offered to the mesh
    /// once all the same.
    pub async fn live(self: Arc<Self>, attempt: DesiredAttempt, from: From, stop: Stop) -> Result<Lived, LedgerError> {
        if from == From::Nothing {
            self.ledger.write(attempt.id, LedgerState::Accepted).await?;
        }
        let _slot = tokio::select! {
            biased;
            () = self.is_not_to_begin(&stop) => return Ok(Lived::NotBegun),
            slot = Arc::clone(&self.slots).acquire_owned() => slot,
        };
        if from != From::Begun {
            if let Some(refused) = self.executor.refuses(&attempt) {
                let outcome = Outcome::Failed { message: refused.message, report: refused.report }.bounded();
                self.ended_as(&attempt, &outcome).await?;
                return Ok(Lived::Ended);
            }
            let granted = tokio::select! {
                biased;
                () = self.is_not_to_begin(&stop) => return Ok(Lived::NotBegun),
                granted = self.begin(attempt.id) => granted,
            };
            if let Err(why) = granted {
                return Ok(Lived::Refused(why));
            }
            self.ledger.write(attempt.id, LedgerState::Begun).await?;
        }
        tracing::info!(attempt = %attempt.id, run = %attempt.run, step = %attempt.step, kind = attempt.kind, again = from == From::Begun, "carrying out");
        self.metrics.executing.inc();
        let outcome = self.execute(&attempt, &stop).await;
        self.metrics.executing.dec();
        let Some(outcome) = outcome.map(Outcome::bounded) else { return Ok(Lived::LeftBegun) };
        if let Err(error) = self.ended_as(&attempt, &outcome).await {
            // What happened is known now and will be unknown to the next process.
            if let Err(unanswered) = self.coordination.end(attempt.id, self.ledger.id(), &outcome).await {
                tracing::warn!(attempt = %attempt.id, error = %unanswered, "the outcome is neither in the ledger nor with the mesh");
            }
            return Err(error);
        }
        Ok(Lived::Ended)
    }

    /// Tells of an end, and writes it down.
    async fn ended_as(&self, attempt: &DesiredAttempt, outcome: &Outcome) -> Result<(), LedgerError> {
        tracing::info!(attempt = %attempt.id, run = %attempt.run, step = %attempt.step, outcome = %outcome, "{}", outcome.summary());
        self.metrics.ended(outcome);
        self.ledger.write(attempt.id, LedgerState::Ended(outcome.clone())).await
    }

    async fn is_not_to_begin(&self, stop: &Stop) {
        tokio::select! {
            () = self.leaving.cancelled() => {}
            () = stop.stopped() => {}
        }
    }

    /// Asks until the mesh says yes or no.
    async fn begin(&self, attempt: AttemptId) -> Result<(), String> {
        let mut backoff = Backoff::new(self.settings.retry_first, self.settings.retry_ceiling);
        loop {
            match self.coordination.begin(attempt, self.ledger.id()).await {
                Ok(()) => return Ok(()),
                Err(Unanswered::Refused(why)) => return Err(why),
                Err(Unanswered::Later(why)) => tracing::debug!(%attempt, error = why, "cannot begin yet"),
            }
            tokio::time::sleep(backoff.pause()).await;
        }
    }

    /// Reports an outcome until the mesh has taken it in, or will not.
    pub async fn report(self: Arc<Self>, attempt: AttemptId, outcome: Outcome) {
        let mut backoff = Backoff::new(self.settings.retry_first, self.settings.retry_ceiling);
        loop {
            match self.coordination.end(attempt, self.ledger.id(), &outcome).await {
                Ok(()) => return,
                Err(Unanswered::Refused(why)) => return tracing::info!(%attempt, error = why, "the mesh does not take the outcome"),
                Err(Unanswered::Later(why)) => tracing::debug!(%attempt, error = why, "cannot report yet"),
            }
            tokio::time::sleep(backoff.pause()).await;
        }
    }

    /// Executes, with the attempt's own deadline. `None`: it is to be left as begun.
    async fn execute(&self, attempt: &DesiredAttempt, stop: &Stop) -> Option<Outcome> {
        let (output, lines) = Output::channel(LINES_WAITING);
        let forwarding = AbortOnDropHandle::new(tokio::spawn(forward(attempt.id, lines, Arc::clone(&self.outbox))));
        let executing = {
            let (executor, attempt, output, cancel) = (Arc::clone(&self.executor), attempt.clone(), output.clone(), stop.token());
            tokio::spawn(async move { executor.execute(attempt, output, cancel).await })
        };
        let ended = self.ended(AbortOnDropHandle::new(executing), attempt, stop).await;
        self.outbox.lost(attempt.id, output.dropped());
        // The last holder of the output is gone with this one: what was printed is on its way.
        drop(output);
        if tokio::time::timeout(ABORT_GRACE, forwarding).await.is_err() {
            tracing::debug!(attempt = %attempt.id, "its output was held open after its end");
        }
        match ended {
            Some(ended) => outcome(attempt, stop.reason(), ended),
            None => Some(Outcome::TimedOut { message: format!("stopped after {}, and did not end when it was asked to", attempt.timeout) }),
        }
    }

    /// Waits for the end: by itself, on demand, or by force. `None`: by force.
    async fn ended(
        &self,
        mut executing: AbortOnDropHandle<Result<Report, StepError>>,
        attempt: &DesiredAttempt,
        stop: &Stop,
    ) -> Option<Result<Result<Report, StepError>, JoinError>> {
        tokio::select! {
            biased;
            ended = &mut executing => return Some(ended),
            () = stop.stopped() => {}
            () = tokio::time::sleep(attempt.timeout.as_duration()) => stop.stop(StopReason::TimedOut),
        }
        if let Ok(ended) = tokio::time::timeout(self.settings.stop_grace, &mut executing).await {
            return Some(ended);
        }
        tracing::warn!(attempt = %attempt.id, kind = attempt.kind, "it did not end when it was asked to, and is ended by force");
        executing.abort();
        // Its children end when what holds them is dropped; past this wait nobody could say when.
        let _ = tokio::time::timeout(ABORT_GRACE, &mut executing).await;
        None
    }
}

async fn forward(attempt: AttemptId, mut lines: tokio::sync::mpsc::Receiver<OutputLine>, outbox: Arc<Outbox>) {
    while let Some(line) = lines.recv().await {
        outbox.push(attempt, line.text);
    }
}

/// What an end means. `None`: it is to be left as begun, for the next process.
fn outcome(attempt: &DesiredAttempt, reason: Option<StopReason>, ended: Result<Result<Report, StepError>, JoinError>) -> Option<Outcome> {
    let idempotent = catalogue::kind(&attempt.kind).is_some_and(|kind| kind.idempotent);
    let error = match ended {
        Ok(Ok(report)) => return Some(Outcome::Succeeded(report)),
        Ok(Err(error)) => error,
        Err(panicked) => return Some(panicked_outcome(attempt, idempotent, &panicked)),
    };
    Some(match (error.ended, reason) {
        (Ended::Failed | Ended::Refused, _) => Outcome::Failed { message: error.message, report: error.report },
        (Ended::Cancelled, Some(StopReason::TimedOut)) => {
            Outcome::TimedOut { message: format!("stopped after {}: {}", attempt.timeout, error.message) }
        }
        (Ended::Cancelled, Some(StopReason::Leaving)) if idempotent => return None,
        (Ended::Cancelled, Some(StopReason::Leaving)) => {
            Outcome::Cancelled { message: format!("the agent was shut down before the step had ended: {}", error.message) }
        }
        (Ended::Cancelled, Some(StopReason::CalledOff) | None) => Outcome::Cancelled { message: error.message },
    })
}

/// A fault of this program. What it had done by then is known only where doing it again changes nothing.
fn panicked_outcome(attempt: &DesiredAttempt, idempotent: bool, panicked: &JoinError) -> Outcome {
    tracing::error!(attempt = %attempt.id, kind = attempt.kind, error = %panicked, "the executor failed unexpectedly: a fault of the agent");
    let message = format!("{} failed unexpectedly, which is a fault of the agent: its log says more", attempt.kind);
    if idempotent { Outcome::Failed { message, report: None } } else { Outcome::Unknown { reason: message } }
}
