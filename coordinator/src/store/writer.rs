//! The one thread that writes the log: it takes whatever waits, in order, makes one transaction of it, and
//! syncs once. What it could not write it never tries again.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use mainstay_client::failpoint::{Doing, Point};
use mainstay_client::files::Mark;
use openraft::storage::IOFlushed;
use redb::{Database, Durability, ReadableTable, TableDefinition, WriteTransaction};
use tokio::sync::{mpsc, oneshot};

use super::encoding::seal_position;
use super::failure::Failure;
use super::metrics::StoreMetrics;
use super::raft::{LogId, Types, Vote};
use super::reached::Reached;

pub const LOG: TableDefinition<u64, &[u8]> = TableDefinition::new("log");
pub const FACTS: TableDefinition<&str, &[u8]> = TableDefinition::new("facts");
pub const VOTE: &str = "vote";
pub const COMMITTED: &str = "committed";
pub const PURGED: &str = "purged";

/// Writes that may wait. Proposals are bounded before they come here; this bounds what a leader sends.
pub const QUEUE: usize = 8_192;
/// Writes of one transaction.
const BATCH: usize = 1_024;
/// Bytes of one transaction, unless a single write is longer.
const BATCH_BYTES: usize = 4 << 20;
/// Batches of which one takes the hint along of how far the log is committed. It lies in pages of its own, which
/// each batch would write anew; without it a member applies at its start what its leader tells it is committed. It
/// may be lost, and so nobody is woken to write it.
const HINT_EVERY: u32 = 64;

/// One write. Order is kept.
pub enum Write {
    Append {
        batch: u64,
        records: Vec<(u64, Vec<u8>)>,
        /// The last of them.
        last: Option<LogId>,
        done: IOFlushed<Types>,
    },
    Vote {
        vote: Vote,
        record: Vec<u8>,
        done: oneshot::Sender<io::Result<()>>,
    },
    /// Removes everything behind this entry.
    Cut {
        last: Option<LogId>,
    },
    /// Removes everything before this index.
    Purge {
        before: u64,
        purged: Option<LogId>,
    },
    /// Writes what is left and ends the thread.
    Close {
        done: oneshot::Sender<()>,
    },
}

impl Write {
    fn bytes(&self) -> usize {
        match self {
            Write::Append { records, .. } => records.iter().map(|(_, record)| record.len()).sum(),
            _ => 64,
        }
    }

    /// The index after the last one of a log that ended with `end` before.
    fn end_after(&self, end: u64) -> u64 {
        match self {
            Write::Append { records, .. } => records.last().map_or(end, |(index, _)| index + 1),
            Write::Cut { last } => end.min(first_behind(*last)),
            Write::Purge { before, .. } => end.max(*before),
            Write::Vote { .. } | Write::Close { .. } => end,
        }
    }

    fn point(&self) -> Point {
        match self {
            Write::Append { .. } => Point::LogAppend,
            Write::Vote { .. } => Point::LogVote,
            Write::Cut { .. } => Point::LogCut,
            Write::Purge { .. } => Point::LogPurge,
            Write::Close { .. } => Point::LogClose,
        }
    }
}

/// What it works with.
pub struct Writer {
    pub database: Arc<Database>,
    pub file: PathBuf,
    /// What the writes to the file count for.
    pub doing: Doing,
    /// Says how far the log has been on the disk.
    pub mark: Mark,
    pub reached: Reached,
    pub failure: Failure,
    pub metrics: StoreMetrics,
    /// Bytes of all records in the log.
    pub log_bytes: Arc<AtomicU64>,
    /// How far the log is committed, as it is known now.
    pub committed: Arc<Mutex<Option<LogId>>>,
    /// The index after the last one that is on disk.
    pub end: u64,
    /// Batches since the last hint.
    pub without_hint: u32,
    /// Called with the number of the last batch that is on disk.
    pub flushed: Box<dyn Fn(u64) + Send>,
}

impl Writer {
    /// Before the first write.
    #[must_use]
    pub fn begin(self) -> Writer {
        self.set_mark();
        self
    }

    /// Writes what waits in the queue, the first of which is given. The writer of a log that was closed with it is gone.
    pub fn attend(mut self, first: Write, queue: &mut mpsc::Receiver<Write>) -> Option<Writer> {
        let batch = gather(first, queue);
        let closing = batch.iter().any(|write| matches!(write, Write::Close { .. }));
        self.end = batch.iter().fold(self.end, |end, write| write.end_after(end));
        self.without_hint += 1;
        let hint = self.hint().filter(|_| closing || self.without_hint >= HINT_EVERY);
        if hint.is_some() {
            self.without_hint = 0;
        }
        let written = match self.failure.reason() {
            // A clean end still writes; any other has left the file in doubt.
            Some(reason) if reason != super::error::StopReason::Asked => Err(io::Error::other(reason.to_string())),
            _ => self.lower_mark(&batch).and_then(|()| self.write(&batch, hint)).inspect_err(|error| self.failure.write_failed(&self.file, error)),
        };
        if written.is_ok() {
            batch.iter().for_each(|write| self.reached.count(write));
            self.set_mark();
        }
        let closed = self.answer(batch, &written);
        if closing {
            drop(self);
            closed.into_iter().for_each(|done| done.send(()).unwrap_or_default());
            return None;
        }
        Some(self)
    }

    /// What the file may say is committed: a majority may have what is not on this disk yet, and a log that is shorter
    /// than it says would not be believed.
    fn hint(&self) -> Option<LogId> {
        let committed = *self.committed.lock().unwrap_or_else(PoisonError::into_inner);
        committed.filter(|id| id.index < self.end)
    }

    /// Before entries go: they are not missed when they are gone.
    fn lower_mark(&mut self, batch: &[Write]) -> io::Result<()> {
        if !batch.iter().any(|write| matches!(write, Write::Cut { .. })) {
            return Ok(());
        }
        for write in batch {
            if let Write::Cut { last } = write {
                self.reached.last = self.reached.last.min(*last);
            }
        }
        self.mark.write(&self.reached.encode())
    }

    /// Without a mark, damage at the very end of the log is not told from a write that was cut off: no reason to stop.
    fn set_mark(&self) {
        if let Err(error) = self.mark.write(&self.reached.encode()) {
            tracing::warn!(%error, "how far the log is on the disk cannot be marked");
        }
    }

    fn write(&self, batch: &[Write], committed: Option<LogId>) -> io::Result<()> {
        let mut added = 0;
        let mut removed = 0;
        let mut entries = 0;
        let mut transaction = self.database.begin_write().map_err(io::Error::other)?;
        transaction.set_durability(Durability::Immediate).map_err(io::Error::other)?;
        // With one phase, a vote with a damaged byte would be taken for one that a crash cut off. Entries are many, and
        // their mark tells; a vote is rare, and must be safe also where a power cut took the mark.
        transaction.set_two_phase_commit(batch.iter().any(|write| matches!(write, Write::Vote { .. })));
        let mut points: Vec<Point> = batch.iter().map(Write::point).collect();
        points.dedup();
        self.doing.now(&points);
        {
            let mut log = transaction.open_table(LOG).map_err(io::Error::other)?;
            for write in batch {
                match write {
                    Write::Append { records, .. } => {
                        for (index, record) in records {
                            let replaced = log.insert(index, record.as_slice()).map_err(io::Error::other)?;
                            removed += replaced.map_or(0, |old| old.value().len() as u64);
                            added += record.len() as u64;
                            entries += 1;
                        }
                    }
                    Write::Vote { record, .. } => {
                        note(&transaction, VOTE, record)?;
                    }
                    Write::Cut { last } => removed += remove(&mut log, first_behind(*last)..)?,
                    Write::Purge { before, purged } => {
                        removed += remove(&mut log, ..*before)?;
                        note(&transaction, PURGED, &seal_position(purged.as_ref()))?;
                    }
                    Write::Close { .. } => {}
                }
            }
            if committed.is_some() {
                note(&transaction, COMMITTED, &seal_position(committed.as_ref()))?;
            }
        }
        transaction.commit().map_err(io::Error::other)?;
        let before = self.log_bytes.load(Ordering::Relaxed);
        self.log_bytes.store((before + added).saturating_sub(removed), Ordering::Relaxed);
        self.metrics.batch_entries.observe(f64::from(entries));
        Ok(())
    }

    /// Tells everybody, except those who wait for the end: they are told when the file is closed.
    fn answer(&self, batch: Vec<Write>, written: &io::Result<()>) -> Vec<oneshot::Sender<()>> {
        let mut closed = Vec::new();
        let result = || match written {
            Ok(()) => Ok(()),
            Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
        };
        for write in batch {
            match write {
                Write::Append { batch, done, .. } => {
                    if written.is_ok() {
                        (self.flushed)(batch);
                    }
                    done.io_completed(result());
                }
                // Whoever waited may have given up.
                Write::Vote { done, .. } => drop(done.send(result())),
                Write::Close { done } => closed.push(done),
                Write::Cut { .. } | Write::Purge { .. } => {}
            }
        }
        closed
    }
}

fn gather(first: Write, queue: &mut mpsc::Receiver<Write>) -> Vec<Write> {
    let mut bytes = first.bytes();
    let mut batch = vec![first];
    while batch.len() < BATCH
        && bytes < BATCH_BYTES
        && let Ok(next) = queue.try_recv()
    {
        bytes += next.bytes();
        batch.push(next);
    }
    batch
}

/// Opens the table of facts only where there is one to write: opened, it is written.
/// The first index behind an entry.
fn first_behind(last: Option<LogId>) -> u64 {
    last.map_or(0, |id| id.index + 1)
}

fn note(transaction: &WriteTransaction, key: &str, record: &[u8]) -> io::Result<()> {
    let mut facts = transaction.open_table(FACTS).map_err(io::Error::other)?;
    facts.insert(key, record).map(drop).map_err(io::Error::other)
}

fn remove(log: &mut redb::Table<'_, u64, &[u8]>, range: impl std::ops::RangeBounds<u64> + Clone) -> io::Result<u64> {
    let bytes = log
        .range(range.clone())
        .map_err(io::Error::other)?
        .map(|record| record.map(|(_, record)| record.value().len() as u64))
        .sum::<Result<u64, _>>()
        .map_err(io::Error::other)?;
    log.retain_in(range, |_, _| false).map_err(io::Error::other)?;
    Ok(bytes)
}
