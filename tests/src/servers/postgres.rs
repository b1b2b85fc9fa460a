//! PostgreSQL: a primary with roles and passwords, a streaming standby, and what can go wrong with them.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;

use super::place::{Place, run};
use super::{Login, Program, ports};

const SUPERUSER: &str = "postgres";
const REPLICATOR: &str = "replicator";
const REPLICATOR_PASSWORD: &str = "streams";
/// Where Debian has its versions.
const VERSIONS: &str = "/usr/lib/postgresql";

/// Data is thrown away, so nothing waits for a disk; and a standby that was cut off tries again at once.
const SETTINGS: &str = "
listen_addresses = '127.0.0.1'
unix_socket_directories = '..'
fsync = off
synchronous_commit = off
full_page_writes = off
shared_buffers = 16MB
max_connections = 30
wal_level = replica
max_wal_senders = 5
max_replication_slots = 5
wal_retrieve_retry_interval = 200ms
wal_receiver_status_interval = 1s
autovacuum = off
log_line_prefix = '%m %u '
";

pub struct Postgres {
    /// Before its place, which goes with the value: it ends first.
    program: Option<Program>,
    pub port: u16,
    place: Place,
}

impl Postgres {
    /// A primary with a role that may look at statistics, and a database `orders` of its own.
    pub async fn start(login: &Login) -> Postgres {
        let mut postgres = Postgres { port: ports::free(), place: Place::new("pg"), program: None };
        let mut initdb = postgres.place.command(program("initdb"));
        initdb.args(["--pgdata=data", "--no-sync", "--encoding=UTF8", "--locale=C"]);
        initdb.args(["--auth-local=trust", "--auth-host=scram-sha-256", &format!("--username={SUPERUSER}")]);
        run(initdb).await.expect("initdb");
        postgres.settings(SETTINGS);
        postgres.go_on().await;
        let Login { user, password } = login;
        let statements = format!(
            "CREATE ROLE {REPLICATOR} LOGIN REPLICATION PASSWORD '{REPLICATOR_PASSWORD}';
             CREATE ROLE {user} LOGIN PASSWORD '{password}';
             GRANT pg_monitor TO {user};
             SELECT pg_create_physical_replication_slot('standby', true);"
        );
        postgres.sql(&statements).await.expect("roles");
        postgres.sql(&format!("CREATE DATABASE orders OWNER {user}")).await.expect("a database");
        postgres
    }

    /// A standby that streams from this one.
    pub async fn standby(&self) -> Postgres {
        let mut standby = Postgres { port: ports::free(), place: Place::new("pg"), program: None };
        let mut copy = standby.place.command(program("pg_basebackup"));
        let from = format!("host=127.0.0.1 port={} user={REPLICATOR} password={REPLICATOR_PASSWORD} application_name=standby", self.port);
        copy.args(["--pgdata=data", "--write-recovery-conf", "--wal-method=stream", "--checkpoint=fast", "--no-sync", "--slot=standby"]);
        copy.args(["--dbname", &from]);
        run(copy).await.expect("pg_basebackup");
        standby.go_on().await;
        self.streams(true).await;
        standby
    }

    fn settings(&self, text: &str) {
        let file = self.place.path().join("data/postgresql.conf");
        let mut file = std::fs::File::options().append(true).open(file).expect("the settings that initdb made");
        file.write_all(text.as_bytes()).expect("settings");
    }

    /// Starts it again on its data.
    pub async fn go_on(&mut self) {
        let mut command = self.place.command(program("postgres"));
        command.args(["-D", "data", "-p", &self.port.to_string()]);
        // INT: "fast", without waiting for clients.
        let mut program = Program::start("postgres", &self.place, command, Signal::INT);
        program.ready(|| async { self.sql("SELECT 1").await.map(|_| ()) }).await;
        self.program = Some(program);
    }

    /// Ends it as an operator would.
    pub fn stop(&mut self) {
        self.program = None;
    }

    /// Runs statements as the superuser, over the socket; what they answer, without decoration.
    ///
    /// # Errors
    /// What it said.
    pub async fn sql(&self, statements: &str) -> Result<String, String> {
        let mut psql = self.psql();
        psql.args(["--command", statements]);
        run(psql).await
    }

    /// Runs statements as somebody else in a database, over the socket.
    ///
    /// # Errors
    /// What it said.
    pub async fn sql_as(&self, login: &Login, database: &str, statements: &str) -> Result<String, String> {
        let mut psql = self.psql();
        // Of what is said twice, the last counts.
        psql.args(["--username", &login.user, "--dbname", database, "--command", statements]).env("PGPASSWORD", &login.password);
        run(psql).await
    }

    fn psql(&self) -> Command {
        let mut psql = self.place.command(program("psql"));
        psql.args(["--no-psqlrc", "--quiet", "--no-align", "--tuples-only", "--set=ON_ERROR_STOP=1", "--username", SUPERUSER, "--dbname=postgres"]);
        psql.arg("--host").arg(self.place.path()).args(["--port", &self.port.to_string()]);
        psql
    }

    pub async fn set_password(&self, login: &Login) {
        self.sql(&format!("ALTER ROLE {} PASSWORD '{}'", login.user, login.password)).await.expect("another password");
    }

    /// The standby is let in no more, and is cut off: what happens when somebody changes a password.
    pub async fn break_replication(&self) {
        self.set_password(&Login::new(REPLICATOR, "changed")).await;
        self.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_replication").await.expect("the standby is cut off");
        self.streams(false).await;
    }

    pub async fn mend_replication(&self) {
        self.set_password(&Login::new(REPLICATOR, REPLICATOR_PASSWORD)).await;
        self.streams(true).await;
    }

    async fn streams(&self, wanted: bool) {
        crate::eventually(&format!("a standby streams: {wanted}"), || async {
            // One that streams and has not said yet how far it is would be found half there.
            let said = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming' AND replay_lsn IS NOT NULL";
            let count = self.sql(said).await?;
            if (count == "1") == wanted { Ok(()) } else { Err(format!("{count} stream")) }
        })
        .await;
    }

    /// Begins a transaction and leaves it open until the value is dropped.
    pub async fn begin_transaction(&self) -> Transaction {
        let mut command = self.psql();
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).env("PGAPPNAME", "forgetful");
        let mut client = command.spawn().expect("psql starts");
        let mut stdin = client.stdin.take().expect("its input");
        stdin.write_all(b"BEGIN;\nSELECT 1;\n").expect("it reads");
        let transaction = Transaction { client, _stdin: stdin };
        crate::eventually("the transaction is open", || async {
            let open = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'forgetful' AND state = 'idle in transaction'";
            let count = self.sql(open).await?;
            if count == "1" { Ok(()) } else { Err(format!("{count} are open")) }
        })
        .await;
        transaction
    }
}

/// A client that has begun and does not come to an end.
pub struct Transaction {
    client: Child,
    _stdin: std::process::ChildStdin,
}

impl Drop for Transaction {
    fn drop(&mut self) {
        let _ = self.client.kill();
        let _ = self.client.wait();
    }
}

/// A program of the newest version that is installed.
fn program(name: &str) -> PathBuf {
    let versions = std::fs::read_dir(VERSIONS).into_iter().flatten().flatten().map(|entry| entry.path().join("bin").join(name));
    let newest = versions.filter(|path| path.is_file()).max_by_key(|path| {
        let version = path.ancestors().nth(2).and_then(|dir| dir.file_name()?.to_str()?.parse::<u32>().ok());
        version.unwrap_or(0)
    });
    newest.expect("PostgreSQL is installed: tests/packages installs it")
}
