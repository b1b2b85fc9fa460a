//! Files to and from the mesh, in pieces: at any time a few of them are in memory.
//!
//! A transfer goes over one connection and is not taken up in its middle. It ends in time or with an error
//! that says whether trying again may help; what is stored is named by its content, so that repeating is harmless.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use mainstay_core::artifact::FileDigest;
use mainstay_proto::v1::artifact_part::Part as GetPart;
use mainstay_proto::v1::artifacts_client::ArtifactsClient;
use mainstay_proto::v1::put_artifact_request::Part as PutPart;
use mainstay_proto::v1::put_artifact_response::Answer;
use mainstay_proto::{LEADER_HEADER, v1};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Status, Streaming};

use super::{MESSAGE_MAX, Mesh, WATCH};
use crate::error::{CallError, is_broken_connection};
use crate::files::{FileError, Reading};

/// How long a transfer may stand still. A member that takes a file in syncs disks before it answers.
const STALL: Duration = Duration::from_secs(30);
/// Pieces that wait for the connection.
const PIECES_WAITING: usize = 2;

/// Why a file did not get there, or not from there.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    #[error(transparent)]
    Call(#[from] CallError),
    /// The file at this end.
    #[error(transparent)]
    File(#[from] FileError),
    #[error("what arrived is not what was stored: {0}; try again")]
    Differs(String),
}

impl TransferError {
    /// Whether the same may succeed later without anybody doing anything about it.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            TransferError::Call(error) => error.is_transient(),
            TransferError::File(_) => false,
            TransferError::Differs(_) => true,
        }
    }
}

/// An upload that a member has agreed to.
struct Upload {
    /// Until the file has been sent.
    outgoing: Option<mpsc::Sender<v1::PutArtifactRequest>>,
    answers: Streaming<v1::PutArtifactResponse>,
}

/// A file on its way here. Whoever reads it to its end has had it verified.
pub struct Download {
    artifact: v1::Artifact,
    parts: Streaming<v1::ArtifactPart>,
    bytes: u64,
    hasher: Sha256,
}

impl Mesh {
    /// Stores a file of an attempt. The header says what the file is; a file that is something else is refused.
    ///
    /// # Errors
    /// Also when the connection or the leader went away in the middle; then nothing is recorded, or all of it.
    pub async fn put_artifact(&self, header: v1::PutArtifactHeader, file: &Path) -> Result<v1::ArtifactStored, TransferError> {
        let mut upload = self.open_upload(&header).await?;
        loop {
            match timely(upload.answers.message()).await? {
                Some(v1::PutArtifactResponse { answer: Some(Answer::Stored(stored)) }) => return Ok(stored),
                Some(answer) => {
                    if let Some(outgoing) = upload.outgoing.take_if(|_| matches!(answer.answer, Some(Answer::Send(_)))) {
                        send(outgoing, file).await?;
                    }
                }
                None => return Err(CallError::NoLeader { message: "the upload ended without an answer".into() }.into()),
            }
        }
    }

    async fn open_upload(&self, header: &v1::PutArtifactHeader) -> Result<Upload, CallError> {
        self.call(WATCH, header, |channel, request| async move {
            let (metadata, extensions, header) = request.into_parts();
            let (outgoing, stream) = mpsc::channel(PIECES_WAITING);
            // An empty queue that its receiver is at hand for takes it.
            let _ = outgoing.try_send(v1::PutArtifactRequest { part: Some(PutPart::Header(header)) });
            let request = Request::from_parts(metadata, extensions, ReceiverStream::new(stream));
            let answers = ArtifactsClient::new(channel).put(request).await?;
            Ok(answers.map(|answers| Upload { outgoing: Some(outgoing), answers }))
        })
        .await
    }

    /// A file that a step left.
    pub async fn get_artifact(&self, request: v1::GetArtifactRequest) -> Result<Download, CallError> {
        let opened = self.call(WATCH, &request, |channel, request| async move {
            ArtifactsClient::new(channel).max_decoding_message_size(MESSAGE_MAX).get(request).await
        });
        Download::begin(opened.await?).await
    }

    /// The undo data of the step that an attempt of the caller's own is at.
    pub async fn get_undo(&self, request: v1::GetUndoRequest) -> Result<Download, CallError> {
        let opened = self.call(WATCH, &request, |channel, request| async move {
            ArtifactsClient::new(channel).max_decoding_message_size(MESSAGE_MAX).get_undo(request).await
        });
        Download::begin(opened.await?).await
    }
}

impl Download {
    async fn begin(mut parts: Streaming<v1::ArtifactPart>) -> Result<Download, CallError> {
        match timely(parts.message()).await? {
            Some(v1::ArtifactPart { part: Some(GetPart::Artifact(artifact)) }) => Ok(Download { artifact, parts, bytes: 0, hasher: Sha256::new() }),
            _ => Err(CallError::Refused { code: Code::Internal, message: "the mesh did not say which file it sends".into() }),
        }
    }

    /// What is on its way.
    #[must_use]
    pub fn artifact(&self) -> &v1::Artifact {
        &self.artifact
    }

    /// The next piece; nothing after the last, when all that came is what was stored.
    ///
    /// # Errors
    /// When the rest does not come, or what came is something else.
    pub async fn next(&mut self) -> Result<Option<Bytes>, TransferError> {
        loop {
            match timely(self.parts.message()).await? {
                Some(v1::ArtifactPart { part: Some(GetPart::Data(data)) }) => {
                    self.bytes += data.len() as u64;
                    self.hasher.update(&data);
                    if self.bytes > self.artifact.bytes {
                        return Err(self.differs());
                    }
                    return Ok(Some(data.into()));
                }
                Some(_) => {}
                None => {
                    let whole = self.digest() == self.artifact.sha256 && self.bytes == self.artifact.bytes;
                    return if whole { Ok(None) } else { Err(self.differs()) };
                }
            }
        }
    }

    fn digest(&self) -> String {
        FileDigest(self.hasher.clone().finalize().into()).to_string()
    }

    fn differs(&self) -> TransferError {
        let v1::Artifact { name, bytes, sha256, .. } = &self.artifact;
        TransferError::Differs(format!("{name} has {bytes} bytes with SHA-256 {sha256}, and {} with {} came", self.bytes, self.digest()))
    }
}

/// Sends the whole file, and with its end says that this is all. A mesh that does not take it on says why in
/// its answers.
async fn send(outgoing: mpsc::Sender<v1::PutArtifactRequest>, file: &Path) -> Result<(), TransferError> {
    let mut reading = Reading::open(file.to_owned()).await?;
    while let Some(piece) = reading.next().await {
        let part = v1::PutArtifactRequest { part: Some(PutPart::Data(piece?.into())) };
        match outgoing.send_timeout(part, STALL).await {
            Ok(()) => {}
            Err(mpsc::error::SendTimeoutError::Closed(_)) => break,
            Err(mpsc::error::SendTimeoutError::Timeout(_)) => return Err(CallError::DeadlineExceeded(STALL).into()),
        }
    }
    Ok(())
}

async fn timely<T>(message: impl Future<Output = Result<Option<T>, Status>>) -> Result<Option<T>, CallError> {
    match tokio::time::timeout(STALL, message).await {
        Ok(answer) => answer.map_err(|status| broken_off(&status)),
        Err(_) => Err(CallError::DeadlineExceeded(STALL)),
    }
}

/// A status in the middle of a transfer: the connection or the leader is gone, or the answer is no.
fn broken_off(status: &Status) -> CallError {
    match status.code() {
        Code::Unavailable if status.metadata().contains_key(LEADER_HEADER) => CallError::NoLeader { message: status.message().to_owned() },
        _ if is_broken_connection(status) => CallError::NoLeader { message: format!("the connection broke: {}", status.message()) },
        code => CallError::Refused { code, message: status.message().to_owned() },
    }
}
