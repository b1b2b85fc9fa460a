//! The time that a log line carries.
//!
//! In: one line, the time now (a format without a year needs one), and the host's zone for formats without
//! a zone. Out: when it was written, or nothing. Only the start of a line is looked at.

use std::sync::LazyLock;

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{Offset, TimeZone};
use jiff::{Timestamp, ToSpan};
use regex::{Captures, Regex};

/// A time starts within this many bytes of a line, or it is part of the message.
const HEAD: usize = 96;

static STAMP: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let month = "(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)";
    let clock = |n: u8| format!(r"(?P<h{n}>[0-9]{{2}}):(?P<n{n}>[0-9]{{2}}):(?P<s{n}>[0-9]{{2}})(?:[.,][0-9]{{1,9}})?");
    let zone = |n: u8| format!(r"(?P<z{n}>\s?(?:Z|UTC|GMT|[+-][0-9]{{2}}:?[0-9]{{2}}))?");
    let forms = [
        // 2026-11-23T10:00:00.123Z, 2026/11/23 10:00:00
        format!(r"\b(?P<y1>[0-9]{{4}})[-/](?P<m1>[0-9]{{2}})[-/](?P<d1>[0-9]{{2}})[T ]{}{}", clock(1), zone(1)),
        // 23/Nov/2026:10:00:00 +0000, 23 Nov 2026 10:00:00.123
        format!(r"\b(?P<d2>[0-9]{{1,2}})[/ ](?P<m2>{month})[/ ](?P<y2>[0-9]{{4}})[: ]{}{}", clock(2), zone(2)),
        // Nov 23, 2026 10:00:00 AM
        format!(
            r"\b(?P<m3>{month}) (?P<d3>[0-9]{{1,2}}), (?P<y3>[0-9]{{4}}) (?P<h3>[0-9]{{1,2}}):(?P<n3>[0-9]{{2}}):(?P<s3>[0-9]{{2}})(?: (?P<half>[AP]M))?"
        ),
        // Sun Dec 04 04:47:44.123 2005; Nov 23 10:00:00
        format!(r"\b(?P<m4>{month}) {{1,2}}(?P<d4>[0-9]{{1,2}}) {}(?: (?P<y4>[0-9]{{4}})\b)?", clock(4)),
        // E1123 10:00:00.123456
        format!(r"^[DIWEF](?P<m5>[0-9]{{2}})(?P<d5>[0-9]{{2}}) {}", clock(5)),
        // 081109 203615
        r"^(?P<y6>[0-9]{2})(?P<m6>[0-9]{2})(?P<d6>[0-9]{2}) (?P<h6>[0-9]{2}):?(?P<n6>[0-9]{2}):?(?P<s6>[0-9]{2})\b".to_owned(),
        // 1795428000, 1795428000.123, 1795428000123, also as a field
        r#"(?:^\[?|"(?:ts|time|timestamp|@timestamp)"\s*:\s*"?|\bts=)(?P<epoch>1[0-9]{9})(?P<ms>[0-9]{3})?(?:\.[0-9]+)?\b"#.to_owned(),
    ];
    Regex::new(&format!("(?-u){}", forms.join("|"))).ok()
});

/// When a line was written.
#[must_use]
pub fn of(line: &str, now: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
    // Fields of a record stand anywhere in it.
    let text = if line.starts_with('{') { line } else { head(line) };
    STAMP.as_ref()?.captures_iter(text).find_map(|found| read(&found, now, zone))
}

/// Where the time at the start of a line ends; 0 when there is none.
#[must_use]
pub fn end(line: &str) -> usize {
    STAMP.as_ref().and_then(|stamp| stamp.find(head(line))).map_or(0, |found| found.end())
}

fn head(line: &str) -> &str {
    let mut end = line.len().min(HEAD);
    while !line.is_char_boundary(end) {
        end -= 1;
    }
    &line[..end]
}

fn read(found: &Captures<'_>, now: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
    if let Some(epoch) = found.name("epoch") {
        return Timestamp::from_second(epoch.as_str().parse().ok()?).ok();
    }
    let form = (1..=6).find(|form| found.name(&format!("d{form}")).is_some())?;
    let text = |part: &str| found.name(&format!("{part}{form}")).map(|text| text.as_str());
    let number = |part: &str| text(part).and_then(|text| text.parse::<i8>().ok());
    let month = text("m").and_then(|month| month.parse().ok().or_else(|| month_number(month)))?;
    let mut hour = number("h")?;
    match found.name("half").map(|half| half.as_str()) {
        Some("PM") if hour < 12 => hour += 12,
        Some("AM") if hour == 12 => hour = 0,
        _ => {}
    }
    // A leap second is the last one of its minute.
    let time = Time::new(hour, number("n")?, number("s")?.min(59), 0).ok()?;
    let zone = text("z").and_then(|offset| offset_zone(offset.trim())).unwrap_or_else(|| zone.clone());
    let at = |year: i16| {
        let date = Date::new(year, month, number("d")?).ok()?;
        zone.to_timestamp(DateTime::from_parts(date, time)).ok()
    };
    match text("y").and_then(|year| year.parse::<i16>().ok()) {
        Some(year) if year < 100 => at(2_000 + year),
        Some(year) => at(year),
        // The latest year that does not put it into the future; a clock may be a day ahead.
        None => {
            let this_year = now.to_zoned(zone.clone()).year();
            let limit = now.checked_add(24.hours()).ok()?;
            at(this_year + 1).filter(|time| *time <= limit).or_else(|| at(this_year).filter(|time| *time <= limit)).or_else(|| at(this_year - 1))
        }
    }
}

fn month_number(name: &str) -> Option<i8> {
    let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    months.iter().position(|month| *month == name).and_then(|index| i8::try_from(index + 1).ok())
}

fn offset_zone(text: &str) -> Option<TimeZone> {
    let sign = match text.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return Some(TimeZone::UTC),
    };
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    let (hours, minutes) = (digits.get(..2)?.parse::<i32>().ok()?, digits.get(2..4)?.parse::<i32>().ok()?);
    Offset::from_seconds(sign * (hours * 3_600 + minutes * 60)).ok().map(TimeZone::fixed)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read_at(line: &str, now: &str) -> Option<String> {
        of(line, now.parse().unwrap(), &TimeZone::fixed(Offset::from_seconds(3_600).unwrap())).map(|time| time.to_string())
    }

    #[test]
    fn times_of_common_formats() {
        let now = "2026-11-23T12:00:00Z";
        for (line, expected) in [
            ("2026-11-23T10:00:00Z x", "2026-11-23T10:00:00Z"),
            ("2026-11-23T10:00:00.123456+02:00 x", "2026-11-23T08:00:00Z"),
            ("2026-11-23 10:00:00.123 UTC [12] LOG:  x", "2026-11-23T10:00:00Z"),
            ("2015-07-29 17:41:44,747 - INFO  [x] - y", "2015-07-29T16:41:44Z"),
            ("2026/11/23 10:00:00 [error] 1#1: x", "2026-11-23T09:00:00Z"),
            ("10.0.0.1 - - [23/Nov/2026:10:00:00 -0500] \"GET /\"", "2026-11-23T15:00:00Z"),
            ("1:M 3 Nov 2026 10:00:00.000 # x", "2026-11-03T09:00:00Z"),
            ("Nov 23, 2026 1:00:00 PM org.apache.catalina", "2026-11-23T12:00:00Z"),
            ("[Sun Dec 04 04:47:44 2005] [notice] x", "2005-12-04T03:47:44Z"),
            ("[Mon Nov 23 10:00:00.123456 2026] [core:error] x", "2026-11-23T09:00:00Z"),
            ("Nov 23 10:00:00 web app[1]: x", "2026-11-23T09:00:00Z"),
            ("Nov  3 10:00:00 web app[1]: x", "2026-11-03T09:00:00Z"),
            ("Dec 10 06:55:46 LabSZ sshd[24200]: x", "2025-12-10T05:55:46Z"),
            ("E1123 10:00:00.123456       1 main.go:3] x", "2026-11-23T09:00:00Z"),
            ("081109 203615 148 INFO dfs.DataNode: x", "2008-11-09T19:36:15Z"),
            ("1795428000 x", "2026-11-23T10:00:00Z"),
            ("{\"level\":30,\"time\":1795428000123,\"msg\":\"x\"}", "2026-11-23T10:00:00Z"),
            ("{\"level\":\"info\",\"ts\":1795428000.5}", "2026-11-23T10:00:00Z"),
            ("{\"msg\":\"x\",\"time\":\"2026-11-23T10:00:00Z\"}", "2026-11-23T10:00:00Z"),
            ("nova-api.log.1.2017-05-16_13:53:08 2017-05-16 00:00:00.008 25746 INFO x", "2017-05-15T23:00:00Z"),
        ] {
            assert_eq!(read_at(line, now).as_deref(), Some(expected), "{line}");
        }
        for line in ["no time at all", "12345", "2026-13-45 10:00:00 x", "", "ratio 10:00:00"] {
            assert_eq!(read_at(line, now), None, "{line}");
        }
    }

    #[test]
    fn the_turn_of_the_year_is_guessed_from_now() {
        assert_eq!(read_at("Dec 31 23:59:59 web x", "2027-01-01T00:10:00Z").as_deref(), Some("2026-12-31T22:59:59Z"));
        assert_eq!(read_at("Jan  1 00:30:00 web x", "2026-12-31T23:10:00Z").as_deref(), Some("2026-12-31T23:30:00Z"));
    }
}
