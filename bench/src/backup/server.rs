//! A PostgreSQL as Debian ships it, with fsync, on a port of the loopback address; and a database in it that looks like data.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use mainstay_tests::servers::{Place, Program, free_port};
use rustix::process::Signal;

pub const USER: &str = "postgres";
pub const PASSWORD: &str = "measured";
/// What is backed up.
pub const SOURCE: &str = "orders";
/// Where Debian has its versions.
const VERSIONS: &str = "/usr/lib/postgresql";

const CUSTOMERS: u64 = 100_000;
/// Orders that are added at a time, and twice as many events.
const BATCH: u64 = 50_000;
/// Of what is wanted, the tables; the rest are their indexes.
const TABLES: f64 = 0.85;

/// Tables, and what says so many words to a number: the same one each time.
const SCHEMA: &str = "
    CREATE SCHEMA making;
    CREATE FUNCTION making.said(seed bigint, words int) RETURNS text LANGUAGE sql IMMUTABLE AS $$
        SELECT string_agg((string_to_array('able account after again agent answer apply area balance batch before begin below branch bring budget build cable call cargo carry cause center chain change charge check claim class clear client close coast column common copy count cover credit daily data deal delay depot detail device direct draft drive early empty entry error event every exact extra field final first fixed floor force fresh front given goods grant green group guard hand harbor heavy holder hour house image index inner input issue item join keep label large later layer leave legal level light limit line list local lower main major manual market match meter middle minor model month motor mount move network never night north notice number object offer office order other outer owner paper part past payment phase piece plain plan plant point port press price print proof public quick quota range rate ready reason record refund region remote reply report request reserve result return review right route safe sample scale season second section sender sent series service session shelf ship short side signal simple single small source south space spare split staff stage stamp start state steel step stock storage store street strong supply surface switch system table target team terminal test thing third ticket time title total tower track trade train transfer travel trial truck unit until update upper urgent user usual valid value vendor version vessel view visit volume wait warehouse watch water week weight west wheel white whole window winter within worker yard year yellow zone anchor basket bridge candle forest', ' '))[1 + (hashint8(seed * 64 + k) & 255)], ' ')
          FROM generate_series(1, words) k $$;
    CREATE TABLE customers (id bigint NOT NULL, name text NOT NULL, email text NOT NULL, city text, since timestamptz NOT NULL, balance numeric(12,2));
    CREATE TABLE orders (id bigint NOT NULL, customer bigint NOT NULL, state text NOT NULL, placed timestamptz NOT NULL, total numeric(12,2) NOT NULL,
                         lines jsonb NOT NULL, note text);
    CREATE TABLE events (id bigint NOT NULL, at timestamptz NOT NULL, host text NOT NULL, session uuid NOT NULL, level smallint NOT NULL,
                         message text, attributes jsonb NOT NULL);
";

const INDEXES: &str = "
    DROP SCHEMA making CASCADE;
    ALTER TABLE customers ADD PRIMARY KEY (id);
    ALTER TABLE orders ADD PRIMARY KEY (id);
    ALTER TABLE events ADD PRIMARY KEY (id);
    CREATE UNIQUE INDEX ON customers (email);
    CREATE INDEX ON orders (customer);
    CREATE INDEX ON orders (placed);
    CREATE INDEX ON events (at);
    CREATE INDEX ON events (session);
    ALTER TABLE orders ADD FOREIGN KEY (customer) REFERENCES customers (id);
";

fn customers() -> String {
    format!(
        "INSERT INTO customers
         SELECT n, initcap(making.said(n, 2)), 'c' || n || '@' || making.said(n + 7, 1) || '.example', making.said(n * 3, 1),
                timestamptz '2021-01-01' + n * interval '7 minutes', ((hashint8(n) & 1048575) / 100.0)::numeric(12,2)
           FROM generate_series(1::bigint, {CUSTOMERS}) n"
    )
}

fn orders(from: u64, to: u64) -> String {
    let line = |seed: u32| {
        format!(
            "jsonb_build_object('sku', 'A-' || (hashint8(n * 16 + {seed}) & 16383), 'count', 1 + (hashint8(n * 16 + {seed} + 1) & 7),
                                'price', ((hashint8(n * 16 + {seed} + 2) & 65535) / 100.0)::numeric(8,2))"
        )
    };
    format!(
        "INSERT INTO orders
         SELECT n, 1 + (hashint8(n * 16) & 65535),
                (ARRAY['new', 'paid', 'packed', 'shipped', 'shipped', 'shipped', 'returned', 'closed'])[1 + (hashint8(n * 16 + 1) & 7)],
                timestamptz '2023-01-01' + n * interval '11 seconds', ((hashint8(n * 16 + 2) & 1048575) / 100.0)::numeric(12,2),
                jsonb_build_array({}, {}), making.said(n, 9)
           FROM generate_series({from}::bigint, {to}) n",
        line(3),
        line(6)
    )
}

fn events(from: u64, to: u64) -> String {
    format!(
        "INSERT INTO events
         SELECT n, timestamptz '2024-01-01' + n * interval '0.37 seconds', 'node-' || (hashint8(n * 16 + 1) & 255), md5((n / 3)::text)::uuid,
                hashint8(n * 16 + 2) & 3, making.said(n * 5, 14),
                jsonb_build_object('status', (ARRAY[200, 200, 200, 201, 204, 301, 404, 500])[1 + (hashint8(n * 16 + 3) & 7)],
                                   'ms', ((hashint8(n * 16 + 4) & 4095) / 10.0)::numeric(6,1), 'bytes', hashint8(n * 16 + 5) & 1048575,
                                   'path', '/v1/orders/' || (hashint8(n * 16 + 6) & 1048575), 'retried', (hashint8(n * 16 + 7) & 15) = 0)
           FROM generate_series({from}::bigint, {to}) n"
    )
}

/// It ends with the value, and with the measurement's process however that ends.
pub struct Server {
    /// Before its place, which goes with the value: it ends first.
    program: Program,
    place: Place,
    pub port: u16,
}

impl Server {
    /// Starts it on an empty directory. Only what would make rounds differ is set: statistics are gathered by nobody else meanwhile.
    pub async fn start() -> Server {
        let (place, port) = (Place::new("pg"), free_port());
        let mut initdb = place.command(programs().join("initdb"));
        initdb.args(["--pgdata=data", "--encoding=UTF8", "--locale=C", "--auth-local=trust", "--auth-host=scram-sha-256", "--username", USER]);
        ended_well(initdb).expect("initdb");
        let mut command = place.command(programs().join("postgres"));
        command.args(["-D", "data", "-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=.."]);
        command.args(["-c", "autovacuum=off"]);
        let program = Program::start("postgres", &place, command, Signal::INT);
        let mut server = Server { program, place, port };
        let mut asked = server.psql("postgres");
        asked.args(["--command", &format!("ALTER ROLE {USER} PASSWORD '{PASSWORD}'")]);
        server.program.ready(|| std::future::ready(output_of(&mut asked).map(drop))).await;
        server
    }

    fn psql(&self, database: &str) -> Command {
        let mut psql = self.place.command(programs().join("psql"));
        psql.args(["--no-psqlrc", "--quiet", "--no-align", "--tuples-only", "--set=ON_ERROR_STOP=1", "--username", USER, "--dbname", database]);
        psql.arg("--host").arg(self.place.path()).args(["--port", &self.port.to_string()]);
        psql
    }

    /// What it answers to statements.
    pub fn sql(&self, database: &str, statements: &str) -> String {
        let mut psql = self.psql(database);
        psql.args(["--command", statements]);
        ended_well(psql).expect("statements of the measurement")
    }

    /// Makes the database that is backed up, of about so many bytes; how many it has come to.
    pub fn fill(&self, bytes: u64) -> u64 {
        self.create(SOURCE);
        self.sql(SOURCE, SCHEMA);
        self.sql(SOURCE, &customers());
        let mut orders_made = 0;
        while (self.bytes() as f64) < bytes as f64 * TABLES {
            let (from, to) = (orders_made + 1, orders_made + BATCH);
            self.sql(SOURCE, &orders(from, to));
            self.sql(SOURCE, &events(from * 2 - 1, to * 2));
            orders_made = to;
        }
        self.sql(SOURCE, INDEXES);
        self.sql(SOURCE, "VACUUM ANALYZE");
        self.bytes()
    }

    fn bytes(&self) -> u64 {
        self.sql(SOURCE, "SELECT pg_database_size(current_database())").parse().expect("a number")
    }

    /// Rows of all tables of a database.
    pub fn rows(&self, database: &str) -> u64 {
        let statement = "SELECT (SELECT count(*) FROM customers) + (SELECT count(*) FROM orders) + (SELECT count(*) FROM events)";
        self.sql(database, statement).parse().expect("a number")
    }

    pub fn create(&self, database: &str) {
        self.sql("postgres", &format!("CREATE DATABASE {database} TEMPLATE template0"));
    }

    pub fn remove(&self, database: &str) {
        self.sql("postgres", &format!("DROP DATABASE {database}"));
    }

    /// What was written before is on the disk, so that whoever is measured next does not pay for it.
    pub fn settle(&self) {
        self.sql("postgres", "CHECKPOINT");
        ended_well(Command::new("sync")).expect("sync");
    }
}

/// Of the newest version that is installed, which is the one that Mainstay takes.
pub fn programs() -> PathBuf {
    let versions = std::fs::read_dir(VERSIONS).into_iter().flatten().flatten();
    let newest = versions.max_by_key(|entry| entry.file_name().to_string_lossy().parse::<u32>().unwrap_or(0));
    newest.expect("PostgreSQL is installed: tests/packages installs it").path().join("bin")
}

/// Runs a program to its end; what it printed, or what it said when it failed.
pub fn ended_well(mut command: Command) -> Result<String, String> {
    output_of(&mut command)
}

fn output_of(command: &mut Command) -> Result<String, String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(format!("{} {}", text(&output.stdout), text(&output.stderr))) }
}
