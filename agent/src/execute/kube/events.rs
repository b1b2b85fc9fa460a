//! `kube.events`: what the cluster's parts have warned of lately, by object and reason.
//!
//! In: events of type Warning. Out: the most frequent ones, each as often as it was seen. By themselves they are told
//! and no fault: what they warn of is one where it lasts, and then other kinds find it. With thresholds they are.

use std::collections::BTreeMap;

use jiff::Timestamp;
use mainstay_core::Millis;
use mainstay_core::report::{Check, Report, Thresholds, Verdict};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::super::params::{self, Limits, Span};
use super::super::{Context, StepError, wording};
use super::now::Now;
use crate::kube::Selected;
use crate::kube::objects::Event;

const KIND: &str = "kube.events";
/// Groups that are kept while events are read: of a cluster with more, the rest is counted.
const GROUPS_MAX: usize = 10_000;
/// Characters of a message.
const MESSAGE_MAX: usize = 240;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Params {
    namespaces: Vec<String>,
    exclude_namespaces: Vec<String>,
    reasons: Vec<String>,
    since: Span,
    count: Limits<f64>,
    top: usize,
}

impl Default for Params {
    fn default() -> Params {
        let (namespaces, exclude_namespaces, reasons) = (super::everywhere(), Vec::new(), super::everywhere());
        Params { namespaces, exclude_namespaces, reasons, since: Span(Millis::from_secs(3_600)), count: Limits::default(), top: 20 }
    }
}

#[derive(Debug, Default)]
struct Group {
    count: u64,
    last: Option<Timestamp>,
    message: String,
}

/// Events by whose they are and why.
#[derive(Debug)]
pub(super) struct Warnings {
    now: Now,
    since: Millis,
    groups: BTreeMap<(String, String), Group>,
    all: u64,
}

impl Warnings {
    pub(super) fn new(now: Now, since: Millis) -> Warnings {
        Warnings { now, since, groups: BTreeMap::new(), all: 0 }
    }

    pub(super) fn add(&mut self, event: &Event) {
        let (count, last) = event.seen();
        if self.now.is_over(last, self.since) {
            return;
        }
        self.all += count;
        let of = &event.involved_object;
        let subject = [&of.namespace, &of.kind, &of.name].into_iter().filter(|part| !part.is_empty()).cloned().collect::<Vec<_>>().join("/");
        let key = (subject, event.reason.clone());
        if self.groups.len() >= GROUPS_MAX && !self.groups.contains_key(&key) {
            return;
        }
        let group = self.groups.entry(key).or_default();
        group.count += count;
        if group.last <= last {
            group.last = last;
            group.message = event.message.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(MESSAGE_MAX).collect();
        }
    }

    pub(super) fn report(self, thresholds: Thresholds, top: usize) -> Report {
        let groups = self.groups.len();
        let mut sorted: Vec<_> = self.groups.into_iter().collect();
        sorted.sort_by_key(|(key, group)| (std::cmp::Reverse(group.count), key.clone()));
        let mut checks: Vec<Check> = sorted
            .into_iter()
            .take(top)
            .map(|((subject, reason), group)| {
                let ago = group.last.map_or_else(String::new, |last| format!(", the last {} ago", self.now.ago(last)));
                let message = format!("{}{ago}: {}", wording::count(group.count, "time", "times"), group.message);
                Check::measured("kube.event", &format!("{subject} {reason}"), group.count as f64, "", thresholds, message)
            })
            .collect();
        checks.sort_by_key(|check| std::cmp::Reverse(check.verdict));
        let seen = wording::count(self.all, "warning", "warnings");
        let span = wording::span(self.since);
        let message = match groups {
            0 => format!("no warnings in the last {span}"),
            groups if groups > top => {
                format!("{seen} in the last {span}; {} more of them", wording::count((groups - top) as u64, "object has", "objects have"))
            }
            _ => format!("{seen} in the last {span}"),
        };
        checks.push(Check::stated(KIND, "", Verdict::Ok, message));
        let outputs = [("warnings".to_owned(), Value::from(self.all))].into();
        Report { checks, outputs, ..Report::default() }
    }
}

/// Looks at all events that warn.
///
/// # Errors
/// Refused parameters; a cluster that cannot be seen.
pub async fn execute(with: &Map<String, Value>, context: &Context) -> Result<Report, StepError> {
    let params: Params = params::read(KIND, with)?;
    let cluster = super::cluster(KIND, context)?;
    let mut warnings = Warnings::new(Now::of(KIND, context)?, params.since.0);
    let added = |event: Event| {
        let of = &event.involved_object;
        if super::wants(&params.namespaces, &params.exclude_namespaces, &of.namespace) && super::wants(&params.reasons, &[], &event.reason) {
            warnings.add(&event);
        }
    };
    let selected = Selected { fields: Some("type=Warning"), ..Selected::default() };
    cluster.each("/api/v1/events", selected, added).await.map_err(|error| super::failed(KIND, &error))?;
    Ok(warnings.report(params.count.from(None, None), params.top))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn warnings_are_counted_by_object_and_reason_and_are_no_fault_by_themselves() {
        let event = |name: &str, reason: &str, more: Value| {
            let mut event =
                json!({ "involvedObject": { "kind": "Pod", "namespace": "shop", "name": name }, "reason": reason, "message": "it\n  waits" });
            event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            serde_json::from_value::<Event>(event).unwrap()
        };
        let events = [
            event("a", "BackOff", json!({ "count": 5, "lastTimestamp": "2026-11-28T11:59:00Z" })),
            event("a", "BackOff", json!({ "count": 2, "lastTimestamp": "2026-11-28T11:50:00Z", "message": "earlier" })),
            event(
                "b",
                "Unhealthy",
                json!({ "eventTime": "2026-11-28T11:30:00.123456Z", "series": { "count": 3, "lastObservedTime": "2026-11-28T11:58:00Z" } }),
            ),
            event("c", "Failed", json!({ "count": 9, "lastTimestamp": "2026-11-28T09:00:00Z" })),
            event("d", "FailedScheduling", json!({ "eventTime": "2026-11-28T11:59:30Z", "lastTimestamp": null })),
        ];
        let report = |thresholds: Thresholds, top: usize| {
            let mut warnings = Warnings::new(Now("2026-11-28T12:00:00Z".parse().unwrap()), Millis::from_secs(3_600));
            events.iter().for_each(|event| warnings.add(event));
            warnings.report(thresholds, top)
        };
        let all = report(Thresholds::default(), 20);
        let told: Vec<(&str, &str, Verdict)> = all.checks.iter().map(|check| (&*check.subject, &*check.message, check.verdict)).collect();
        assert_eq!(
            told,
            [
                ("shop/Pod/a BackOff", "7 times, the last 60 s ago: it waits", Verdict::Ok),
                ("shop/Pod/b Unhealthy", "3 times, the last 2 min ago: it waits", Verdict::Ok),
                ("shop/Pod/d FailedScheduling", "1 time, the last 30 s ago: it waits", Verdict::Ok),
                ("", "11 warnings in the last 60 min", Verdict::Ok),
            ]
        );
        let few = report(Thresholds::above(3.0, 7.0), 2);
        let verdicts: Vec<Verdict> = few.checks.iter().map(|check| check.verdict).collect();
        assert_eq!(verdicts, [Verdict::Critical, Verdict::Warning, Verdict::Ok]);
        assert_eq!(few.checks[2].message, "11 warnings in the last 60 min; 1 object has more of them");
    }
}
