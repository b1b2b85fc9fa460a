//! The Raft log: entries, vote, how far it is committed, on disk in one redb file.
//!
//! Reads see an append as soon as it returns, before it is on disk; whoever must know that it is on disk
//! is told by the writer. Every record's checksum is verified when it is read, and all of them at start.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, Range, RangeBounds};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use mainstay_client::failpoint::{Doing, Point};
use mainstay_client::files::Mark;
use mainstay_client::work;
use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use openraft::{OptionalSend, RaftLogReader};
use redb::{Database, ReadableDatabase, ReadableTable};
use tokio::sync::{mpsc, oneshot};

use super::disk::Disk;
use super::encoding::{EncodingError, seal_entry, seal_vote, unseal_entry, unseal_position, unseal_vote};
use super::error::StartError;
use super::failure::Failure;
use super::file::LogFile;
use super::host::{self, Host};
use super::metrics::StoreMetrics;
use super::raft::{EntryPayload, LogEntry, LogId, Types, Vote};
use super::reached::Reached;
use super::tail::Tail;
use super::writer::{COMMITTED, FACTS, LOG, PURGED, QUEUE, VOTE, Write, Writer};

/// Pages of the file that redb may keep in memory. Its own default is 1 GiB.
const CACHE_BYTES: usize = 8 << 20;
/// Bytes after which a read that may be short ends: what one message carries.
const READ_BYTES: usize = 512 << 10;
/// A read that is on its way when the log is closed is waited for: so many looks, so far apart.
const CLOSE_LOOKS: u32 = 200;
const CLOSE_LOOK: Duration = Duration::from_millis(5);

/// The log. A clone is the same log.
#[derive(Clone)]
pub struct LogStore {
    inner: Arc<Inner>,
}

struct Inner {
    file: PathBuf,
    tail: Arc<Mutex<Tail>>,
    /// Gone when the log is closed.
    database: Mutex<Option<Arc<Database>>>,
    queue: mpsc::Sender<Write>,
    failure: Failure,
    committed: Arc<Mutex<Option<LogId>>>,
    bytes: Arc<AtomicU64>,
    appended: AtomicU64,
}

/// What the file holds.
#[derive(Default)]
struct Found {
    tail: Tail,
    committed: Option<LogId>,
    bytes: u64,
}

impl Found {
    fn reached(&self) -> Reached {
        Reached { vote: self.tail.vote, last: self.tail.last }
    }
}

impl LogStore {
    /// Opens the log, verifies all of it, and starts its writer.
    pub async fn open(disk: &Disk, host: &Host, metrics: StoreMetrics, failure: Failure) -> Result<LogStore, StartError> {
        let file = disk.log_file();
        if !disk.is_new() && !host::holds_something(&file) {
            return Err(damaged(&file, "it is missing or empty, though this member has had a log"));
        }
        let doing = Doing::of(Point::LogOpen);
        let backend = LogFile::open(&file, disk.is_new(), doing.clone(), host.clone(), metrics.clone()).map_err(super::disk::disk("open", &file))?;
        let (path, mark_file) = (file.clone(), disk.mark_file());
        let opened = work::blocking(move || open_file(&path, backend, &mark_file)).await;
        // redb may panic where a page makes no sense.
        let (database, found) = opened.unwrap_or_else(|_| Err(damaged(&file, "its pages make no sense")))?;
        let mark = Mark::open(Point::LogMark, &disk.mark_file()).map_err(super::disk::disk("open", &disk.mark_file()))?;
        disk.has_log()?;

        let database = Arc::new(database);
        let reached = found.reached();
        let (end, committed) = (found.tail.range().end, Arc::new(Mutex::new(found.committed)));
        let tail = Arc::new(Mutex::new(found.tail));
        let bytes = Arc::new(AtomicU64::new(found.bytes));
        let (queue, writes) = mpsc::channel(QUEUE);
        let flushed_tail = tail.clone();
        let writer = Writer {
            database: database.clone(),
            file: file.clone(),
            doing,
            mark,
            reached,
            failure: failure.clone(),
            metrics,
            log_bytes: bytes.clone(),
            committed: committed.clone(),
            end,
            without_hint: 0,
            flushed: Box::new(move |batch| lock(&flushed_tail).flushed(batch)),
        };
        work::attend("mainstay-log", writes, writer.begin(), Writer::attend).map_err(super::disk::disk("start the thread that writes", &file))?;
        let inner = Inner { file, tail, database: Mutex::new(Some(database)), queue, failure, committed, bytes, appended: AtomicU64::new(0) };
        Ok(LogStore { inner: Arc::new(inner) })
    }

    /// Bytes of all records in the log.
    pub fn bytes(&self) -> u64 {
        self.inner.bytes.load(Ordering::Relaxed)
    }

    /// Bytes appended since the log was opened.
    pub fn appended_bytes(&self) -> u64 {
        self.inner.appended.load(Ordering::Relaxed)
    }

    /// The first index that the log has, or would have next.
    pub fn first_index(&self) -> u64 {
        lock(&self.inner.tail).range().start
    }

    /// The last entry, on disk or on its way there.
    pub fn last(&self) -> Option<LogId> {
        lock(&self.inner.tail).last
    }

    /// The vote, as it is on disk.
    pub fn vote(&self) -> Option<Vote> {
        lock(&self.inner.tail).vote
    }

    /// Writes what is queued and closes the file. Later reads and writes fail. When this returns, nobody
    /// here touches the file any more, unless a read is stuck on the disk.
    pub async fn close(&self) {
        let open = lock(&self.inner.database).take().map(|database| Arc::downgrade(&database));
        let (done, closed) = oneshot::channel();
        if self.inner.queue.send(Write::Close { done }).await.is_ok() {
            // An error means that the writer has ended already.
            drop(closed.await);
        }
        let Some(open) = open else { return };
        for _ in 0..CLOSE_LOOKS {
            if open.strong_count() == 0 {
                return;
            }
            tokio::time::sleep(CLOSE_LOOK).await;
        }
        tracing::warn!(file = %self.inner.file.display(), "a read of the log is stuck: the file stays open");
    }

    async fn enqueue(&self, write: Write) -> io::Result<()> {
        self.inner.queue.send(write).await.map_err(|_| io::Error::other("the log is closed"))
    }

    async fn read(&self, wanted: Range<u64>, limit: usize) -> io::Result<Vec<LogEntry>> {
        loop {
            let (older, newer, cuts) = {
                let tail = lock(&self.inner.tail);
                let all = tail.range();
                let (start, end) = (wanted.start.max(all.start), wanted.end.min(all.end));
                if start >= end {
                    return Ok(Vec::new());
                }
                let split = tail.first_here().clamp(start, end);
                (start..split, tail.entries(split..end), tail.cuts)
            };
            if older.is_empty() {
                return Ok(up_to(limit, newer));
            }
            let mut entries = self.read_file(older.clone(), limit).await?;
            let (unchanged, first) = {
                let tail = lock(&self.inner.tail);
                (tail.cuts == cuts, tail.range().start)
            };
            // A cut or a purge that came in between: look again.
            if !unchanged || first > older.start {
                continue;
            }
            let complete = entries.len() as u64 == older.end - older.start;
            if complete {
                entries.extend(newer);
            } else if limit == usize::MAX {
                return Err(self.damaged(&format!("entries {} to {} are not all there", older.start, older.end)));
            }
            return Ok(up_to(limit, entries));
        }
    }

    async fn read_file(&self, range: Range<u64>, limit: usize) -> io::Result<Vec<LogEntry>> {
        let database = lock(&self.inner.database).clone().ok_or_else(|| io::Error::other("the log is closed"))?;
        let read = work::blocking(move || read_records(&database, range, limit)).await;
        match read {
            Ok(Ok(entries)) => Ok(entries),
            Ok(Err(ReadFault::Damaged(what))) => Err(self.damaged(&what)),
            Ok(Err(ReadFault::Io(error))) => Err(error),
            Err(_) => Err(self.damaged(&"its pages make no sense")),
        }
    }

    fn damaged(&self, what: &dyn std::fmt::Display) -> io::Error {
        self.inner.failure.damaged(&self.inner.file, what);
        io::Error::new(io::ErrorKind::InvalidData, what.to_string())
    }
}

impl RaftLogReader<Types> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(&mut self, range: RB) -> io::Result<Vec<LogEntry>> {
        self.read(half_open(&range), usize::MAX).await
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<LogEntry>> {
        let entries = self.read(start..end, READ_BYTES).await?;
        // What was purged meanwhile must not look like a log that goes on later.
        let consecutive = entries.first().is_some_and(|first| first.log_id.index == start);
        Ok(if consecutive { entries } else { Vec::new() })
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        Ok(lock(&self.inner.tail).vote)
    }
}

impl RaftLogStorage<Types> for LogStore {
    type LogReader = LogStore;

    async fn get_log_state(&mut self) -> io::Result<LogState<Types>> {
        let tail = lock(&self.inner.tail);
        Ok(LogState { last_purged_log_id: tail.purged, last_log_id: tail.last })
    }

    async fn get_log_reader(&mut self) -> LogStore {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        let (done, saved) = oneshot::channel();
        self.enqueue(Write::Vote { vote: *vote, record: seal_vote(vote), done }).await?;
        saved.await.map_err(|_| io::Error::other("the log is closed"))??;
        lock(&self.inner.tail).vote = Some(*vote);
        Ok(())
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        *lock(&self.inner.committed) = committed;
        Ok(())
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        Ok(*lock(&self.inner.committed))
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> io::Result<()>
    where
        I: IntoIterator<Item = LogEntry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<LogEntry> = entries.into_iter().collect();
        let records: Vec<(u64, Vec<u8>)> = entries.iter().map(|entry| (entry.log_id.index, seal_entry(entry))).collect();
        let bytes: usize = records.iter().map(|(_, record)| record.len()).sum();
        self.inner.appended.fetch_add(bytes as u64, Ordering::Relaxed);
        let batch = lock(&self.inner.tail).append(&entries);
        self.enqueue(Write::Append { batch, records, last: entries.last().map(|entry| entry.log_id), done: callback }).await
    }

    /// Not waited for: what comes later goes to disk later, and until then the old end is as if never cut.
    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> io::Result<()> {
        lock(&self.inner.tail).cut(last_log_id);
        self.enqueue(Write::Cut { last: last_log_id }).await
    }

    /// Not waited for either: until it is on disk, the log is only longer than it needs to be.
    async fn purge(&mut self, log_id: LogId) -> io::Result<()> {
        let purged = {
            let mut tail = lock(&self.inner.tail);
            tail.purge(log_id);
            tail.purged
        };
        self.enqueue(Write::Purge { before: log_id.index + 1, purged }).await
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn half_open(range: &impl RangeBounds<u64>) -> Range<u64> {
    let start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(before) => before.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(last) => last.saturating_add(1),
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    };
    start..end
}

/// As many from the front as weigh no more than `limit`, but one at least.
fn up_to(limit: usize, mut entries: Vec<LogEntry>) -> Vec<LogEntry> {
    let mut bytes = 0;
    let fitting = entries.iter().take_while(|entry| {
        let first = bytes == 0;
        bytes += wire_bytes(entry);
        first || bytes <= limit
    });
    let count = fitting.count();
    entries.truncate(count);
    entries
}

/// About what an entry takes in a message.
pub fn wire_bytes(entry: &LogEntry) -> usize {
    match &entry.payload {
        EntryPayload::Normal(payload) => payload.0.len() + 32,
        EntryPayload::Blank => 32,
        EntryPayload::Membership(_) => 4 << 10,
    }
}

enum ReadFault {
    Damaged(String),
    Io(io::Error),
}

impl From<EncodingError> for ReadFault {
    fn from(error: EncodingError) -> ReadFault {
        ReadFault::Damaged(error.to_string())
    }
}

impl From<redb::Error> for ReadFault {
    fn from(error: redb::Error) -> ReadFault {
        match error {
            redb::Error::Io(error) => ReadFault::Io(error),
            redb::Error::Corrupted(what) => ReadFault::Damaged(what),
            other => ReadFault::Io(io::Error::other(other)),
        }
    }
}

/// Consecutive entries from the start of `range`, until one is missing or they weigh more than `limit`.
fn read_records(database: &Database, range: Range<u64>, limit: usize) -> Result<Vec<LogEntry>, ReadFault> {
    let transaction = database.begin_read().map_err(redb::Error::from)?;
    let log = transaction.open_table(LOG).map_err(redb::Error::from)?;
    let mut entries = Vec::new();
    let mut bytes = 0usize;
    for (expected, record) in range.clone().zip(log.range(range).map_err(redb::Error::from)?) {
        let (index, record) = record.map_err(redb::Error::from)?;
        if index.value() != expected || bytes > limit {
            break;
        }
        let entry = unseal_entry(expected, Bytes::copy_from_slice(record.value()))?;
        bytes = bytes.saturating_add(wire_bytes(&entry));
        entries.push(entry);
    }
    Ok(entries)
}

fn open_file(file: &Path, backend: LogFile, mark: &Path) -> Result<(Database, Found), StartError> {
    let database = Database::builder()
        .set_cache_size(CACHE_BYTES)
        .set_check_integrity_on_open(true)
        .create_with_backend(backend)
        .map_err(|error| open_error(file, error.into()))?;
    make_tables(&database).map_err(|error| open_error(file, error))?;
    let found = match verify(&database) {
        Ok(found) => found,
        Err(Unverified::Redb(error)) => return Err(open_error(file, error)),
        Err(Unverified::Record(EncodingError::Newer { found, .. })) => {
            return Err(StartError::Newer { file: file.to_owned(), found: found.into(), known: super::encoding::FORMAT.into() });
        }
        Err(Unverified::Record(error)) => return Err(damaged(file, &error.to_string())),
        Err(Unverified::Hole(index)) => return Err(damaged(file, &format!("entry {index} is missing"))),
    };
    found.reached().is_as_far_as(mark).map_err(|what| damaged(file, &what))?;
    Ok((database, found))
}

fn open_error(file: &Path, error: redb::Error) -> StartError {
    match error {
        redb::Error::Io(error) if error.kind() == io::ErrorKind::InvalidData => damaged(file, &error.to_string()),
        redb::Error::Io(source) => StartError::Disk { doing: "open", path: file.to_owned(), source },
        redb::Error::DatabaseAlreadyOpen => StartError::InUse { dir: file.to_owned() },
        redb::Error::UpgradeRequired(found) => damaged(file, &format!("its redb format {found} is not one that this program reads")),
        other => damaged(file, &other.to_string()),
    }
}

fn damaged(file: &Path, what: &str) -> StartError {
    StartError::Damaged { file: file.to_owned(), what: what.to_owned() }
}

fn make_tables(database: &Database) -> Result<(), redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_two_phase_commit(true);
    transaction.open_table(LOG)?;
    transaction.open_table(FACTS)?;
    transaction.commit()?;
    Ok(())
}

enum Unverified {
    Redb(redb::Error),
    Record(EncodingError),
    Hole(u64),
}

impl<E: Into<redb::Error>> From<E> for Unverified {
    fn from(error: E) -> Unverified {
        Unverified::Redb(error.into())
    }
}

/// Reads everything once.
fn verify(database: &Database) -> Result<Found, Unverified> {
    let transaction = database.begin_read()?;
    let facts = transaction.open_table(FACTS)?;
    let fact = |key: &str| -> Result<Option<Bytes>, Unverified> { Ok(facts.get(key)?.map(|record| Bytes::copy_from_slice(record.value()))) };
    let position =
        |key: &str| -> Result<Option<LogId>, Unverified> { Ok(fact(key)?.map(unseal_position).transpose().map_err(Unverified::Record)?.flatten()) };
    let mut found = Found { committed: position(COMMITTED)?, ..Found::default() };
    found.tail.vote = fact(VOTE)?.map(unseal_vote).transpose().map_err(Unverified::Record)?;
    found.tail.purged = position(PURGED)?;
    found.tail.last = found.tail.purged;
    let first = found.tail.range().start;
    for (expected, record) in (first..).zip(transaction.open_table(LOG)?.iter()?) {
        let (index, record) = record?;
        if index.value() != expected {
            return Err(Unverified::Hole(expected));
        }
        let entry = unseal_entry(expected, Bytes::copy_from_slice(record.value())).map_err(Unverified::Record)?;
        found.bytes += record.value().len() as u64;
        found.tail.last = Some(entry.log_id);
    }
    Ok(found)
}
