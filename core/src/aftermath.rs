//! What an ended run leaves to a person: leases that it still holds, what was not taken back, and what nobody knows the
//! outcome of. Pure; `why`, `status` and `doctor` tell it, and `stuck` whoever waits for such a lease.

use std::collections::BTreeMap;
use std::fmt;

use crate::catalogue::{self, Effect};
use crate::decide::{self, HELD_FOR_STEP, HELD_FOR_TARGET};
use crate::id::{LeaseName, PlanName, RunId, StepName, Target, Token};
use crate::identity::Identity;
use crate::state::State;
use crate::state::lease::{Held, Lease};
use crate::state::run::{Run, RunOutcome, UndoEnd, Work, WorkState};
use crate::time::WallTime;

/// A lease that a run holds and that will not end by itself: nobody knows how the step ended that the lease is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StillHeld {
    pub lease: LeaseName,
    pub token: Token,
    /// Whether others hold a place of the lease too.
    pub among_others: bool,
    pub run: RunId,
    /// The run goes on with other things, where nobody knowing is no reason to end it.
    pub goes_on: bool,
    /// Where the run is still known.
    pub of: Option<(StepName, Target)>,
    pub since: WallTime,
}

/// One thing that is left to a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Left {
    Lease(StillHeld),
    /// Something that it did may still be in place.
    NotTakenBack,
    /// What may have begun and changes something, and nobody knows how it ended, nor has its agent said so since; the
    /// first of so many.
    Unknown {
        step: StepName,
        target: Target,
        count: usize,
    },
}

impl StillHeld {
    /// What frees it.
    #[must_use]
    pub fn release(&self) -> String {
        let token = if self.among_others { format!(" --token {}", self.token) } else { String::new() };
        format!("mainstay lease release {}{token} --proof \"…\"", self.lease)
    }

    /// `work on c/n1`
    #[must_use]
    pub fn of_words(&self) -> String {
        self.of.as_ref().map_or_else(|| "a step".to_owned(), |(step, target)| format!("{step}{}", target.on()))
    }
}

impl fmt::Display for StillHeld {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ended = if self.goes_on { "" } else { "has ended and " };
        write!(f, "run {} {ended}holds lease {} for {}, of which nobody knows how it ended", self.run, self.lease, self.of_words())
    }
}

impl Left {
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Left::Lease(held) => format!("it still holds lease {} for {}", held.lease, held.of_words()),
            Left::NotTakenBack => "something that it did may still be in place".to_owned(),
            Left::Unknown { step, target, count } => {
                let more = if *count > 1 { format!(" and {} more", count - 1) } else { String::new() };
                format!("nobody knows how {step}{}{more} ended", target.on())
            }
        }
    }

    /// What to type when somebody has looked, where one command does it.
    #[must_use]
    pub fn command(&self) -> Option<String> {
        if let Left::Lease(held) = self { Some(held.release()) } else { None }
    }
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words())?;
        self.command().map_or(Ok(()), |command| write!(f, ":  {command}"))
    }
}

/// Places of a lease that runs hold for what they have no more to do with.
pub fn held_in<'s>(state: &'s State, name: &'s LeaseName, lease: &'s Lease) -> impl Iterator<Item = StillHeld> + 's {
    lease.held.iter().filter_map(move |held| {
        let Identity::Run(id) = &held.holder.identity else { return None };
        // A claim on what a run changes goes with its run, whatever is known of its steps.
        if decide::is_on_thing(&held.holder) {
            return None;
        }
        // One that is known no more has ended.
        let run = state.runs.get(id);
        let of = held_for(held);
        let nobody_knows = |run: &Run| of.as_ref().and_then(|(step, target)| run.work(step, target)).is_some_and(is_unknown);
        run.is_none_or(|run| run.is_ended() || nobody_knows(run)).then(|| StillHeld {
            lease: name.clone(),
            token: held.token,
            among_others: lease.held.len() > 1,
            run: id.clone(),
            goes_on: run.is_some_and(|run| !run.is_ended()),
            of,
            since: held.since,
        })
    })
}

/// Whether nobody knows how it ended, and nothing more is done about it.
fn is_unknown(work: &Work) -> bool {
    let unknown = |state: &WorkState| matches!(state, WorkState::Unknown { .. });
    work.undo.as_ref().map_or_else(|| unknown(&work.forward), |undo| unknown(undo) || (undo.is_over() && unknown(&work.forward)))
}

fn held_for(held: &Held) -> Option<(StepName, Target)> {
    let attributes = &held.holder.attributes;
    Some((attributes.get(HELD_FOR_STEP)?.parse().ok()?, attributes.get(HELD_FOR_TARGET)?.parse().ok()?))
}

/// All leases that runs hold so.
pub fn still_held(state: &State) -> impl Iterator<Item = StillHeld> + '_ {
    state.leases.iter().flat_map(move |(name, lease)| held_in(state, name, lease))
}

/// What an ended run leaves to a person.
#[must_use]
pub fn left(state: &State, run: &Run) -> Vec<Left> {
    let of_plan = state.runs.values().filter(|other| other.id.plan == run.id.plan);
    left_of(state, run, still_held(state), came_off(of_plan).get(&run.id.plan).copied())
}

/// All ended runs that leave something to a person, the newest first.
#[must_use]
pub fn unsettled(state: &State) -> Vec<(&Run, Vec<Left>)> {
    let (held, came_off) = (still_held(state).collect::<Vec<_>>(), came_off(state.runs.values()));
    let left = |run| left_of(state, run, held.iter().cloned(), came_off.get(&run.id.plan).copied());
    let mut all: Vec<(&Run, Vec<Left>)> = state.runs.values().map(|run| (run, left(run))).filter(|(_, left)| !left.is_empty()).collect();
    all.sort_by_key(|(run, _)| std::cmp::Reverse(run.ended));
    all
}

/// The newest run of each plan that came off.
fn came_off<'s>(runs: impl Iterator<Item = &'s Run>) -> BTreeMap<&'s PlanName, u64> {
    let mut newest = BTreeMap::new();
    for run in runs.filter(|run| run.end().is_some_and(|end| end.outcome == RunOutcome::Completed)) {
        let known = newest.entry(&run.id.plan).or_insert(run.id.number);
        *known = (*known).max(run.id.number);
    }
    newest
}

/// What a later run of its plan has done well is not asked about any more; a lease is, as long as it is held.
fn left_of(state: &State, run: &Run, held: impl Iterator<Item = StillHeld>, came_off: Option<u64>) -> Vec<Left> {
    let Some(end) = run.end() else { return Vec::new() };
    let mut all: Vec<Left> = held.filter(|held| held.run == run.id).map(Left::Lease).collect();
    if came_off.is_some_and(|number| number > run.id.number) {
        return all;
    }
    if end.undo == UndoEnd::Incomplete {
        all.push(Left::NotTakenBack);
    }
    let changes = |step: &StepName| {
        let kind = run.plan.step(step).and_then(|step| catalogue::kind(&step.uses));
        kind.is_none_or(|kind| kind.effect != Effect::Read)
    };
    let is_unknown = |work: &Work| matches!(work.forward, WorkState::Unknown { .. }) && state.known_since(work).is_none();
    let mut unknown = run.works().filter(|(step, _, work)| is_unknown(work) && changes(step));
    if let Some((step, target, _)) = unknown.next() {
        all.push(Left::Unknown { step: step.clone(), target: target.clone(), count: 1 + unknown.count() });
    }
    all
}
