//! Files between members: taken in for the leader, given to one that lacks them, and the leader told who has what.

use std::sync::Arc;
use std::time::Duration;

use mainstay_client::files::{Content, FileError, Reading};
use mainstay_core::artifact::FileDigest;
use mainstay_core::authz::{Method, Subject};
use mainstay_core::{Command, Identity, bounds};
use mainstay_proto::convert::parsed;
use mainstay_proto::v1;
use mainstay_proto::v1::store_copy_request::Part;
use mainstay_proto::v1::store_copy_response::Answer;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::front::Front;
use super::status;
use crate::artifacts::{Receiving, ShelfError};

/// For the first message.
const HEADER: Duration = Duration::from_secs(3);
/// How long another member may take for its next piece, or to take one.
const STALL: Duration = Duration::from_secs(30);
/// Messages on their way to one caller.
const OUTGOING: usize = 2;

pub struct CopiesApi(pub Arc<Front>);

#[tonic::async_trait]
impl v1::copies_server::Copies for CopiesApi {
    type StoreStream = ReceiverStream<Result<v1::StoreCopyResponse, Status>>;

    async fn store(&self, request: Request<Streaming<v1::StoreCopyRequest>>) -> Result<Response<Self::StoreStream>, Status> {
        self.0.permit(&request, Method::Raft, Subject::None, &self.0.consensus.state().state)?;
        let mut incoming = request.into_inner();
        let first = tokio::time::timeout(HEADER, incoming.message()).await;
        let first = first.map_err(|_| Status::deadline_exceeded(format!("nothing was announced within {HEADER:?}")))??;
        let Some(Part::Header(v1::CopyHeader { sha256, bytes })) = first.and_then(|first| first.part) else {
            return Err(Status::invalid_argument("the first message says which file comes"));
        };
        let content = content(&sha256, bytes)?;
        let (answers, stream) = mpsc::channel(OUTGOING);
        let shelf = self.0.artifacts.shelf();
        let begun = if shelf.holds(&content) { Ok(None) } else { shelf.receive(content).map(Some) };
        tokio::spawn(async move {
            let ended = match begun {
                Ok(None) => Ok(()),
                Ok(Some(receiving)) => {
                    let send = v1::StoreCopyResponse { answer: Some(Answer::Send(v1::SendFile {})) };
                    if answers.send(Ok(send)).await.is_err() {
                        return;
                    }
                    take_in(receiving, incoming).await
                }
                Err(error) => Err(refused(&error)),
            };
            // Whoever is gone by now asks again.
            drop(answers.send(ended.map(|()| stored())).await);
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    type FetchStream = ReceiverStream<Result<v1::FetchCopyResponse, Status>>;

    async fn fetch(&self, request: Request<v1::FetchCopyRequest>) -> Result<Response<Self::FetchStream>, Status> {
        self.0.permit(&request, Method::Raft, Subject::None, &self.0.consensus.state().state)?;
        let v1::FetchCopyRequest { sha256, bytes } = request.get_ref();
        let reading = self.0.artifacts.shelf().read(content(sha256, *bytes)?).await.map_err(|error| refused(&error))?;
        let (pieces, stream) = mpsc::channel(OUTGOING);
        tokio::spawn(give(reading, pieces));
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn note(&self, request: Request<v1::NoteCopiesRequest>) -> Result<Response<v1::NoteCopiesResponse>, Status> {
        let (office, by) = self.0.lead(&request, Method::Raft, Subject::None)?;
        let Identity::Coordinator(member) = by else { return Err(Status::permission_denied("only a member says what it has")) };
        let digests = |field, texts: &[String]| -> Result<Vec<FileDigest>, Status> {
            let texts = texts.iter().take(bounds::ARTIFACT_NOTES + 1);
            texts.map(|text| parsed(field, text)).collect::<Result<_, _>>().map_err(status::invalid)
        };
        let v1::NoteCopiesRequest { present, absent } = request.get_ref();
        let command = Command::NoteArtifactCopies { member, present: digests("present", present)?, absent: digests("absent", absent)? };
        self.0.propose(&office, by, None, command).await?;
        Ok(Response::new(v1::NoteCopiesResponse {}))
    }
}

fn content(sha256: &str, bytes: u64) -> Result<Content, Status> {
    if bytes > bounds::ARTIFACT_BYTES {
        return Err(Status::invalid_argument(format!("{bytes} bytes are more than a file may have")));
    }
    Ok(Content { bytes, sha256: parsed("sha256", sha256).map_err(status::invalid)? })
}

fn stored() -> v1::StoreCopyResponse {
    v1::StoreCopyResponse { answer: Some(Answer::Stored(v1::CopyStored {})) }
}

async fn take_in(mut receiving: Receiving, mut incoming: Streaming<v1::StoreCopyRequest>) -> Result<(), Status> {
    loop {
        let part = tokio::time::timeout(STALL, incoming.message()).await;
        let part = part.map_err(|_| Status::deadline_exceeded(format!("no piece came within {STALL:?}")))??;
        match part.map(|part| part.part) {
            Some(Some(Part::Data(data))) => receiving.write(data.into()).await.map_err(|error| refused(&error))?,
            Some(_) => return Err(Status::invalid_argument("after the announcement there is only data")),
            None => return receiving.finish().await.map_err(|error| refused(&error)),
        }
    }
}

async fn give(mut reading: Reading, pieces: mpsc::Sender<Result<v1::FetchCopyResponse, Status>>) {
    while let Some(piece) = reading.next().await {
        let is_last = piece.is_err();
        let piece = piece.map(|data| v1::FetchCopyResponse { data: data.into() }).map_err(|error| Status::unavailable(error.to_string()));
        if pieces.send_timeout(piece, STALL).await.is_err() || is_last {
            return;
        }
    }
}

/// The codes are those that leave the connection alone: a file is no reason to give it up.
fn refused(error: &ShelfError) -> Status {
    match error {
        ShelfError::Room(_) => Status::resource_exhausted(error.to_string()),
        ShelfError::File(FileError::Differs { .. } | FileError::TooLong { .. }) => Status::invalid_argument(error.to_string()),
        ShelfError::Missing | ShelfError::Damaged(_) | ShelfError::File(_) | ShelfError::Dir { .. } => Status::failed_precondition(error.to_string()),
    }
}
