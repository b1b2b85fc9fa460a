//! What members say to each other, as bytes. Every call begins with a format version and whom it is for.

use bytes::Bytes;
use mainstay_core::MemberId;
use openraft::raft::TransferLeaderError;

use super::encoding::{EncodingError, FORMAT, Sink, Source};
use super::raft::{AppendRequest, AppendResponse, LogId, TransferRequest, TransferResponse, Vote, VoteRequest, VoteResponse};

/// Whom a call is for and whom it is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Envelope {
    pub to: MemberId,
    pub from: MemberId,
}

/// Something that crosses the wire.
pub trait Message: Sized {
    const WHAT: &'static str;
    fn put(&self, sink: &mut Sink);
    fn get(source: &mut Source) -> Result<Self, EncodingError>;
}

/// A call.
pub fn encode_call<M: Message>(envelope: Envelope, message: &M) -> Bytes {
    let mut sink = Sink::default();
    sink.u8(FORMAT);
    sink.u64(envelope.to.0);
    sink.u64(envelope.from.0);
    message.put(&mut sink);
    sink.finish().into()
}

/// Opens a call as far as its envelope.
pub fn open_call(body: Bytes) -> Result<(Envelope, Source), EncodingError> {
    let mut source = Source::new("a call", body);
    check_version(&mut source)?;
    let envelope = Envelope { to: MemberId(source.u64()?), from: MemberId(source.u64()?) };
    Ok((envelope, source))
}

/// The rest of a call.
pub fn decode_call<M: Message>(mut source: Source) -> Result<M, EncodingError> {
    let message = M::get(&mut source)?;
    source.finish().map(|()| message)
}

pub fn encode_answer<M: Message>(message: &M) -> Bytes {
    let mut sink = Sink::default();
    sink.u8(FORMAT);
    message.put(&mut sink);
    sink.finish().into()
}

pub fn decode_answer<M: Message>(body: Bytes) -> Result<M, EncodingError> {
    let mut source = Source::new(M::WHAT, body);
    check_version(&mut source)?;
    let message = M::get(&mut source)?;
    source.finish().map(|()| message)
}

fn check_version(source: &mut Source) -> Result<(), EncodingError> {
    match source.u8()? {
        FORMAT => Ok(()),
        0 => Err(source.invalid()),
        found => Err(EncodingError::Newer { what: source.what(), found }),
    }
}

/// Entries, or none.
#[derive(Debug, Clone)]
pub struct Append {
    /// It tells that the leader leads, and its `prev_log_id` is not a guess but what this member has
    /// acknowledged to this very leader.
    pub heartbeat: bool,
    pub request: AppendRequest,
}

impl Message for Append {
    const WHAT: &'static str = "an append";

    fn put(&self, sink: &mut Sink) {
        let request = &self.request;
        sink.flag(self.heartbeat);
        sink.vote(&request.vote);
        sink.maybe_log_id(request.prev_log_id.as_ref());
        sink.maybe_log_id(request.leader_commit.as_ref());
        sink.u32(u32::try_from(request.entries.len()).unwrap_or(u32::MAX));
        for entry in &request.entries {
            sink.entry(entry);
        }
    }

    fn get(source: &mut Source) -> Result<Self, EncodingError> {
        let heartbeat = source.flag()?;
        let vote = source.vote()?;
        let prev_log_id = source.maybe_log_id()?;
        let leader_commit = source.maybe_log_id()?;
        let entries = (0..source.count(25)?).map(|_| source.entry()).collect::<Result<_, _>>()?;
        Ok(Append { heartbeat, request: AppendRequest { vote, prev_log_id, entries, leader_commit } })
    }
}

impl Message for AppendResponse {
    const WHAT: &'static str = "an answer to an append";

    fn put(&self, sink: &mut Sink) {
        match self {
            AppendResponse::Success => sink.u8(0),
            AppendResponse::PartialSuccess(upto) => {
                sink.u8(1);
                sink.maybe_log_id(upto.as_ref());
            }
            AppendResponse::Conflict => sink.u8(2),
            AppendResponse::HigherVote(vote) => {
                sink.u8(3);
                sink.vote(vote);
            }
        }
    }

    fn get(source: &mut Source) -> Result<Self, EncodingError> {
        Ok(match source.u8()? {
            0 => AppendResponse::Success,
            1 => AppendResponse::PartialSuccess(source.maybe_log_id()?),
            2 => AppendResponse::Conflict,
            3 => AppendResponse::HigherVote(source.vote()?),
            _ => return Err(source.invalid()),
        })
    }
}

impl Message for VoteRequest {
    const WHAT: &'static str = "a request for a vote";

    fn put(&self, sink: &mut Sink) {
        sink.vote(&self.vote);
        sink.maybe_log_id(self.last_log_id.as_ref());
        sink.flag(self.leadership_transfer);
    }

    fn get(source: &mut Source) -> Result<Self, EncodingError> {
        let mut request = VoteRequest::new(source.vote()?, source.maybe_log_id()?);
        request.leadership_transfer = source.flag()?;
        Ok(request)
    }
}

impl Message for VoteResponse {
    const WHAT: &'static str = "an answer to a request for a vote";

    fn put(&self, sink: &mut Sink) {
        sink.vote(&self.vote);
        sink.flag(self.vote_granted);
        sink.maybe_log_id(self.last_log_id.as_ref());
    }

    fn get(source: &mut Source) -> Result<Self, EncodingError> {
        Ok(VoteResponse { vote: source.vote()?, vote_granted: source.flag()?, last_log_id: source.maybe_log_id()? })
    }
}

impl Message for TransferRequest {
    const WHAT: &'static str = "a transfer of leadership";

    fn put(&self, sink: &mut Sink) {
        sink.vote(self.from_leader());
        sink.u64(*self.to_node_id());
        sink.maybe_log_id(self.last_log_id());
    }

    fn get(source: &mut Source) -> Result<Self, EncodingError> {
        Ok(TransferRequest::new(source.vote()?, source.u64()?, source.maybe_log_id()?))
    }
}

impl Message for TransferResponse {
    const WHAT: &'static str = "an answer to a transfer of leadership";

    fn put(&self, sink: &mut Sink) {
        match self {
            Ok(()) => sink.u8(0),
            Err(TransferLeaderError::VoteChanged { expected, actual }) => {
                sink.u8(1);
                sink.vote(expected);
                sink.vote(actual);
            }
            Err(TransferLeaderError::LogNotFlushed { expected, actual }) => {
                sink.u8(2);
                sink.maybe_log_id(expected.as_ref());
                sink.maybe_log_id(actual.as_ref());
            }
        }
    }

    fn get(source: &mut Source) -> Result<Self, EncodingError> {
        Ok(match source.u8()? {
            0 => Ok(()),
            1 => Err(TransferLeaderError::VoteChanged { expected: source.vote()?, actual: source.vote()? }),
            2 => Err(TransferLeaderError::LogNotFlushed { expected: source.maybe_log_id()?, actual: source.maybe_log_id()? }),
            _ => return Err(source.invalid()),
        })
    }
}

/// One piece of a snapshot file. The first three fields are the same in every piece of one transfer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    pub vote: Vote,
    /// What the snapshot ends with.
    pub last: Option<LogId>,
    /// Bytes of the whole file.
    pub total: u64,
    /// Checksum of the state in it, which makes two files of one length different.
    pub digest: [u8; 32],
    /// Where in the file this piece begins.
    pub offset: u64,
    pub data: Bytes,
}

impl Message for Piece {
    const WHAT: &'static str = "a piece of a snapshot";

    fn put(&self, sink: &mut Sink) {
        sink.vote(&self.vote);
        sink.maybe_log_id(self.last.as_ref());
        sink.u64(self.total);
        sink.raw(&self.digest);
        sink.u64(self.offset);
        sink.blob(&self.data);
    }

    fn get(source: &mut Source) -> Result<Self, EncodingError> {
        Ok(Piece {
            vote: source.vote()?,
            last: source.maybe_log_id()?,
            total: source.u64()?,
            digest: source.array()?,
            offset: source.u64()?,
            data: source.blob()?,
        })
    }
}

/// What the receiver of a piece says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PieceAnswer {
    /// It has the file up to here: go on from there, forward or back.
    Have(u64),
    /// It is done with this snapshot: installed, or not wanted because of a higher vote.
    Done(Vote),
}

impl Message for PieceAnswer {
    const WHAT: &'static str = "an answer to a piece of a snapshot";

    fn put(&self, sink: &mut Sink) {
        match self {
            PieceAnswer::Have(offset) => {
                sink.u8(0);
                sink.u64(*offset);
            }
            PieceAnswer::Done(vote) => {
                sink.u8(1);
                sink.vote(vote);
            }
        }
    }

    fn get(source: &mut Source) -> Result<Self, EncodingError> {
        Ok(match source.u8()? {
            0 => PieceAnswer::Have(source.u64()?),
            1 => PieceAnswer::Done(source.vote()?),
            _ => return Err(source.invalid()),
        })
    }
}

/// "Could you lead?" has no content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadinessQuestion;

impl Message for ReadinessQuestion {
    const WHAT: &'static str = "a question for readiness";

    fn put(&self, _: &mut Sink) {}

    fn get(_: &mut Source) -> Result<Self, EncodingError> {
        Ok(ReadinessQuestion)
    }
}

/// Whether the member could lead: there is room on its disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Readiness(pub bool);

impl Message for Readiness {
    const WHAT: &'static str = "an answer to a question for readiness";

    fn put(&self, sink: &mut Sink) {
        sink.flag(self.0);
    }

    fn get(source: &mut Source) -> Result<Self, EncodingError> {
        source.flag().map(Readiness)
    }
}

/// "Do you still lead in this term?"
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeadsQuestion {
    pub term: u64,
}

impl Message for LeadsQuestion {
    const WHAT: &'static str = "a question for leadership";

    fn put(&self, sink: &mut Sink) {
        sink.u64(self.term);
    }

    fn get(source: &mut Source) -> Result<Self, EncodingError> {
        source.u64().map(|term| LeadsQuestion { term })
    }
}

/// Whether the member leads in that term. One that does not never will again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leads(pub bool);

impl Message for Leads {
    const WHAT: &'static str = "an answer to a question for leadership";

    fn put(&self, sink: &mut Sink) {
        sink.flag(self.0);
    }

    fn get(source: &mut Source) -> Result<Self, EncodingError> {
        source.flag().map(Leads)
    }
}
