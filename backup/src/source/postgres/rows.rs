//! How many rows each table has, and what they sum up to, in the snapshot that is dumped: what a restore is held against.
//!
//! A session of its own takes the snapshot and lends it to `pg_dump`, so that both see the same rows; it counts while the
//! dump goes on. Asked of a restored database, the same question has to have the same answer.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{ChildStdin, ChildStdout};

use super::{ASK, Connection, program};
use crate::child::Running;

/// What a restore is compared by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Compare {
    /// The number of rows of each table.
    #[default]
    Rows,
    /// A checksum over all rows of each table too, whatever their order. It reads all of the database once more.
    Content,
}

/// Of more tables than these, only the first are counted: a manifest has to stay small.
const TABLES_MAX: usize = 20_000;
/// Printed when all that was asked has been answered.
const DONE: &str = "mainstay-done";
/// A line says the name of one table.
const LINE_MAX: usize = 4 << 10;

/// A table, counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// How many rows it has.
    pub rows: u64,
    /// Of all of them, where that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sum: Option<String>,
}

/// By `schema.table`, quoted where that is needed.
pub type Tables = BTreeMap<String, Table>;

#[derive(Deserialize)]
struct Line {
    table: String,
    #[serde(flatten)]
    counted: Table,
}

/// A session that holds a snapshot. It ends with the value.
pub(super) struct Session {
    running: Running,
    stdin: ChildStdin,
    lines: BufReader<ChildStdout>,
    /// Of what it holds, for others to see the same.
    pub snapshot: String,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Session({})", self.snapshot)
    }
}

impl Session {
    /// Takes a snapshot, and begins to count.
    pub async fn begin(of: &Connection, within: Option<&Path>, compare: Compare) -> Result<Session, String> {
        let arguments = ["--no-psqlrc", "--quiet", "--no-align", "--tuples-only", "--set=ON_ERROR_STOP=1"];
        let (running, stdin, stdout) = program(of, within, "psql", &arguments, ASK)?.talk().map_err(|error| error.to_string())?;
        let mut session = Session { running, stdin, lines: BufReader::new(stdout), snapshot: String::new() };
        session.say("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY; SELECT pg_export_snapshot();").await?;
        session.snapshot = session.line(ASK).await?;
        session.say(&counting(compare)).await?;
        Ok(session)
    }

    /// What was counted, waited for as long as that.
    pub async fn counted(mut self, within: Duration) -> Result<Tables, String> {
        let counting = async {
            let mut tables = Tables::new();
            loop {
                let line = self.line(within).await?;
                if line == DONE {
                    return Ok(tables);
                }
                let Line { table, counted } =
                    serde_json::from_str(&line).map_err(|error| format!("what it counted is not understood: {error}: {line}"))?;
                tables.insert(table, counted);
            }
        };
        tokio::time::timeout(within, counting).await.map_err(|_| format!("its rows were not counted within {} s", within.as_secs()))?
    }

    async fn say(&mut self, statements: &str) -> Result<(), String> {
        let said = async {
            self.stdin.write_all(statements.as_bytes()).await?;
            self.stdin.write_all(b"\n").await?;
            self.stdin.flush().await
        };
        match said.await {
            Ok(()) => Ok(()),
            // Why it is gone, it says itself.
            Err(_) => Err(self.running.why().await),
        }
    }

    async fn line(&mut self, within: Duration) -> Result<String, String> {
        let mut line = Vec::new();
        let read = async {
            while !line.ends_with(b"\n") && line.len() < LINE_MAX {
                let more = self.lines.fill_buf().await?;
                if more.is_empty() {
                    return Ok(false);
                }
                let taken = more.iter().position(|byte| *byte == b'\n').map_or(more.len(), |at| at + 1);
                line.extend_from_slice(&more[..taken]);
                self.lines.consume(taken);
            }
            Ok::<bool, std::io::Error>(true)
        };
        match tokio::time::timeout(within, read).await {
            Ok(Ok(true)) => Ok(String::from_utf8_lossy(&line).trim_end().to_owned()),
            Ok(_) => Err(self.running.why().await),
            Err(_) => Err(format!("psql says nothing for {} s", within.as_secs())),
        }
    }
}

/// One statement for each table, written by the server and carried out by psql.
fn counting(compare: Compare) -> String {
    let sum = match compare {
        Compare::Rows => "",
        Compare::Content => ", ''sum'', coalesce(sum(hashtextextended(t::text, 0)::numeric), 0)::text",
    };
    format!(
        "SELECT format('SELECT json_build_object(''table'', %L::text, ''rows'', count(*){sum}) FROM ONLY %I.%I t', format('%I.%I', n.nspname, c.relname), n.nspname, c.relname)
           FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
          WHERE c.relkind IN ('r', 'm') AND c.relpersistence = 'p' AND {OWN} ORDER BY n.nspname, c.relname LIMIT {TABLES_MAX}
         \\gexec
         \\echo {DONE}"
    )
}

/// Schemas that are not the server's own.
pub(crate) const OWN: &str = "n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'";

/// What a database has.
pub(crate) async fn count(of: &Connection, within: Option<&Path>, compare: Compare, deadline: Duration) -> Result<Tables, String> {
    Session::begin(of, within, compare).await?.counted(deadline).await
}

/// As it stands in a manifest.
pub(super) fn to_value(tables: &Tables) -> Value {
    serde_json::to_value(tables).unwrap_or_default()
}

/// What differs, in words; nothing when all is as it was.
#[must_use]
pub fn compare(was: &Tables, is: &Tables) -> Vec<String> {
    let mut differs = Vec::new();
    for (name, then) in was {
        match is.get(name) {
            None => differs.push(format!("table {name} is missing, which had {} rows", then.rows)),
            Some(now) if now.rows != then.rows => differs.push(format!("table {name} has {} rows, and had {}", now.rows, then.rows)),
            Some(now) if now.sum != then.sum && now.sum.is_some() && then.sum.is_some() => {
                differs.push(format!("table {name} has other rows than it had"))
            }
            Some(_) => {}
        }
    }
    differs.extend(is.keys().filter(|name| !was.contains_key(*name)).map(|name| format!("table {name} was not there")));
    differs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tables(of: &[(&str, u64, Option<&str>)]) -> Tables {
        of.iter().map(|(name, rows, sum)| ((*name).to_owned(), Table { rows: *rows, sum: sum.map(str::to_owned) })).collect()
    }

    #[test]
    fn what_differs_is_named() {
        let was = tables(&[("a", 1, None), ("b", 2, Some("7")), ("c", 3, Some("8"))]);
        assert_eq!(compare(&was, &was), Vec::<String>::new());
        let is = tables(&[("a", 2, None), ("b", 2, Some("9")), ("d", 0, None)]);
        assert_eq!(
            compare(&was, &is),
            ["table a has 2 rows, and had 1", "table b has other rows than it had", "table c is missing, which had 3 rows", "table d was not there"]
        );
    }

    #[test]
    fn a_sum_that_was_not_asked_for_is_not_compared() {
        assert_eq!(compare(&tables(&[("a", 1, Some("7"))]), &tables(&[("a", 1, None)])), Vec::<String>::new());
    }
}
