//! A session that holds a snapshot, lends it to `pg_dump`, and answers what is asked of it, by psql.

use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{ChildStdin, ChildStdout};

use super::{ASK, Connection, program};
use crate::child::Running;

/// Printed when all that was asked has been answered.
pub(super) const DONE: &str = "mainstay-done";
/// A line says the name of one table, or of one sequence.
pub(super) const LINE_MAX: usize = 4 << 10;
/// What is written as text does not depend on how a server, a database or a role is set up: it is compared with what another
/// server writes. And it lives as long as the dump: it is that which has a deadline.
const AS_TEXT: &str = "SET TIME ZONE 'UTC'; SET datestyle = 'ISO, YMD'; SET intervalstyle = 'iso_8601'; SET extra_float_digits = 3; \
                       SET bytea_output = 'hex'; SET lc_monetary = 'C'; SET statement_timeout = 0; \
                       SET idle_in_transaction_session_timeout = 0;";

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
    /// Takes a snapshot.
    pub async fn begin(of: &Connection, within: Option<&Path>) -> Result<Session, String> {
        let arguments = ["--no-psqlrc", "--quiet", "--no-align", "--tuples-only", "--set=ON_ERROR_STOP=1"];
        let (running, stdin, stdout) = program(of, within, "psql", &arguments, ASK)?.talk().map_err(|error| error.to_string())?;
        let mut session = Session { running, stdin, lines: BufReader::new(stdout), snapshot: String::new() };
        session.say(AS_TEXT).await?;
        session.say("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY; SELECT pg_export_snapshot();").await?;
        session.snapshot = session.line(ASK, LINE_MAX).await?;
        Ok(session)
    }

    /// What it is asked, in psql's words. Nothing of it may come from elsewhere: psql runs programs where it is told to.
    pub async fn say(&mut self, statements: &str) -> Result<(), String> {
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

    /// The next line of what it answers, if it is there within that time and no longer than that.
    pub async fn line(&mut self, within: Duration, most: usize) -> Result<String, String> {
        let mut line = Vec::new();
        let read = async {
            while !line.ends_with(b"\n") && line.len() < most {
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
