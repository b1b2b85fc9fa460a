//! Real servers, as a user without rights, with data that is thrown away. They end with their values, and with the process.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tempfile::TempDir;
use tokio::net::TcpStream;

const READY_WITHIN: Duration = Duration::from_secs(60);

/// A directory of its owner, and what runs there.
pub struct Server {
    child: Option<Child>,
    pub port: u16,
    place: TempDir,
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
}

/// The user that owns nothing.
fn nobody() -> (u32, u32) {
    let users = fs::read_to_string("/etc/passwd").expect("users");
    let line = users.lines().find(|line| line.starts_with("nobody:")).expect("there is a user nobody");
    let number = |at: usize| line.split(':').nth(at).and_then(|field| field.parse().ok()).expect("a number");
    (number(2), number(3))
}

impl Server {
    fn new(name: &str) -> Server {
        let place = tempfile::Builder::new().prefix(name).tempdir().expect("a directory");
        let server = Server { child: None, port: free_port(), place };
        server.give(server.place.path());
        server
    }

    pub fn path(&self) -> &Path {
        self.place.path()
    }

    pub fn give(&self, path: &Path) {
        if is_root() {
            let (user, group) = nobody();
            chown(path, Some(user), Some(group)).expect("root may give a file away");
        }
    }

    fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new("setpriv");
        if is_root() {
            let (user, group) = nobody();
            command.args(["--reuid", &user.to_string(), "--regid", &group.to_string(), "--clear-groups"]);
        }
        command.args(["--pdeathsig", "KILL", "--"]).arg(program.as_ref());
        command.env_clear().env("PATH", "/usr/bin:/bin").env("LANG", "C.UTF-8").env("HOME", self.path());
        command.current_dir(self.path()).stdin(Stdio::null());
        command
    }

    async fn start(&mut self, mut command: Command, mut ready: impl AsyncFnMut(&Server) -> bool) {
        let log = fs::File::options().create(true).append(true).open(self.path().join("log")).expect("a log");
        command.stdout(log.try_clone().expect("the log")).stderr(log);
        self.child = Some(command.spawn().expect("it starts; tests/packages installs it"));
        let up = async {
            while !ready(self).await {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        if tokio::time::timeout(READY_WITHIN, up).await.is_err() {
            panic!("it is not ready: {}", fs::read_to_string(self.path().join("log")).unwrap_or_default());
        }
    }

    /// As if the power had failed.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// As an operator ends it.
    pub fn stop(&mut self) {
        if let Some(child) = &self.child {
            let asked = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
            assert!(asked.is_ok_and(|status| status.success()));
        }
        if let Some(mut child) = self.child.take() {
            child.wait().expect("it ends");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Below the range from which the kernel takes ports of outgoing connections, and apart from those of other suites.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let from = u16::try_from(std::process::id() % 400).expect("a small number");
    loop {
        let port = 31_000 + (from + NEXT.fetch_add(1, Ordering::Relaxed)) % 900;
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// What a program printed, or said where it failed.
pub fn run(command: &mut Command) -> Result<String, String> {
    let output = command.output().expect("it starts; tests/packages installs it");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(format!("{} {}", text(&output.stdout), text(&output.stderr))) }
}

pub struct Postgres(pub Server);

/// Files of one who shows a certificate.
pub struct Certificates {
    pub authority: PathBuf,
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// Where the newest version is.
pub fn postgres_programs() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").expect("PostgreSQL is installed: tests/packages installs it").flatten();
    let newest = versions.max_by_key(|entry| entry.file_name().to_string_lossy().parse::<u32>().unwrap_or(0));
    newest.expect("a version").path().join("bin")
}

impl Postgres {
    /// With the role `app`, who owns the database `orders`.
    pub async fn start(password: &str) -> Postgres {
        let mut postgres = Postgres(Server::new("pg"));
        let mut initdb = postgres.0.command(postgres_programs().join("initdb"));
        initdb.args(["--pgdata=data", "--no-sync", "--encoding=UTF8", "--locale=C", "--username=postgres"]);
        run(initdb.args(["--auth-local=trust", "--auth-host=scram-sha-256"])).expect("initdb");
        postgres.go_on().await;
        postgres.sql("postgres", &format!("CREATE ROLE app LOGIN PASSWORD '{password}'")).expect("a role");
        postgres.sql("postgres", "CREATE DATABASE orders OWNER app").expect("a database");
        postgres
    }

    pub async fn go_on(&mut self) {
        let port = self.0.port.to_string();
        let mut command = self.0.command(postgres_programs().join("postgres"));
        command.args(["-D", "data", "-p", &port, "-c", "fsync=off", "-c", "listen_addresses=127.0.0.1"]);
        command.args(["-c", "unix_socket_directories=.."]);
        self.0.start(command, async |server| psql(server, "postgres", "SELECT 1").is_ok()).await;
    }

    /// From now on it asks whoever comes by its address for a certificate in the name of the role, and for nothing else.
    pub fn serves_certificates_only(&self) -> Certificates {
        let place = self.0.path();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority");
        let write = |name: &str, text: String, is_servers: bool| {
            let path = place.join(name);
            fs::write(&path, text).expect("a file");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("permissions");
            if is_servers {
                self.0.give(&path);
            }
            path
        };
        let leaf = |names: Vec<String>, common: &str| {
            let key = KeyPair::generate().expect("a key");
            let mut params = CertificateParams::new(names).expect("names");
            params.distinguished_name.push(DnType::CommonName, common);
            (params.signed_by(&key, &authority).expect("a certificate").pem(), key.serialize_pem())
        };
        let (server, server_key) = leaf(vec!["127.0.0.1".to_owned()], "server");
        let (client, client_key) = leaf(Vec::new(), "app");
        let files = [
            ("ssl_ca_file", write("clients.pem", authority.pem(), true)),
            ("ssl_cert_file", write("server.pem", server, true)),
            ("ssl_key_file", write("server.key", server_key, true)),
        ];
        for (setting, path) in files {
            self.sql("postgres", &format!("ALTER SYSTEM SET {setting} = '{}'", path.display())).expect("a setting");
        }
        self.sql("postgres", "ALTER SYSTEM SET ssl = on").expect("a setting");
        fs::write(place.join("data/pg_hba.conf"), "local all all trust\nhostssl all all 127.0.0.1/32 cert\n").expect("who may come");
        self.sql("postgres", "SELECT pg_reload_conf()").expect("it reads them");
        // It does so on its own time: each look is a session of its own.
        assert!((0..500).any(|_| self.sql("postgres", "SHOW ssl").as_deref() == Ok("on")), "it has not read its settings anew");
        Certificates {
            authority: write("authority.pem", authority.pem(), false),
            certificate: write("client.pem", client, false),
            key: write("client.key", client_key, false),
        }
    }

    pub fn sql(&self, database: &str, statements: &str) -> Result<String, String> {
        psql(&self.0, database, statements)
    }
}

fn psql(server: &Server, database: &str, statements: &str) -> Result<String, String> {
    let mut psql = server.command(postgres_programs().join("psql"));
    psql.args(["--no-psqlrc", "--quiet", "--no-align", "--tuples-only", "--set=ON_ERROR_STOP=1", "--username=postgres", "--dbname", database]);
    run(psql.arg("--host").arg(server.path()).args(["--port", &server.port.to_string(), "--command", statements]))
}

pub struct Redis {
    pub server: Server,
    password: String,
}

impl Redis {
    /// With these lines of settings beside the usual ones. What is in `dump` is loaded: a snapshot, or a directory with all
    /// that a server has.
    pub async fn start(password: &str, settings: &str, dump: Option<&Path>) -> Redis {
        let mut redis = Redis { server: Server::new("redis"), password: password.to_owned() };
        let data = redis.server.path().join("data");
        fs::create_dir(&data).expect("a directory");
        redis.server.give(&data);
        if let Some(dump) = dump {
            let (from, to) = if dump.is_dir() { (dump.join("."), data.clone()) } else { (dump.to_owned(), data.join("dump.rdb")) };
            run(Command::new("cp").arg("-R").args([from, to])).expect("a dump");
            for entry in files(&data) {
                redis.server.give(&entry);
            }
        }
        let file = redis.server.path().join("redis.conf");
        let text = format!(
            "bind 127.0.0.1\nport {}\ndir {}\nsave \"\"\nrequirepass {password}\nmasterauth {password}\nrepl-diskless-sync-delay 0\n{settings}\n",
            redis.server.port,
            data.display()
        );
        fs::write(&file, text).expect("settings");
        redis.server.give(&file);
        let mut command = redis.server.command("redis-server");
        command.arg(file);
        let password = password.to_owned();
        redis.server.start(command, async |server| ask(server, &password, &["PING"]).is_ok_and(|said| said == "PONG")).await;
        redis
    }

    /// One that looks after this one, and asks it and its replicas every 100 ms; its port.
    pub async fn sentinel(&self) -> Server {
        let mut server = Server::new("sentinel");
        let file = server.path().join("sentinel.conf");
        let (port, of, password) = (server.port, self.server.port, &self.password);
        let text = format!(
            "bind 127.0.0.1\nport {port}\ndir {}\nsentinel monitor of 127.0.0.1 {of} 1\nsentinel auth-pass of {password}\n\
             sentinel down-after-milliseconds of 5000\n",
            server.path().display()
        );
        fs::write(&file, text).expect("settings");
        server.give(&file);
        let mut command = server.command("redis-server");
        command.arg(file).arg("--sentinel");
        server.start(command, async |server| ask(server, "", &["PING"]).is_ok_and(|said| said == "PONG")).await;
        assert_eq!(ask(&server, "", &["SENTINEL", "DEBUG", "info-period", "100"]).as_deref(), Ok("OK"));
        server
    }

    pub fn command(&self, words: &[&str]) -> String {
        ask(&self.server, &self.password, words).expect("redis-cli")
    }

    /// Many lines of commands at once, each to whoever has its key.
    pub fn commands(&self, lines: &str) {
        let mut command = self.server.command("redis-cli");
        command.args(["-c", "-p", &self.server.port.to_string(), "--no-auth-warning"]).env("REDISCLI_AUTH", &self.password);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("redis-cli");
        std::io::Write::write_all(&mut child.stdin.take().expect("its input"), lines.as_bytes()).expect("it reads");
        assert!(child.wait().expect("it ends").success());
    }
}

/// All that is below a directory.
fn files(dir: &Path) -> Vec<PathBuf> {
    let entries: Vec<PathBuf> = fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("an entry").path()).collect();
    let below: Vec<PathBuf> = entries.iter().filter(|entry| entry.is_dir()).flat_map(|dir| files(dir)).collect();
    entries.into_iter().chain(below).collect()
}

/// Asks a server that speaks as Redis does.
pub fn ask(server: &Server, password: &str, words: &[&str]) -> Result<String, String> {
    let mut command = server.command("redis-cli");
    if !password.is_empty() {
        command.env("REDISCLI_AUTH", password);
    }
    run(command.args(["-p", &server.port.to_string(), "--no-auth-warning"]).args(words))
}

/// Opens connections to a port of this machine, and to those that its server names.
pub fn dial(port: u16) -> mainstay_backup::source::redis::Dial {
    Box::new(move |server| {
        Box::pin(async move {
            let (host, port) = match server {
                mainstay_backup::source::redis::Server::Named => ("127.0.0.1".to_owned(), port),
                mainstay_backup::source::redis::Server::Other { host, port } => (host, port),
            };
            let socket = TcpStream::connect((host.as_str(), port)).await?;
            Ok(Box::new(socket) as Box<dyn mainstay_backup::source::redis::Duplex>)
        })
    })
}
