//! What a member has while it leads, and only then.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mainstay_client::clock::Clock;
use mainstay_core::preview::rights::Lacking;
use mainstay_core::voucher::Reviewed;
use mainstay_core::{Actor, Command, Entry, MeshTime, Reply, RequestKey, State, Token, Waits, WallTime};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::clock::MeshClock;
use super::confirmation::Confirmation;
use super::links::Links;
use super::memory::{Ending, Memory};
use super::metrics::LeaderMetrics;
use super::output::Outputs;
use super::pulse::Pulse;
use super::reviews::Reviews;
use crate::store::{Consensus, ProposeError, ReadError, Tenure};

/// Enrolments whose certificates may be asked for again, so that a lost answer does not cost a use.
const ENROLMENTS_KEPT: usize = 1_024;

/// Longest wait for a decision on what has just been applied. A pass may rest for a quarter of a second, and has
/// proposals on their way before the next one looks.
const DECIDED_WITHIN: Duration = Duration::from_secs(1);

/// What the last decision found.
#[derive(Default)]
struct Decided {
    /// The newest entry that it saw applied.
    index: u64,
    waits: Arc<Waits>,
}

/// One time of leading. Dies with the leadership; what must outlive it is a command.
pub struct Office {
    tenure: Tenure,
    consensus: Consensus,
    clock: Arc<dyn Clock>,
    mesh_clock: MeshClock,
    memory: Mutex<Memory>,
    decided: watch::Sender<Decided>,
    wake: Notify,
    links: Links,
    reviews: Reviews<Reviewed>,
    rights_reviews: Reviews<Lacking>,
    outputs: Outputs,
    pulse: Pulse,
    confirmation: Confirmation,
    enrolments: Mutex<BTreeMap<String, MeshTime>>,
    metrics: LeaderMetrics,
    ended: CancellationToken,
}

impl Office {
    /// Takes office in `tenure`, at the mesh time of the newest entry.
    #[must_use]
    pub fn take(consensus: &Consensus, tenure: Tenure, clock: Arc<dyn Clock>, metrics: LeaderMetrics) -> Office {
        let base = consensus.state().state.mesh_time;
        let pulse = Pulse::starting(clock.monotonic());
        Office {
            tenure,
            mesh_clock: MeshClock::starting(base, clock.monotonic()),
            consensus: consensus.clone(),
            clock,
            memory: Mutex::new(Memory::starting(base)),
            decided: watch::Sender::new(Decided::default()),
            wake: Notify::new(),
            links: Links::default(),
            reviews: Reviews::default(),
            rights_reviews: Reviews::default(),
            outputs: Outputs::default(),
            pulse,
            confirmation: Confirmation::default(),
            enrolments: Mutex::default(),
            metrics,
            ended: CancellationToken::new(),
        }
    }

    #[must_use]
    pub fn tenure(&self) -> Tenure {
        self.tenure
    }

    #[must_use]
    pub fn consensus(&self) -> &Consensus {
        &self.consensus
    }

    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// Mesh time now.
    #[must_use]
    pub fn now(&self) -> MeshTime {
        self.mesh_clock.at(self.clock.monotonic())
    }

    #[must_use]
    pub fn wall(&self) -> WallTime {
        self.clock.wall()
    }

    /// What has been applied; here that is everything that was committed before this tenure, and what was
    /// acknowledged in it.
    #[must_use]
    pub fn state(&self) -> Arc<State> {
        self.consensus.state().state
    }

    #[must_use]
    pub fn links(&self) -> &Links {
        &self.links
    }

    #[must_use]
    pub fn reviews(&self) -> &Reviews<Reviewed> {
        &self.reviews
    }

    #[must_use]
    pub fn rights_reviews(&self) -> &Reviews<Lacking> {
        &self.rights_reviews
    }

    #[must_use]
    pub fn outputs(&self) -> &Outputs {
        &self.outputs
    }

    pub(super) fn pulse(&self) -> &Pulse {
        &self.pulse
    }

    pub(super) fn memory(&self) -> MutexGuard<'_, Memory> {
        // Each operation leaves it whole, so a panic elsewhere does not spoil it.
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes something that only the leader sees. `wakes` when a decision may follow from it at once.
    pub fn note(&self, wakes: bool, what: impl FnOnce(&mut Memory, MeshTime)) {
        let now = self.now();
        what(&mut self.memory(), now);
        if wakes {
            self.wake.notify_one();
        }
    }

    /// Asks or tells the leader's memory.
    pub fn tell<T>(&self, what: impl FnOnce(&mut Memory) -> T) -> T {
        what(&mut self.memory())
    }

    /// Notes the renewal of a grant that a majority has just confirmed this member may speak for.
    pub fn renew(&self, token: Token) -> Result<(), Ending> {
        let now = self.now();
        self.memory().renewed(token, now)
    }

    pub(super) async fn woken(&self) {
        self.wake.notified().await;
    }

    /// Why anything waits, as of the last decision.
    #[must_use]
    pub fn waits(&self) -> Arc<Waits> {
        self.decided.borrow().waits.clone()
    }

    /// Why anything waits, as of a decision that saw the entry `index` applied, so that what has just been offered or
    /// asked for is among it. Within [`DECIDED_WITHIN`]; after that, as of the last decision.
    pub async fn waits_since(&self, index: u64) -> Arc<Waits> {
        let mut decided = self.decided.subscribe();
        // No answer in time, or the tenure's end: what was decided last is still the best that is known.
        let _ = tokio::time::timeout(DECIDED_WITHIN, decided.wait_for(|decided| decided.index >= index)).await;
        self.waits()
    }

    pub(super) fn tell_waits(&self, index: u64, waits: Waits) {
        self.decided.send_replace(Decided { index, waits: Arc::new(waits) });
    }

    /// Has a command agreed on in this tenure.
    pub async fn propose(&self, by: Actor, key: Option<RequestKey>, command: Command) -> Result<Reply, ProposeError> {
        if let Some(refusal) = self.consensus.state().state.too_early(&command) {
            return Ok(Reply::Refused(refusal));
        }
        let entry = Entry { at: self.now(), wall: self.clock.wall(), by, key, command };
        let answer = self.consensus.propose_in(self.tenure, &entry).await;
        self.metrics.count(&answer);
        answer
    }

    /// Proof, from after this call began, that this member still leads.
    pub async fn confirm(&self) -> Result<(), ReadError> {
        self.confirmation.obtain(&self.consensus).await
    }

    /// Remembers an enrolment under a key that only its sender can know.
    pub fn remember_enrolment(&self, key: String) {
        let mut kept = self.enrolments.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= ENROLMENTS_KEPT
            && let Some(oldest) = kept.iter().min_by_key(|(_, at)| **at).map(|(key, _)| key.clone())
        {
            kept.remove(&oldest);
        }
        kept.insert(key, self.now());
    }

    #[must_use]
    pub fn remembers_enrolment(&self, key: &str) -> bool {
        self.enrolments.lock().unwrap_or_else(PoisonError::into_inner).contains_key(key)
    }

    /// Ends everything that belongs to this tenure.
    pub(super) fn end(&self) {
        self.ended.cancel();
    }

    /// Cancelled when this member leads no more.
    #[must_use]
    pub fn ended(&self) -> &CancellationToken {
        &self.ended
    }
}
