//! Schedules, windows and freezes: when something is due, and when it may begin.
//!
//! In: what a plan says, and a wall time that the caller gives. Out: the next or the newest wall time of a
//! schedule ([`Cron`]), whether a window is open ([`Window`]) or a freeze holds ([`Freeze`]), and until
//! when. Pure: no clock, and the rules of the zones come with the program. Nothing is searched without a
//! bound, and what can never come is refused when it is read.
//!
//! The days on which clocks change:
//!
//! | | the hour that is left out | the hour that comes twice |
//! | --- | --- | --- |
//! | schedule whose minute and hour are numbers, as `30 2 * * *` | fires when the hour is over, at 03:00 | fires once, the first time |
//! | schedule with `*` or `/` in them, as `@hourly` or `*/15 2 * * *` | that hour has none | goes on through both |
//! | window | begins or ends when the hour is over | begins and ends the first time |
//! | freeze | begins or ends when the hour is over | begins the first time, ends the second time |
//!
//! [`crate::State::apply`] never calls this module: rules of zones change between versions. The leader
//! asks it, and a command carries what came of it.

mod cron;
mod freeze;
mod window;
mod zone;

pub use cron::{Cron, Due};
pub use freeze::{Freeze, FreezeState, check_day};
pub use window::{Window, WindowState};
pub use zone::{check_time_of_day, check_zone, local};

/// What is wrong with a schedule, a window, a freeze or a zone, in words for whoever wrote it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct CalendarError {
    pub message: String,
}

impl CalendarError {
    fn new(message: impl Into<String>) -> CalendarError {
        CalendarError { message: message.into() }
    }
}

/// A text of a plan, short enough for a message.
fn short(text: &str) -> String {
    let mut short: String = text.chars().take(40).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}
