//! Which certificates callers show: noted at each call, and brought into the state when it says something else.
//!
//! Any member notes; one that does not lead tells the leader, which has it agreed on. What is lost on that way is
//! noted again at the next call. The first roots of a mesh come in here, too: they are what its first member was given.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mainstay_client::identity::{PeerIdentity, ids_of};
use mainstay_core::state::trust::Shown;
use mainstay_core::{Actor, Command, Identity, State, WallTime};
use mainstay_proto::convert::parsed;
use mainstay_proto::v1;
use mainstay_proto::v1::roots_client::RootsClient;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::roots::NOTES;
use super::status;
use crate::ca::Home;
use crate::leader::{Leader, Office};
use crate::peers::Peers;
use crate::store::Consensus;

/// What waits to be agreed on: a fleet that comes back at once; the rest is noted at its next call.
const WAITING: usize = 4_096;
/// How long the leader may take to hear of it.
const TELL: Duration = Duration::from_secs(2);
/// Between two looks whether this member leads.
const LOOK: Duration = Duration::from_secs(1);
/// From this level on the mesh remembers certificates and roots.
const REMEMBERS: u32 = 2;

/// What was noted. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Credentials {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    waiting: Mutex<BTreeMap<Identity, Shown>>,
    noted: Notify,
}

/// What a caller shows, with the roots that it says it trusts.
#[must_use]
pub fn shown(peer: &PeerIdentity, trusts: Option<&str>) -> Option<Shown> {
    Some(Shown { ends: peer.not_after, root: peer.root?, trusts: trusts.map(ids_of).unwrap_or_default() })
}

fn to_wire(identity: &Identity, shown: &Shown) -> v1::ShownCertificate {
    v1::ShownCertificate {
        identity: identity.to_string(),
        ends_unix_ms: shown.ends.0,
        root: shown.root.to_string(),
        trusts: shown.trusts.iter().map(ToString::to_string).collect(),
    }
}

/// What another member was shown.
pub fn from_wire(shown: &v1::ShownCertificate) -> Result<Shown, Status> {
    let root = parsed("root", &shown.root).map_err(status::invalid)?;
    Ok(Shown { ends: WallTime(shown.ends_unix_ms), root, trusts: ids_of(&shown.trusts.join(",")) })
}

impl Credentials {
    /// Notes what a caller shows, where the state says something else.
    pub fn note(&self, state: &State, identity: &Identity, shown: Shown) {
        // Who may do nothing here is not waited for either.
        let is_nobody = matches!(identity, Identity::Operator(name) if !state.operators.contains_key(name));
        if state.feature_level < REMEMBERS || state.revoked.contains_key(identity) || is_nobody {
            return;
        }
        let known = state.identities.get(identity).and_then(|known| known.shown.as_ref());
        // One program of several with this identity may not say what it trusts: that takes nothing back.
        let trusts = if shown.trusts.is_empty() { known.map(|known| known.trusts.clone()).unwrap_or_default() } else { shown.trusts };
        let shown = Shown { trusts, ..shown };
        if known == Some(&shown) {
            return;
        }
        let mut waiting = self.inner.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() < WAITING || waiting.contains_key(identity) {
            waiting.insert(identity.clone(), shown);
            self.inner.noted.notify_one();
        }
    }

    fn next(&self) -> Option<(Identity, Shown)> {
        self.inner.waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_first()
    }

    /// Has it agreed on, or tells whoever leads, until `end`.
    pub async fn keep(self, leader: Leader, consensus: Consensus, peers: Peers, end: CancellationToken) {
        while end.run_until_cancelled(self.inner.noted.notified()).await.is_some() {
            match leader.office() {
                Some(office) => self.record_all(&office).await,
                None => self.pass_on(&consensus, &peers).await,
            }
        }
    }

    async fn pass_on(&self, consensus: &Consensus, peers: &Peers) {
        let leader = consensus.leadership().borrow().leader.clone().filter(|leader| leader.id != consensus.member());
        let Some(address) = leader.and_then(|leader| leader.peer).map(|peer| peer.address) else {
            self.inner.waiting.lock().unwrap_or_else(PoisonError::into_inner).clear();
            return;
        };
        loop {
            let shown: Vec<v1::ShownCertificate> =
                std::iter::from_fn(|| self.next()).take(NOTES).map(|(identity, shown)| to_wire(&identity, &shown)).collect();
            if shown.is_empty() {
                return;
            }
            let request = v1::NoteCertificatesRequest { shown };
            let told = peers.ask(&address, TELL, |channel| async move { RootsClient::new(channel).note(request).await });
            if let Err(error) = told.await {
                tracing::debug!(%error, "the leader does not hear which certificates were shown");
                return;
            }
        }
    }

    async fn record_all(&self, office: &Office) {
        while let Some((identity, shown)) = self.next() {
            let is_known = office.state().identities.get(&identity).is_some_and(|known| known.shown.as_ref() == Some(&shown));
            if is_known {
                continue;
            }
            let command = Command::RecordCertificate { identity: identity.clone(), shown };
            match office.propose(Actor::Mesh, None, command).await {
                Ok(reply) => {
                    drop(reply.into_result().inspect_err(|refusal| tracing::warn!(%identity, %refusal, "its certificate is not remembered")))
                }
                // Whoever leads next notes it again.
                Err(error) => return tracing::debug!(%error, "certificates are not recorded now"),
            }
        }
    }
}

/// Gives the mesh its first roots, those that its members were given, as soon as it can have them.
pub async fn found_roots(leader: Leader, home: Arc<Home>, consensus: Consensus, end: CancellationToken) {
    let mut applied = consensus.applied();
    loop {
        let state = applied.borrow_and_update().state.clone();
        if !state.roots.is_empty() || home.files().is_some() {
            return;
        }
        if let Some(office) = leader.office().filter(|_| state.feature_level >= REMEMBERS) {
            for root in home.roots().iter() {
                let command = Command::AddRoot { id: root.id, pem: root.pem.clone(), ends: root.ends };
                if let Err(error) = office.propose(Actor::Mesh, None, command).await {
                    tracing::debug!(%error, "the mesh does not have its first roots yet");
                }
            }
        }
        // Leadership is no change of the state: it is looked for now and then.
        match end.run_until_cancelled(tokio::time::timeout(LOOK, applied.changed())).await {
            None | Some(Ok(Err(_))) => return,
            Some(Ok(Ok(())) | Err(_)) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use mainstay_core::state::enrolment::{Known, OperatorRole};
    use mainstay_core::state::trust::RootId;

    use super::*;

    const ROOT: RootId = RootId(0xa);

    fn at(ends: i64, trusts: &[RootId]) -> Shown {
        Shown { ends: WallTime(ends), root: ROOT, trusts: trusts.into() }
    }

    #[test]
    fn only_what_the_state_does_not_say_is_noted() {
        let ben: Identity = "operator/ben".parse().unwrap();
        let mut state = State::default();
        state.feature_level = 2;
        let credentials = Credentials::default();
        credentials.note(&state, &ben, at(1, &[ROOT]));
        assert_eq!(credentials.next(), None, "who has no role is not waited for");
        state.operators.insert("ben".parse().unwrap(), OperatorRole::Viewer);
        credentials.note(&state, &ben, at(1, &[ROOT]));
        assert_eq!(credentials.next(), Some((ben.clone(), at(1, &[ROOT]))));
        state.identities.insert(ben.clone(), Known { shown: Some(at(1, &[ROOT])), ..Known::default() });
        credentials.note(&state, &ben, at(1, &[ROOT]));
        credentials.note(&state, &ben, at(1, &[]));
        assert_eq!(credentials.next(), None, "who does not say what it trusts takes nothing back");
        credentials.note(&state, &ben, at(2, &[]));
        assert_eq!(credentials.next(), Some((ben.clone(), at(2, &[ROOT]))));
        state.feature_level = 1;
        credentials.note(&state, &ben, at(3, &[ROOT]));
        assert_eq!(credentials.next(), None);
    }
}
