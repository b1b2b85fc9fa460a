//! A database by `pg_restore`, from the stream, in one transaction: a restore that fails leaves nothing, and says so.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tokio::io::AsyncRead;

use super::PlaceError;
use super::some::Tables as Chosen;
use crate::source::postgres::rows::{self, Compare, OWN, Tables};
use crate::source::postgres::{Connection, ask, program, queries};

mod dump;
mod parallel;

pub use dump::{Dump, Plain, restore_dump, stored};
pub use parallel::{JOBS_MAX, Parallel, room};

/// How it is restored.
#[derive(Debug, Clone)]
pub struct Options {
    /// All objects belong to who restores, and rights are left out: where the roles are not there.
    pub without_owners: bool,
    /// After this it is ended, and undone by the server.
    pub deadline: Duration,
    /// These alone, without what belongs to them: keys, indexes, rights to sequences.
    pub tables: Option<Chosen>,
    /// By several connections at a time, which is no transaction any more; by one in one transaction where there is nothing.
    pub parallel: Option<Parallel>,
}

/// Restores a stream of `pg_dump` into a database that is there and empty.
///
/// # Errors
/// When it is not empty, or anything at all could not be restored; nothing is there then that was not before.
pub async fn restore(from: impl AsyncRead + Unpin, into: &Connection, programs: Option<&Path>, options: &Options) -> Result<(), PlaceError> {
    let wrong = |said: &dyn std::fmt::Display| PlaceError::new(into.to_string(), said);
    let Seen { own, .. } = seen(into, programs).await?;
    if own != 0 {
        return Err(wrong(&is_taken(own)));
    }
    // A list of what is wrong is of no use where nothing stays of what is right.
    let mut arguments = vec!["--single-transaction", "--exit-on-error"];
    if options.without_owners {
        arguments.extend(["--no-owner", "--no-privileges"]);
    }
    let tables = options.tables.as_ref().map(Chosen::arguments).unwrap_or_default();
    arguments.extend(tables.iter().map(String::as_str));
    // pg_restore writes a script unless it is told where to.
    let database = format!("--dbname={}", quoted(&into.database));
    arguments.push(&database);
    let program = program(into, programs, "pg_restore", &arguments, options.deadline).map_err(|error| wrong(&error))?;
    program.feed(from).await.map(drop).map_err(|error| wrong(&format!("{error}; nothing of it was restored")))
}

/// Holds a restored database against what was counted when it was dumped; what differs, in words.
///
/// # Errors
/// When it cannot be asked, or the manifest does not say what there was.
pub async fn compare(counted: &Value, with: &Connection, programs: Option<&Path>, deadline: Duration) -> Result<Vec<String>, PlaceError> {
    let wrong = |said: &dyn std::fmt::Display| PlaceError::new(with.to_string(), said);
    let was: Tables = serde_json::from_value(counted.clone()).map_err(|error| wrong(&format!("what was counted is not understood: {error}")))?;
    let by = if was.values().any(|table| table.sum.is_some()) { Compare::Content } else { Compare::Rows };
    let is = rows::count(with, programs, by, deadline).await.map_err(|error| wrong(&error))?;
    Ok(rows::compare(&was, &is))
}

/// Asks a restored database what of the user's own was asked when it was dumped; what differs, in words.
///
/// # Errors
/// When it cannot be asked, or the manifest does not say what was answered.
pub async fn compare_queries(answers: &Value, with: &Connection, programs: Option<&Path>, deadline: Duration) -> Result<Vec<String>, PlaceError> {
    queries::differs(answers, with, programs, deadline).await.map_err(|error| PlaceError::new(with.to_string(), error))
}

/// What a database is, where a backup is to be put into it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ready {
    /// It is empty.
    Empty,
    /// An earlier try has restored this backup into it.
    Restored,
    /// An earlier try had begun with this backup, and something is there: it is what was restored if it is the same, and
    /// somebody else's if it is not.
    Begun,
}

/// What a database has.
struct Seen {
    /// Tables and other objects that are not the server's own.
    own: u64,
    /// What is said of it as a whole, where a restore leaves its mark.
    comment: String,
}

/// Which of these a database is for a backup, or a part of one, by the name under which it is marked: [`super::named`].
///
/// # Errors
/// When something is in it that is not of this backup, or it cannot be asked.
pub async fn ready(into: &Connection, programs: Option<&Path>, what: &str) -> Result<Ready, PlaceError> {
    let Seen { own, comment } = seen(into, programs).await?;
    judged(own, &comment, what).map_err(|said| PlaceError::new(into.to_string(), said))
}

/// How far a restore is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// It has begun, in one transaction: all of it is there or nothing is.
    Begun,
    /// It has begun, by several connections: rows may all be there where an index or a key is not.
    InPieces,
    /// All of it is there.
    Done,
}

/// Says of a database that a backup is being restored into it, or that it was: who comes after one that died knows by that
/// what is there. Only who owns a database may say something of it.
///
/// # Errors
/// When it may not be said.
pub async fn mark(into: &Connection, programs: Option<&Path>, what: &str, mark: Mark) -> Result<(), PlaceError> {
    let said = match mark {
        Mark::Begun => BEGUN,
        Mark::InPieces => IN_PIECES,
        Mark::Done => DONE,
    };
    comment(into, programs, &format!("{said}{what}")).await
}

/// Takes back what [`mark`] has said: nothing was restored.
///
/// # Errors
/// When it may not be said.
pub async fn unmark(into: &Connection, programs: Option<&Path>) -> Result<(), PlaceError> {
    comment(into, programs, "").await
}

/// Before the name of the backup, while it is restored. The transaction that restores it tells nobody whether it came to its
/// end but by what is there.
const BEGUN: &str = "mainstay: being restored from ";
/// The same without a transaction: what is there does not tell.
const IN_PIECES: &str = "mainstay: being restored by several connections from ";
/// And afterwards.
const DONE: &str = "mainstay: restored from ";

fn judged(own: u64, comment: &str, backup: &str) -> Result<Ready, String> {
    if own == 0 {
        return Ok(Ready::Empty);
    }
    if let Some(of) = comment.strip_prefix(IN_PIECES) {
        return Err(format!(
            "{of} was being restored into it by several connections, and that did not come to its end, or has not yet: what is there, {own} tables and \
             other objects, may not be all of it. Nothing was touched: make the database anew (dropdb, createdb)"
        ));
    }
    match (comment.strip_prefix(BEGUN), comment.strip_prefix(DONE)) {
        (Some(of), _) if of == backup => Ok(Ready::Begun),
        (_, Some(of)) if of == backup => Ok(Ready::Restored),
        (_, Some(of)) => Err(format!("{of} was restored into it before; {}", is_taken(own))),
        _ => Err(is_taken(own)),
    }
}

fn is_taken(own: u64) -> String {
    format!("it has {own} tables and other objects, and nothing was touched: name an empty database (createdb makes one)")
}

async fn seen(of: &Connection, programs: Option<&Path>) -> Result<Seen, PlaceError> {
    let wrong = |said: String| PlaceError::new(of.to_string(), said);
    let statement = format!(
        "SELECT (SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE {OWN}) || ' ' || \
         coalesce((SELECT shobj_description(d.oid, 'pg_database') FROM pg_database d WHERE d.datname = current_database()), '')"
    );
    let said = ask(of, programs, &statement).await.map_err(wrong)?;
    let (own, comment) = said.split_once(' ').unwrap_or((&said, ""));
    let own = own.parse().map_err(|_| wrong(format!("what it has is not understood: {own}")))?;
    Ok(Seen { own, comment: comment.trim().to_owned() })
}

/// An empty comment is none.
async fn comment(of: &Connection, programs: Option<&Path>, text: &str) -> Result<(), PlaceError> {
    // A backup's name has no quotes in it; whatever it has, it stays one text.
    let text = text.replace('\'', "''");
    let statement = format!("DO $mainstay$ BEGIN EXECUTE format('COMMENT ON DATABASE %I IS %L', current_database(), '{text}'); END $mainstay$");
    let said = ask(of, programs, &statement).await;
    said.map(drop)
        .map_err(|error| PlaceError::new(of.to_string(), format!("whose restore it is cannot be noted, its user has to own the database: {error}")))
}

/// A name that has `=` in it would be read as settings of a connection.
fn quoted(database: &str) -> String {
    format!("dbname='{}'", database.replace('\\', "\\\\").replace('\'', "\\'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_told_by_what_was_noted() {
        let backup = "prod/orders-db/20261130T020000Z-3.42";
        let (begun, done) = (format!("{BEGUN}{backup}"), format!("{DONE}{backup}"));
        for comment in ["", &begun, &done, "orders of the shop"] {
            assert_eq!(judged(0, comment, backup), Ok(Ready::Empty), "{comment}");
        }
        assert_eq!((judged(3, &begun, backup), judged(3, &done, backup)), (Ok(Ready::Begun), Ok(Ready::Restored)));
        let older = judged(3, &format!("{DONE}prod/orders-db/20261129T020000Z-3.37"), backup).unwrap_err();
        assert!(older.starts_with("prod/orders-db/20261129T020000Z-3.37 was restored into it before; it has 3 tables"), "{older}");
        // Rows that are all there say nothing of an index.
        let pieces = judged(3, &format!("{IN_PIECES}{backup}"), backup).unwrap_err();
        assert!(pieces.contains("did not come to its end") && pieces.contains("3 tables") && pieces.contains("dropdb"), "{pieces}");
        assert_eq!(judged(0, &format!("{IN_PIECES}{backup}"), backup), Ok(Ready::Empty));
        for comment in ["", "orders of the shop", &format!("{BEGUN}prod/orders-db/20261129T020000Z-3.37")] {
            assert!(judged(3, comment, backup).unwrap_err().starts_with("it has 3 tables"), "{comment}");
        }
    }
}
