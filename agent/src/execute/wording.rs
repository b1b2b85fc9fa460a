//! Quantities in the words of a message.

use mainstay_core::Millis;

/// Bytes in the largest unit that leaves a digit before the point: `1.1 GiB`.
#[must_use]
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    // What would be rounded to 1024 is one of the next unit.
    while value >= 1_023.5 && unit + 1 < UNITS.len() {
        value /= 1_024.0;
        unit += 1;
    }
    if unit == 0 || value >= 99.95 { format!("{value:.0} {}", UNITS[unit]) } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// A rough length of time in one unit: `40 s`, `12 min`, `9 h`, `3 d`.
#[must_use]
pub fn span(span: Millis) -> String {
    let seconds = span.0.div_euclid(1_000);
    match seconds {
        0 => format!("{} ms", span.0),
        1..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", (seconds + 30) / 60),
        7_200..172_800 => format!("{} h", (seconds + 1_800) / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// A length of time that is known in whole seconds only.
#[must_use]
pub fn seconds(seconds: f64) -> String {
    if seconds < 1.0 { "under 1 s".to_owned() } else { span(Millis((seconds * 1_000.0) as u64)) }
}

/// A time that something took: `0.31 ms`, `12 ms`, `1.2 s`.
#[must_use]
pub fn milliseconds(ms: f64) -> String {
    match ms {
        ..9.95 => format!("{ms:.2} ms"),
        ..999.5 => format!("{ms:.0} ms"),
        _ => format!("{:.1} s", ms / 1_000.0),
    }
}

/// A percentage as short as it is still telling: small ones keep a digit.
#[must_use]
pub fn percent(value: f64) -> String {
    if value > 0.0 && value < 0.01 {
        "under 0.01 %".to_owned()
    } else if value < 0.995 && value > 0.0 {
        format!("{value:.2} %")
    } else if value < 9.95 && value > 0.0 {
        format!("{value:.1} %")
    } else {
        // 99.6 % is not full.
        let whole = if value < 100.0 { value.round().min(99.0) } else { value.round() };
        format!("{whole:.0} %")
    }
}

/// `1 line`, `2 lines`, `1,234 lines`.
#[must_use]
pub fn count(n: u64, one: &str, many: &str) -> String {
    format!("{} {}", grouped(n), if n == 1 { one } else { many })
}

/// A text as one word of a shell's command line, for a command that somebody will paste: names of files and
/// mounts are not always chosen by friends.
#[must_use]
pub fn quoted(text: &str) -> String {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'.' | b'_' | b'-' | b'+' | b':' | b'@' | b'%' | b',' | b'=');
    if !text.is_empty() && !text.starts_with('-') && text.bytes().all(is_plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
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
        for (n, text) in [
            (0, "0 B"),
            (1_023, "1023 B"),
            (1_181_116_006, "1.1 GiB"),
            (1 << 20, "1.0 MiB"),
            ((1 << 20) - 1, "1.0 MiB"),
            (500 << 20, "500 MiB"),
            (u64::MAX, "16384 PiB"),
        ] {
            assert_eq!(bytes(n), text);
        }
        for (ms, text) in [(900, "900 ms"), (40_000, "40 s"), (119_999, "119 s"), (720_000, "12 min"), (32_400_000, "9 h"), (259_200_000, "3 d")] {
            assert_eq!(span(Millis(ms)), text);
        }
        for (value, text) in
            [(0.0, "0 %"), (0.001, "under 0.01 %"), (0.5, "0.50 %"), (4.25, "4.2 %"), (96.4, "96 %"), (99.7, "99 %"), (100.0, "100 %")]
        {
            assert_eq!(percent(value), text);
        }
        for (ms, text) in [(0.312, "0.31 ms"), (12.4, "12 ms"), (999.7, "1.0 s"), (1_234.0, "1.2 s")] {
            assert_eq!(milliseconds(ms), text);
        }
        for (text, word) in [
            ("/var/log/a.log", "/var/log/a.log"),
            ("/a b", "'/a b'"),
            ("x;rm -rf ~", "'x;rm -rf ~'"),
            ("it's", r"'it'\''s'"),
            ("-x", "'-x'"),
            ("", "''"),
        ] {
            assert_eq!(quoted(text), word);
        }
        assert_eq!([count(1, "line", "lines"), count(1_234_567, "line", "lines")], ["1 line", "1,234,567 lines"]);
    }
}
