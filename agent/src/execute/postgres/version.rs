//! `postgres.version`: which version runs, and whether it still gets fixes.

use mainstay_core::report::{Check, Verdict};
use mainstay_core::{Millis, WallTime};

use super::super::wording;
use super::Facts;

/// Last release of each major version, as <https://www.postgresql.org/support/versioning/> announces it.
const LAST_RELEASES: [(i32, (i16, i8, i8)); 9] = [
    (10, (2022, 11, 10)),
    (11, (2023, 11, 9)),
    (12, (2024, 11, 21)),
    (13, (2025, 11, 13)),
    (14, (2026, 11, 12)),
    (15, (2027, 11, 11)),
    (16, (2028, 11, 9)),
    (17, (2029, 11, 8)),
    (18, (2030, 11, 14)),
];

pub(super) fn check(facts: &Facts, now: WallTime) -> Check {
    let role = if facts.is_standby { "standby" } else { "primary" };
    let up = wording::span(Millis((facts.up_s.max(0.0) * 1_000.0) as u64));
    let message = format!("PostgreSQL {}, {role}, up {up}", facts.version);
    let ended = match last_release(facts.major()) {
        Some(Last::On(date)) => unix_ms(date).is_some_and(|end| now.0 >= end).then(|| format!("since {:04}-{:02}-{:02}", date.0, date.1, date.2)),
        Some(Last::LongAgo) => Some("for years".to_owned()),
        None => None,
    };
    match ended {
        None => Check::stated("postgres.version", "", Verdict::Ok, message),
        Some(when) => {
            Check::stated("postgres.version", "", Verdict::Warning, format!("{message}; version {} has had no fixes {when}", facts.major()))
                .with_hint("upgrade to a supported version: https://www.postgresql.org/support/versioning/")
        }
    }
}

enum Last {
    On((i16, i8, i8)),
    LongAgo,
}

/// Nothing for a version that is newer than this table.
fn last_release(major: i32) -> Option<Last> {
    match LAST_RELEASES.iter().find(|(known, _)| *known == major) {
        Some((_, date)) => Some(Last::On(*date)),
        None if major < LAST_RELEASES[0].0 => Some(Last::LongAgo),
        None => None,
    }
}

fn unix_ms((year, month, day): (i16, i8, i8)) -> Option<i64> {
    let date = jiff::civil::Date::new(year, month, day).ok()?;
    Some(date.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_without_fixes_is_a_warning() {
        // 2026-11-24
        let now = WallTime(1_795_478_400_000);
        let seen = |version_number: i32, version: &str| {
            let facts = Facts { version_number, version: version.into(), up_s: 86_400.0 * 3.0, ..Facts::default() };
            let check = check(&facts, now);
            (check.verdict, check.message)
        };
        assert_eq!(seen(150_014, "15.14 (Debian)"), (Verdict::Ok, "PostgreSQL 15.14 (Debian), primary, up 3 d".into()));
        assert_eq!(
            seen(140_020, "14.20"),
            (Verdict::Warning, "PostgreSQL 14.20, primary, up 3 d; version 14 has had no fixes since 2026-11-12".into())
        );
        assert_eq!(seen(90_624, "9.6.24").0, Verdict::Warning);
        assert_eq!(seen(190_000, "19beta1").0, Verdict::Ok);
    }
}
