//! What facts come to: a list of what is wrong, where, and what to do. Pure.

use mainstay_core::WallTime;
use mainstay_proto::v1::Verdict;
use mainstay_proto::words::Word;
use serde::{Serialize, Serializer};

use super::facts::Facts;
use super::{local, mesh};
use crate::exit::Exit;

/// One line of a diagnosis.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Diagnosis {
    #[serde(serialize_with = "word")]
    pub verdict: Verdict,
    /// What was looked at, for programs: `clock`, `agents`.
    pub check: &'static str,
    /// Where: a file, a member, a run.
    pub place: String,
    pub what: String,
    /// What to do; empty where nothing is to be done.
    pub then: String,
}

impl Diagnosis {
    pub fn new(verdict: Verdict, check: &'static str, place: impl Into<String>, what: impl Into<String>) -> Diagnosis {
        Diagnosis { verdict, check, place: place.into(), what: what.into(), then: String::new() }
    }

    #[must_use]
    pub fn then(mut self, then: impl Into<String>) -> Diagnosis {
        self.then = then.into();
        self
    }
}

fn word<S: Serializer>(verdict: &Verdict, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&verdict.word())
}

/// Everything, what needs a person first.
#[must_use]
pub fn diagnose(facts: &Facts) -> Vec<Diagnosis> {
    let mut all = local::diagnose(facts);
    all.extend(mesh::diagnose(facts));
    all.sort_by_key(|diagnosis| rank(diagnosis.verdict));
    all
}

fn rank(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Critical => 0,
        Verdict::Unknown => 1,
        Verdict::Warning => 2,
        _ => 3,
    }
}

/// How `doctor` ends: 3 when no member answered, 1 when something is wrong or unknown. Warnings do not count.
#[must_use]
pub fn exit(facts: &Facts, diagnoses: &[Diagnosis]) -> Exit {
    let reached = facts.members.iter().any(|member| matches!(member.answer, super::facts::Answer::Described(..) | super::facts::Answer::Refused(_)));
    match diagnoses.iter().any(|diagnosis| matches!(diagnosis.verdict, Verdict::Critical | Verdict::Unknown)) {
        _ if !reached => Exit::Unreachable,
        true => Exit::Failed,
        false => Exit::Success,
    }
}

/// `in 12 days`, or `3 h ago`.
pub fn when(at: WallTime, now: WallTime) -> String {
    let left = at.0.saturating_sub(now.0);
    let amount = crate::render::units::duration_ms(left.unsigned_abs());
    if left >= 0 { format!("in {amount}") } else { format!("{amount} ago") }
}
