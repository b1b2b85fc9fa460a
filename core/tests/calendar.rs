//! Schedules, windows and freezes: on ordinary days, on the days on which clocks change, and at the ends of years.
#![allow(clippy::expect_used, reason = "a test that cannot go on stops with words")]

use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZoneDatabase};
use mainstay_core::WallTime;
use mainstay_core::calendar::{Cron, Due, Freeze, FreezeState, Window, WindowState, check_zone, local};
use proptest::prelude::*;

const BERLIN: &str = "Europe/Berlin";

/// A wall time in UTC.
fn utc(text: &str) -> WallTime {
    let time: DateTime = text.parse().expect(text);
    WallTime(Offset::UTC.to_timestamp(time).expect(text).as_millisecond())
}

/// The times of a schedule after a time, as people in its zone read them.
fn times(cron: &str, zone: &str, after: &str, count: usize) -> Vec<String> {
    let cron = Cron::parse(cron, zone).expect(cron);
    std::iter::successors(cron.next_after(utc(after)), |last| cron.next_after(*last)).take(count).map(|time| local(time, zone)).collect()
}

fn wrong(cron: &str) -> String {
    Cron::parse(cron, "UTC").expect_err(cron).message
}

#[test]
fn schedules_fire_when_they_say() {
    for (cron, expected) in [
        ("0 2 * * *", ["Tue 1 Dec 02:00 UTC", "Wed 2 Dec 02:00 UTC"]),
        ("*/20 9-17 * * mon-fri", ["Mon 30 Nov 12:20 UTC", "Mon 30 Nov 12:40 UTC"]),
        ("0 12 * * *", ["Tue 1 Dec 12:00 UTC", "Wed 2 Dec 12:00 UTC"]),
        ("0 0 1 * *", ["Tue 1 Dec 00:00 UTC", "Fri 1 Jan 00:00 UTC"]),
        ("59 23 31 12 *", ["Thu 31 Dec 23:59 UTC", "Fri 31 Dec 23:59 UTC"]),
        ("0 0 L * *", ["Thu 31 Dec 00:00 UTC", "Sun 31 Jan 00:00 UTC"]),
        ("0 0 * * FRI#L", ["Fri 25 Dec 00:00 UTC", "Fri 29 Jan 00:00 UTC"]),
        ("0 0 13 * 5", ["Fri 4 Dec 00:00 UTC", "Fri 11 Dec 00:00 UTC"]),
        ("0 0 29 2 *", ["Tue 29 Feb 00:00 UTC", "Sun 29 Feb 00:00 UTC"]),
        ("@hourly", ["Mon 30 Nov 13:00 UTC", "Mon 30 Nov 14:00 UTC"]),
        ("@daily", ["Tue 1 Dec 00:00 UTC", "Wed 2 Dec 00:00 UTC"]),
        ("@midnight", ["Tue 1 Dec 00:00 UTC", "Wed 2 Dec 00:00 UTC"]),
        ("@weekly", ["Sun 6 Dec 00:00 UTC", "Sun 13 Dec 00:00 UTC"]),
        ("@monthly", ["Tue 1 Dec 00:00 UTC", "Fri 1 Jan 00:00 UTC"]),
        ("@yearly", ["Fri 1 Jan 00:00 UTC", "Sat 1 Jan 00:00 UTC"]),
        ("@annually", ["Fri 1 Jan 00:00 UTC", "Sat 1 Jan 00:00 UTC"]),
    ] {
        assert_eq!(times(cron, "UTC", "2026-11-30T12:00:00", 2), expected, "{cron}");
    }
    assert_eq!(times("0 2 * * *", BERLIN, "2026-12-31T22:00:00", 1), ["Fri 1 Jan 02:00 Europe/Berlin"]);
    // A time within a second is not yet the second.
    let daily = Cron::parse("@daily", "UTC").expect("a schedule");
    let midnight = utc("2026-12-01T00:00:00");
    assert_eq!(daily.next_after(WallTime(midnight.0 - 1)), Some(midnight));
    assert_eq!(daily.next_after(midnight), Some(utc("2026-12-02T00:00:00")));
    assert_eq!(daily.next_after(WallTime(midnight.0 + 999)), Some(utc("2026-12-02T00:00:00")));
}

/// Clocks in Berlin go from 02:00 to 03:00 on 29 March 2026.
#[test]
fn on_the_short_day_what_falls_into_the_gap_fires_after_it_once() {
    let from = "2026-03-28T12:00:00";
    assert_eq!(times("30 2 * * *", BERLIN, from, 2), ["Sun 29 Mar 03:00 Europe/Berlin", "Mon 30 Mar 02:30 Europe/Berlin"]);
    assert_eq!(
        times("0 2,14 * * *", BERLIN, from, 3),
        ["Sat 28 Mar 14:00 Europe/Berlin", "Sun 29 Mar 03:00 Europe/Berlin", "Sun 29 Mar 14:00 Europe/Berlin"]
    );
    // Several that fall into one moment are one.
    assert_eq!(
        times("0,30 2-3 29 3 *", BERLIN, from, 3),
        ["Sun 29 Mar 03:00 Europe/Berlin", "Sun 29 Mar 03:30 Europe/Berlin", "Mon 29 Mar 02:00 Europe/Berlin"]
    );
    assert_eq!(times("*/30 2 * * *", BERLIN, from, 1), ["Mon 30 Mar 02:00 Europe/Berlin"]);
    assert_eq!(times("@hourly", BERLIN, "2026-03-29T00:00:00", 2), ["Sun 29 Mar 03:00 Europe/Berlin", "Sun 29 Mar 04:00 Europe/Berlin"]);
}

/// Clocks in Berlin go from 03:00 to 02:00 on 25 October 2026.
#[test]
fn on_the_long_day_it_fires_once_and_hours_go_on() {
    let from = "2026-10-24T12:00:00";
    let cron = Cron::parse("30 2 * * *", BERLIN).expect("a schedule");
    let first = cron.next_after(utc(from)).expect("a time");
    assert_eq!(first, utc("2026-10-25T00:30:00"));
    assert_eq!(cron.next_after(first), Some(utc("2026-10-26T01:30:00")));
    // Asked in between the two, or in the second one.
    assert_eq!(cron.next_after(utc("2026-10-25T00:45:00")), Some(utc("2026-10-26T01:30:00")));
    assert_eq!(cron.next_after(utc("2026-10-25T01:10:00")), Some(utc("2026-10-26T01:30:00")));
    let twice = Cron::parse("0 2,14 * * *", BERLIN).expect("a schedule");
    assert_eq!(twice.between(utc("2026-10-24T22:00:00"), utc("2026-10-25T22:00:00"), 10).count, 2);
    let hourly = Cron::parse("@hourly", BERLIN).expect("a schedule");
    assert_eq!(hourly.between(utc("2026-10-24T22:00:00"), utc("2026-10-25T23:00:00"), 100).count, 25);
    let hours: Vec<WallTime> =
        std::iter::successors(hourly.next_after(utc("2026-10-24T23:30:00")), |last| hourly.next_after(*last)).take(3).collect();
    assert_eq!(hours, [utc("2026-10-25T00:00:00"), utc("2026-10-25T01:00:00"), utc("2026-10-25T02:00:00")]);
}

#[test]
fn what_was_due_is_counted_as_far_as_asked_and_its_newest_is_known() {
    let due = |cron: &str, after: &str, until: &str, most| Cron::parse(cron, "UTC").expect(cron).between(utc(after), utc(until), most);
    let newest = |time: &str| Some(utc(time));
    assert_eq!(due("@daily", "2026-12-01T00:00:00", "2026-12-04T00:00:00", 10), Due { count: 3, newest: newest("2026-12-04T00:00:00") });
    assert_eq!(due("@daily", "2026-12-01T00:00:00", "2026-12-03T23:59:59", 2), Due { count: 2, newest: newest("2026-12-03T00:00:00") });
    assert_eq!(due("* * * * *", "2016-01-01T00:00:00", "2026-12-03T10:20:30", 5), Due { count: 5, newest: newest("2026-12-03T10:20:00") });
    assert_eq!(due("* 3 1 1 *", "2016-01-01T00:00:00", "2026-12-03T10:20:30", 1), Due { count: 1, newest: newest("2026-01-01T03:59:00") });
    assert_eq!(due("0 0 29 2 *", "2016-01-01T00:00:00", "2026-12-03T00:00:00", 1), Due { count: 1, newest: newest("2024-02-29T00:00:00") });
    assert_eq!(due("@daily", "2026-12-01T00:00:00", "2026-12-01T23:00:00", 10), Due::default());
    assert_eq!(due("@daily", "2026-12-01T00:00:00", "2026-12-03T00:00:00", 0), Due { count: 0, newest: newest("2026-12-03T00:00:00") });
}

#[test]
fn a_clock_that_went_back_makes_nothing_due() {
    let hourly = Cron::parse("@hourly", BERLIN).expect("a schedule");
    assert_eq!(hourly.between(utc("2026-12-04T00:00:00"), utc("2026-12-03T00:00:00"), 10), Due::default());
    assert_eq!(hourly.between(WallTime(i64::MAX), WallTime(i64::MIN), 10), Due::default());
    for extreme in [i64::MIN, -1, i64::MAX] {
        let wall = WallTime(extreme);
        assert!(hourly.next_after(wall).is_none_or(|next| next > wall));
        assert!(Cron::parse("5 4 * * *", BERLIN).expect("a schedule").next_after(wall).is_none_or(|next| next > wall));
    }
    assert_eq!(hourly.between(WallTime(i64::MIN), WallTime(i64::MAX), 3).count, 3);
}

#[test]
fn schedules_that_are_none_are_told_in_words() {
    for (cron, expected) in [
        ("0 0 31 2 *", "`0 0 31 2 *` never comes: there is no such day"),
        ("0 0 30 2 *", "`0 0 30 2 *` never comes: there is no such day"),
        ("0 0 31 4,6,9,11 *", "`0 0 31 4,6,9,11 *` never comes: there is no such day"),
        ("", "`` has 0 of the five fields of a schedule: minute, hour, day of the month, month, day of the week"),
        ("0 2 * *", "`0 2 * *` has 4 of the five fields of a schedule: minute, hour, day of the month, month, day of the week"),
        (
            "0 0 2 * * *",
            "`0 0 2 * * *` has 6 fields, and a schedule has five, without seconds and years: minute, hour, day of the month, month, day of the week",
        ),
        ("60 2 * * *", "`60` does not fit the minute: it is 0 to 59, a list 1,2, a range 1-5, a step */2, or *"),
        ("0 24 * * *", "`24` does not fit the hour: it is 0 to 23, a list 1,2, a range 1-5, a step */2, or *"),
        ("0 2 0 * *", "`0` does not fit the day of the month: it is 1 to 31, a list 1,2, a range 1-5, a step */2, or *"),
        ("0 2 * foo *", "`foo` does not fit the month: it is 1 to 12 or JAN to DEC, a list 1,2, a range 1-5, a step */2, or *"),
        ("0 2 * * 8", "`8` does not fit the day of the week: it is 0 to 7 or SUN to SAT, a list 1,2, a range 1-5, a step */2, or *"),
        ("@dayly", "there is no schedule `@dayly`: did you mean @daily?"),
        ("@reboot", "there is no schedule `@reboot`: there are @hourly, @daily, @midnight, @weekly, @monthly, @yearly, @annually"),
    ] {
        assert_eq!(wrong(cron), expected, "{cron}");
    }
    assert!(wrong(&"1,".repeat(100_000)).contains("longer than 512 bytes"));
}

#[test]
fn zones_that_are_none_are_told_with_what_was_meant() {
    for (zone, expected) in [
        ("Europe/Berln", "there is no time zone `Europe/Berln`: did you mean Europe/Berlin?"),
        ("europe/berlin", "there is no time zone `europe/berlin`: did you mean Europe/Berlin?"),
        ("Berlin", "there is no time zone `Berlin`: did you mean Europe/Berlin?"),
        ("utc", "there is no time zone `utc`: did you mean UTC?"),
        ("somewhere else entirely", "there is no time zone `somewhere else entirely`: write one such as Europe/Berlin or UTC"),
        ("Etc/Unknown", "there is no time zone `Etc/Unknown`: write one such as Europe/Berlin or UTC"),
    ] {
        assert_eq!(check_zone(zone).expect_err(zone).message, expected);
    }
    for zone in ["UTC", BERLIN, "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe"] {
        assert_eq!(check_zone(zone), Ok(()), "{zone}");
    }
    assert!(check_zone(&"x".repeat(100_000)).is_err());
}

fn window(days: &[&str], from: &str, to: &str) -> Window {
    Window::new(days, from, to, BERLIN).expect("a window")
}

fn open(closes: &str) -> WindowState {
    WindowState::Open { closes: utc(closes) }
}

fn closed(opens: &str) -> WindowState {
    WindowState::Closed { opens: Some(utc(opens)) }
}

/// 30 November 2026 is a Monday; Berlin is an hour ahead.
#[test]
fn windows_open_and_close() {
    let office = window(&["mon", "wed"], "09:00", "17:30");
    assert_eq!(office.at(utc("2026-11-30T07:59:59")), closed("2026-11-30T08:00:00"));
    assert_eq!(office.at(utc("2026-11-30T08:00:00")), open("2026-11-30T16:30:00"));
    assert_eq!(office.at(utc("2026-11-30T16:29:59")), open("2026-11-30T16:30:00"));
    assert_eq!(office.at(utc("2026-11-30T16:30:00")), closed("2026-12-02T08:00:00"));
    assert_eq!(office.at(utc("2026-12-03T00:00:00")), closed("2026-12-07T08:00:00"));
}

#[test]
fn a_window_over_midnight_belongs_to_the_day_it_begins_on() {
    let night = window(&["fri"], "22:00", "06:00");
    assert_eq!(night.at(utc("2026-12-04T03:00:00")), closed("2026-12-04T21:00:00"));
    assert_eq!(night.at(utc("2026-12-04T22:00:00")), open("2026-12-05T05:00:00"));
    assert_eq!(night.at(utc("2026-12-05T04:59:59")), open("2026-12-05T05:00:00"));
    assert_eq!(night.at(utc("2026-12-05T05:00:00")), closed("2026-12-11T21:00:00"));
    assert_eq!(night.at(utc("2026-12-05T22:00:00")), closed("2026-12-11T21:00:00"));
    // Over the end of a year, a Thursday.
    let year = window(&["thu"], "22:00", "06:00");
    assert_eq!(year.at(utc("2027-01-01T03:00:00")), open("2027-01-01T05:00:00"));
}

#[test]
fn windows_that_touch_are_one() {
    let weekend = window(&["sat", "sun"], "00:00", "24:00");
    assert_eq!(weekend.at(utc("2026-12-05T12:00:00")), open("2026-12-06T23:00:00"));
    assert_eq!(weekend.at(utc("2026-12-06T23:00:00")), closed("2026-12-11T23:00:00"));
    let always = window(&[], "00:00", "24:00");
    assert!(matches!(always.at(utc("2026-12-05T12:00:00")), WindowState::Open { closes } if closes > utc("2026-12-15T00:00:00")));
    let every_night = window(&[], "22:00", "06:00");
    assert_eq!(every_night.at(utc("2026-12-05T12:00:00")), closed("2026-12-05T21:00:00"));
    assert_eq!(every_night.at(utc("2026-12-06T00:00:00")), open("2026-12-06T05:00:00"));
}

#[test]
fn windows_follow_the_clocks_when_they_change() {
    let night = window(&[], "22:00", "06:00");
    // Seven hours on the short day, nine on the long one.
    assert_eq!(night.at(utc("2026-03-28T21:00:00")), open("2026-03-29T04:00:00"));
    assert_eq!(night.at(utc("2026-10-24T20:00:00")), open("2026-10-25T05:00:00"));
    // Within the hour that is left out: begins when it is over, or is not there at all.
    let late = window(&[], "02:30", "03:15");
    assert_eq!(late.at(utc("2026-03-29T00:59:59")), closed("2026-03-29T01:00:00"));
    assert_eq!(late.at(utc("2026-03-29T01:00:00")), open("2026-03-29T01:15:00"));
    let swallowed = window(&["sun"], "02:10", "02:40");
    assert_eq!(swallowed.at(utc("2026-03-29T00:00:00")), closed("2026-04-05T00:10:00"));
    // Within the hour that comes twice: the first time only.
    let doubled = window(&["sun"], "02:10", "02:40");
    assert_eq!(doubled.at(utc("2026-10-25T00:10:00")), open("2026-10-25T00:40:00"));
    assert_eq!(doubled.at(utc("2026-10-25T01:20:00")), closed("2026-11-01T01:10:00"));
}

#[test]
fn windows_that_are_none_are_told_in_words() {
    for (days, from, to, expected) in [
        (&["monday"][..], "22:00", "06:00", "`monday` is no day, of mon to sun: did you mean mon?"),
        (&["Tue"], "22:00", "06:00", "`Tue` is no day, of mon to sun: did you mean tue?"),
        (&["xyz"], "22:00", "06:00", "`xyz` is no day, of mon to sun"),
        (&[], "25:00", "06:00", "`25:00` is not a time of day: write for example 06:30 or 22:00"),
        (&[], "22:00", "6:00", "`6:00` is not a time of day: write for example 06:30 or 22:00"),
        (&[], "22", "06:00", "`22` is not a time of day: write for example 06:30 or 22:00"),
        (&[], "24:00", "06:00", "a window cannot begin at 24:00: write 00:00, and the day after"),
        (&[], "06:00", "06:00", "a window that ends when it begins is always or never: a whole day is 00:00 to 24:00"),
    ] {
        assert_eq!(Window::new(days, from, to, "UTC").expect_err(from).message, expected);
    }
}

#[test]
fn freezes_hold_from_the_first_to_the_last_day() {
    let frozen = |freeze: &Freeze, now: &str| freeze.at(utc(now));
    let days = Freeze::new("2026-12-20", "2027-01-03", BERLIN).expect("a freeze");
    let until = utc("2027-01-03T23:00:00");
    assert_eq!(frozen(&days, "2026-12-19T22:59:59"), FreezeState::Clear { next: Some(utc("2026-12-19T23:00:00")) });
    assert_eq!(frozen(&days, "2026-12-19T23:00:00"), FreezeState::Frozen { until });
    assert_eq!(frozen(&days, "2027-01-03T22:59:59"), FreezeState::Frozen { until });
    assert_eq!(frozen(&days, "2027-01-03T23:00:00"), FreezeState::Clear { next: None });
    let hours = Freeze::new("2026-12-20T18:00", "2026-12-20T20:30", BERLIN).expect("a freeze");
    assert_eq!(frozen(&hours, "2026-12-20T17:00:00"), FreezeState::Frozen { until: utc("2026-12-20T19:30:00") });
    assert_eq!(frozen(&hours, "2026-12-20T19:30:00"), FreezeState::Clear { next: None });
    // It ends with the second of two hours, and a day that is given is whole.
    let long = Freeze::new("2026-10-25T02:30", "2026-10-25T02:45", BERLIN).expect("a freeze");
    assert_eq!(frozen(&long, "2026-10-25T00:30:00"), FreezeState::Frozen { until: utc("2026-10-25T01:45:00") });
    let one = Freeze::new("2026-10-25", "2026-10-25T24:00", BERLIN).expect("a freeze");
    assert_eq!(frozen(&one, "2026-10-25T22:59:59"), FreezeState::Frozen { until: utc("2026-10-25T23:00:00") });
}

#[test]
fn freezes_that_are_none_are_told_in_words() {
    for (from, to, expected) in [
        ("2026-12-20", "2026-12-19", "a freeze from 2026-12-20 to 2026-12-19 ends before it begins"),
        ("2026-12-20T18:00", "2026-12-20T18:00", "a freeze from 2026-12-20T18:00 to 2026-12-20T18:00 ends before it begins"),
        ("2026-02-30", "2026-03-01", "there is no day `2026-02-30`"),
        ("20.12.2026", "2026-12-24", "`20.12.2026` is not a day: write for example 2026-12-20 or 2026-12-20T18:00"),
        ("2026-12-20 18:00", "2026-12-24", "`2026-12-20 18:00` is not a day: write for example 2026-12-20 or 2026-12-20T18:00"),
        ("2026-12-20T6pm", "2026-12-24", "`6pm` is not a time of day: write for example 06:30 or 22:00"),
        ("2026-12-20T24:00", "2026-12-24", "a freeze cannot begin at 24:00: write the day after"),
    ] {
        assert_eq!(Freeze::new(from, to, "UTC").expect_err(from).message, expected);
    }
}

#[test]
fn people_read_local_time() {
    assert_eq!(local(utc("2024-12-02T05:00:00"), BERLIN), "Mon 2 Dec 06:00 Europe/Berlin");
    assert_eq!(local(utc("2024-07-02T05:00:00"), BERLIN), "Tue 2 Jul 07:00 Europe/Berlin");
    assert_eq!(local(utc("2024-07-02T05:00:00"), "Nowhere"), "Tue 2 Jul 05:00 UTC");
}

fn zones() -> Vec<String> {
    TimeZoneDatabase::bundled().available().map(|name| name.as_str().to_owned()).filter(|name| name != "Etc/Unknown").collect()
}

proptest! {
    /// In every zone of the world and at any time, a daily schedule goes on: by a day, and by the change of a clock at most.
    #[test]
    fn a_daily_schedule_fires_every_day(zone in prop::sample::select(zones()), minute in 0..60u32, hour in 0..24u32, now in 1_735_689_600..2_524_608_000i64) {
        let cron = Cron::parse(&format!("{minute} {hour} * * *"), &zone).expect("a schedule");
        let now = WallTime(now * 1_000);
        let first = cron.next_after(now).expect("a time");
        let second = cron.next_after(first).expect("a time");
        let hours = |from: WallTime, to: WallTime| (to.0 - from.0) as f64 / 3_600_000.0;
        prop_assert!(hours(now, first) > 0.0 && hours(now, first) <= 26.0, "{zone} {now:?} {first:?}");
        prop_assert!((21.0..=27.0).contains(&hours(first, second)), "{zone} {first:?} {second:?}");
        prop_assert_eq!(cron.between(now, second, 1), Due { count: 1, newest: Some(second) });
    }

    #[test]
    fn an_hourly_schedule_never_rests(zone in prop::sample::select(zones()), now in 1_735_689_600..2_524_608_000i64) {
        let cron = Cron::parse("@hourly", &zone).expect("a schedule");
        let now = WallTime(now * 1_000);
        let first = cron.next_after(now).expect("a time");
        prop_assert!(first > now && first.0 - now.0 <= 5_400_000, "{zone} {now:?} {first:?}");
    }

    /// What a window says of itself holds at the moment it names.
    #[test]
    fn a_window_keeps_its_word(
        zone in prop::sample::select(zones()),
        days in prop::sample::subsequence(vec!["mon", "tue", "wed", "thu", "fri", "sat", "sun"], 1..7),
        from in (0..24u32, 0..60u32), to in (0..24u32, 0..60u32),
        now in 1_735_689_600..2_524_608_000i64,
    ) {
        prop_assume!(from != to);
        let text = |(hour, minute): (u32, u32)| format!("{hour:02}:{minute:02}");
        let window = Window::new(&days, &text(from), &text(to), &zone).expect("a window");
        let now = WallTime(now * 1_000);
        match window.at(now) {
            WindowState::Open { closes } => {
                prop_assert!(closes > now);
                prop_assert_eq!(window.at(WallTime(closes.0 - 1)), WindowState::Open { closes });
                let after = window.at(closes);
                prop_assert!(matches!(after, WindowState::Closed { .. }), "{} {:?}", zone, closes);
            }
            WindowState::Closed { opens } => {
                let opens = opens.expect("it opens again");
                prop_assert!(opens > now);
                prop_assert_eq!(window.at(WallTime(opens.0 - 1)), WindowState::Closed { opens: Some(opens) });
                let then = window.at(opens);
                prop_assert!(matches!(then, WindowState::Open { .. }), "{} {:?}", zone, opens);
            }
        }
    }

    #[test]
    fn no_text_makes_it_panic(cron in "[0-9*/,LW#@a-zA-Z?+ -]{0,30}", text in any::<String>(), now in any::<i64>()) {
        for cron in [cron.as_str(), &text] {
            if let Ok(cron) = Cron::parse(cron, "Europe/Berlin") {
                prop_assert!(cron.next_after(WallTime(now)).is_none_or(|next| next.0 > now));
            }
        }
        let _ = (Window::new(&[&text], &text, &cron, "UTC"), Freeze::new(&text, &cron, "UTC"));
    }
}

proptest! {
    // Looking for what was meant compares with every zone there is.
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn no_zone_makes_it_panic(zone in prop_oneof!["[A-Za-z/_]{0,20}", any::<String>()], now in any::<i64>()) {
        let _ = check_zone(&zone);
        prop_assert!(!local(WallTime(now), &zone).is_empty());
    }
}
