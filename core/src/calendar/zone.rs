//! Time zones by their IANA names, and wall times in them.

use std::fmt;
use std::sync::LazyLock;

use jiff::civil::{DateTime, Time};
use jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase};
use jiff::{Timestamp, Zoned};

use super::{CalendarError, short};
use crate::catalogue::nearest;
use crate::time::WallTime;

/// Wall times that are looked at: a clock that says anything else is taken for the nearer end.
const RANGE: (i64, i64) = (0, 253_000_000_000_000);

/// The zones that come with the program, whatever the machine has.
static DATABASE: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// A time zone.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Zone {
    zone: TimeZone,
}

/// Which of two moments is meant by a time that comes twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Twice {
    First,
    Second,
}

impl Zone {
    pub fn parse(name: &str) -> Result<Zone, CalendarError> {
        Zone::find(name).ok_or_else(|| unknown(name))
    }

    fn find(name: &str) -> Option<Zone> {
        let zone = DATABASE.get(name).ok()?;
        (zone.iana_name() == Some(name) && name != "Etc/Unknown").then_some(Zone { zone })
    }

    pub fn at(&self, wall: WallTime) -> Zoned {
        let ms = wall.0.clamp(RANGE.0, RANGE.1);
        Timestamp::from_millisecond(ms).unwrap_or(Timestamp::UNIX_EPOCH).to_zoned(self.zone.clone())
    }

    /// The moment at which clocks show `time`. Where they never do, it is the moment of the change.
    pub fn moment(&self, time: DateTime, twice: Twice) -> Option<WallTime> {
        let ambiguous = self.zone.to_ambiguous_zoned(time);
        let moment = match (ambiguous.offset(), twice) {
            (AmbiguousOffset::Gap { .. }, _) => {
                let before = ambiguous.earlier().ok()?.timestamp();
                self.zone.following(before).next()?.timestamp()
            }
            (_, Twice::First) => ambiguous.earlier().ok()?.timestamp(),
            (_, Twice::Second) => ambiguous.later().ok()?.timestamp(),
        };
        Some(WallTime(moment.as_millisecond()))
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.zone.iana_name().unwrap_or("UTC"))
    }
}

fn unknown(name: &str) -> CalendarError {
    let known = || DATABASE.available().filter(|known| known.as_str() != "Etc/Unknown");
    // Whoever writes only the city means its zone.
    let city = |known: &str| known.rsplit('/').next().is_some_and(|city| city.eq_ignore_ascii_case(name));
    let same = known().find(|known| known.as_str().eq_ignore_ascii_case(name)).or_else(|| known().find(|known| city(known.as_str())));
    let meant = same.map(|known| known.as_str().to_owned()).or_else(|| {
        let names: Vec<String> = known().map(|known| known.as_str().to_owned()).collect();
        if name.len() > 64 { None } else { nearest(name, names.iter().map(String::as_str)).map(str::to_owned) }
    });
    let hint = meant.map_or_else(|| "write one such as Europe/Berlin or UTC".to_owned(), |meant| format!("did you mean {meant}?"));
    CalendarError::new(format!("there is no time zone `{}`: {hint}", short(name)))
}

/// Whether there is a zone of that IANA name.
pub fn check_zone(name: &str) -> Result<(), CalendarError> {
    Zone::parse(name).map(|_| ())
}

/// Whether a text is a time of day, `24:00` included.
pub fn check_time_of_day(text: &str) -> Result<(), CalendarError> {
    time_of_day(text).map(drop)
}

/// A wall time as people in a zone read it: `Mon 2 Dec 06:00 Europe/Berlin`. In UTC where there is no such zone.
#[must_use]
pub fn local(wall: WallTime, zone: &str) -> String {
    let (zone, name) = Zone::find(zone).map_or((Zone { zone: TimeZone::UTC }, "UTC"), |found| (found, zone));
    format!("{} {name}", zone.at(wall).strftime("%a %-d %b %H:%M"))
}

/// `22:00` of a plan. `24:00` is the end of the day: none.
pub(super) fn time_of_day(text: &str) -> Result<Option<Time>, CalendarError> {
    let wrong = || CalendarError::new(format!("`{}` is not a time of day: write for example 06:30 or 22:00", short(text)));
    if text == "24:00" {
        return Ok(None);
    }
    let digits = |part: &str| if part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit()) { part.parse::<i8>().ok() } else { None };
    let (hour, minute) = text.split_once(':').and_then(|(hour, minute)| digits(hour).zip(digits(minute))).ok_or_else(wrong)?;
    Time::new(hour, minute, 0, 0).map(Some).map_err(|_| wrong())
}
