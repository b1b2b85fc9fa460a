//! The agent's one link to the mesh.
//!
//! In: who this process is, and lines that steps print. Out: the newest desired set that is not older than
//! one seen before, and whether the link is up. It finds the leader again whenever the link ends, with pauses
//! that grow and vary, so that ten thousand agents do not come back in one instant. It carries nothing out.
//!
//! ```text
//!  connect ─▶ hello ─▶ welcome ─▶ desired … desired ─▶ ended ─▶ pause ─▶ connect
//!                        │ heartbeats, output, facts ─▶             └─ superseded: this process ends
//! ```

mod connector;
mod exchange;
mod metrics;
mod outbox;
mod session;

use std::sync::Arc;
use std::time::Duration;

use mainstay_client::clock::Clock;
use mainstay_client::random::Backoff;
use mainstay_core::condition::Condition;
use mainstay_core::reconcile::Desired;
use mainstay_core::state::agent::Hello;
use tokio::sync::watch;

pub use connector::{Connector, LinkStream};
pub use exchange::{Exchange, Teller};
pub use metrics::LinkMetrics;
pub use outbox::Outbox;
use session::{Ended, Session};

use crate::complaint::Complaint;
use crate::execute::review::Rights;
use crate::kube::conditions::Told;
use crate::kube::vouch::Reviewer;
use crate::ledger::{Ledger, LedgerError};
use crate::observe::pods::Pods;

/// First pause before the link is opened again, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// A link that was up for less than this did not work: pauses go on growing.
const WORKED: Duration = Duration::from_secs(10);

/// A desired set, and the number of the link that brought it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Wanted {
    pub link: u64,
    pub desired: Desired,
}

/// What the link gives to the rest of the agent. Cheap to clone.
#[derive(Debug, Clone)]
pub struct LinkHandle {
    /// Nothing before the first desired set.
    pub wanted: watch::Receiver<Option<Arc<Wanted>>>,
    pub up: watch::Receiver<bool>,
    pub outbox: Arc<Outbox>,
}

/// Why there will be no other link.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    #[error(
        "another process with the identity of this agent has connected (incarnation {incarnation}): this one ends; see to it that only one runs for this node"
    )]
    Superseded { incarnation: String },
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// Keeps the link; run it once.
pub struct Link<C> {
    connector: C,
    hello: Hello,
    ledger: Ledger,
    clock: Arc<dyn Clock>,
    metrics: LinkMetrics,
    outbox: Arc<Outbox>,
    exchange: Arc<Exchange>,
    pods: Pods,
    wanted: watch::Sender<Option<Arc<Wanted>>>,
    up: watch::Sender<bool>,
    /// Of a cluster agent.
    reviewer: Option<Arc<dyn Reviewer>>,
    /// The same.
    rights: Option<Arc<dyn Rights>>,
    /// The same: what the agents of its nodes say.
    told: Told,
    /// Of the agent of a node: what it sees of it, once there is something to say.
    conditions: watch::Receiver<Option<Arc<[Condition]>>>,
}

impl<C: Connector> Link<C> {
    #[must_use]
    pub fn new(
        connector: C,
        hello: Hello,
        ledger: Ledger,
        clock: Arc<dyn Clock>,
        metrics: LinkMetrics,
        exchange: Arc<Exchange>,
        pods: Pods,
    ) -> (Link<C>, LinkHandle) {
        let (wanted, wanted_seen) = watch::channel(None);
        let (up, up_seen) = watch::channel(false);
        let outbox = Arc::<Outbox>::default();
        let handle = LinkHandle { wanted: wanted_seen, up: up_seen, outbox: Arc::clone(&outbox) };
        let (reviewer, rights, told, conditions) = (None, None, Told::default(), watch::channel(None).1);
        (Link { connector, hello, ledger, clock, metrics, outbox, exchange, pods, wanted, up, reviewer, rights, told, conditions }, handle)
    }

    /// The same link, which also tells the mesh of this node's conditions.
    #[must_use]
    pub fn with_conditions(self, conditions: watch::Receiver<Option<Arc<[Condition]>>>) -> Link<C> {
        Link { conditions, ..self }
    }

    /// The same link, which also takes what the agents of a cluster's nodes say of them.
    #[must_use]
    pub fn with_told(self, told: Told) -> Link<C> {
        Link { told, ..self }
    }

    /// The same link, which also answers the mesh's questions about tokens.
    #[must_use]
    pub fn with_reviewer(self, reviewer: Arc<dyn Reviewer>) -> Link<C> {
        Link { reviewer: Some(reviewer), ..self }
    }

    /// The same link, which also answers the mesh's questions about rights.
    #[must_use]
    pub fn with_rights(self, rights: Arc<dyn Rights>) -> Link<C> {
        Link { rights: Some(rights), ..self }
    }

    /// Keeps a link up for as long as this process may have one. Dropping it ends the link.
    ///
    /// # Errors
    /// Always: when another process took the identity over, or the ledger does not work.
    pub async fn run(self) -> LinkError {
        let mut backoff = Backoff::new(PAUSES.0, PAUSES.1);
        let mut complaint = Complaint::default();
        for number in 1.. {
            let begun = self.clock.monotonic();
            let ended = self.session(number).run().await;
            self.up.send_replace(false);
            self.exchange.linked(0);
            self.told.unlinked();
            self.metrics.up.set(0);
            let why = match ended {
                Ended::Superseded { incarnation } => return LinkError::Superseded { incarnation },
                Ended::Ledger(error) => return LinkError::Ledger(error),
                Ended::Lost(why) => why,
            };
            if self.clock.monotonic().saturating_sub(begun) >= WORKED {
                backoff.reset();
                complaint = Complaint::default();
            }
            let pause = backoff.pause();
            complaint.about("no link to the mesh", &why, pause);
            self.metrics.lost.inc();
            tokio::time::sleep(pause).await;
        }
        LinkError::Superseded { incarnation: String::new() }
    }

    fn session(&self, number: u64) -> Session<'_, C> {
        Session {
            number,
            connector: &self.connector,
            hello: &self.hello,
            ledger: &self.ledger,
            metrics: &self.metrics,
            outbox: &self.outbox,
            exchange: &self.exchange,
            pods: &self.pods,
            clock: &*self.clock,
            wanted: &self.wanted,
            up: &self.up,
            reviewer: self.reviewer.as_ref(),
            rights: self.rights.as_ref(),
            told: &self.told,
            conditions: &self.conditions,
        }
    }
}

#[cfg(test)]
mod tests;
