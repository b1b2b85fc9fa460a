//! Load averages and uptime, from /proc/loadavg and /proc/uptime.

use std::io;

use crate::host::Host;

/// Tasks that run or wait (for a CPU or a disk), averaged over 1, 5 and 15 minutes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Load {
    pub one: f64,
    pub five: f64,
    pub fifteen: f64,
}

/// Reads /proc/loadavg.
pub fn read(host: &Host) -> io::Result<Load> {
    parse(&host.text("/proc/loadavg")?).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "/proc/loadavg does not hold three numbers"))
}

#[must_use]
pub fn parse(text: &str) -> Option<Load> {
    let mut numbers = text.split_ascii_whitespace().map(|word| word.parse().ok());
    Some(Load { one: numbers.next()??, five: numbers.next()??, fifteen: numbers.next()?? })
}

/// Seconds since the machine started.
pub fn uptime_s(host: &Host) -> io::Result<f64> {
    let text = host.text("/proc/uptime")?;
    let seconds = text.split_ascii_whitespace().next().and_then(|word| word.parse().ok());
    seconds.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "/proc/uptime does not start with a number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_averages() {
        assert_eq!(parse("0.06 1.11 2.50 1/83 8284\n"), Some(Load { one: 0.06, five: 1.11, fifteen: 2.5 }));
        assert_eq!(parse("0.06 1.11"), None);
        assert_eq!(parse("a b c"), None);
    }
}
