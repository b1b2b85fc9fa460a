//! A gate as a plan has it: what it asks, how often, and from where on it has failed. Pure.

use mainstay_core::Millis;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::lines::LogErrors;
use super::tally::Rules;
use crate::execute::kube::wait::Wanted;
use crate::execute::params::{self, Percent, Span};
use crate::execute::{StepError, http, prometheus};

/// How often a gate may be asked at most.
const EVERY_MIN: Millis = Millis(100);
/// Probes of an endpoint under way at once: so that slow ones do not keep it from its beat.
const HTTP_AT_ONCE: usize = 8;

/// One gate.
pub struct Gate {
    pub asks: Asks,
    pub every: Millis,
    pub timeout: Millis,
    pub rules: Rules,
}

/// Whom it asks.
pub enum Asks {
    Http(http::probe::Probe),
    Prometheus(prometheus::probe::Probe),
    Object { api_version: String, kind: String, wanted: Wanted, subject: String },
    LogErrors(LogErrors),
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Given {
    http: Option<Map<String, Value>>,
    prometheus: Option<Map<String, Value>>,
    object: Option<GivenObject>,
    log_errors: Option<LogErrors>,
    new_signatures: Option<Value>,
    every: Option<Span>,
    timeout: Option<Span>,
    failures: Option<u32>,
    error_rate: Option<Percent>,
    p95: Option<Span>,
    over: Option<Span>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct GivenObject {
    #[serde(default = "first")]
    api_version: String,
    kind: String,
    name: Option<String>,
    selector: Option<String>,
    that: String,
}

fn first() -> String {
    "v1".to_owned()
}

impl Gate {
    /// Reads one, of a step of this kind.
    ///
    /// # Errors
    /// Refused, with what is wrong.
    pub fn read(kind: &str, given: &Map<String, Value>) -> Result<Gate, StepError> {
        let given: Given = params::read(kind, given)?;
        let refused = |why: String| StepError::refused(format!("{kind}: a gate {why}; see `mainstay steps {kind}`"));
        if given.new_signatures.is_some() {
            return Err(refused("`newSignatures` cannot be used yet: not until signatures of log messages exist".to_owned()));
        }
        let usual = match (&given.http, &given.prometheus, &given.object, &given.log_errors) {
            (Some(_), None, None, None) => 1,
            (None, Some(_), None, None) => 15,
            (None, None, Some(_), None) => 2,
            (None, None, None, Some(_)) => 5,
            _ => return Err(refused("asks one of `http`, `prometheus`, `object` and `logErrors`".to_owned())),
        };
        let every = given.every.map_or(Millis::from_secs(usual), |every| every.0);
        if every < EVERY_MIN {
            return Err(refused(format!("is asked every {every}, and every {EVERY_MIN} is the most")));
        }
        // An answer that is too late has to be one that is still waited for.
        let p95 = given.p95.map_or(Millis(0), |p95| p95.0);
        let late = Millis(p95.0.saturating_add(p95.0 / 2));
        let timeout = given.timeout.map_or(Millis(every.0.clamp(1_000, 10_000)).max(late), |timeout| timeout.0);
        if timeout <= p95 {
            return Err(refused(format!("gives a probe up after {timeout}, so that `p95` of {p95} says nothing: `timeout` has to be longer")));
        }
        let asks = match (given.http, given.prometheus, given.object, given.log_errors) {
            (Some(http), ..) => Asks::Http(http::probe::Probe::read(kind, &http, timeout)?),
            (_, Some(prometheus), ..) => Asks::Prometheus(prometheus::probe::Probe::read(kind, &prometheus, timeout.as_duration())?),
            (.., Some(object), _) => {
                let wanted = Wanted::checked(&object.kind, object.name.as_deref(), object.selector.as_deref(), ("that", &object.that));
                let wanted = wanted.map_err(|why| refused(format!("`object`: {why}")))?;
                let subject = format!("{}/{}", object.kind, object.name.or(object.selector).unwrap_or_default());
                Asks::Object { api_version: object.api_version, kind: object.kind, wanted, subject }
            }
            (.., Some(lines)) => Asks::LogErrors(lines),
            (None, None, None, None) => return Err(refused("asks nobody".to_owned())),
        };
        let rules = Rules {
            failures: given.failures.unwrap_or(2).max(1),
            error_rate: given.error_rate.map(|rate| rate.0 / 100.0),
            p95: given.p95.map(|p95| p95.0),
            over: given.over.map_or(Millis::from_secs(60), |over| over.0),
        };
        Ok(Gate { asks, every, timeout, rules })
    }

    /// Probes that may be under way at once.
    pub fn at_once(&self) -> usize {
        if matches!(self.asks, Asks::Http(_)) { HTTP_AT_ONCE } else { 1 }
    }

    /// As messages name it.
    pub fn subject(&self) -> String {
        match &self.asks {
            Asks::Http(probe) => format!("http {}", probe.subject()),
            Asks::Prometheus(probe) => format!("prometheus {}", probe.subject()),
            Asks::Object { subject, .. } => format!("object {subject}"),
            Asks::LogErrors(lines) => format!("logErrors {}", lines.selector),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn read(given: Value) -> Result<Gate, String> {
        Gate::read("kube.watch", given.as_object().unwrap()).map_err(|error| error.message)
    }

    #[test]
    fn each_gate_has_its_beat_and_is_named_by_whom_it_asks() {
        for (given, subject, every_s) in [
            (json!({ "http": { "url": "http://web/health", "status": 200, "contains": "ok" } }), "http http://web/health", 1),
            (
                json!({ "prometheus": { "connection": "prom", "query": "sum(up)", "below": { "critical": 1 } }, "failures": 1 }),
                "prometheus sum(up)",
                15,
            ),
            (
                json!({ "object": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "that": "object.status.readyReplicas == 2" } }),
                "object Deployment/web",
                2,
            ),
            (json!({ "logErrors": { "selector": "app=web" } }), "logErrors app=web", 5),
        ] {
            let gate = read(given).unwrap();
            assert_eq!((gate.subject().as_str(), gate.every), (subject, Millis::from_secs(every_s)));
        }
        let gate =
            read(json!({ "http": { "url": "http://a" }, "every": "200ms", "failures": 3, "errorRate": "5%", "p95": "1s", "over": "30s" })).unwrap();
        let rules = Rules { failures: 3, error_rate: Some(0.05), p95: Some(Millis(1_000)), over: Millis(30_000) };
        assert_eq!((gate.rules, gate.timeout), (rules, Millis(1_500)));
        let never = read(json!({ "http": { "url": "http://a" }, "p95": "2s", "timeout": "2s" })).err().unwrap();
        assert!(never.to_string().contains("gives a probe up after 2s, so that `p95` of 2s says nothing"), "{never}");
    }

    #[test]
    fn what_is_wrong_is_told_before_anybody_is_asked() {
        for (given, part) in [
            (json!({}), "asks one of `http`"),
            (json!({ "http": { "url": "http://a" }, "logErrors": { "selector": "a=b" } }), "asks one of `http`"),
            (json!({ "newSignatures": {} }), "not until signatures of log messages exist"),
            (json!({ "http": { "url": "ftp://a" } }), "is not an http or https URL"),
            (json!({ "http": {} }), "has no `url`"),
            (json!({ "http": { "url": "http://a", "latency": 1 } }), "parameters of kube.watch"),
            (json!({ "http": { "url": "http://a", "requestHeaders": { "authorization": "x" } } }), "is a credential"),
            (json!({ "http": { "url": "http://a" }, "every": "10ms" }), "every 100ms is the most"),
            (json!({ "prometheus": { "connection": "p", "query": "up" } }), "it never fails"),
            (json!({ "object": { "kind": "Secret", "name": "a", "that": "true" } }), "what is in a Secret is not looked at"),
            (json!({ "object": { "kind": "Pod", "that": "object != null" } }), "by `name`, or about all"),
            (json!({ "object": { "kind": "Pod", "name": "a", "that": "pod.x" } }), "`that`: "),
        ] {
            let error = read(given.clone()).err().unwrap();
            assert!(error.contains(part), "{given}: {error}");
        }
    }
}
