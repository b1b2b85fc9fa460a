//! The file: two tables, one for the ledger itself and one for attempts; and the mark beside it.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use mainstay_client::failpoint::{Doing, Point};
use mainstay_core::id::{AttemptId, LedgerId, Serial};
use mainstay_core::reconcile::LedgerState;
use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition};

use super::record::{self, Head};
use super::storage::Storage;
use super::written::Written;
use super::{LedgerError, Version};

/// A ledger is small, and redb's own default is a gigabyte.
const CACHE_BYTES: usize = 1 << 20;

const HEAD: TableDefinition<'static, &'static str, &'static [u8]> = TableDefinition::new("head");
const HEAD_KEY: &str = "ledger";
const ATTEMPTS: TableDefinition<'static, (u64, u64), &'static [u8]> = TableDefinition::new("attempts");

#[derive(Debug)]
pub(super) struct File {
    database: Database,
    path: PathBuf,
    id: LedgerId,
    /// What the writes to the file count for.
    doing: Doing,
    written: Mutex<Written>,
}

pub(super) struct Contents {
    pub head: Head,
    pub entries: BTreeMap<AttemptId, LedgerState>,
}

impl File {
    /// Opens and checks every page and record, or makes a new one.
    pub fn open(path: &Path, fresh: LedgerId) -> Result<(File, Contents), LedgerError> {
        // The store promises an error for damage, and panics where it did not think of it.
        let doing = Doing::of(Point::LedgerOpen);
        let opened = catch_unwind(AssertUnwindSafe(|| {
            let database = Database::builder()
                .set_cache_size(CACHE_BYTES)
                .set_check_integrity_on_open(true)
                .create_with_backend(Storage::open(path, doing.clone()).map_err(|error| LedgerError::of("open", path, error))?)
                .map_err(|error| LedgerError::of("open", path, error))?;
            let contents = contents(&database, path, fresh)?;
            let written = Mutex::new(Written::open(path, &contents.head)?);
            doing.now(&[Point::LedgerClose]);
            Ok((File { database, path: path.to_owned(), id: contents.head.id.clone(), doing, written }, contents))
        }));
        opened.unwrap_or_else(|_| Err(LedgerError::Damaged { path: path.to_owned(), what: "its structure makes no sense".into() }))
    }

    /// One transaction, on disk when this returns. `None` takes an attempt out.
    pub fn write(&self, seen: Version, changes: &[(AttemptId, Option<&LedgerState>)]) -> Result<(), LedgerError> {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let head = Head { id: self.id.clone(), incarnation: seen.incarnation, generation: seen.generation, writes: written.writes + 1 };
        self.doing.now(&[changes.first().map_or(Point::LedgerSeen, |(_, state)| point(*state))]);
        write(&self.database, &self.path, &head, changes)?;
        self.doing.now(&[Point::LedgerClose]);
        written.count(&head);
        Ok(())
    }
}

fn point(state: Option<&LedgerState>) -> Point {
    match state {
        Some(LedgerState::Accepted) => Point::LedgerAccept,
        Some(LedgerState::Begun) => Point::LedgerBegin,
        Some(LedgerState::Ended(_)) => Point::LedgerEnd,
        None => Point::LedgerForget,
    }
}

fn contents(database: &Database, path: &Path, fresh: LedgerId) -> Result<Contents, LedgerError> {
    let head = match head(database, path)? {
        Some(head) => head,
        None => {
            let head = Head { id: fresh, incarnation: 0, generation: 0, writes: 0 };
            write(database, path, &head, &[])?;
            head
        }
    };
    Ok(Contents { head, entries: entries(database, path)? })
}

fn head(database: &Database, path: &Path) -> Result<Option<Head>, LedgerError> {
    let transaction = database.begin_read().map_err(|error| LedgerError::of("read", path, error))?;
    let table = match transaction.open_table(HEAD) {
        Ok(table) => table,
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
        Err(error) => return Err(LedgerError::of("read", path, error)),
    };
    let bytes = table.get(HEAD_KEY).map_err(|error| LedgerError::of("read", path, error))?;
    // The table and its only record are made in one transaction.
    let bytes = bytes.ok_or_else(|| LedgerError::Damaged { path: path.to_owned(), what: "it does not say which one it is".into() })?;
    record::decode(bytes.value()).map(Some).map_err(|error| LedgerError::of_record(path, "its head", error))
}

fn entries(database: &Database, path: &Path) -> Result<BTreeMap<AttemptId, LedgerState>, LedgerError> {
    let read = |error: redb::Error| LedgerError::of("read", path, error);
    let transaction = database.begin_read().map_err(|error| read(error.into()))?;
    let table = transaction.open_table(ATTEMPTS).map_err(|error| read(error.into()))?;
    let mut entries = BTreeMap::new();
    for entry in table.iter().map_err(|error| read(error.into()))? {
        let (key, value) = entry.map_err(|error| read(error.into()))?;
        let (incarnation, counter) = key.value();
        let attempt = AttemptId(Serial { incarnation, counter });
        let state = record::decode(value.value()).map_err(|error| LedgerError::of_record(path, &format!("attempt {attempt}"), error))?;
        entries.insert(attempt, state);
    }
    Ok(entries)
}

fn write(database: &Database, path: &Path, head: &Head, changes: &[(AttemptId, Option<&LedgerState>)]) -> Result<(), LedgerError> {
    let wrong = |error: redb::Error| LedgerError::of("write", path, error);
    let mut transaction = database.begin_write().map_err(|error| wrong(error.into()))?;
    transaction.set_durability(Durability::Immediate).map_err(|error| wrong(error.into()))?;
    // With one phase, damage to the newest commit would be healed by going back to the one before it.
    transaction.set_two_phase_commit(true);
    {
        let mut table = transaction.open_table(HEAD).map_err(|error| wrong(error.into()))?;
        let bytes = record::encode(head).map_err(|error| LedgerError::of_record(path, "its head", error))?;
        table.insert(HEAD_KEY, bytes.as_slice()).map_err(|error| wrong(error.into()))?;
        let mut table = transaction.open_table(ATTEMPTS).map_err(|error| wrong(error.into()))?;
        for (AttemptId(serial), state) in changes {
            let key = (serial.incarnation, serial.counter);
            match state {
                None => table.remove(key).map_err(|error| wrong(error.into()))?,
                Some(state) => {
                    let bytes =
                        record::encode(state).map_err(|error| LedgerError::of_record(path, &format!("attempt {}", AttemptId(*serial)), error))?;
                    table.insert(key, bytes.as_slice()).map_err(|error| wrong(error.into()))?
                }
            };
        }
    }
    transaction.commit().map_err(|error| wrong(error.into()))
}
