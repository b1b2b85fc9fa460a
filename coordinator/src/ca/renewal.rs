//! Keeps the own certificate in force while running.

use std::sync::Arc;
use std::time::Duration;

use mainstay_client::identity::keep_reloaded;
use mainstay_client::random;
use mainstay_client::work;
use tokio_util::sync::CancellationToken;

use super::{Home, IssueError, Signing};
use crate::peers::Peers;

/// Longest pause between two looks: clocks jump.
const LOOK: Duration = Duration::from_secs(60);

/// Keeps the certificate of one member young.
pub struct Renewal {
    pub home: Arc<Home>,
    pub peers: Peers,
    pub signing: Signing,
}

/// Renews at a third of the leaf's life, or takes what somebody else has renewed; until `end`.
pub async fn keep_renewed(renewal: Renewal, end: CancellationToken) {
    if let Some(files) = renewal.home.files() {
        let reloaded = keep_reloaded(files.clone(), renewal.home.identity().clone(), || renewal.peers.reconnect());
        end.run_until_cancelled(reloaded).await;
        return;
    }
    // Chosen once, so that members do not renew at one time.
    let spread = (random::number() % 1_000) as f64 / 1_000.0;
    let mut changes = renewal.home.changes();
    let mut next = async || {
        tokio::select! {
            () = tokio::time::sleep(random::jitter(LOOK / 2, 1.0)) => {}
            // The home outlives this, so that a change is all that this can be.
            _ = changes.changed() => {}
        }
    };
    while end.run_until_cancelled(next()).await.is_some() {
        match renewal.look(spread).await {
            Ok(false) => {}
            Ok(true) => {
                tracing::info!("the certificate of this member is renewed");
                renewal.peers.reconnect();
            }
            Err(error) => tracing::error!(%error, "the certificate of this member is not renewed: it will be tried again"),
        }
    }
}

impl Renewal {
    /// Renews when it is time, or when leaves are issued under another root by now. Says whether it did.
    async fn look(&self, spread: f64) -> Result<bool, IssueError> {
        if self.home.clock().wall() < self.home.renew_at(spread)? && !self.home.is_of_former_root() {
            return Ok(false);
        }
        if self.home.has_issuer() {
            self.aside(|home| home.renew_as(home.member())).await?;
        } else {
            self.home.renew_by(&self.signing).await?;
        }
        Ok(true)
    }

    /// Keys and disks take their time, on a thread of their own.
    async fn aside<T, E>(&self, what: impl FnOnce(&Home) -> Result<T, E> + Send + 'static) -> Result<T, IssueError>
    where
        T: Send + 'static,
        E: Into<IssueError> + Send + 'static,
    {
        let home = self.home.clone();
        let done = work::blocking(move || what(&home)).await;
        done.map_err(|error| IssueError::Broken(error.to_string()))?.map_err(Into::into)
    }
}
