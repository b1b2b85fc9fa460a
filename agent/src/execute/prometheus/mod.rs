//! `prometheus.query`: PromQL with thresholds for every series of the result; without a query, targets that are down.
//!
//! In: a connection, queries, thresholds. Out: one check for each series, with its labels as its subject. A result
//! without series is unknown, and so is a value that is no number: what nobody measured is not well.

mod answer;
mod client;
mod judge;
mod lint;
pub(super) mod probe;
mod up;

use std::collections::BTreeSet;

use futures::{StreamExt, stream};
use jiff::Timestamp;
use mainstay_core::report::{Check, Report, Verdict};
use mainstay_core::{Millis, WallTime};
use serde::Deserialize;
use serde_json::{Map, Value};

use self::client::Client;
use super::api::NoAnswer;
use super::params::{self, Limits, Span};
use super::{Context, StepError, wording};
use crate::connections::{Connection, ConnectionKind};

const KIND: &str = "prometheus.query";
const REACHABLE: &str = "prometheus.reachable";
/// Queries asked at once.
const AT_ONCE: usize = 4;
/// Queries of one step.
const QUERIES_MAX: usize = 50;
/// A query goes into the address that is asked for, of which servers take 8 KiB.
const QUERY_BYTES: usize = 4 << 10;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Params {
    connection: Option<String>,
    query: Option<String>,
    queries: Vec<Query>,
    up: Vec<String>,
    above: Limits<f64>,
    below: Limits<f64>,
    expect: Option<u32>,
    unit: String,
    at: Option<String>,
    timeout: Span,
}

/// One query and what is to hold of each of its series.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Query {
    /// Empty for the one that has none.
    name: String,
    query: String,
    #[serde(default)]
    above: Limits<f64>,
    #[serde(default)]
    below: Limits<f64>,
    #[serde(default)]
    expect: Option<u32>,
    #[serde(default)]
    unit: String,
}

impl Default for Params {
    fn default() -> Params {
        Params {
            connection: None,
            query: None,
            queries: Vec::new(),
            up: Vec::new(),
            above: Limits::default(),
            below: Limits::default(),
            expect: None,
            unit: String::new(),
            at: None,
            timeout: Span(Millis::from_secs(10)),
        }
    }
}

pub(super) async fn execute(with: &Map<String, Value>, context: &Context) -> Result<Report, StepError> {
    let params: Params = params::read(KIND, with)?;
    let queries = queries(&params)?;
    let looks_at_targets = !params.up.is_empty() || queries.is_empty();
    let at = params.at.as_deref().map(|at| time(at, context.host.wall())).transpose()?;
    let connection = context.connection(KIND, &[ConnectionKind::Prometheus], params.connection.as_deref())?;
    let asked = queries.len() + usize::from(looks_at_targets);
    let client = match Client::new(connection, context, at, params.timeout.0.as_duration()) {
        Ok(client) => client,
        Err(why) => return Ok(not_looked_at(Check::stated(REACHABLE, "", Verdict::Unknown, why), connection, asked)),
    };
    let from = context.host.monotonic();
    if let Err(down) = client.look().await {
        return Ok(not_looked_at(unreachable(&down), connection, asked));
    }
    let latency_ms = (context.host.monotonic() - from).as_secs_f64() * 1_000.0;
    let mut found = judge::Found::default();
    if looks_at_targets {
        found.add(up::checks(&client, &params.up).await);
    }
    let mut answers = stream::iter(queries.into_iter().map(|query| ask(&client, query))).buffered(AT_ONCE);
    while let Some(of_one) = answers.next().await {
        found.add(of_one);
    }
    drop(answers);
    Ok(report(&params, found, latency_ms))
}

async fn ask(client: &Client<'_>, query: Query) -> judge::Found {
    let answer = client.query(&query.query).await;
    judge::checks(&query, answer)
}

fn queries(params: &Params) -> Result<Vec<Query>, StepError> {
    let refused = |why: String| StepError::refused(format!("{KIND}: {why}"));
    let own = params.query.clone().map(|query| Query {
        name: String::new(),
        query,
        above: params.above,
        below: params.below,
        expect: params.expect,
        unit: params.unit.clone(),
    });
    if own.is_none() && (params.above != Limits::default() || params.below != Limits::default() || params.expect.is_some()) {
        return Err(refused("`above`, `below` and `expect` are for `query`; those of `queries` stand with each of them".to_owned()));
    }
    let all: Vec<Query> = own.into_iter().chain(params.queries.iter().cloned()).collect();
    if all.len() > QUERIES_MAX {
        return Err(refused(format!("{} queries, and {QUERIES_MAX} is the most of one step: make two of it", all.len())));
    }
    let mut names = BTreeSet::new();
    for query in &all {
        if !names.insert(query.name.as_str()) {
            return Err(refused(format!("two queries are called `{}`: their series could not be told apart", query.name)));
        }
        if query.query.trim().is_empty() || query.query.len() > QUERY_BYTES {
            return Err(refused(format!("a query has {} characters, and should have 1 to {QUERY_BYTES}", query.query.len())));
        }
    }
    Ok(all)
}

/// When a query is about: a time, or how long ago.
fn time(text: &str, now: WallTime) -> Result<f64, StepError> {
    if let Ok(ago) = text.parse::<Millis>() {
        return Ok(now.0 as f64 / 1_000.0 - ago.as_secs_f64());
    }
    let at = text.parse::<Timestamp>().map_err(|_| {
        StepError::refused(format!("{KIND}: `at` is `{text}`, and should be a time such as 2026-11-24T02:00:00Z or how long ago, such as 1h"))
    })?;
    Ok(at.as_millisecond() as f64 / 1_000.0)
}

/// A report of one check, in the place of so many. What was not looked at is counted, so that nothing that was
/// wrong there before counts as mended.
fn not_looked_at(check: Check, connection: &Connection, others: usize) -> Report {
    let check = if check.hint.is_empty() { check.with_hint(format!("see {}", connection.declared_at)) } else { check };
    Report { checks: vec![check], left_out: u32::try_from(others).unwrap_or(u32::MAX), ..Report::default() }
}

fn unreachable(down: &NoAnswer) -> Check {
    let verdict = if matches!(down, NoAnswer::NotAsked(_)) { Verdict::Unknown } else { Verdict::Critical };
    Check::stated(REACHABLE, "", verdict, down.to_string())
}

fn report(params: &Params, found: judge::Found, latency_ms: f64) -> Report {
    let judge::Found { mut checks, values, left_out, left_out_bad } = found;
    let message = format!("answered after {}", wording::milliseconds(latency_ms));
    let reachable =
        Check { value: Some((latency_ms * 100.0).round() / 100.0), unit: "ms".to_owned(), ..Check::stated(REACHABLE, "", Verdict::Ok, message) };
    checks.insert(0, reachable);
    let mut left_out = left_out;
    if left_out_bad {
        // Only what is bad, so that nobody takes the rest of the report for the whole.
        let before = checks.len();
        checks.retain(|check| check.verdict != Verdict::Ok);
        left_out += before - checks.len();
    }
    let worst =
        values.iter().max_by_key(|(verdict, _)| *verdict).filter(|_| params.query.is_some() && params.queries.is_empty() && params.up.is_empty());
    let failed = values.iter().filter(|(verdict, _)| *verdict != Verdict::Ok).count();
    let outputs =
        [("series", Some(Value::from(values.len()))), ("failed", Some(Value::from(failed))), ("value", worst.map(|(_, value)| Value::from(*value)))];
    let outputs = outputs.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
    Report { checks, outputs, left_out: u32::try_from(left_out).unwrap_or(u32::MAX), ..Report::default() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn read(with: Value) -> Result<Vec<Query>, String> {
        let params: Params = params::read(KIND, with.as_object().unwrap()).map_err(|error| error.message)?;
        queries(&params).map_err(|error| error.message)
    }

    #[test]
    fn queries_are_one_or_several_each_with_thresholds_of_its_own() {
        let all = read(json!({"query": "up", "above": {"critical": 1}, "queries": [{"name": "a", "query": "x", "below": {"warning": 3}}]})).unwrap();
        assert_eq!((all[0].name.as_str(), all[0].above.critical, all[1].below.warning), ("", Some(1.0), Some(3.0)));
        assert_eq!(read(json!({})), Ok(Vec::new()));
        for (with, part) in [
            (json!({"queries": [{"name": "a", "query": "x"}, {"name": "a", "query": "y"}]}), "two queries are called `a`"),
            (json!({"above": {"critical": 1}}), "are for `query`"),
            (json!({"query": " "}), "has 1 characters"),
            (json!({"queries": [{"query": "x"}]}), "missing field `name`"),
        ] {
            let error = read(with).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn a_time_is_one_or_so_long_ago() {
        let now = WallTime(1_000_000_000);
        assert_eq!(time("1h", now).unwrap(), 996_400.0);
        assert_eq!(time("1970-01-02T00:00:00Z", now).unwrap(), 86_400.0);
        assert!(time("yesterday", now).is_err());
    }
}
