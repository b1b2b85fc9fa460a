//! The lines of a report before they are laid out: one for each check, and one for each step that did not
//! come to a report.

use std::collections::BTreeMap;

use mainstay_proto::v1::{Attempt, AttemptState, Check, Run, Verdict, Work, WorkState};

use super::super::layout::{harmless, shorten_path};
use super::super::names::Names;
use super::super::omitted;
use super::super::verdict::{self, Mark};
use super::subject;
use super::units;

/// Up to this many nodes are named; more are counted.
const NODES_NAMED: usize = 3;

/// One line of the report.
pub struct Row<'a> {
    /// The node in as few words as tell it apart; empty for what is done once.
    pub node: String,
    pub step: &'a str,
    pub verdict: Verdict,
    /// Missing where the step itself is the trouble.
    pub check: Option<&'a Check>,
    /// How many checks it stands for.
    pub checks: usize,
    work: &'a Work,
}

/// All lines of a run, in the order of its steps.
pub fn of(run: &Run) -> Vec<Row<'_>> {
    let names = Names::of(run.work.iter().map(|work| work.target.as_str()));
    let mut rows = Vec::new();
    for work in &run.work {
        let node = names.short(&work.target).to_owned();
        let report = last_report(work);
        if let Some(verdict) = trouble(work) {
            rows.push(Row { node: node.clone(), step: &work.step, verdict, check: None, checks: 1, work });
        }
        let checks =
            report.into_iter().flat_map(|attempt| attempt.outcome.iter()).flat_map(|outcome| outcome.report.iter()).flat_map(|report| &report.checks);
        rows.extend(checks.map(|check| Row { node: node.clone(), step: &work.step, verdict: check.verdict(), check: Some(check), checks: 1, work }));
    }
    merged(rows)
}

/// What is the same on several nodes is one line that names them all.
fn merged(rows: Vec<Row<'_>>) -> Vec<Row<'_>> {
    let mut kept: Vec<(Row<'_>, Vec<String>)> = Vec::new();
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    for row in rows {
        let key = format!("{}\0{:?}\0{}\0{}", row.step, row.verdict, row.subject(), row.message());
        match places.get(&key).and_then(|&place| kept.get_mut(place)) {
            Some((_, nodes)) => nodes.push(row.node),
            None => {
                places.insert(key, kept.len());
                let nodes = vec![row.node.clone()];
                kept.push((row, nodes));
            }
        }
    }
    let named = |row: &Row, nodes: &[String]| match nodes.len() {
        few if few <= NODES_NAMED => nodes.join(", "),
        many if row.work.target.starts_with("connection:") => format!("{many} connections"),
        many => format!("{many} nodes"),
    };
    kept.into_iter().map(|(row, nodes)| Row { checks: nodes.len(), node: named(&row, &nodes), ..row }).collect()
}

/// The newest attempt that ended with a report; attempts that undo do not count.
pub fn last_report(work: &Work) -> Option<&Attempt> {
    let ended = |attempt: &&Attempt| {
        !attempt.undo && attempt.state() == AttemptState::Ended && attempt.outcome.as_ref().is_some_and(|outcome| outcome.report.is_some())
    };
    work.attempts.iter().filter(ended).max_by_key(|attempt| attempt.number)
}

/// How bad it is that a step did not come off; nothing where it did, or may still.
fn trouble(work: &Work) -> Option<Verdict> {
    match work.state() {
        WorkState::Failed => Some(Verdict::Critical),
        WorkState::Unknown | WorkState::Unreachable => Some(Verdict::Unknown),
        WorkState::Cancelled | WorkState::Skipped | WorkState::Omitted => Some(Verdict::Skipped),
        _ => None,
    }
}

impl<'a> Row<'a> {
    pub fn needs_attention(&self) -> bool {
        matches!(self.verdict, Verdict::Critical | Verdict::Unknown | Verdict::Warning)
    }

    pub fn mark(&self) -> Mark {
        match self.check {
            Some(_) => verdict::verdict(self.verdict),
            // The state of the step says more than a verdict, as long as it fits.
            None => match self.work.state() {
                WorkState::Unreachable => verdict::verdict(self.verdict),
                WorkState::Cancelled => Mark { word: "stopped".to_owned(), ..verdict::verdict(self.verdict) },
                // To whoever reads a report, what had nothing to do was skipped as any check is.
                WorkState::Omitted => verdict::verdict(self.verdict),
                state => verdict::work(state),
            },
        }
    }

    pub fn subject(&self) -> String {
        self.check.map_or_else(|| format!("step {}", self.step), subject::subject)
    }

    /// The subject in at most so many columns; as it is without a limit.
    pub fn name(&self, to: Option<usize>) -> String {
        match (self.check, to) {
            (Some(check), Some(to)) => {
                let (noun, of) = subject::parts(check);
                shorten_path(&noun, &harmless(of), to)
            }
            _ => harmless(&self.subject()),
        }
    }

    /// What is the case, without the subject; the value where the check says nothing else.
    pub fn message(&self) -> String {
        match self.check {
            Some(check) if check.message.is_empty() => check.value.map_or_else(String::new, |value| units::quantity(value, &check.unit)),
            Some(check) => check.message.clone(),
            None => self.why(),
        }
    }

    pub fn sentence(&self) -> String {
        if self.is_omitted() {
            return format!("{}: {}", self.step, self.why());
        }
        match self.check {
            Some(check) if check.message.is_empty() => format!("{}: {}", self.subject(), self.message()),
            Some(check) => subject::sentence(check),
            None => match self.why() {
                why if why.is_empty() => format!("step {} ({})", self.step, self.work.kind),
                why => format!("step {} ({}): {why}", self.step, self.work.kind),
            },
        }
    }

    /// Why a step did not come off: its own detail, else what its last attempt said.
    fn why(&self) -> String {
        if self.is_omitted() {
            return self.nothing_to_do().0.to_owned();
        }
        let last = self.work.attempts.iter().filter(|attempt| !attempt.undo).max_by_key(|attempt| attempt.number);
        let said = last.and_then(|attempt| attempt.outcome.as_ref()).map_or("", |outcome| outcome.message.as_str());
        match (self.work.detail.as_str(), said) {
            ("", said) => said.to_owned(),
            (detail, said) if said.is_empty() || detail.contains(said) => detail.to_owned(),
            (detail, said) => format!("{detail}: {said}"),
        }
    }

    pub fn details(&self) -> impl Iterator<Item = &'a str> {
        let printed = if self.check.is_none() { self.tail() } else { Vec::new() };
        self.check.into_iter().flat_map(|check| check.details.iter().map(String::as_str)).chain(printed)
    }

    /// The last lines that a step printed before it failed.
    fn tail(&self) -> Vec<&'a str> {
        const LINES: usize = 5;
        let lines: Vec<&str> = last_report(self.work)
            .and_then(|attempt| attempt.outcome.as_ref()?.report.as_ref())
            .map(|report| report.output_tail.lines().collect())
            .unwrap_or_default();
        lines[lines.len().saturating_sub(LINES)..].to_vec()
    }

    /// Whether the step had nothing to do.
    pub fn is_omitted(&self) -> bool {
        self.check.is_none() && self.work.state() == WorkState::Omitted
    }

    /// The step, where it had nothing to do and is one that is done once.
    pub fn omitted(&self) -> Option<&'a Work> {
        (self.check.is_none() && omitted::is_omitted(self.work)).then_some(self.work)
    }

    /// Why, and the line to add where that helps.
    fn nothing_to_do(&self) -> (&'a str, &'a str) {
        omitted::reason(&self.work.detail)
    }

    pub fn hint(&self) -> Option<&'a str> {
        if self.is_omitted() {
            return Some(self.nothing_to_do().1).filter(|hint| !hint.is_empty());
        }
        self.check.map(|check| check.hint.as_str()).filter(|hint| !hint.is_empty())
    }

    /// The same line under a heading that names the node already.
    pub fn without_node(&self) -> Row<'a> {
        Row { node: String::new(), step: self.step, verdict: self.verdict, check: self.check, checks: self.checks, work: self.work }
    }
}
