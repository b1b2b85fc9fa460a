//! Times of the clock and of the calendar, and zones.

use super::check::shortened;
use super::shape::Form;

pub(crate) const TIME_OF_DAY: Form =
    Form { what: "a time of day in quotes such as \"22:00\"", pattern: "^([01][0-9]|2[0-3]):[0-5][0-9]$", example: "22:00", check: time_of_day };

pub(crate) const DAY_OR_TIME: Form = Form {
    what: "a day such as 2026-12-20, or with a time 2026-12-20T22:00",
    pattern: "^[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2}(:[0-9]{2})?)?$",
    example: "2026-12-20",
    check: day_or_time,
};

pub(crate) const ZONE: Form = Form { what: "an IANA time zone such as Europe/Berlin", pattern: "", example: "Europe/Berlin", check: |_| Ok(()) };

pub(crate) const CRON: Form =
    Form { what: "five fields of cron such as \"0 2 * * *\", or @daily", pattern: "", example: "0 2 * * *", check: |_| Ok(()) };

fn time_of_day(text: &str) -> Result<(), String> {
    let digits = |part: &str, below: u32| part.len() == 2 && part.parse::<u32>().is_ok_and(|number| number < below);
    match text.split_once(':') {
        Some((hour, minute)) if digits(hour, 24) && digits(minute, 60) => Ok(()),
        _ => Err(format!("`{}` is not a time of day: write for example \"22:00\"", shortened(text))),
    }
}

fn day_or_time(_text: &str) -> Result<(), String> {
    Ok(())
}
