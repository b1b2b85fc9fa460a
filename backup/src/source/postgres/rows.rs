//! How many rows each table has, and what they sum up to, in the snapshot that is dumped: what a restore is held against.
//!
//! A session of its own takes the snapshot and lends it to `pg_dump`, so that both see the same rows; it counts while the
//! dump goes on. Asked of a restored database, the same question has to have the same answer.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Connection;
use super::session::{DONE, LINE_MAX, Session};

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

/// A table, counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// How many rows it has.
    pub rows: u64,
    /// Of all of them, where that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sum: Option<String>,
    /// It is a materialised view: a restore makes it anew out of its tables, as new as these are.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub derived: bool,
}

/// By `schema.table`, quoted where that is needed.
pub type Tables = BTreeMap<String, Table>;

#[derive(Deserialize)]
struct Line {
    table: String,
    #[serde(flatten)]
    counted: Table,
}

/// Has a session begin to count.
pub(super) async fn begin(session: &mut Session, compare: Compare) -> Result<(), String> {
    session.say(&counting(compare)).await
}

/// What a session has counted, waited for as long as that.
pub(super) async fn counted(session: &mut Session, within: Duration) -> Result<Tables, String> {
    let counting = async {
        let mut tables = Tables::new();
        loop {
            let line = session.line(within, LINE_MAX).await?;
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

/// One statement for each table, written by the server and carried out by psql.
fn counting(compare: Compare) -> String {
    let sum = match compare {
        Compare::Rows => "",
        Compare::Content => ", ''sum'', coalesce(sum(hashtextextended(t::text, 0)::numeric), 0)::text",
    };
    format!(
        "SELECT format('SELECT json_build_object(''table'', %L::text, ''rows'', count(*), ''derived'', %L::boolean{sum}) FROM ONLY %I.%I t',
                       format('%I.%I', n.nspname, c.relname), c.relkind = 'm', n.nspname, c.relname)
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
    let mut session = Session::begin(of, within).await?;
    begin(&mut session, compare).await?;
    counted(&mut session, deadline).await
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
            Some(now) if now.derived => {}
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
        of.iter().map(|(name, rows, sum)| ((*name).to_owned(), Table { rows: *rows, sum: sum.map(str::to_owned), derived: false })).collect()
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
    fn what_is_made_anew_is_there_and_may_be_newer() {
        let was = tables(&[("totals", 7, Some("1"))]);
        let anew = Tables::from([("totals".to_owned(), Table { rows: 9, sum: Some("2".to_owned()), derived: true })]);
        assert_eq!(compare(&was, &anew), Vec::<String>::new());
        assert_eq!(compare(&was, &Tables::new()), ["table totals is missing, which had 7 rows"]);
    }

    #[test]
    fn a_sum_that_was_not_asked_for_is_not_compared() {
        assert_eq!(compare(&tables(&[("a", 1, Some("7"))]), &tables(&[("a", 1, None)])), Vec::<String>::new());
    }
}
