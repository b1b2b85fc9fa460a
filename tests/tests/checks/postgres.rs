use mainstay_core::report::Verdict;
use mainstay_tests::servers::certificates::{Authority, LONG};
use mainstay_tests::servers::{Login, Place, Postgres};
use serde_json::json;

use super::{Bench, CANARY, is, not_ok, quoted};

const KIND: &str = "postgres.check";

fn connection(port: u16, user: &str) -> String {
    format!("[connections.db]\nkind = \"postgres\"\nurl = \"postgres://{user}@127.0.0.1:{port}/orders\"\nPASSWORD\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_and_its_standby_well_and_broken() {
    let login = Login::new("mainstay", CANARY);
    let mut primary = Postgres::start(&login).await;
    let bench = Bench::new(CANARY, &connection(primary.port, "mainstay"));
    let report = bench.run(KIND, json!({})).await;
    assert_eq!(not_ok(&report), []);
    assert!(is(&report, "postgres.version", "", Verdict::Ok).message.contains(", primary, up "));
    assert!(is(&report, "postgres.size", "orders", Verdict::Ok).value > Some(1e6));
    assert!(report.outputs["connectionsPercent"].as_f64() > Some(0.0));

    // Standbys: wanted, there, cut off, back.
    let wanted = json!({"standbys": 1, "checks": ["replication"]});
    is(&bench.run(KIND, wanted.clone()).await, "postgres.replication.standbys", "", Verdict::Critical);
    let standby = primary.standby().await;
    let report = bench.run(KIND, wanted.clone()).await;
    is(&report, "postgres.replication.standbys", "", Verdict::Ok);
    is(&report, "postgres.replication.lagBytes", "standby", Verdict::Ok);
    is(&report, "postgres.replication.slot", "standby", Verdict::Ok);
    let behind = Bench::new(CANARY, &connection(standby.port, "mainstay"));
    let report = behind.run(KIND, json!({})).await;
    assert_eq!(not_ok(&report), []);
    assert!(is(&report, "postgres.version", "", Verdict::Ok).message.contains(", standby, up "));
    assert_eq!(is(&report, "postgres.replication.lag", "", Verdict::Ok).value, Some(0.0));
    primary.break_replication().await;
    is(&bench.run(KIND, wanted).await, "postgres.replication.standbys", "", Verdict::Critical);
    let broken = is(&behind.run(KIND, json!({})).await, "postgres.replication.receiver", "", Verdict::Critical).message.clone();
    assert_eq!(broken, "replication is broken: there is no link to the primary");
    primary.sql("SELECT pg_switch_wal()").await.expect("write-ahead log");
    let slot = json!({"checks": ["replication"], "slotRetained": {"critical": "1k"}});
    let kept = is(&bench.run(KIND, slot).await, "postgres.replication.slot", "standby", Verdict::Critical).clone();
    assert!(kept.message.contains("nobody uses it") && kept.hint.contains("pg_drop_replication_slot('standby')"), "{kept:?}");
    primary.mend_replication().await;

    // A transaction that is left open.
    let long = json!({"checks": ["longTransactions"], "longTransactions": {"critical": "1ms"}});
    let transaction = primary.begin_transaction().await;
    let check = is(&bench.run(KIND, long.clone()).await, "postgres.longTransactions", "", Verdict::Critical).clone();
    assert!(check.message.contains("with forgetful in postgres, idle in transaction"), "{check:?}");
    assert_eq!(check.details.len(), 1);
    assert!(check.details[0].ends_with("SELECT ?;"), "{check:?}");
    drop(transaction);

    // A prepared one, which this server has no room for, is no reason to say anything.
    assert!(!bench.run(KIND, long).await.checks.iter().any(|check| check.id == "postgres.preparedTransactions"));

    // Nobody is there; then somebody else's password.
    primary.stop();
    let report = bench.run(KIND, json!({})).await;
    let check = is(&report, "postgres.reachable", "", Verdict::Critical);
    assert!(check.message.ends_with("refuses connections: nothing listens there"), "{check:?}");
    assert_eq!((report.checks.len(), report.left_out), (1, 8), "what was not looked at is not called mended");
    primary.go_on().await;
    assert_eq!(not_ok(&bench.run(KIND, json!({"checks": ["version"]})).await), []);
    primary.set_password(&Login::new("mainstay", "another")).await;
    let check = is(&bench.run(KIND, json!({})).await, "postgres.reachable", "", Verdict::Critical).clone();
    assert_eq!(check.message, "password authentication failed for user \"mainstay\" (28P01)");
    assert!(check.hint.contains("the password of its file "), "{check:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_rights_what_cannot_be_seen_is_unknown_and_the_rest_goes_on() {
    let primary = Postgres::start(&Login::new("mainstay", CANARY)).await;
    primary.sql(&format!("CREATE ROLE stranger LOGIN PASSWORD '{CANARY}'")).await.expect("a role");
    let bench = Bench::new(CANARY, &connection(primary.port, "stranger").replace("/orders", "/postgres"));
    let report = bench.run(KIND, json!({})).await;
    assert_eq!(not_ok(&report), [("postgres.replication.standbys", Verdict::Unknown), ("postgres.longTransactions", Verdict::Unknown)]);
    let check = is(&report, "postgres.longTransactions", "", Verdict::Unknown);
    assert_eq!(check.hint, "as a superuser:  GRANT pg_monitor TO \"stranger\";");
    is(&report, "postgres.connections", "", Verdict::Ok);
    primary.sql("REVOKE SELECT ON pg_stat_user_tables FROM PUBLIC").await.expect("fewer rights");
    let report = bench.run(KIND, json!({"checks": ["bloat", "size"]})).await;
    let check = is(&report, "postgres.deadTuples", "", Verdict::Unknown);
    assert_eq!(check.message, "not known: permission denied for view pg_stat_user_tables (42501)");
    is(&report, "postgres.size", "orders", Verdict::Ok);
    is(&report, "postgres.bloat", "postgres", Verdict::Ok);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_with_dead_rows_and_empty_pages_are_found() {
    let primary = Postgres::start(&Login::new("mainstay", CANARY)).await;
    let statements = "CREATE TABLE swollen AS SELECT i, repeat('x', 200) AS text FROM generate_series(1, 100000) i;
         DELETE FROM swollen WHERE i > 30000;";
    primary.sql(statements).await.expect("a table");
    primary.sql("ANALYZE swollen").await.expect("statistics");
    let bench = Bench::new(CANARY, &connection(primary.port, "mainstay").replace("/orders", "/postgres"));
    let with = json!({"checks": ["bloat"]});
    let report = bench.run(KIND, with.clone()).await;
    let dead = is(&report, "postgres.deadTuples", "postgres", Verdict::Warning);
    assert!(dead.message.starts_with("70 % of the rows of public.swollen are dead, 70,000 rows"), "{dead:?}");
    // Without a right to read its columns there is no estimate, and that is said.
    let bloat = is(&report, "postgres.bloat", "postgres", Verdict::Skipped);
    assert!(bloat.hint.contains("GRANT pg_read_all_data"), "{bloat:?}");
    primary.sql("GRANT pg_read_all_data TO mainstay; VACUUM swollen").await.unwrap_or_default();
    primary.sql("GRANT pg_read_all_data TO mainstay").await.expect("a right");
    let report = bench.run(KIND, with).await;
    let bloat = is(&report, "postgres.bloat", "postgres", Verdict::Warning);
    let percent = bloat.value.expect("an estimate");
    assert!((65.0..=75.0).contains(&percent), "{bloat:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_proves_who_it_is() {
    let primary = Postgres::start(&Login::new("mainstay", CANARY)).await;
    let url = connection(primary.port, "mainstay");
    let with = json!({"checks": ["version"]});
    let report = Bench::new(CANARY, &format!("{url}tls = \"require\"\n")).run(KIND, with.clone()).await;
    assert_eq!(is(&report, "postgres.reachable", "", Verdict::Critical).message, "the server does not speak TLS");

    let place = Place::new("tls");
    let authority = Authority::new();
    let leaf = authority.leaf(&["127.0.0.1", "localhost"], LONG);
    let (chain, key, root) = (place.write("chain.pem", &leaf.chain()), place.write("key.pem", &leaf.key), place.write("root.pem", &authority.root()));
    for (name, value) in [("ssl_cert_file", chain.display().to_string()), ("ssl_key_file", key.display().to_string()), ("ssl", "on".to_owned())] {
        primary.sql(&format!("ALTER SYSTEM SET {name} = '{value}'")).await.expect("a setting");
    }
    primary.sql("SELECT pg_reload_conf()").await.expect("a reload");
    mainstay_tests::eventually("the server speaks TLS", || async {
        match primary.sql("SHOW ssl").await?.as_str() {
            "on" => Ok(()),
            other => Err(other.to_owned()),
        }
    })
    .await;
    let checked = async |more: &str| Bench::new(CANARY, &format!("{url}{more}")).run(KIND, with.clone()).await;
    let root = quoted(&root);
    assert_eq!(not_ok(&checked(&format!("tls = \"verify\"\nca = {root}\n")).await), []);
    assert_eq!(not_ok(&checked("tls = \"require\"\n").await), []);
    assert_eq!(not_ok(&checked("tls = \"off\"\n").await), []);
    let report = checked("tls = \"verify\"\n").await;
    assert_eq!(is(&report, "postgres.reachable", "", Verdict::Critical).message, "TLS: no trusted authority has issued its certificate");
    let report = checked(&format!("tls = \"verify\"\nca = {root}\nserverName = \"db.example\"\n")).await;
    let check = is(&report, "postgres.reachable", "", Verdict::Critical);
    assert!(check.message.ends_with("and not for db.example"), "{check:?}");
    let report = checked("tls = \"verify\"\nca = \"/no/such.pem\"\n").await;
    let check = is(&report, "postgres.reachable", "", Verdict::Unknown);
    assert!(check.message.contains("/no/such.pem"), "{check:?}");
}
