//! A file from wherever there is a good copy: this member's shelf first, then the others'.

use std::time::Duration;

use bytes::Bytes;
use mainstay_client::files::{Content, Reading};
use mainstay_core::MemberId;
use mainstay_core::artifact::Artifact;
use mainstay_proto::v1;
use mainstay_proto::v1::copies_client::CopiesClient;
use tonic::Streaming;

use super::{Artifacts, recorded};
use crate::store::TransportError;

/// For another member to have read and verified the file.
const OPEN: Duration = Duration::from_secs(10);
/// How long another member may take for a piece.
const STALL: Duration = Duration::from_secs(15);

/// No member has a good copy that can be had now.
#[derive(Debug, Default, thiserror::Error)]
#[error("no member that answers has a good copy: {}", why.join("; "))]
pub struct NoCopy {
    pub why: Vec<String>,
    /// A member that should have one does not answer.
    pub may_come_back: bool,
}

/// A file that is being read, here or there.
pub enum FileSource {
    Here(Reading),
    There(Box<Streaming<v1::FetchCopyResponse>>),
}

impl FileSource {
    /// The next piece; nothing at the end. Whoever gets the last piece verifies the whole.
    pub async fn next(&mut self) -> Option<Result<Bytes, String>> {
        match self {
            FileSource::Here(reading) => Some(reading.next().await?.map_err(|error| error.to_string())),
            FileSource::There(pieces) => match tokio::time::timeout(STALL, pieces.message()).await {
                Ok(Ok(piece)) => piece.map(|piece| Ok(piece.data.into())),
                Ok(Err(status)) => Some(Err(status.message().to_owned())),
                Err(_) => Some(Err(format!("nothing more came within {STALL:?}"))),
            },
        }
    }
}

impl Artifacts {
    /// Reads a file that is recorded.
    pub async fn read(&self, artifact: &Artifact) -> Result<FileSource, NoCopy> {
        let content = recorded(artifact);
        let here = match self.shelf.read(content).await {
            Ok(reading) => return Ok(FileSource::Here(reading)),
            Err(error) => format!("{}: {error}", self.name(self.consensus.member())),
        };
        let fetched = self.fetch(content, artifact.stored_on.iter().copied()).await;
        fetched.map(FileSource::There).map_err(|none| NoCopy { why: std::iter::once(here).chain(none.why).collect(), ..none })
    }

    /// Asks the others for a file, one after the other, until one has a good copy.
    pub(super) async fn fetch(
        &self,
        content: Content,
        from: impl Iterator<Item = MemberId>,
    ) -> Result<Box<Streaming<v1::FetchCopyResponse>>, NoCopy> {
        let mut none = NoCopy::default();
        for member in from.filter(|member| *member != self.consensus.member()) {
            let Some(peer) = self.peer(member) else { continue };
            let request = v1::FetchCopyRequest { sha256: content.sha256.to_string(), bytes: content.bytes };
            match self.peers.open(&peer.address, OPEN, |channel| async move { CopiesClient::new(channel).fetch(request).await }).await {
                Ok(pieces) => return Ok(Box::new(pieces)),
                Err(error) => {
                    none.may_come_back |= !matches!(error, TransportError::Refused(_));
                    none.why.push(format!("{}: {error}", self.name(member)));
                }
            }
        }
        Err(none)
    }
}
