//! Bytes of the store's own making: fields in a fixed order, little-endian, lengths before what they
//! measure. What is kept on disk is sealed: a format version and a checksum first.
//!
//! A change of layout raises [`FORMAT`]; the tests hold the bytes of this one fast.

use bytes::Bytes;

use super::raft::{EntryPayload, LeaderId, LogEntry, LogId, Membership, Payload, Peer, SnapshotMeta, StoredMembership, Vote};

/// The version this program writes, and the newest that it reads.
pub const FORMAT: u8 = 1;

/// Why bytes are not what they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncodingError {
    #[error("{0} ends too early")]
    Truncated(&'static str),
    #[error("{what} has format {found}, and this program reads up to {FORMAT}")]
    Newer { what: &'static str, found: u8 },
    #[error("the checksum of {0} is wrong")]
    Checksum(&'static str),
    #[error("{0} makes no sense")]
    Invalid(&'static str),
}

/// Collects fields.
#[derive(Debug, Default)]
pub struct Sink {
    bytes: Vec<u8>,
}

impl Sink {
    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }

    pub fn u8(&mut self, value: u8) {
        self.bytes.push(value);
    }

    pub fn u32(&mut self, value: u32) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    pub fn u64(&mut self, value: u64) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    pub fn flag(&mut self, value: bool) {
        self.u8(u8::from(value));
    }

    pub fn raw(&mut self, value: &[u8]) {
        self.bytes.extend_from_slice(value);
    }

    /// Length first. Entries and pieces are far below 4 GiB.
    pub fn blob(&mut self, value: &[u8]) {
        self.u32(u32::try_from(value.len()).unwrap_or(u32::MAX));
        self.raw(value);
    }

    pub fn log_id(&mut self, id: &LogId) {
        self.u64(id.leader_id.term);
        self.u64(id.leader_id.node_id);
        self.u64(id.index);
    }

    pub fn maybe_log_id(&mut self, id: Option<&LogId>) {
        self.flag(id.is_some());
        if let Some(id) = id {
            self.log_id(id);
        }
    }

    pub fn vote(&mut self, vote: &Vote) {
        self.u64(vote.leader_id.term);
        self.u64(vote.leader_id.node_id);
        self.flag(vote.committed);
    }

    pub fn membership(&mut self, membership: &Membership) {
        let configs = membership.get_joint_config();
        self.u32(count(configs.len()));
        for voters in configs {
            self.u32(count(voters.len()));
            for voter in voters {
                self.u64(*voter);
            }
        }
        self.u32(count(membership.nodes().count()));
        for (id, peer) in membership.nodes() {
            self.u64(*id);
            self.blob(peer.address.as_bytes());
        }
    }

    pub fn snapshot_meta(&mut self, meta: &SnapshotMeta) {
        self.maybe_log_id(meta.last_log_id.as_ref());
        self.maybe_log_id(meta.last_membership.log_id().as_ref());
        self.membership(meta.last_membership.membership());
    }

    pub fn entry(&mut self, entry: &LogEntry) {
        self.log_id(&entry.log_id);
        match &entry.payload {
            EntryPayload::Blank => self.u8(0),
            EntryPayload::Normal(payload) => {
                self.u8(1);
                self.blob(&payload.0);
            }
            EntryPayload::Membership(membership) => {
                self.u8(2);
                self.membership(membership);
            }
        }
    }
}

fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

/// Takes fields off the front of bytes. `what` names the whole in errors.
#[derive(Debug)]
pub struct Source {
    what: &'static str,
    bytes: Bytes,
}

impl Source {
    pub fn new(what: &'static str, bytes: Bytes) -> Source {
        Source { what, bytes }
    }

    pub fn what(&self) -> &'static str {
        self.what
    }

    /// Nothing may be left over.
    pub fn finish(self) -> Result<(), EncodingError> {
        if self.bytes.is_empty() { Ok(()) } else { Err(self.invalid()) }
    }

    pub fn invalid(&self) -> EncodingError {
        EncodingError::Invalid(self.what)
    }

    pub fn take(&mut self, length: usize) -> Result<Bytes, EncodingError> {
        if self.bytes.len() < length {
            return Err(EncodingError::Truncated(self.what));
        }
        Ok(self.bytes.split_to(length))
    }

    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], EncodingError> {
        let taken = self.take(N)?;
        <[u8; N]>::try_from(taken.as_ref()).map_err(|_| EncodingError::Truncated(self.what))
    }

    pub fn u8(&mut self) -> Result<u8, EncodingError> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    pub fn u32(&mut self) -> Result<u32, EncodingError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub fn u64(&mut self) -> Result<u64, EncodingError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub fn flag(&mut self) -> Result<bool, EncodingError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(self.invalid()),
        }
    }

    pub fn blob(&mut self) -> Result<Bytes, EncodingError> {
        let length = self.u32()? as usize;
        self.take(length)
    }

    /// A number of things of which each takes at least `least` bytes: a wild number reserves no memory.
    pub fn count(&mut self, least: usize) -> Result<usize, EncodingError> {
        let number = self.u32()? as usize;
        if number.saturating_mul(least) > self.bytes.len() {
            return Err(EncodingError::Truncated(self.what));
        }
        Ok(number)
    }

    pub fn log_id(&mut self) -> Result<LogId, EncodingError> {
        let leader_id = LeaderId { term: self.u64()?, node_id: self.u64()? };
        Ok(LogId { leader_id, index: self.u64()? })
    }

    pub fn maybe_log_id(&mut self) -> Result<Option<LogId>, EncodingError> {
        if self.flag()? { self.log_id().map(Some) } else { Ok(None) }
    }

    pub fn vote(&mut self) -> Result<Vote, EncodingError> {
        let leader_id = LeaderId { term: self.u64()?, node_id: self.u64()? };
        Ok(Vote { leader_id, committed: self.flag()? })
    }

    pub fn membership(&mut self) -> Result<Membership, EncodingError> {
        let configs =
            (0..self.count(4)?).map(|_| (0..self.count(8)?).map(|_| self.u64()).collect::<Result<_, _>>()).collect::<Result<Vec<_>, _>>()?;
        let nodes = (0..self.count(12)?)
            .map(|_| {
                let id = self.u64()?;
                let address = String::from_utf8(self.blob()?.to_vec()).map_err(|_| self.invalid())?;
                Ok((id, Peer { address }))
            })
            .collect::<Result<std::collections::BTreeMap<_, _>, EncodingError>>()?;
        if configs.is_empty() && nodes.is_empty() {
            return Ok(Membership::default());
        }
        Membership::new(configs, nodes).map_err(|_| self.invalid())
    }

    pub fn snapshot_meta(&mut self) -> Result<SnapshotMeta, EncodingError> {
        let last_log_id = self.maybe_log_id()?;
        let membership_log_id = self.maybe_log_id()?;
        Ok(SnapshotMeta { last_log_id, last_membership: StoredMembership::new(membership_log_id, self.membership()?) })
    }

    pub fn entry(&mut self) -> Result<LogEntry, EncodingError> {
        let log_id = self.log_id()?;
        let payload = match self.u8()? {
            0 => EntryPayload::Blank,
            1 => EntryPayload::Normal(Payload(self.blob()?)),
            2 => EntryPayload::Membership(self.membership()?),
            _ => return Err(self.invalid()),
        };
        Ok(LogEntry { log_id, payload })
    }
}

/// Puts a version and a checksum before what is kept on disk. The checksum covers both.
pub fn seal(body: Sink) -> Vec<u8> {
    let body = body.finish();
    let mut sealed = Vec::with_capacity(body.len() + 5);
    sealed.push(FORMAT);
    sealed.extend_from_slice(&checksum(FORMAT, &body).to_le_bytes());
    sealed.extend_from_slice(&body);
    sealed
}

/// The reverse. A newer version is told apart from damage: its checksum, too, must be right.
pub fn unseal(what: &'static str, sealed: Bytes) -> Result<Source, EncodingError> {
    let mut source = Source::new(what, sealed);
    let version = source.u8()?;
    let expected = source.u32()?;
    if checksum(version, &source.bytes) != expected {
        return Err(EncodingError::Checksum(what));
    }
    match version {
        FORMAT => Ok(source),
        0 => Err(EncodingError::Invalid(what)),
        found => Err(EncodingError::Newer { what, found }),
    }
}

fn checksum(version: u8, body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&[version]);
    hasher.update(body);
    hasher.finalize()
}

/// A log record.
pub fn seal_entry(entry: &LogEntry) -> Vec<u8> {
    let mut sink = Sink::default();
    sink.entry(entry);
    seal(sink)
}

/// The log record that should be entry `index`.
pub fn unseal_entry(index: u64, sealed: Bytes) -> Result<LogEntry, EncodingError> {
    let mut source = unseal("a log record", sealed)?;
    let entry = source.entry()?;
    source.finish()?;
    if entry.log_id.index == index { Ok(entry) } else { Err(EncodingError::Invalid("a log record's index")) }
}

pub fn seal_vote(vote: &Vote) -> Vec<u8> {
    let mut sink = Sink::default();
    sink.vote(vote);
    seal(sink)
}

pub fn unseal_vote(sealed: Bytes) -> Result<Vote, EncodingError> {
    let mut source = unseal("the vote", sealed)?;
    let vote = source.vote()?;
    source.finish().map(|()| vote)
}

/// A position in the log: how far it is committed, or purged.
pub fn seal_position(id: Option<&LogId>) -> Vec<u8> {
    let mut sink = Sink::default();
    sink.maybe_log_id(id);
    seal(sink)
}

pub fn unseal_position(sealed: Bytes) -> Result<Option<LogId>, EncodingError> {
    let mut source = unseal("a position in the log", sealed)?;
    let id = source.maybe_log_id()?;
    source.finish().map(|()| id)
}
