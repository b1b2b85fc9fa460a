//! What this agent has accepted, begun and ended, on its own disk.
//!
//! In: a state for an attempt, before the next thing is done with it. Out: after a restart, how far every
//! attempt had come. A write is answered after fsync. The ledger's id is random and made with the file:
//! another file is another holder of the work. It decides nothing; that is `mainstay_core::reconcile`.
//!
//! Two-phase commits, a check of every page at opening, a checksum in every record and a count of the writes beside
//! the file make sure that a damaged ledger is noticed and never taken for an older one, which would begin again what
//! was begun.

mod error;
mod file;
mod record;
mod storage;
mod written;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mainstay_client::work;
use mainstay_core::id::{AttemptId, LedgerId};
use mainstay_core::reconcile::LedgerState;

pub use error::LedgerError;
use file::File;

/// Name of the file in the state directory.
const FILE_NAME: &str = "ledger.redb";

/// Which desired set: the mesh's incarnation, and the generation within it. Greater is newer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Version {
    pub incarnation: u64,
    pub generation: u64,
}

/// A cheap handle; clones share the file.
#[derive(Debug, Clone)]
pub struct Ledger {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    id: LedgerId,
    file: File,
    /// What the file holds, so that looking costs no disk.
    known: Mutex<Known>,
}

#[derive(Debug)]
struct Known {
    entries: BTreeMap<AttemptId, LedgerState>,
    seen: Version,
}

impl Ledger {
    /// Opens the ledger of a state directory, or makes one with the id `fresh`. Blocks on the disk.
    ///
    /// # Errors
    /// When it is damaged, of a newer version, in use, or cannot be read or written.
    pub fn open(dir: &Path, fresh: LedgerId) -> Result<Ledger, LedgerError> {
        let (file, contents) = File::open(&dir.join(FILE_NAME), fresh)?;
        let known = Known { entries: contents.entries, seen: contents.head.seen() };
        Ok(Ledger { inner: Arc::new(Inner { id: contents.head.id, file, known: Mutex::new(known) }) })
    }

    /// Made with the file.
    #[must_use]
    pub fn id(&self) -> &LedgerId {
        &self.inner.id
    }

    /// How far every attempt has come.
    #[must_use]
    pub fn entries(&self) -> BTreeMap<AttemptId, LedgerState> {
        self.known().entries.clone()
    }

    /// How far one attempt has come.
    #[must_use]
    pub fn entry(&self, attempt: AttemptId) -> Option<LedgerState> {
        self.known().entries.get(&attempt).cloned()
    }

    /// Number of attempts in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.known().entries.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The newest desired set that this agent has seen. After a restart it may be an older one of the same
    /// incarnation: generations are written down only along with something else.
    #[must_use]
    pub fn seen(&self) -> Version {
        self.known().seen
    }

    /// Takes a desired set's version in, unless a newer one was seen before. A new incarnation of the mesh is
    /// on disk when this returns.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn see(&self, version: Version) -> Result<bool, LedgerError> {
        let earlier = self.seen();
        if version < earlier {
            return Ok(false);
        }
        self.known().seen = version;
        if version.incarnation > earlier.incarnation {
            self.blocking(|inner| inner.file.write(inner.seen(), &[])).await?;
        }
        Ok(true)
    }

    /// Writes how far an attempt has come. It is on disk when this returns.
    ///
    /// # Errors
    /// When it cannot be written; the ledger is of no further use to this process.
    pub async fn write(&self, attempt: AttemptId, state: LedgerState) -> Result<(), LedgerError> {
        self.blocking(move |inner| {
            inner.file.write(inner.seen(), &[(attempt, Some(&state))])?;
            inner.known().entries.insert(attempt, state);
            Ok(())
        })
        .await
    }

    /// Forgets attempts. What is not in it is forgotten already.
    ///
    /// # Errors
    /// As [`Ledger::write`].
    pub async fn forget(&self, attempts: Vec<AttemptId>) -> Result<(), LedgerError> {
        if attempts.is_empty() {
            return Ok(());
        }
        self.blocking(move |inner| {
            let changes: Vec<(AttemptId, Option<&LedgerState>)> = attempts.iter().map(|attempt| (*attempt, None)).collect();
            inner.file.write(inner.seen(), &changes)?;
            inner.known().entries.retain(|attempt, _| !attempts.contains(attempt));
            Ok(())
        })
        .await
    }

    /// A write waits for the disk, so it goes where waiting holds up nobody.
    async fn blocking(&self, work: impl FnOnce(&Inner) -> Result<(), LedgerError> + Send + 'static) -> Result<(), LedgerError> {
        let inner = Arc::clone(&self.inner);
        work::blocking(move || work(&inner)).await.unwrap_or_else(|stopped| Err(LedgerError::Stopped(stopped.to_string())))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.inner.known()
    }
}

impl Inner {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn seen(&self) -> Version {
        self.known().seen
    }
}

#[cfg(test)]
mod crashes;
#[cfg(test)]
mod tests;
