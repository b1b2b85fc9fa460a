//! Files that steps have left, on the disks of the members.
//!
//! In: a file of an attempt, piece by piece ([`Artifacts::take_in`]). Out: a file that a record of the state
//! names, verified ([`Artifacts::read`]). Which files there are is the state's to say, not this module's.
//!
//! ```text
//!  agent ─▶ leader ─┬─▶ its own shelf ──────────┐ a majority has it on disk
//!                   ├─▶ another member's shelf ─┼──────────────────────────▶ RecordArtifact
//!                   └─▶ another member's shelf ─┘
//!  keeper, on each member: fetches what it lacks, says what it has, removes what no record names
//! ```
//! A shelf holds files by their SHA-256. A file is on it whole, or not at all; what is damaged is set aside when
//! it is read, and fetched anew. Where the files lie is known to this folder alone: object storage will be
//! another place to take in to and to open from, beside the shelves, and nobody else will notice.

mod fetch;
mod keeper;
mod metrics;
mod shelf;
mod sink;
mod upload;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use mainstay_client::clock::Clock;
use mainstay_client::files::Content;
use mainstay_core::artifact::{Artifact, ArtifactFile};
use mainstay_core::{MemberId, bounds};
use tokio::sync::Semaphore;

pub use fetch::{FileSource, NoCopy};
pub use keeper::Keeper;
pub use metrics::ArtifactMetrics;
pub use shelf::{Receiving, Shelf, ShelfError};
pub use upload::{Source, UploadError};

use crate::peers::Peers;
use crate::store::{Consensus, Peer};

/// How the members keep files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArtifactSettings {
    /// Bytes of all files together.
    pub max_bytes: u64,
    /// Free bytes of the disk that no file takes: the log and the snapshots need them more.
    pub reserve_bytes: u64,
    /// For how long a file stays that no record names: its upload may be on the way.
    pub keep_unnamed: Duration,
    /// Between two files that are read again to see whether they are still what they were.
    pub verify_every: Duration,
}

impl Default for ArtifactSettings {
    fn default() -> ArtifactSettings {
        ArtifactSettings {
            max_bytes: bounds::ARTIFACTS_BYTES,
            reserve_bytes: 256 << 20,
            keep_unnamed: Duration::from_secs(15 * 60),
            verify_every: Duration::from_secs(60),
        }
    }
}

/// Files that this member takes in at one time; each holds a few pieces in memory.
const UPLOADS: usize = 16;

/// The files, as one member sees them. Cheap to clone.
#[derive(Clone)]
pub struct Artifacts {
    consensus: Consensus,
    peers: Peers,
    shelf: Arc<Shelf>,
    uploads: Arc<Semaphore>,
    metrics: ArtifactMetrics,
    settings: ArtifactSettings,
}

impl Artifacts {
    /// Opens the files below `dir`, and removes what interrupted uploads have left there.
    pub fn open(
        dir: &Path,
        settings: ArtifactSettings,
        consensus: Consensus,
        peers: Peers,
        clock: Arc<dyn Clock>,
        metrics: ArtifactMetrics,
    ) -> Result<Artifacts, ShelfError> {
        let shelf = Arc::new(Shelf::open(dir, settings.reserve_bytes, clock, metrics.clone())?);
        Ok(Artifacts { consensus, peers, shelf, uploads: Arc::new(Semaphore::new(UPLOADS)), metrics, settings })
    }

    /// The most that all files together may have.
    #[must_use]
    pub fn max_bytes(&self) -> u64 {
        self.settings.max_bytes
    }

    #[must_use]
    pub fn metrics(&self) -> &ArtifactMetrics {
        &self.metrics
    }

    /// The files that this member has itself.
    #[must_use]
    pub fn shelf(&self) -> &Arc<Shelf> {
        &self.shelf
    }

    /// What sees to this member's files; to be run once.
    #[must_use]
    pub fn keeper(&self) -> Keeper {
        Keeper::new(self.clone())
    }

    /// Where another member is called.
    fn peer(&self, member: MemberId) -> Option<Peer> {
        let group = self.consensus.group();
        group.voters.get(&member).or_else(|| group.learners.get(&member)).cloned()
    }

    /// A member as people call it.
    fn name(&self, member: MemberId) -> String {
        let state = self.consensus.state().state;
        state.members.get(&member).map(|member| member.name.clone()).filter(|name| !name.is_empty()).unwrap_or_else(|| member.to_string())
    }
}

/// What a file that was announced is to be.
#[must_use]
pub fn announced(file: &ArtifactFile) -> Content {
    Content { bytes: file.bytes, sha256: file.sha256 }
}

fn recorded(artifact: &Artifact) -> Content {
    announced(&artifact.file)
}
