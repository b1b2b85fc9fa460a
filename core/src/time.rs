//! The two clocks, as values.
//!
//! [`MeshTime`] is what deadlines, TTLs and backoff use: it moves only while the mesh has a leader and
//! never looks at a wall clock. [`WallTime`] is what people and certificates use: it may go back.

use std::fmt;
use std::ops::Add;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Milliseconds of mesh time since the mesh was formed. Never goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct MeshTime(pub u64);

/// Milliseconds since the Unix epoch by a member's wall clock. May go back; decides no lease and no timeout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct WallTime(pub i64);

/// A length of time in milliseconds. Written as `500ms`, `90s`, `5m`, `2h`, `30d`, or joined: `1h30m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Millis(pub u64);

impl MeshTime {
    /// How long ago `earlier` was; zero when it lies ahead.
    #[must_use]
    pub fn since(self, earlier: MeshTime) -> Millis {
        Millis(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Millis> for MeshTime {
    type Output = MeshTime;
    fn add(self, by: Millis) -> MeshTime {
        MeshTime(self.0.saturating_add(by.0))
    }
}

impl Millis {
    pub const ZERO: Millis = Millis(0);

    #[must_use]
    pub const fn from_secs(secs: u64) -> Millis {
        Millis(secs.saturating_mul(1_000))
    }

    #[must_use]
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1_000.0
    }

    #[must_use]
    pub fn as_duration(self) -> std::time::Duration {
        std::time::Duration::from_millis(self.0)
    }
}

/// Why a text is not a length of time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a duration: write for example 500ms, 90s, 5m, 2h, 30d or 1h30m")]
pub struct DurationError(pub String);

impl FromStr for Millis {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Millis, DurationError> {
        let wrong = || DurationError(text.chars().take(64).collect());
        let mut rest = text.trim();
        if rest.is_empty() {
            return Err(wrong());
        }
        let mut total: u64 = 0;
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let number: u64 = rest[..digits].parse().map_err(|_| wrong())?;
            rest = &rest[digits..];
            let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
            let unit: u64 = match &rest[..letters] {
                "ms" => 1,
                "s" => 1_000,
                "m" => 60_000,
                "h" => 3_600_000,
                "d" => 86_400_000,
                _ => return Err(wrong()),
            };
            rest = &rest[letters..];
            total = number.checked_mul(unit).and_then(|part| total.checked_add(part)).ok_or_else(wrong)?;
        }
        Ok(Millis(total))
    }
}

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0;
        if ms < 1_000 {
            return write!(f, "{ms}ms");
        }
        let (days, hours, minutes, seconds) = (ms / 86_400_000, ms / 3_600_000 % 24, ms / 60_000 % 60, ms / 1_000 % 60);
        if days > 0 {
            write!(f, "{days}d")?;
            if hours > 0 {
                write!(f, "{hours}h")?;
            }
        } else if hours > 0 {
            write!(f, "{hours}h")?;
            if minutes > 0 {
                write!(f, "{minutes}m")?;
            }
        } else if minutes > 0 {
            write!(f, "{minutes}m")?;
            if seconds > 0 {
                write!(f, "{seconds}s")?;
            }
        } else if ms.is_multiple_of(1_000) {
            write!(f, "{seconds}s")?;
        } else {
            write!(f, "{:.1}s", ms as f64 / 1_000.0)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_parse_in_every_unit_and_joined() {
        for (text, ms) in [("500ms", 500), ("90s", 90_000), ("5m", 300_000), ("2h", 7_200_000), ("30d", 2_592_000_000), ("1h30m", 5_400_000)] {
            assert_eq!(text.parse::<Millis>(), Ok(Millis(ms)), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_duration_is_refused() {
        for text in ["", "5", "m", "5 m", "-5s", "5y", "1.5h", "99999999999999999999d", "18446744073709551615d", "5s;"] {
            assert!(text.parse::<Millis>().is_err(), "{text}");
        }
    }

    #[test]
    fn durations_print_in_the_two_largest_units() {
        for (ms, text) in [(20, "20ms"), (1_500, "1.5s"), (90_000, "1m30s"), (5_400_000, "1h30m"), (90_000_000, "1d1h")] {
            assert_eq!(Millis(ms).to_string(), text);
        }
    }
}
