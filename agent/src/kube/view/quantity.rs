//! Amounts as Kubernetes writes them: `1930m`, `8Gi`, `0.5`, `1e3`. What is none counts as nothing.

/// Thousandths of one.
#[must_use]
pub fn milli(text: &str) -> u64 {
    (amount(text) * 1_000.0).round() as u64
}

/// Whole ones, rounded up.
#[must_use]
pub fn whole(text: &str) -> u64 {
    // Without what a fraction of ten leaves behind its last digit.
    (amount(text) - 1e-6).ceil() as u64
}

fn amount(text: &str) -> f64 {
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let factor = match unit {
        "n" => 1e-9,
        "u" => 1e-6,
        "m" => 1e-3,
        "" => 1.0,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "E" => 1e18,
        "Ki" => (1_u64 << 10) as f64,
        "Mi" => (1_u64 << 20) as f64,
        "Gi" => (1_u64 << 30) as f64,
        "Ti" => (1_u64 << 40) as f64,
        "Pi" => (1_u64 << 50) as f64,
        "Ei" => (1_u64 << 60) as f64,
        // `1e3`, `5E-2`
        exponent => return text.parse().ok().filter(|_| exponent.starts_with(['e', 'E'])).unwrap_or(0.0),
    };
    number.parse::<f64>().map_or(0.0, |number| number * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_in_all_their_forms() {
        for (text, thousandths, ones) in [
            ("2", 2_000, 2),
            ("1930m", 1_930, 2),
            ("0.1", 100, 1),
            ("100m", 100, 1),
            ("128974848", 128_974_848_000, 128_974_848),
            ("129e6", 129_000_000_000, 129_000_000),
            ("123Mi", 128_974_848_000, 128_974_848),
            ("8Gi", 8_589_934_592_000, 8 << 30),
            ("1k", 1_000_000, 1_000),
            ("500u", 1, 1),
            ("", 0, 0),
            ("-1", 0, 0),
            ("many", 0, 0),
            ("1x", 0, 0),
        ] {
            assert_eq!((milli(text), whole(text)), (thousandths, ones), "{text}");
        }
    }
}
