//! CPU time, from /proc/stat.
//!
//! In: the text of /proc/stat at two instants. Out: the share of all CPU time between them that was not idle.

use std::io;

use crate::host::Host;

/// CPU time since boot, in ticks, of all CPUs together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CpuTimes {
    pub total: u64,
    /// Idle and waiting for I/O: a CPU that waits for a disk could do other work.
    pub idle: u64,
    /// Taken by the hypervisor for others.
    pub stolen: u64,
    /// CPUs that are online.
    pub cores: u32,
    /// Seconds since the epoch at which the machine started.
    pub boot_s: i64,
}

/// Use of the CPUs between two readings, in percent of all of them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CpuUse {
    pub busy_percent: f64,
    pub stolen_percent: f64,
}

/// Reads /proc/stat.
pub fn read(host: &Host) -> io::Result<CpuTimes> {
    parse(&host.text("/proc/stat")?).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "/proc/stat has no line `cpu`"))
}

/// Parses /proc/stat; `None` when it has no sum over all CPUs.
#[must_use]
pub fn parse(text: &str) -> Option<CpuTimes> {
    let mut times = CpuTimes::default();
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        match words.next() {
            Some("cpu") => {
                let ticks: Vec<u64> = words.map_while(|word| word.parse().ok()).collect();
                // user nice system idle iowait irq softirq steal; what follows (guest) is part of user already.
                times.total = ticks.iter().take(8).sum();
                times.idle = ticks.get(3)? + ticks.get(4).unwrap_or(&0);
                times.stolen = *ticks.get(7).unwrap_or(&0);
            }
            Some("btime") => times.boot_s = words.next().and_then(|word| word.parse().ok()).unwrap_or_default(),
            Some(word) if word.starts_with("cpu") => times.cores += 1,
            _ => {}
        }
    }
    (times.total > 0).then_some(times)
}

impl CpuTimes {
    /// What was used since `earlier`; `None` when no tick has passed, or the counters went back.
    #[must_use]
    pub fn since(&self, earlier: &CpuTimes) -> Option<CpuUse> {
        let total = self.total.checked_sub(earlier.total).filter(|&ticks| ticks > 0)?;
        let share = |ticks: u64| 100.0 * ticks as f64 / total as f64;
        // Idle time may run a tick backwards when a CPU goes offline.
        let idle = self.idle.saturating_sub(earlier.idle).min(total);
        Some(CpuUse { busy_percent: share(total - idle), stolen_percent: share(self.stolen.saturating_sub(earlier.stolen).min(total)) })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const STAT: &str = "cpu  100 0 50 800 50 0 0 0 0 0\ncpu0 50 0 25 400 25 0 0 0 0 0\ncpu1 50 0 25 400 25 0 0 0 0 0\nintr 1 2\nbtime 1700000000\n";

    #[test]
    fn use_is_what_was_not_idle_between_two_readings() {
        let first = parse(STAT).unwrap();
        assert_eq!(first, CpuTimes { total: 1_000, idle: 850, stolen: 0, cores: 2, boot_s: 1_700_000_000 });
        let second = parse("cpu 160 0 60 820 60 0 0 100 30 0\ncpu0 1 1 1 1\n").unwrap();
        assert_eq!(second.since(&first), Some(CpuUse { busy_percent: 85.0, stolen_percent: 50.0 }));
        assert_eq!(first.since(&first), None);
        assert_eq!(first.since(&second), None);
    }

    #[test]
    fn a_text_without_the_sum_is_no_reading() {
        assert_eq!(parse(""), None);
        assert_eq!(parse("cpu0 1 2 3 4\n"), None);
        assert_eq!(parse("cpu x y\n"), None);
    }
}
