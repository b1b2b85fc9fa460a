//! What every member does about what was applied, whether it leads or not.

use mainstay_client::tls::Connections;
use mainstay_core::{Identity, State};
use tokio_util::sync::CancellationToken;

use crate::store::Consensus;

/// Ends the connections of identities as they are revoked, and of operators as they lose their role, until
/// `end`. Calls are refused by the state anyway; this is for streams that were opened before.
pub async fn close_revoked(consensus: Consensus, connections: Connections, end: CancellationToken) {
    let mut applied = consensus.applied();
    let mut before = applied.borrow_and_update().state.clone();
    while let Some(Ok(())) = end.run_until_cancelled(applied.changed()).await {
        let after = applied.borrow_and_update().state.clone();
        for identity in shut_out(&before, &after) {
            tracing::info!(%identity, "shut out: its connections are closed");
            connections.close_identity(&identity);
        }
        before = after;
    }
}

/// Who counted in `before` and does not in `after`.
fn shut_out(before: &State, after: &State) -> Vec<Identity> {
    let revoked = after.revoked.keys().filter(|_| !after.revoked.ptr_eq(&before.revoked)).filter(|identity| !before.revoked.contains_key(*identity));
    let removed = before.operators.keys().filter(|_| !after.operators.ptr_eq(&before.operators)).filter(|name| !after.operators.contains_key(*name));
    revoked.cloned().chain(removed.map(|name| Identity::Operator(name.clone()))).collect()
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

#[cfg(test)]
mod tests {
    use mainstay_core::WallTime;
    use mainstay_core::id::PrincipalName;
    use mainstay_core::state::enrolment::{OperatorRole, Revocation};

    use super::*;

    #[test]
    fn whoever_is_revoked_or_loses_its_role_is_shut_out_once() {
        let mut before = State::default();
        let (ana, ben): (PrincipalName, PrincipalName) = ("ana".parse().unwrap(), "ben".parse().unwrap());
        before.operators.insert(ana.clone(), OperatorRole::Admin);
        before.operators.insert(ben.clone(), OperatorRole::Viewer);
        let mut after = before.clone();
        assert_eq!(shut_out(&before, &after), []);
        after.operators.remove(&ben);
        after.operators.insert(ana, OperatorRole::Viewer);
        after.revoked.insert("client/ci".parse().unwrap(), Revocation { at: WallTime(1), reason: String::new() });
        assert_eq!(shut_out(&before, &after).iter().map(ToString::to_string).collect::<Vec<_>>(), ["client/ci", "operator/ben"]);
        assert_eq!(shut_out(&after, &after.clone()), []);
    }
}
