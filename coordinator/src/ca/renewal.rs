//! Keeps the own certificate in force while running.

use std::sync::Arc;
use std::time::Duration;

use mainstay_client::random;
use tokio_util::sync::CancellationToken;

use super::Home;
use crate::peers::Peers;

/// Longest pause between two looks: clocks jump, and files are replaced.
const LOOK: Duration = Duration::from_secs(60);

/// Renews at a third of the leaf's life, or takes what somebody else has put in place; until `end`.
pub async fn keep_renewed(home: Arc<Home>, peers: Peers, end: CancellationToken) {
    // Chosen once, so that members do not renew at one time.
    let spread = (random::number() % 1_000) as f64 / 1_000.0;
    while end.run_until_cancelled(tokio::time::sleep(random::jitter(LOOK / 2, 1.0))).await.is_some() {
        let looked = home.clone();
        let renewed = tokio::task::spawn_blocking(move || look(&looked, spread)).await;
        match renewed {
            Ok(Ok(false)) => {}
            Ok(Ok(true)) => {
                tracing::info!("the certificate of this member is renewed");
                peers.reconnect();
            }
            Ok(Err(error)) => tracing::error!(%error, "the certificate of this member is not renewed: it will be tried again"),
            Err(error) => tracing::error!(%error, "the renewal ended early: it will be tried again"),
        }
    }
}

fn look(home: &Home, spread: f64) -> Result<bool, super::IssueError> {
    if !home.has_issuer() {
        return Ok(home.reload()?);
    }
    if home.clock().wall() < home.renew_at(spread)? {
        return Ok(false);
    }
    home.renew_as(home.member()).map(|()| true)
}
