//! A PostgreSQL of its own, without a port.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use futures::FutureExt;
use serde_json::Value;

use super::{DrillError, FIRST, Rehearsal, Restored, milliseconds};
use crate::child::Running;
use crate::place::PlaceError;
use crate::place::postgres::{Dump, Options, compare, compare_queries, restore_dump};
use crate::source::postgres::{Connection, ask, program, program_path, queries};

const USER: &str = "postgres";
/// What it is restored into.
const DATABASE: &str = "drill";
/// Part of the name of its socket.
const PORT: u16 = 5432;
const READY_WITHIN: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(50);
const INITDB: Duration = Duration::from_secs(120);
/// Nothing of it is to outlive this, so it waits for no disk.
const SETTINGS: [&str; 8] = [
    "listen_addresses=",
    "fsync=off",
    "synchronous_commit=off",
    "full_page_writes=off",
    "autovacuum=off",
    "max_wal_size=4GB",
    "wal_level=minimal",
    "max_wal_senders=0",
];

pub(super) async fn rehearse(rehearsal: Rehearsal<'_>) -> Result<Restored, DrillError> {
    let (programs, deadline) = (rehearsal.order.programs, rehearsal.order.deadline);
    let dir = rehearsal.scratch.dir().to_owned();
    let not_tried = |why: &dyn std::fmt::Display| DrillError::NotTried(format!("a PostgreSQL of its own: {why}"));
    let data = dir.join("data");
    let words = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
    let start = |name: &str, mut arguments: Vec<OsString>, last: &Path, deadline: Duration| {
        let path = program_path(name, programs)?;
        arguments.push(last.into());
        rehearsal.scratch.program(path, arguments, deadline)
    };
    let arguments = words(&["--no-sync", "--encoding=UTF8", "--locale=C", "--auth=trust", "--username", USER, "--pgdata"]);
    let initdb = start("initdb", arguments, &data, INITDB).map_err(|why| not_tried(&why))?;
    initdb.print().await.map_err(|error| not_tried(&error))?;
    let mut arguments = words(&["-p", &PORT.to_string()]);
    for setting in SETTINGS {
        arguments.extend(words(&["-c", setting]));
    }
    arguments.extend(words(&["-c", &format!("unix_socket_directories={}", dir.display()), "-D"]));
    let postgres = start("postgres", arguments, &data, deadline).map_err(|why| not_tried(&why))?;
    *rehearsal.server = Some(postgres.serve().map_err(|error| not_tried(&error))?);
    let to = |database: &str| Connection {
        host: dir.display().to_string(),
        port: PORT,
        user: USER.to_owned(),
        password: None,
        database: database.to_owned(),
        tls: "disable".to_owned(),
        authorities: None,
        client: None,
    };
    ready(&to(USER), programs, rehearsal.server.as_mut()).await.map_err(|why| not_tried(&why))?;
    // Roles first: what is restored belongs to them. One that is there already, or a tablespace that has no place here, is
    // passed over; what then cannot be restored says so itself.
    if let Some(part) = rehearsal.named(FIRST) {
        let plain = rehearsal.open(part).await?;
        let psql = program(&to(USER), programs, "psql", &["--no-psqlrc", "--quiet", "--output=/dev/null", "--file=-"], deadline);
        psql.map_err(|why| not_tried(&why))?.feed(plain).await.map_err(|error| DrillError::NotRestored(format!("its roles: {error}")))?;
    }
    ask(&to(USER), programs, &format!("CREATE DATABASE {DATABASE}")).await.map_err(|why| not_tried(&why))?;
    let dump = Dump::of(rehearsal.order.manifest).map_err(DrillError::NotRestored)?;
    let options = Options { without_owners: false, deadline, tables: None, parallel: None };
    let open = |part| rehearsal.opened(part).boxed();
    restore_dump(&dump, open, &to(DATABASE), programs, &options).await.map_err(|error| DrillError::NotRestored(error.to_string()))?;
    let restored_ms = milliseconds(&rehearsal.watch);
    let counted =
        rehearsal.counted("tables").ok_or_else(|| DrillError::NotRestored("its manifest does not say what tables there were".to_owned()))?;
    let unasked = |error: PlaceError| DrillError::NotRestored(error.to_string());
    let mut differs = compare(counted, &to(DATABASE), programs, deadline).await.map_err(unasked)?;
    let mut words = compared(counted);
    if let Some(answers) = rehearsal.counted(queries::NAME) {
        differs.extend(compare_queries(answers, &to(DATABASE), programs, deadline).await.map_err(unasked)?);
        let count = answers.as_object().map_or(0, serde_json::Map::len);
        words = format!("{words}, {count} {}", if count == 1 { "query" } else { "queries" });
    }
    Ok(Restored { compared: words, differs, restored_ms })
}

/// `38 tables, 1288490 rows`, and whether these were summed up too.
fn compared(counted: &Value) -> String {
    let tables = counted.as_object().into_iter().flat_map(|tables| tables.values());
    let (count, rows) = tables.fold((0_u64, 0_u64), |(count, rows), table| (count + 1, rows + table["rows"].as_u64().unwrap_or_default()));
    let is_summed = counted.as_object().is_some_and(|tables| tables.values().any(|table| table.get("sum").is_some()));
    let content = if is_summed { " and what is in them" } else { "" };
    format!("{count} {}, {rows} rows{content}", if count == 1 { "table" } else { "tables" })
}

/// Waits until it takes connections, unless it has ended.
async fn ready(server: &Connection, programs: Option<&Path>, mut running: Option<&mut Running>) -> Result<(), String> {
    let mut last = String::new();
    let asked = async {
        loop {
            match ask(server, programs, "SELECT 1").await {
                Ok(_) => return Ok(()),
                Err(why) => last = why,
            }
            if let Some(running) = running.as_mut()
                && running.has_ended()
            {
                return Err(running.why().await);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    let waited = tokio::time::timeout(READY_WITHIN, asked).await;
    waited.unwrap_or_else(|_| Err(format!("it was not ready within {} s: {last}", READY_WITHIN.as_secs())))
}
