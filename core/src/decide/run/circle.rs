//! Runs that wait for each other, each for what another one holds until its end: nothing but one of them can end that.
//!
//! Claims of one run are not taken all at once, since what its later steps name is not known before the earlier ones have
//! ended. So two runs may come to hold what the other one wants. Which of them gives way is read off the state, so that each
//! leader finds the same: one that takes back what it did never, if another one does not; else the one that started last. The
//! step of it that waits fails, which has the run go back, and what it held becomes free.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::thing;
use super::{Item, RunPass};
use crate::id::{LeaseName, RunId};
use crate::identity::Identity;
use crate::state::State;
use crate::state::lease::Lease;
use crate::state::run::{Direction, RunPhase, WorkState};

/// Of each run that waits for another one's lease: whom it waits for.
#[derive(Default)]
pub(in crate::decide) struct Circles<'s>(BTreeMap<&'s RunId, BTreeSet<&'s RunId>>);

impl<'s> Circles<'s> {
    pub(in crate::decide) fn of(state: &'s State) -> Circles<'s> {
        let mut circles = Circles::default();
        for (name, lease) in &state.leases {
            // Of several places one may become free by somebody else.
            if lease.spec.slots > 1 {
                continue;
            }
            // Others are free before the run has ended that holds them: of a step when that has, of a node when it is put back.
            let until_its_end = || lease.held.iter().filter(|held| thing::is_on_thing(&held.holder));
            for (waiter, held) in lease.waiting.iter().flat_map(|waiter| until_its_end().map(move |held| (waiter, held))) {
                circles.add(&waiter.holder.identity, &held.holder.identity);
            }
            for held in until_its_end() {
                let run = run_of(&held.holder.identity).and_then(|run| state.runs.get(run));
                for other in run.into_iter().flat_map(|run| thing::before(state, run, name, held.token)) {
                    circles.add(&held.holder.identity, other);
                }
            }
        }
        circles
    }

    fn add(&mut self, waits: &'s Identity, holds: &'s Identity) {
        if let Some((waits, holds)) = run_of(waits).zip(run_of(holds)).filter(|(waits, holds)| waits != holds) {
            self.0.entry(waits).or_default().insert(holds);
        }
    }

    /// All runs that one waits for, also because of what those wait for.
    fn behind(&self, run: &RunId) -> BTreeSet<&'s RunId> {
        let mut known = BTreeSet::new();
        let mut open: Vec<&RunId> = self.0.get(run).into_iter().flatten().copied().collect();
        while let Some(next) = open.pop() {
            if known.insert(next) {
                open.extend(self.0.get(next).into_iter().flatten());
            }
        }
        known
    }

    /// Whether a run waits, by way of another one, for itself, and is the one to give way.
    fn is_to_give_way(&self, state: &State, run: &RunId, holder: &RunId) -> bool {
        if !self.behind(holder).contains(run) {
            return false;
        }
        let circle = self.behind(run).into_iter().filter(|other| self.behind(other).contains(run));
        let last =
            circle.max_by_key(|id| state.runs.get(*id).map(|run| (run.phase == RunPhase::Running && run.abort.is_none(), run.started_at, &run.id)));
        last == Some(run)
    }
}

impl<'s> RunPass<'_, 's, '_> {
    /// Whether an item that waits for a lease would do so for ever, and is the one to end that; then it has been.
    pub(super) fn gives_way(&mut self, item: Item<'s>, name: &LeaseName, lease: &'s Arc<Lease>) -> bool {
        if lease.spec.slots > 1 {
            return false;
        }
        let held = lease.held.iter().find(|held| thing::is_on_thing(&held.holder));
        let Some(holder) = held.and_then(|held| run_of(&held.holder.identity)).filter(|holder| **holder != self.run.id) else {
            return false;
        };
        let state = self.pass.state;
        if !self.pass.circles.get_or_init(|| Circles::of(state)).is_to_give_way(state, &self.run.id, holder) {
            return false;
        }
        let why = format!("it would wait for ever: run {holder} holds lease {name} until its end, and waits for what this run holds");
        match item.direction {
            Direction::Do => {
                let message = format!("{why}; this one gives way, and can be started again when the other one has ended");
                self.settle(item, WorkState::Failed { message });
            }
            Direction::Undo => {
                let again = format!("mainstay run undo {} --reason \"…\"", self.run.id);
                let reason = format!("{why}; this one gives way, and goes on when the other one has ended:  {again}");
                self.give_up(item, WorkState::Unreachable { reason });
            }
        }
        true
    }
}

fn run_of(identity: &Identity) -> Option<&RunId> {
    if let Identity::Run(id) = identity { Some(id) } else { None }
}
