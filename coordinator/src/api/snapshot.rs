//! The mesh's own snapshot, read by an admin, or by the attempt that backs it up: encoded whole, sent in pieces.

use std::time::Duration;

use mainstay_client::identity::root_sha256s;
use mainstay_client::work;
use mainstay_core::Identity;
use mainstay_core::authz::Method;
use mainstay_core::snapshot::{self, Taken};
use mainstay_proto::v1;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Status};

use super::front::Front;
use crate::leader::Office;
use crate::run::VERSION;

/// Bytes of one piece.
const PIECE: usize = 256 << 10;
/// Pieces that are on their way to a reader.
const AHEAD: usize = 2;
/// A reader that takes no piece for so long has gone.
const PATIENCE: Duration = Duration::from_secs(30);

/// The pieces, in order.
pub type Pieces = ReceiverStream<Result<v1::SnapshotPiece, Status>>;

/// A snapshot with everything in it that was acknowledged before the call, for an admin.
pub async fn read<T>(front: &Front, request: &Request<T>) -> Result<Pieces, Status> {
    let (office, _) = front.read(request, Method::ReadSnapshot).await?;
    let turn = turn(front)?;
    take(front, &office, turn, &Front::peer(request)?.identity).await
}

/// The right to read one; it is given back with the last piece.
pub fn turn(front: &Front) -> Result<OwnedSemaphorePermit, Status> {
    let turn = front.snapshots.clone().try_acquire_owned();
    turn.map_err(|_| Status::resource_exhausted("another snapshot is being read: try again when that one is done"))
}

/// Takes a snapshot of what is applied here, for whoever has been found to be one who may have it.
pub async fn take(front: &Front, office: &Office, turn: OwnedSemaphorePermit, caller: &Identity) -> Result<Pieces, Status> {
    let applied = front.consensus.state();
    let internal = |error: &dyn std::fmt::Display| Status::internal(error.to_string());
    let roots = root_sha256s(&front.home.roots().pem()).map_err(|error| internal(&error))?;
    let taken = Taken { applied: applied.index, wall: office.wall(), version: VERSION.to_owned(), roots, survivor: None };
    let encoded = work::blocking(move || snapshot::encode(&applied.state, taken)).await.map_err(|error| internal(&error))?;
    let [start, state] = encoded.map_err(|error| Status::failed_precondition(error.to_string()))?;
    let total = (start.len() + state.len()) as u64;
    tracing::info!(%caller, applied = applied.index, bytes = total, "a snapshot of the mesh is read");

    let (send, pieces) = mpsc::channel(AHEAD);
    tokio::spawn(async move {
        // Given back when the last piece is gone, or the reader.
        let _turn = turn;
        for data in std::iter::once(start.as_slice()).chain(state.chunks(PIECE)) {
            let piece = v1::SnapshotPiece { data: data.to_vec(), total };
            if send.send_timeout(Ok(piece), PATIENCE).await.is_err() {
                return tracing::info!("whoever reads a snapshot of the mesh has gone");
            }
        }
    });
    Ok(ReceiverStream::new(pieces))
}
