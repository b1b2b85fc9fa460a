//! Memory and swap, from /proc/meminfo.
//!
//! What counts is `MemAvailable`, the kernel's own estimate of what a new program could have without
//! swapping; a cache that can be dropped is not memory in use.

use std::io;

use crate::host::Host;

/// Bytes of memory and swap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Memory {
    pub total: u64,
    pub available: u64,
    pub swap_total: u64,
    pub swap_free: u64,
}

/// Reads /proc/meminfo.
pub fn read(host: &Host) -> io::Result<Memory> {
    parse(&host.text("/proc/meminfo")?)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "/proc/meminfo has no MemTotal and MemAvailable (kernel before 3.14?)"))
}

/// Parses /proc/meminfo; `None` without `MemTotal` and `MemAvailable`.
#[must_use]
pub fn parse(text: &str) -> Option<Memory> {
    let field = |name: &str| -> Option<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.split_ascii_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1_024)
    };
    let total = field("MemTotal").filter(|&total| total > 0)?;
    let available = field("MemAvailable")?.min(total);
    Some(Memory { total, available, swap_total: field("SwapTotal").unwrap_or(0), swap_free: field("SwapFree").unwrap_or(0) })
}

impl Memory {
    #[must_use]
    pub fn used_percent(&self) -> f64 {
        100.0 * (self.total - self.available) as f64 / self.total as f64
    }

    /// `None` on a machine without swap.
    #[must_use]
    pub fn swap_used_percent(&self) -> Option<f64> {
        (self.swap_total > 0).then(|| 100.0 * self.swap_total.saturating_sub(self.swap_free) as f64 / self.swap_total as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn available_memory_counts_and_not_free_memory() {
        let text = "MemTotal:        1000 kB\nMemFree:           10 kB\nMemAvailable:     250 kB\nSwapCached:  5 kB\nSwapTotal:  400 kB\nSwapFree:  100 kB\n";
        let memory = parse(text);
        assert_eq!(memory, Some(Memory { total: 1_024_000, available: 256_000, swap_total: 409_600, swap_free: 102_400 }));
        assert_eq!(memory.map(|m| m.used_percent()), Some(75.0));
        assert_eq!(memory.and_then(|m| m.swap_used_percent()), Some(75.0));
    }

    #[test]
    fn a_machine_without_swap_has_no_swap_reading() {
        let memory = parse("MemTotal: 1000 kB\nMemAvailable: 1000 kB\nSwapTotal: 0 kB\nSwapFree: 0 kB\n");
        assert_eq!(memory.map(|m| m.swap_used_percent()), Some(None));
    }

    #[test]
    fn without_an_estimate_there_is_no_reading() {
        assert_eq!(parse("MemTotal: 1000 kB\nMemFree: 10 kB\n"), None);
        assert_eq!(parse("MemTotal: 0 kB\nMemAvailable: 0 kB\n"), None);
    }
}
