//! Who is connected, and whose transactions have been open for long.

use mainstay_core::Millis;
use mainstay_core::report::{Check, Thresholds, Verdict};

use super::super::wording;
use super::session::QueryError;
use super::{Look, literals, rounded};
use crate::redact;

const CONNECTIONS: &str = "postgres.connections";
const TRANSACTIONS: &str = "postgres.longTransactions";
const PREPARED: &str = "postgres.preparedTransactions";
/// Transactions that are shown.
const SHOWN: usize = 5;

/// Connections of users by what they do.
const STATES_SQL: &str = "
SELECT coalesce(state, 'starting'), count(*)::int8
  FROM pg_stat_activity WHERE backend_type = 'client backend'
 GROUP BY 1 ORDER BY 2 DESC, 1";
/// All that a role without rights may know.
const COUNT_SQL: &str = "SELECT 'connected', coalesce(sum(numbackends), 0)::int8 FROM pg_stat_database";

const TRANSACTIONS_SQL: &str = "
SELECT pid, coalesce(usename::text, ''), coalesce(application_name, ''), coalesce(datname::text, ''), coalesce(state, ''),
       extract(epoch FROM clock_timestamp() - xact_start)::float8, left(coalesce(query, ''), 4000)
  FROM pg_stat_activity
 WHERE backend_type = 'client backend' AND xact_start IS NOT NULL AND pid <> pg_backend_pid()
 ORDER BY xact_start LIMIT 6";

const PREPARED_SQL: &str = "
SELECT gid, owner::text, database::text, extract(epoch FROM clock_timestamp() - prepared)::float8
  FROM pg_prepared_xacts ORDER BY prepared LIMIT 6";

/// One open transaction.
#[derive(Debug, Clone, PartialEq)]
struct Transaction {
    pid: i32,
    user: String,
    application: String,
    database: String,
    state: String,
    age_s: f64,
    query: String,
}

/// One that was prepared and neither committed nor rolled back.
#[derive(Debug, Clone, PartialEq)]
struct Prepared {
    gid: String,
    owner: String,
    database: String,
    age_s: f64,
}

pub(super) async fn connections(look: &Look<'_>) -> Vec<Check> {
    let sql = if look.facts.sees_all { STATES_SQL } else { COUNT_SQL };
    match look.session.query(sql).await {
        Err(error) => vec![look.unknown(CONNECTIONS, &error)],
        Ok(rows) => {
            let states: Vec<(String, i64)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
            let room = i64::from(look.facts.max_connections) - i64::from(look.facts.reserved);
            vec![judge_connections(&states, room, look.params.connections.above(80.0, 95.0))]
        }
    }
}

fn judge_connections(states: &[(String, i64)], room: i64, thresholds: Thresholds) -> Check {
    let used: i64 = states.iter().map(|(_, count)| count).sum();
    let percent = if room > 0 { used as f64 * 100.0 / room as f64 } else { 100.0 };
    let by_state = if states.len() > 1 || states.iter().any(|(state, _)| state != "connected") {
        format!(": {}", states.iter().map(|(state, count)| format!("{count} {state}")).collect::<Vec<_>>().join(", "))
    } else {
        String::new()
    };
    let message = format!("{}, {used} of {room} connections{by_state}", wording::percent(percent));
    let check = Check::measured(CONNECTIONS, "", rounded(percent), "%", thresholds, message);
    if check.verdict == Verdict::Ok {
        check
    } else {
        check.with_hint("SELECT usename, application_name, state, count(*) FROM pg_stat_activity GROUP BY 1, 2, 3;")
    }
}

pub(super) async fn transactions(look: &Look<'_>) -> Vec<Check> {
    let thresholds = look.params.long_transactions.seconds(300.0, 3_600.0);
    let open = if look.facts.sees_all {
        look.session.query(TRANSACTIONS_SQL).await
    } else {
        Err(QueryError::denied("the role of this connection sees only its own transactions"))
    };
    let mut checks = vec![match open {
        Err(error) => look.unknown(TRANSACTIONS, &error),
        Ok(rows) => {
            let transactions: Vec<Transaction> = rows
                .iter()
                .map(|row| Transaction {
                    pid: row.get(0),
                    user: row.get(1),
                    application: row.get(2),
                    database: row.get(3),
                    state: row.get(4),
                    age_s: row.get(5),
                    query: row.get(6),
                })
                .collect();
            judge_transactions(&transactions, thresholds)
        }
    }];
    match look.session.query(PREPARED_SQL).await {
        Err(error) => checks.push(look.unknown(PREPARED, &error)),
        Ok(rows) => {
            let prepared: Vec<Prepared> =
                rows.iter().map(|row| Prepared { gid: row.get(0), owner: row.get(1), database: row.get(2), age_s: row.get(3) }).collect();
            checks.extend(judge_prepared(&prepared, thresholds));
        }
    }
    checks
}

fn judge_transactions(transactions: &[Transaction], thresholds: Thresholds) -> Check {
    let Some(oldest) = transactions.first() else {
        return Check::measured(TRANSACTIONS, "", 0.0, "s", thresholds, "no transaction is open");
    };
    let message = format!("the oldest has been open for {}: {}", wording::span(seconds(oldest.age_s)), who(oldest));
    let check = Check::measured(TRANSACTIONS, "", rounded(oldest.age_s), "s", thresholds, message);
    if check.verdict == Verdict::Ok {
        return check;
    }
    let line = |transaction: &Transaction| {
        let query = redact::redact_line(&literals::without(&transaction.query));
        format!("{}  {}: {query}", wording::span(seconds(transaction.age_s)), who(transaction))
    };
    let long = transactions.iter().filter(|transaction| thresholds.judge(transaction.age_s) != Verdict::Ok);
    check.with_details(long.take(SHOWN).map(line)).with_hint(format!("if it is not needed:  SELECT pg_terminate_backend({});", oldest.pid))
}

fn who(transaction: &Transaction) -> String {
    let Transaction { pid, user, application, database, state, .. } = transaction;
    let application = if application.is_empty() { String::new() } else { format!(" with {application}") };
    format!("process {pid} of {user}{application} in {database}, {state}")
}

/// Nothing where there is none: most servers never have one.
fn judge_prepared(prepared: &[Prepared], thresholds: Thresholds) -> Option<Check> {
    let oldest = prepared.first()?;
    let message = format!(
        "the oldest was prepared {} ago and is not ended: {} of {} in {}",
        wording::span(seconds(oldest.age_s)),
        oldest.gid,
        oldest.owner,
        oldest.database
    );
    let check = Check::measured(PREPARED, "", rounded(oldest.age_s), "s", thresholds, message);
    Some(if check.verdict == Verdict::Ok {
        check
    } else {
        check.with_hint(format!(
            "in {}, once its coordinator has forgotten it:  ROLLBACK PREPARED '{}';",
            oldest.database,
            oldest.gid.replace('\'', "''")
        ))
    })
}

pub(super) fn seconds(seconds: f64) -> Millis {
    Millis((seconds.max(0.0) * 1_000.0) as u64)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn connections_are_a_share_of_what_users_may_have() {
        let states = [("idle".to_owned(), 60), ("active".to_owned(), 20), ("idle in transaction".to_owned(), 2)];
        let check = judge_connections(&states, 97, Thresholds::above(80.0, 95.0));
        assert_eq!((check.verdict, check.value), (Verdict::Warning, Some(84.54)));
        assert_eq!(check.message, "85 %, 82 of 97 connections: 60 idle, 20 active, 2 idle in transaction");
        let check = judge_connections(&[("connected".to_owned(), 97)], 97, Thresholds::above(80.0, 95.0));
        assert_eq!((check.verdict, check.message.as_str()), (Verdict::Critical, "100 %, 97 of 97 connections"));
        assert_eq!(judge_connections(&[], 0, Thresholds::above(80.0, 95.0)).verdict, Verdict::Critical, "there is no room at all");
    }

    fn transaction(pid: i32, age_s: f64) -> Transaction {
        Transaction {
            pid,
            user: "app".into(),
            application: "cart".into(),
            database: "orders".into(),
            state: "idle in transaction".into(),
            age_s,
            query: "SELECT * FROM users WHERE mail = 'ana@example.org'".into(),
        }
    }

    #[test]
    fn the_oldest_transaction_counts_and_no_value_of_it_is_shown() {
        let thresholds = Thresholds::above(300.0, 3_600.0);
        let check = judge_transactions(&[transaction(7, 4_000.0), transaction(8, 400.0), transaction(9, 1.0)], thresholds);
        assert_eq!((check.verdict, check.value), (Verdict::Critical, Some(4_000.0)));
        assert_eq!(check.message, "the oldest has been open for 67 min: process 7 of app with cart in orders, idle in transaction");
        assert_eq!(check.details.len(), 2);
        assert!(check.details[0].ends_with("idle in transaction: SELECT * FROM users WHERE mail = ?"), "{:?}", check.details);
        assert!(check.hint.contains("pg_terminate_backend(7)"));
        assert_eq!(judge_transactions(&[transaction(9, 1.0)], thresholds).verdict, Verdict::Ok);
        assert_eq!(judge_transactions(&[], thresholds).value, Some(0.0));
    }

    #[test]
    fn a_prepared_transaction_that_nobody_ends_is_found() {
        let thresholds = Thresholds::above(300.0, 3_600.0);
        assert_eq!(judge_prepared(&[], thresholds), None);
        let prepared = Prepared { gid: "x'1".into(), owner: "app".into(), database: "orders".into(), age_s: 7_200.0 };
        let check = judge_prepared(&[prepared], thresholds).unwrap();
        assert_eq!(
            (check.verdict, check.message.as_str()),
            (Verdict::Critical, "the oldest was prepared 2 h ago and is not ended: x'1 of app in orders")
        );
        assert!(check.hint.ends_with("ROLLBACK PREPARED 'x''1';"), "{}", check.hint);
    }
}
