//! Windows and freezes, by arithmetic of its own: the zones of the simulated plans know no summer time.

use mainstay_core::plan::Gate;
use mainstay_core::state::run::{Direction, Run};
use mainstay_core::{Command, WallTime};

use super::{Decided, Held, Invariant};

pub struct Windows;

const MINUTE: i64 = 60_000;

fn offset_minutes(zone: &str) -> i64 {
    match zone {
        "Asia/Kolkata" => 330,
        "Asia/Tokyo" => 540,
        other => panic!("the simulation does not know the zone {other}"),
    }
}

fn minutes(text: &str) -> i64 {
    let (hours, minutes) = text.split_once(':').unwrap();
    hours.parse::<i64>().unwrap() * 60 + minutes.parse::<i64>().unwrap()
}

/// Whether a gate lets something begin at that instant, by the rules as they are written.
pub fn is_open(gate: &Gate, wall: WallTime) -> bool {
    match gate {
        Gate::Window(window) => {
            let local = (wall.0 / MINUTE + offset_minutes(&window.zone)).rem_euclid(24 * 60);
            // All of a simulation is on one Wednesday, and the window passes no midnight.
            local >= minutes(&window.from) && local < minutes(&window.to)
        }
        Gate::Freeze(freeze) => {
            let day = |text: &str| text.split_once('T').map(|(date, time)| (date.to_owned(), minutes(time))).unwrap();
            let ((_, from), (_, to)) = (day(&freeze.from), day(&freeze.to));
            let local = (wall.0 / MINUTE + offset_minutes(&freeze.zone)).rem_euclid(24 * 60);
            !(local >= from && local < to)
        }
        _ => true,
    }
}

/// The calendar gates that stand before a step.
fn gates<'r>(run: &'r Run, step: &mainstay_core::StepName) -> impl Iterator<Item = &'r Gate> {
    let of_step = run.plan.step(step).map(|step| step.gates.iter()).into_iter().flatten();
    run.plan.gates.iter().chain(of_step).filter(|gate| gate.is_calendar())
}

impl Invariant for Windows {
    fn name(&self) -> &'static str {
        "windows"
    }

    fn says(&self) -> &'static str {
        "nothing begins outside its window or within a freeze, by the leader's wall clock; and nothing is held while they are open"
    }

    fn decided(&mut self, decided: &Decided<'_>) -> Held {
        for command in decided.commands {
            let Command::OfferAttempt { run, step, target, direction: Direction::Do, .. } = command else { continue };
            let Some(run) = decided.state.runs.get(run).filter(|run| run.without_calendar.is_none()) else { continue };
            // What has been begun may be tried again later.
            let is_first = run.work(step, target).is_some_and(mainstay_core::state::work::Work::is_fresh);
            if let Some(gate) = gates(run, step).find(|gate| is_first && !is_open(gate, decided.wall)) {
                return Err(format!("{}/{step} on {target} begins at {:?} against {gate}", run.id, decided.wall));
            }
        }
        for wait in &decided.waits.waits {
            let mainstay_core::wait::Reason::Gate { gate: held, evidence } = &wait.reason else { continue };
            let Some(run) = decided.state.runs.get(&wait.run) else { continue };
            let gate = gates(run, &wait.step).find(|gate| gate.to_string() == *held);
            let not_looked_at = evidence.contains("not looked at yet");
            if gate.is_some_and(|gate| is_open(gate, decided.wall)) && !not_looked_at {
                return Err(format!("{}/{} is held at {:?} by {held} ({evidence}), which is open", run.id, wait.step, decided.wall));
            }
        }
        Ok(())
    }
}
