//! Proof that this member still leads, shared by all who ask at the same time.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Mutex;

use crate::store::{Consensus, ReadError};

/// One question to the majority serves everybody who asked before it was put.
#[derive(Debug, Default)]
pub struct Confirmation {
    asked: AtomicU64,
    last: Mutex<Option<Round>>,
}

#[derive(Debug)]
struct Round {
    /// Those with a lower number had asked when the round began.
    covers: u64,
    result: Result<(), ReadError>,
}

impl Confirmation {
    /// Succeeds when a majority has confirmed, at some time after this call began, that the member leads.
    pub async fn obtain(&self, consensus: &Consensus) -> Result<(), ReadError> {
        let number = self.asked.fetch_add(1, Ordering::SeqCst);
        let mut last = self.last.lock().await;
        if let Some(round) = last.as_ref().filter(|round| round.covers > number) {
            return round.result.clone();
        }
        let covers = self.asked.load(Ordering::SeqCst);
        let result = consensus.confirm_leadership().await;
        *last = Some(Round { covers, result: result.clone() });
        result
    }
}
