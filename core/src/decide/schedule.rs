//! Which schedules start a run. That an instant has come is what the leader saw by its wall clock; what
//! follows from it is decided here.

use super::Pass;
use crate::command::{Command, Firing};
use crate::plan::schedule::{Concurrency, Missed};
use crate::seen::Due;
use crate::time::Millis;

/// A start that is not later than this is on time: a leader change lies within it.
pub const ON_TIME: Millis = Millis(120_000);

impl Pass<'_> {
    pub(super) fn schedules(&mut self) {
        let seen = self.seen;
        for due in &seen.due {
            if let Some(firing) = self.firing(due) {
                self.command(Command::FireSchedule {
                    plan: due.plan.clone(),
                    revision: due.revision,
                    schedule: due.schedule,
                    instant: due.instant,
                    missed: due.missed,
                    firing,
                    connections: due.connections.clone(),
                });
            }
        }
    }

    fn firing(&mut self, due: &Due) -> Option<Firing> {
        let history = self.state.plans.get(&due.plan).filter(|history| history.suspended.is_none())?;
        let (_, current) = history.current().filter(|(number, _)| *number == due.revision)?;
        let schedule = current.plan.schedules.get(due.schedule as usize).filter(|schedule| !schedule.suspended)?;
        if due.instant <= history.counts_after(schedule, current.applied) {
            return None;
        }
        let in_window = schedule.window.is_none_or(|window| due.late <= window);
        let in_time = due.late <= ON_TIME || schedule.missed == Missed::Once;
        if !in_window || !in_time {
            return Some(Firing::Missed);
        }
        let open: Vec<_> = self.state.runs.values().filter(|run| run.id.plan == due.plan && !run.is_ended()).collect();
        match current.plan.concurrency {
            _ if open.is_empty() => Some(Firing::Start),
            Concurrency::Allow => Some(Firing::Start),
            Concurrency::Forbid => Some(Firing::Held),
            Concurrency::Replace => {
                for run in open.iter().filter(|run| run.abort.is_none()) {
                    self.command(Command::AbortRun {
                        run: run.id.clone(),
                        reason: "its schedule starts the next one (concurrency: replace)".to_owned(),
                    });
                }
                Some(Firing::Start)
            }
        }
    }
}
