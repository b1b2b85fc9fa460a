//! Goes along with what the mesh agrees on about roots: trusts them, asks for issuers, takes them.

use std::sync::Arc;
use std::time::Duration;

use mainstay_client::random;
use mainstay_client::tls::Connections;
use mainstay_client::work;
use mainstay_core::State;
use tokio_util::sync::CancellationToken;

use super::Home;
use crate::peers::Peers;
use crate::store::Consensus;

/// Pause before it is tried again, after a disk that was full for example.
const AGAIN: Duration = Duration::from_secs(5);
/// Longest time between two looks: an issuer comes to its end without any change of the state.
const LOOK: Duration = Duration::from_secs(600);

/// Follows until `end`.
pub async fn keep_following(home: Arc<Home>, peers: Peers, connections: Connections, consensus: Consensus, end: CancellationToken) {
    let mut applied = consensus.applied();
    let mut before: Option<Arc<State>> = None;
    loop {
        let state = applied.borrow_and_update().state.clone();
        let mut pause = random::jitter(LOOK, 0.1);
        if before.as_ref().is_none_or(|before| concerns(before, &state)) {
            let (looked, at) = (home.clone(), state.clone());
            match work::blocking(move || looked.follow(&at)).await {
                Ok(Ok(changed)) => {
                    if changed {
                        peers.reconnect();
                        // What was let in under a root that is retired now does not outlast it.
                        connections.close_all_but_of(&home.roots());
                    }
                    before = Some(state.clone());
                }
                Ok(Err(error)) => {
                    tracing::error!(%error, "this member cannot go along with the mesh's roots: it will be tried again");
                    pause = AGAIN;
                }
                Err(error) => tracing::error!(%error, "the look at the mesh's roots ended early: it will be tried again"),
            }
        }
        if is_told_wrong(&home, &state) {
            home.tell_again();
        }
        let waited = async {
            tokio::select! {
                changed = applied.changed() => changed.is_ok(),
                () = tokio::time::sleep(pause) => {
                    before = None;
                    true
                }
            }
        };
        if end.run_until_cancelled(waited).await != Some(true) {
            return;
        }
    }
}

/// Whether anything has changed that decides what a member trusts and signs with.
fn concerns(before: &State, after: &State) -> bool {
    !before.roots.ptr_eq(&after.roots) || !before.issuers.ptr_eq(&after.issuers) || !before.members.ptr_eq(&after.members)
}

/// Whether the state says something else of this member than is so: it was told before that changed, or by a
/// mesh that was not at the level yet.
fn is_told_wrong(home: &Home, state: &State) -> bool {
    let Some(member) = state.members.get(&home.member()).filter(|_| state.feature_level >= 2 && !state.roots.is_empty()) else { return false };
    let standing = home.standing();
    (&member.trusts, &member.shows, &member.issuers, &member.issuer_request)
        != (&standing.trusts, &standing.shows, &standing.issuers, &standing.request)
}
