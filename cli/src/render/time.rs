//! Points in time as people read them: how long ago, or the local time of day.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use mainstay_core::WallTime;

use super::units;

/// `just now`, `4m ago`, `3h ago`, `5d ago`; a dash where there is no time.
#[must_use]
pub fn ago(unix_ms: i64, now: WallTime) -> String {
    if unix_ms == 0 {
        return "–".to_owned();
    }
    let seconds = (now.0 - unix_ms).max(0) / 1_000;
    match seconds {
        0..10 => "just now".to_owned(),
        10..120 => format!("{seconds}s ago"),
        120..7_200 => format!("{}m ago", seconds / 60),
        7_200..172_800 => format!("{}h ago", seconds / 3_600),
        _ => format!("{}d ago", seconds / 86_400),
    }
}

/// The time of day today, the date as well on any other day.
#[must_use]
pub fn local(unix_ms: i64, now: WallTime, zone: &TimeZone) -> String {
    let (Ok(time), Ok(now)) = (Timestamp::from_millisecond(unix_ms), Timestamp::from_millisecond(now.0)) else {
        return "–".to_owned();
    };
    if unix_ms == 0 {
        return "–".to_owned();
    }
    let (time, now) = (time.to_zoned(zone.clone()), now.to_zoned(zone.clone()));
    if time.date() == now.date() { time.strftime("%H:%M:%S").to_string() } else { time.strftime("%Y-%m-%d %H:%M").to_string() }
}

/// How long something has gone on that began then.
#[must_use]
pub fn since(unix_ms: i64, now: WallTime) -> String {
    units::duration_ms(u64::try_from(now.0 - unix_ms).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: WallTime = WallTime(1_764_590_400_000); // 2025-12-01 12:00:00 UTC

    #[test]
    fn ages_have_one_unit() {
        let cases =
            [(3_000, "just now"), (42_000, "42s ago"), (252_000, "4m ago"), (10_800_000, "3h ago"), (432_000_000, "5d ago"), (-5_000, "just now")];
        for (ms, text) in cases {
            assert_eq!(ago(NOW.0 - ms, NOW), text);
        }
        assert_eq!(ago(0, NOW), "–");
    }

    #[test]
    fn today_needs_no_date() {
        let zone = TimeZone::get("Europe/Berlin").unwrap_or(TimeZone::UTC);
        let hour = if zone == TimeZone::UTC { "11" } else { "12" };
        assert_eq!(local(NOW.0 - 3_600_000, NOW, &zone), format!("{hour}:00:00"));
        assert_eq!(local(NOW.0 - 86_400_000, NOW, &TimeZone::UTC), "2025-11-30 12:00");
        assert_eq!(local(0, NOW, &zone), "–");
    }
}
