//! From an answer, or from there being none, to checks in words.

use mainstay_core::report::{Check, Verdict};
use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderName};

use super::ask::{Answer, NoAnswer, TooManyRedirects};
use super::body::quoted;
use super::endpoint::Endpoint;
use super::rules::is_credential;
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

pub(super) fn checks(endpoint: &Endpoint, connection: Option<&Connection>, answer: Result<Answer, NoAnswer>, context: &Context) -> Seen {
    let (subject, hint) = (endpoint.subject.as_str(), try_it(&endpoint.url, connection));
    let check = match answer {
        Ok(answer) => {
            let check = judge(endpoint, connection, &answer, hint);
            return Seen { check, certificate: certificate(&answer, endpoint, connection.is_some(), context) };
        }
        Err(NoAnswer::NotAsked(refused)) => not_asked(subject, &refused),
        Err(NoAnswer::TimedOut) => {
            Check::stated(ID, subject, Verdict::Critical, format!("no answer within {}", endpoint.rules.timeout)).with_hint(hint)
        }
        Err(NoAnswer::Failed(error)) => failure(endpoint, &error, hint, context),
    };
    Seen { check, certificate: None }
}

/// Files of this agent are in the way, so nobody looked.
pub(super) fn not_made(endpoint: &Endpoint, why: &str, connection: &Connection) -> Seen {
    let why = format!("not asked: {}", why.strip_prefix("not asked: ").unwrap_or(why));
    let check = Check::stated(ID, &endpoint.subject, Verdict::Unknown, why).with_hint(format!("see {}", connection.declared_at));
    Seen { check, certificate: None }
}

fn judge(endpoint: &Endpoint, connection: Option<&Connection>, answer: &Answer, hint: String) -> Check {
    let (Endpoint { url, subject, rules }, Answer { status, took_ms, .. }) = (endpoint, answer);
    let took = wording::milliseconds(*took_ms);
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
    match connection.filter(|connection| connection.secret.is_some() && matches!(status, 401 | 403)) {
        _ if check.verdict == Verdict::Ok => check,
        Some(connection) => check.with_hint(format!("see {}: does its credential hold?", connection.declared_at)),
        None => check.with_hint(hint),
    }
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

fn certificate(answer: &Answer, endpoint: &Endpoint, by_connection: bool, context: &Context) -> Option<Check> {
    let rules = &endpoint.rules;
    let place_of = |url: &Url| Some(format!("{}:{}", url.host_str()?, url.port_or_known_default()?));
    // The server of a connection is named already.
    let place = place_of(&answer.url).filter(|place| !by_connection || place_of(&endpoint.url).as_ref() != Some(place));
    let place = if by_connection { place.unwrap_or_default() } else { place? };
    Some(match Certificate::parse(answer.certificate.as_ref()?) {
        Ok(certificate) => tls::days_left(DAYS, &place, &certificate, rules.days_left, context.host.wall()),
        Err(cause) => Check::stated(DAYS, &place, Verdict::Unknown, format!("its certificate cannot be read: {cause}")),
    })
}

fn failure(endpoint: &Endpoint, error: &reqwest::Error, hint: String, context: &Context) -> Check {
    let Endpoint { url, subject, .. } = endpoint;
    let critical = |message: String| Check::stated(ID, subject, Verdict::Critical, message);
    if let Some(many) = trust::find::<TooManyRedirects>(error) {
        return critical(many.to_string()).with_hint(hint);
    }
    let advice = trust::find::<rustls::Error>(error).and_then(trust::advice).map_or(hint, str::to_owned);
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

/// Nobody looked, so nobody knows.
fn not_asked(subject: &str, refused: &OutgoingError) -> Check {
    Check::stated(ID, subject, Verdict::Unknown, "not asked: its address is one that this agent does not reach").with_hint(refused.to_string())
}

/// How a person asks for the same.
fn try_it(url: &Url, connection: Option<&Connection>) -> String {
    let login = match connection {
        // It asks for the password itself.
        Some(Connection { user: Some(user), .. }) => format!("-u {} ", wording::quoted(user)),
        Some(Connection { bearer: true, declared_at, .. }) => return format!("see {declared_at}"),
        _ => String::new(),
    };
    format!("curl -sv -o /dev/null {login}{}", wording::quoted(url.as_str()))
}
