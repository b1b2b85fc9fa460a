//! Two slips in PromQL that give a number, and the wrong one.
//!
//! It looks at the text only, and says nothing where it is not sure: a query that it does not understand is
//! Prometheus's to judge.

use regex::Regex;

use super::Query;
use super::judge::number;

/// What is wrong, and what to write instead.
pub(super) fn problems(query: &Query) -> Vec<(String, String)> {
    let text = without_strings(&query.query);
    [quantile(&text), ratio(&text, query)].into_iter().flatten().collect()
}

fn is_match(pattern: &str, text: &str) -> bool {
    Regex::new(pattern).is_ok_and(|regex| regex.is_match(text))
}

/// Buckets of several series are one histogram only when they are summed up by their bound.
fn quantile(text: &str) -> Option<(String, String)> {
    let of_buckets = is_match(r"\bhistogram_quantile\s*\(", text) && is_match(r"_bucket\b", text);
    let by_bound = is_match(r"\bby\s*\([^)]*\ble\b[^)]*\)", text);
    let drops_bound = is_match(r"\bwithout\s*\([^)]*\ble\b[^)]*\)", text);
    let keeps_bound = by_bound || (is_match(r"\bwithout\s*\(", text) && !drops_bound);
    (of_buckets && !keeps_bound).then(|| {
        (
            "histogram_quantile without  sum by (le, …): it is the quantile of each instance by itself, and not of the service".to_owned(),
            "histogram_quantile(0.95, sum by (le, service) (rate(…_bucket[5m])))".to_owned(),
        )
    })
}

/// Requests or errors per second, compared with what can only be meant as a share.
fn ratio(text: &str, query: &Query) -> Option<(String, String)> {
    let limits: Vec<f64> = [query.above.warning, query.above.critical].into_iter().flatten().collect();
    let share = limits.iter().copied().filter(|limit| *limit > 0.0 && *limit < 1.0).reduce(f64::min)?;
    let per_second = is_match(r"\b(rate|irate|increase)\s*\(", text) && is_match(r"\b\w*(request|response|error|failure)s?\w*_total\b", text);
    let divides = text.contains('/');
    (limits.iter().all(|limit| *limit < 1.0) && per_second && !divides).then(|| {
        (
            format!("{} is compared with events per second, and looks like a share of them", number(share)),
            "divide by all of them:  sum(rate(…{code=~\"5..\"}[5m])) / sum(rate(…[5m]))".to_owned(),
        )
    })
}

/// The query without what stands in quotes: values of labels are no PromQL.
fn without_strings(query: &str) -> String {
    let mut text = String::new();
    let mut quote = None;
    let mut chars = query.chars();
    while let Some(c) = chars.next() {
        match quote {
            None => {
                text.push(c);
                quote = matches!(c, '"' | '\'' | '`').then_some(c);
            }
            Some('"' | '\'') if c == '\\' => drop(chars.next()),
            Some(open) if c == open => {
                text.push(c);
                quote = None;
            }
            Some(_) => {}
        }
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn problems_of(query: &str, critical: f64) -> usize {
        problems(&serde_json::from_value(json!({"name": "q", "query": query, "above": {"critical": critical}})).unwrap()).len()
    }

    #[test]
    fn a_quantile_needs_the_bound_of_its_buckets() {
        for (query, count) in [
            ("histogram_quantile(0.95, rate(http_request_duration_seconds_bucket[5m]))", 1),
            ("histogram_quantile(0.95, sum(rate(http_request_duration_seconds_bucket[5m])))", 1),
            ("histogram_quantile(0.95, sum by (service) (rate(x_seconds_bucket[5m])))", 1),
            ("histogram_quantile(0.95, sum without (le) (rate(x_seconds_bucket[5m])))", 1),
            ("histogram_quantile(0.95, sum by (le) (rate(x_seconds_bucket[5m])))", 0),
            ("histogram_quantile(0.95, sum(rate(x_seconds_bucket[5m])) by (service, le))", 0),
            ("histogram_quantile(0.95, sum without (instance, pod) (rate(x_seconds_bucket[5m])))", 0),
            ("histogram_quantile(0.95, sum by (service) (rate(x_seconds[5m])))", 0),
            ("x{help=\"histogram_quantile(_bucket\"}", 0),
        ] {
            assert_eq!(problems_of(query, 1.0), count, "{query}");
        }
    }

    #[test]
    fn a_rate_is_not_a_share() {
        for (query, critical, count) in [
            ("sum(rate(http_requests_total{code=~\"5../x\"}[5m]))", 0.01, 1),
            ("rate(app_errors_total[5m])", 0.01, 1),
            ("rate(app_errors_total[5m])", 5.0, 0),
            ("sum(rate(http_requests_total{code=~\"5..\"}[5m])) / sum(rate(http_requests_total[5m]))", 0.01, 0),
            ("rate(process_cpu_seconds_total[5m])", 0.8, 0),
        ] {
            assert_eq!(problems_of(query, critical), count, "{query}");
        }
    }
}
