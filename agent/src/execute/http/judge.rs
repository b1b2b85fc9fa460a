//! From an answer, or from there being none, to checks in words.

use mainstay_core::Millis;
use mainstay_core::report::{Check, Report, Verdict};
use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderName};

use super::ask::{Answer, NoAnswer, TooManyRedirects};
use super::body::quoted;
use super::endpoint::Endpoint;
use super::rules::{Rules, is_credential};
use crate::connections::Connection;
use crate::execute::tls::{self, Certificate};
use crate::execute::{Context, OutgoingError, trust, wording};

const ID: &str = "http";
const DAYS: &str = "http.daysLeft";

/// What came of one endpoint.
pub(super) struct Seen {
    pub check: Check,
    /// Of the server that answered in the end, where it did so over TLS.
    pub certificate: Option<Check>,
}

pub(super) fn checks(endpoint: &Endpoint, answer: Result<Answer, NoAnswer>, context: &Context) -> Seen {
    let (subject, url) = (endpoint.subject(), &endpoint.url);
    let critical = |message: String| Check::stated(ID, &subject, Verdict::Critical, message).with_hint(curl(url));
    let check = match answer {
        Ok(answer) => return Seen { check: judge(&subject, endpoint, &answer), certificate: certificate(&answer, &endpoint.rules, context) },
        Err(NoAnswer::NotAsked(refused)) => not_asked(&subject, &refused),
        Err(NoAnswer::TimedOut) => critical(format!("no answer within {}", endpoint.rules.timeout)),
        Err(NoAnswer::Failed(error)) => failure(&subject, url, &error, context),
    };
    Seen { check, certificate: None }
}

fn judge(subject: &str, endpoint: &Endpoint, answer: &Answer) -> Check {
    let (Endpoint { url, rules }, Answer { status, took_ms, .. }) = (endpoint, answer);
    let took = wording::span(Millis(*took_ms as u64));
    let redirected = if answer.url == *url { String::new() } else { format!(", redirected to {}", answer.url) };
    let mut problems = Vec::new();
    if !rules.status.admits(*status) {
        problems.push(format!("{} is expected", rules.status.in_words()));
    }
    problems.extend(rules.headers.iter().filter_map(|(name, pattern)| header(&answer.headers, name, pattern)));
    problems.extend(answer.body.iter().cloned());
    let mut problems = problems.into_iter();
    let mut message = format!("HTTP {status} in {took}{redirected}");
    let first = problems.next();
    if let Some(problem) = &first {
        message = format!("{message}, and {problem}");
    }
    let check = Check::measured(ID, subject, *took_ms, "ms", rules.latency, message).with_details(problems);
    let check = if first.is_some() { Check { verdict: Verdict::Critical, ..check } } else { check };
    if check.verdict == Verdict::Ok { check } else { check.with_hint(curl(url)) }
}

/// What is wrong with a header.
fn header(headers: &HeaderMap, name: &HeaderName, pattern: &str) -> Option<String> {
    let values: Vec<String> = headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect();
    if values.iter().any(|value| mainstay_core::catalogue::fits(pattern, value)) {
        return None;
    }
    Some(match values.first() {
        None => format!("the header {name} is missing"),
        Some(_) if is_credential(name) => format!("the header {name} is not as expected"),
        Some(value) => format!("the header {name} is {} and not {}", quoted(value), quoted(pattern)),
    })
}

fn certificate(answer: &Answer, rules: &Rules, context: &Context) -> Option<Check> {
    let place = format!("{}:{}", answer.url.host_str()?, answer.url.port_or_known_default()?);
    Some(match Certificate::parse(answer.certificate.as_ref()?) {
        Ok(certificate) => tls::days_left(DAYS, &place, &certificate, rules.days_left, context.host.wall()),
        Err(cause) => Check::stated(DAYS, &place, Verdict::Unknown, format!("its certificate cannot be read: {cause}")),
    })
}

fn failure(subject: &str, url: &Url, error: &reqwest::Error, context: &Context) -> Check {
    let critical = |message: String| Check::stated(ID, subject, Verdict::Critical, message);
    if let Some(many) = trust::find::<TooManyRedirects>(error) {
        return critical(many.to_string()).with_hint(curl(url));
    }
    let advice = trust::find::<rustls::Error>(error).and_then(trust::advice).map_or_else(|| curl(url), str::to_owned);
    match explain(url, error, context) {
        Ok(message) => critical(message).with_hint(advice),
        Err(refused) => not_asked(subject, &refused),
    }
}

/// Why a request has no answer, in words.
///
/// # Errors
/// When nobody was asked, because this agent does not reach such addresses.
pub(in crate::execute) fn explain(url: &Url, error: &reqwest::Error, context: &Context) -> Result<String, OutgoingError> {
    if let Some(refused) = trust::find::<OutgoingError>(error) {
        return if matches!(refused, OutgoingError::Refused { .. }) { Err(refused.clone()) } else { Ok(refused.to_string()) };
    }
    if let Some(tls) = trust::find::<rustls::Error>(error) {
        return Ok(format!("TLS: {}", trust::explain(tls, context.host.wall())));
    }
    let Some(io) = trust::find::<std::io::Error>(error) else { return Ok(format!("no answer: {}", trust::root_cause(error))) };
    let place = format!("{}:{}", url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or_default());
    Ok(match io.kind() {
        std::io::ErrorKind::ConnectionRefused => OutgoingError::ConnectionRefused(place).to_string(),
        std::io::ErrorKind::UnexpectedEof if url.scheme() == "https" => {
            format!("TLS: {place} closed the connection in the handshake; does it speak TLS?")
        }
        std::io::ErrorKind::ConnectionReset => format!("{place} closed the connection without an answer"),
        _ => OutgoingError::Unreachable(place, crate::execute::outgoing::plain_cause(io)).to_string(),
    })
}

/// What a connection keeps this agent from looking at, by its own settings or files.
pub(super) fn not_looked_at(endpoints: &[Endpoint], connection: &Connection, why: &str) -> Report {
    let why = why.strip_prefix("not asked: ").unwrap_or(why);
    let check = |endpoint: &Endpoint| {
        Check::stated(ID, &endpoint.subject(), Verdict::Unknown, format!("not asked: {why}")).with_hint(format!("see {}", connection.declared_at))
    };
    Report { checks: endpoints.iter().map(check).collect(), ..Report::default() }
}

/// Nobody looked, so nobody knows.
fn not_asked(subject: &str, refused: &OutgoingError) -> Check {
    Check::stated(ID, subject, Verdict::Unknown, "not asked: its address is one that this agent does not reach").with_hint(refused.to_string())
}

fn curl(url: &Url) -> String {
    format!("curl -sv -o /dev/null {}", wording::quoted(url.as_str()))
}
