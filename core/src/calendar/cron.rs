//! Schedules in the five fields of cron, in a zone.

use croner::parser::{CronParser, Seconds, Year};
use jiff::civil::{Date, DateTime};
use jiff::{SignedDuration, ToSpan};

use super::zone::{Twice, Zone};
use super::{CalendarError, short};
use crate::catalogue::nearest;
use crate::time::WallTime;

/// A schedule: minute, hour, day of the month, month, day of the week; or one of `@hourly`, `@daily`, ….
///
/// As in cron, a day fits when the day of the month *or* the day of the week does, if both are given.
/// Beyond that, `L` is the last day of a month, `FRI#2` the second Friday, and `FRI#L` the last one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cron {
    pattern: croner::Cron,
    zone: Zone,
    /// Minute and hour are numbers: it fires once for each of them on every day, whatever the clocks do.
    fixed: bool,
}

/// The times of a schedule within a span.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Due {
    /// How many, counted as far as was asked for.
    pub count: usize,
    /// The last of all of them, counted or not.
    pub newest: Option<WallTime>,
}

/// Text of a schedule: a list of all minutes is 170 bytes long.
const TEXT_BYTES: usize = 512;
/// A schedule that does not come within so many days does not come: 29 February is away 8 years at most.
const SEARCHED_DAYS: i32 = 8 * 366;
/// Where that search begins. Any day would do.
const SEARCHED_FROM: Date = Date::constant(2024, 1, 1);
/// No zone sets its clocks by more than this.
const CHANGE: SignedDuration = SignedDuration::from_hours(3);

const FIELDS: [&str; 5] = ["minute", "hour", "day of the month", "month", "day of the week"];

const NICKNAMES: [(&str, &str); 7] = [
    ("@hourly", "0 * * * *"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@weekly", "0 0 * * 0"),
    ("@monthly", "0 0 1 * *"),
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
];

impl Cron {
    /// Reads a schedule. One that never comes is refused.
    pub fn parse(text: &str, zone: &str) -> Result<Cron, CalendarError> {
        let zone = Zone::parse(zone)?;
        let fields = fields(text.trim())?;
        let pattern = read(&fields.join(" ")).ok_or_else(|| wrong_field(text, &fields))?;
        let fixed = fields[..2].iter().all(|field| !field.contains(['*', '/', '?']));
        let cron = Cron { pattern, zone, fixed };
        if cron.comes() { Ok(cron) } else { Err(CalendarError::new(format!("`{}` never comes: there is no such day", short(text)))) }
    }

    /// The first time after `after`.
    #[must_use]
    pub fn next_after(&self, after: WallTime) -> Option<WallTime> {
        self.find(after).filter(|next| *next > after)
    }

    fn find(&self, after: WallTime) -> Option<WallTime> {
        let after = self.zone.at(WallTime(after.0.div_euclid(1_000).saturating_mul(1_000)));
        if !self.fixed {
            let next = self.pattern.find_next_occurrence(&after, false).ok()?;
            return Some(WallTime(next.timestamp().as_millisecond()));
        }
        // Looks at clocks alone and only then at the zone. Begins a little earlier, for a time that a
        // change of clocks has moved.
        let now = WallTime(after.timestamp().as_millisecond());
        let mut clock = after.datetime().checked_sub(CHANGE).ok()?;
        loop {
            clock = self.pattern.find_next_occurrence::<DateTime>(&clock, false).ok()?;
            let moment = self.zone.moment(clock, Twice::First)?;
            if moment > now {
                return Some(moment);
            }
        }
    }

    /// The times after `after` up to and with `until`: none when the clock went back in between.
    #[must_use]
    pub fn between(&self, after: WallTime, until: WallTime, most: usize) -> Due {
        let mut due = Due::default();
        let mut last = after;
        while due.count < most {
            match self.next_after(last) {
                Some(next) if next <= until => {
                    due = Due { count: due.count + 1, newest: Some(next) };
                    last = next;
                }
                _ => return due,
            }
        }
        due.newest = self.newest(last, until).or(due.newest);
        due
    }

    /// The last time after `after` up to and with `until`. Halves the span, and so takes some fifty
    /// searches whatever its length.
    fn newest(&self, after: WallTime, until: WallTime) -> Option<WallTime> {
        let within = |after: WallTime| self.next_after(after).filter(|next| *next <= until);
        let mut newest = within(after)?;
        let (mut low, mut high) = (newest.0, until.0);
        while low < high {
            let middle = low + (high - low) / 2;
            match within(WallTime(middle)) {
                Some(next) => {
                    newest = next;
                    low = next.0;
                }
                None => high = middle,
            }
        }
        Some(newest)
    }

    /// Whether any day fits.
    fn comes(&self) -> bool {
        let fits = |day: Date| {
            let (year, month, of_month) = (i32::from(day.year()), day.month().unsigned_abs().into(), day.day().unsigned_abs().into());
            let weekday = croner::CronDateTime::civil_weekday(&day.at(0, 0, 0, 0));
            self.pattern.pattern.month_match(month).unwrap_or(false)
                && self.pattern.pattern.day_match(year, month, of_month, weekday).unwrap_or(false)
        };
        (0..SEARCHED_DAYS).filter_map(|days| SEARCHED_FROM.checked_add(days.days()).ok()).any(fits)
    }
}

fn read(fields: &str) -> Option<croner::Cron> {
    CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build().parse(fields).ok()
}

/// The five fields of a schedule.
fn fields(text: &str) -> Result<Vec<&str>, CalendarError> {
    if text.len() > TEXT_BYTES {
        return Err(CalendarError::new(format!("the schedule is longer than {TEXT_BYTES} bytes")));
    }
    let names = || NICKNAMES.iter().map(|(name, _)| *name);
    let text = if text.starts_with('@') {
        let found = NICKNAMES.iter().find(|(name, _)| *name == text).map(|(_, fields)| *fields);
        found.ok_or_else(|| {
            let hint = nearest(text, names())
                .map_or_else(|| format!("there are {}", names().collect::<Vec<_>>().join(", ")), |meant| format!("did you mean {meant}?"));
            CalendarError::new(format!("there is no schedule `{}`: {hint}", short(text)))
        })?
    } else {
        text
    };
    let fields: Vec<&str> = text.split_ascii_whitespace().collect();
    match fields.len() {
        5 => Ok(fields),
        6 | 7 => Err(CalendarError::new(format!(
            "`{}` has {} fields, and a schedule has five, without seconds and years: {}",
            short(text),
            fields.len(),
            FIELDS.join(", ")
        ))),
        other => Err(CalendarError::new(format!("`{}` has {other} of the five fields of a schedule: {}", short(text), FIELDS.join(", ")))),
    }
}

/// Which field of a schedule cannot be read.
fn wrong_field(text: &str, fields: &[&str]) -> CalendarError {
    let wrong = fields.iter().zip(FIELDS).enumerate().find(|(at, (field, _))| {
        let mut alone = ["*"; 5];
        alone[*at] = field;
        read(&alone.join(" ")).is_none()
    });
    CalendarError::new(match wrong {
        Some((at, (field, name))) => {
            let range = ["0 to 59", "0 to 23", "1 to 31", "1 to 12 or JAN to DEC", "0 to 7 or SUN to SAT"][at];
            format!("`{}` does not fit the {name}: it is {range}, a list 1,2, a range 1-5, a step */2, or *", short(field))
        }
        None => format!("`{}` is not a schedule", short(text)),
    })
}
