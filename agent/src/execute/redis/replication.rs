//! Replicas as their primary sees them, and a replica as it sees itself.

use mainstay_core::report::{Check, Thresholds, Verdict};

use super::super::wording;
use super::{Look, rounded};

pub(super) const REPLICAS: &str = "redis.replication.replicas";
const LINK: &str = "redis.replication.link";
const LAG: &str = "redis.replication.lag";
const LAG_BYTES: &str = "redis.replication.lagBytes";
/// Replicas that are looked at; a server has a handful.
const LISTED: u64 = 100;

/// From where on it is bad.
struct Limits {
    lag: Thresholds,
    bytes: Thresholds,
}

pub(super) fn checks(look: &Look<'_>) -> Vec<Check> {
    let limits = Limits {
        lag: look.params.replication_lag.seconds(30.0, 120.0),
        bytes: look.params.replication_lag_bytes.from(Some(16_777_216.0), Some(268_435_456.0)),
    };
    match look.info.text("role") {
        Some("master") => primary(look, &limits),
        Some("slave") => replica(look, &limits),
        Some(role) => vec![Check::stated(LINK, "", Verdict::Unknown, format!("it is a {role}, which this step does not look into"))],
        None => vec![Check::stated(LINK, "", Verdict::Unknown, "it does not say whether it is a primary or a replica")],
    }
}

fn primary(look: &Look<'_>, limits: &Limits) -> Vec<Check> {
    let info = look.info;
    let count = info.count("connected_slaves").unwrap_or(0).min(LISTED);
    let replicas: Vec<_> = (0..count).filter_map(|i| info.parts(&format!("slave{i}"))).collect();
    let online = replicas.iter().filter(|replica| replica.get("state") == Some(&"online")).count();
    let expected = look.params.replicas.or(look.connection.replicas);
    let (verdict, message) = match expected {
        Some(expected) if (online as u64) < u64::from(expected) => (Verdict::Critical, format!("{online} of {expected} replicas are online")),
        Some(expected) => (Verdict::Ok, format!("{online} replicas are online, {expected} wanted")),
        None if replicas.is_empty() => (Verdict::Ok, "no replica is connected, and none is asked for".to_owned()),
        None => (Verdict::Ok, wording::count(online as u64, "replica is online", "replicas are online")),
    };
    let check = Check { value: Some(online as f64), ..Check::stated(REPLICAS, "", verdict, message) };
    let mut checks = vec![if verdict == Verdict::Ok { check } else { check.with_hint("look at the replica's log: why does it not connect?") }];
    let own_offset = info.number("master_repl_offset");
    for replica in &replicas {
        let part = |name: &str| replica.get(name).copied().unwrap_or_default();
        let number = |name: &str| replica.get(name).and_then(|text| text.parse::<f64>().ok());
        let subject = format!("{}:{}", part("ip"), part("port"));
        if part("state") != "online" {
            checks.push(Check::stated(LINK, &subject, Verdict::Warning, format!("it is being brought up to date ({})", part("state"))));
            continue;
        }
        if let Some(lag) = number("lag") {
            checks.push(judged(LAG, &subject, lag.max(0.0), "s", limits.lag, format!("last heard of {} ago", wording::seconds(lag))));
        }
        if let (Some(own), Some(theirs)) = (own_offset, number("offset")) {
            let behind = (own - theirs).max(0.0);
            checks.push(judged(LAG_BYTES, &subject, behind, "B", limits.bytes, format!("{} behind", wording::bytes(behind as u64))));
        }
    }
    checks
}

fn replica(look: &Look<'_>, limits: &Limits) -> Vec<Check> {
    let info = look.info;
    let of = format!("{}:{}", info.text("master_host").unwrap_or("?"), info.text("master_port").unwrap_or("?"));
    if !info.is("master_link_status", "up") {
        let down = info.number("master_link_down_since_seconds").filter(|down| *down >= 0.0);
        let since = down.map_or_else(String::new, |down| format!(" for {}", wording::seconds(down)));
        let (verdict, message) = if info.is("master_sync_in_progress", "1") {
            (Verdict::Warning, format!("it is being brought up to date by {of}"))
        } else {
            (Verdict::Critical, format!("replication is broken: no link to {of}{since}"))
        };
        return vec![Check::stated(LINK, "", verdict, message).with_hint("its log says why; is the primary there, and does masterauth hold?")];
    }
    let mut checks = vec![Check::stated(LINK, "", Verdict::Ok, format!("linked to {of}"))];
    if let Some(lag) = info.number("master_last_io_seconds_ago").filter(|lag| *lag >= 0.0) {
        checks.push(judged(LAG, "", lag, "s", limits.lag, format!("last heard of its primary {} ago", wording::seconds(lag))));
    }
    if let (Some(read), Some(applied)) = (info.number("slave_read_repl_offset"), info.number("slave_repl_offset")) {
        let behind = (read - applied).max(0.0);
        checks.push(judged(LAG_BYTES, "", behind, "B", limits.bytes, format!("{} received and not applied", wording::bytes(behind as u64))));
    }
    checks
}

fn judged(id: &str, subject: &str, value: f64, unit: &str, thresholds: Thresholds, message: String) -> Check {
    let check = Check::measured(id, subject, rounded(value), unit, thresholds, message);
    if check.verdict == Verdict::Ok { check } else { check.with_hint("is the replica slow, or the way to it? its log and INFO replication say") }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::tests::{row, seen};
    use super::*;

    const PRIMARY: &str = "role:master\r\nconnected_slaves:2\r\nmaster_repl_offset:100000000\r\n\
        slave0:ip=10.0.0.2,port=6379,state=online,offset=100000000,lag=0\r\nslave1:ip=10.0.0.3,port=6379,state=online,offset=60000000,lag=130\r\n";

    fn of(text: &str, with: Value) -> Vec<(String, String, Verdict, Option<f64>)> {
        seen(text, with, checks)
    }

    #[test]
    fn each_replica_of_a_primary_is_judged() {
        assert_eq!(
            of(PRIMARY, json!({"replicas": 2})),
            [
                row("replication.replicas", "", Verdict::Ok, Some(2.0)),
                row("replication.lag", "10.0.0.2:6379", Verdict::Ok, Some(0.0)),
                row("replication.lagBytes", "10.0.0.2:6379", Verdict::Ok, Some(0.0)),
                row("replication.lag", "10.0.0.3:6379", Verdict::Critical, Some(130.0)),
                row("replication.lagBytes", "10.0.0.3:6379", Verdict::Warning, Some(40_000_000.0)),
            ]
        );
        assert_eq!(of(PRIMARY, json!({"replicas": 3}))[0].2, Verdict::Critical);
        assert_eq!(of("role:master\r\nconnected_slaves:0\r\n", json!({})), [row("replication.replicas", "", Verdict::Ok, Some(0.0))]);
        let syncing = "role:master\r\nconnected_slaves:1\r\nslave0:ip=10.0.0.2,port=6379,state=wait_bgsave,offset=0,lag=0\r\n";
        assert_eq!(of(syncing, json!({}))[1], row("replication.link", "10.0.0.2:6379", Verdict::Warning, None));
    }

    #[test]
    fn a_replica_without_its_primary_is_critical() {
        let replica = |more: &str| of(&format!("role:slave\r\nmaster_host:10.0.0.1\r\nmaster_port:6379\r\n{more}"), json!({}));
        assert_eq!(
            replica("master_link_status:down\r\nmaster_link_down_since_seconds:400\r\n"),
            [row("replication.link", "", Verdict::Critical, None)]
        );
        assert_eq!(replica("master_link_status:down\r\nmaster_sync_in_progress:1\r\n"), [row("replication.link", "", Verdict::Warning, None)]);
        assert_eq!(
            replica("master_link_status:up\r\nmaster_last_io_seconds_ago:40\r\nslave_read_repl_offset:10\r\nslave_repl_offset:10\r\n"),
            [
                row("replication.link", "", Verdict::Ok, None),
                row("replication.lag", "", Verdict::Warning, Some(40.0)),
                row("replication.lagBytes", "", Verdict::Ok, Some(0.0)),
            ]
        );
        assert_eq!(of("", json!({}))[0].2, Verdict::Unknown);
    }
}
