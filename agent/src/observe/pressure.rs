//! Pressure stall information, from /proc/pressure: the share of time in which work waited.

use std::io;

use crate::host::Host;

/// What can be short.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Resource {
    Cpu,
    Memory,
    Io,
}

/// Percent of the last 60 seconds in which some, and in which all, tasks that had work waited for it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pressure {
    pub some: f64,
    /// Absent for the CPU on older kernels.
    pub full: Option<f64>,
}

impl Resource {
    pub const ALL: [Resource; 3] = [Resource::Cpu, Resource::Memory, Resource::Io];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Resource::Cpu => "cpu",
            Resource::Memory => "memory",
            Resource::Io => "io",
        }
    }
}

/// Reads the pressure on one resource; `None` where the kernel does not measure it.
pub fn read(host: &Host, resource: Resource) -> io::Result<Option<Pressure>> {
    let path = format!("/proc/pressure/{}", resource.as_str());
    match host.text(&path) {
        Ok(text) => parse(&text).map(Some).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("{path} has no line `some avg60=`"))),
        // A kernel built with PSI but started without it has the files and refuses to read them.
        Err(error) if error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(95) => Ok(None),
        Err(error) => Err(error),
    }
}

#[must_use]
pub fn parse(text: &str) -> Option<Pressure> {
    let average = |kind: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(kind))?;
        line.split_ascii_whitespace().find_map(|word| word.strip_prefix("avg60="))?.parse::<f64>().ok()
    };
    Some(Pressure { some: average("some ")?, full: average("full ") })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_minute_counts() {
        let text = "some avg10=9.00 avg60=4.12 avg300=0.42 total=10710827\nfull avg10=0.00 avg60=1.50 avg300=0.00 total=0\n";
        assert_eq!(parse(text), Some(Pressure { some: 4.12, full: Some(1.5) }));
        assert_eq!(parse("some avg10=9.00 avg60=4.12 avg300=0.42 total=1\n"), Some(Pressure { some: 4.12, full: None }));
        assert_eq!(parse(""), None);
    }

    #[test]
    fn a_kernel_that_does_not_measure_is_not_an_error() {
        let empty = tempfile::tempdir().unwrap();
        assert_eq!(read(&Host::below(empty.path()), Resource::Io).unwrap(), None);
    }
}
