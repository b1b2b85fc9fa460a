//! What a run that restores backups comes to as a whole: how long it took until all was well (RTO), and how old the oldest of
//! what it restored is (RPO).

use mainstay_core::catalogue::BACKUP_RESTORE;
use mainstay_proto::v1::{Run, RunState, Verdict};
use serde::Serialize;

use super::rows::last_report;
use super::units;

/// Output of the step that says how old is what it restored.
const AGE: &str = "rpoSeconds";

/// What a run that restores comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Recovered {
    /// Nothing for a run that has not come to a good end: what it was for is not well.
    rto_ms: Option<u64>,
    rpo_ms: u64,
}

/// A run as a program reads it: with what it comes to, in `recovered`, where it has restored something.
#[derive(Debug, Serialize)]
pub struct Told<'r> {
    #[serde(flatten)]
    run: &'r Run,
    #[serde(skip_serializing_if = "Option::is_none")]
    recovered: Option<Recovered>,
}

impl Told<'_> {
    #[must_use]
    pub fn of(run: &Run) -> Told<'_> {
        Told { run, recovered: recovered(run) }
    }
}

/// `RTO 4m10s` and `RPO 5h`; nothing where nothing was restored.
pub fn of(run: &Run) -> Vec<String> {
    let Some(Recovered { rto_ms, rpo_ms }) = recovered(run) else { return Vec::new() };
    let rto = rto_ms.map_or_else(|| "no RTO: not all is well".to_owned(), |ms| format!("RTO {}", units::duration_ms(ms)));
    vec![rto, format!("RPO {}", units::duration_ms(rpo_ms))]
}

fn recovered(run: &Run) -> Option<Recovered> {
    let restored = run.work.iter().filter(|work| work.kind == BACKUP_RESTORE);
    let reports = restored.filter_map(last_report).filter_map(|attempt| attempt.outcome.as_ref()?.report.as_ref());
    let ages = reports.filter_map(|report| report.outputs.get(AGE)?.parse::<f64>().ok());
    let oldest = ages.filter(|age| age.is_finite() && *age >= 0.0).max_by(f64::total_cmp)?;
    let is_well = run.state() == RunState::Completed && !matches!(run.verdict(), Verdict::Critical | Verdict::Unknown);
    Some(Recovered { rto_ms: is_well.then_some(run.took_ms), rpo_ms: (oldest * 1_000.0) as u64 })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use mainstay_proto::v1::{Attempt, AttemptState, Outcome, Report, Work, WorkState, outcome};

    use super::*;

    fn work(kind: &str, age: &str) -> Work {
        let report = Report { outputs: [(AGE.to_owned(), age.to_owned())].into(), ..Report::default() };
        let outcome = Outcome { kind: outcome::Kind::Succeeded.into(), report: Some(report), ..Outcome::default() };
        let attempt = Attempt { number: 1, state: AttemptState::Ended.into(), outcome: Some(outcome), ..Attempt::default() };
        Work {
            step: "s".into(),
            kind: kind.into(),
            target: "once".into(),
            state: WorkState::Succeeded.into(),
            attempts: vec![attempt],
            ..Work::default()
        }
    }

    fn run(verdict: Verdict, work: Vec<Work>) -> Run {
        Run { state: RunState::Completed.into(), verdict: verdict.into(), took_ms: 250_000, work, ..Run::default() }
    }

    #[test]
    fn the_oldest_counts_and_only_what_is_well_has_an_rto() {
        let restored = || vec![work(BACKUP_RESTORE, "60"), work(BACKUP_RESTORE, "18000"), work("recovery.drill", "90000")];
        let said = of(&run(Verdict::Warning, restored())).join(" · ");
        assert_eq!(said, format!("RTO {} · RPO {}", units::duration_ms(250_000), units::duration_ms(18_000_000)));
        assert!(of(&run(Verdict::Critical, restored()))[0].starts_with("no RTO"));
        let told = |run: &Run| serde_json::to_value(Told::of(run)).unwrap();
        let well = told(&run(Verdict::Ok, restored()));
        assert_eq!((&well["recovered"], &well["tookMs"]), (&serde_json::json!({ "rtoMs": 250_000, "rpoMs": 18_000_000 }), &250_000.into()));
        assert_eq!(told(&run(Verdict::Unknown, restored()))["recovered"]["rtoMs"], serde_json::Value::Null);
        assert!(told(&run(Verdict::Ok, Vec::new())).get("recovered").is_none());
        assert_eq!(of(&run(Verdict::Ok, vec![work("recovery.drill", "60"), work(BACKUP_RESTORE, "soon")])), Vec::<String>::new());
    }
}
