//! Members compare digests of their states, so that one that went astray is found.
//!
//! At every so many entries each member digests its state, beside everything else: the copy costs nothing.
//! The leader has its digest agreed on as a command; a member whose own differs marks its disk and stops.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use mainstay_core::{Actor, Command, Entry, State, codec};
use sha2::{Digest, Sha256};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::consensus::Consensus;
use super::disk::Disk;
use super::error::StopReason;
use super::failure::Failure;

/// Digests that are remembered until the leader's arrive, or the other way round.
const REMEMBERED: usize = 8;

/// The digest of the state as it was at an entry.
type At = (u64, [u8; 32]);

/// The digests of one member. A clone is the same.
#[derive(Clone)]
pub struct Digests {
    inner: Arc<Inner>,
}

struct Inner {
    every: u64,
    disk: Disk,
    failure: Failure,
    known: Mutex<Known>,
    latest: watch::Sender<Option<At>>,
}

#[derive(Default)]
struct Known {
    own: BTreeMap<u64, [u8; 32]>,
    claimed: BTreeMap<u64, [u8; 32]>,
}

impl Digests {
    pub fn new(every: u64, disk: Disk, failure: Failure) -> Digests {
        let inner = Inner { every, disk, failure, known: Mutex::default(), latest: watch::channel(None).0 };
        Digests { inner: Arc::new(inner) }
    }

    /// Entry `index` has been applied, and `state` is the result.
    pub fn applied(&self, index: u64, state: &State) {
        if index == 0 || !index.is_multiple_of(self.inner.every) {
            return;
        }
        let (digests, state) = (self.clone(), state.clone());
        tokio::task::spawn_blocking(move || {
            let digest: [u8; 32] = Sha256::digest(codec::encode_state(&state)).into();
            digests.learn(|known| &mut known.own, index, digest);
            digests.inner.latest.send_replace(Some((index, digest)));
        });
    }

    /// The leader's state had this digest at entry `index`.
    pub fn claimed(&self, index: u64, digest: [u8; 32]) {
        self.learn(|known| &mut known.claimed, index, digest);
    }

    fn learn(&self, side: impl Fn(&mut Known) -> &mut BTreeMap<u64, [u8; 32]>, index: u64, digest: [u8; 32]) {
        let differs = {
            let mut known = self.inner.known.lock().unwrap_or_else(PoisonError::into_inner);
            let digests = side(&mut known);
            digests.insert(index, digest);
            while digests.len() > REMEMBERED {
                digests.pop_first();
            }
            matches!((known.own.get(&index), known.claimed.get(&index)), (Some(own), Some(claimed)) if own != claimed)
        };
        if differs {
            let reason = StopReason::Diverged { index };
            self.inner.disk.distrust(&reason);
            self.inner.failure.stop(reason);
        }
    }
}

/// While this member leads, it has each of its digests agreed on.
pub fn propose_while_leading(consensus: &Consensus, digests: Digests, end: &CancellationToken) {
    let member = Arc::downgrade(&consensus.inner);
    let end = end.clone();
    let mut latest = digests.inner.latest.subscribe();
    consensus.tasks().spawn(async move {
        while let Some(Ok(())) = end.run_until_cancelled(latest.changed()).await {
            let Some((index, digest)) = *latest.borrow_and_update() else { continue };
            let Some(inner) = member.upgrade() else { return };
            let consensus = Consensus { inner };
            let Some(tenure) = consensus.leadership_now().settled() else { continue };
            // Both clocks as they were: a digest is no event in the life of the mesh.
            let state = consensus.state().state;
            let entry =
                Entry { at: state.mesh_time, wall: state.wall_time, by: Actor::Mesh, key: None, command: Command::RecordDigest { index, digest } };
            if let Err(error) = consensus.propose_in(tenure, &entry).await {
                tracing::debug!(%error, index, "a digest was not recorded; the next one will be");
            }
        }
    });
}
