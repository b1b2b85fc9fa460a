//! Runs that start by themselves.

use std::collections::BTreeMap;

use mainstay_core::command::Firing;
use mainstay_core::{Command, PlanName, Reply, WallTime};

use super::{Applied, Held, Invariant};
use crate::world::World;

#[derive(Default)]
pub struct Schedules {
    /// The newest instant that was acted on.
    fired: BTreeMap<PlanName, WallTime>,
}

impl Invariant for Schedules {
    fn name(&self) -> &'static str {
        "schedules"
    }

    fn says(&self) -> &'static str {
        "an instant of a schedule is acted on at most once, also when clocks go back, and never while the plan is suspended"
    }

    fn applied(&mut self, applied: &Applied<'_>, _world: &World) -> Held {
        let Command::FireSchedule { plan, instant, firing, .. } = &applied.entry.command else { return Ok(()) };
        if matches!(applied.reply, Reply::Stale(_)) {
            return Ok(());
        }
        if applied.before.plans.get(plan).is_some_and(|history| history.suspended.is_some()) {
            return Err(format!("{plan} is suspended, and fires"));
        }
        if *firing == Firing::Start && instant.0 % 60_000 != 0 {
            return Err(format!("{plan} starts at {instant:?}, which is no full minute"));
        }
        match self.fired.insert(plan.clone(), *instant) {
            Some(before) if before >= *instant => Err(format!("{plan} acted on {before:?}, and then on {instant:?}")),
            _ => Ok(()),
        }
    }
}
