//! Files that a step leaves, on their way from this node to the mesh.
//!
//! In: a step's files and its output, in pieces of any length; what it needs to be taken back. Out: the same,
//! stored by a majority of the coordinators, before the step's end is reported. A file waits in the spool of the
//! agent's directory, so that it can be sent again when the leader changes; nothing of it is left when the agent
//! ends. A step whose files cannot be stored is told so, and decides what that means.
//!
//! ```text
//!  reader, lines ─▶ spool (hashed, bounded) ─▶ put, again and again within a limit ─▶ mesh
//!  undo data ─▶ encrypted to this agent's own key ─▶ the same                            │
//!            ◀─ decrypted ◀──────────────────────────────────────────────────────────────┘
//! ```
//! Undo data may hold what nobody else should see: the key never leaves this node, so no coordinator can read
//! it. The price: when the agent's directory is lost, so is the way back, and a person has to take it.

mod depot;
mod key;
mod output_log;
mod spool;

#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mainstay_client::files::{FileError, PIECE_BYTES, RoomError};
use mainstay_client::random::Backoff;
use mainstay_client::{CallError, TransferError};
use mainstay_core::artifact::{ArtifactFile, ArtifactKind, ArtifactName};
use mainstay_core::id::{AttemptId, LedgerId, NameError};
use mainstay_core::reconcile::DesiredAttempt;
use mainstay_core::report::{Check, Verdict};
use mainstay_core::state::run::Direction;
use mainstay_core::{Refusal, bounds};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio_util::sync::CancellationToken;
use tonic::Code;

pub use depot::Depot;
pub use key::KeyError;
use key::UndoKey;
pub use output_log::OutputLog;
use spool::{Spool, Spooled};

/// Name of the full output of a step.
const OUTPUT_NAME: &str = "output.log";
/// Name of a step's undo data.
const UNDO_NAME: &str = "undo.age";
/// How long one file may take to be stored, all tries together.
const PATIENCE: Duration = Duration::from_secs(60);
/// The same, from when the step was called off: shorter than what is left until it is ended by force.
const CALLED_OFF_PATIENCE: Duration = Duration::from_secs(2);
/// Pauses between tries.
const AGAIN: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// Why a file was not stored, or undo data not had.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    #[error("this agent has no mesh to store files in")]
    Nowhere,
    #[error(transparent)]
    Name(#[from] NameError),
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("the node's disk: {0}")]
    Room(#[from] RoomError),
    #[error("the node's disk: {0}")]
    File(#[from] FileError),
    #[error("cannot be read: {0}")]
    Read(#[source] io::Error),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error("the mesh does not take it: {0}")]
    Mesh(#[source] TransferError),
    #[error("not within {0:?}: {1}")]
    TooLong(Duration, String),
    #[error("an attempt that takes a step back has no undo data of its own")]
    OfAnUndo,
}

impl ArtifactError {
    /// Whether undo data is there, made by another agent, or with a key that is lost: an attempt at the step came so far,
    /// and only that agent can read what it was.
    #[must_use]
    pub fn is_of_another(&self) -> bool {
        let denied = |error: &TransferError| matches!(error, TransferError::Call(CallError::Refused { code: Code::PermissionDenied, .. }));
        match self {
            ArtifactError::Key(_) => true,
            ArtifactError::Mesh(error) => denied(error),
            _ => false,
        }
    }
}

/// What all attempts of this agent share.
pub struct ArtifactStore {
    depot: Arc<dyn Depot>,
    ledger: LedgerId,
    spool: Arc<Spool>,
    key: UndoKey,
}

/// The files of one attempt. Cheap to clone.
#[derive(Clone, Default)]
pub struct Artifacts {
    place: Option<Place>,
    cancel: CancellationToken,
}

#[derive(Clone)]
struct Place {
    store: Arc<ArtifactStore>,
    attempt: AttemptId,
    direction: Direction,
}

impl fmt::Debug for Artifacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Artifacts").field(&self.place.as_ref().map(|place| place.attempt)).finish()
    }
}

impl ArtifactStore {
    /// Keeps its spool and its key below the agent's directory; empties the spool. Blocks.
    ///
    /// # Errors
    /// When the spool cannot be made or emptied.
    pub fn open(dir: &Path, depot: Arc<dyn Depot>, ledger: LedgerId) -> io::Result<ArtifactStore> {
        Ok(ArtifactStore { depot, ledger, spool: Arc::new(Spool::open(&dir.join("spool"))?), key: UndoKey::at(dir.join("undo.key")) })
    }

    /// Of the agent whose attempts they are.
    #[must_use]
    pub fn ledger(&self) -> &LedgerId {
        &self.ledger
    }

    /// Files of an attempt, until `cancel`.
    #[must_use]
    pub fn of(self: &Arc<Self>, attempt: &DesiredAttempt, cancel: CancellationToken) -> Artifacts {
        Artifacts { place: Some(Place { store: Arc::clone(self), attempt: attempt.id, direction: attempt.direction }), cancel }
    }
}

impl Artifacts {
    fn place(&self) -> Result<&Place, ArtifactError> {
        self.place.as_ref().ok_or(ArtifactError::Nowhere)
    }

    /// Stores what comes out of `reader` as an artifact of the attempt. The same name again replaces it.
    ///
    /// # Errors
    /// When it is too long, or cannot be stored within a minute.
    pub async fn put(&self, name: &str, mut reader: impl AsyncRead + Unpin + Send) -> Result<(), ArtifactError> {
        let name: ArtifactName = name.parse()?;
        let place = self.place()?;
        let mut spooling = place.store.spool.begin(bounds::ARTIFACT_BYTES)?;
        loop {
            let mut piece = Vec::with_capacity(PIECE_BYTES);
            match (&mut reader).take(PIECE_BYTES as u64).read_to_end(&mut piece).await.map_err(ArtifactError::Read)? {
                0 => break,
                _ => spooling.write(piece.into()).await?,
            }
        }
        self.upload(name, ArtifactKind::Artifact, &spooling.finish().await?).await
    }

    /// Stores what taking this step back will need, encrypted: to be called before the first effect, and once.
    /// A step that is tried again, or taken up by the next process, looks with [`Artifacts::get_undo`] first: what
    /// it sees now may be what it left itself.
    ///
    /// # Errors
    /// When it is not stored. The step must not go on then.
    pub async fn put_undo(&self, data: Vec<u8>) -> Result<(), ArtifactError> {
        let place = self.place()?;
        if place.direction == Direction::Undo {
            return Err(ArtifactError::OfAnUndo);
        }
        let sealed = place.store.key.seal(data).await?;
        let mut spooling = place.store.spool.begin(sealed.len() as u64)?;
        spooling.write(Bytes::from(sealed)).await?;
        self.upload(UNDO_NAME.parse()?, ArtifactKind::Undo, &spooling.finish().await?).await
    }

    /// What was stored to take this step back: by its first attempt on this target that stored any. Nothing
    /// where none has.
    ///
    /// # Errors
    /// When the mesh cannot say, or when another agent or another key has made it. Then nobody but a person can
    /// take the step back.
    pub async fn get_undo(&self) -> Result<Option<Vec<u8>>, ArtifactError> {
        let place = self.place()?;
        let sealed = self.persistently(|| async {
            match place.store.depot.get_undo(place.attempt).await {
                Err(TransferError::Call(CallError::Refused { code: Code::NotFound, .. })) => Ok(None),
                sealed => sealed.map(Some),
            }
        });
        match sealed.await? {
            Some(sealed) => Ok(Some(place.store.key.open(sealed).await?)),
            None => Ok(None),
        }
    }

    /// Where everything that the step prints goes, besides the lines that are watched.
    #[must_use]
    pub fn output_log(&self) -> OutputLog {
        OutputLog::new(self.place.as_ref().map(|place| Arc::clone(&place.store.spool)))
    }

    /// Stores what was printed, if it is more than a report holds. That it cannot be stored is no failure of the
    /// step, and is said in a check.
    pub async fn put_output(&self, log: OutputLog) -> Option<Check> {
        let stored = async {
            match log.finish().await? {
                Some(spooled) => self.upload(OUTPUT_NAME.parse()?, ArtifactKind::Output, &spooled).await,
                None => Ok(()),
            }
        };
        let error: ArtifactError = stored.await.err()?;
        tracing::info!(attempt = ?self, %error, "the full output is not stored");
        let check = Check::stated("artifact.stored", OUTPUT_NAME, Verdict::Skipped, format!("the full output is not stored: {error}"));
        Some(check.with_hint("the last lines are in this report; the step itself is not affected"))
    }

    async fn upload(&self, name: ArtifactName, kind: ArtifactKind, spooled: &Spooled) -> Result<(), ArtifactError> {
        let place = self.place()?;
        let content = spooled.content();
        let file = ArtifactFile { name, kind, bytes: content.bytes, sha256: content.sha256, encrypted: kind == ArtifactKind::Undo };
        file.check()?;
        self.persistently(|| place.store.depot.put(place.attempt, &place.store.ledger, &file, spooled.path())).await
    }

    /// Tries until it works, cannot work, or has taken too long.
    async fn persistently<T, Fut>(&self, mut call: impl FnMut() -> Fut) -> Result<T, ArtifactError>
    where
        Fut: Future<Output = Result<T, TransferError>>,
    {
        let mut last = "no answer yet".to_owned();
        let tries = async {
            let mut backoff = Backoff::new(AGAIN.0, AGAIN.1);
            loop {
                match call().await {
                    Ok(done) => return Ok(done),
                    Err(error) if may_pass(&error) => {
                        tracing::debug!(artifacts = ?self, %error, "tried again");
                        last = error.to_string();
                    }
                    Err(error) => return Err(ArtifactError::Mesh(error)),
                }
                tokio::time::sleep(backoff.pause()).await;
            }
        };
        let out_of_time = async {
            let called_off = async {
                self.cancel.cancelled().await;
                tokio::time::sleep(CALLED_OFF_PATIENCE).await;
                CALLED_OFF_PATIENCE
            };
            tokio::time::timeout(PATIENCE, called_off).await.unwrap_or(PATIENCE)
        };
        let patience = tokio::select! {
            biased;
            done = tries => return done,
            patience = out_of_time => patience,
        };
        Err(ArtifactError::TooLong(patience, last))
    }
}

/// Whether it is worth trying again within a minute. Where there is no room, there will be none by then.
fn may_pass(error: &TransferError) -> bool {
    let is_full = matches!(error, TransferError::Call(error) if error.code() == Some(Code::ResourceExhausted));
    error.is_transient() && !is_full
}
