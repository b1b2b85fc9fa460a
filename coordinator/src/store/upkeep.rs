//! What a member sees to beside consensus: room on its disk, and a log that does not grow too long.

use std::sync::Arc;
use std::time::Duration;

use mainstay_client::work;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::consensus::Consensus;

/// Looks between two tries to give leadership away while the disk is full.
const LOOKS_PER_TRY: u32 = 20;
/// How long one try may take.
const TRY: Duration = Duration::from_secs(2);

/// Looks after the member until `end`.
pub fn begin(consensus: &Consensus, end: &CancellationToken) {
    let member = Arc::downgrade(&consensus.inner);
    let interval = consensus.inner.settings.space_interval;
    let end = end.clone();
    consensus.tasks().spawn(async move {
        let mut upkeep = Upkeep::default();
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        while end.run_until_cancelled(ticks.tick()).await.is_some() {
            let Some(inner) = member.upgrade() else { return };
            let consensus = Consensus { inner };
            upkeep.look_at_disk(&consensus).await;
            upkeep.shorten_log(&consensus).await;
        }
    });
}

#[derive(Default)]
struct Upkeep {
    looks_while_full: u32,
    /// Bytes that had been appended when a snapshot was last asked for.
    appended_at_snapshot: u64,
}

impl Upkeep {
    /// A member whose disk is full does not lead, if anybody else can.
    async fn look_at_disk(&mut self, consensus: &Consensus) {
        let space = consensus.inner.space.clone();
        if work::blocking(move || space.look()).await.is_err() {
            tracing::warn!("the look at the disk was broken off");
        }
        if !consensus.inner.space.is_full() || !consensus.leadership_now().leads() {
            self.looks_while_full = 0;
            return;
        }
        if self.looks_while_full.is_multiple_of(LOOKS_PER_TRY)
            && let Err(error) = consensus.transfer_within(None, TRY).await
        {
            tracing::warn!(%error, "the disk is full, and nobody takes over: this member leads on and refuses proposals");
        }
        self.looks_while_full = self.looks_while_full.wrapping_add(1);
    }

    /// Snapshots come every so many entries; where entries are long, they come earlier.
    async fn shorten_log(&mut self, consensus: &Consensus) {
        let (log, limit) = (&consensus.inner.log, consensus.inner.settings.snapshot_log_bytes);
        let gauges = consensus.gauges();
        if log.appended_bytes().saturating_sub(self.appended_at_snapshot) > limit && gauges.applied_index > gauges.snapshot_index && !gauges.disk_full
        {
            self.appended_at_snapshot = log.appended_bytes();
            if let Err(reason) = consensus.snapshot_now().await {
                tracing::debug!(%reason, "no snapshot is made");
            }
        }
        // What is kept for followers is counted in entries: with long ones it may be too much.
        if gauges.log_bytes > 2 * limit && gauges.snapshot_index > gauges.purged_index {
            let purged = consensus.inner.raft.trigger().purge_log(gauges.snapshot_index).await;
            if let Err(fatal) = purged {
                tracing::debug!(%fatal, "the log is not shortened");
            }
        }
    }
}
