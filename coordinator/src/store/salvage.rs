//! What one member has on its disk, for a mesh whose other members are lost: read without asking anybody.
//!
//! In: a disk that no process uses. Out: the state after every entry that is on it. Which of the last ones had been
//! agreed on, only the others knew. All count: one that was agreed on has been acknowledged, and must not be lost
//! while it is here; of one that was not, nobody has been told that it failed.

use std::sync::Arc;

use mainstay_core::state::FEATURE_LEVEL;
use mainstay_core::{MemberId, State};
use openraft::storage::{RaftLogReader, RaftLogStorage};

use super::disk::{Disk, disk};
use super::error::StartError;
use super::failure::Failure;
use super::host::Host;
use super::log::LogStore;
use super::machine;
use super::metrics::StoreMetrics;
use super::raft::EntryPayload;
use super::settings::Settings;
use super::snapshot::{Restored, Snapshots};
use super::space::Space;

/// What was on the disk.
#[derive(Debug)]
pub struct Salvaged {
    /// Whose disk it is.
    pub member: MemberId,
    /// After all its entries.
    pub state: State,
    /// The last entry.
    pub applied: u64,
    /// The last entry that this member knew to be agreed on.
    pub agreed: u64,
}

impl Disk {
    /// Applies all that is here. Nothing is changed that a start would not change too; the disk is free for another
    /// process afterwards.
    ///
    /// # Errors
    /// Those of a start: what is damaged is named, and nothing is guessed.
    pub async fn salvage(self) -> Result<Salvaged, StartError> {
        let (metrics, failure) = (StoreMetrics::default(), Failure::default());
        let space = Arc::new(Space::new(&self, Host::default(), &Settings::default()));
        let snapshots = Arc::new(Snapshots::new(&self, metrics.clone(), space));
        let log = LogStore::open(&self, &Host::default(), metrics, failure.clone()).await?;
        let salvaged = salvage(self.member(), &snapshots, log.clone()).await;
        log.close().await;
        self.release();
        // A record that was found damaged is a better reason than the read that met it.
        salvaged.map_err(|error| failure.reason().map_or(error, StartError::Stopped))
    }
}

async fn salvage(member: MemberId, snapshots: &Arc<Snapshots>, mut log: LogStore) -> Result<Salvaged, StartError> {
    let Restored { meta, mut state } = snapshots.restore(log.first_index()).await?;
    if state.feature_level > FEATURE_LEVEL {
        return Err(StartError::TooOld { found: state.feature_level, known: FEATURE_LEVEL });
    }
    let mut applied = meta.last_log_id.map_or(0, |id| id.index);
    let unreadable = |error| disk("read the log beside", snapshots.dir())(error);
    let agreed = log.read_committed().await.map_err(unreadable)?.map_or(0, |id| id.index).max(applied);
    let end = log.last().map_or(0, |last| last.index + 1);
    // The first entry of a log has the number 0.
    let mut next = if meta.last_log_id.is_some() { applied + 1 } else { 0 };
    while next < end {
        let entries = log.limited_get_log_entries(next, end).await.map_err(unreadable)?;
        if entries.is_empty() {
            return Err(StartError::Damaged { file: snapshots.dir().to_owned(), what: format!("the log beside it has no entry {next}") });
        }
        for entry in entries {
            applied = entry.log_id.index;
            if let EntryPayload::Normal(payload) = &entry.payload {
                let entry = machine::decoded(applied, payload).map_err(StartError::Stopped)?;
                machine::apply(&mut state, applied, &entry).map_err(StartError::Stopped)?;
            }
        }
        next = applied + 1;
    }
    Ok(Salvaged { member, state, applied, agreed })
}
