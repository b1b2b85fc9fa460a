//! Standbys as their primary sees them, a standby as it sees itself, and the slots that keep write-ahead log.

use mainstay_core::report::{Check, Thresholds, Verdict};

use super::super::wording;
use super::activity::seconds;
use super::session::QueryError;
use super::{Look, rounded};

const STANDBYS: &str = "postgres.replication.standbys";
const LAG: &str = "postgres.replication.lag";
const LAG_BYTES: &str = "postgres.replication.lagBytes";
const RECEIVER: &str = "postgres.replication.receiver";
const SLOT: &str = "postgres.replication.slot";
/// Standbys and slots that are looked at; a server has a handful.
const LISTED: &str = "100";

/// Base backups go over such a connection too, and are no standbys.
const STANDBYS_SQL: &str = "
SELECT coalesce(nullif(application_name, ''), 'standby'), coalesce(host(client_addr), 'local'), coalesce(state, ''), coalesce(sync_state, ''),
       pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn)::float8, extract(epoch FROM replay_lag)::float8
  FROM pg_stat_replication WHERE state IS DISTINCT FROM 'backup' ORDER BY 1, 2 LIMIT ";

const STANDBY_SQL: &str = "
SELECT (SELECT status FROM pg_stat_wal_receiver LIMIT 1),
       coalesce(current_setting('primary_conninfo', true), '') <> '',
       pg_is_wal_replay_paused(),
       pg_wal_lsn_diff(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())::float8,
       extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())::float8";

const SLOTS_SQL: &str = "
SELECT slot_name::text, slot_type, active,
       pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END, restart_lsn)::float8,
       to_jsonb(s) ->> 'wal_status'
  FROM pg_replication_slots s WHERE NOT temporary ORDER BY 1 LIMIT ";

/// One standby, as its primary sees it.
#[derive(Debug, Clone, PartialEq)]
struct Standby {
    name: String,
    address: String,
    state: String,
    sync: String,
    behind_bytes: Option<f64>,
    /// Not known until something was written since it came.
    behind_s: Option<f64>,
}

/// This server, where it is a standby.
#[derive(Debug, Clone, PartialEq, Default)]
struct Own {
    receiver: Option<String>,
    /// It is told to stream, not only to read archived files.
    streams: bool,
    paused: bool,
    behind_bytes: Option<f64>,
    last_replayed_s: Option<f64>,
}

#[derive(Debug, Clone, PartialEq)]
struct Slot {
    name: String,
    kind: String,
    active: bool,
    retained: Option<f64>,
    wal_status: Option<String>,
}

/// From where on it is bad.
#[derive(Debug, Clone, Copy)]
struct Limits {
    lag: Thresholds,
    lag_bytes: Thresholds,
    slot: Thresholds,
}

pub(super) async fn checks(look: &Look<'_>) -> Vec<Check> {
    let limits = Limits {
        lag: look.params.replication_lag.seconds(30.0, 300.0),
        lag_bytes: look.params.replication_lag_bytes.from(Some(67_108_864.0), Some(1_073_741_824.0)),
        slot: look.params.slot_retained.from(Some(1_073_741_824.0), Some(10_737_418_240.0)),
    };
    let expected = look.params.standbys.or(look.connection.replicas);
    let mut checks = if !look.facts.sees_all {
        let error = QueryError::denied("the role of this connection does not see how replication stands");
        vec![look.unknown(if look.facts.is_standby { RECEIVER } else { STANDBYS }, &error)]
    } else if look.facts.is_standby {
        match look.session.query(STANDBY_SQL).await {
            Err(error) => vec![look.unknown(RECEIVER, &error)],
            Ok(rows) => rows.iter().flat_map(|row| judge_own(&own(row), limits)).collect(),
        }
    } else {
        match look.session.query(&format!("{STANDBYS_SQL}{LISTED}")).await {
            Err(error) => vec![look.unknown(STANDBYS, &error)],
            Ok(rows) => judge_standbys(&rows.iter().map(standby).collect::<Vec<_>>(), expected, limits),
        }
    };
    match look.session.query(&format!("{SLOTS_SQL}{LISTED}")).await {
        Err(error) => checks.push(look.unknown(SLOT, &error)),
        Ok(rows) => checks.extend(rows.iter().map(|row| judge_slot(&slot(row), limits.slot))),
    }
    checks
}

fn standby(row: &tokio_postgres::Row) -> Standby {
    Standby { name: row.get(0), address: row.get(1), state: row.get(2), sync: row.get(3), behind_bytes: row.get(4), behind_s: row.get(5) }
}

fn own(row: &tokio_postgres::Row) -> Own {
    Own { receiver: row.get(0), streams: row.get(1), paused: row.get(2), behind_bytes: row.get(3), last_replayed_s: row.get(4) }
}

fn slot(row: &tokio_postgres::Row) -> Slot {
    Slot { name: row.get(0), kind: row.get(1), active: row.get(2), retained: row.get(3), wal_status: row.get(4) }
}

fn judge_standbys(standbys: &[Standby], expected: Option<u32>, limits: Limits) -> Vec<Check> {
    let streaming = standbys.iter().filter(|standby| standby.state == "streaming").count();
    let (verdict, message) = match expected {
        Some(expected) if (streaming as u64) < u64::from(expected) => (Verdict::Critical, format!("{streaming} of {expected} standbys stream")),
        Some(expected) => (Verdict::Ok, format!("{streaming} standbys stream, {expected} wanted")),
        None if standbys.is_empty() => (Verdict::Ok, "no standby is connected, and none is asked for".to_owned()),
        None => (Verdict::Ok, wording::count(streaming as u64, "standby streams", "standbys stream")),
    };
    let check = Check { value: Some(streaming as f64), ..Check::stated(STANDBYS, "", verdict, message) };
    let mut checks = vec![if verdict == Verdict::Ok { check } else { check.with_hint("look at the standby's log: why does it not connect?") }];
    for (i, standby) in standbys.iter().enumerate() {
        let twins = standbys.iter().filter(|other| other.name == standby.name).count() > 1;
        // Standbys that were given no name of their own are told apart by where they are, or by their place.
        let twins_here = standbys.iter().filter(|other| other.name == standby.name && other.address == standby.address).count() > 1;
        let subject = match (twins, twins_here) {
            (false, _) => standby.name.clone(),
            (true, false) => format!("{} {}", standby.name, standby.address),
            (true, true) => format!("{} {} #{}", standby.name, standby.address, i + 1),
        };
        checks.extend(judge_standby(standby, &subject, limits));
    }
    checks
}

fn judge_standby(standby: &Standby, subject: &str, limits: Limits) -> Vec<Check> {
    let how = if standby.sync.is_empty() { standby.state.clone() } else { format!("{}, {}", standby.state, standby.sync) };
    let Some(bytes) = standby.behind_bytes.map(|bytes| bytes.max(0.0)) else {
        return vec![
            Check::stated(LAG_BYTES, subject, Verdict::Unknown, format!("it has not said how far it is ({how})"))
                .with_hint("look at the standby's log"),
        ];
    };
    let mut by_bytes = Check::measured(LAG_BYTES, subject, bytes, "B", limits.lag_bytes, format!("{} behind ({how})", wording::bytes(bytes as u64)));
    if standby.state != "streaming" {
        by_bytes.verdict = by_bytes.verdict.max(Verdict::Warning);
    }
    // With nothing left to replay it is behind by nothing, whenever it last had something to do.
    let time = if bytes == 0.0 { Some(0.0) } else { standby.behind_s };
    let by_time = time.map(|time| {
        let message = format!("{} behind", if time < 0.0005 { "nothing".to_owned() } else { wording::span(seconds(time)) });
        Check::measured(LAG, subject, rounded(time), "s", limits.lag, message)
    });
    let hint = "is the standby slow, cut off, or held up by a query of its own? its log and pg_stat_activity say";
    by_time.into_iter().chain([by_bytes]).map(|check| if check.verdict == Verdict::Ok { check } else { check.with_hint(hint) }).collect()
}

fn judge_own(own: &Own, limits: Limits) -> Vec<Check> {
    let mut checks = Vec::new();
    let streams = own.receiver.as_deref() == Some("streaming");
    match (&own.receiver, own.streams) {
        (Some(status), _) => {
            let verdict = if streams { Verdict::Ok } else { Verdict::Warning };
            checks.push(Check::stated(RECEIVER, "", verdict, format!("the link to the primary is {status}")));
        }
        (None, true) => checks.push(
            Check::stated(RECEIVER, "", Verdict::Critical, "replication is broken: there is no link to the primary")
                .with_hint("this server's log says why; then look at primary_conninfo and at pg_hba.conf of the primary"),
        ),
        (None, false) => checks.push(Check::stated(RECEIVER, "", Verdict::Ok, "this standby reads archived files, and is not told to stream")),
    }
    if own.paused {
        checks.push(
            Check::stated("postgres.replication.replay", "", Verdict::Warning, "replay is paused")
                .with_hint("to go on:  SELECT pg_wal_replay_resume();"),
        );
    }
    if let Some(bytes) = own.behind_bytes.map(|bytes| bytes.max(0.0)) {
        checks.push(Check::measured(
            LAG_BYTES,
            "",
            bytes,
            "B",
            limits.lag_bytes,
            format!("{} received and not replayed", wording::bytes(bytes as u64)),
        ));
    }
    // While the link stands and everything is replayed, a primary that writes nothing is the reason for an old
    // last transaction. Without a link nobody knows what the primary has written since.
    let caught_up = streams && own.behind_bytes.is_some_and(|bytes| bytes <= 0.0);
    let (time, message) = match own.last_replayed_s {
        _ if caught_up => (Some(0.0), "everything that was received is replayed".to_owned()),
        Some(time) => (Some(time.max(0.0)), format!("the last transaction that was replayed is {} old", wording::span(seconds(time)))),
        None => (None, "no transaction has been replayed yet".to_owned()),
    };
    checks.push(match time {
        Some(time) => Check::measured(LAG, "", rounded(time), "s", limits.lag, message),
        None => Check::stated(LAG, "", Verdict::Unknown, message),
    });
    checks
}

fn judge_slot(slot: &Slot, thresholds: Thresholds) -> Check {
    let Slot { name, kind, active, retained, wal_status } = slot;
    let use_ = if *active { "in use" } else { "nobody uses it" };
    let hint = format!("if nobody needs it:  SELECT pg_drop_replication_slot('{}');", name.replace('\'', "''"));
    if wal_status.as_deref() == Some("lost") {
        return Check::stated(SLOT, name, Verdict::Critical, format!("lost: what it needs has been removed ({kind}, {use_})")).with_hint(hint);
    }
    let Some(retained) = retained.map(|retained| retained.max(0.0)) else {
        return Check::stated(SLOT, name, Verdict::Ok, format!("keeps nothing yet ({kind}, {use_})"));
    };
    let mut check = Check::measured(SLOT, name, retained, "B", thresholds, format!("keeps {} ({kind}, {use_})", wording::bytes(retained as u64)));
    if wal_status.as_deref() == Some("unreserved") {
        check.verdict = Verdict::Critical;
        check.message.push_str("; the next checkpoint removes what it needs");
    }
    if check.verdict == Verdict::Ok { check } else { check.with_hint(hint) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        lag: Thresholds { warning: Some(30.0), critical: Some(300.0), below: false },
        lag_bytes: Thresholds { warning: Some(1e6), critical: Some(1e9), below: false },
        slot: Thresholds { warning: Some(1e9), critical: Some(1e10), below: false },
    };

    fn standby(name: &str, state: &str, behind: (Option<f64>, Option<f64>)) -> Standby {
        let (behind_bytes, behind_s) = behind;
        Standby { name: name.into(), address: "10.0.0.2".into(), state: state.into(), sync: "async".into(), behind_bytes, behind_s }
    }

    fn seen(checks: Vec<Check>) -> Vec<(String, String, Verdict, Option<f64>)> {
        checks.into_iter().map(|check| (check.id.replace("postgres.replication.", ""), check.subject, check.verdict, check.value)).collect()
    }

    fn row(id: &str, subject: &str, verdict: Verdict, value: Option<f64>) -> (String, String, Verdict, Option<f64>) {
        (id.to_owned(), subject.to_owned(), verdict, value)
    }

    #[test]
    fn each_standby_is_judged_by_time_and_bytes() {
        let standbys = [
            standby("s1", "streaming", (Some(0.0), None)),
            standby("s2", "streaming", (Some(2e6), Some(400.0))),
            standby("s3", "catchup", (Some(5e5), None)),
            standby("s4", "streaming", (None, None)),
        ];
        assert_eq!(
            seen(judge_standbys(&standbys, None, LIMITS)),
            [
                row("standbys", "", Verdict::Ok, Some(3.0)),
                row("lag", "s1", Verdict::Ok, Some(0.0)),
                row("lagBytes", "s1", Verdict::Ok, Some(0.0)),
                row("lag", "s2", Verdict::Critical, Some(400.0)),
                row("lagBytes", "s2", Verdict::Warning, Some(2e6)),
                row("lagBytes", "s3", Verdict::Warning, Some(5e5)),
                row("lagBytes", "s4", Verdict::Unknown, None),
            ]
        );
    }

    #[test]
    fn a_standby_that_is_missing_is_critical_and_twins_are_told_apart() {
        let missing = |standbys: &[Standby]| judge_standbys(standbys, Some(1), LIMITS)[0].clone();
        assert_eq!((missing(&[]).verdict, missing(&[]).message.as_str()), (Verdict::Critical, "0 of 1 standbys stream"));
        assert_eq!(missing(&[standby("s", "startup", (Some(0.0), None))]).verdict, Verdict::Critical);
        assert_eq!(missing(&[standby("s", "streaming", (Some(0.0), None))]).verdict, Verdict::Ok);
        assert_eq!(judge_standbys(&[], None, LIMITS)[0].verdict, Verdict::Ok);
        let twin = standby("walreceiver", "streaming", (Some(0.0), None));
        let other = Standby { address: "10.0.0.3".into(), ..twin.clone() };
        let subjects = |standbys: &[Standby]| {
            judge_standbys(standbys, None, LIMITS).into_iter().filter(|check| check.id == LAG).map(|check| check.subject).collect::<Vec<_>>()
        };
        assert_eq!(subjects(&[twin.clone(), other]), ["walreceiver 10.0.0.2", "walreceiver 10.0.0.3"]);
        assert_eq!(subjects(&[twin.clone(), twin]), ["walreceiver 10.0.0.2 #1", "walreceiver 10.0.0.2 #2"]);
    }

    #[test]
    fn a_standby_tells_a_quiet_primary_from_a_broken_link() {
        let quiet = Own { receiver: Some("streaming".into()), streams: true, behind_bytes: Some(0.0), last_replayed_s: Some(9e5), ..Own::default() };
        assert_eq!(
            seen(judge_own(&quiet, LIMITS)),
            [row("receiver", "", Verdict::Ok, None), row("lagBytes", "", Verdict::Ok, Some(0.0)), row("lag", "", Verdict::Ok, Some(0.0))]
        );
        let broken = Own { receiver: None, ..quiet.clone() };
        assert_eq!(
            seen(judge_own(&broken, LIMITS)),
            [row("receiver", "", Verdict::Critical, None), row("lagBytes", "", Verdict::Ok, Some(0.0)), row("lag", "", Verdict::Critical, Some(9e5))]
        );
        let paused = Own { paused: true, behind_bytes: Some(5e9), last_replayed_s: Some(40.0), ..quiet.clone() };
        assert_eq!(
            seen(judge_own(&paused, LIMITS)),
            [
                row("receiver", "", Verdict::Ok, None),
                row("replay", "", Verdict::Warning, None),
                row("lagBytes", "", Verdict::Critical, Some(5e9)),
                row("lag", "", Verdict::Warning, Some(40.0)),
            ]
        );
        let archive = Own { receiver: None, streams: false, behind_bytes: None, last_replayed_s: None, ..quiet };
        assert_eq!(seen(judge_own(&archive, LIMITS)), [row("receiver", "", Verdict::Ok, None), row("lag", "", Verdict::Unknown, None)]);
    }

    #[test]
    fn a_slot_that_nobody_uses_is_judged_by_what_it_keeps() {
        let slot = |active, retained, wal_status: Option<&str>| {
            let check = judge_slot(
                &Slot { name: "s".into(), kind: "physical".into(), active, retained, wal_status: wal_status.map(str::to_owned) },
                LIMITS.slot,
            );
            (check.verdict, check.message)
        };
        assert_eq!(slot(false, Some(2e9), Some("extended")), (Verdict::Warning, "keeps 1.9 GiB (physical, nobody uses it)".into()));
        assert_eq!(slot(false, Some(2e10), None).0, Verdict::Critical);
        assert_eq!(slot(true, Some(16_777_216.0), Some("reserved")), (Verdict::Ok, "keeps 16.0 MiB (physical, in use)".into()));
        assert_eq!(slot(false, None, None).0, Verdict::Ok);
        assert_eq!(slot(false, None, Some("lost")).0, Verdict::Critical);
        assert_eq!(slot(false, Some(1.0), Some("unreserved")).0, Verdict::Critical);
    }
}
