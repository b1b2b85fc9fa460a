//! What is expected of an endpoint: as the plan says it, and checked.

use std::collections::BTreeMap;

use mainstay_core::Millis;
use mainstay_core::report::Thresholds;
use reqwest::Method;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::body::BodyRules;
use crate::execute::params::{Limits, Span};

/// Headers whose value opens something, by a part of their name.
const CREDENTIALS: [&str; 7] = ["auth", "cookie", "token", "secret", "password", "api-key", "apikey"];
/// Headers that belong to the connection and not to what is asked.
const OF_THE_WIRE: [&str; 7] = ["connection", "content-length", "expect", "te", "trailer", "transfer-encoding", "upgrade"];

/// Rules as a step or one of its endpoints gives them.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct Given {
    method: Option<MethodName>,
    request_headers: Option<BTreeMap<String, String>>,
    status: Option<Status>,
    contains: Option<String>,
    not_contains: Option<String>,
    json: Option<Map<String, Value>>,
    max_bytes: Option<u64>,
    headers: Option<BTreeMap<String, String>>,
    latency: Limits<Span>,
    days_left: Limits<f64>,
    timeout: Option<Span>,
    follow_redirects: Option<usize>,
}

/// Rules that have been checked and have their defaults.
#[derive(Debug)]
pub(super) struct Rules {
    pub method: Method,
    pub request_headers: HeaderMap,
    pub status: Status,
    pub body: BodyRules,
    /// Name, and a pattern of its value.
    pub headers: Vec<(HeaderName, String)>,
    pub latency: Thresholds,
    pub days_left: Thresholds,
    pub timeout: Millis,
    pub follow_redirects: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum MethodName {
    Get,
    Head,
}

/// A status, several, or a range as text.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum Status {
    One(u16),
    Several(Vec<u16>),
    Range(String),
}

impl Given {
    /// What is given here, and else what `other` gives.
    pub(super) fn or(self, other: &Given) -> Given {
        let other = other.clone();
        Given {
            method: self.method.or(other.method),
            request_headers: self.request_headers.or(other.request_headers),
            status: self.status.or(other.status),
            contains: self.contains.or(other.contains),
            not_contains: self.not_contains.or(other.not_contains),
            json: self.json.or(other.json),
            max_bytes: self.max_bytes.or(other.max_bytes),
            headers: self.headers.or(other.headers),
            latency: self.latency.or(other.latency),
            days_left: self.days_left.or(other.days_left),
            timeout: self.timeout.or(other.timeout),
            follow_redirects: self.follow_redirects.or(other.follow_redirects),
        }
    }

    /// Checks them.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub(super) fn checked(self) -> Result<Rules, String> {
        let status = self.status.unwrap_or(Status::Range("200-399".into()));
        if let Status::Range(text) = &status
            && Status::range(text).is_none()
        {
            return Err(format!("`{text}` is not a range of status such as 200-299"));
        }
        let method = self.method.unwrap_or(MethodName::Get);
        let body = BodyRules::new(self.contains, self.not_contains, self.json.unwrap_or_default(), self.max_bytes)?;
        if method == MethodName::Head && body.looks_inside() {
            return Err("an answer to HEAD has no body to look into: use GET".to_owned());
        }
        let headers = self.headers.unwrap_or_default().into_iter().map(|(name, pattern)| header_name(&name).map(|name| (name, pattern)));
        Ok(Rules {
            method: if method == MethodName::Head { Method::HEAD } else { Method::GET },
            request_headers: request_headers(&self.request_headers.unwrap_or_default())?,
            status,
            body,
            headers: headers.collect::<Result<_, _>>()?,
            latency: self.latency.above(1_000.0, 5_000.0),
            days_left: self.days_left.below(30.0, 7.0),
            timeout: self.timeout.map_or(Millis::from_secs(10), |timeout| timeout.0),
            follow_redirects: self.follow_redirects.unwrap_or(5),
        })
    }
}

/// Whether a header's value is nobody's business.
pub(super) fn is_credential(name: &HeaderName) -> bool {
    CREDENTIALS.iter().any(|part| name.as_str().contains(part))
}

fn header_name(name: &str) -> Result<HeaderName, String> {
    HeaderName::try_from(name).map_err(|_| format!("`{name}` cannot be the name of a header"))
}

fn request_headers(given: &BTreeMap<String, String>) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (name, value) in given {
        let name = header_name(name)?;
        if is_credential(&name) {
            return Err(format!("the header {name} is a credential, which a plan never holds: declare a connection of kind http, and name it"));
        }
        if OF_THE_WIRE.contains(&name.as_str()) {
            return Err(format!("the header {name} is not a plan's to set"));
        }
        let value = HeaderValue::try_from(value.as_str()).map_err(|_| format!("the value of the header {name} holds what a header cannot"))?;
        headers.insert(name, value);
    }
    Ok(headers)
}

impl Status {
    fn range(text: &str) -> Option<(u16, u16)> {
        let (from, to) = text.split_once('-').unwrap_or((text, text));
        let range = (from.trim().parse().ok()?, to.trim().parse().ok()?);
        (range.0 <= range.1).then_some(range)
    }

    pub(super) fn admits(&self, status: u16) -> bool {
        match self {
            Status::One(one) => *one == status,
            Status::Several(several) => several.contains(&status),
            Status::Range(text) => Status::range(text).is_some_and(|(from, to)| (from..=to).contains(&status)),
        }
    }

    pub(super) fn in_words(&self) -> String {
        match self {
            Status::One(one) => one.to_string(),
            Status::Several(several) => several.iter().map(u16::to_string).collect::<Vec<_>>().join(" or "),
            Status::Range(text) => text.clone(),
        }
    }
}
