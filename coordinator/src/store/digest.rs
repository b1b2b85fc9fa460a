//! Members compare digests of their states, so that one that went astray is found.
//!
//! At every so many entries each member digests its state, beside everything else: the copy costs nothing. The
//! digest does, as much as the state is large; so it comes the seldomer the larger the state.
//! The leader has its digest agreed on as a command; a member whose own differs marks its disk and stops.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use mainstay_client::work;
use mainstay_core::{Actor, Command, Entry, State, codec};
use sha2::{Digest, Sha256};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::consensus::Consensus;
use super::disk::Disk;
use super::error::StopReason;
use super::failure::Failure;

/// Bytes of state for each entry that they may be digested once: a fraction of what the entry itself costs.
const BYTES_PER_ENTRY: u64 = 256;

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
        if !is_due(index, self.inner.every, state.weight) {
            return;
        }
        let (digests, state) = (self.clone(), state.clone());
        work::blocking(move || {
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

/// Whether the state is digested after entry `index`. All members have to come to the same, so it goes by the
/// state: the period is `every` entries, doubled until it is long enough for so many bytes. Where members see
/// different weights, the longer period is a multiple of the shorter one, and they still meet.
fn is_due(index: u64, every: u64, weight: u64) -> bool {
    let periods = (weight / BYTES_PER_ENTRY / every.max(1)).max(1).next_power_of_two();
    index != 0 && index.is_multiple_of(every.saturating_mul(periods))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_state_is_digested_seldomer_and_all_members_at_the_same_entries() {
        let due = |weight: u64| -> Vec<u64> { (0..=16_000).filter(|index| is_due(*index, 1_000, weight)).collect() };
        assert_eq!(due(0).len(), 16, "each thousand, and not before the first entry");
        assert_eq!(due(256_000 + 255), due(0));
        assert_eq!(due(3 * 256_000), [4_000, 8_000, 12_000, 16_000]);
        // One that has lost something digests as seldom as the others, or oftener: never only beside them.
        for (lighter, heavier) in [(0, 600_000), (600_000, 1_200_000), (1_200_000, 2_500_000)] {
            assert!(due(heavier).iter().all(|index| due(lighter).contains(index)), "{lighter} and {heavier}");
            assert!(!due(heavier).is_empty());
        }
    }
}
