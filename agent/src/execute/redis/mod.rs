//! `redis.check`: a Redis server, through one connection, looking only.
//!
//! In: a connection and thresholds. Out: one check for each thing looked at, from one `PING`, one `INFO` and, where
//! it may be asked, `CONFIG GET save`. What the user of the connection may not ask is unknown, with the line for
//! the server's ACL; what the server says of itself is judged by pure functions.

mod clients;
mod info;
mod memory;
mod persistence;
mod replication;
mod session;

use std::collections::BTreeMap;

use mainstay_core::Millis;
use mainstay_core::report::{Check, Report, Verdict};
use serde::Deserialize;
use serde_json::{Map, Value};

use self::info::Info;
use self::session::{Failure, Session};
use super::params::{self, Limits, Percent, Size, Span};
use super::{Context, StepError, wording};
use crate::connections::{Connection, ConnectionKind, Place};

const KIND: &str = "redis.check";
const PING: &str = "redis.ping";
const INFO: &str = "redis.info";
/// Checks that come out of `INFO`, at least.
const OF_INFO: u32 = 6;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Params {
    connection: Option<String>,
    latency: Limits<Span>,
    memory: Limits<Percent>,
    fragmentation: Limits<f64>,
    save_age: Limits<Span>,
    replicas: Option<u32>,
    replication_lag: Limits<Span>,
    replication_lag_bytes: Limits<Size>,
    evictions: Limits<f64>,
    clients: Limits<Percent>,
    blocked_clients: Limits<f64>,
    timeout: Span,
}

impl Default for Params {
    fn default() -> Params {
        Params {
            connection: None,
            latency: Limits::default(),
            memory: Limits::default(),
            fragmentation: Limits::default(),
            save_age: Limits::default(),
            replicas: None,
            replication_lag: Limits::default(),
            replication_lag_bytes: Limits::default(),
            evictions: Limits::default(),
            clients: Limits::default(),
            blocked_clients: Limits::default(),
            timeout: Span(Millis::from_secs(5)),
        }
    }
}

/// All that one part needs.
struct Look<'a> {
    info: &'a Info,
    params: &'a Params,
    connection: &'a Connection,
    context: &'a Context,
}

pub(super) async fn execute(with: &Map<String, Value>, context: &Context) -> Result<Report, StepError> {
    let params: Params = params::read(KIND, with)?;
    let connection = context.connection(KIND, &[ConnectionKind::Redis], params.connection.as_deref())?;
    let mut session = match Session::open(connection, context, params.timeout.0.as_duration()).await {
        Ok(session) => session,
        Err(failure) => return Ok(Report { checks: vec![failed(PING, connection, &failure)], left_out: OF_INFO, ..Report::default() }),
    };
    let from = context.host.monotonic();
    let ping = session.ask(&["PING"]).await;
    let latency_ms = (context.host.monotonic() - from).as_secs_f64() * 1_000.0;
    let mut checks = vec![match ping {
        Ok(_) => answered(&params, latency_ms),
        Err(failure) => failed(PING, connection, &failure),
    }];
    let text = match session.ask(&["INFO"]).await {
        Ok(text) => text,
        Err(failure) => {
            checks.push(failed(INFO, connection, &failure));
            return Ok(Report { checks, left_out: OF_INFO - 1, ..Report::default() });
        }
    };
    let info = Info::parse(&text);
    let schedule = persistence::Schedule::of(session.ask_pairs(&["CONFIG", "GET", "save"]).await.as_deref());
    let look = Look { info: &info, params: &params, connection, context };
    checks.push(version(&info));
    checks.extend(memory::checks(&look));
    checks.extend(persistence::checks(&look, &schedule));
    checks.extend(replication::checks(&look));
    checks.extend(clients::checks(&look));
    Ok(Report { outputs: outputs(&checks, &info, latency_ms), checks, ..Report::default() })
}

fn answered(params: &Params, latency_ms: f64) -> Check {
    let message = format!("PONG after {}", wording::milliseconds(latency_ms));
    let check = Check::measured(PING, "", rounded(latency_ms), "ms", params.latency.above(100.0, 1_000.0), message);
    if check.verdict == Verdict::Ok { check } else { check.with_hint("SLOWLOG GET 10, and the machine's load, say what it is busy with") }
}

/// A question that has no answer.
fn failed(id: &str, connection: &Connection, failure: &Failure) -> Check {
    let user = connection.user.as_deref().unwrap_or("default");
    let how = match &connection.address.place {
        Place::Tcp { host, port } => format!("redis-cli -h {} -p {port} PING", wording::quoted(host)),
        _ => format!("redis-cli -s {} PING", wording::quoted(&connection.address.place_in_words())),
    };
    let (verdict, hint) = match failure {
        // Nobody looked, so nobody knows.
        Failure::NotAsked(_) => (Verdict::Unknown, format!("see {}", connection.declared_at)),
        Failure::Denied(_) => (Verdict::Unknown, format!("ACL SETUSER {user} +ping +info +config|get")),
        Failure::NotLetIn(_) => (Verdict::Critical, format!("see {}: do its user and password hold?", connection.declared_at)),
        Failure::Down(_) => (Verdict::Critical, how),
    };
    Check::stated(id, "", verdict, failure.to_string()).with_hint(hint)
}

fn version(info: &Info) -> Check {
    let up = info.number("uptime_in_seconds").map_or_else(String::new, |up| format!(", up {}", wording::seconds(up)));
    let role = match info.text("role") {
        Some("master") => ", primary",
        Some("slave") => ", replica",
        _ => "",
    };
    match info.text("redis_version").or(info.text("valkey_version")) {
        Some(version) => Check::stated("redis.version", "", Verdict::Ok, format!("Redis {version}{role}{up}")),
        None => Check::stated("redis.version", "", Verdict::Unknown, "it does not say which version it is"),
    }
}

fn outputs(checks: &[Check], info: &Info, latency_ms: f64) -> BTreeMap<String, Value> {
    let of = |id: &str| checks.iter().find(|check| check.id == id).and_then(|check| check.value);
    let numbers = [
        ("latencyMs", Some(rounded(latency_ms))),
        ("memoryUsedBytes", info.number("used_memory")),
        ("memoryPercent", of(memory::USED)),
        ("replicas", of(replication::REPLICAS)),
    ];
    let numbers = numbers.into_iter().filter_map(|(name, value)| Some((name.to_owned(), Value::from(value?))));
    numbers.chain(info.text("redis_version").map(|version| ("version".to_owned(), Value::from(version)))).collect()
}

/// As precise as anybody reads it.
fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::path::Path;

    use super::*;
    use crate::connections::Connections;
    use crate::observe::readings::Readings;

    /// What the parts find in a text as `INFO` has it.
    pub(super) fn seen(info: &str, with: Value, judge: impl Fn(&Look<'_>) -> Vec<Check>) -> Vec<(String, String, Verdict, Option<f64>)> {
        let declared = "[connections.cache]\nkind = \"redis\"\nurl = \"redis://127.0.0.1\"\n";
        let (connections, _) = Connections::parse(Path::new("x"), declared);
        let connection = connections.get(&"cache".parse().unwrap()).unwrap().clone();
        let context = Context::new(std::sync::Arc::default(), Readings::default(), std::sync::Arc::default(), std::sync::Arc::default()).unwrap();
        let params: Params = params::read(KIND, with.as_object().unwrap()).unwrap();
        let look = Look { info: &Info::parse(info), params: &params, connection: &connection, context: &context };
        judge(&look).into_iter().map(|check| (check.id.replace("redis.", ""), check.subject, check.verdict, check.value)).collect()
    }

    pub(super) fn row(id: &str, subject: &str, verdict: Verdict, value: Option<f64>) -> (String, String, Verdict, Option<f64>) {
        (id.to_owned(), subject.to_owned(), verdict, value)
    }

    #[test]
    fn a_server_says_which_it_is() {
        let check = version(&Info::parse("redis_version:7.0.15\r\nrole:master\r\nuptime_in_seconds:7200\r\n"));
        assert_eq!(check.message, "Redis 7.0.15, primary, up 2 h");
        assert_eq!(version(&Info::parse("")).verdict, Verdict::Unknown);
    }
}
