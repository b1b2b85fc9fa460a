//! What runs only while this member leads: mesh time, decisions, the ends of the agents' links.
//!
//! In: what was applied, what calls have noted ([`Office::note`]). Out: commands into the log, reasons for
//! which anything waits. It keeps nothing: a new leader starts from the state alone.
//!
//! ```text
//!   leadership settled ─▶ Office ─▶ Founding ─▶ published to the API ─▶ decisions until the tenure ends
//!                                                                   └─▶ links are woken by changes
//! ```

mod clock;
mod confirmation;
mod decisions;
mod founding;
mod links;
mod memory;
mod metrics;
mod office;
mod output;
mod pulse;
mod reviews;
mod rights;

use std::sync::Arc;
use std::time::Duration;

use mainstay_client::clock::Clock;
use mainstay_client::random::Backoff;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use founding::{Founding, FoundingError};
pub use links::{Link, Links, Successor};
pub use memory::{Ending, Memory};
pub use metrics::LeaderMetrics;
pub use office::Office;
pub use reviews::{Answer, NotReviewed, Question, Reviews};

use crate::store::{Consensus, Tenure};

/// The handle to this member's leadership, such as it is at the time.
#[derive(Clone)]
pub struct Leader {
    consensus: Consensus,
    clock: Arc<dyn Clock>,
    metrics: LeaderMetrics,
    office: watch::Sender<Option<Arc<Office>>>,
}

impl Leader {
    #[must_use]
    pub fn new(consensus: Consensus, clock: Arc<dyn Clock>, metrics: LeaderMetrics) -> Leader {
        Leader { consensus, clock, metrics, office: watch::Sender::new(None) }
    }

    /// What this member has while it leads; nothing when it does not, or does not yet know all.
    #[must_use]
    pub fn office(&self) -> Option<Arc<Office>> {
        self.office.borrow().clone().filter(|office| self.consensus.leadership().borrow().settled() == Some(office.tenure()))
    }

    /// Takes office whenever this member leads, until `end`.
    pub async fn run(&self, founding: &Founding, end: CancellationToken) {
        let mut leadership = self.consensus.leadership();
        let mut pauses = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
        let until_end = async {
            loop {
                let Ok(tenure) = leadership.wait_for(|now| now.settled().is_some()).await.map(|now| now.settled()) else { return };
                let Some(tenure) = tenure else { continue };
                let office = Arc::new(Office::take(&self.consensus, tenure, self.clock.clone(), self.metrics.clone()));
                let served = self.serve(&office, founding);
                tokio::select! {
                    () = served => {}
                    () = left(&self.consensus, tenure) => {}
                }
                if self.office.send_replace(None).is_some() {
                    pauses.reset();
                }
                office.end();
                // A founding that fails at once is tried again, not all the time.
                tokio::time::sleep(pauses.pause()).await;
            }
        };
        end.run_until_cancelled(until_end).await;
        if let Some(office) = self.office.send_replace(None) {
            office.end();
        }
    }

    async fn serve(&self, office: &Arc<Office>, founding: &Founding) {
        if let Err(error) = founding.complete(office).await {
            tracing::warn!(%error, "the mesh is not complete yet");
            return;
        }
        tracing::info!(term = office.tenure().term, "this member leads");
        self.office.send_replace(Some(office.clone()));
        tokio::select! {
            () = decisions::run(office) => {}
            () = wake_links(office) => {}
            () = founding.follow(office) => {}
            () = office.pulse().run(&**office.clock()) => {}
        }
    }
}

/// Returns when the member no longer leads in `tenure`.
async fn left(consensus: &Consensus, tenure: Tenure) {
    let mut leadership = consensus.leadership();
    // An error says that the store has ended, and leadership with it.
    let _ = leadership.wait_for(|now| now.settled() != Some(tenure)).await;
}

async fn wake_links(office: &Office) {
    let mut applied = office.consensus().applied();
    let mut before = applied.borrow_and_update().state.clone();
    while applied.changed().await.is_ok() {
        let after = applied.borrow_and_update().state.clone();
        office.links().wake(&before, &after);
        before = after;
    }
}
