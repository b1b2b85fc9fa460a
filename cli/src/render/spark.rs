//! A small plot of earlier values.

const BARS: [char; 5] = ['▁', '▂', '▃', '▅', '▇'];

/// The last values, at most `width` of them, between the lowest and the highest shown. Percentages are drawn
/// with at least ten points between lowest and highest, so that noise does not look like a mountain.
#[must_use]
pub fn spark(history: &[f64], unit: &str, width: usize) -> String {
    let values: Vec<f64> = history.iter().copied().filter(|value| value.is_finite()).collect();
    if values.len() < 2 || width == 0 {
        return String::new();
    }
    let shown = &values[values.len().saturating_sub(width)..];
    let (low, high) = shown.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), &value| (low.min(value), high.max(value)));
    let least = if unit == "%" { 10.0 } else { 0.0 };
    let range = (high - low).max(least);
    shown
        .iter()
        .map(|value| {
            let share = if range > 0.0 { (value - low) / range } else { 0.0 };
            BARS[((share * BARS.len() as f64) as usize).min(BARS.len() - 1)]
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plot_spans_its_own_values() {
        assert_eq!(spark(&[1.0, 2.0, 3.0, 4.0, 5.0], "", 8), "▁▂▃▅▇");
        assert_eq!(spark(&[0.0, 0.0, 0.0, 9.0], "", 8), "▁▁▁▇");
        assert_eq!(spark(&[1.0, 2.0, 3.0, 4.0, 5.0], "", 2), "▁▇");
    }

    #[test]
    fn noise_stays_flat_and_nothing_is_drawn_of_nothing() {
        assert_eq!(spark(&[41.0, 41.5, 41.2], "%", 8), "▁▁▁");
        assert_eq!(spark(&[7.0, 7.0], "", 8), "▁▁");
        assert_eq!(spark(&[1.0], "", 8), "");
        assert_eq!(spark(&[f64::NAN, 1.0], "", 8), "");
    }
}
