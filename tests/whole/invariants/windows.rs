//! What has a window begins in it, and not in a freeze, by the wall clock of whoever may have led when it was offered.
//!
//! The plan `windowed` may begin things from 11:50 to 12:20 UTC, but for 11:59 to 12:00; said here by arithmetic of its own.

use std::time::Duration;

use crate::machines::COORDINATORS;
use crate::works::Place;
use crate::{clock, library, watch};

/// From the offer of an attempt to its begin: its deadline, and time without a leader, in which mesh time stands still.
const LATE: Duration = Duration::from_secs(30);
const MINUTE: u64 = 60;

/// A step begins on a machine.
pub fn begins((run, step, machine): &Place) {
    if !run.starts_with("windowed") {
        return;
    }
    let now = clock::elapsed();
    let from = now.saturating_sub(LATE);
    // Each second, and besides the moments at which a clock was set: it may have been right for less than one.
    let seconds = (from.as_secs()..=now.as_secs()).map(Duration::from_secs);
    let set = watch::with(|seen| seen.clocks_set.iter().map(|(_, at, _)| *at).filter(|at| (from..=now).contains(at)).collect::<Vec<_>>());
    let was_open = seconds.chain(set).chain([now]).any(|at| COORDINATORS.iter().any(|name| is_open(shown(name, at))));
    if !was_open {
        watch::broken("windows", &format!("{step} of {run} begins on {machine}, and no member's clock was in the window lately"));
    }
}

/// What the wall clock of a machine showed at a time, in seconds since 1970.
fn shown(machine: &str, at: Duration) -> u64 {
    let ahead =
        watch::with(|seen| seen.clocks_set.iter().rev().find(|(name, since, _)| *name == machine && *since <= at).map_or(0, |(_, _, ahead)| *ahead));
    ((library::BEGIN + at).as_millis() as i64 + ahead) as u64 / 1_000
}

fn is_open(unix: u64) -> bool {
    let minute = unix / MINUTE % (24 * 60);
    let clock = |hour: u64, minute: u64| hour * 60 + minute;
    (clock(11, 50)..clock(12, 20)).contains(&minute) && !(clock(11, 59)..clock(12, 0)).contains(&minute)
}
