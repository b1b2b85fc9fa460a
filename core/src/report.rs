//! What a step found: checks with a value, a unit, thresholds and a verdict.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::bounds;

/// What a check comes to. Ordered by how much it needs a person: the worst of several is their maximum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    #[default]
    Ok,
    /// Not looked at, and why is said: there is nothing of the kind here, or nobody told how to reach it.
    Skipped,
    Warning,
    /// Looked at without an answer. Never taken for ok.
    Unknown,
    Critical,
}

impl Verdict {
    /// Whether a run that ends with this verdict has failed somebody who waits for it.
    #[must_use]
    pub fn is_bad(self) -> bool {
        matches!(self, Verdict::Critical | Verdict::Unknown)
    }

    /// All of them, as plans write them.
    pub const WORDS: [&'static str; 5] = ["ok", "skipped", "warning", "unknown", "critical"];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Ok => "ok",
            Verdict::Skipped => "skipped",
            Verdict::Warning => "warning",
            Verdict::Unknown => "unknown",
            Verdict::Critical => "critical",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// From where on a value is a warning, and from where on it is critical.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Thresholds {
    pub warning: Option<f64>,
    pub critical: Option<f64>,
    /// True where small values are the bad ones (days left), false where large ones are (percent used).
    pub below: bool,
}

impl Thresholds {
    #[must_use]
    pub fn above(warning: f64, critical: f64) -> Thresholds {
        Thresholds { warning: Some(warning), critical: Some(critical), below: false }
    }

    #[must_use]
    pub fn below(warning: f64, critical: f64) -> Thresholds {
        Thresholds { warning: Some(warning), critical: Some(critical), below: true }
    }

    /// The verdict on a value: reaching a threshold counts as crossing it. What is not a number is unknown.
    #[must_use]
    pub fn judge(&self, value: f64) -> Verdict {
        if value.is_nan() {
            return Verdict::Unknown;
        }
        let crossed = |limit: Option<f64>| limit.is_some_and(|limit| if self.below { value <= limit } else { value >= limit });
        if crossed(self.critical) {
            Verdict::Critical
        } else if crossed(self.warning) {
            Verdict::Warning
        } else {
            Verdict::Ok
        }
    }
}

/// One thing looked at.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Check {
    /// What was measured, in dotted lower case: `disk.used`, `tls.daysLeft`. With `subject` it names the check.
    pub id: String,
    /// Of what: a mount point, a file, an endpoint, a service. Empty for the node itself.
    pub subject: String,
    pub verdict: Verdict,
    pub value: Option<f64>,
    /// Unit of `value` and of the thresholds: `%`, `B`, `d` (days), `ms`, `s`, or empty for a count.
    pub unit: String,
    pub thresholds: Thresholds,
    /// What is the case, in words a person reads first. Without the verdict and without the subject.
    pub message: String,
    /// What to do or where to look next; may be empty.
    pub hint: String,
    /// Further lines: examples, causes. At most [`bounds::CHECK_DETAILS`].
    pub details: Vec<String>,
    /// Earlier values, oldest first, for a small plot. At most [`bounds::CHECK_HISTORY`].
    pub history: Vec<f64>,
}

impl Check {
    /// A check of a number against thresholds.
    #[must_use]
    pub fn measured(id: &str, subject: &str, value: f64, unit: &str, thresholds: Thresholds, message: impl Into<String>) -> Check {
        Check {
            id: id.to_owned(),
            subject: subject.to_owned(),
            verdict: thresholds.judge(value),
            value: Some(value),
            unit: unit.to_owned(),
            thresholds,
            message: message.into(),
            ..Check::default()
        }
    }

    /// A check without a number.
    #[must_use]
    pub fn stated(id: &str, subject: &str, verdict: Verdict, message: impl Into<String>) -> Check {
        Check { id: id.to_owned(), subject: subject.to_owned(), verdict, message: message.into(), ..Check::default() }
    }

    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Check {
        self.hint = hint.into();
        self
    }

    #[must_use]
    pub fn with_details(mut self, details: impl IntoIterator<Item = String>) -> Check {
        self.details.extend(details);
        self
    }

    #[must_use]
    pub fn with_history(mut self, history: Vec<f64>) -> Check {
        self.history = history;
        self
    }

    /// Bytes that the check weighs in the replicated state, near enough.
    #[must_use]
    pub fn weight(&self) -> usize {
        96 + self.id.len()
            + self.subject.len()
            + self.message.len()
            + self.hint.len()
            + self.unit.len()
            + self.details.iter().map(|d| d.len() + 8).sum::<usize>()
            + self.history.len() * 9
    }
}

/// What one attempt found and gives to later steps.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Report {
    pub checks: Vec<Check>,
    /// Typed values for later steps, at most 4 KiB.
    pub outputs: BTreeMap<String, serde_json::Value>,
    /// Last lines of what the step printed, at most 4 KiB.
    pub output_tail: String,
    /// How many checks were left out because the report was full. Ok ones are left out first.
    pub left_out: u32,
}

impl Report {
    /// The worst verdict of the checks; ok when there are none.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        self.checks.iter().map(|check| check.verdict).max().unwrap_or_default()
    }

    #[must_use]
    pub fn weight(&self) -> usize {
        64 + self.checks.iter().map(Check::weight).sum::<usize>()
            + self.output_tail.len()
            + self.outputs.iter().map(|(key, value)| key.len() + value.to_string().len()).sum::<usize>()
    }

    /// Cuts the report down to its bounds. What needs a person is kept before what does not, and what was
    /// left out is counted.
    #[must_use]
    pub fn bounded(mut self) -> Report {
        for check in &mut self.checks {
            truncate(&mut check.id, 64);
            truncate(&mut check.subject, 256);
            truncate(&mut check.unit, 16);
            truncate(&mut check.message, 512);
            truncate(&mut check.hint, 256);
            check.details.truncate(bounds::CHECK_DETAILS);
            for detail in &mut check.details {
                truncate(detail, 512);
            }
            let extra = check.history.len().saturating_sub(bounds::CHECK_HISTORY);
            check.history.drain(..extra);
            // What is not a number has been judged unknown already, and is not even equal to itself.
            check.value = check.value.filter(|value| value.is_finite());
            check.history.retain(|value| value.is_finite());
            for limit in [&mut check.thresholds.warning, &mut check.thresholds.critical] {
                *limit = limit.filter(|limit| limit.is_finite());
            }
        }
        let mut order: Vec<usize> = (0..self.checks.len()).collect();
        order.sort_by_key(|&i| std::cmp::Reverse(self.checks[i].verdict));
        let mut room = bounds::REPORT_BYTES;
        let mut kept = Vec::new();
        for i in order {
            let weight = self.checks[i].weight();
            if kept.len() < bounds::REPORT_CHECKS && weight <= room {
                room -= weight;
                kept.push(i);
            }
        }
        kept.sort_unstable();
        let before = self.checks.len();
        let mut index = 0;
        let mut keep = kept.iter().peekable();
        self.checks.retain(|_| {
            let here = keep.next_if(|&&i| i == index).is_some();
            index += 1;
            here
        });
        self.left_out = self.left_out.saturating_add(u32::try_from(before - self.checks.len()).unwrap_or(u32::MAX));
        let mut outputs = 0;
        self.outputs.retain(|key, value| {
            outputs += key.len() + value.to_string().len();
            outputs <= bounds::OUTPUT_BYTES
        });
        if self.output_tail.len() > bounds::OUTPUT_BYTES {
            let mut from = self.output_tail.len() - bounds::OUTPUT_BYTES;
            while !self.output_tail.is_char_boundary(from) {
                from += 1;
            }
            self.output_tail.drain(..from);
        }
        self
    }
}

fn truncate(text: &mut String, max: usize) {
    if text.len() > max {
        let mut end = max - '…'.len_utf8();
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push('…');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_judge_from_both_sides() {
        let used = Thresholds::above(80.0, 90.0);
        assert_eq!([79.9, 80.0, 90.0].map(|v| used.judge(v)), [Verdict::Ok, Verdict::Warning, Verdict::Critical]);
        let left = Thresholds::below(30.0, 7.0);
        assert_eq!([30.1, 30.0, 7.0, -1.0].map(|v| left.judge(v)), [Verdict::Ok, Verdict::Warning, Verdict::Critical, Verdict::Critical]);
        assert_eq!(used.judge(f64::NAN), Verdict::Unknown);
        assert_eq!(Thresholds::default().judge(1e9), Verdict::Ok);
    }

    #[test]
    fn the_worst_check_is_the_reports_verdict() {
        let verdict = |verdicts: &[Verdict]| {
            Report { checks: verdicts.iter().map(|&v| Check::stated("x", "", v, "")).collect(), ..Report::default() }.verdict()
        };
        assert_eq!(verdict(&[]), Verdict::Ok);
        assert_eq!(verdict(&[Verdict::Ok, Verdict::Skipped]), Verdict::Skipped);
        assert_eq!(verdict(&[Verdict::Unknown, Verdict::Warning]), Verdict::Unknown);
        assert_eq!(verdict(&[Verdict::Unknown, Verdict::Critical]), Verdict::Critical);
    }

    #[test]
    fn a_full_report_keeps_what_needs_a_person() {
        let mut checks: Vec<Check> = (0..2 * bounds::REPORT_CHECKS).map(|i| Check::stated("x", &i.to_string(), Verdict::Ok, "fine")).collect();
        checks.push(Check::stated("x", "last", Verdict::Critical, "é".repeat(2_000)));
        let report = Report { checks, output_tail: "ü".repeat(10_000), ..Report::default() }.bounded();
        assert_eq!(report.verdict(), Verdict::Critical);
        assert_eq!(report.checks.len(), bounds::REPORT_CHECKS);
        assert_eq!(report.left_out as usize, bounds::REPORT_CHECKS + 1);
        assert!(report.output_tail.len() <= bounds::OUTPUT_BYTES);
        assert!(report.weight() <= bounds::REPORT_BYTES + 2 * bounds::OUTPUT_BYTES + 64);
    }
}
