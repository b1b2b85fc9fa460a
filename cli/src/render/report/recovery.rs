//! What a run that restores backups comes to as a whole: how long it took until all was well (RTO), and how old the oldest of
//! what it restored is (RPO).

use mainstay_core::catalogue::BACKUP_RESTORE;
use mainstay_proto::v1::{Run, RunState, Verdict};

use super::rows::last_report;
use super::units;

/// Output of the step that says how old is what it restored.
const AGE: &str = "rpoSeconds";

/// `RTO 4m10s` and `RPO 5h`; nothing where nothing was restored. A run that has not come to a good end has no RTO: what it
/// was for is not well.
pub fn of(run: &Run) -> Vec<String> {
    let restored = run.work.iter().filter(|work| work.kind == BACKUP_RESTORE);
    let reports = restored.filter_map(last_report).filter_map(|attempt| attempt.outcome.as_ref()?.report.as_ref());
    let ages = reports.filter_map(|report| report.outputs.get(AGE)?.parse::<f64>().ok());
    let Some(oldest) = ages.filter(|age| age.is_finite() && *age >= 0.0).max_by(f64::total_cmp) else { return Vec::new() };
    let is_well = run.state() == RunState::Completed && !matches!(run.verdict(), Verdict::Critical | Verdict::Unknown);
    let rto = if is_well { format!("RTO {}", units::duration_ms(run.took_ms)) } else { "no RTO: not all is well".to_owned() };
    vec![rto, format!("RPO {}", units::duration_ms((oldest * 1_000.0) as u64))]
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
        assert_eq!(of(&run(Verdict::Ok, vec![work("recovery.drill", "60"), work(BACKUP_RESTORE, "soon")])), Vec::<String>::new());
    }
}
