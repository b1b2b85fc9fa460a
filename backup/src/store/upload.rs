//! Writing a large object: pieces of one size, a few of them on their way at a time.

use bytes::Bytes;
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStoreExt, PutPayload};
use tokio::task::JoinSet;

use super::{Store, StoreError, Why};

/// S3 wants 5 MiB at least, of all but the last.
const PIECE: usize = 8 << 20;
/// S3 takes so many of an object.
const PIECES_MAX: usize = 10_000;
/// On their way at a time; with the one that is filled they are what a backup holds in memory at most.
const AT_ONCE: usize = 2;

/// An object that is being written. It is there when [`Upload::finish`] came back, and not before.
pub(crate) struct Upload {
    store: Store,
    path: Path,
    name: String,
    /// Made when the first piece is full: what is smaller is written at once.
    multipart: Option<Box<dyn MultipartUpload>>,
    sending: JoinSet<object_store::Result<()>>,
    filling: Vec<Bytes>,
    filled: usize,
    pieces: usize,
}

impl Upload {
    pub(super) fn new(store: Store, path: Path, name: &str) -> Upload {
        Upload { store, path, name: name.to_owned(), multipart: None, sending: JoinSet::new(), filling: Vec::new(), filled: 0, pieces: 0 }
    }

    /// Takes more of it, and waits where that much is on its way already.
    pub async fn write(&mut self, mut bytes: Bytes) -> Result<(), StoreError> {
        self.store.pass(bytes.len()).await;
        while !bytes.is_empty() {
            // Some stores want all pieces of one size.
            let more = bytes.split_to(bytes.len().min(PIECE - self.filled));
            self.filled += more.len();
            self.filling.push(more);
            if self.filled == PIECE {
                self.send().await?;
            }
        }
        Ok(())
    }

    async fn send(&mut self) -> Result<(), StoreError> {
        if self.pieces == PIECES_MAX {
            let said = format!("it is larger than {} GiB: back up parts of it by themselves", (PIECES_MAX * (PIECE >> 20)) >> 10);
            return Err(StoreError::new(Why::Unusable, self.store.place(), &self.name, &said));
        }
        while self.sending.len() >= AT_ONCE {
            self.one_taken().await?;
        }
        if self.multipart.is_none() {
            let begun = self.store.answered(&self.name, self.store.objects.put_multipart(&self.path)).await?;
            self.multipart = Some(begun);
        }
        let payload: PutPayload = std::mem::take(&mut self.filling).into_iter().collect();
        if let Some(multipart) = &mut self.multipart {
            self.sending.spawn(multipart.put_part(payload));
        }
        self.filled = 0;
        self.pieces += 1;
        Ok(())
    }

    async fn one_taken(&mut self) -> Result<(), StoreError> {
        let patience = self.store.patience.piece;
        match tokio::time::timeout(patience, self.sending.join_next()).await {
            Err(_) => Err(StoreError::late(self.store.place(), &self.name, patience)),
            Ok(None) => Ok(()),
            Ok(Some(Ok(taken))) => taken.map_err(|error| StoreError::from_store(self.store.place(), &self.name, &error)),
            Ok(Some(Err(broken))) => Err(StoreError::new(Why::Failed, self.store.place(), &self.name, &broken)),
        }
    }

    /// Writes what is left; then the object is there.
    pub async fn finish(&mut self) -> Result<(), StoreError> {
        if self.multipart.is_none() {
            let payload: PutPayload = std::mem::take(&mut self.filling).into_iter().collect();
            // Its name is this writer's alone (`begun.json` saw to that), so that a repetition writes the same.
            let (store, path, name) = (&self.store, &self.path, &self.name);
            let put = || async { store.answered(name, store.objects.put(path, payload.clone())).await.map(drop) };
            return store.repeated(put).await;
        }
        if self.filled > 0 {
            self.send().await?;
        }
        while !self.sending.is_empty() {
            self.one_taken().await?;
        }
        let Some(multipart) = &mut self.multipart else { return Ok(()) };
        self.store.answered(&self.name, multipart.complete()).await?;
        self.multipart = None;
        Ok(())
    }

    /// Gives up, so that no pieces stay behind that nobody sees and somebody pays for.
    pub async fn abandon(mut self) {
        self.sending.shutdown().await;
        let Some(mut multipart) = self.multipart.take() else { return };
        if let Err(error) = self.store.answered(&self.name, multipart.abort()).await {
            tracing::warn!("{error}: pieces of an upload that was given up may be left there; a lifecycle rule of the bucket removes them");
        }
    }
}
