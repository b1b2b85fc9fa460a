//! What storing files needs of the mesh: a seam.

use std::path::Path;

use futures::FutureExt;
use futures::future::BoxFuture;
use mainstay_client::{Mesh, TransferError};
use mainstay_core::artifact::ArtifactFile;
use mainstay_core::bounds;
use mainstay_core::id::{AttemptId, LedgerId};
use mainstay_proto::convert::file_to_wire;
use mainstay_proto::v1;

/// The mesh, as files see it. Both calls may be repeated.
pub trait Depot: Send + Sync + 'static {
    /// Stores a file of an attempt, whole or not at all.
    fn put<'a>(&'a self, attempt: AttemptId, ledger: &LedgerId, file: &ArtifactFile, path: &'a Path) -> BoxFuture<'a, Result<(), TransferError>>;
    /// The undo data, as it was stored, of the step that an attempt is at.
    fn get_undo(&self, attempt: AttemptId) -> BoxFuture<'_, Result<Vec<u8>, TransferError>>;
}

impl Depot for Mesh {
    fn put<'a>(&'a self, attempt: AttemptId, ledger: &LedgerId, file: &ArtifactFile, path: &'a Path) -> BoxFuture<'a, Result<(), TransferError>> {
        let header = v1::PutArtifactHeader { attempt: attempt.to_string(), ledger: ledger.to_string(), file: Some(file_to_wire(file)) };
        async move { self.put_artifact(header, path).await.map(drop) }.boxed()
    }

    fn get_undo(&self, attempt: AttemptId) -> BoxFuture<'_, Result<Vec<u8>, TransferError>> {
        let request = v1::GetUndoRequest { attempt: attempt.to_string() };
        async move {
            let mut download = Mesh::get_undo(self, request).await?;
            let mut sealed = Vec::new();
            while let Some(piece) = download.next().await? {
                if sealed.len() + piece.len() > usize::try_from(bounds::UNDO_DATA_BYTES).unwrap_or(usize::MAX) {
                    return Err(TransferError::Differs("it is longer than undo data can be".into()));
                }
                sealed.extend_from_slice(&piece);
            }
            Ok(sealed)
        }
        .boxed()
    }
}
