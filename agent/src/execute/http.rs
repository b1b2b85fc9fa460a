//! `http.check`: HTTP endpoints by status, latency, body, redirect and TLS, many at once.
//!
//! In: URLs and what is expected of them. Out: one check for each with the time until its answer was
//! complete, or why there was none. Where requests may go is [`super::outgoing`]'s, at every redirect too; no
//! proxy of the environment is used, since it would resolve names by itself.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};
use mainstay_core::Millis;
use mainstay_core::report::{Check, Report, Verdict};
use reqwest::redirect::{Attempt, Policy as Redirects};
use reqwest::{Client, Method, Response, Url};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::params::{self, Limits, Span};
use super::{Context, Outgoing, OutgoingError, StepError, trust, wording};

const ID: &str = "http";
/// Endpoints asked at once; more would measure the agent.
const AT_ONCE: usize = 8;
/// Endpoints of one step.
const URLS_MAX: usize = 200;
/// Read of a body; what a check looks for stands before this.
const BODY_BYTES: usize = 1 << 20;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Params {
    url: Option<String>,
    urls: Vec<String>,
    method: MethodName,
    status: Status,
    contains: Option<String>,
    latency: Limits<Span>,
    timeout: Span,
    follow_redirects: usize,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum MethodName {
    Get,
    Head,
}

/// A status, several, or a range as text.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Status {
    One(u16),
    Several(Vec<u16>),
    Range(String),
}

impl Default for Params {
    fn default() -> Params {
        Params {
            url: None,
            urls: Vec::new(),
            method: MethodName::Get,
            status: Status::Range("200-399".into()),
            contains: None,
            latency: Limits::default(),
            timeout: Span(Millis::from_secs(10)),
            follow_redirects: 5,
        }
    }
}

impl Status {
    fn range(text: &str) -> Option<(u16, u16)> {
        let (from, to) = text.split_once('-').unwrap_or((text, text));
        let range = (from.trim().parse().ok()?, to.trim().parse().ok()?);
        (range.0 <= range.1).then_some(range)
    }

    fn admits(&self, status: u16) -> bool {
        match self {
            Status::One(one) => *one == status,
            Status::Several(several) => several.contains(&status),
            Status::Range(text) => Status::range(text).is_some_and(|(from, to)| (from..=to).contains(&status)),
        }
    }

    fn in_words(&self) -> String {
        match self {
            Status::One(one) => one.to_string(),
            Status::Several(several) => several.iter().map(u16::to_string).collect::<Vec<_>>().join(" or "),
            Status::Range(text) => text.clone(),
        }
    }
}

/// What one endpoint answered.
struct Answer {
    status: u16,
    took_ms: f64,
    url: Url,
    /// Whether the text that was asked for is in the body; none was when `None`.
    contains: Option<bool>,
}

pub(super) async fn execute(with: &Map<String, Value>, context: &Context) -> Result<Report, StepError> {
    let params: Params = params::read("http.check", with)?;
    let urls = urls(&params)?;
    if let Status::Range(text) = &params.status
        && Status::range(text).is_none()
    {
        return Err(StepError::refused(format!("http.check: `{text}` is not a range of status such as 200-299")));
    }
    let client = client(&params, context).map_err(|error| StepError::failed(format!("http.check: {error}")))?;
    let asked = urls.into_iter().map(|url| ask(&client, url, &params, context));
    let checks: Vec<Check> = stream::iter(asked).buffered(AT_ONCE).collect().await;
    let failed = checks.iter().filter(|check| check.verdict != Verdict::Ok).count();
    Ok(Report { checks, outputs: [("failed".to_owned(), Value::from(failed))].into(), ..Report::default() })
}

fn urls(params: &Params) -> Result<Vec<Url>, StepError> {
    let all: Vec<&String> = params.url.iter().chain(&params.urls).collect();
    if all.is_empty() {
        return Err(StepError::refused("http.check needs `url` or `urls`"));
    }
    if all.len() > URLS_MAX {
        return Err(StepError::refused(format!("http.check has {} URLs, and {URLS_MAX} is the most of one step: make two of it", all.len())));
    }
    all.into_iter()
        .map(|text| {
            let url = Url::parse(text).map_err(|error| StepError::refused(format!("http.check: `{text}` is not a URL: {error}")))?;
            let fits = matches!(url.scheme(), "http" | "https") && url.host_str().is_some();
            if fits { Ok(url) } else { Err(StepError::refused(format!("http.check: `{text}` is not an http or https URL"))) }
        })
        .collect()
}

fn client(params: &Params, context: &Context) -> Result<Client, String> {
    let mut tls = trust::client(trust::verifier(trust::roots(context)?)?)?;
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let (outgoing, most) = (context.outgoing.clone(), params.follow_redirects);
    let builder = Client::builder()
        .tls_backend_preconfigured(tls)
        .dns_resolver(Arc::new(context.outgoing.clone()))
        .redirect(Redirects::custom(move |attempt| redirect(attempt, &outgoing, most)))
        .no_proxy()
        .referer(false)
        .pool_max_idle_per_host(0)
        .user_agent(concat!("mainstay/", env!("CARGO_PKG_VERSION")));
    builder.build().map_err(|error| trust::root_cause(&error))
}

fn redirect(attempt: Attempt<'_>, outgoing: &Outgoing, most: usize) -> reqwest::redirect::Action {
    if most == 0 {
        return attempt.stop();
    }
    if attempt.previous().len() > most {
        return attempt.error(TooManyRedirects(most));
    }
    match literal(attempt.url()).map(|(host, address)| outgoing.judge(&host, address)) {
        Some(Err(refused)) => attempt.error(refused),
        _ => attempt.follow(),
    }
}

#[derive(Debug, thiserror::Error)]
#[error("more than {0} redirects")]
struct TooManyRedirects(usize);

/// The address of a URL that names no host but an address; such a one is not asked of the resolver.
fn literal(url: &Url) -> Option<(String, IpAddr)> {
    let host = url.host_str()?;
    host.trim_matches(['[', ']']).parse().ok().map(|address| (host.to_owned(), address))
}

async fn ask(client: &Client, url: Url, params: &Params, context: &Context) -> Check {
    let url = &url;
    let subject = url.as_str().trim_end_matches('/').to_owned();
    if let Some(Err(refused)) = literal(url).map(|(host, address)| context.outgoing.judge(&host, address)) {
        return not_asked(&subject, &refused);
    }
    let timeout: Duration = params.timeout.0.as_duration();
    match tokio::time::timeout(timeout, answer(client, url, params, context)).await {
        Err(_) => Check::stated(ID, &subject, Verdict::Critical, format!("no answer within {}", params.timeout.0)).with_hint(hint(url)),
        Ok(Err(error)) => failure(&subject, url, &error, context),
        Ok(Ok(answer)) => judge(&subject, url, &answer, params),
    }
}

async fn answer(client: &Client, url: &Url, params: &Params, context: &Context) -> Result<Answer, reqwest::Error> {
    let method = if matches!(params.method, MethodName::Head) { Method::HEAD } else { Method::GET };
    let from_ms = context.host.monotonic_ms();
    let response = client.request(method, url.clone()).send().await?;
    let (status, last_url) = (response.status().as_u16(), response.url().clone());
    let contains = read(response, params.contains.as_deref()).await?;
    let took_ms = context.host.monotonic_ms().saturating_sub(from_ms) as f64;
    Ok(Answer { status, took_ms, url: last_url, contains })
}

/// Reads the body, and keeps no more of it than what a text that spans two pieces needs.
async fn read(mut response: Response, wanted: Option<&str>) -> Result<Option<bool>, reqwest::Error> {
    let wanted = wanted.map(str::as_bytes);
    let (mut seen, mut kept, mut found) = (0, Vec::new(), false);
    while let Some(piece) = response.chunk().await? {
        seen += piece.len();
        if let Some(wanted) = wanted.filter(|_| !found) {
            kept.extend_from_slice(&piece);
            found = wanted.is_empty() || kept.windows(wanted.len()).any(|window| window == wanted);
            kept.drain(..kept.len().saturating_sub(wanted.len().saturating_sub(1)));
        }
        if seen >= BODY_BYTES {
            break;
        }
    }
    Ok(wanted.map(|wanted| found || wanted.is_empty()))
}

fn judge(subject: &str, url: &Url, answer: &Answer, params: &Params) -> Check {
    let Answer { status, took_ms, .. } = answer;
    let took = wording::span(Millis(*took_ms as u64));
    let redirected = if answer.url == *url { String::new() } else { format!(", redirected to {}", answer.url) };
    let check = Check::measured(ID, subject, *took_ms, "ms", params.latency.above(1_000.0, 5_000.0), format!("HTTP {status} in {took}{redirected}"));
    if !params.status.admits(*status) {
        let message = format!("HTTP {status} in {took}{redirected}, and {} is expected", params.status.in_words());
        return Check { verdict: Verdict::Critical, message, ..check }.with_hint(hint(url));
    }
    if answer.contains == Some(false) {
        let message = format!("HTTP {status} in {took}{redirected}, and the text that is expected is not in the body");
        return Check { verdict: Verdict::Critical, message, ..check }.with_hint(hint(url));
    }
    if check.verdict == Verdict::Ok { check } else { check.with_hint(hint(url)) }
}

fn failure(subject: &str, url: &Url, error: &reqwest::Error, context: &Context) -> Check {
    if let Some(refused) = trust::find::<OutgoingError>(error) {
        if matches!(refused, OutgoingError::Refused { .. }) {
            return not_asked(subject, refused);
        }
        return Check::stated(ID, subject, Verdict::Critical, refused.to_string()).with_hint(hint(url));
    }
    let message = if let Some(many) = trust::find::<TooManyRedirects>(error) {
        many.to_string()
    } else if let Some(tls) = trust::find::<rustls::Error>(error) {
        format!("TLS: {}", trust::explain(tls, context.host.wall()))
    } else if let Some(io) = trust::find::<std::io::Error>(error) {
        let place = format!("{}:{}", url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or_default());
        match io.kind() {
            std::io::ErrorKind::ConnectionRefused => OutgoingError::ConnectionRefused(place).to_string(),
            std::io::ErrorKind::UnexpectedEof if url.scheme() == "https" => {
                format!("TLS: {place} closed the connection in the handshake; does it speak TLS?")
            }
            std::io::ErrorKind::ConnectionReset => format!("{place} closed the connection without an answer"),
            _ => OutgoingError::Unreachable(place, super::outgoing::plain_cause(io)).to_string(),
        }
    } else {
        format!("no answer: {}", trust::root_cause(error))
    };
    Check::stated(ID, subject, Verdict::Critical, message).with_hint(hint(url))
}

/// Nobody looked, so nobody knows.
fn not_asked(subject: &str, refused: &OutgoingError) -> Check {
    Check::stated(ID, subject, Verdict::Unknown, "not asked: its address is one that this agent does not reach").with_hint(refused.to_string())
}

fn hint(url: &Url) -> String {
    format!("curl -sv -o /dev/null {}", wording::quoted(url.as_str()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests use real files, sockets and clocks")]
    use serde_json::json;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::super::{Ended, ExecuteSettings, Policy, execute};
    use super::*;
    use crate::observe::readings::Readings;

    /// A server that answers each path with what it is told to.
    async fn server(answers: &'static [(&'static str, &'static str)]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut request = vec![0; 4_096];
                    let length = stream.read(&mut request).await.unwrap_or(0);
                    let request = String::from_utf8_lossy(&request[..length]).into_owned();
                    let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
                    match answers.iter().find(|(known, _)| *known == path) {
                        Some((_, "hang")) => std::future::pending::<()>().await,
                        Some((_, answer)) => drop(stream.write_all(answer.as_bytes()).await),
                        None => {}
                    }
                });
            }
        });
        format!("http://{address}")
    }

    fn context(allow: &[&str]) -> Context {
        let settings = ExecuteSettings { allow_addresses: allow.iter().map(|&a| a.to_owned()).collect(), ..ExecuteSettings::default() };
        Context::new(Arc::default(), Readings::default(), Arc::new(settings), Arc::new(Policy::default())).unwrap()
    }

    async fn check(context: &Context, with: Value) -> Check {
        execute("http.check", with.as_object().unwrap(), context).await.unwrap().checks.remove(0)
    }

    const ANSWERS: &[(&str, &str)] = &[
        ("/", "HTTP/1.1 200 OK\r\ncontent-length: 13\r\nconnection: close\r\n\r\nall is well.\n"),
        ("/broken", "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"),
        ("/moved", "HTTP/1.1 302 Found\r\nlocation: /\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"),
        ("/circle", "HTTP/1.1 302 Found\r\nlocation: /circle\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"),
        ("/metadata", "HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/latest\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"),
        ("/name", "HTTP/1.1 302 Found\r\nlocation: http://localhost:1/\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"),
        ("/hang", "hang"),
    ];

    #[tokio::test]
    async fn an_endpoint_is_judged_by_status_body_and_time() {
        let (base, context) = (server(ANSWERS).await, context(&["127.0.0.1"]));
        let cases = [
            (json!({"url": format!("{base}/")}), Verdict::Ok, "HTTP 200 in "),
            (json!({"url": format!("{base}/"), "contains": "is well"}), Verdict::Ok, "HTTP 200 in "),
            (json!({"url": format!("{base}/"), "contains": "not there"}), Verdict::Critical, "the text that is expected is not in the body"),
            (json!({"url": format!("{base}/"), "method": "HEAD"}), Verdict::Ok, "HTTP 200 in "),
            (json!({"url": format!("{base}/"), "status": "201-299"}), Verdict::Critical, "201-299 is expected"),
            (json!({"url": format!("{base}/broken")}), Verdict::Critical, "HTTP 503 in "),
            (json!({"url": format!("{base}/broken"), "status": [200, 503]}), Verdict::Ok, "HTTP 503 in "),
            (json!({"url": format!("{base}/broken"), "status": 503}), Verdict::Ok, "HTTP 503 in "),
            (json!({"url": format!("{base}/moved")}), Verdict::Ok, ", redirected to http://127.0.0.1"),
            (json!({"url": format!("{base}/moved"), "followRedirects": 0}), Verdict::Ok, "HTTP 302 in "),
            (json!({"url": format!("{base}/circle"), "followRedirects": 3}), Verdict::Critical, "more than 3 redirects"),
            (json!({"url": format!("{base}/hang"), "timeout": "50ms"}), Verdict::Critical, "no answer within 50ms"),
            (json!({"url": format!("{base}/nothing")}), Verdict::Critical, ""),
            (json!({"url": format!("{base}/"), "latency": {"warning": "0s", "critical": "1d"}}), Verdict::Warning, "HTTP 200 in "),
        ];
        for (with, verdict, part) in cases {
            let check = check(&context, with.clone()).await;
            assert_eq!(check.verdict, verdict, "{with}: {}", check.message);
            assert!(check.message.contains(part), "{with}: {}", check.message);
        }
    }

    #[tokio::test]
    async fn causes_are_named() {
        let context = context(&["127.0.0.1"]);
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let refused = check(&context, json!({"url": format!("http://{free}/")})).await;
        assert_eq!((refused.verdict, refused.message), (Verdict::Critical, format!("{free} refuses connections: nothing listens there")));
        let no_name = check(&context, json!({"url": "http://no-such-host.invalid/"})).await;
        assert!(no_name.verdict == Verdict::Critical && no_name.message.contains("no-such-host.invalid cannot be resolved"), "{}", no_name.message);
        let base = server(ANSWERS).await;
        let no_tls = check(&context, json!({"url": format!("{}/", base.replace("http:", "https:"))})).await;
        assert!(no_tls.verdict == Verdict::Critical && no_tls.message.starts_with("TLS: "), "{}", no_tls.message);
    }

    #[tokio::test]
    async fn addresses_that_are_not_reached_are_refused_at_first_and_at_redirects() {
        let base = server(ANSWERS).await;
        for (allow, url) in [
            (vec![], format!("{base}/")),
            (vec![], "http://localhost:1/".to_owned()),
            (vec![], "http://2130706433:1/".to_owned()),
            (vec![], "http://0x7f.1:1/".to_owned()),
            (vec![], "http://[::ffff:127.0.0.1]:1/".to_owned()),
            (vec![], "http://169.254.169.254/latest/meta-data".to_owned()),
            (vec!["127.0.0.1"], format!("{base}/metadata")),
        ] {
            let check = check(&context(&allow), json!({"url": url})).await;
            assert_eq!(
                (check.verdict, check.message.as_str()),
                (Verdict::Unknown, "not asked: its address is one that this agent does not reach"),
                "{url}"
            );
            assert!(check.hint.contains("allow_addresses = ["), "{}", check.hint);
        }
        // The server's own address is allowed by number; the name that it sends on to is not.
        let port_only = context(&[&base.trim_start_matches("http://").split(':').next().map(|host| format!("{host}/32")).unwrap()]);
        let name = check(&port_only, json!({"url": format!("{base}/name")})).await;
        assert!(matches!(name.verdict, Verdict::Unknown | Verdict::Critical), "{}", name.message);
    }

    #[tokio::test]
    async fn many_endpoints_keep_their_order_and_bad_ones_are_counted() {
        let (base, context) = (server(ANSWERS).await, context(&["127.0.0.1"]));
        let urls: Vec<String> = (0..20).map(|i| format!("{base}{}", if i % 2 == 0 { "/" } else { "/broken" })).collect();
        let report = execute("http.check", json!({"urls": urls}).as_object().unwrap(), &context).await.unwrap();
        let subjects: Vec<&str> = report.checks.iter().map(|check| check.subject.as_str()).collect();
        assert_eq!(subjects, urls.iter().map(|url| url.trim_end_matches('/')).collect::<Vec<_>>());
        assert_eq!(report.outputs["failed"], 10);
    }

    #[tokio::test]
    async fn wrong_parameters_are_refused() {
        for (with, part) in [
            (json!({}), "needs `url` or `urls`"),
            (json!({"url": "ftp://x/"}), "is not an http or https URL"),
            (json!({"url": "x"}), "is not a URL"),
            (json!({"url": "http://x/", "status": "ok"}), "is not a range of status"),
            (json!({"url": "http://x/", "verb": "GET"}), "unknown field `verb`"),
        ] {
            let error = execute("http.check", with.as_object().unwrap(), &context(&[])).await.unwrap_err();
            assert!(error.ended == Ended::Refused && error.message.contains(part), "{error}");
        }
    }
}
