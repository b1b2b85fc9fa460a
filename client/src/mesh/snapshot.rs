//! The mesh's own snapshot, put together from its pieces.

use std::time::Duration;

use mainstay_core::snapshot::BYTES_MAX;
use mainstay_proto::v1::SnapshotPiece;
use tonic::Streaming;

/// Longest wait for the next piece.
const PIECE: Duration = Duration::from_secs(20);

/// Why a snapshot did not get here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// Nothing came any more.
    #[error("no further piece came within {PIECE:?}: try again")]
    Silent,
    /// The mesh, or the way to it, gave up.
    #[error("the snapshot broke off: {0}")]
    Broken(String),
    /// It ended before its end.
    #[error("the snapshot broke off after {is} of {total} bytes: try again")]
    Short {
        /// Bytes that came.
        is: u64,
        /// Bytes that were to come.
        total: u64,
    },
    /// It is none.
    #[error("the mesh says that its snapshot has {0} bytes, and none has more than {BYTES_MAX}")]
    TooLarge(u64),
}

/// All of it, in memory. Its checksums are for whoever uses it to look at.
///
/// # Errors
/// When not all of it came, or more than a snapshot has.
pub async fn whole(mut pieces: Streaming<SnapshotPiece>) -> Result<Vec<u8>, SnapshotError> {
    let mut bytes = Vec::new();
    let mut total = 0;
    loop {
        let piece = tokio::time::timeout(PIECE, pieces.message()).await.map_err(|_| SnapshotError::Silent)?;
        let piece = piece.map_err(|status| SnapshotError::Broken(status.message().to_owned()))?;
        let Some(piece) = piece else { break };
        total = piece.total;
        // What a piece brings counts too: the total is only what is said.
        let is = bytes.len() as u64 + piece.data.len() as u64;
        if total.max(is) > BYTES_MAX {
            return Err(SnapshotError::TooLarge(total.max(is)));
        }
        bytes.extend_from_slice(&piece.data);
    }
    let is = bytes.len() as u64;
    if is == total { Ok(bytes) } else { Err(SnapshotError::Short { is, total }) }
}
