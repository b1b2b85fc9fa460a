//! A PostgreSQL database by `pg_dump`: one stream in its custom format, uncompressed, since what comes after compresses; with
//! the roles and settings of the server beside it. Or, where that is asked for, several: what is defined in one, and the data
//! in a few that are read at the same time.
//!
//! Programs and server are looked at first: an older `pg_dump` than the server is refused before anything is begun. The
//! password is in the child's environment, never among its arguments. All of a dump is one snapshot; it is cancelled at a
//! deadline, since a snapshot that is held keeps a server from cleaning up.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::Value;
use zeroize::Zeroizing;

use super::{Source, SourceError, Stream};
use crate::child::{Program, find};

mod options;
pub mod queries;
pub mod rows;
mod session;
pub mod streams;

pub use options::{Ask, Options};
use session::Session;

/// What the part of a database is.
pub const CONTENT: &str = "application/vnd.postgresql.dump";
/// The same without its data, where these are parts of their own: what is made before them, and what is made of them.
pub const SCHEMA: &str = "application/vnd.postgresql.dump.schema";
/// Data, and nothing else.
pub const DATA: &str = "application/vnd.postgresql.dump.data";
/// What the part of roles and settings is.
pub const GLOBALS: &str = "application/sql";
/// What is asked of a server before and after.
const ASK: Duration = Duration::from_secs(60);
/// A table that somebody else has locked is waited for so long.
const LOCK_WAIT: Duration = Duration::from_secs(60);
/// Where Debian has the programs of each version.
const VERSIONS: &str = "/usr/lib/postgresql";
/// The name under which a server sees us.
const NAME: &str = "mainstay-backup";

/// How a server is reached.
#[derive(Clone)]
pub struct Connection {
    /// A name, an address, or the directory of a socket.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// As whom.
    pub user: String,
    /// Never shown.
    pub password: Option<Zeroizing<String>>,
    /// Which one.
    pub database: String,
    /// `disable`, `prefer`, `require`, `verify-ca`, `verify-full`.
    pub tls: String,
    /// File of the authorities, for the last two.
    pub authorities: Option<PathBuf>,
    /// Files of the certificate that is shown, and of its key, which nobody else may read: PostgreSQL's programs refuse it else.
    pub client: Option<(PathBuf, PathBuf)>,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Connection({self})")
    }
}

impl fmt::Display for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "postgres://{}@{}:{}/{}", self.user, self.host, self.port, self.database)
    }
}

/// A database that is backed up.
#[derive(Debug)]
pub struct Postgres {
    connection: Connection,
    options: Options,
    /// Streams that are still to come.
    to_come: Vec<Part>,
    /// What is told to `pg_dump` for each stream of data.
    shares: Vec<Vec<String>>,
    reads_passwords: bool,
    /// Holds the snapshot that is dumped, and counts.
    session: Option<Session>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Globals,
    Database,
    Schema,
    /// By its place among the shares.
    Data(usize),
}

impl Postgres {
    /// This one.
    #[must_use]
    pub fn new(connection: Connection, options: Options) -> Postgres {
        // From the end.
        let mut to_come = vec![if options.streams > 1 { Part::Schema } else { Part::Database }];
        to_come.extend(options.globals.then_some(Part::Globals));
        Postgres { connection, options, to_come, shares: Vec::new(), reads_passwords: false, session: None }
    }

    fn wrong(&self, said: impl fmt::Display) -> SourceError {
        SourceError::new(self.connection.to_string(), said.to_string())
    }

    fn program(&self, name: &str, arguments: &[&str], deadline: Duration) -> Result<Program, SourceError> {
        program(&self.connection, self.options.programs.as_deref(), name, arguments, deadline).map_err(|error| self.wrong(error))
    }

    async fn ask(&self, statement: &str) -> Result<String, SourceError> {
        ask(&self.connection, self.options.programs.as_deref(), statement).await.map_err(|error| self.wrong(error))
    }

    async fn checked(&mut self) -> Result<BTreeMap<String, String>, SourceError> {
        let path = program_path("pg_dump", self.options.programs.as_deref()).map_err(|error| self.wrong(error))?;
        let version = Program { path, arguments: vec!["--version".into()], environment: Vec::new(), within: None, deadline: ASK };
        let dump = version.print().await.map_err(|error| self.wrong(error))?;
        let dump = version_in(&dump).ok_or_else(|| self.wrong(format!("what pg_dump says is not understood: {dump}")))?;
        let server = self.ask("SHOW server_version").await?;
        let server = version_in(&server).ok_or_else(|| self.wrong(format!("the server's version is not understood: {server}")))?;
        if dump.0 < server.0 {
            let said = "pg_dump is of version {}, and the server of {}: install its client programs of version {} here, or name their directory";
            return Err(self.wrong(said.replacen("{}", &dump.1, 1).replacen("{}", &server.1, 1).replacen("{}", &server.0.to_string(), 1)));
        }
        queries::tried(&self.connection, self.options.programs.as_deref(), &self.options.queries).await.map_err(|error| self.wrong(error))?;
        self.reads_passwords = self.ask("SELECT has_table_privilege('pg_catalog.pg_authid', 'SELECT')").await? == "t";
        Ok(BTreeMap::from([("pg_dump".to_owned(), dump.1), ("server".to_owned(), server.1)]))
    }

    async fn stream(&mut self, part: Part) -> Result<Stream, SourceError> {
        let (name, content, program) = match part {
            Part::Globals => {
                let mut arguments = vec!["--globals-only"];
                if !self.reads_passwords {
                    arguments.push("--no-role-passwords");
                }
                ("globals".to_owned(), GLOBALS, self.program("pg_dumpall", &arguments, ASK)?)
            }
            Part::Database => {
                self.begin().await?;
                ("database".to_owned(), CONTENT, self.dump(&[])?)
            }
            Part::Schema => {
                self.begin().await?;
                // Not `--schema-only`, which takes the configuration of extensions along: that is data here.
                let sections = ["--section=pre-data", "--section=post-data"].map(str::to_owned);
                ("schema".to_owned(), SCHEMA, self.dump(&sections)?)
            }
            Part::Data(at) => {
                let told = self.shares.get(at).map(Vec::as_slice).unwrap_or_default();
                let arguments = [&["--section=data".to_owned()][..], told].concat();
                (format!("data-{}", at + 1), DATA, self.dump(&arguments)?)
            }
        };
        let flow = program.stream().map_err(|error| self.wrong(error))?;
        Ok(Stream { name, content, reader: Box::new(flow) })
    }

    /// Takes the snapshot, shares out what is dumped of it, and has the session count.
    async fn begin(&mut self) -> Result<(), SourceError> {
        let begun = async {
            let mut session = Session::begin(&self.connection, self.options.programs.as_deref()).await?;
            let shares = if self.options.streams > 1 { streams::shared_out(&mut session, self.options.streams).await? } else { Vec::new() };
            rows::begin(&mut session, self.options.compare).await?;
            Ok((session, shares))
        };
        let (session, shares) = begun.await.map_err(|error: String| self.wrong(error))?;
        self.to_come.extend((0..shares.len()).rev().map(Part::Data));
        (self.session, self.shares) = (Some(session), shares);
        Ok(())
    }

    /// `pg_dump` under the snapshot.
    fn dump(&self, more: &[String]) -> Result<Program, SourceError> {
        let session = self.session.as_ref().ok_or_else(|| self.wrong("its snapshot is not held"))?;
        let (wait, snapshot) = (format!("--lock-wait-timeout={}", LOCK_WAIT.as_millis()), format!("--snapshot={}", session.snapshot));
        let mut arguments = vec!["--format=custom", "--compress=0", &wait, &snapshot];
        arguments.extend(more.iter().map(String::as_str));
        self.program("pg_dump", &arguments, self.options.deadline)
    }

    async fn counted(&mut self) -> Result<BTreeMap<String, Value>, SourceError> {
        let mut session = self.session.take().ok_or_else(|| self.wrong("its database was not dumped"))?;
        let tables = rows::counted(&mut session, self.options.deadline).await.map_err(|error| self.wrong(error))?;
        let answers = queries::answered(&mut session, &self.options.queries, self.options.deadline).await.map_err(|error| self.wrong(error))?;
        drop(session);
        let bytes = self.ask("SELECT pg_database_size(current_database())").await?;
        let bytes = bytes.parse::<u64>().map_err(|_| self.wrong(format!("not a number: {bytes}")))?;
        let mut counted = BTreeMap::from([("tables".to_owned(), rows::to_value(&tables)), ("databaseBytes".to_owned(), Value::from(bytes))]);
        counted.extend((!self.options.queries.is_empty()).then(|| (queries::NAME.to_owned(), answers)));
        Ok(counted)
    }
}

impl Source for Postgres {
    fn kind(&self) -> &'static str {
        "postgres.dump"
    }

    fn has_snapshot(&self) -> bool {
        true
    }

    fn look(&mut self) -> BoxFuture<'_, Result<BTreeMap<String, String>, SourceError>> {
        self.checked().boxed()
    }

    fn next(&mut self) -> BoxFuture<'_, Result<Option<Stream>, SourceError>> {
        async {
            match self.to_come.pop() {
                Some(part) => self.stream(part).await.map(Some),
                None => Ok(None),
            }
        }
        .boxed()
    }

    fn at_once(&self) -> usize {
        match self.to_come.last() {
            Some(Part::Data(_)) => usize::from(self.options.streams),
            _ => 1,
        }
    }

    fn end(&mut self) -> BoxFuture<'_, Result<BTreeMap<String, Value>, SourceError>> {
        self.counted().boxed()
    }
}

/// A program of PostgreSQL's, connected.
pub(crate) fn program(to: &Connection, within: Option<&Path>, name: &str, arguments: &[&str], deadline: Duration) -> Result<Program, String> {
    let path = program_path(name, within)?;
    // Never asks for a password: nobody is there to be asked.
    let mut all: Vec<OsString> = vec!["--no-password".into()];
    all.extend(arguments.iter().map(OsString::from));
    let mut environment = vec![
        ("PGHOST", Zeroizing::new(to.host.clone())),
        ("PGPORT", Zeroizing::new(to.port.to_string())),
        ("PGUSER", Zeroizing::new(to.user.clone())),
        ("PGDATABASE", Zeroizing::new(to.database.clone())),
        ("PGSSLMODE", Zeroizing::new(to.tls.clone())),
        ("PGAPPNAME", Zeroizing::new(NAME.to_owned())),
        ("PGCONNECT_TIMEOUT", Zeroizing::new("15".to_owned())),
    ];
    environment.extend(to.password.clone().map(|password| ("PGPASSWORD", password)));
    let file = |path: &Path| Zeroizing::new(path.display().to_string());
    environment.extend(to.authorities.as_deref().map(|path| ("PGSSLROOTCERT", file(path))));
    environment.extend(to.client.iter().flat_map(|(certificate, key)| [("PGSSLCERT", file(certificate)), ("PGSSLKEY", file(key))]));
    Ok(Program { path, arguments: all, environment, within: None, deadline })
}

/// What a server answers to one statement.
pub(crate) async fn ask(of: &Connection, within: Option<&Path>, statement: &str) -> Result<String, String> {
    let arguments = ["--no-psqlrc", "--quiet", "--no-align", "--tuples-only", "--set=ON_ERROR_STOP=1", "--command", statement];
    program(of, within, "psql", &arguments, ASK)?.print().await.map_err(|error| error.to_string())
}

/// Where a program is: in this directory, or of the newest version that is installed.
pub(crate) fn program_path(name: &str, within: Option<&Path>) -> Result<PathBuf, String> {
    let newest = || {
        let versions = std::fs::read_dir(VERSIONS).into_iter().flatten().flatten();
        let versions = versions.filter_map(|entry| Some((entry.file_name().to_str()?.parse::<u32>().ok()?, entry.path().join("bin").join(name))));
        versions.filter(|(_, path)| path.is_file()).max_by_key(|(version, _)| *version).map(|(_, path)| path)
    };
    let found = if within.is_some() { find(name, within) } else { newest().or_else(|| find(name, None)) };
    found.ok_or_else(|| format!("there is no {name}: install PostgreSQL's client programs here, or name their directory"))
}

/// The major version, and all of it as it is written, out of `pg_dump (PostgreSQL) 15.8 (Debian …)` or `15.8`.
fn version_in(said: &str) -> Option<(u32, String)> {
    let version = said.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()))?;
    let major = version.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()?;
    Some((major, version.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_they_are_said() {
        assert_eq!(version_in("pg_dump (PostgreSQL) 15.8 (Debian 15.8-0+deb12u1)"), Some((15, "15.8".to_owned())));
        assert_eq!(version_in("16beta1"), Some((16, "16beta1".to_owned())));
        assert_eq!(version_in("pg_dump"), None);
    }

    #[test]
    fn a_password_is_neither_shown_nor_an_argument() {
        let secret = "hunter2";
        let connection = Connection {
            host: "db".to_owned(),
            port: 5432,
            user: "app".to_owned(),
            password: Some(Zeroizing::new(secret.to_owned())),
            database: "orders".to_owned(),
            tls: "prefer".to_owned(),
            authorities: None,
            client: None,
        };
        assert!(!format!("{connection:?} {connection}").contains(secret));
        let here = PathBuf::from("/bin");
        let program = program(&connection, Some(&here), "sh", &["--format=custom"], ASK).unwrap();
        assert!(program.arguments.iter().all(|argument| !argument.to_string_lossy().contains(secret)));
    }
}
