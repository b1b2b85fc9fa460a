//! A database by several connections at a time: faster than one, and no transaction any more.
//!
//! ```text
//! one part       ─▶ scratch, every checksum compared ─▶ pg_restore --jobs
//! several parts:
//!   schema ─▶ scratch ─▶ pg_restore: before the data
//!   data-1, data-2, … ─▶ a pg_restore each, from the stream
//!             scratch ─▶ pg_restore --jobs: after the data
//! ```
//!
//! `pg_restore` wants a file in which it can go to and fro. That file has no name: it is gone with who has it open, however
//! that one ends, and nobody else finds it.
#![allow(clippy::disallowed_methods, reason = "this module writes to a file without a name")]

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use futures::future::BoxFuture;
use futures::{StreamExt, TryStreamExt, stream};
use tokio::io::{AsyncWriteExt, BufReader};

use super::super::PlaceError;
use super::super::some::Tables as Chosen;
use super::dump::{Dump, Plain};
use super::{Options, Seen, is_taken, quoted, seen};
use crate::manifest::Part;
use crate::pipe::CHUNK;
use crate::seam;
use crate::source::postgres::{Connection, program};

/// Connections at a time, at most.
pub const JOBS_MAX: u8 = 16;
/// As a program opens what is its input anew: it goes to and fro in it then, and so does each of its children for itself.
const INPUT: &str = "/dev/stdin";

/// How it is restored by several connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parallel {
    /// Connections at a time, from 2 to [`JOBS_MAX`].
    pub jobs: u8,
    /// A directory of a file system with room for [`room`].
    pub scratch: PathBuf,
}

/// Bytes of scratch space that it takes: the whole archive, or only what is defined, where the data are in parts of their own.
#[must_use]
pub fn room(dump: &Dump<'_>) -> u64 {
    let (Dump::One(part) | Dump::Several { schema: part, .. }) = dump;
    part.plain.bytes
}

/// Restores a backup of a database into one that is there and empty.
///
/// # Errors
/// When it is not empty, or anything at all could not be restored. They say whether something is there then.
pub async fn restore_parallel<'m>(
    dump: &Dump<'m>,
    open: impl Fn(&'m Part) -> BoxFuture<'m, io::Result<Plain>>,
    into: &Connection,
    programs: Option<&Path>,
    options: &Options,
    how: &Parallel,
) -> Result<(), PlaceError> {
    let wrong = |said: &dyn std::fmt::Display| PlaceError::new(into.to_string(), said);
    let own = seen(into, programs).await?.own;
    if own != 0 {
        return Err(wrong(&is_taken(own)));
    }
    let (Dump::One(first) | Dump::Several { schema: first, .. }) = dump;
    let archive = async { written(open(first).await?, &how.scratch).await }.await;
    let archive = archive.map_err(|error| wrong(&format!("{error}; nothing was touched")))?;
    let by = Restorer { into, programs, options };
    let restored = async {
        let Dump::Several { data, .. } = dump else { return by.file(&archive, &[], how.jobs).await };
        by.file(&archive, &["--section=pre-data"], 1).await?;
        let (by, open) = (&by, &open);
        let part = |part: &'m Part| async move {
            let plain = open(part).await.map_err(|error| error.to_string())?;
            by.stream(plain).await
        };
        // Made before they are waited for: a closure that is held meanwhile would have to be one for every lifetime.
        let parts: Vec<_> = data.iter().copied().map(part).collect();
        stream::iter(parts).buffer_unordered(usize::from(how.jobs)).try_collect::<()>().await?;
        by.file(&archive, &["--section=post-data"], how.jobs).await
    };
    let outcome: Result<(), String> = restored.await;
    let Err(error) = outcome else { return Ok(()) };
    let left = match seen(into, programs).await {
        Ok(Seen { own, .. }) => format!("what had been made of it until then is there, {own} tables and other objects"),
        Err(_) => "some of it may be there".to_owned(),
    };
    Err(wrong(&format!("{error}; it is not restored, and {left}: make the database anew (dropdb, createdb)")))
}

/// What is read, in a file without a name, once it was read to its end and is what was written.
async fn written(plain: Plain, scratch: &Path) -> io::Result<File> {
    let said = |error: io::Error| io::Error::new(error.kind(), format!("scratch space in {}: {error}", scratch.display()));
    let dir = scratch.to_owned();
    let file = seam::blocking(move || tempfile::tempfile_in(dir)).await.map_err(io::Error::other)?.map_err(said)?;
    let mut file = tokio::fs::File::from_std(file);
    let mut plain = BufReader::with_capacity(CHUNK, plain);
    let is_full = |error: &io::Error| matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
    let copied = tokio::io::copy_buf(&mut plain, &mut file).await;
    copied.map_err(|error| if is_full(&error) { said(error) } else { error })?;
    file.flush().await.map_err(said)?;
    Ok(file.into_std().await)
}

/// Calls `pg_restore` in turns.
struct Restorer<'r> {
    into: &'r Connection,
    programs: Option<&'r Path>,
    options: &'r Options,
}

impl Restorer<'_> {
    /// Of the file, by so many connections.
    async fn file(&self, archive: &File, more: &[&str], jobs: u8) -> Result<(), String> {
        let jobs = format!("--jobs={jobs}");
        let program = self.program(&[&[jobs.as_str()], more, &[INPUT]].concat())?;
        let archive = archive.try_clone().map_err(|error| error.to_string())?;
        program.print_of(archive).await.map(drop).map_err(|error| error.to_string())
    }

    /// Of what is read, by one connection in one transaction.
    async fn stream(&self, plain: Plain) -> Result<(), String> {
        let program = self.program(&["--single-transaction"])?;
        program.feed(plain).await.map(drop).map_err(|error| error.to_string())
    }

    fn program(&self, more: &[&str]) -> Result<crate::child::Program, String> {
        let tables = self.options.tables.as_ref().map(Chosen::arguments).unwrap_or_default();
        let database = format!("--dbname={}", quoted(&self.into.database));
        let mut arguments = vec!["--exit-on-error", &database];
        if self.options.without_owners {
            arguments.extend(["--no-owner", "--no-privileges"]);
        }
        arguments.extend(tables.iter().map(String::as_str));
        arguments.extend(more);
        program(self.into, self.programs, "pg_restore", &arguments, self.options.deadline)
    }
}
