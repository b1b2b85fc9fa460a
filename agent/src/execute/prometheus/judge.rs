//! From an answer to checks: every series is one.

use std::fmt::Write;

use mainstay_core::report::{Check, Thresholds, Verdict};

use super::super::api::NoAnswer;
use super::super::wording;
use super::answer::{Answer, Data, Series};
use super::{KIND, Query, lint};

const SERIES: &str = "prometheus.query.series";
const WARNINGS: &str = "prometheus.query.warnings";
const LINT: &str = "prometheus.query.lint";
/// Series of one query that are shown, the worst ones.
const SERIES_MAX: usize = 100;
/// Longest subject; what a report has room for.
const SUBJECT_BYTES: usize = 240;
/// Of a query that stands for itself.
const QUERY_SHOWN: usize = 120;
/// Warnings that are shown.
const WARNINGS_SHOWN: usize = 6;

/// What several queries found.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Found {
    pub checks: Vec<Check>,
    /// Of every series, also of those that are not shown.
    pub values: Vec<(Verdict, f64)>,
    /// Series that are not shown.
    pub left_out: usize,
    /// Some of them are not ok.
    pub left_out_bad: bool,
}

impl Found {
    pub fn add(&mut self, other: Found) {
        self.checks.extend(other.checks);
        self.values.extend(other.values);
        self.left_out += other.left_out;
        self.left_out_bad |= other.left_out_bad;
    }

    /// Checks of series, the worst first, and as many as are shown.
    pub fn of_series(subject: &str, mut checks: Vec<Check>) -> Found {
        let values = checks.iter().map(|check| (check.verdict, check.value.unwrap_or(f64::NAN))).filter(|(_, value)| !value.is_nan()).collect();
        // Within one verdict the order of the answer stays.
        checks.sort_by_key(|check| std::cmp::Reverse(check.verdict));
        let left_out: Vec<Check> = checks.split_off(checks.len().min(SERIES_MAX));
        let left_out_bad = left_out.iter().any(|check| check.verdict != Verdict::Ok);
        if !left_out.is_empty() {
            let (all, hidden) = (checks.len() + left_out.len(), left_out.len());
            let (verdict, message) = if left_out_bad {
                (Verdict::Warning, format!("{all} series: the {SERIES_MAX} worst are shown, and others that are not ok are not"))
            } else {
                (Verdict::Ok, format!("{all} series: {hidden} that are ok are not shown"))
            };
            let check = Check { value: Some(all as f64), ..Check::stated(SERIES, subject, verdict, message) };
            checks.push(if left_out_bad { check.with_hint("sum them up in the query, for example with sum by or topk") } else { check });
        }
        Found { checks, values, left_out: left_out.len(), left_out_bad }
    }
}

/// By what messages name a query.
pub(super) fn subject_of(query: &Query) -> String {
    if query.name.is_empty() { cut(&one_line(&query.query), QUERY_SHOWN) } else { query.name.clone() }
}

pub(super) fn checks(query: &Query, answer: Result<Answer, NoAnswer>) -> Found {
    let subject = subject_of(query);
    let stated = |id: &str, verdict, message: String| Check::stated(id, &subject, verdict, message);
    let mut found = match answer {
        Err(error) => Found { checks: vec![stated(KIND, Verdict::Unknown, format!("not known: {error}"))], ..Found::default() },
        Ok(Answer { data, warnings, .. }) => {
            let mut found = of_data(query, &subject, data);
            if !warnings.is_empty() {
                let message = format!("Prometheus has {} about the result", wording::count(warnings.len() as u64, "warning", "warnings"));
                found.checks.push(stated(WARNINGS, Verdict::Warning, message).with_details(warnings.into_iter().take(WARNINGS_SHOWN)));
            }
            found
        }
    };
    found.checks.extend(lint::problems(query).into_iter().map(|(message, hint)| stated(LINT, Verdict::Warning, message).with_hint(hint)));
    found
}

fn of_data(query: &Query, subject: &str, data: Option<Data>) -> Found {
    let unknown = |message: &str, hint: &str| {
        let check = Check::stated(KIND, subject, Verdict::Unknown, message).with_hint(hint);
        Found { checks: vec![check], ..Found::default() }
    };
    let checks: Vec<Check> = match data {
        Some(Data::Vector(series)) if series.is_empty() => {
            return unknown("no data: the result has no series", "does the metric exist, and does the selector fit? look at it without the selector");
        }
        Some(Data::Vector(series)) => series
            .iter()
            .map(|series| judged(query, &named(query, subject, series), series.value.as_ref().and_then(|sample| sample.value())))
            .collect(),
        Some(Data::Scalar(sample)) => vec![judged(query, subject, sample.value())],
        Some(Data::Matrix(_)) => {
            return unknown(
                "the result is a matrix, with many values of each series",
                "ask for one value of each: last_over_time, max_over_time, avg_over_time (…[5m])",
            );
        }
        Some(Data::String(_)) => return unknown("the result is a text, and not a number", "ask for a vector or a scalar"),
        None => return unknown("the answer has no result", "look at the query in Prometheus itself"),
    };
    let count = checks.len();
    let mut found = Found::of_series(subject, checks);
    if let Some(expected) = query.expect.filter(|expected| *expected > 1 || count == 0) {
        let enough = count >= expected as usize;
        let (verdict, message) = if enough {
            (Verdict::Ok, format!("{count} series, at least {expected} expected"))
        } else {
            (Verdict::Critical, format!("{count} of at least {expected} series that are expected"))
        };
        let check = Check { value: Some(count as f64), ..Check::stated(SERIES, subject, verdict, message) };
        found.checks.push(if enough { check } else { check.with_hint("what is missing does not report: is it down, or no longer scraped?") });
    }
    found
}

fn judged(query: &Query, subject: &str, value: Option<f64>) -> Check {
    let Some(value) = value else {
        return Check::stated(KIND, subject, Verdict::Unknown, "its value is a histogram, and not a number")
            .with_hint("ask for a number of it: histogram_quantile, histogram_avg");
    };
    if !value.is_finite() {
        let what = if value.is_nan() { "NaN: a ratio of nothing to nothing?" } else { "infinite: a ratio to nothing?" };
        return Check::stated(KIND, subject, Verdict::Unknown, format!("the value is {what}"))
            .with_hint("leave out what has no traffic, for example with  … > 0  in the divisor");
    }
    let above = query.above.from(None, None);
    let below = Thresholds { below: true, ..query.below.from(None, None) };
    // Of two bounds, the one that is worse to have crossed; else the one that is set.
    let has_above = above.warning.is_some() || above.critical.is_some();
    let thresholds = if below.judge(value) > above.judge(value) || !has_above { below } else { above };
    Check::measured(KIND, subject, value, &query.unit, thresholds, quantity(value, &query.unit))
}

/// The series by its labels.
fn named(query: &Query, subject: &str, series: &Series) -> String {
    let metric = series.metric.get("__name__").map_or("", String::as_str);
    let name = if query.name.is_empty() { metric } else { query.name.as_str() };
    let labels: Vec<String> = series.metric.iter().filter(|(name, _)| *name != "__name__").map(|(name, value)| format!("{name}={value:?}")).collect();
    if labels.is_empty() {
        return if name.is_empty() { subject.to_owned() } else { name.to_owned() };
    }
    let full = format!("{name}{{{}}}", labels.join(","));
    if full.len() <= SUBJECT_BYTES {
        return full;
    }
    // Two that differ only behind the cut stay two.
    let mark = format!("…#{:08x}", crc32fast::hash(full.as_bytes()));
    cut(&full, SUBJECT_BYTES - mark.len()).trim_end_matches('…').to_owned() + &mark
}

fn quantity(value: f64, unit: &str) -> String {
    match unit {
        "%" => wording::percent(value),
        "B" if value >= 0.0 => wording::bytes(value as u64),
        "" => number(value),
        unit => format!("{} {unit}", number(value)),
    }
}

/// As many digits as tell it apart: `1,234`, `0.01234`, `98.7`.
pub(super) fn number(value: f64) -> String {
    if value == value.trunc() && value.abs() < 1e15 {
        let sign = if value < 0.0 { "-" } else { "" };
        return format!("{sign}{}", wording::count(value.abs() as u64, "", "").trim_end());
    }
    let magnitude = value.abs().log10().floor() as i32;
    if !(-5..15).contains(&magnitude) {
        return format!("{value:.3e}");
    }
    let digits = usize::try_from(3 - magnitude).unwrap_or(0);
    let mut text = String::new();
    // Writing to a text does not fail.
    let _ = write!(text, "{value:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn cut(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let end = (0..=most.saturating_sub('…'.len_utf8())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    format!("{}…", &text[..end])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde::de::IgnoredAny;
    use serde_json::json;

    use super::super::answer::Sample;
    use super::*;

    fn query(with: serde_json::Value) -> Query {
        let mut fields = with.as_object().cloned().unwrap();
        fields.entry("name").or_insert(json!(""));
        fields.entry("query").or_insert(json!("x"));
        serde_json::from_value(fields.into()).unwrap()
    }

    fn series(labels: &[(&str, &str)], value: &str) -> Series {
        Series { metric: labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(), value: Some(Sample::of(value)) }
    }

    fn answer(data: Data) -> Result<Answer, NoAnswer> {
        Ok(Answer { status: "success".into(), data: Some(data), error_type: String::new(), error: String::new(), warnings: Vec::new() })
    }

    fn seen(found: &Found) -> Vec<(&str, &str, Verdict, &str)> {
        found.checks.iter().map(|check| (check.id.as_str(), check.subject.as_str(), check.verdict, check.message.as_str())).collect()
    }

    #[test]
    fn every_series_is_a_check_with_its_labels() {
        let all = vec![
            series(&[("__name__", "ratio"), ("job", "a"), ("zone", "x")], "0.002"),
            series(&[("__name__", "ratio"), ("job", "b")], "0.02"),
            series(&[("__name__", "ratio")], "0.007"),
            series(&[("job", "c")], "NaN"),
            series(&[("job", "d")], "+Inf"),
        ];
        let found = checks(&query(json!({"above": {"warning": 0.005, "critical": 0.01}})), answer(Data::Vector(all.clone())));
        assert_eq!(
            seen(&found),
            [
                (KIND, "ratio{job=\"b\"}", Verdict::Critical, "0.02"),
                (KIND, "{job=\"c\"}", Verdict::Unknown, "the value is NaN: a ratio of nothing to nothing?"),
                (KIND, "{job=\"d\"}", Verdict::Unknown, "the value is infinite: a ratio to nothing?"),
                (KIND, "ratio", Verdict::Warning, "0.007"),
                (KIND, "ratio{job=\"a\",zone=\"x\"}", Verdict::Ok, "0.002"),
            ]
        );
        let named = checks(&query(json!({"name": "errors", "unit": "%"})), answer(Data::Vector(all[1..2].to_vec())));
        assert_eq!(seen(&named), [(KIND, "errors{job=\"b\"}", Verdict::Ok, "0.02 %")]);
    }

    #[test]
    fn what_is_not_there_is_unknown() {
        let verdict =
            |data| checks(&query(json!({"expect": 2})), answer(data)).checks.into_iter().map(|check| (check.id, check.verdict)).collect::<Vec<_>>();
        let unknown = vec![(KIND.to_owned(), Verdict::Unknown)];
        assert_eq!(verdict(Data::Vector(Vec::new())), unknown);
        assert_eq!(verdict(Data::Matrix(IgnoredAny)), unknown);
        assert_eq!(verdict(Data::String(IgnoredAny)), unknown);
        assert_eq!(verdict(Data::Vector(vec![series(&[("a", "b")], "1")])), [(KIND.to_owned(), Verdict::Ok), (SERIES.to_owned(), Verdict::Critical)]);
        let two = Data::Vector(vec![series(&[("a", "b")], "1"), series(&[("a", "c")], "1")]);
        assert_eq!(verdict(two).last().unwrap(), &(SERIES.to_owned(), Verdict::Ok));
        let refused = checks(&query(json!({"name": "q"})), Err(NoAnswer::Refused("bad_data: parse error".into())));
        assert_eq!(seen(&refused), [(KIND, "q", Verdict::Unknown, "not known: bad_data: parse error")]);
        let histogram = Series { value: None, ..series(&[], "1") };
        assert_eq!(checks(&query(json!({})), answer(Data::Vector(vec![histogram]))).checks[0].verdict, Verdict::Unknown);
    }

    #[test]
    fn a_value_is_held_between_two_bounds() {
        let band = query(json!({"above": {"critical": 10}, "below": {"warning": 2, "critical": 1}}));
        let of = |value: &str| {
            let check = checks(&band, answer(Data::Scalar(Sample::of(value)))).checks.remove(0);
            (check.verdict, check.thresholds.below)
        };
        assert_eq!(
            [of("5"), of("11"), of("2"), of("0")],
            [(Verdict::Ok, false), (Verdict::Critical, false), (Verdict::Warning, true), (Verdict::Critical, true)]
        );
    }

    #[test]
    fn of_many_series_the_worst_are_shown() {
        let many = |bad: usize| (0..150).map(|i| series(&[("i", &i.to_string())], if i >= 150 - bad { "9" } else { "0" })).collect();
        let of = |bad| checks(&query(json!({"name": "q", "above": {"critical": 5}})), answer(Data::Vector(many(bad))));
        let few = of(3);
        assert_eq!((few.checks.len(), few.left_out, few.left_out_bad, few.values.len()), (SERIES_MAX + 1, 50, false, 150));
        assert_eq!(few.checks[2].verdict, Verdict::Critical);
        assert_eq!(few.checks[SERIES_MAX].message, "150 series: 50 that are ok are not shown");
        let all = of(150);
        assert_eq!((all.left_out_bad, all.checks[SERIES_MAX].verdict), (true, Verdict::Warning));
    }

    #[test]
    fn warnings_and_long_labels_are_kept() {
        let warned = Answer { warnings: vec!["partial".into()], ..answer(Data::Scalar(Sample::of("1"))).unwrap() };
        let found = checks(&query(json!({"name": "q"})), Ok(warned));
        assert_eq!(found.checks[1].details, ["partial"]);
        let long = |end: &str| series(&[("path", &("x".repeat(400) + end))], "1");
        let found = checks(&query(json!({})), answer(Data::Vector(vec![long("a"), long("b")])));
        let subjects: Vec<&str> = found.checks.iter().map(|check| check.subject.as_str()).collect();
        assert!(subjects[0] != subjects[1] && subjects.iter().all(|subject| subject.len() <= SUBJECT_BYTES), "{subjects:?}");
    }

    #[test]
    fn numbers_have_the_digits_that_tell_them_apart() {
        for (value, text) in
            [(0.0, "0"), (1_234.0, "1,234"), (-3.0, "-3"), (0.012_334, "0.01233"), (98.765, "98.77"), (1e-9, "1.000e-9"), (1_234.56, "1235")]
        {
            assert_eq!(number(value), text);
        }
    }
}
