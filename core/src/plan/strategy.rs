//! In which order and how many at a time a step's targets are done.
//!
//! On a step it is about that step. On a plan it is about all steps that are done to nodes, as one: a node
//! goes through all of them before it counts as done, and a step waits for its needs on the same node only.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::time::Millis;

/// A rollout over targets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Strategy {
    pub order: Order,
    /// Targets that may be away at once: being worked on, failed, or without a connected agent.
    pub max_unavailable: Amount,
    /// How many targets are done by the end of each wave, all waves before it included; the last wave is the rest.
    pub waves: Vec<Amount>,
    /// How long nothing is begun after a wave, or a zone, has ended.
    pub soak: Millis,
    /// Targets that may fail before no further one is begun.
    pub failure_budget: Amount,
}

/// Which target comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// By name.
    #[default]
    Name,
    /// By name, from the end.
    Reverse,
    /// Mixed, and another way in each run.
    Spread,
    /// Zone by zone, as the nodes' clusters tell of them, and by name in each: none begins before the one before has ended.
    Zones,
}

/// A number of targets, or a share of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Amount {
    Count(u32),
    Percent(u32),
}

impl Default for Strategy {
    fn default() -> Strategy {
        Strategy { order: Order::Name, max_unavailable: Amount::Count(1), waves: Vec::new(), soak: Millis::ZERO, failure_budget: Amount::Count(0) }
    }
}

impl Amount {
    /// So many of `all`, a share rounded down.
    #[must_use]
    pub fn down(self, all: usize) -> usize {
        match self {
            Amount::Count(count) => count as usize,
            Amount::Percent(percent) => all * percent as usize / 100,
        }
    }

    /// So many of `all`, a share rounded up.
    #[must_use]
    pub fn up(self, all: usize) -> usize {
        match self {
            Amount::Count(count) => count as usize,
            Amount::Percent(percent) => (all * percent as usize).div_ceil(100),
        }
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Amount::Count(count) => count.fmt(f),
            Amount::Percent(percent) => write!(f, "{percent} %"),
        }
    }
}

impl FromStr for Amount {
    type Err = String;

    /// `3` or `25%`.
    fn from_str(text: &str) -> Result<Amount, String> {
        let wrong = || format!("`{}` is neither a number nor a percentage such as 25%", text.chars().take(32).collect::<String>());
        match text.trim().strip_suffix('%') {
            Some(percent) => percent.trim().parse().ok().filter(|percent| *percent <= 100).map(Amount::Percent).ok_or_else(wrong),
            None => text.trim().parse().map(Amount::Count).map_err(|_| wrong()),
        }
    }
}

impl Strategy {
    /// How many of `all` targets may be away at once: at least one, or nothing would ever begin.
    #[must_use]
    pub fn most_away(&self, all: usize) -> usize {
        self.max_unavailable.down(all).max(1)
    }

    /// How many of `all` targets have been done by the end of each wave. The last one is `all`.
    #[must_use]
    pub fn wave_ends(&self, all: usize) -> Vec<usize> {
        let mut ends: Vec<usize> = self.waves.iter().map(|wave| wave.up(all).clamp(1, all.max(1))).collect();
        ends.push(all);
        ends.sort_unstable();
        ends.dedup();
        ends
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_rounded_to_the_safe_side() {
        let quarter: Amount = "25%".parse().unwrap();
        assert_eq!((quarter.down(7), quarter.up(7)), (1, 2));
        let strategy = Strategy { max_unavailable: "10%".parse().unwrap(), ..Strategy::default() };
        assert_eq!([strategy.most_away(3), strategy.most_away(50)], [1, 5]);
        for bad in ["", "-1", "101%", "x%", "1.5"] {
            assert!(bad.parse::<Amount>().is_err(), "{bad}");
        }
    }

    #[test]
    fn waves_add_up_to_all_targets() {
        let waves =
            |words: &[&str], all| Strategy { waves: words.iter().map(|word| word.parse().unwrap()).collect(), ..Strategy::default() }.wave_ends(all);
        assert_eq!(waves(&[], 5), [5]);
        assert_eq!(waves(&["1", "10%", "50%"], 50), [1, 5, 25, 50]);
        assert_eq!(waves(&["1", "10%", "50%"], 2), [1, 2]);
        assert_eq!(waves(&["100%"], 0), [0, 1]);
    }
}
