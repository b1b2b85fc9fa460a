//! A database by `pg_restore`, from the stream, in one transaction: a restore that fails leaves nothing, and says so.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tokio::io::AsyncRead;

use super::PlaceError;
use crate::source::postgres::rows::{self, Compare, OWN, Tables};
use crate::source::postgres::{Connection, ask, program};

/// How it is restored.
#[derive(Debug, Clone)]
pub struct Options {
    /// All objects belong to who restores, and rights are left out: where the roles are not there.
    pub without_owners: bool,
    /// After this it is ended, and undone by the server.
    pub deadline: Duration,
}

/// Restores a stream of `pg_dump` into a database that is there and empty.
///
/// # Errors
/// When it is not empty, or anything at all could not be restored; nothing is there then that was not before.
pub async fn restore(from: impl AsyncRead + Unpin, into: &Connection, programs: Option<&Path>, options: &Options) -> Result<(), PlaceError> {
    let wrong = |said: &dyn std::fmt::Display| PlaceError::new(into.to_string(), said);
    let own = format!("SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE {OWN}");
    let own = ask(into, programs, &own).await.map_err(|error| wrong(&error))?;
    if own != "0" {
        return Err(wrong(&format!("it has {own} tables and other objects, and nothing was touched: name an empty database (createdb makes one)")));
    }
    // A list of what is wrong is of no use where nothing stays of what is right.
    let mut arguments = vec!["--single-transaction", "--exit-on-error"];
    if options.without_owners {
        arguments.extend(["--no-owner", "--no-privileges"]);
    }
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

/// A name that has `=` in it would be read as settings of a connection.
fn quoted(database: &str) -> String {
    format!("dbname='{}'", database.replace('\\', "\\\\").replace('\'', "\\'"))
}
