//! Quantities as people read them.

/// A value with its unit: `96 %`, `1.1 GiB`, `12 days`, `250 ms`, `1,204`.
#[must_use]
pub fn quantity(value: f64, unit: &str) -> String {
    match unit {
        "%" => format!("{} %", short(value)),
        "B" => bytes(value),
        "d" if value.floor() == 1.0 => "1 day".to_owned(),
        "d" => format!("{} days", short(value.floor())),
        "s" => duration_ms((value * 1_000.0).max(0.0) as u64),
        "ms" if value >= 1_000.0 => format!("{:.1} s", value / 1_000.0),
        "ms" => format!("{value:.0} ms"),
        "" => grouped(value),
        other => format!("{} {other}", short(value)),
    }
}

/// A threshold: as [`quantity`], with units cut short to fit a narrow column.
#[must_use]
pub fn limit(value: f64, unit: &str) -> String {
    match unit {
        "d" => format!("{} d", short(value)),
        other => quantity(value, other),
    }
}

/// Bytes in the largest unit that leaves a digit before the point.
#[must_use]
pub fn bytes(value: f64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let (mut value, mut unit) = (value, 0);
    while value.abs() >= 1_023.5 && unit + 1 < UNITS.len() {
        value /= 1_024.0;
        unit += 1;
    }
    if unit == 0 || value.abs() >= 99.95 { format!("{value:.0} {}", UNITS[unit]) } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// How long something took: `430 ms`, `2.8 s`, `4m12s`, `9h05m`, `3d04h`.
#[must_use]
pub fn duration_ms(ms: u64) -> String {
    let seconds = ms / 1_000;
    match seconds {
        0 => format!("{ms} ms"),
        1..60 => format!("{seconds}.{} s", (ms % 1_000) / 100),
        60..3_600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h{:02}m", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

/// `1 step`, `2 steps`, `1,204 steps`.
#[must_use]
pub fn count(n: u64, one: &str, many: &str) -> String {
    format!("{} {}", grouped(n as f64), if n == 1 { one } else { many })
}

/// As few digits as still tell something.
fn short(value: f64) -> String {
    if value == 0.0 || value.abs() >= 9.95 || value.fract() == 0.0 {
        // 99.6 % is not full.
        let whole = if value > 99.0 && value < 100.0 { 99.0 } else { value.round() };
        grouped(whole)
    } else if value.abs() >= 0.995 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}").trim_end_matches('0').to_owned()
    }
}

fn grouped(value: f64) -> String {
    if value.fract() != 0.0 {
        return format!("{value:.2}");
    }
    let digits = format!("{:.0}", value.abs());
    let mut text = String::from(if value < 0.0 { "-" } else { "" });
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_read_well() {
        let cases = [
            (96.4, "%", "96 %"),
            (99.7, "%", "99 %"),
            (0.25, "%", "0.25 %"),
            (0.1, "%", "0.1 %"),
            (0.0, "%", "0 %"),
            (1_181_116_006.0, "B", "1.1 GiB"),
            (12.9, "d", "12 days"),
            (1.0, "d", "1 day"),
            (-3.0, "d", "-3 days"),
            (250.0, "ms", "250 ms"),
            (1_500.0, "ms", "1.5 s"),
            (3_700.0, "s", "1h01m"),
            (214.0, "", "214"),
            (1_204.0, "", "1,204"),
            (0.15, "", "0.15"),
        ];
        for (value, unit, text) in cases {
            assert_eq!(quantity(value, unit), text);
        }
        assert_eq!([limit(30.0, "d"), limit(90.0, "%"), limit(1.0, "")], ["30 d", "90 %", "1"]);
    }

    #[test]
    fn durations_have_two_parts_at_most() {
        let cases = [(0, "0 ms"), (430, "430 ms"), (2_840, "2.8 s"), (252_000, "4m12s"), (32_700_000, "9h05m"), (273_600_000, "3d04h")];
        for (ms, text) in cases {
            assert_eq!(duration_ms(ms), text);
        }
        assert_eq!([count(1, "step", "steps"), count(1_204, "step", "steps")], ["1 step", "1,204 steps"]);
    }
}
