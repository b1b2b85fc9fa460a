//! Findings: what is wrong or unknown now, and since when.
//!
//! A finding is raised by a check and cleared by the same check when it looks again and finds nothing
//! wrong. A check that did not run says nothing, so it clears nothing.

use imbl::{OrdMap, Vector};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::bounds;
use crate::report::{Check, Report, Verdict};
use crate::time::WallTime;

/// All open findings and the last ones that cleared.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Findings {
    pub open: OrdMap<Fingerprint, Finding>,
    pub cleared: Vector<Finding>,
    /// How many could not be kept because there were too many.
    pub refused: u64,
}

/// Names one finding across runs: the first 16 hexadecimal digits of a hash over source, check and subject.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Fingerprint(pub String);

/// Something wrong or unknown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    pub fingerprint: Fingerprint,
    /// Who looks for it: step kind, target and what the step was told to look at.
    pub source: String,
    /// The node or other target.
    pub target: String,
    pub check: String,
    pub subject: String,
    pub severity: Verdict,
    pub message: String,
    pub hint: String,
    pub first_seen: WallTime,
    pub last_seen: WallTime,
    /// How often it has been seen.
    pub seen: u64,
    pub cleared: Option<WallTime>,
    /// The run that saw it last.
    pub run: String,
}

/// Who looked, where, and when.
pub(super) struct Look<'a> {
    pub source: &'a str,
    pub target: &'a str,
    pub run: &'a str,
    pub wall: WallTime,
    /// The look came to its end: what it does not mention is not wrong. Otherwise it clears nothing.
    pub whole: bool,
}

impl Fingerprint {
    #[must_use]
    pub fn of(source: &str, check: &str, subject: &str) -> Fingerprint {
        let mut hasher = Sha256::new();
        for part in [source, check, subject] {
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        Fingerprint(hasher.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect())
    }
}

impl std::fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl Findings {
    /// Takes in what a source has just seen: raises, refreshes, and clears what it no longer sees.
    pub(super) fn look(&mut self, look: &Look<'_>, report: &Report) {
        let mut seen = Vec::new();
        for check in report.checks.iter().filter(|check| matches!(check.verdict, Verdict::Warning | Verdict::Unknown | Verdict::Critical)) {
            let fingerprint = Fingerprint::of(look.source, &check.id, &check.subject);
            seen.push(fingerprint.clone());
            self.raise(fingerprint, look, check);
        }
        // A report that was cut short leaves out ok checks first. Once it has only bad ones, what is missing
        // from it may be bad as well.
        let says_all = report.left_out == 0 || seen.len() < report.checks.len();
        if look.whole && says_all {
            self.clear(look.wall, |fingerprint, finding| finding.source == look.source && !seen.contains(fingerprint));
        }
    }

    /// Clears all findings of a target that is gone: nobody will look again.
    pub(super) fn clear_target(&mut self, target: &str, wall: WallTime) {
        self.clear(wall, |_, finding| finding.target == target);
    }

    fn clear(&mut self, wall: WallTime, is_gone: impl Fn(&Fingerprint, &Finding) -> bool) {
        let gone: Vec<Fingerprint> =
            self.open.iter().filter(|(fingerprint, finding)| is_gone(fingerprint, finding)).map(|(fingerprint, _)| fingerprint.clone()).collect();
        for fingerprint in gone {
            if let Some(finding) = self.open.remove(&fingerprint) {
                self.cleared.push_back(Finding { cleared: Some(wall), ..finding });
            }
        }
        while self.cleared.len() > bounds::FINDINGS_CLEARED {
            self.cleared.pop_front();
        }
    }

    fn raise(&mut self, fingerprint: Fingerprint, look: &Look<'_>, check: &Check) {
        if !self.open.contains_key(&fingerprint) && self.open.len() >= bounds::FINDINGS {
            self.refused += 1;
            return;
        }
        let before = self.open.get(&fingerprint);
        let finding = Finding {
            source: look.source.to_owned(),
            target: look.target.to_owned(),
            check: check.id.clone(),
            subject: check.subject.clone(),
            severity: check.verdict,
            message: check.message.clone(),
            hint: check.hint.clone(),
            first_seen: before.map_or(look.wall, |finding| finding.first_seen),
            last_seen: look.wall,
            seen: before.map_or(0, |finding| finding.seen) + 1,
            cleared: None,
            run: look.run.to_owned(),
            fingerprint: fingerprint.clone(),
        };
        self.open.insert(fingerprint, finding);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(findings: &mut Findings, source: &str, wall: i64, checks: &[(&str, Verdict)]) {
        let checks = checks.iter().map(|(subject, verdict)| Check::stated("disk.used", subject, *verdict, "full")).collect();
        findings
            .look(&Look { source, target: "local/a1", run: "daily-1", wall: WallTime(wall), whole: true }, &Report { checks, ..Report::default() });
    }

    #[test]
    fn a_look_that_did_not_see_all_clears_nothing() {
        let mut findings = Findings::default();
        look(&mut findings, "a", 1, &[("/var", Verdict::Warning), ("/srv", Verdict::Warning)]);
        let half = Look { source: "a", target: "local/a1", run: "daily-2", wall: WallTime(2), whole: false };
        findings.look(&half, &Report::default());
        assert_eq!(findings.open.len(), 2, "the step failed before it had looked at all");
        let checks = vec![Check::stated("disk.used", "/var", Verdict::Critical, "full")];
        findings.look(&Look { whole: true, ..half }, &Report { checks, left_out: 1, ..Report::default() });
        assert_eq!(findings.open.len(), 2, "the report had no room for the other one");
    }

    #[test]
    fn a_target_that_is_gone_takes_its_findings_with_it() {
        let mut findings = Findings::default();
        look(&mut findings, "a", 1, &[("/var", Verdict::Warning)]);
        findings.clear_target("local/a2", WallTime(2));
        assert_eq!(findings.open.len(), 1);
        findings.clear_target("local/a1", WallTime(3));
        assert_eq!((findings.open.len(), findings.cleared.len()), (0, 1));
    }

    #[test]
    fn a_finding_keeps_its_first_day_and_clears_when_its_own_check_says_so() {
        let mut findings = Findings::default();
        look(&mut findings, "a", 1, &[("/var", Verdict::Warning)]);
        look(&mut findings, "a", 2, &[("/var", Verdict::Critical)]);
        let finding = findings.open.values().next().cloned().unwrap();
        assert_eq!((finding.first_seen, finding.last_seen, finding.seen, finding.severity), (WallTime(1), WallTime(2), 2, Verdict::Critical));
        look(&mut findings, "b", 3, &[]);
        assert_eq!(findings.open.len(), 1, "another check clears nothing of this one's");
        look(&mut findings, "a", 4, &[("/var", Verdict::Ok)]);
        assert!(findings.open.is_empty());
        assert_eq!(findings.cleared.back().and_then(|f| f.cleared), Some(WallTime(4)));
    }

    #[test]
    fn subjects_do_not_run_into_each_other() {
        assert_ne!(Fingerprint::of("a", "b", "c"), Fingerprint::of("a", "bc", ""));
        assert_ne!(Fingerprint::of("ab", "c", ""), Fingerprint::of("a", "bc", ""));
    }
}
