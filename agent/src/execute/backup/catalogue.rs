//! The mesh's catalogue of backups, as an attempt sees it: what it has of a target, and what it is told.
//!
//! An agent that has no mesh, or one that has no catalogue yet, does without: then a store alone says what there is.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use mainstay_backup::judge::{Judged, Standing};
use mainstay_backup::{Id, Target};
use mainstay_client::mesh::whole;
use mainstay_client::{CallError, Mesh};
use mainstay_core::WallTime;
use mainstay_core::backup::{BackupId, BackupName, BackupNote, BackupTarget, ListedBackup};
use mainstay_core::bounds;
use mainstay_core::id::{AttemptId, LedgerId};
use mainstay_core::report::Verdict;
use mainstay_proto::convert::backup_note_to_wire;
use mainstay_proto::v1;
use tonic::Code;

/// For how long a note is told again that says what took hours: longer than a mesh is without a leader, and well within the
/// time that a step has.
const TOLD_WITHIN: Duration = Duration::from_secs(600);
/// Between two tries.
const TOLD_EVERY: Duration = if cfg!(test) { Duration::from_millis(5) } else { Duration::from_secs(2) };

/// Whoever has the catalogue.
pub trait Clerk: Send + Sync + 'static {
    /// What it has of a target.
    fn recall(&self, request: v1::RecallBackupsRequest) -> BoxFuture<'_, Result<v1::RecallBackupsResponse, CallError>>;
    /// Takes a note. The same note may come twice.
    fn note(&self, request: v1::NoteBackupsRequest) -> BoxFuture<'_, Result<(), CallError>>;
    /// All of the mesh's own snapshot, in words why it is not given.
    fn read_mesh(&self, request: v1::ReadMeshRequest) -> BoxFuture<'_, Result<Vec<u8>, String>>;
}

impl Clerk for Mesh {
    fn recall(&self, request: v1::RecallBackupsRequest) -> BoxFuture<'_, Result<v1::RecallBackupsResponse, CallError>> {
        self.recall_backups(request).boxed()
    }

    fn note(&self, request: v1::NoteBackupsRequest) -> BoxFuture<'_, Result<(), CallError>> {
        async move { self.note_backups(request).await.map(drop) }.boxed()
    }

    fn read_mesh(&self, request: v1::ReadMeshRequest) -> BoxFuture<'_, Result<Vec<u8>, String>> {
        async move {
            let pieces = Mesh::read_mesh(self, request).await.map_err(|error| error.to_string())?;
            whole(pieces).await.map_err(|error| error.to_string())
        }
        .boxed()
    }
}

/// The way to it. Cheap to clone.
#[derive(Clone, Default)]
pub struct Catalogue(Option<Way>);

#[derive(Clone)]
struct Way {
    clerk: Arc<dyn Clerk>,
    attempt: AttemptId,
    ledger: LedgerId,
}

impl fmt::Debug for Catalogue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Catalogue").field(&self.0.as_ref().map(|way| way.attempt)).finish()
    }
}

/// Why a note was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotTaken {
    /// It comes too late: something has changed since.
    #[error("{0}")]
    Late(String),
    /// Nobody has answered, or could take it now: told again, it may be taken.
    #[error("{0}")]
    Unanswered(String),
    #[error("{0}")]
    Failed(String),
}

/// What the catalogue has of a target.
#[derive(Debug, Clone, Default)]
pub(super) struct Recalled {
    pub known: v1::BackupTarget,
}

impl Catalogue {
    /// Of an attempt of an agent.
    #[must_use]
    pub fn of(clerk: Arc<dyn Clerk>, attempt: AttemptId, ledger: LedgerId) -> Catalogue {
        Catalogue(Some(Way { clerk, attempt, ledger }))
    }

    /// What it has; nothing where there is no catalogue.
    ///
    /// # Errors
    /// In words, where there may be one, and it was not asked.
    pub(super) async fn recall(&self, target: &Target) -> Result<Option<Recalled>, String> {
        let Some(way) = &self.0 else { return Ok(None) };
        let request = v1::RecallBackupsRequest { attempt: way.attempt.to_string(), target: target.to_string() };
        match way.clerk.recall(request).await {
            Ok(answer) => Ok(Some(Recalled { known: answer.target.unwrap_or_default() })),
            Err(error) if error.code() == Some(Code::Unimplemented) => Ok(None),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Tells it. Where there is no catalogue, nobody minds.
    ///
    /// # Errors
    /// Where there may be one, and it has not taken the note.
    pub(super) async fn note(&self, target: &Target, note: BackupNote) -> Result<(), NotTaken> {
        let Some(way) = &self.0 else { return Ok(()) };
        let named: BackupTarget = target.to_string().parse().map_err(|error| NotTaken::Failed(format!("{error}")))?;
        let note = Some(backup_note_to_wire(&named, &note));
        let request = v1::NoteBackupsRequest { attempt: way.attempt.to_string(), ledger: way.ledger.to_string(), target: named.to_string(), note };
        match way.clerk.note(request).await {
            Ok(()) => Ok(()),
            Err(error) => match error.code() {
                Some(Code::Unimplemented) => Ok(()),
                Some(Code::FailedPrecondition) => Err(NotTaken::Late(error.to_string())),
                _ if error.is_transient() => Err(NotTaken::Unanswered(error.to_string())),
                _ => Err(NotTaken::Failed(error.to_string())),
            },
        }
    }

    /// As [`Catalogue::note`], again and again while nobody answers, for [`TOLD_WITHIN`]. Whoever calls it ends it when the
    /// lease is lost.
    ///
    /// # Errors
    /// As [`Catalogue::note`]; of the last try, when the time is over.
    pub(super) async fn note_until_answered(&self, target: &Target, note: &BackupNote) -> Result<(), NotTaken> {
        let mut last = None;
        let telling = async {
            loop {
                match self.note(target, note.clone()).await {
                    Err(NotTaken::Unanswered(why)) => last = Some(why),
                    answered => return answered,
                }
                tokio::time::sleep(TOLD_EVERY).await;
            }
        };
        let told = tokio::time::timeout(TOLD_WITHIN, telling).await;
        told.unwrap_or_else(|_| Err(NotTaken::Unanswered(last.unwrap_or_else(|| format!("no answer within {} s", TOLD_WITHIN.as_secs())))))
    }

    /// Whether there is a mesh to ask at all.
    pub(super) fn is_there(&self) -> bool {
        self.0.is_some()
    }

    /// The mesh's own snapshot, as this attempt is given it that holds the lease of its target under this token.
    ///
    /// # Errors
    /// In words, why it is not.
    pub(super) async fn read_mesh(&self, token: &str) -> Result<Vec<u8>, String> {
        let Some(way) = &self.0 else { return Err("there is no mesh to ask".to_owned()) };
        let request = v1::ReadMeshRequest { attempt: way.attempt.to_string(), ledger: way.ledger.to_string(), token: token.to_owned() };
        way.clerk.read_mesh(request).await
    }

    /// Tells it which ones are removed; as many notes as it takes.
    ///
    /// # Errors
    /// As [`Catalogue::note`]; some may have been taken then.
    pub(super) async fn removed(&self, target: &Target, ids: &[&Id]) -> Result<(), NotTaken> {
        let names: Vec<BackupName> = ids.iter().filter_map(|id| name(id)).collect();
        for names in names.chunks(bounds::TARGET_BACKUPS) {
            self.note(target, BackupNote::Removed { backups: names.to_vec() }).await?;
        }
        Ok(())
    }
}

impl Recalled {
    /// Why somebody wants a backup kept.
    pub fn held(&self, id: &Id) -> Option<String> {
        let id = id.to_string();
        let hold = self.known.backups.iter().find(|backup| backup.id == id)?.hold.as_ref()?;
        Some(if hold.reason.is_empty() { format!("held by {}", hold.by) } else { format!("held by {}: {}", hold.by, hold.reason) })
    }

    /// Who had a backup erased.
    pub fn erased(&self, id: &Id) -> Option<&v1::BackupErasure> {
        let id = id.to_string();
        self.known.backups.iter().find(|backup| backup.id == id)?.erased.as_ref()
    }

    /// Those of a store that are not in it any more.
    pub fn missing<'r>(&'r self, store: &str, all: &[Judged]) -> Vec<&'r v1::Backup> {
        let is_there = |backup: &&v1::Backup| all.iter().any(|judged| judged.id.to_string() == backup.id);
        self.known.backups.iter().filter(|backup| backup.store == store).filter(|backup| !is_there(backup)).collect()
    }
}

/// How the catalogue calls a backup; nothing where it could not have it.
pub(super) fn name(id: &Id) -> Option<BackupName> {
    id.to_string().parse::<BackupId>().ok().map(|id| id.name)
}

/// One of a store's, for the catalogue; nothing of one that did not come to its end. `read` is what came of reading it now.
pub(super) fn listed(judged: &Judged, read: Option<Verdict>) -> Option<ListedBackup> {
    let (counts, read) = match judged.standing {
        Standing::Good => (true, read),
        Standing::Unconfirmed { .. } => (false, read),
        // Nobody opens one that was erased, whoever was told of it.
        Standing::Damaged { .. } | Standing::Erased { .. } => (true, Some(Verdict::Critical)),
        // Of what could not be read nothing is told: what was known of it stays.
        Standing::Unread { .. } | Standing::Unfinished | Standing::Sealed { .. } | Standing::Leftover => return None,
    };
    Some(ListedBackup {
        name: name(&judged.id)?,
        begun: WallTime(judged.id.time.as_millisecond()),
        stored_bytes: judged.stored_bytes,
        checksum: judged.digest.clone().unwrap_or_default(),
        counts,
        read,
    })
}
