//! The end of the log in memory: what is not on disk yet, so that it can be read at once, and a little of
//! what is, so that followers and the state machine seldom need the disk.

use std::collections::BTreeMap;
use std::ops::Range;

use super::raft::{EntryPayload, LogEntry, LogId, Vote};

/// Bytes of entries that stay in memory after they are on disk.
const KEEP_BYTES: usize = 2 << 20;
/// What an entry weighs besides its payload.
const ENTRY_BYTES: usize = 96;

/// Where the log begins and ends, and its last entries.
#[derive(Debug, Default)]
pub struct Tail {
    entries: BTreeMap<u64, Kept>,
    bytes: usize,
    /// Number of the last batch that was given to the writer.
    batch: u64,
    /// Raised by each cut, so that a read that a cut overtook is noticed.
    pub cuts: u64,
    /// Where the log begins, if that is later than `purged` says.
    begins: u64,
    pub purged: Option<LogId>,
    pub last: Option<LogId>,
    pub vote: Option<Vote>,
}

#[derive(Debug)]
struct Kept {
    entry: LogEntry,
    batch: u64,
}

impl Tail {
    /// The indexes that the log has.
    pub fn range(&self) -> Range<u64> {
        let first = self.purged.map_or(0, |id| id.index + 1).max(self.begins);
        first..self.last.map_or(0, |id| id.index + 1).max(first)
    }

    /// Adds entries to the end, as the next batch for the writer; answers its number.
    pub fn append(&mut self, entries: &[LogEntry]) -> u64 {
        self.batch += 1;
        if let Some(first) = entries.first()
            && self.range().is_empty()
        {
            self.begins = first.log_id.index;
        }
        for entry in entries {
            self.bytes += weight(entry);
            let kept = Kept { entry: entry.clone(), batch: self.batch };
            if let Some(old) = self.entries.insert(entry.log_id.index, kept) {
                self.bytes -= weight(&old.entry);
            }
            self.last = Some(entry.log_id);
        }
        self.batch
    }

    /// All batches up to this one are on disk.
    pub fn flushed(&mut self, batch: u64) {
        while self.bytes > KEEP_BYTES
            && let Some(first) = self.entries.first_entry()
            && first.get().batch <= batch
        {
            self.bytes -= weight(&first.remove().entry);
        }
    }

    /// Nothing after `last` any more.
    pub fn cut(&mut self, last: Option<LogId>) {
        self.cuts += 1;
        let removed = self.entries.split_off(&last.map_or(0, |id| id.index + 1));
        self.bytes -= removed.values().map(|kept| weight(&kept.entry)).sum::<usize>();
        self.last = self.last.min(last);
    }

    /// Nothing up to `upto` any more.
    pub fn purge(&mut self, upto: LogId) {
        let kept = self.entries.split_off(&(upto.index + 1));
        let removed = std::mem::replace(&mut self.entries, kept);
        self.bytes -= removed.values().map(|kept| weight(&kept.entry)).sum::<usize>();
        self.purged = self.purged.max(Some(upto));
        self.last = self.last.max(Some(upto));
    }

    /// The first index from which on everything is here.
    pub fn first_here(&self) -> u64 {
        self.entries.first_key_value().map_or_else(|| self.range().end, |(index, _)| *index)
    }

    pub fn entries(&self, range: Range<u64>) -> Vec<LogEntry> {
        self.entries.range(range).map(|(_, kept)| kept.entry.clone()).collect()
    }
}

fn weight(entry: &LogEntry) -> usize {
    ENTRY_BYTES
        + match &entry.payload {
            EntryPayload::Normal(payload) => payload.0.len(),
            _ => 0,
        }
}
