//! PostgreSQL: dumped, restored and compared row by row; and what goes wrong is said before anything is touched.
#![allow(clippy::disallowed_methods, clippy::expect_used, clippy::panic, reason = "a test that cannot go on stops with words")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use age::secrecy::ExposeSecret;
use mainstay_backup::judge::Standing;
use mainstay_backup::keys::{Identities, Recipients};
use mainstay_backup::manifest::{Manifest, Role};
use mainstay_backup::place;
use mainstay_backup::progress::Teller;
use mainstay_backup::source::Source as _;
use mainstay_backup::source::postgres::rows::Compare;
use mainstay_backup::source::postgres::{Connection, Options, Postgres as Source};
use mainstay_backup::{Store, check, open, scan, write};
use tokio_util::sync::CancellationToken;

use support::servers::{Postgres, postgres_programs};
use support::{Keys, back_up};

mod support;

const PASSWORD: &str = "canary-Sx7vQ2-word";

/// Of every kind of which a restore may lose something.
const DATA: &str = "
    SET ROLE app;
    CREATE TYPE state AS ENUM ('new', 'shipped');
    CREATE TABLE customers (id int PRIMARY KEY, name text NOT NULL, photo bytea);
    CREATE TABLE orders (id bigserial PRIMARY KEY, customer int NOT NULL REFERENCES customers, state state, placed timestamptz, notes jsonb);
    INSERT INTO customers SELECT n, 'customer ' || n || E' \\'quoted\\' \\n\\t ü', decode(md5(n::text), 'hex') FROM generate_series(1, 1000) n;
    INSERT INTO orders (customer, state, placed, notes)
        SELECT 1 + n % 1000, (ARRAY['new', 'shipped'])[1 + n % 2]::state, '2026-01-01'::timestamptz + n * interval '1 minute',
               jsonb_build_object('n', n, 'text', md5('a' || n) || md5('b' || n) || md5('c' || n) || md5('d' || n) || md5('e' || n) || md5('f' || n)) FROM generate_series(1, 100000) n;
    CREATE INDEX ON orders (placed);
    CREATE VIEW open_orders AS SELECT * FROM orders WHERE state = 'new';
    CREATE FUNCTION twice(n int) RETURNS int LANGUAGE sql AS 'SELECT 2 * n';
";

/// The rows of all tables, and what is around them.
const SUMS: &str = "
    SELECT 'customers', count(*), md5(string_agg(c::text, '|' ORDER BY id)) FROM customers c
    UNION ALL SELECT 'orders', count(*), md5(string_agg(o::text, '|' ORDER BY id)) FROM orders o
    UNION ALL SELECT 'open', count(*), '' FROM open_orders
    UNION ALL SELECT 'next', nextval('orders_id_seq'), twice(1)::text
    UNION ALL SELECT 'indexes', count(*), string_agg(indexdef, '|' ORDER BY indexdef) FROM pg_indexes WHERE schemaname = 'public'
    ORDER BY 1";

struct Bench {
    server: Postgres,
    store: Store,
    keys: Keys,
    dir: tempfile::TempDir,
}

impl Bench {
    async fn new() -> Bench {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Store::local(&dir.path().join("backups")).expect("a store");
        let server = Postgres::start(PASSWORD).await;
        server.sql("orders", DATA).expect("data");
        Bench { server, store, keys: Keys::new(), dir }
    }

    fn connection(&self, database: &str) -> Connection {
        Connection {
            host: "127.0.0.1".to_owned(),
            port: self.server.0.port,
            user: "app".to_owned(),
            password: Some(PASSWORD.to_owned().into()),
            database: database.to_owned(),
            tls: "prefer".to_owned(),
            authorities: None,
            client: None,
        }
    }

    fn source(&self) -> Source {
        Source::new(self.connection("orders"), Options::default())
    }

    async fn dumped(&self) -> Manifest {
        let written = back_up(&self.store, self.keys.order(1), &mut self.source()).await.expect("a backup");
        let checked = check(&self.store, &written.manifest, &written.check, &Teller::default()).await;
        assert!(checked.is_good(), "{checked:?}");
        written.manifest
    }

    /// Into a new database of this name.
    async fn restore(&self, manifest: &Manifest, database: &str) -> Result<(), String> {
        self.server.sql("postgres", &format!("CREATE DATABASE {database} OWNER app")).expect("a database");
        self.restore_again(manifest, database).await
    }

    async fn restore_again(&self, manifest: &Manifest, database: &str) -> Result<(), String> {
        let part = manifest.parts.iter().find(|part| part.name == "database").expect("the database");
        let plain = open(&self.store, manifest, part, &self.keys.drill, &Teller::default()).await.map_err(|error| error.to_string())?;
        let options = place::postgres::Options { without_owners: false, deadline: Duration::from_secs(120), tables: None, parallel: None };
        place::postgres::restore(plain, &self.connection(database), None, &options).await.map_err(|error| error.to_string())
    }

    fn sums(&self, database: &str) -> String {
        self.server.sql(database, SUMS).expect("sums")
    }

    fn tables(&self, database: &str) -> String {
        self.server.sql(database, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").expect("a number")
    }

    /// The store as it was before: nothing was begun.
    async fn nothing_was_begun(&self) {
        assert_eq!(self.store.list("").await.expect("a listing"), []);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_dumped_is_restored_row_by_row() {
    let bench = Bench::new().await;
    let manifest = bench.dumped().await;
    assert_eq!(manifest.source.versions["server"].split('.').next(), manifest.source.versions["pg_dump"].split('.').next());
    let tables = &manifest.source.counted["tables"];
    assert_eq!(*tables, serde_json::json!({ "public.customers": { "rows": 1000 }, "public.orders": { "rows": 100_000 } }));
    bench.restore(&manifest, "again").await.expect("it is restored");
    let compared =
        || async { place::postgres::compare(tables, &bench.connection("again"), None, Duration::from_secs(60)).await.expect("it answers") };
    assert_eq!(compared().await, Vec::<String>::new());
    assert_eq!(bench.sums("again"), bench.sums("orders"));
    // Where something is, nothing is touched.
    let refused = bench.restore_again(&manifest, "again").await.expect_err("it is not empty");
    assert!(refused.contains("nothing was touched"), "{refused}");
    assert!(!format!("{manifest:?}").contains(PASSWORD));
    bench.server.sql("again", "DELETE FROM orders WHERE id = 1").expect("a row is lost");
    assert_eq!(compared().await, ["table public.orders has 99999 rows, and had 100000"]);
    // The roles are beside it.
    let globals = manifest.parts.iter().find(|part| part.name == "globals").expect("the roles");
    let plain = open(&bench.store, &manifest, globals, &bench.keys.drill, &Teller::default()).await.expect("it opens");
    let text = String::from_utf8(support::all_of(plain).await.expect("it is right")).expect("text");
    assert!(text.contains("CREATE ROLE app"), "{text}");
}

/// What is counted is what is dumped, whatever is written meanwhile; and with checksums, other rows of the same number are seen.
#[tokio::test(flavor = "multi_thread")]
async fn rows_are_those_of_the_snapshot() {
    let bench = Bench::new().await;
    let options = Options { compare: Compare::Content, ..Options::default() };
    let mut source = Source::new(bench.connection("orders"), options);
    source.look().await.expect("it is there");
    let (store, keys) = (&bench.store, &bench.keys);
    // The snapshot is taken when the second stream is opened; from then on nothing that is written is in it.
    let globals = source.next().await.expect("roles").expect("roles");
    support::all_of(globals.reader).await.expect("roles");
    let database = source.next().await.expect("a database").expect("a database");
    bench.server.sql("orders", "UPDATE customers SET name = 'other' WHERE id = 1; DELETE FROM orders").expect("it is written to");
    let manifest = back_up(store, keys.order(1), &mut support::Given::one(database.reader)).await.expect("a backup").manifest;
    let counted = source.end().await.expect("it counted");
    assert_eq!(counted["tables"]["public.orders"]["rows"], 100_000);
    bench.server.sql("postgres", "CREATE DATABASE again OWNER app").expect("a database");
    let plain = open(store, &manifest, &manifest.parts[0], &keys.drill, &Teller::default()).await.expect("it opens");
    let options = place::postgres::Options { without_owners: false, deadline: Duration::from_secs(120), tables: None, parallel: None };
    place::postgres::restore(plain, &bench.connection("again"), None, &options).await.expect("it is restored");
    let compared = |database| {
        let (connection, counted) = (bench.connection(database), &counted["tables"]);
        async move { place::postgres::compare(counted, &connection, None, Duration::from_secs(60)).await.expect("it answers") }
    };
    assert_eq!(compared("again").await, Vec::<String>::new());
    assert_eq!(compared("orders").await, ["table public.customers has other rows than it had", "table public.orders has 0 rows, and had 100000"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_restored_with_age_zstd_and_pg_restore_alone() {
    let bench = Bench::new().await;
    let (identity, file) = Identities::generate();
    let key = bench.dir.path().join("key.txt");
    fs::write(&key, file.expose_secret()).expect("a key file");
    let mut order = bench.keys.order(1);
    order.recipients = Recipients::read([(Role::BreakGlass, identity.public()[0].as_str())]).expect("a recipient");
    let manifest = back_up(&bench.store, order, &mut bench.source()).await.expect("a backup").manifest;
    bench.server.sql("postgres", "CREATE DATABASE alone OWNER app").expect("a database");
    let backups = bench.dir.path().join("backups");
    let targets = bench.dir.path().join("target.key");
    let sealed = backups.join(manifest.backup.target.to_string()).join("key-1.age");
    let opened = Command::new("age").args(["-d", "-i"]).arg(&key).arg("-o").arg(&targets).arg(sealed).status();
    assert!(opened.expect("age").success());
    let object = backups.join(manifest.backup.to_string()).join("database.zst.age");
    let mut age = Command::new("age").args(["-d", "-i"]).arg(&targets).arg(&object).stdout(Stdio::piped()).spawn().expect("age");
    let mut zstd = Command::new("zstd").arg("-dc").stdin(age.stdout.take().expect("output")).stdout(Stdio::piped()).spawn().expect("zstd");
    let restored = Command::new(postgres_programs().join("pg_restore"))
        .args(["--host=127.0.0.1", &format!("--port={}", bench.server.0.port), "--username=app", "--dbname=alone", "--exit-on-error"])
        .env("PGPASSWORD", PASSWORD)
        .stdin(zstd.stdout.take().expect("output"))
        .status();
    assert!(restored.expect("pg_restore").success());
    assert!(age.wait().expect("age").success() && zstd.wait().expect("zstd").success());
    assert_eq!(bench.sums("alone"), bench.sums("orders"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_and_a_server_that_is_gone_are_said_before_anything_is_begun() {
    let mut bench = Bench::new().await;
    let mut wrong = bench.connection("orders");
    wrong.password = Some("wrong".to_owned().into());
    let said =
        back_up(&bench.store, bench.keys.order(1), &mut Source::new(wrong, Options::default())).await.expect_err("a wrong password").to_string();
    assert!(said.contains("password authentication failed") && said.contains("postgres://app@127.0.0.1"), "{said}");
    let missing = Source::new(bench.connection("nothing"), Options::default());
    let said = {
        let mut missing = missing;
        back_up(&bench.store, bench.keys.order(1), &mut missing).await.expect_err("no such database").to_string()
    };
    assert!(said.contains("does not exist"), "{said}");
    bench.nothing_was_begun().await;
    bench.server.0.stop();
    let said = back_up(&bench.store, bench.keys.order(1), &mut bench.source()).await.expect_err("no server").to_string();
    assert!(said.contains("refused"), "{said}");
    bench.nothing_was_begun().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_is_too_old_is_said_before_anything_is_begun() {
    let bench = Bench::new().await;
    let programs = bench.dir.path().join("bin");
    fs::create_dir(&programs).expect("a directory");
    let old = programs.join("pg_dump");
    fs::write(&old, "#!/bin/sh\necho 'pg_dump (PostgreSQL) 9.6.24'\n").expect("a program");
    fs::set_permissions(&old, fs::Permissions::from_mode(0o755)).expect("it can be run");
    std::os::unix::fs::symlink(postgres_programs().join("psql"), programs.join("psql")).expect("a link");
    let options = Options { programs: Some(programs), ..Options::default() };
    let said =
        back_up(&bench.store, bench.keys.order(1), &mut Source::new(bench.connection("orders"), options)).await.expect_err("too old").to_string();
    assert!(said.contains("pg_dump is of version 9.6.24") && said.contains("install its client programs of version"), "{said}");
    let options = Options { programs: Some(bench.dir.path().join("nowhere")), ..Options::default() };
    let said = back_up(&bench.store, bench.keys.order(1), &mut Source::new(bench.connection("orders"), options)).await.expect_err("none").to_string();
    assert!(said.contains("there is no pg_dump"), "{said}");
    bench.nothing_was_begun().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stops_in_the_middle_makes_no_backup() {
    let mut bench = Bench::new().await;
    // So slow that it is in the middle for as long as it takes.
    let slow = bench.store.clone().limited(2 << 20);
    let (tell, mut look) = Teller::new();
    let (order, mut source) = (bench.keys.order(1), bench.source());
    let writing = tokio::spawn(async move { write(&slow, order, &mut source, &tell, &CancellationToken::new()).await.map(drop) });
    look.wait_for(|progress| progress.part == "database" && progress.stored_bytes > 0).await.expect("it is under way");
    bench.server.0.kill();
    let ended = tokio::time::timeout(Duration::from_secs(60), writing).await.expect("it ends").expect("it does not panic");
    let said = ended.expect_err("the server is gone").to_string();
    assert!(said.starts_with("part database: the source: pg_dump ended with status 1"), "{said}");
    let found = scan(&bench.store, None, &bench.keys.known()).await.expect("a scan").backups;
    assert!(matches!(found[0].standing, Standing::Sealed { .. }), "{found:?}");
    bench.server.go_on().await;
    let next = back_up(&bench.store, bench.keys.order(2), &mut bench.source()).await.expect("the next one succeeds");
    assert!(check(&bench.store, &next.manifest, &next.check, &Teller::default()).await.is_good());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_is_not_held_for_longer_than_said() {
    let bench = Bench::new().await;
    let slow = bench.store.clone().limited(1 << 20);
    let options = Options { deadline: Duration::from_secs(1), ..Options::default() };
    let said = back_up(&slow, bench.keys.order(1), &mut Source::new(bench.connection("orders"), options)).await.expect_err("too slow").to_string();
    assert!(said.contains("pg_dump was ended after 1 s"), "{said}");
    let open = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'mainstay-backup'";
    for _ in 0..200 {
        if bench.server.sql("postgres", open).expect("a number") == "0" {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("its session is still there");
}

/// A restore that cannot come to its end leaves nothing, and does not end well.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_damaged_is_not_half_restored() {
    let bench = Bench::new().await;
    let manifest = bench.dumped().await;
    let object = bench.dir.path().join("backups").join(manifest.backup.to_string()).join("database.zst.age");
    let whole = fs::read(&object).expect("the part");
    // Near the end: nearly all of it has been restored by then.
    let mut flipped = whole.clone();
    let last = flipped.len() - 10;
    flipped[last] ^= 1;
    replace(&object, &flipped);
    let said = bench.restore(&manifest, "flipped").await.expect_err("it is damaged");
    assert!(said.contains("is damaged") && said.contains("nothing of it was restored"), "{said}");
    assert_eq!(bench.tables("flipped"), "0");
    replace(&object, &whole);
    // What the database itself refuses is an error too: the owner of its tables is not there.
    bench.server.sql("postgres", "CREATE ROLE other LOGIN PASSWORD 'x'").expect("a role");
    bench.server.sql("postgres", "CREATE DATABASE others OWNER other").expect("a database");
    let mut connection = bench.connection("others");
    (connection.user, connection.password) = ("other".to_owned(), Some("x".to_owned().into()));
    let part = manifest.parts.iter().find(|part| part.name == "database").expect("the database");
    let options = |without_owners| place::postgres::Options { without_owners, deadline: Duration::from_secs(60), tables: None, parallel: None };
    let plain = open(&bench.store, &manifest, part, &bench.keys.drill, &Teller::default()).await.expect("it opens");
    let said = place::postgres::restore(plain, &connection, None, &options(false)).await.expect_err("no such right").to_string();
    assert!(said.contains("pg_restore ended with status 1") && said.contains("nothing of it was restored"), "{said}");
    assert_eq!(bench.tables("others"), "0");
    let plain = open(&bench.store, &manifest, part, &bench.keys.drill, &Teller::default()).await.expect("it opens");
    place::postgres::restore(plain, &connection, None, &options(true)).await.expect("without its owners it can be");
    assert_eq!(bench.tables("others"), "2");
}

fn replace(object: &Path, bytes: &[u8]) {
    fs::remove_file(object).expect("it is there");
    fs::write(object, bytes).expect("it is written");
}

/// Who shows a certificate needs no password, to be dumped and to be restored.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_shows_its_certificate() {
    let bench = Bench::new().await;
    let files = bench.server.serves_certificates_only();
    let shown = Connection {
        password: None,
        tls: "verify-full".to_owned(),
        authorities: Some(files.authority.clone()),
        client: Some((files.certificate.clone(), files.key.clone())),
        ..bench.connection("orders")
    };
    let mut source = Source::new(shown.clone(), Options::default());
    let written = back_up(&bench.store, bench.keys.order(1), &mut source).await.expect("a backup");
    bench.server.sql("postgres", "CREATE DATABASE again OWNER app").expect("a database");
    let part = written.manifest.parts.iter().find(|part| part.name == "database").expect("the database");
    let plain = open(&bench.store, &written.manifest, part, &bench.keys.drill, &Teller::default()).await.expect("it opens");
    let options = place::postgres::Options { without_owners: false, deadline: Duration::from_secs(120), tables: None, parallel: None };
    place::postgres::restore(plain, &Connection { database: "again".to_owned(), ..shown.clone() }, None, &options).await.expect("it is restored");
    assert_eq!(bench.sums("again"), bench.sums("orders"));

    // Without it, or with a key that everybody may read, nothing is begun, and the words are PostgreSQL's own.
    let without = Connection { client: None, ..shown.clone() };
    let words = Source::new(without, Options::default()).look().await.expect_err("it shows none").to_string();
    assert!(words.contains("certificate"), "{words}");
    fs::set_permissions(&files.key, fs::Permissions::from_mode(0o644)).expect("permissions");
    let words = Source::new(shown, Options::default()).look().await.expect_err("anybody may read it").to_string();
    assert!(words.contains("has group or world access"), "{words}");
}
