//! Earlier values of one reading, in memory, and what they tell of the hours to come.
//!
//! In: values with the monotonic time at which they were seen. Out: a short plot, and the time at which a
//! growing value reaches a limit. What is kept is bounded by number; a series that is to reach further back
//! than it has room for keeps every second value of the past.

use std::collections::VecDeque;

use mainstay_core::{Millis, bounds};

/// Values kept of one series: an hour at one every ten seconds.
const CAPACITY: usize = 360;
/// A trend is told from no fewer values than this, …
const TREND_SAMPLES: usize = 12;
/// … over no shorter time, …
const TREND_SPAN_MS: u64 = 10 * 60_000;
/// … of the last hour, else of six, else of all there is, …
const TREND_WINDOWS_MS: [u64; 3] = [3_600_000, 6 * 3_600_000, u64::MAX];
/// … where a straight line explains this share of how the values differ, …
const TREND_FIT: f64 = 0.8;
/// … and looks no further ahead than this: nobody acts tonight on what happens in a month.
const TREND_AHEAD_MS: f64 = 7.0 * 86_400_000.0;

/// One value and when it was seen, in milliseconds of the host's monotonic clock.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    pub at_ms: u64,
    pub value: f64,
}

/// Earlier values, oldest first.
#[derive(Debug, Clone)]
pub struct History {
    samples: VecDeque<Sample>,
    /// How far back it is to reach.
    horizon_ms: u64,
    /// Values that come sooner after the last one are left out, so that a thinned history stays even.
    gap_ms: u64,
}

impl History {
    /// An empty history that reaches back as far as `horizon`, in coarser steps the longer that is.
    #[must_use]
    pub fn reaching(horizon: Millis) -> History {
        History { samples: VecDeque::new(), horizon_ms: horizon.0, gap_ms: 1 }
    }

    /// Adds a value. One that is not a number, or comes too soon after the last one, is left out.
    pub fn push(&mut self, at_ms: u64, value: f64) {
        if !value.is_finite() || self.samples.back().is_some_and(|last| at_ms < last.at_ms.saturating_add(self.gap_ms)) {
            return;
        }
        if self.samples.len() >= CAPACITY {
            if self.span_ms() < self.horizon_ms {
                let mut index = 0;
                self.samples.retain(|_| {
                    index += 1;
                    index % 2 == 1
                });
                // A tenth less than the new step, since values never come exactly on time.
                self.gap_ms = (self.span_ms() / self.samples.len() as u64 * 9 / 10).max(1);
            } else {
                self.samples.pop_front();
            }
        }
        self.samples.push_back(Sample { at_ms, value });
    }

    /// Time between the oldest and the newest value.
    #[must_use]
    pub fn span_ms(&self) -> u64 {
        match (self.samples.front(), self.samples.back()) {
            (Some(first), Some(last)) => last.at_ms - first.at_ms,
            _ => 0,
        }
    }

    #[must_use]
    pub fn last(&self) -> Option<Sample> {
        self.samples.back().copied()
    }

    /// At most [`bounds::CHECK_HISTORY`] values, oldest first, each the mean of those that it stands for.
    #[must_use]
    pub fn plot(&self) -> Vec<f64> {
        let groups = self.samples.len().min(bounds::CHECK_HISTORY);
        let edge = |group: usize| group * self.samples.len() / groups.max(1);
        let mean = |from: usize, to: usize| self.samples.range(from..to).map(|sample| sample.value).sum::<f64>() / (to - from) as f64;
        (0..groups).map(|group| (mean(edge(group), edge(group + 1)) * 100.0).round() / 100.0).collect()
    }

    /// How long until the value reaches `limit`, when it grows steadily: a straight line through the values of
    /// the last hour, or else of a longer time, fits, and reaches it within a week.
    #[must_use]
    pub fn time_until(&self, limit: f64) -> Option<Millis> {
        TREND_WINDOWS_MS.iter().find_map(|&window| self.line_reaches(limit, window))
    }

    fn line_reaches(&self, limit: f64, window_ms: u64) -> Option<Millis> {
        let last = self.last()?;
        let from = self.samples.partition_point(|sample| sample.at_ms.saturating_add(window_ms) < last.at_ms);
        let (start, n) = (self.samples.get(from)?.at_ms, (self.samples.len() - from) as f64);
        let span_ms = last.at_ms - start;
        if self.samples.len() - from < TREND_SAMPLES || span_ms < TREND_SPAN_MS {
            return None;
        }
        let points = || self.samples.range(from..).map(|sample| ((sample.at_ms - start) as f64, sample.value));
        let (mean_t, mean_v) = (points().map(|(t, _)| t).sum::<f64>() / n, points().map(|(_, v)| v).sum::<f64>() / n);
        let tt: f64 = points().map(|(t, _)| (t - mean_t).powi(2)).sum();
        let vv: f64 = points().map(|(_, v)| (v - mean_v).powi(2)).sum();
        let tv: f64 = points().map(|(t, v)| (t - mean_t) * (v - mean_v)).sum();
        let slope = tv / tt;
        let fit = tv * tv / (tt * vv);
        // Below this a value stands still, whatever a line says.
        let grown = slope * span_ms as f64;
        if fit.is_nan() || fit < TREND_FIT || grown < limit.abs() * 1e-4 {
            return None;
        }
        let ahead = (limit - last.value) / slope;
        (ahead > 0.0 && ahead <= TREND_AHEAD_MS).then_some(Millis(ahead as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: u64 = 60_000;

    fn of(values: impl IntoIterator<Item = (u64, f64)>) -> History {
        let mut history = History::reaching(Millis(86_400_000));
        values.into_iter().for_each(|(at, value)| history.push(at, value));
        history
    }

    #[test]
    fn a_steady_growth_reaches_the_limit_when_the_line_does() {
        let growing = of((0..30).map(|i| (i * MINUTE, 50.0 + i as f64 * 0.1)));
        let hours = growing.time_until(100.0).map(|ahead| ahead.0 as f64 / 3_600_000.0);
        assert_eq!(hours.map(|h| (h * 100.0).round() / 100.0), Some(7.85));
    }

    #[test]
    fn what_began_to_grow_in_the_last_hour_counts() {
        let calm = (0..600).map(|i| (i * MINUTE, 20.0));
        let then = (0..60).map(|i| ((600 + i) * MINUTE, 20.0 + i as f64));
        let history = of(calm.chain(then));
        let minutes = history.time_until(100.0).map(|ahead| ahead.0 / MINUTE);
        assert!(matches!(minutes, Some(19..=25)), "{minutes:?}");
    }

    #[test]
    fn without_a_clear_trend_nothing_is_foretold() {
        let cases = [
            ("still", of((0..60).map(|i| (i * MINUTE, 50.0)))),
            ("falling", of((0..60).map(|i| (i * MINUTE, 90.0 - i as f64)))),
            ("saw", of((0..60).map(|i| (i * MINUTE, 50.0 + (i % 10) as f64 * 4.0)))),
            ("few", of((0..11).map(|i| (i * MINUTE, 50.0 + i as f64)))),
            ("short", of((0..60).map(|i| (i * 1_000, 50.0 + i as f64 * 0.1)))),
            ("slow", of((0..60).map(|i| (i * MINUTE, 50.0 + i as f64 * 0.001)))),
            ("full", of((0..60).map(|i| (i * MINUTE, 50.0 + i as f64)))),
        ];
        for (name, history) in cases {
            assert_eq!(history.time_until(100.0), None, "{name}");
        }
    }

    #[test]
    fn a_full_history_thins_its_past_until_it_reaches_far_enough() {
        let mut hour = History::reaching(Millis(3_590_000));
        let mut day = History::reaching(Millis(86_400_000));
        for i in 0..10_000_u64 {
            hour.push(i * 10_000, i as f64);
            day.push(i * 10_000, i as f64);
        }
        assert!(hour.samples.len() <= CAPACITY && day.samples.len() <= CAPACITY);
        assert_eq!(hour.span_ms(), 3_590_000);
        assert!(day.span_ms() > 86_000_000, "{}", day.span_ms());
        assert_eq!(hour.last().map(|sample| sample.value), Some(9_999.0));
        assert!(day.last().is_some_and(|sample| sample.value > 9_970.0), "a day is kept in steps of minutes");
    }

    #[test]
    fn a_plot_is_short_and_in_order() {
        assert_eq!(of([]).plot(), Vec::<f64>::new());
        assert_eq!(of([(0, 1.0), (1, 2.005), (1, 9.0), (2, f64::NAN)]).plot(), [1.0, 2.01]);
        let long = of((0..320).map(|i| (i, (i / 10) as f64))).plot();
        assert_eq!(long, (0..32).map(f64::from).collect::<Vec<_>>());
    }
}
