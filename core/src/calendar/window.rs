//! Windows: the hours of the week in which something may begin.

use jiff::ToSpan;
use jiff::civil::{Date, Time, Weekday};

use super::zone::{Twice, Zone, time_of_day};
use super::{CalendarError, short};
use crate::catalogue::nearest;
use crate::time::WallTime;

/// Hours of some days of the week. It may pass midnight, and its day is the one on which it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// From Monday.
    days: [bool; 7],
    from: Time,
    /// None: the end of the day.
    to: Option<Time>,
    zone: Zone,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WindowState {
    Open {
        /// The first moment at which it is not open. What begins where another ends keeps it open.
        closes: WallTime,
    },
    Closed {
        opens: Option<WallTime>,
    },
}

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
/// A change of clocks can swallow a window; the same day of the following week has it.
const SEARCHED_DAYS: i32 = 15;

impl Window {
    /// `days` are `mon` to `sun`, all when there are none; `from` is `00:00` to `23:59`, `to` up to `24:00`.
    pub fn new(days: &[impl AsRef<str>], from: &str, to: &str, zone: &str) -> Result<Window, CalendarError> {
        let zone = Zone::parse(zone)?;
        let mut open = [days.is_empty(); 7];
        for day in days {
            let day = day.as_ref();
            let at = DAYS.iter().position(|known| *known == day).ok_or_else(|| {
                let meant = day.get(..3).map(str::to_ascii_lowercase).filter(|start| DAYS.contains(&start.as_str()));
                let meant =
                    meant.or_else(|| nearest(day, DAYS).map(str::to_owned)).map_or_else(String::new, |meant| format!(": did you mean {meant}?"));
                CalendarError::new(format!("`{}` is no day, of mon to sun{meant}", short(day)))
            })?;
            open[at] = true;
        }
        let begins = time_of_day(from)?.ok_or_else(|| CalendarError::new("a window cannot begin at 24:00: write 00:00, and the day after"))?;
        if from == to {
            return Err(CalendarError::new("a window that ends when it begins is always or never: a whole day is 00:00 to 24:00"));
        }
        Ok(Window { days: open, from: begins, to: time_of_day(to)?, zone })
    }

    #[must_use]
    pub fn at(&self, now: WallTime) -> WindowState {
        let today = self.zone.at(now).date();
        let mut open: Option<WallTime> = None;
        // Yesterday's may pass midnight. The spans come in their order.
        for (begins, ends) in (-1..SEARCHED_DAYS).filter_map(|days| self.span(today.checked_add(days.days()).ok()?)) {
            match open {
                Some(closes) if begins > closes => break,
                Some(closes) => open = Some(closes.max(ends)),
                None if ends <= now => {}
                None if begins > now => return WindowState::Closed { opens: Some(begins) },
                None => open = Some(ends),
            }
        }
        open.map_or(WindowState::Closed { opens: None }, |closes| WindowState::Open { closes })
    }

    /// The window that begins on a day.
    fn span(&self, day: Date) -> Option<(WallTime, WallTime)> {
        let of_week = match day.weekday() {
            Weekday::Monday => 0,
            Weekday::Tuesday => 1,
            Weekday::Wednesday => 2,
            Weekday::Thursday => 3,
            Weekday::Friday => 4,
            Weekday::Saturday => 5,
            Weekday::Sunday => 6,
        };
        if !self.days[of_week] {
            return None;
        }
        let end = match self.to {
            Some(to) if to > self.from => day.to_datetime(to),
            to => day.tomorrow().ok()?.to_datetime(to.unwrap_or(Time::midnight())),
        };
        let begins = self.zone.moment(day.to_datetime(self.from), Twice::First)?;
        let ends = self.zone.moment(end, Twice::First)?;
        (begins < ends).then_some((begins, ends))
    }
}
