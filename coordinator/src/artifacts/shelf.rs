//! The files on this member's own disk.
//!
//! ```text
//! artifacts/AB/AB12…        a file, named by its SHA-256
//! artifacts/incoming/       what is on its way; emptied at the start
//! artifacts/damaged/AB12…   what was found to be something else; there as long as a record names it
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use mainstay_client::clock::Clock;
use mainstay_client::failpoint::Point;
use mainstay_client::files::{self, Content, FileError, Reading, Room, RoomError, RoomTaken, Writing};
use mainstay_client::random;
use mainstay_client::work;
use mainstay_core::artifact::FileDigest;
use tokio::sync::{Notify, RwLock};

use super::metrics::ArtifactMetrics;

const INCOMING: &str = "incoming";
const DAMAGED: &str = "damaged";

/// Files by their content.
pub struct Shelf {
    dir: PathBuf,
    room: Room,
    clock: Arc<dyn Clock>,
    held: Mutex<BTreeMap<FileDigest, Held>>,
    changed: Notify,
    /// Files come to their places together, and leave them alone: what has just come is not removed for what was
    /// there before it.
    places: RwLock<()>,
    /// When a file was last read only to see whether it is still good.
    verified: Mutex<Duration>,
    metrics: ArtifactMetrics,
}

/// One file.
#[derive(Debug, Clone, Copy)]
struct Held {
    bytes: u64,
    /// When somebody last had to do with it, or a record named it.
    touched: Duration,
    /// When it was last read whole.
    verified: Duration,
}

/// Why a file is not taken, or not to be had.
#[derive(Debug, thiserror::Error)]
pub enum ShelfError {
    /// More is kept free than there is: the setting `artifacts_reserve`.
    #[error(transparent)]
    Room(#[from] RoomError),
    #[error("it is not here")]
    Missing,
    #[error("it is damaged here: {0}")]
    Damaged(FileError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error("cannot read {}: {source}", dir.display())]
    Dir {
        dir: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// A file that is on its way here. Dropped before it is finished, it leaves nothing.
pub struct Receiving {
    writing: Writing,
    content: Content,
    shelf: Arc<Shelf>,
    _room: RoomTaken,
}

impl Shelf {
    pub fn open(dir: &Path, reserve: u64, clock: Arc<dyn Clock>, metrics: ArtifactMetrics) -> Result<Shelf, ShelfError> {
        let at = |dir: &Path| {
            let dir = dir.to_owned();
            move |source| ShelfError::Dir { dir, source }
        };
        for sub in [INCOMING, DAMAGED] {
            files::create_private_dir(Point::ArtifactDirectory, &dir.join(sub)).map_err(at(&dir.join(sub)))?;
        }
        for (leftover, _) in files::list(&dir.join(INCOMING)).map_err(at(&dir.join(INCOMING)))? {
            files::remove(Point::ArtifactRemove, &leftover).map_err(at(&leftover))?;
        }
        let now = clock.monotonic();
        let mut held = BTreeMap::new();
        for (sub, _) in files::list(dir).map_err(at(dir))? {
            if sub.file_name().is_none_or(|name| name == DAMAGED || name == INCOMING) {
                continue;
            }
            for (file, bytes) in files::list(&sub).map_err(at(&sub))? {
                let digest = file.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse::<FileDigest>().ok());
                if let Some(digest) = digest {
                    held.insert(digest, Held { bytes, touched: now, verified: Duration::ZERO });
                }
            }
        }
        let shelf = Shelf {
            dir: dir.to_owned(),
            room: Room::new(dir, reserve),
            clock,
            held: Mutex::new(held),
            changed: Notify::new(),
            places: RwLock::new(()),
            verified: Mutex::new(now),
            metrics,
        };
        shelf.count();
        Ok(shelf)
    }

    /// Whether the file is here, as far as is known without reading it.
    #[must_use]
    pub fn holds(&self, content: &Content) -> bool {
        let now = self.clock.monotonic();
        let mut held = self.held();
        let found = held.get_mut(&content.sha256).filter(|held| held.bytes == content.bytes);
        found.map(|held| held.touched = now).is_some()
    }

    /// Begins to take a file in.
    pub fn receive(self: &Arc<Self>, content: Content) -> Result<Receiving, ShelfError> {
        let room = self.room.take(content.bytes)?;
        let temporary = self.dir.join(INCOMING).join(format!("{}.tmp", random::token(8)));
        Ok(Receiving { writing: Writing::begin(Point::ArtifactReceive, temporary, content.bytes), content, shelf: Arc::clone(self), _room: room })
    }

    /// The file, verified whole before its first byte is given out. One that is damaged is set aside.
    pub async fn read(&self, content: Content) -> Result<Reading, ShelfError> {
        if !self.holds(&content) {
            return Err(ShelfError::Missing);
        }
        match Reading::open_verified(self.path(&content.sha256), content).await {
            Ok(reading) => {
                let now = self.clock.monotonic();
                if let Some(held) = self.held().get_mut(&content.sha256) {
                    held.verified = now;
                }
                Ok(reading)
            }
            Err(error) if error.is_missing() => {
                tracing::error!(sha256 = %content.sha256, "a file is not on the disk any more, though nobody here removed it");
                self.drop_from_list(&content.sha256);
                Err(ShelfError::Missing)
            }
            Err(error @ FileError::Differs { .. }) => {
                self.set_aside(&content.sha256, &error).await;
                Err(ShelfError::Damaged(error))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The file that was not read for the longest time, if none was asked for here since `before`: reading all of
    /// them again is to take days, not minutes.
    #[must_use]
    pub fn next_to_verify(&self, before: Duration) -> Option<Content> {
        let mut last = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        if *last > before {
            return None;
        }
        *last = self.clock.monotonic();
        let held = self.held();
        let (digest, oldest) = held.iter().min_by_key(|(_, held)| held.verified)?;
        Some(Content { bytes: oldest.bytes, sha256: *digest })
    }

    /// Waits until a file has come or gone.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    async fn set_aside(&self, digest: &FileDigest, error: &FileError) {
        let (from, to) = (self.path(digest), self.dir.join(DAMAGED).join(digest.to_string()));
        tracing::error!(file = %from.display(), aside = %to.display(), %error, "a file is damaged: it is set aside and fetched anew from another member");
        self.metrics.damaged.inc();
        let _alone = self.places.write().await;
        self.drop_from_list(digest);
        let moved = blocking(move || files::rename(Point::ArtifactSetAside, &from, &to)).await;
        if let Err(error) = moved {
            tracing::warn!(%error, "the damaged file cannot be moved: a good copy takes its place");
        }
    }

    /// Removes what no record names and nobody has touched for so long; damaged files that are not named go at once.
    pub async fn remove_unnamed(&self, named: impl Fn(&FileDigest) -> bool, keep: Duration) {
        let now = self.clock.monotonic();
        let _alone = self.places.write().await;
        let unnamed: BTreeSet<FileDigest> = {
            let mut held = self.held();
            held.iter_mut().filter(|(digest, _)| named(digest)).for_each(|(_, held)| held.touched = now);
            let old: BTreeSet<FileDigest> = held.iter().filter(|(_, held)| held.touched + keep <= now).map(|(digest, _)| *digest).collect();
            // From here on it is not here: an upload of the same content comes again.
            held.retain(|digest, _| !old.contains(digest));
            old
        };
        let damaged = self.dir.join(DAMAGED);
        let aside = blocking(move || files::list(&damaged)).await.unwrap_or_default();
        let is_named = |path: &Path| path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok()).is_some_and(|d| named(&d));
        let aside = aside.into_iter().map(|(path, _)| path).filter(|path| !is_named(path));
        for path in unnamed.iter().map(|digest| self.path(digest)).chain(aside) {
            let file = path.clone();
            match blocking(move || files::remove(Point::ArtifactRemove, &file)).await {
                Ok(()) => {
                    self.metrics.removed.inc();
                }
                Err(error) => tracing::warn!(file = %path.display(), %error, "a file that no record names cannot be removed"),
            }
        }
        if !unnamed.is_empty() {
            self.count();
        }
    }

    fn path(&self, digest: &FileDigest) -> PathBuf {
        let name = digest.to_string();
        self.dir.join(&name[..2]).join(name)
    }

    fn drop_from_list(&self, digest: &FileDigest) {
        self.held().remove(digest);
        self.count();
        self.changed.notify_one();
    }

    fn count(&self) {
        let held = self.held();
        let whole = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        self.metrics.files.set(whole(held.len() as u64));
        self.metrics.bytes.set(whole(held.values().map(|held| held.bytes).sum()));
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<FileDigest, Held>> {
        // Each operation leaves it whole.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Receiving {
    pub async fn write(&mut self, piece: Bytes) -> Result<(), ShelfError> {
        Ok(self.writing.write(piece).await?)
    }

    /// The file is on disk under its name afterwards, or there is nothing.
    pub async fn finish(self) -> Result<(), ShelfError> {
        let Receiving { writing, content, shelf, _room } = self;
        let _together = shelf.places.read().await;
        writing.finish_as(shelf.path(&content.sha256), content).await?;
        let now = shelf.clock.monotonic();
        shelf.held().insert(content.sha256, Held { bytes: content.bytes, touched: now, verified: now });
        shelf.count();
        shelf.changed.notify_one();
        Ok(())
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    work::blocking(work).await.unwrap_or_else(|ended| Err(io::Error::other(ended)))
}

#[cfg(test)]
mod tests {
    use mainstay_client::clock::SystemClock;
    use mainstay_client::failpoint::trial::{self, Trial, note, noted};
    use sha2::{Digest, Sha256};
    use tempfile::TempDir;

    use super::*;

    fn open(dir: &Path) -> Arc<Shelf> {
        Arc::new(Shelf::open(&dir.join("artifacts"), 0, Arc::new(SystemClock), ArtifactMetrics::default()).unwrap())
    }

    fn content(text: &str) -> Content {
        Content { bytes: text.len() as u64, sha256: FileDigest(Sha256::digest(text).into()) }
    }

    async fn take(shelf: &Arc<Shelf>, text: &'static str) {
        let mut receiving = shelf.receive(content(text)).unwrap();
        receiving.write(Bytes::from_static(text.as_bytes())).await.unwrap();
        receiving.finish().await.unwrap();
    }

    /// Whether the file is here and good; nothing where it is not here.
    async fn good(shelf: &Shelf, text: &str) -> Option<bool> {
        let mut reading = match shelf.read(content(text)).await {
            Ok(reading) => reading,
            Err(ShelfError::Missing) => return None,
            Err(_) => return Some(false),
        };
        let mut found = Vec::new();
        while let Some(Ok(piece)) = reading.next().await {
            found.extend_from_slice(&piece);
        }
        Some(found == text.as_bytes())
    }

    /// Runs only as a child of the test below: files come, one is damaged and comes again, one goes.
    #[tokio::test]
    async fn child() {
        let Some((_, place)) = trial::asked() else { return };
        let shelf = open(&place);
        for text in ["kept", "damaged", "gone"] {
            take(&shelf, text).await;
            note(&place, text);
        }
        files::write_atomic(Point::Saved, &shelf.path(&content("damaged").sha256), b"dbmaged", 0o600).unwrap();
        assert_eq!(good(&shelf, "damaged").await, Some(false));
        take(&shelf, "damaged").await;
        note(&place, "damaged again");
        shelf.remove_unnamed(|digest| *digest != content("gone").sha256, Duration::from_nanos(1)).await;
        note(&place, "removed");
    }

    #[test]
    fn a_member_that_dies_over_its_files_has_each_whole_or_not_at_all() {
        let judge = |place: &Path| {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().map_err(|error| error.to_string())?;
            let told = noted(place);
            let is_told = |word: &str| told.iter().any(|line| line == word);
            let judged = runtime.block_on(async {
                let shelf = open(place);
                for text in ["kept", "damaged", "gone"] {
                    let found = good(&shelf, text).await;
                    let may_be_bad = text == "damaged" && !is_told("damaged again");
                    let may_be_missing = !is_told(text) || may_be_bad || (text == "gone" && is_told("damaged again"));
                    match found {
                        Some(true) => {}
                        Some(false) if may_be_bad => {}
                        None if may_be_missing => {}
                        other => return Err(format!("{text} is {other:?}")),
                    }
                }
                match files::list(&place.join("artifacts/incoming")) {
                    Ok(left) if left.is_empty() => Ok(()),
                    other => Err(format!("something is left over: {other:?}")),
                }
            });
            runtime.shutdown_background();
            judged
        };
        let points = [Point::ArtifactDirectory, Point::ArtifactReceive, Point::ArtifactSetAside, Point::ArtifactRemove];
        let trial = Trial { test: "artifacts::shelf::tests::child", job: "files" };
        trial.everywhere(&points, &["", ":lose", ":lose:nth=2"], || TempDir::new().unwrap(), judge);
    }
}
