//! How far a log has been on the disk: its vote and its last entry, as the [mark](mainstay_client::files::Mark) says.
//!
//! The log's file is made for crashes: of two commits it takes the newer one that is whole. Were a byte of the newest
//! one damaged, it would take the one before, and a vote or entries that others count on would be gone without a word.

use std::path::Path;

use bytes::Bytes;
use mainstay_client::files::Mark;

use super::encoding::{EncodingError, Sink, Source};
use super::raft::{LogId, Vote};
use super::writer::Write;

/// What has been on the disk. Both only grow, except that a cut takes entries away.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Reached {
    pub vote: Option<Vote>,
    pub last: Option<LogId>,
}

impl Reached {
    /// What is on the disk after this write, too.
    pub fn count(&mut self, write: &Write) {
        match write {
            Write::Append { last, .. } => self.last = self.last.max(*last),
            Write::Vote { vote, .. } => self.vote = Some(*vote),
            Write::Purge { purged, .. } => self.last = self.last.max(*purged),
            Write::Cut { last } => self.last = *last,
            Write::Close { .. } => {}
        }
    }

    /// What a mark says.
    pub fn encode(&self) -> Vec<u8> {
        let mut sink = Sink::default();
        sink.flag(self.vote.is_some());
        if let Some(vote) = &self.vote {
            sink.vote(vote);
        }
        sink.maybe_log_id(self.last.as_ref());
        sink.finish()
    }

    fn decode(said: Vec<u8>) -> Result<Reached, EncodingError> {
        let mut source = Source::new("a mark", Bytes::from(said));
        let vote = if source.flag()? { Some(source.vote()?) } else { None };
        let last = source.maybe_log_id()?;
        source.finish().map(|()| Reached { vote, last })
    }

    /// Whether a log that has come so far lacks nothing that the mark in this file knows of; what it lacks otherwise.
    pub fn is_as_far_as(&self, mark: &Path) -> Result<(), String> {
        let said = Mark::read(mark).map_err(|error| format!("{} beside it cannot be read: {error}", mark.display()))?;
        // A mark that this program cannot read is of another version, and says nothing to it.
        let Some(Ok(known)) = said.map(Reached::decode) else { return Ok(()) };
        if self.vote < known.vote {
            return Err(format!("its vote is {}, and was {} before", or_none(&self.vote), or_none(&known.vote)));
        }
        if self.last < known.last {
            return Err(format!("it ends with entry {}, and has ended with {} before", or_none(&self.last), or_none(&known.last)));
        }
        Ok(())
    }
}

fn or_none(value: &Option<impl ToString>) -> String {
    value.as_ref().map_or_else(|| "none".to_owned(), ToString::to_string)
}

#[cfg(test)]
mod tests {
    use mainstay_client::failpoint::Point;

    use super::*;
    use crate::store::raft::LeaderId;

    fn reached(term: u64, entry: Option<(u64, u64)>) -> Reached {
        let leader = |term| LeaderId { term, node_id: 7 };
        Reached {
            vote: Some(Vote { leader_id: leader(term), committed: true }),
            last: entry.map(|(term, index)| LogId { leader_id: leader(term), index }),
        }
    }

    #[test]
    fn what_a_log_lacks_is_told() {
        let dir = tempfile::TempDir::new().unwrap();
        let path = dir.path().join("mark");
        assert_eq!(Reached::default().is_as_far_as(&path), Ok(()), "without a mark");
        let mark = Mark::open(Point::LogMark, &path).unwrap();
        for known in [Reached::default(), reached(3, None), reached(3, Some((2, 10)))] {
            mark.write(&known.encode()).unwrap();
            assert_eq!(known.is_as_far_as(&path), Ok(()), "{known:?}");
        }
        for enough in [reached(3, Some((2, 11))), reached(4, Some((2, 10))), reached(4, Some((3, 9)))] {
            assert_eq!(enough.is_as_far_as(&path), Ok(()), "{enough:?}");
        }
        for (less, lacks) in [
            (reached(2, Some((2, 10))), "its vote is"),
            (Reached { vote: None, ..reached(3, Some((2, 10))) }, "its vote is none"),
            (reached(3, Some((2, 9))), "it ends with entry"),
            (reached(3, None), "it ends with entry none"),
        ] {
            let told = less.is_as_far_as(&path).unwrap_err();
            assert!(told.starts_with(lacks), "{less:?}: {told}");
        }
        mark.write(b"something newer").unwrap();
        assert_eq!(Reached::default().is_as_far_as(&path), Ok(()));
    }
}
