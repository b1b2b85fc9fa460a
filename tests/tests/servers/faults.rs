//! Ten faults of servers, put in for real in three groups: what each of them is to be called, and that nothing
//! else is said.

use std::time::Duration;

use mainstay_tests::eventually;
use mainstay_tests::servers::Login;
use mainstay_tests::servers::certificates::{ENDED, LONG};

use super::look::{Look, Seen, findings, look};
use super::stage::Stage;

/// A transaction of the tests is not left open for minutes; and a machine that does a lot besides is not slow yet.
const DAILY: &[&str] = &["longTransaction=1s", "slow=5s", "tooSlow=9s"];
const HEALTH: &[&str] = &["slow=9s"];
/// Between what `DAILY` calls slow and too slow.
const SLOW: Duration = Duration::from_millis(5_500);

/// What a fault is to be called: connection, check, verdict, and words of the message.
type Expected = (&'static str, &'static str, &'static str, &'static str);

/// What the daily plan looks at in each connection, at least.
const LOOKED_AT: [(&str, &str); 15] = [
    ("orders-db", "postgres.reachable"),
    ("orders-db", "postgres.replication.standbys"),
    ("orders-db", "postgres.longTransactions"),
    ("orders-standby", "postgres.replication.receiver"),
    ("cache", "redis.ping"),
    ("cache", "redis.persistence.snapshot"),
    ("cache-replica", "redis.replication.link"),
    ("metrics", "prometheus.up"),
    ("shop", "http"),
    ("shop", "http.daysLeft"),
    ("shop", "tls.chain"),
    ("shop-slow", "http"),
    ("shop-private", "http"),
    ("shop-front", "tls.daysLeft"),
    ("shop-front", "tls.chain"),
];

const WRONG_PASSWORD: [Expected; 2] = [
    ("orders-db", "postgres.reachable", "critical", "password authentication failed for user \"mainstay\""),
    ("orders-standby", "postgres.reachable", "critical", "password authentication failed for user \"mainstay\""),
];
const CANNOT_SAVE: [Expected; 2] = [
    ("cache", "redis.persistence.snapshot", "critical", "the last snapshot failed"),
    ("cache", "redis.ping", "critical", "unable to persist to disk"),
];
const TARGET_DOWN: [Expected; 1] = [("metrics", "prometheus.up", "critical", "connection refused")];
const ANOTHER_HOST: [Expected; 3] = [
    ("shop", "http", "critical", "its certificate is for other.example, and not for localhost"),
    ("shop", "tls.chain", "critical", "its certificate is for other.example, and not for localhost"),
    ("shop-front", "tls.chain", "critical", "its certificate is for other.example, and not for localhost"),
];
/// The primary misses the one that has stopped.
const STOPPED: [Expected; 2] = [
    ("cache-replica", "redis.ping", "critical", "refuses connections: nothing listens there"),
    ("cache", "redis.replication.replicas", "critical", "0 of 1 replicas"),
];
const REPLICATION_BROKEN: [Expected; 2] = [
    ("orders-standby", "postgres.replication.receiver", "critical", "replication is broken: there is no link to the primary"),
    ("orders-db", "postgres.replication.standbys", "critical", "0 of 1 standbys"),
];
const EMPTY_RESULT: [Expected; 1] = [("metrics", "prometheus.up", "unknown", "no data")];
const EXPIRED: [Expected; 3] = [
    ("shop", "http", "critical", "a certificate expired"),
    ("shop", "tls.daysLeft", "critical", "expired"),
    ("shop-front", "tls.daysLeft", "critical", "expired"),
];
const LONG_TRANSACTION: [Expected; 1] = [("orders-db", "postgres.longTransactions", "warning", "idle in transaction")];
const SLOW_ENDPOINT: [Expected; 1] = [("shop-slow", "http", "warning", "HTTP 200 in 5.")];

pub async fn all_is_well(stage: &Stage) {
    let seen = look(&stage.up, "daily", DAILY).await;
    nothing_but(&seen, &[]);
    for (target, id) in LOOKED_AT {
        let check = seen.of_connections().find(|seen| seen.target == target && seen.id == id);
        assert_eq!(check.map(|check| check.verdict.as_str()), Some("ok"), "{target} {id}: {check:?}");
    }
    assert_eq!(findings(&stage.up), [], "and nothing is found");
    let health = look(&stage.up, "health", HEALTH).await;
    nothing_but(&health, &[]);
    for name in ["orders-db", "cache", "metrics", "shop", "shop-front"] {
        tested(stage, &[name], 0);
    }
    tested(stage, &["orders-db", "--dry-run"], 0);
    let unknown = tested(stage, &["orders-dv"], 2);
    assert!(unknown.contains("no agent has a connection orders-dv") && unknown.contains("connection test orders-db"), "{unknown}");
}

/// `mainstay connection test`, and the status that it ends with.
#[track_caller]
fn tested(stage: &Stage, args: &[&str], status: i32) -> String {
    let output = stage.up.cli(&[&["connection", "test"], args].concat());
    let text = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert_eq!(output.status.code(), Some(status), "{args:?}: {text}");
    text
}

/// Exactly these are bad, what to do is said of each, and everything else goes on and is well.
#[track_caller]
fn nothing_but(seen: &Look, faults: &[&[Expected]]) {
    let bad = seen.bad();
    let expected: Vec<&Expected> = faults.iter().copied().flatten().collect();
    for (target, id, verdict, words) in &expected {
        let fits = |one: &&&Seen| one.target == *target && one.id == *id;
        let check = bad.iter().find(fits).unwrap_or_else(|| panic!("{target} {id} is not found: {bad:#?}"));
        assert_eq!(check.verdict, *verdict, "{check:#?}");
        assert!(check.message.contains(words), "{words:?} is not in {check:#?}");
        assert!(!check.hint.is_empty(), "what to do next is said: {check:#?}");
    }
    let invented: Vec<_> = bad.iter().filter(|one| !expected.iter().any(|(target, id, ..)| one.target == *target && one.id == *id)).collect();
    assert!(invented.is_empty(), "nothing else is wrong: {invented:#?}");
    for seen in seen.of_connections() {
        // No message of these has a credential in it, so nothing may look like one.
        assert!(!format!("{seen:?}").contains("[redacted]"), "{seen:#?}");
    }
    if seen.plan != "daily" {
        return;
    }
    for (target, id) in LOOKED_AT.iter().filter(|(target, _)| !expected.iter().any(|(bad, ..)| bad == target)) {
        assert!(seen.of_connections().any(|one| one.target == *target && one.id == *id), "{target} {id} goes on");
    }
    for id in ["cpu.used", "memory.used", "disk.used"] {
        assert!(seen.checks.iter().any(|one| one.target.contains('/') && one.id == id), "{id} of the machine goes on");
    }
}

pub async fn each_is_found_and_clears(stage: &mut Stage) {
    first_group(stage).await;
    second_group(stage).await;
    third_group(stage).await;
    nothing_but(&look(&stage.up, "daily", DAILY).await, &[]);
    assert_eq!(findings(&stage.up), [], "every finding has cleared");
}

async fn first_group(stage: &mut Stage) {
    stage.primary.set_password(&Login::new(&stage.login.user, "changed")).await;
    stage.cache.cannot_save().await;
    stage.exporter.stop();
    stage.prometheus.sees("node", false).await;
    let other = stage.authority.leaf(&["other.example"], LONG);
    stage.nginx.shows(&other.chain(), &other.key).await;

    nothing_but(&look(&stage.up, "daily", DAILY).await, &[&WRONG_PASSWORD, &CANNOT_SAVE, &TARGET_DOWN, &ANOTHER_HOST]);
    assert_eq!(findings(&stage.up).len(), 8, "each is a finding");
    let refused = tested(stage, &["orders-db"], 1);
    assert!(refused.contains("password authentication failed"), "{refused}");

    stage.primary.set_password(&stage.login).await;
    tested(stage, &["orders-db"], 0);
    stage.cache.can_save().await;
    stage.exporter.go_on().await;
    stage.prometheus.sees("node", true).await;
}

/// That nothing but the second group is found says that the first one has cleared.
async fn second_group(stage: &mut Stage) {
    stage.replica.stop();
    stage.primary.break_replication().await;
    stage.prometheus.loses_its_data().await;
    let ended = stage.authority.leaf(&["localhost", "127.0.0.1"], ENDED);
    stage.nginx.shows(&ended.chain(), &ended.key).await;

    nothing_but(&look(&stage.up, "daily", DAILY).await, &[&STOPPED, &REPLICATION_BROKEN, &EMPTY_RESULT, &EXPIRED]);
    assert_eq!(findings(&stage.up).len(), 8, "each is a finding, and the earlier ones have cleared");

    stage.replica.go_on().await;
    eventually("the replica is linked again", || async {
        let link = stage.replica.info("master_link_status").await?;
        if link == "up" { Ok(()) } else { Err(link) }
    })
    .await;
    stage.primary.mend_replication().await;
    stage.prometheus.has_its_data_again().await;
    stage.prometheus.sees("node", true).await;
    stage.nginx.shows(&stage.good.chain(), &stage.good.key).await;
}

async fn third_group(stage: &mut Stage) {
    let transaction = stage.primary.begin_transaction().await;
    eventually("the transaction has been open for a while", || async {
        let age = "SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction' AND now() - xact_start > '1500 ms'";
        let old = stage.primary.sql(age).await?;
        if old == "1" { Ok(()) } else { Err(old) }
    })
    .await;
    stage.upstream.answers_after(SLOW);

    nothing_but(&look(&stage.up, "daily", DAILY).await, &[&LONG_TRANSACTION, &SLOW_ENDPOINT]);
    assert_eq!(findings(&stage.up).len(), 2, "each is a finding, and the earlier ones have cleared");

    drop(transaction);
    stage.upstream.answers_after(Duration::ZERO);
}
