//! Files of steps: stored by agents, read by operators, listed, forgotten.
//!
//! ```text
//!  Put   header ─▶ would the state take it? ─▶ "send" ─▶ pieces ─▶ a majority has it ─▶ RecordArtifact ─▶ "stored"
//!  Get   record of the state ─▶ a good copy, here or at another member ─▶ what it is, then its pieces
//! ```

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mainstay_core::artifact::{Artifact, ArtifactFile, ArtifactKind};
use mainstay_core::authz::{Method, Subject};
use mainstay_core::state::artifact::ArtifactKey;
use mainstay_core::{AttemptId, Command, Identity, LedgerId, MemberId, Refusal, RunId, State};
use mainstay_proto::convert::{InvalidMessage, artifact_to_wire, file_from_wire, parsed};
use mainstay_proto::v1;
use mainstay_proto::v1::artifact_part::Part as GetPart;
use mainstay_proto::v1::put_artifact_request::Part as PutPart;
use mainstay_proto::v1::put_artifact_response::Answer;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::agents::{belongs, own};
use super::front::{Front, request_key};
use super::status;
use crate::artifacts::{FileSource, NoCopy, Source, UploadError, announced};
use crate::leader::Office;

/// For the first message of an upload.
const HEADER: Duration = Duration::from_secs(10);
/// How long an agent may take for its next piece, or a reader to take one.
const STALL: Duration = Duration::from_secs(30);
/// Messages on their way to one caller.
const OUTGOING: usize = 2;

pub struct ArtifactsApi(pub Arc<Front>);

type Answers<T> = ReceiverStream<Result<T, Status>>;

#[tonic::async_trait]
impl v1::artifacts_server::Artifacts for ArtifactsApi {
    type PutStream = Answers<v1::PutArtifactResponse>;

    async fn put(&self, request: Request<Streaming<v1::PutArtifactRequest>>) -> Result<Response<Self::PutStream>, Status> {
        let agent = own(&request)?;
        let (office, by) = self.0.lead(&request, Method::PutArtifact, Subject::Agent(&agent))?;
        let mut incoming = request.into_inner();
        let first = tokio::time::timeout(HEADER, incoming.message()).await;
        let first = first.map_err(|_| Status::deadline_exceeded(format!("nothing was announced within {HEADER:?}")))??;
        let Some(PutPart::Header(header)) = first.and_then(|first| first.part) else {
            return Err(Status::invalid_argument("the first message of an upload says what comes"));
        };
        let v1::PutArtifactHeader { attempt, ledger, file } = header;
        let attempt: AttemptId = parsed("attempt", &attempt).map_err(status::invalid)?;
        belongs(&office, attempt, &agent)?;
        let file = file.ok_or_else(|| status::invalid(InvalidMessage::new("file", "is missing")))?;
        let file = file_from_wire(&file).map_err(status::invalid)?;
        let upload = Upload { front: self.0.clone(), office, by, attempt, ledger: LedgerId(ledger), file };
        // What could not be recorded is not transferred either.
        self.0
            .rehearse(&upload.office, upload.by.clone(), upload.record([self.0.consensus.member()].into()))
            .inspect_err(|_| self.0.artifacts.metrics().uploaded("refused"))?;
        let (answers, stream) = mpsc::channel(OUTGOING);
        tokio::spawn(upload.run(incoming, answers));
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    type GetStream = Answers<v1::ArtifactPart>;

    async fn get(&self, request: Request<v1::GetArtifactRequest>) -> Result<Response<Self::GetStream>, Status> {
        let (office, state) = self.0.read(&request, Method::ReadArtifact).await?;
        let v1::GetArtifactRequest { run, attempt, name } = request.get_ref();
        let run: RunId = parsed("run", run).map_err(status::invalid)?;
        let attempt: AttemptId = parsed("attempt", attempt).map_err(status::invalid)?;
        let key = ArtifactKey { attempt, name: parsed("name", name).map_err(status::invalid)? };
        let missing = || Refusal::NotFound {
            what: format!("artifact {} of attempt {attempt} in {run}", key.name),
            hint: format!("see `mainstay run artifacts {run}`"),
        };
        let artifact = state.artifacts.get(&run, &key).ok_or_else(|| status::refused(missing()))?;
        if artifact.file.kind == ArtifactKind::Undo
            && let Some(made) = state.attempts.get(&attempt)
        {
            self.0.permit(&request, Method::ReadUndoData, Subject::Agent(&made.agent), &state)?;
        }
        Ok(self.give(&office, &run, &key, artifact, &state))
    }

    type GetUndoStream = Answers<v1::ArtifactPart>;

    async fn get_undo(&self, request: Request<v1::GetUndoRequest>) -> Result<Response<Self::GetUndoStream>, Status> {
        let agent = own(&request)?;
        let (office, _) = self.0.lead(&request, Method::ReadUndoData, Subject::Agent(&agent))?;
        // "There is none" must be true: a step that believes it looks at what it has changed itself.
        self.0.confirmed(&office).await?;
        let state = office.state();
        let id: AttemptId = parsed("attempt", &request.get_ref().attempt).map_err(status::invalid)?;
        belongs(&office, id, &agent)?;
        let asked = state.attempts.get(&id).filter(|attempt| attempt.has_begun());
        let asked = asked.ok_or_else(|| Status::failed_precondition(format!("attempt {id} is not begun and open")))?;
        let none = || Refusal::NotFound { what: format!("undo data of {}/{} on {}", asked.run, asked.step, asked.target), hint: String::new() };
        let (key, artifact) = state.undo_data_for(id).ok_or_else(|| status::refused(none()))?;
        let made = state.attempts.get(&key.attempt).ok_or_else(|| status::refused(none()))?;
        self.0.permit(&request, Method::ReadUndoData, Subject::Agent(&made.agent), &state)?;
        Ok(self.give(&office, &asked.run, key, artifact, &state))
    }

    async fn list(&self, request: Request<v1::ListArtifactsRequest>) -> Result<Response<v1::ListArtifactsResponse>, Status> {
        let (_, state) = self.0.read(&request, Method::Look).await?;
        let id: RunId = parsed("run", &request.get_ref().run).map_err(status::invalid)?;
        let missing = || status::refused(Refusal::NotFound { what: format!("run {id}"), hint: "see `mainstay run list`".into() });
        let run = state.runs.get(&id).ok_or_else(missing)?;
        let place = |step: &str| run.plan.steps.iter().position(|known| known.name.as_str() == step);
        let files = state.artifacts.by_run.get(&id).into_iter().flat_map(|run| run.files.iter());
        let mut artifacts: Vec<v1::Artifact> = files.map(|(key, artifact)| artifact_to_wire(&id, key, artifact, &state)).collect();
        // Within a step and target they are in the order of attempts and names already.
        artifacts.sort_by_cached_key(|artifact| (place(&artifact.step), artifact.target.clone()));
        Ok(Response::new(v1::ListArtifactsResponse { artifacts }))
    }

    async fn forget(&self, request: Request<v1::ForgetArtifactRequest>) -> Result<Response<v1::ForgetArtifactResponse>, Status> {
        let (office, by) = self.0.lead(&request, Method::ForgetArtifact, Subject::None)?;
        let key = request_key(&request)?;
        let v1::ForgetArtifactRequest { run, attempt, name, dry_run } = request.into_inner();
        let run = parsed("run", &run).map_err(status::invalid)?;
        let attempt = parsed("attempt", &attempt).map_err(status::invalid)?;
        let command = Command::ForgetArtifact { run, attempt, name: parsed("name", &name).map_err(status::invalid)? };
        self.0.change(&office, by, key, command, dry_run).await?;
        Ok(Response::new(v1::ForgetArtifactResponse {}))
    }
}

impl ArtifactsApi {
    /// Answers with a file. To find a good copy and to verify it may take a while; that the answer comes does not.
    fn give(&self, office: &Office, run: &RunId, key: &ArtifactKey, artifact: &Artifact, state: &State) -> Response<Answers<v1::ArtifactPart>> {
        let head = v1::ArtifactPart { part: Some(GetPart::Artifact(artifact_to_wire(run, key, artifact, state))) };
        let what = format!("{} of attempt {}", key.name, key.attempt);
        let (artifacts, artifact) = (self.0.artifacts.clone(), artifact.clone());
        let (parts, stream) = mpsc::channel(OUTGOING);
        let ended = office.ended().clone();
        tokio::spawn(async move {
            let giving = async {
                match artifacts.read(&artifact).await {
                    Ok(source) => pump(source, head, parts).await,
                    // Whoever asked and is gone by now does not mind.
                    Err(none) => drop(parts.send(Err(no_copy(&what, &none))).await),
                }
            };
            ended.run_until_cancelled(giving).await;
        });
        Response::new(ReceiverStream::new(stream))
    }
}

fn no_copy(what: &str, none: &NoCopy) -> Status {
    if none.may_come_back {
        Status::unavailable(format!("{what} cannot be read now: {none}"))
    } else {
        Status::data_loss(format!("{what} is lost: {none}"))
    }
}

/// Hands a file on as fast as it is taken.
async fn pump(mut source: FileSource, head: v1::ArtifactPart, parts: mpsc::Sender<Result<v1::ArtifactPart, Status>>) {
    let mut next = Some(Ok(head));
    while let Some(part) = next {
        let is_last = part.is_err();
        if parts.send_timeout(part, STALL).await.is_err() || is_last {
            return;
        }
        next = source.next().await.map(|piece| match piece {
            Ok(data) => Ok(v1::ArtifactPart { part: Some(GetPart::Data(data.into())) }),
            Err(error) => Err(Status::unavailable(format!("the file cannot be read on: {error}; try again"))),
        });
    }
}

/// One upload that may go on.
struct Upload {
    front: Arc<Front>,
    office: Arc<Office>,
    by: Identity,
    attempt: AttemptId,
    ledger: LedgerId,
    file: ArtifactFile,
}

impl Upload {
    fn record(&self, stored_on: BTreeSet<MemberId>) -> Command {
        Command::RecordArtifact {
            attempt: self.attempt,
            ledger: self.ledger.clone(),
            file: self.file.clone(),
            stored_on,
            room: self.front.artifacts.max_bytes(),
        }
    }

    async fn run(self, incoming: Streaming<v1::PutArtifactRequest>, answers: mpsc::Sender<Result<v1::PutArtifactResponse, Status>>) {
        let ended = self.office.ended().clone();
        let is_undo_data = self.file.kind == ArtifactKind::Undo;
        let mut sender = Sender { incoming, answers: answers.clone(), looks_for_encryption: is_undo_data };
        let stored = ended.run_until_cancelled(self.take_in(&mut sender)).await;
        let stored = stored.unwrap_or_else(|| Err(status::not_leader("the leader has changed: repeat the upload at the new one", None)));
        let metrics = self.front.artifacts.metrics();
        match &stored {
            Ok(_) => metrics.uploaded("stored"),
            Err(status) => {
                metrics.uploaded("failed");
                tracing::info!(attempt = %self.attempt, name = %self.file.name, error = status.message(), "an upload came to nothing");
            }
        }
        let answer = stored.map(|copies| v1::PutArtifactResponse { answer: Some(Answer::Stored(v1::ArtifactStored { copies })) });
        // Whoever is gone by now asks again.
        let _ = answers.send_timeout(answer, STALL).await;
    }

    async fn take_in(&self, sender: &mut Sender) -> Result<u32, Status> {
        let taken = self.front.artifacts.take_in(announced(&self.file), sender).await;
        let stored_on = taken.map_err(|error| match error {
            UploadError::Source(status) => status,
            UploadError::Content(_) => Status::invalid_argument(error.to_string()),
            UploadError::TooFew { full: true, .. } => Status::resource_exhausted(error.to_string()),
            UploadError::Busy | UploadError::TooFew { .. } => Status::unavailable(error.to_string()),
        })?;
        let copies = u32::try_from(stored_on.len()).unwrap_or(u32::MAX);
        self.front.propose(&self.office, self.by.clone(), None, self.record(stored_on)).await?;
        Ok(copies)
    }
}

/// The agent's end of an upload.
struct Sender {
    incoming: Streaming<v1::PutArtifactRequest>,
    answers: mpsc::Sender<Result<v1::PutArtifactResponse, Status>>,
    /// The next piece is the first of undo data.
    looks_for_encryption: bool,
}

impl Source for Sender {
    type Error = Status;

    async fn begin(&mut self) -> Result<(), Status> {
        let send = v1::PutArtifactResponse { answer: Some(Answer::Send(v1::SendFile {})) };
        self.answers.send_timeout(Ok(send), STALL).await.map_err(|_| Status::cancelled("the agent does not listen any more"))
    }

    async fn next(&mut self) -> Result<Option<Bytes>, Status> {
        let part = tokio::time::timeout(STALL, self.incoming.message()).await;
        let part = part.map_err(|_| Status::deadline_exceeded(format!("no piece came within {STALL:?}")))??;
        let Some(part) = part else { return Ok(None) };
        let Some(PutPart::Data(data)) = part.part else { return Err(Status::invalid_argument("after the announcement there is only data")) };
        if std::mem::take(&mut self.looks_for_encryption) && !data.starts_with(ENCRYPTED) {
            return Err(Status::invalid_argument("undo data is taken in the age format only: encrypt it with the agent's own key"));
        }
        Ok(Some(data.into()))
    }
}

/// How every file in the age format begins.
const ENCRYPTED: &[u8] = b"age-encryption.org/v1\n";
