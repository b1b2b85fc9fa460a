//! A store of others that misbehaves on demand.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{BoxStream, once};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};
use tokio::sync::Notify;

/// What is wrong with it. Names are matched by what they end with.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// It does not take them: an error, nothing stored.
    FailsPut(&'static str),
    /// It says that it took them, and did not.
    LosesPut(&'static str),
    /// It takes them, and says that it failed, once.
    FailsAfterPut(&'static str),
    /// It answers nothing when it is to take them.
    HangsOnPut(&'static str),
    /// It takes them when it is told to go on.
    HoldsPut(&'static str),
    /// It stores one byte otherwise than it was sent.
    Flips(&'static str),
    /// It stores less than was sent.
    CutsShort(&'static str),
    /// It overwrites what it was to create only where it is missing.
    IgnoresCreate,
    /// Reading breaks off after so many bytes; the next read goes that far again.
    BreaksReads(u64),
    /// It does not let it be read.
    RefusesGet(&'static str),
    /// It answers nothing when it is read.
    HangsOnGet(&'static str),
    /// It fails every other call once.
    Stutters,
    /// It says that it has removed what it was told to remove.
    KeepsWhatIsRemoved,
    /// It removes nothing, and says so.
    RefusesToRemove,
    /// The first version of each object can still be read when it was removed: it is below `versions`.
    KeepsVersions,
}

pub struct Faulty {
    pub inner: Arc<InMemory>,
    faults: Mutex<BTreeSet<Fault>>,
    pub go_on: Arc<Notify>,
    /// Told when somebody is held.
    pub held: Arc<Notify>,
    calls: AtomicU32,
}

impl fmt::Debug for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Faulty")
    }
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a faulty store")
    }
}

fn failed() -> object_store::Error {
    object_store::Error::Generic { store: "faulty", source: "it failed".into() }
}

impl Faulty {
    pub fn new(faults: impl IntoIterator<Item = Fault>) -> Arc<Faulty> {
        let faults = Mutex::new(faults.into_iter().collect());
        Arc::new(Faulty { inner: super::in_memory(), faults, go_on: Arc::default(), held: Arc::default(), calls: AtomicU32::new(0) })
    }

    /// From here on it behaves.
    pub fn heal(&self) {
        self.faults.lock().expect("a lock").clear();
    }

    pub fn now(&self, fault: Fault) {
        self.faults.lock().expect("a lock").insert(fault);
    }

    fn is(&self, fault: impl Fn(&Fault) -> bool) -> bool {
        self.faults.lock().expect("a lock").iter().any(fault)
    }

    fn stutter(&self) -> Result<()> {
        let odd = self.calls.fetch_add(1, Ordering::Relaxed).is_multiple_of(2);
        if odd && self.is(|fault| *fault == Fault::Stutters) { Err(failed()) } else { Ok(()) }
    }

    /// What is stored of what was sent; nothing where it is lost.
    async fn taken(&self, location: &Path, sent: Vec<u8>) -> Result<Option<Vec<u8>>> {
        let ends = |end: &str| location.as_ref().ends_with(end);
        if self.is(|fault| matches!(fault, Fault::FailsPut(end) if ends(end))) {
            return Err(failed());
        }
        if self.is(|fault| matches!(fault, Fault::HangsOnPut(end) if ends(end))) {
            std::future::pending::<()>().await;
        }
        if self.is(|fault| matches!(fault, Fault::HoldsPut(end) if ends(end))) {
            self.held.notify_one();
            self.go_on.notified().await;
        }
        if self.is(|fault| matches!(fault, Fault::LosesPut(end) if ends(end))) {
            return Ok(None);
        }
        let mut sent = sent;
        if self.is(|fault| matches!(fault, Fault::Flips(end) if ends(end))) {
            let at = sent.len() / 2;
            sent[at] ^= 1;
        }
        if self.is(|fault| matches!(fault, Fault::CutsShort(end) if ends(end))) {
            sent.truncate(sent.len() / 2);
        }
        Ok(Some(sent))
    }
}

/// Where a version is kept.
fn version_of(location: &Path) -> Path {
    Path::from(format!("versions/{location}"))
}

fn flat(payload: &PutPayload) -> Vec<u8> {
    payload.iter().flat_map(|bytes| bytes.iter().copied()).collect()
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(&self, location: &Path, payload: PutPayload, mut options: PutOptions) -> Result<PutResult> {
        self.stutter()?;
        let Some(stored) = self.taken(location, flat(&payload)).await? else { return put_nothing(&self.inner).await };
        if self.is(|fault| *fault == Fault::IgnoresCreate) {
            options.mode = PutMode::Overwrite;
        }
        if self.is(|fault| *fault == Fault::KeepsVersions) {
            self.inner.put(&version_of(location), stored.clone().into()).await?;
        }
        let put = self.inner.put_opts(location, stored.into(), options).await;
        let mut faults = self.faults.lock().expect("a lock");
        let before = faults.len();
        faults.retain(|fault| !matches!(fault, Fault::FailsAfterPut(end) if location.as_ref().ends_with(end)));
        if faults.len() < before {
            return Err(failed());
        }
        put
    }

    async fn put_multipart_opts(&self, location: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.stutter()?;
        Ok(Box::new(Pieces {
            store: self.inner.clone(),
            faults: self.faults.lock().expect("a lock").clone(),
            location: location.clone(),
            pieces: Arc::default(),
            next: 0,
        }))
    }

    async fn get_opts(&self, location: &Path, mut options: GetOptions) -> Result<GetResult> {
        self.stutter()?;
        if options.version.take().is_some() {
            return self.inner.get_opts(&version_of(location), options).await;
        }
        if self.is(|fault| matches!(fault, Fault::HangsOnGet(end) if location.as_ref().ends_with(end))) {
            std::future::pending::<()>().await;
        }
        if self.is(|fault| matches!(fault, Fault::RefusesGet(end) if location.as_ref().ends_with(end))) {
            return Err(object_store::Error::PermissionDenied { path: location.to_string(), source: "not for you".into() });
        }
        let mut whole = self.inner.get_opts(location, options).await?;
        whole.meta.version = self.is(|fault| *fault == Fault::KeepsVersions).then(|| "first".to_owned());
        let breaks =
            self.faults.lock().expect("a lock").iter().find_map(|fault| if let Fault::BreaksReads(after) = fault { Some(*after) } else { None });
        let Some(after) = breaks.filter(|after| whole.range.end - whole.range.start > *after) else { return Ok(whole) };
        let (meta, range, attributes) = (whole.meta.clone(), whole.range.clone(), whole.attributes.clone());
        let bytes = whole.bytes().await?.slice(..usize::try_from(after).expect("a size"));
        let broken = once(async move { Ok(bytes) }).chain(once(async { Err(failed()) })).boxed();
        Ok(GetResult { payload: GetResultPayload::Stream(broken), meta, range, attributes, extensions: Default::default() })
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        if self.is(|fault| *fault == Fault::KeepsWhatIsRemoved) {
            return locations;
        }
        if self.is(|fault| *fault == Fault::RefusesToRemove) {
            let refused = |location: Path| object_store::Error::PermissionDenied { path: location.to_string(), source: "it is locked".into() };
            return locations.map(move |location| Err(refused(location?))).boxed();
        }
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.stutter() {
            Ok(()) => self.inner.list(prefix),
            Err(error) => once(async { Err(error) }).boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

/// What a store answers that has not stored anything.
async fn put_nothing(store: &InMemory) -> Result<PutResult> {
    store.put(&Path::from("elsewhere"), Bytes::new().into()).await
}

/// A large object in pieces: what is wrong is wrong with one of them.
#[derive(Debug)]
struct Pieces {
    store: Arc<InMemory>,
    faults: BTreeSet<Fault>,
    location: Path,
    pieces: Arc<Mutex<Vec<Option<Vec<u8>>>>>,
    next: usize,
}

#[async_trait]
impl MultipartUpload for Pieces {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let (at, pieces, faults) = (self.next, Arc::clone(&self.pieces), self.faults.clone());
        self.next += 1;
        let name = self.location.to_string();
        Box::pin(async move {
            let mut sent = flat(&data);
            let is = |fault: &dyn Fn(&Fault) -> bool| at == 1 && faults.iter().any(fault);
            if is(&|fault| matches!(fault, Fault::FailsPut(end) if name.ends_with(end))) {
                return Err(failed());
            }
            if is(&|fault| matches!(fault, Fault::HangsOnPut(end) if name.ends_with(end))) {
                std::future::pending::<()>().await;
            }
            if is(&|fault| matches!(fault, Fault::Flips(end) if name.ends_with(end))) {
                sent[0] ^= 1;
            }
            let lost = is(&|fault| matches!(fault, Fault::LosesPut(end) if name.ends_with(end)));
            let mut pieces = pieces.lock().expect("a lock");
            if pieces.len() <= at {
                pieces.resize(at + 1, None);
            }
            pieces[at] = Some(if lost { Vec::new() } else { sent });
            Ok(())
        })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let whole: Vec<u8> = self.pieces.lock().expect("a lock").iter().flatten().flatten().copied().collect();
        self.store.put(&self.location, whole.into()).await
    }

    async fn abort(&mut self) -> Result<()> {
        Ok(())
    }
}
