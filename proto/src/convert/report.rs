//! Reports and outcomes.

use std::collections::BTreeMap;

use mainstay_core::report::{Check, Report, Thresholds, Verdict};
use mainstay_core::state::run::Outcome;

use super::InvalidMessage;
use crate::v1;
use crate::v1::outcome::Kind;

#[must_use]
pub fn verdict_to_wire(verdict: Verdict) -> v1::Verdict {
    match verdict {
        Verdict::Ok => v1::Verdict::Ok,
        Verdict::Skipped => v1::Verdict::Skipped,
        Verdict::Warning => v1::Verdict::Warning,
        Verdict::Unknown => v1::Verdict::Unknown,
        Verdict::Critical => v1::Verdict::Critical,
    }
}

/// A verdict that this program does not know is unknown, never ok.
#[must_use]
pub fn verdict_from_wire(verdict: i32) -> Verdict {
    match v1::Verdict::try_from(verdict) {
        Ok(v1::Verdict::Ok) => Verdict::Ok,
        Ok(v1::Verdict::Skipped) => Verdict::Skipped,
        Ok(v1::Verdict::Warning) => Verdict::Warning,
        Ok(v1::Verdict::Critical) => Verdict::Critical,
        Ok(v1::Verdict::Unknown | v1::Verdict::Unspecified) | Err(_) => Verdict::Unknown,
    }
}

#[must_use]
pub fn report_to_wire(report: &Report) -> v1::Report {
    v1::Report {
        checks: report.checks.iter().map(check_to_wire).collect(),
        outputs: report.outputs.iter().map(|(name, value)| (name.clone(), value.to_string())).collect(),
        output_tail: report.output_tail.clone(),
        left_out: report.left_out,
    }
}

fn check_to_wire(check: &Check) -> v1::Check {
    v1::Check {
        id: check.id.clone(),
        subject: check.subject.clone(),
        verdict: verdict_to_wire(check.verdict).into(),
        value: check.value,
        unit: check.unit.clone(),
        thresholds: Some(v1::Thresholds { warning: check.thresholds.warning, critical: check.thresholds.critical, below: check.thresholds.below }),
        message: check.message.clone(),
        hint: check.hint.clone(),
        details: check.details.clone(),
        history: check.history.clone(),
    }
}

/// Takes a report in and cuts it down to its bounds.
pub fn report_from_wire(report: v1::Report) -> Result<Report, InvalidMessage> {
    let outputs: BTreeMap<String, serde_json::Value> = report
        .outputs
        .into_iter()
        .map(|(name, value)| serde_json::from_str(&value).map(|value| (name, value)).map_err(|error| InvalidMessage::new("outputs", error)))
        .collect::<Result<_, _>>()?;
    let checks = report.checks.into_iter().map(check_from_wire).collect();
    Ok(Report { checks, outputs, output_tail: report.output_tail, left_out: report.left_out }.bounded())
}

fn check_from_wire(check: v1::Check) -> Check {
    // NaN and infinities have no place in JSON, plots or comparisons.
    let finite = |value: Option<f64>| value.filter(|value| value.is_finite());
    let thresholds = check.thresholds.unwrap_or_default();
    Check {
        id: check.id,
        subject: check.subject,
        verdict: verdict_from_wire(check.verdict),
        value: finite(check.value),
        unit: check.unit,
        thresholds: Thresholds { warning: finite(thresholds.warning), critical: finite(thresholds.critical), below: thresholds.below },
        message: check.message,
        hint: check.hint,
        details: check.details,
        history: check.history.into_iter().filter(|value| value.is_finite()).collect(),
    }
}

#[must_use]
pub fn outcome_to_wire(outcome: &Outcome) -> v1::Outcome {
    let (kind, message) = match outcome {
        Outcome::Succeeded(_) => (Kind::Succeeded, String::new()),
        Outcome::Failed { message, .. } => (Kind::Failed, message.clone()),
        Outcome::Cancelled { message } => (Kind::Cancelled, message.clone()),
        Outcome::TimedOut { message } => (Kind::TimedOut, message.clone()),
        Outcome::Unknown { reason } => (Kind::Unknown, reason.clone()),
    };
    v1::Outcome { kind: kind.into(), message, report: outcome.report().map(report_to_wire) }
}

pub fn outcome_from_wire(outcome: v1::Outcome) -> Result<Outcome, InvalidMessage> {
    let report = outcome.report.map(report_from_wire).transpose()?;
    let message = outcome.message;
    Ok(match Kind::try_from(outcome.kind) {
        Ok(Kind::Succeeded) => Outcome::Succeeded(report.unwrap_or_default()),
        Ok(Kind::Failed) => Outcome::Failed { message, report },
        Ok(Kind::Cancelled) => Outcome::Cancelled { message },
        Ok(Kind::TimedOut) => Outcome::TimedOut { message },
        Ok(Kind::Unknown) => Outcome::Unknown { reason: message },
        Ok(Kind::Unspecified) | Err(_) => return Err(InvalidMessage::new("outcome.kind", "is not one that this version knows")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_survives_the_wire() {
        let check = Check::measured("disk.used", "/var", 96.0, "%", Thresholds::above(80.0, 90.0), "96 % full")
            .with_hint("du -x /var")
            .with_history(vec![94.0, 96.0]);
        let report = Report {
            checks: vec![check],
            outputs: [("a".to_owned(), serde_json::json!({"b": [1, "c"]}))].into(),
            output_tail: "x".into(),
            left_out: 1,
        };
        assert_eq!(report_from_wire(report_to_wire(&report)), Ok(report.clone()));
        for outcome in [
            Outcome::Succeeded(report.clone()),
            Outcome::Failed { message: "m".into(), report: Some(report) },
            Outcome::Cancelled { message: "m".into() },
            Outcome::TimedOut { message: "m".into() },
            Outcome::Unknown { reason: "m".into() },
        ] {
            assert_eq!(outcome_from_wire(outcome_to_wire(&outcome)), Ok(outcome));
        }
    }

    #[test]
    fn what_cannot_be_is_not_let_in() {
        assert_eq!(verdict_from_wire(99), Verdict::Unknown);
        assert!(outcome_from_wire(v1::Outcome::default()).is_err());
        assert!(report_from_wire(v1::Report { outputs: [("a".to_owned(), "{".to_owned())].into(), ..v1::Report::default() }).is_err());
        let odd = v1::Check { value: Some(f64::NAN), history: vec![f64::INFINITY, 1.0], ..v1::Check::default() };
        let report = report_from_wire(v1::Report { checks: vec![odd], ..v1::Report::default() }).unwrap();
        assert_eq!((report.checks[0].value, report.checks[0].history.as_slice()), (None, [1.0].as_slice()));
    }
}
