//! Where backups are: a local directory, or S3 and what speaks like it.
//!
//! Nothing is overwritten: what matters is created only if it is not there, and who lost that race is told. Each call has
//! an end: what a store does not answer in time has failed. What can be repeated without harm is repeated, a bounded
//! number of times.

use std::fmt;
use std::future::Future;
use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};

mod error;
mod limit;
mod pieces;
mod probe;
mod s3;
mod upload;
mod version;

pub use error::{StoreError, Why};
pub use probe::{CreateIfAbsent, Probe};
pub use s3::{Credentials, S3, ServerSide};
pub(crate) use upload::Upload;

use crate::manifest::RECORD_MAX;
use crate::seam::Backoff;
use limit::Limit;

/// Most objects that a listing takes in: beyond that, a store is told to be split.
const LISTING_MAX: usize = 500_000;
/// Tries of what can be repeated.
const TRIES: u32 = 4;

/// How long a store is waited for.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// For a small object, and between two pieces of a listing or of a large one.
    pub answer: Duration,
    /// For a piece of an upload of up to 16 MiB to be taken, with the store's own repetitions.
    pub piece: Duration,
    /// First pause before something is repeated.
    pub pause: Duration,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience { answer: Duration::from_secs(60), piece: Duration::from_secs(300), pause: Duration::from_millis(250) }
    }
}

/// An object in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its full name within the store.
    pub name: String,
    /// Its size.
    pub bytes: u64,
}

/// What came of creating an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Created {
    /// It was not there, and is now.
    New,
    /// It was there, and is as it was.
    Exists,
}

/// What came of removing an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removed {
    /// It is not there any more, or was not.
    Gone,
    /// The store keeps it, by a lock or a rule of its own; in its words.
    Locked(String),
}

impl Removed {
    fn of(removed: Result<(), StoreError>) -> Result<Removed, StoreError> {
        match removed {
            Ok(()) => Ok(Removed::Gone),
            Err(error) if error.why == Why::Missing => Ok(Removed::Gone),
            Err(error) if error.why == Why::Refused => Ok(Removed::Locked(error.to_string())),
            Err(error) => Err(error),
        }
    }
}

/// A place for backups.
#[derive(Clone)]
pub struct Store {
    objects: Arc<dyn ObjectStore>,
    /// Where single versions can be removed.
    versions: Option<Arc<version::Versions>>,
    /// For words; without any credential.
    place: Arc<str>,
    prefix: Path,
    limit: Option<Arc<Limit>>,
    patience: Patience,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Store({})", self.place)
    }
}

impl Store {
    /// A directory, which is made where it is missing. What is written is on the disk when it counts.
    ///
    /// # Errors
    /// When it cannot be made, or is none.
    pub fn local(dir: &FilePath) -> Result<Store, StoreError> {
        let place = dir.display().to_string();
        let cannot = |error: &dyn fmt::Display| StoreError::new(Why::Unusable, &place, "opening it", error);
        std::fs::create_dir_all(dir).map_err(|error| cannot(&error))?;
        let objects = object_store::local::LocalFileSystem::new_with_prefix(dir).map_err(|error| cannot(&error))?;
        Ok(Store::of(Arc::new(objects.with_fsync(true).with_automatic_cleanup(true)), &place))
    }

    /// A bucket.
    ///
    /// # Errors
    /// When its settings cannot be right.
    pub fn s3(settings: &S3) -> Result<Store, StoreError> {
        let (bucket, versions) = s3::open(settings)?;
        let mut store = Store::of(bucket, &settings.place());
        store.versions = Some(Arc::new(versions));
        store.prefix = Path::parse(&settings.prefix).map_err(|error| StoreError::new(Why::Unusable, &store.place, "its prefix", &error))?;
        Ok(store)
    }

    /// Any other store.
    #[must_use]
    pub fn of(objects: Arc<dyn ObjectStore>, place: &str) -> Store {
        Store { objects, versions: None, place: place.into(), prefix: Path::default(), limit: None, patience: Patience::default() }
    }

    /// Sends and fetches no more than this many bytes a second.
    #[must_use]
    pub fn limited(mut self, bytes_per_second: u64) -> Store {
        self.limit = Some(Arc::new(Limit::new(bytes_per_second)));
        self
    }

    /// Waits otherwise than it would.
    #[must_use]
    pub fn patient(mut self, patience: Patience) -> Store {
        self.patience = patience;
        self
    }

    /// Where it is, for words.
    #[must_use]
    pub fn place(&self) -> &str {
        &self.place
    }

    pub(crate) fn patience(&self) -> Patience {
        self.patience
    }

    fn path(&self, name: &str) -> Result<Path, StoreError> {
        let full = if self.prefix.as_ref().is_empty() { name.to_owned() } else { format!("{}/{name}", self.prefix) };
        Path::parse(full).map_err(|error| StoreError::new(Why::Unusable, &self.place, name, &error))
    }

    /// Waits for one answer.
    async fn answered<T>(&self, what: &str, answer: impl Future<Output = object_store::Result<T>>) -> Result<T, StoreError> {
        match tokio::time::timeout(self.patience.answer, answer).await {
            Ok(answer) => answer.map_err(|error| StoreError::from_store(&self.place, what, &error)),
            Err(_) => Err(StoreError::late(&self.place, what, self.patience.answer)),
        }
    }

    /// Repeats what does no harm when it is done twice.
    async fn repeated<T, F: Future<Output = Result<T, StoreError>>>(&self, mut once: impl FnMut() -> F) -> Result<T, StoreError> {
        let mut backoff = Backoff::new(self.patience.pause, self.patience.answer);
        for _ in 1..TRIES {
            match once().await {
                Err(error) if error.may_pass() => tokio::time::sleep(backoff.pause()).await,
                ended => return ended,
            }
        }
        once().await
    }

    /// Creates a small object if it is not there. Where an answer was lost and the very same bytes are there, they are ours:
    /// whoever calls puts something of their own into them.
    ///
    /// # Errors
    /// When the store does not take it.
    pub async fn create(&self, name: &str, bytes: &[u8]) -> Result<Created, StoreError> {
        let path = self.path(name)?;
        let bytes = Bytes::copy_from_slice(bytes);
        let created = self.repeated(|| async {
            let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
            self.pass(bytes.len()).await;
            match self.answered(name, self.objects.put_opts(&path, PutPayload::from_bytes(bytes.clone()), options)).await {
                Ok(_) => Ok(Created::New),
                Err(error) if error.why == Why::Exists => Ok(Created::Exists),
                Err(error) => Err(error),
            }
        });
        match created.await? {
            Created::Exists if self.read(name, RECORD_MAX).await?.is_some_and(|there| there == bytes) => Ok(Created::New),
            created => Ok(created),
        }
    }

    /// A small object as a whole; nothing where it is not there.
    ///
    /// # Errors
    /// When the store does not give it, or it is larger than `max`.
    pub async fn read(&self, name: &str, max: usize) -> Result<Option<Bytes>, StoreError> {
        let read = self.repeated(|| async {
            let mut stream = self.stream(name, 0).await?;
            let mut whole = BytesMut::new();
            while let Some(piece) = stream.next().await {
                whole.extend_from_slice(&piece?);
                if whole.len() > max {
                    let why = format!("it has more than {max} bytes, and is not what it should be");
                    return Err(StoreError::new(Why::Unusable, &self.place, name, &why));
                }
            }
            Ok(whole.freeze())
        });
        match read.await {
            Ok(whole) => Ok(Some(whole)),
            Err(error) if error.why == Why::Missing => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// An object from `offset` on, piece by piece, each waited for as long as for an answer.
    pub(crate) async fn stream(&self, name: &str, offset: u64) -> Result<futures::stream::BoxStream<'static, Result<Bytes, StoreError>>, StoreError> {
        let path = self.path(name)?;
        let range = (offset > 0).then_some(GetRange::Offset(offset));
        let got = self.answered(name, self.objects.get_opts(&path, GetOptions { range, ..GetOptions::default() })).await?;
        let (store, name) = (self.clone(), name.to_owned());
        let pieces = futures::stream::try_unfold(pieces::of(got), move |mut pieces| {
            let (store, name) = (store.clone(), name.clone());
            async move {
                let Some(piece) = store.answered(&name, pieces.try_next()).await? else { return Ok(None) };
                store.pass(piece.len()).await;
                Ok(Some((piece, pieces)))
            }
        });
        Ok(pieces.boxed())
    }

    /// All objects whose names begin with these parts.
    ///
    /// # Errors
    /// When the store does not list them, or there are more than can be looked at.
    pub async fn list(&self, under: &str) -> Result<Vec<Listed>, StoreError> {
        let path = if under.is_empty() { self.prefix.clone() } else { self.path(under)? };
        let what = if under.is_empty() { "its listing" } else { under };
        let cut = if self.prefix.as_ref().is_empty() { 0 } else { self.prefix.as_ref().len() + 1 };
        self.repeated(|| async {
            let mut listing = self.objects.list((!path.as_ref().is_empty()).then_some(&path));
            let mut found = Vec::new();
            while let Some(meta) = self.answered(what, listing.try_next()).await? {
                if found.len() == LISTING_MAX {
                    let why = format!("it has more than {LISTING_MAX} objects: give each cluster a prefix of its own");
                    return Err(StoreError::new(Why::Unusable, &self.place, what, &why));
                }
                found.push(Listed { name: meta.location.as_ref().get(cut..).unwrap_or_default().to_owned(), bytes: meta.size });
            }
            found.sort_by(|a, b| a.name.cmp(&b.name));
            Ok(found)
        })
        .await
    }

    /// Begins to write a large object.
    pub(crate) fn upload(&self, name: &str) -> Result<Upload, StoreError> {
        Ok(Upload::new(self.clone(), self.path(name)?, name))
    }

    /// Removes an object. That it is not there is as good.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn remove(&self, name: &str) -> Result<Removed, StoreError> {
        let path = self.path(name)?;
        Removed::of(self.repeated(|| self.answered(name, self.objects.delete(&path))).await)
    }

    /// Waits until so many bytes may pass.
    async fn pass(&self, bytes: usize) {
        if let Some(limit) = &self.limit {
            limit.pass(bytes as u64).await;
        }
    }
}

#[cfg(test)]
mod tests;
