//! One place that a file goes to while it is taken in: this member's shelf, or another's.
//!
//! ```text
//!  first word: send / stored / failed ─▶ pieces ─▶ the last piece is in: on disk, or why not
//! ```

use std::time::Duration;

use bytes::Bytes;
use mainstay_client::files::{Content, FileError};
use mainstay_core::MemberId;
use mainstay_proto::v1;
use mainstay_proto::v1::copies_client::CopiesClient;
use mainstay_proto::v1::store_copy_request::Part;
use mainstay_proto::v1::store_copy_response::Answer;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use super::{Artifacts, ShelfError};
use crate::store::Peer;

/// For a member to say whether it takes the file.
const OPEN: Duration = Duration::from_secs(3);
/// How long another member may take for a piece, or for the sync of the whole.
const STALL: Duration = Duration::from_secs(15);
/// Pieces on their way to one place.
const PIECES_WAITING: usize = 2;

/// Why a place does not have the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum SinkError {
    /// What came is not what was announced. No place will say otherwise.
    Content(String),
    /// This place has no room for it, and will not have soon.
    Full(String),
    /// This place does not take it, now.
    Place(String),
}

impl SinkError {
    pub fn words(&self) -> &str {
        let (SinkError::Content(words) | SinkError::Full(words) | SinkError::Place(words)) = self;
        words
    }
}

/// What a place says first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum First {
    Send,
    /// It has the file.
    Stored,
}

/// Where a place takes its pieces from, and to whom it says its first word.
pub(super) struct Feed {
    pub first: oneshot::Sender<First>,
    pub pieces: mpsc::Receiver<Bytes>,
}

/// The other end of it.
pub(super) struct Fed {
    pub first: oneshot::Receiver<First>,
    pub pieces: mpsc::Sender<Bytes>,
}

pub(super) fn feed() -> (Feed, Fed) {
    let (first, said) = oneshot::channel();
    let (pieces, taken) = mpsc::channel(PIECES_WAITING);
    (Feed { first, pieces: taken }, Fed { first: said, pieces })
}

impl From<ShelfError> for SinkError {
    fn from(error: ShelfError) -> SinkError {
        match error {
            ShelfError::File(FileError::Differs { .. } | FileError::TooLong { .. }) => SinkError::Content(error.to_string()),
            ShelfError::Room(_) => SinkError::Full(error.to_string()),
            other => SinkError::Place(other.to_string()),
        }
    }
}

impl Artifacts {
    /// Takes the file to the member's disk. Ends when it is there, or cannot be.
    pub(super) async fn sink(self, member: MemberId, peer: Peer, content: Content, feed: Feed) -> Result<(), SinkError> {
        if member == self.consensus.member() { self.keep_here(content, feed).await } else { self.keep_there(peer, content, feed).await }
    }

    async fn keep_here(&self, content: Content, mut feed: Feed) -> Result<(), SinkError> {
        if self.shelf.holds(&content) {
            // Nobody listens any more where the upload has ended for another reason.
            let _ = feed.first.send(First::Stored);
            return Ok(());
        }
        let mut receiving = self.shelf.receive(content)?;
        let _ = feed.first.send(First::Send);
        while let Some(piece) = feed.pieces.recv().await {
            receiving.write(piece).await?;
        }
        Ok(receiving.finish().await?)
    }

    async fn keep_there(&self, peer: Peer, content: Content, mut feed: Feed) -> Result<(), SinkError> {
        let (outgoing, stream) = mpsc::channel(PIECES_WAITING);
        let header = v1::CopyHeader { sha256: content.sha256.to_string(), bytes: content.bytes };
        // An empty queue whose receiver is at hand takes it.
        let _ = outgoing.try_send(v1::StoreCopyRequest { part: Some(Part::Header(header)) });
        let opened =
            self.peers.open(&peer.address, OPEN, |channel| async move { CopiesClient::new(channel).store(ReceiverStream::new(stream)).await });
        let mut answers = opened.await.map_err(|error| SinkError::Place(error.to_string()))?;
        match answer(&mut answers, OPEN).await? {
            Answer::Stored(_) => {
                let _ = feed.first.send(First::Stored);
                return Ok(());
            }
            Answer::Send(_) => {
                let _ = feed.first.send(First::Send);
            }
        }
        while let Some(piece) = feed.pieces.recv().await {
            let part = v1::StoreCopyRequest { part: Some(Part::Data(piece.into())) };
            match outgoing.send_timeout(part, STALL).await {
                Ok(()) => {}
                // It has said why.
                Err(mpsc::error::SendTimeoutError::Closed(_)) => break,
                Err(mpsc::error::SendTimeoutError::Timeout(_)) => return Err(SinkError::Place(format!("it takes nothing more since {STALL:?}"))),
            }
        }
        drop(outgoing);
        match answer(&mut answers, STALL).await? {
            Answer::Stored(_) => Ok(()),
            Answer::Send(_) => Err(SinkError::Place("it wants the file twice".into())),
        }
    }
}

async fn answer(answers: &mut Streaming<v1::StoreCopyResponse>, within: Duration) -> Result<Answer, SinkError> {
    let words = |status: &Status| match status.code() {
        Code::InvalidArgument => SinkError::Content(status.message().to_owned()),
        Code::ResourceExhausted => SinkError::Full(status.message().to_owned()),
        _ => SinkError::Place(status.message().to_owned()),
    };
    match tokio::time::timeout(within, answers.message()).await {
        Ok(Ok(Some(v1::StoreCopyResponse { answer: Some(answer) }))) => Ok(answer),
        Ok(Ok(_)) => Err(SinkError::Place("it did not answer".into())),
        Ok(Err(status)) => Err(words(&status)),
        Err(_) => Err(SinkError::Place(format!("it did not answer within {within:?}"))),
    }
}
