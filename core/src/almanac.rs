//! What the leader's wall clock says: of windows and freezes, and which schedules are due. Pure functions of
//! the state and an instant; the leader asks before it decides, and again when the clock has moved.

use std::collections::{BTreeMap, BTreeSet};

use crate::calendar::{self, Cron, FreezeState, WindowState};
use crate::evaluate;
use crate::plan::schedule::{Concurrency, Schedule};
use crate::plan::{Gate, input};
use crate::seen::{Due, Opening};
use crate::state::State;
use crate::state::run::Run;
use crate::time::{Millis, WallTime};

/// Instants that are counted between two looks; there are never more, unless nobody led for years.
const INSTANTS: usize = 10_000;
/// Instants of a schedule between which the shortest time is looked for: those of a day, where it comes every hour.
const INSTANTS_COMPARED: usize = 24;
/// How far ahead one looks for an instant at which several windows are open at once. They come again every week.
pub const AHEAD: Millis = Millis(60 * 86_400_000);
/// Looks at single gates until then, so that a plan with many does not take long.
const LOOKS: usize = 500;

/// Every window and freeze that an open run may have to wait for.
#[must_use]
pub fn openings(state: &State, now: WallTime) -> BTreeMap<Gate, Opening> {
    let open = state.runs.values().filter(|run| !run.is_ended());
    let gates: BTreeSet<&Gate> = open
        .flat_map(|run| run.plan.gates.iter().chain(run.plan.steps.iter().flat_map(|step| &step.gates)))
        .filter(|gate| gate.is_calendar())
        .collect();
    gates.into_iter().map(|gate| (gate.clone(), opening(gate, now))).collect()
}

/// One of them. What cannot be read, though it was checked when the plan was applied, is closed and says why.
#[must_use]
pub fn opening(gate: &Gate, now: WallTime) -> Opening {
    let unreadable = |problem: String| Opening::Closed { evidence: format!("unknown: {problem}"), until: None };
    match gate {
        Gate::Window(window) => match calendar::Window::new(&window.days, &window.from, &window.to, &window.zone).map(|known| known.at(now)) {
            Ok(WindowState::Open { closes }) => Opening::Open { until: Some(closes) },
            Ok(WindowState::Closed { opens: Some(opens) }) => {
                Opening::Closed { evidence: format!("closed until {}", calendar::local(opens, &window.zone)), until: Some(opens) }
            }
            Ok(WindowState::Closed { opens: None }) => Opening::Closed { evidence: "closed, and does not open again".to_owned(), until: None },
            Err(error) => unreadable(error.to_string()),
        },
        Gate::Freeze(freeze) => match calendar::Freeze::new(&freeze.from, &freeze.to, &freeze.zone).map(|known| known.at(now)) {
            Ok(FreezeState::Clear { next }) => Opening::Open { until: next },
            Ok(FreezeState::Frozen { until }) => {
                Opening::Closed { evidence: format!("frozen until {}", calendar::local(until, &freeze.zone)), until: Some(until) }
            }
            Err(error) => unreadable(error.to_string()),
        },
        _ => Opening::Open { until: None },
    }
}

/// When windows and freezes are open for the first time, all of them at once; nothing where they are not within
/// [`AHEAD`], counted from the end of the last freeze. Where that takes too long to find out it is the first instant
/// that is not ruled out.
#[must_use]
pub fn first_opening(gates: &[&Gate], from: WallTime) -> Option<WallTime> {
    let (mut at, mut latest, mut open) = (from, after(from, AHEAD), 0);
    // All of them have to be open in a row.
    for gate in gates.iter().cycle().take(LOOKS) {
        if open == gates.len() {
            break;
        }
        let Opening::Closed { until, .. } = opening(gate, at) else {
            open += 1;
            continue;
        };
        open = 0;
        at = until.filter(|until| *until > at)?;
        if matches!(gate, Gate::Freeze(_)) {
            latest = latest.max(after(at, AHEAD));
        }
        if at > latest {
            return None;
        }
    }
    Some(at)
}

/// So much later.
#[must_use]
pub fn after(at: WallTime, by: Millis) -> WallTime {
    WallTime(at.0.saturating_add_unsigned(by.0))
}

/// Schedules of which an instant has come that nobody has acted on.
#[must_use]
pub fn due(state: &State, now: WallTime) -> Vec<Due> {
    let mut all = Vec::new();
    for (name, history) in state.plans.iter().filter(|(_, history)| history.suspended.is_none()) {
        let Some((revision, current)) = history.current() else { continue };
        for (index, schedule) in current.plan.schedules.iter().enumerate().filter(|(_, schedule)| !schedule.suspended) {
            let after = history.counts_after(schedule, current.applied);
            if after >= now {
                continue;
            }
            let Ok(cron) = Cron::parse(&schedule.cron, &schedule.zone) else { continue };
            let passed = cron.between(after, now, INSTANTS);
            let Some(instant) = passed.newest else { continue };
            let inputs = input::resolve(&current.plan.inputs, &schedule.inputs).unwrap_or_default();
            all.push(Due {
                plan: name.clone(),
                revision,
                schedule: u32::try_from(index).unwrap_or(u32::MAX),
                instant,
                missed: u32::try_from(passed.count.saturating_sub(1)).unwrap_or(u32::MAX),
                late: Millis(u64::try_from(now.0 - instant.0).unwrap_or(0)),
                connections: evaluate::connections(&current.plan, &inputs).unwrap_or_default(),
            });
        }
    }
    all
}

/// When a schedule of its plan aborts a run that has not ended, to start another one; nothing where none does.
#[must_use]
pub fn replaces(state: &State, run: &Run, now: WallTime) -> Option<WallTime> {
    let (_, current) = state.plans.get(&run.id.plan)?.current()?;
    let is_replaced = current.plan.concurrency == Concurrency::Replace && !run.is_ended() && run.abort.is_none();
    next(state, &run.id.plan, now).filter(|_| is_replaced).map(|(_, at)| at)
}

/// The next instant of one schedule.
#[must_use]
pub fn next_of(schedule: &Schedule, now: WallTime) -> Option<WallTime> {
    Cron::parse(&schedule.cron, &schedule.zone).ok()?.next_after(now)
}

/// The shortest time between the next instants of a schedule; nothing where there are not two.
#[must_use]
pub fn interval(schedule: &Schedule, now: WallTime) -> Option<Millis> {
    let cron = Cron::parse(&schedule.cron, &schedule.zone).ok()?;
    let mut instants = Vec::new();
    let mut at = now;
    while instants.len() < INSTANTS_COMPARED
        && let Some(next) = cron.next_after(at)
    {
        instants.push(next);
        at = next;
    }
    instants.windows(2).filter_map(|pair| u64::try_from(pair[1].0 - pair[0].0).ok()).min().map(Millis)
}

/// When the next instant of a plan's schedules comes, for people: the schedule's place and the instant.
#[must_use]
pub fn next(state: &State, plan: &crate::id::PlanName, now: WallTime) -> Option<(usize, WallTime)> {
    let history = state.plans.get(plan).filter(|history| history.suspended.is_none())?;
    let (_, current) = history.current()?;
    let schedules = current.plan.schedules.iter().enumerate().filter(|(_, schedule)| !schedule.suspended);
    let instants = schedules.filter_map(|(index, schedule)| Some((index, next_of(schedule, now)?)));
    instants.min_by_key(|(_, at)| *at)
}
