//! The pure half of an agent: from what the mesh wants, what the ledger says and what runs right now, to
//! what to do next.
//!
//! ```text
//!  wanted ─▶ Accept: ledger "accepted" ─▶ Begin at the mesh ─▶ ledger "begun" ─▶ execute ─▶ ledger "ended" ─▶ report ─▶ Forget
//! ```
//! Each arrow may be cut by the death of the process. Before "begun" is in the ledger nothing has happened,
//! so going on is safe; between "begun" and "ended" something may have, so only an idempotent kind goes on.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::catalogue;
use crate::command::CancelReason;
use crate::id::{AgentId, AttemptId, RunId, StepName, Target};
use crate::state::State;
use crate::state::attempt::Phase;
use crate::state::run::{Direction, Outcome};
use crate::time::Millis;

/// What the mesh wants of one agent, whole. A set of a lower (incarnation, generation) than one seen before
/// is out of date and is to be refused.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Desired {
    pub incarnation: u64,
    pub generation: u64,
    pub attempts: Vec<DesiredAttempt>,
}

/// One attempt that the agent is to carry out, or to stop.
#[derive(Debug, Clone, PartialEq)]
pub struct DesiredAttempt {
    pub id: AttemptId,
    pub run: RunId,
    pub step: StepName,
    pub target: Target,
    pub direction: Direction,
    pub number: u32,
    pub kind: String,
    pub with: Map<String, Value>,
    /// How long it may take from its begin on.
    pub timeout: Millis,
    /// Whether the mesh has a `Begin` of it.
    pub begun: bool,
    pub cancel: Option<CancelReason>,
}

/// How far the ledger says an attempt has come.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum LedgerState {
    /// Written before `Begin` is asked for. Nothing has happened.
    Accepted,
    /// Written after `Begin` was granted, before the first effect.
    Begun,
    Ended(Outcome),
}

/// One thing for the agent to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Write "accepted", ask for `Begin`, write "begun", execute.
    Accept(AttemptId),
    /// As Accept; the ledger has it already.
    Resume(AttemptId),
    /// Begun by an earlier process; doing it again is the same as doing it once.
    ExecuteAgain(AttemptId),
    /// Stop what runs.
    Cancel(AttemptId),
    /// Write this outcome and report it; nothing runs.
    Settle(AttemptId, Outcome),
    /// Report what the ledger says.
    Report(AttemptId),
    /// The mesh knows how it ended, or that it never began: the ledger may forget it.
    Forget(AttemptId),
}

impl State {
    /// What the mesh wants of an agent.
    #[must_use]
    pub fn desired(&self, agent: &AgentId) -> Desired {
        let ids = self.open_attempts.get(agent);
        let attempts = ids
            .iter()
            .flat_map(|ids| ids.iter())
            .filter_map(|id| self.attempts.get(id))
            .filter_map(|attempt| {
                let run = self.runs.get(&attempt.run)?;
                Some(DesiredAttempt {
                    id: attempt.id,
                    run: attempt.run.clone(),
                    step: attempt.step.clone(),
                    target: attempt.target.clone(),
                    direction: attempt.direction,
                    number: attempt.number,
                    kind: run.kind_of(&attempt.step, attempt.direction)?.to_owned(),
                    with: with_target(run.with_of(&attempt.step, &attempt.target, attempt.direction)?.clone(), &attempt.target),
                    timeout: run.timeout_of(&attempt.step, attempt.direction)?,
                    begun: matches!(attempt.phase, Phase::Begun { .. }),
                    cancel: attempt.cancel,
                })
            })
            .collect();
        Desired { incarnation: self.incarnation, generation: self.generation, attempts }
    }
}

/// The parameters for one target: where a step names its connections by a pattern, the agent gets the one that
/// is meant.
fn with_target(mut with: Map<String, Value>, target: &Target) -> Map<String, Value> {
    if let Target::Connection(name) = target {
        with.insert(catalogue::CONNECTION_PARAM.to_owned(), Value::String(name.to_string()));
    }
    with
}

/// Compares. `running` holds every attempt that this process is at, from Accept to the written end; `told` those whose end
/// the mesh has answered.
#[must_use]
pub fn reconcile(
    desired: &Desired,
    ledger: &BTreeMap<AttemptId, LedgerState>,
    running: &BTreeSet<AttemptId>,
    told: &BTreeSet<AttemptId>,
) -> Vec<Action> {
    let mut actions: Vec<Action> =
        desired.attempts.iter().filter_map(|attempt| next(attempt, ledger.get(&attempt.id), running.contains(&attempt.id))).collect();
    let wanted: BTreeSet<AttemptId> = desired.attempts.iter().map(|attempt| attempt.id).collect();
    actions.extend(running.difference(&wanted).map(|id| Action::Cancel(*id)));
    let left = ledger.iter().filter(|(id, _)| !wanted.contains(id) && !running.contains(id));
    actions.extend(left.map(|(id, state)| match state {
        // The mesh waited for its end in vain, and people still ask.
        LedgerState::Ended(_) if !told.contains(id) => Action::Report(*id),
        LedgerState::Begun => Action::Settle(*id, cut_off()),
        LedgerState::Ended(_) | LedgerState::Accepted => Action::Forget(*id),
    }));
    actions
}

fn cut_off() -> Outcome {
    Outcome::Unknown { reason: "the agent ended in the middle of it: what it did is not known, and its processes may still run".into() }
}

fn next(attempt: &DesiredAttempt, ledger: Option<&LedgerState>, running: bool) -> Option<Action> {
    let id = attempt.id;
    let idempotent = catalogue::kind(&attempt.kind).is_some_and(|kind| kind.idempotent);
    let stopped = || Outcome::Cancelled { message: "stopped before it began".into() };
    match (ledger, running) {
        (_, true) => attempt.cancel.map(|_| Action::Cancel(id)),
        (Some(LedgerState::Ended(_)), false) => Some(Action::Report(id)),
        (Some(LedgerState::Begun), false) if idempotent && attempt.cancel.is_none() => Some(Action::ExecuteAgain(id)),
        (Some(LedgerState::Begun), false) => Some(Action::Settle(id, cut_off())),
        // The mesh has a Begin that this ledger does not know of: it has lost something.
        (None, false) if attempt.begun => {
            Some(Action::Settle(id, Outcome::Unknown { reason: "the agent's ledger does not know it: what was done is not known".into() }))
        }
        (_, false) if attempt.cancel.is_some() => Some(Action::Settle(id, stopped())),
        (Some(LedgerState::Accepted), false) => Some(Action::Resume(id)),
        (None, false) => Some(Action::Accept(id)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(kind: &str, begun: bool, cancel: Option<CancelReason>) -> Desired {
        let attempt = DesiredAttempt {
            id: "1.1".parse().unwrap(),
            run: "p-1".parse().unwrap(),
            step: "s".parse().unwrap(),
            target: "c/n".parse().unwrap(),
            direction: Direction::Do,
            number: 1,
            kind: kind.into(),
            with: Map::new(),
            timeout: Millis(1_000),
            begun,
            cancel,
        };
        Desired { incarnation: 1, generation: 1, attempts: vec![attempt] }
    }

    fn actions(desired: &Desired, ledger: Option<LedgerState>, running: bool) -> Vec<Action> {
        let id: AttemptId = "1.1".parse().unwrap();
        reconcile(desired, &ledger.map(|state| (id, state)).into_iter().collect(), &running.then_some(id).into_iter().collect(), &BTreeSet::new())
    }

    fn is_unknown(actions: &[Action]) -> bool {
        matches!(actions, [Action::Settle(_, Outcome::Unknown { .. })])
    }

    #[test]
    fn every_point_of_death_has_its_way_on() {
        let id: AttemptId = "1.1".parse().unwrap();
        let (exec, wait) = (wanted("node.exec", false, None), wanted("wait", false, None));
        let (exec_begun, wait_begun) = (wanted("node.exec", true, None), wanted("wait", true, None));
        assert_eq!(actions(&exec, None, false), [Action::Accept(id)]);
        assert_eq!(actions(&exec, None, true), []);
        assert_eq!(actions(&exec, Some(LedgerState::Accepted), false), [Action::Resume(id)]);
        // Begin was granted and its answer lost, or the process died before it wrote "begun": nothing has happened.
        assert_eq!(actions(&exec_begun, Some(LedgerState::Accepted), false), [Action::Resume(id)]);
        assert!(is_unknown(&actions(&exec_begun, Some(LedgerState::Begun), false)));
        assert_eq!(actions(&wait_begun, Some(LedgerState::Begun), false), [Action::ExecuteAgain(id)]);
        // A ledger that was put back to an earlier state knows nothing of what it began.
        assert!(is_unknown(&actions(&exec_begun, None, false)));
        assert!(is_unknown(&actions(&wait_begun, None, false)));
        let ended = LedgerState::Ended(Outcome::Cancelled { message: String::new() });
        assert_eq!(actions(&wait, Some(ended.clone()), false), [Action::Report(id)]);
        // Given up by the mesh: it hears all the same how that ended, or that nobody knows, and then it is forgotten.
        assert_eq!(actions(&Desired::default(), Some(ended.clone()), false), [Action::Report(id)]);
        assert!(is_unknown(&actions(&Desired::default(), Some(LedgerState::Begun), false)));
        assert_eq!(actions(&Desired::default(), Some(LedgerState::Accepted), false), [Action::Forget(id)]);
        let (ledger, told) = ([(id, ended)].into(), [id].into());
        assert_eq!(reconcile(&Desired::default(), &ledger, &BTreeSet::new(), &told), [Action::Forget(id)]);
    }

    #[test]
    fn what_is_no_longer_wanted_is_stopped() {
        let id: AttemptId = "1.1".parse().unwrap();
        assert_eq!(actions(&Desired::default(), Some(LedgerState::Begun), true), [Action::Cancel(id)]);
        let cancelled = wanted("node.exec", true, Some(CancelReason::Aborted));
        assert_eq!(actions(&cancelled, Some(LedgerState::Begun), true), [Action::Cancel(id)]);
        let early = wanted("node.exec", false, Some(CancelReason::Aborted));
        assert!(matches!(actions(&early, None, false).as_slice(), [Action::Settle(_, Outcome::Cancelled { .. })]));
    }
}
