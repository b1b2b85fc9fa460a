//! What every member does about what was applied, whether it leads or not.

use mainstay_client::tls::Connections;
use tokio_util::sync::CancellationToken;

use crate::store::Consensus;

/// Ends the connections of identities as they are revoked, until `end`.
pub async fn close_revoked(consensus: Consensus, connections: Connections, end: CancellationToken) {
    let mut applied = consensus.applied();
    let mut before = applied.borrow_and_update().state.revoked.clone();
    while let Some(Ok(())) = end.run_until_cancelled(applied.changed()).await {
        let after = applied.borrow_and_update().state.revoked.clone();
        for identity in after.keys().filter(|_| !after.ptr_eq(&before)).filter(|identity| !before.contains_key(*identity)) {
            tracing::info!(%identity, "revoked: its connections are closed");
            connections.close_identity(identity);
        }
        before = after;
    }
}

/// In debug builds: looks now and then whether the state is as it must be.
#[cfg(debug_assertions)]
pub async fn check_invariants(consensus: Consensus, end: CancellationToken) {
    const EVERY: std::time::Duration = std::time::Duration::from_secs(1);
    let mut applied = consensus.applied();
    while let Some(Ok(())) = end.run_until_cancelled(applied.changed()).await {
        let now = applied.borrow_and_update().clone();
        for (name, what) in mainstay_core::invariant::broken(&now.state) {
            tracing::error!(invariant = name, index = now.index, what, "an invariant of the state is broken");
        }
        tokio::time::sleep(EVERY).await;
    }
}
