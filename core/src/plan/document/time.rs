//! Times of the clock and of the calendar, and zones.

use super::shape::Form;
use crate::calendar::{self, Cron};

pub(crate) const TIME_OF_DAY: Form = Form {
    what: "a time of day in quotes such as \"22:00\"",
    pattern: "^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$",
    example: "22:00",
    check: |text| calendar::check_time_of_day(text).map_err(|error| error.message),
};

pub(crate) const DAY: Form = Form {
    what: "a day such as 2026-12-20, or with a time 2026-12-20T22:00",
    pattern: "^[0-9]{4}-[0-9]{2}-[0-9]{2}(T([0-9]{2}:[0-9]{2}))?$",
    example: "2026-12-20",
    check: |text| calendar::check_day(text).map_err(|error| error.message),
};

pub(crate) const ZONE: Form = Form {
    what: "an IANA time zone such as Europe/Berlin",
    pattern: "^[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*$",
    example: "Europe/Berlin",
    check: |text| calendar::check_zone(text).map_err(|error| error.message),
};

pub(crate) const CRON: Form = Form {
    what: "five fields of cron such as \"0 2 * * *\", or @daily",
    pattern: "^\\s*(@[a-z]+|\\S+(\\s+\\S+){4})\\s*$",
    example: "0 2 * * *",
    // In which zone it is read says nothing about whether it can be read.
    check: |text| Cron::parse(text, "UTC").map(drop).map_err(|error| error.message),
};
