//! `postgres.check`: a PostgreSQL server, through one connection, looking only.
//!
//! In: a connection and thresholds. Out: one check for each thing looked at. A query that fails makes its own
//! check unknown, with the right that is missing; the others go on. Each part is a query, rows as the server gives
//! them, and a function from rows to checks.

mod activity;
mod age;
mod archive;
mod facts;
mod literals;
mod replication;
mod session;
mod storage;
mod version;

use std::collections::BTreeMap;

use mainstay_core::Millis;
use mainstay_core::report::{Check, Report, Verdict};
use serde::Deserialize;
use serde_json::{Map, Value};

use self::facts::Facts;
use self::session::{OpenError, QueryError, Session};
use super::params::{self, Limits, Percent, Size, Span};
use super::{Context, StepError, wording};
use crate::connections::{Connection, ConnectionKind, Place};

const KIND: &str = "postgres.check";

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Params {
    connection: Option<String>,
    checks: Vec<Group>,
    latency: Limits<Span>,
    connections: Limits<Percent>,
    standbys: Option<u32>,
    replication_lag: Limits<Span>,
    replication_lag_bytes: Limits<Size>,
    slot_retained: Limits<Size>,
    transaction_age: Limits<Percent>,
    long_transactions: Limits<Span>,
    database_size: Limits<Size>,
    dead_tuples: Limits<Percent>,
    bloat: Limits<Percent>,
    timeout: Span,
}

/// What is looked at together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Group {
    Version,
    Connections,
    Replication,
    TransactionAge,
    LongTransactions,
    Archive,
    Size,
    Bloat,
}

impl Group {
    const ALL: [Group; 8] = [
        Group::Version,
        Group::Connections,
        Group::Replication,
        Group::TransactionAge,
        Group::LongTransactions,
        Group::Archive,
        Group::Size,
        Group::Bloat,
    ];
}

impl Default for Params {
    fn default() -> Params {
        Params {
            connection: None,
            checks: Vec::new(),
            latency: Limits::default(),
            connections: Limits::default(),
            standbys: None,
            replication_lag: Limits::default(),
            replication_lag_bytes: Limits::default(),
            slot_retained: Limits::default(),
            transaction_age: Limits::default(),
            long_transactions: Limits::default(),
            database_size: Limits::default(),
            dead_tuples: Limits::default(),
            bloat: Limits::default(),
            timeout: Span(Millis::from_secs(10)),
        }
    }
}

pub(super) async fn execute(with: &Map<String, Value>, context: &Context) -> Result<Report, StepError> {
    let params: Params = params::read(KIND, with)?;
    let connection = context.connection(KIND, &[ConnectionKind::Postgres], params.connection.as_deref())?;
    let groups: Vec<Group> = Group::ALL.into_iter().filter(|group| params.checks.is_empty() || params.checks.contains(group)).collect();
    let from = context.host.monotonic();
    let session = match Session::open(connection, context, params.timeout.0.as_duration()).await {
        Ok(session) => session,
        Err(error) => return Ok(not_looked_at(not_reached(connection, error), groups.len())),
    };
    let latency_ms = (context.host.monotonic() - from).as_secs_f64() * 1_000.0;
    let mut checks = vec![reached(&params, latency_ms)];
    let facts = match Facts::read(&session).await {
        Ok(facts) => facts,
        Err(error) => {
            checks.push(error.check("postgres.version", &session.user));
            return Ok(Report { checks, ..not_looked_at(Check::default(), groups.len() - 1) });
        }
    };
    let look = Look { session: &session, facts: &facts, params: &params, connection, now: context.host.wall() };
    for group in groups {
        checks.extend(look.at(group).await);
    }
    session.close().await;
    Ok(Report { outputs: outputs(&checks, latency_ms, &facts), checks, ..Report::default() })
}

/// A report of one check, in the place of itself and so many others. What was not looked at is counted, so that
/// nothing that was wrong there before counts as mended.
fn not_looked_at(check: Check, others: usize) -> Report {
    Report { checks: vec![check], left_out: u32::try_from(others).unwrap_or(u32::MAX), ..Report::default() }
}

/// All that one part needs.
struct Look<'a> {
    session: &'a Session,
    facts: &'a Facts,
    params: &'a Params,
    connection: &'a Connection,
    now: mainstay_core::WallTime,
}

impl Look<'_> {
    async fn at(&self, group: Group) -> Vec<Check> {
        match group {
            Group::Version => vec![version::check(self.facts, self.now)],
            Group::Connections => activity::connections(self).await,
            Group::Replication => replication::checks(self).await,
            Group::TransactionAge => age::checks(self).await,
            Group::LongTransactions => activity::transactions(self).await,
            Group::Archive => archive::checks(self).await,
            Group::Size => storage::sizes(self).await,
            Group::Bloat => storage::bloat(self).await,
        }
    }

    /// The check that could not be made.
    fn unknown(&self, id: &str, error: &QueryError) -> Check {
        error.check(id, &self.session.user)
    }
}

fn reached(params: &Params, latency_ms: f64) -> Check {
    let message = format!("logged in after {}", wording::milliseconds(latency_ms));
    let check = Check::measured("postgres.reachable", "", rounded(latency_ms), "ms", params.latency.above(1_000.0, 5_000.0), message);
    if check.verdict == Verdict::Ok { check } else { check.with_hint("is the machine busy, or the way to it slow?") }
}

fn not_reached(connection: &Connection, error: OpenError) -> Check {
    let (verdict, message, hint) = match error {
        // Nobody looked, so nobody knows.
        OpenError::NotAsked(why) => (Verdict::Unknown, why, format!("see {}", connection.declared_at)),
        OpenError::Refused { why, hint } => (Verdict::Critical, why, hint.unwrap_or_else(|| how_to_look(connection))),
        OpenError::Down(why) => (Verdict::Critical, why, how_to_look(connection)),
    };
    Check::stated("postgres.reachable", "", verdict, message).with_hint(hint)
}

fn how_to_look(connection: &Connection) -> String {
    match &connection.address.place {
        Place::Tcp { host, port } => format!("pg_isready -h {} -p {port}", wording::quoted(host)),
        _ => format!("ls -l {}", wording::quoted(&connection.address.place_in_words())),
    }
}

fn outputs(checks: &[Check], latency_ms: f64, facts: &Facts) -> BTreeMap<String, Value> {
    let worst = |id: &str| checks.iter().filter(|check| check.id == id).filter_map(|check| check.value).reduce(f64::max);
    let numbers = [
        ("latencyMs", Some(rounded(latency_ms))),
        ("connectionsPercent", worst("postgres.connections")),
        ("replicationLagSeconds", worst("postgres.replication.lag")),
        ("sizeBytes", checks.iter().filter(|check| check.id == "postgres.size").filter_map(|check| check.value).reduce(|a, b| a + b)),
    ];
    let numbers = numbers.into_iter().filter_map(|(name, value)| Some((name.to_owned(), Value::from(value?))));
    numbers.chain([("version".to_owned(), Value::from(facts.version.as_str()))]).collect()
}

/// As precise as anybody reads it.
fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}
