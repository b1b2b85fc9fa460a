//! Stands in for the published crate of this name, which openraft counts its batches with.
//!
//! That one makes tables for all of its sixteen resolutions when the first histogram is made, 27 MiB of
//! which a member never reads; a coordinator at rest is to stay below 40 MiB as a whole. This one has what
//! openraft uses of it, counts by powers of two, and needs half a KiB a histogram. It goes away when the
//! published crate makes only the table that is asked for.

use std::fmt;
use std::marker::PhantomData;

/// One bucket for each power of two, and one for zero.
const BUCKETS: usize = u64::BITS as usize + 1;

/// How often values of each size were seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Histogram<T = ()> {
    counts: Box<[u64; BUCKETS]>,
    _data: PhantomData<T>,
}

impl<T> Default for Histogram<T> {
    fn default() -> Histogram<T> {
        Histogram::new()
    }
}

impl<T> Histogram<T> {
    #[must_use]
    pub fn new() -> Histogram<T> {
        Histogram { counts: Box::new([0; BUCKETS]), _data: PhantomData }
    }

    pub fn record(&mut self, value: u64) {
        self.record_n(value, 1);
    }

    pub fn record_n(&mut self, value: u64, count: u64) {
        let bucket = (u64::BITS - value.leading_zeros()) as usize;
        self.counts[bucket] = self.counts[bucket].saturating_add(count);
    }

    /// Values seen.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// A value that this share of all values do not exceed, rounded down to a power of two; 0 without any.
    #[must_use]
    pub fn percentile(&self, share: f64) -> u64 {
        let rank = (self.total() as f64 * share).ceil().max(1.0) as u64;
        let mut seen = 0_u64;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen = seen.saturating_add(*count);
            if seen >= rank {
                return if bucket == 0 { 0 } else { 1 << (bucket - 1) };
            }
        }
        0
    }

    #[must_use]
    pub fn percentile_stats(&self) -> PercentileStats {
        PercentileStats {
            samples: self.total(),
            p0_1: self.percentile(0.001),
            p1: self.percentile(0.01),
            p5: self.percentile(0.05),
            p10: self.percentile(0.1),
            p50: self.percentile(0.5),
            p90: self.percentile(0.9),
            p99: self.percentile(0.99),
            p99_9: self.percentile(0.999),
        }
    }
}

/// A histogram in nine numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PercentileStats {
    pub samples: u64,
    pub p0_1: u64,
    pub p1: u64,
    pub p5: u64,
    pub p10: u64,
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub p99_9: u64,
}

impl fmt::Display for PercentileStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} samples, p50 {}, p90 {}, p99 {}, p99.9 {}", self.samples, self.p50, self.p90, self.p99, self.p99_9)
    }
}

/// Several histograms, one below the other.
#[derive(Debug, Clone, Default)]
pub struct AsciiChart {
    lines: Vec<(String, PercentileStats)>,
}

impl AsciiChart {
    #[must_use]
    pub fn new() -> AsciiChart {
        AsciiChart::default()
    }

    #[must_use]
    pub fn add(mut self, name: impl Into<String>, histogram: Histogram) -> AsciiChart {
        self.lines.push((name.into(), histogram.percentile_stats()));
        self
    }
}

impl fmt::Display for AsciiChart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines.iter().try_for_each(|(name, stats)| writeln!(f, "{name}: {stats}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_powers_of_two() {
        let mut histogram: Histogram = Histogram::new();
        assert_eq!(histogram.percentile_stats(), PercentileStats::default());
        for value in 1..=1_000 {
            histogram.record(value);
        }
        histogram.record_n(0, 0);
        let stats = histogram.percentile_stats();
        assert_eq!((stats.samples, stats.p0_1, stats.p50, stats.p99_9), (1_000, 1, 256, 512));
        histogram.record(u64::MAX);
        assert_eq!(histogram.percentile(1.0), 1 << 63);
    }
}
