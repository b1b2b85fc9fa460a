//! The agent's memory of what it observed: raw counters of the last minutes and histories of the last hours.
//!
//! The sampler reads the cheap sources every ten seconds and keeps numbers only; a step asks for a
//! [`History`] or for the counters of a while ago, and reads afresh what it judges. Everything here is
//! bounded by number and lost with the process.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mainstay_core::{Millis, WallTime};
use tokio_util::sync::CancellationToken;

use super::cpu::{self, CpuTimes};
use super::disk::{Answer, Prober};
use super::history::History;
use super::network::{self, Traffic};
use super::pressure::{self, Resource};
use super::service::{self, Liveness, Service};
use super::{load, memory, mount};
use crate::host::Host;

/// Between two samples.
pub const SAMPLE_EVERY: Duration = Duration::from_secs(10);
/// Series kept; a node with more file systems than this has the first ones.
const SERIES_MAX: usize = 256;
/// Counters kept: ten minutes of them.
const COUNTERS_MAX: usize = 60;
/// A usual series shows the last hour, …
const HOUR: Millis = Millis(3_600_000);
/// … and one that fills slowly the last day.
const DAY: Millis = Millis(86_400_000);

/// Counters at one instant; use is told from two of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Counters {
    /// On the host's monotonic clock.
    pub at_ms: u64,
    pub cpu: CpuTimes,
    pub network: BTreeMap<String, Traffic>,
}

/// A cheap handle; clones share what they know.
#[derive(Debug, Clone, Default)]
pub struct Readings {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    series: BTreeMap<String, History>,
    counters: VecDeque<Counters>,
    /// When each service was last seen running.
    alive: BTreeMap<String, WallTime>,
}

impl Readings {
    /// Adds one value to a series. A series named `disk:…` or `inodes:…` reaches back a day.
    pub fn record(&self, series: &str, at_ms: u64, value: f64) {
        let mut inner = self.lock();
        if !inner.series.contains_key(series) {
            if inner.series.len() >= SERIES_MAX {
                return;
            }
            let slow = series.starts_with("disk:") || series.starts_with("inodes:");
            inner.series.insert(series.to_owned(), History::reaching(if slow { DAY } else { HOUR }));
        }
        if let Some(history) = inner.series.get_mut(series) {
            history.push(at_ms, value);
        }
    }

    /// The series of that name, if there is one yet.
    #[must_use]
    pub fn history(&self, series: &str) -> Option<History> {
        self.lock().series.get(series).cloned()
    }

    /// Keeps counters for later.
    pub fn record_counters(&self, counters: Counters) {
        let mut inner = self.lock();
        if inner.counters.back().is_some_and(|last| counters.at_ms <= last.at_ms) {
            return;
        }
        if inner.counters.len() >= COUNTERS_MAX {
            inner.counters.pop_front();
        }
        inner.counters.push_back(counters);
    }

    /// The oldest counters that were taken no longer than `window` before `now_ms`.
    #[must_use]
    pub fn counters_within(&self, now_ms: u64, window: Millis) -> Option<Counters> {
        self.lock().counters.iter().find(|counters| counters.at_ms < now_ms && counters.at_ms.saturating_add(window.0) >= now_ms).cloned()
    }

    /// When the service was last seen running, if it ever was.
    #[must_use]
    pub fn last_alive(&self, service: &str) -> Option<WallTime> {
        self.lock().alive.get(service).copied()
    }

    /// Remembers what was seen of services.
    pub fn record_services(&self, now: WallTime, services: &[Service], seen: &[Liveness]) {
        let mut inner = self.lock();
        for (service, _) in services.iter().zip(seen).filter(|(_, seen)| matches!(seen, Liveness::Running { .. })).take(SERIES_MAX) {
            inner.alive.insert(service.name.clone(), now);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes samples.
#[derive(Debug, Clone)]
pub struct Sampler {
    host: Arc<Host>,
    services: Arc<[Service]>,
    prober: Prober,
    readings: Readings,
}

impl Sampler {
    /// A sampler of this host. The prober is the one that steps use, so that a file system that hangs is asked
    /// by one of both.
    #[must_use]
    pub fn new(host: Arc<Host>, services: &[Service], readings: Readings, prober: Prober) -> Sampler {
        Sampler { host, services: services.into(), prober, readings }
    }

    /// Samples until it is cancelled.
    pub async fn run(self, cancel: CancellationToken) {
        let mut ticks = tokio::time::interval(SAMPLE_EVERY);
        // After a pause one sample is enough.
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                biased;
                () = cancel.cancelled() => return,
                _ = ticks.tick() => self.sample().await,
            }
        }
    }

    /// Takes one sample. What cannot be read leaves a gap; the step that judges it says why.
    pub async fn sample(&self) {
        let (host, readings, at_ms) = (&*self.host, &self.readings, self.host.monotonic_ms());
        if let Ok(now) = counters(host) {
            let cpu =
                readings.counters_within(now.at_ms, Millis(2 * SAMPLE_EVERY.as_millis() as u64)).and_then(|earlier| now.cpu.since(&earlier.cpu));
            if let Some(cpu) = cpu {
                readings.record("cpu", at_ms, cpu.busy_percent);
            }
            if let Ok(load) = load::read(host) {
                readings.record("load", at_ms, load.five / f64::from(now.cpu.cores.max(1)));
            }
            readings.record_counters(now);
        }
        if let Ok(memory) = memory::read(host) {
            readings.record("memory", at_ms, memory.used_percent());
            if let Some(percent) = memory.swap_used_percent() {
                readings.record("swap", at_ms, percent);
            }
        }
        for resource in Resource::ALL {
            if let Ok(Some(pressure)) = pressure::read(host, resource) {
                readings.record(&format!("psi:{}", resource.as_str()), at_ms, pressure.some);
            }
        }
        if !self.services.is_empty() {
            readings.record_services(host.wall(), &self.services, &service::look(host, &self.services));
        }
        if let Ok(mounts) = mount::read(host) {
            for (mount, answer) in self.prober.ask(mount::that_fill(&mounts)).await {
                if let Answer::Usage(usage) = answer {
                    readings.record(&format!("disk:{}", mount.point), at_ms, usage.used_percent());
                    if let Some(percent) = usage.inodes_used_percent() {
                        readings.record(&format!("inodes:{}", mount.point), at_ms, percent);
                    }
                }
            }
        }
    }
}

/// Reads the counters that the machine has now.
///
/// # Errors
/// When /proc/stat cannot be read; a machine without a network has none, and that is no error.
pub fn counters(host: &Host) -> std::io::Result<Counters> {
    Ok(Counters { at_ms: host.monotonic_ms(), cpu: cpu::read(host)?, network: network::read(host).unwrap_or_default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_of_a_while_ago_are_the_oldest_within_the_window() {
        let readings = Readings::default();
        for at_ms in [10, 20, 30, 30] {
            readings.record_counters(Counters { at_ms, ..Counters::default() });
        }
        let within = |now, window| readings.counters_within(now, Millis(window)).map(|counters| counters.at_ms);
        assert_eq!([within(35, 100), within(35, 15), within(35, 2), within(10, 100)], [Some(10), Some(20), None, None]);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let readings = Readings::default();
        for i in 0..2 * SERIES_MAX as u64 {
            readings.record(&format!("disk:{i}"), 1, 1.0);
            readings.record_counters(Counters { at_ms: i, ..Counters::default() });
        }
        let inner = readings.lock();
        assert_eq!((inner.series.len(), inner.counters.len()), (SERIES_MAX, COUNTERS_MAX));
    }

    #[tokio::test]
    async fn a_sample_of_this_machine_holds_what_every_machine_has() {
        let (host, readings) = (Arc::new(Host::default()), Readings::default());
        let prober = Prober::new(Arc::clone(&host));
        Sampler::new(host, &[], readings.clone(), prober).sample().await;
        for series in ["memory", "load"] {
            assert!(readings.history(series).and_then(|history| history.last()).is_some(), "{series}");
        }
        assert!(readings.lock().series.keys().any(|series| series.starts_with("disk:")));
        assert_eq!(readings.lock().counters.len(), 1);
    }
}
