//! Freezes: spans of days in which nothing begins.

use jiff::civil::{Date, Time};

use super::zone::{Twice, Zone, time_of_day};
use super::{CalendarError, short};
use crate::time::WallTime;

/// One span of time, given by dates or by dates with a time of day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Freeze {
    begins: WallTime,
    ends: WallTime,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FreezeState {
    Frozen {
        /// The first moment at which it does not hold any more.
        until: WallTime,
    },
    Clear {
        /// When it begins; none once it is over.
        next: Option<WallTime>,
    },
}

impl Freeze {
    /// `from` and `to` are `2026-12-20`, or `2026-12-20T18:00`. A date as `to` is included, to its end.
    pub fn new(from: &str, to: &str, zone: &str) -> Result<Freeze, CalendarError> {
        let zone = Zone::parse(zone)?;
        let beyond = || CalendarError::new("the freeze lies beyond the calendar");
        let begins = match day_and_time(from)? {
            (day, When::At(time)) => day.to_datetime(time),
            (day, When::Day) => day.to_datetime(Time::midnight()),
            (_, When::End) => return Err(CalendarError::new("a freeze cannot begin at 24:00: write the day after")),
        };
        let ends = match day_and_time(to)? {
            (day, When::At(time)) => day.to_datetime(time),
            (day, When::Day | When::End) => day.tomorrow().map_err(|_| beyond())?.to_datetime(Time::midnight()),
        };
        let begins = zone.moment(begins, Twice::First).ok_or_else(beyond)?;
        let ends = zone.moment(ends, Twice::Second).ok_or_else(beyond)?;
        if ends <= begins {
            return Err(CalendarError::new(format!("a freeze from {from} to {to} ends before it begins")));
        }
        Ok(Freeze { begins, ends })
    }

    #[must_use]
    pub fn at(&self, now: WallTime) -> FreezeState {
        if now < self.begins {
            FreezeState::Clear { next: Some(self.begins) }
        } else if now < self.ends {
            FreezeState::Frozen { until: self.ends }
        } else {
            FreezeState::Clear { next: None }
        }
    }
}

/// What is said of a day.
enum When {
    Day,
    At(Time),
    End,
}

/// Whether a text is a day, or a day and a time.
pub fn check_day(text: &str) -> Result<(), CalendarError> {
    day_and_time(text).map(drop)
}

/// `2026-12-20` or `2026-12-20T18:00`.
fn day_and_time(text: &str) -> Result<(Date, When), CalendarError> {
    let wrong = || CalendarError::new(format!("`{}` is not a day: write for example 2026-12-20 or 2026-12-20T18:00", short(text)));
    let (day, time) = text.split_once('T').map_or((text, None), |(day, time)| (day, Some(time)));
    let parts: Vec<&str> = day.split('-').collect();
    let [year, month, of_month] = parts.as_slice() else { return Err(wrong()) };
    let number = |part: &str, length: usize| {
        let digits = part.len() == length && part.bytes().all(|b| b.is_ascii_digit());
        if digits { part.parse::<i16>().ok() } else { None }
    };
    let narrow = |part: &str| number(part, 2).and_then(|part| i8::try_from(part).ok());
    let (Some(year), Some(month), Some(of_month)) = (number(year, 4), narrow(month), narrow(of_month)) else { return Err(wrong()) };
    let day = Date::new(year, month, of_month).map_err(|_| CalendarError::new(format!("there is no day `{}`", short(day))))?;
    Ok((
        day,
        match time.map(time_of_day).transpose()? {
            None => When::Day,
            Some(None) => When::End,
            Some(Some(time)) => When::At(time),
        },
    ))
}
