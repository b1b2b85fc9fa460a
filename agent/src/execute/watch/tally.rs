//! What was counted of a gate, and from where on it has failed. Pure.

use std::collections::VecDeque;
use std::time::Duration;

use mainstay_core::Millis;
use serde_json::{Value, json};

use crate::execute::wording;

/// Probes of a window that are kept; of more, the newest count.
const WINDOW_MAX: usize = 4_096;
/// Fewer probes than these count as so many: one of three is no share.
const FEW: usize = 20;
/// Steps of the spread of all answers, each a tenth larger than the one before: up to three minutes.
const STEPS: usize = 128;
const GROWTH: f64 = 1.1;

/// From where on a gate has failed.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    /// Probes that fail one after another.
    pub failures: u32,
    /// Share, from 0 to 1, that is not yet too much.
    pub error_rate: Option<f64>,
    pub p95: Option<Millis>,
    pub over: Millis,
}

/// What one probe has seen.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Seen {
    /// Until its answer, where it is one whose time counts.
    pub took_ms: Option<f64>,
    /// What is wrong.
    pub problem: Option<String>,
}

#[derive(Debug, Clone, Copy)]
struct Probed {
    at: Duration,
    took_ms: Option<f64>,
    failed: bool,
}

/// What was counted.
#[derive(Debug, Clone)]
pub struct Tally {
    pub probes: u64,
    pub failed: u64,
    /// Beats at which no probe could begin.
    pub missed: u64,
    in_row: u32,
    last: String,
    window: VecDeque<Probed>,
    spread: [u32; STEPS],
}

impl Default for Tally {
    fn default() -> Tally {
        Tally { probes: 0, failed: 0, missed: 0, in_row: 0, last: String::new(), window: VecDeque::new(), spread: [0; STEPS] }
    }
}

impl Tally {
    pub fn miss(&mut self) {
        self.missed += 1;
    }

    /// One more probe.
    pub fn take(&mut self, at: Duration, seen: Seen, over: Millis) {
        self.probes += 1;
        if let Some(ms) = seen.took_ms {
            self.spread[step(ms)] += 1;
        }
        let failed = seen.problem.is_some();
        match seen.problem {
            Some(problem) => {
                self.failed += 1;
                self.in_row += 1;
                self.last = problem;
            }
            None => self.in_row = 0,
        }
        self.window.push_back(Probed { at, took_ms: seen.took_ms, failed });
        let from = at.saturating_sub(over.as_duration());
        while self.window.len() > WINDOW_MAX || self.window.front().is_some_and(|first| first.at < from) {
            self.window.pop_front();
        }
    }

    /// What is counted of another gate as well. The windows stay theirs.
    pub fn add(&mut self, other: &Tally) {
        self.probes += other.probes;
        self.failed += other.failed;
        self.missed += other.missed;
        self.spread.iter_mut().zip(other.spread).for_each(|(own, other)| *own += other);
    }

    /// Why the gate has failed, where it has.
    pub fn breaks(&self, rules: &Rules) -> Option<String> {
        if self.in_row >= rules.failures {
            return Some(match self.in_row {
                1 => self.last.clone(),
                times => format!("{times} probes failed one after another, the last: {}", self.last),
            });
        }
        let failed = self.window.iter().filter(|probed| probed.failed).count();
        let share = failed as f64 / self.window.len().max(FEW) as f64;
        if let Some(most) = rules.error_rate.filter(|most| share > *most) {
            let (most, of) = (wording::percent(most * 100.0), self.window.len());
            return Some(format!("{failed} of {of} probes within {} failed, and {most} is the most, the last: {}", rules.over, self.last));
        }
        let mut times: Vec<f64> = self.window.iter().filter_map(|probed| probed.took_ms).collect();
        let limit = rules.p95.filter(|_| times.len() >= FEW)?;
        times.sort_by(f64::total_cmp);
        let p95 = times.get((times.len() * 95).div_ceil(100).saturating_sub(1)).copied()?;
        (p95 > limit.0 as f64)
            .then(|| format!("95 of 100 answers within {} came within {}, and {limit} is the most", rules.over, wording::milliseconds(p95)))
    }

    /// 95th percentile of the time to an answer, a tenth too long at most.
    pub fn p95_ms(&self) -> Option<f64> {
        let all: u64 = self.spread.iter().map(|count| u64::from(*count)).sum();
        let wanted = (all * 95).div_ceil(100);
        let mut so_far = 0;
        let at = self.spread.iter().position(|count| {
            so_far += u64::from(*count);
            so_far >= wanted
        });
        at.filter(|_| all > 0).and_then(|at| i32::try_from(at).ok()).map(|at| GROWTH.powi(at + 1))
    }

    pub fn in_words(&self) -> String {
        let mut words = format!("{}, {} failed", wording::count(self.probes, "probe", "probes"), self.failed);
        if let Some(p95) = self.p95_ms() {
            words += &format!(", 95 of 100 answers within {}", wording::milliseconds(p95));
        }
        if self.missed > 0 {
            words += &format!(", {} missed", wording::count(self.missed, "beat", "beats"));
        }
        words
    }

    /// As outputs of a step.
    pub fn outputs(&self) -> Vec<(String, Value)> {
        let share = |of: u64, all: u64| if all == 0 { 0.0 } else { of as f64 / all as f64 };
        let mut outputs = vec![
            ("probes", json!(self.probes)),
            ("failed", json!(self.failed)),
            ("errorRate", json!(share(self.failed, self.probes))),
            ("availability", json!(share(self.probes - self.failed, self.probes + self.missed))),
        ];
        outputs.extend(self.p95_ms().map(|p95| ("p95", json!(p95.round()))));
        outputs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

fn step(ms: f64) -> usize {
    let at = ms.max(1.0).ln() / GROWTH.ln();
    // Of what is no number, the first.
    (at as usize).min(STEPS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules = Rules { failures: 3, error_rate: Some(0.05), p95: Some(Millis(100)), over: Millis(60_000) };

    fn well(ms: f64) -> Seen {
        Seen { took_ms: Some(ms), problem: None }
    }

    fn bad(problem: &str) -> Seen {
        Seen { took_ms: None, problem: Some(problem.to_owned()) }
    }

    fn after(seen: impl IntoIterator<Item = Seen>) -> Tally {
        let mut tally = Tally::default();
        seen.into_iter().enumerate().for_each(|(at, seen)| tally.take(Duration::from_secs(at as u64), seen, RULES.over));
        tally
    }

    #[test]
    fn so_many_in_a_row_are_too_many_and_one_in_between_begins_anew() {
        assert_eq!(after([bad("a"), bad("b"), well(1.0), bad("c"), bad("d")]).breaks(&Rules { error_rate: None, ..RULES }), None);
        let broken = after([well(1.0), bad("a"), bad("b"), bad("HTTP 500")]);
        assert_eq!(broken.breaks(&RULES).as_deref(), Some("3 probes failed one after another, the last: HTTP 500"));
        assert_eq!(after([bad("a")]).breaks(&Rules { failures: 1, ..RULES }).as_deref(), Some("a"));
    }

    #[test]
    fn a_share_is_of_the_window_and_few_probes_are_no_share() {
        let alternating = |n: usize| after((0..n).map(|at| if at % 3 == 0 { bad("reset") } else { well(1.0) }));
        assert_eq!(alternating(3).breaks(&RULES), None, "one of three is one of twenty");
        assert_eq!(alternating(4).breaks(&RULES).as_deref(), Some("2 of 4 probes within 1m failed, and 5.0 % is the most, the last: reset"));
        // Long ago.
        let mut tally = after([bad("a"), bad("b"), well(1.0)]);
        tally.take(Duration::from_secs(100), well(1.0), RULES.over);
        assert_eq!((tally.breaks(&RULES), tally.window.len(), tally.failed), (None, 1, 2));
    }

    #[test]
    fn slow_answers_are_too_slow_from_twenty_on() {
        assert_eq!(after((0..19).map(|_| well(200.0))).breaks(&RULES), None);
        let words = after((0..20).map(|_| well(200.0))).breaks(&RULES);
        assert_eq!(words.as_deref(), Some("95 of 100 answers within 1m came within 200 ms, and 100ms is the most"));
        assert_eq!(after((0..20).map(|at| well(if at == 0 { 5_000.0 } else { 20.0 }))).breaks(&RULES), None, "one of twenty may be");
    }

    #[test]
    fn what_is_kept_is_bounded_and_all_of_it_is_counted() {
        let mut tally = Tally::default();
        for at in 0..10_000_u64 {
            tally.take(Duration::from_millis(at), if at % 100 == 0 { bad("x") } else { well(10.0) }, Millis(3_600_000));
        }
        tally.miss();
        assert_eq!((tally.window.len(), tally.probes, tally.failed, tally.missed), (WINDOW_MAX, 10_000, 100, 1));
        let p95 = tally.p95_ms().unwrap_or_default();
        assert!((10.0..=11.1).contains(&p95), "{p95}");
        assert!(
            tally.in_words().starts_with("10,000 probes, 100 failed, 95 of 100 answers within 1") && tally.in_words().ends_with(", 1 beat missed")
        );
        let outputs: std::collections::BTreeMap<String, Value> = tally.outputs().into_iter().collect();
        assert_eq!((&outputs["errorRate"], &outputs["probes"]), (&json!(0.01), &json!(10_000)));
        let mut both = Tally::default();
        both.add(&tally);
        both.add(&tally);
        assert_eq!((both.probes, both.p95_ms()), (20_000, tally.p95_ms()));
        assert_eq!((Tally::default().p95_ms(), Tally::default().in_words().as_str()), (None, "0 probes, 0 failed"));
    }
}
