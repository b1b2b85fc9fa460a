//! `node.resources`: CPU, memory, load, pressure, disks with inodes, network errors and kernel messages.
//!
//! In: fresh readings, and the histories that the sampler kept. Out: a check for each, with its thresholds,
//! what is left, and where the value is heading. What cannot be read is unknown, what this machine does not
//! have is left out or skipped with the reason.

mod disks;
mod kernel;
pub mod kubelet;
mod pods;
mod processor;
mod volumes;

use std::time::Duration;

use mainstay_core::Millis;
use mainstay_core::report::{Check, Report, Verdict};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::params::{self, Limits, Percent, Span};
use super::{Context, StepError, wording};
use crate::observe::readings::{self, Counters};
use crate::observe::{load, memory};

/// CPU use is told over about a minute when the sampler has run that long, …
const CPU_WINDOW: Millis = Millis(70_000);
/// … and else over this, which the step then waits for.
const CPU_LEAST: Duration = Duration::from_secs(1);

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Params {
    cpu: Limits<Percent>,
    memory: Limits<Percent>,
    swap: Limits<Percent>,
    load: Limits<f64>,
    cpu_pressure: Limits<Percent>,
    memory_pressure: Limits<Percent>,
    io_pressure: Limits<Percent>,
    disk: Limits<Percent>,
    inodes: Limits<Percent>,
    network: Limits<Percent>,
    exclude_mounts: Vec<String>,
    since: Span,
}

impl Default for Params {
    fn default() -> Params {
        Params {
            cpu: Limits::default(),
            memory: Limits::default(),
            swap: Limits::default(),
            load: Limits::default(),
            cpu_pressure: Limits::default(),
            memory_pressure: Limits::default(),
            io_pressure: Limits::default(),
            disk: Limits::default(),
            inodes: Limits::default(),
            network: Limits::default(),
            exclude_mounts: Vec::new(),
            since: Span(Millis(86_400_000)),
        }
    }
}

pub(super) async fn execute(with: &Map<String, Value>, context: &Context) -> Result<Report, StepError> {
    let params: Params = params::read("node.resources", with)?;
    let mut checks = Vec::new();
    let counters = counters(context).await;
    checks.extend(processor::checks(&params, context, counters.as_ref().map(|(earlier, now)| (earlier, now)).map_err(String::as_str)));
    checks.extend(memory_checks(&params, context));
    checks.extend(disks::checks(&params, context).await?);
    checks.extend(kernel::checks(&params, context));
    checks.extend(pods::checks(context).await);
    checks.extend(kubelet::checks(&params, context).await);
    checks.push(uptime(context));

    let value = |id: &str| checks.iter().filter(|check| check.id == id).filter_map(|check| check.value).reduce(f64::max);
    let outputs = [("cpuPercent", value("cpu.used")), ("memoryPercent", value("memory.used")), ("worstDiskPercent", value("disk.used"))];
    let outputs = outputs.into_iter().filter_map(|(name, value)| Some((name.to_owned(), Value::from(value?)))).collect();
    Ok(Report { checks, outputs, ..Report::default() })
}

/// Counters of now, and of long enough before to tell use from.
async fn counters(context: &Context) -> Result<(Counters, Counters), String> {
    let read = || readings::counters(&context.host).map_err(|error| error.to_string());
    let now = read()?;
    let least = Millis(CPU_LEAST.as_millis() as u64);
    if let Some(earlier) = context.readings.counters_within(now.at_ms, CPU_WINDOW).filter(|earlier| earlier.at_ms + least.0 <= now.at_ms) {
        return Ok((earlier, now));
    }
    tokio::time::sleep(CPU_LEAST).await;
    Ok((now, read()?))
}

fn memory_checks(params: &Params, context: &Context) -> Vec<Check> {
    let memory = match memory::read(&context.host) {
        Ok(memory) => memory,
        Err(error) => return vec![Check::stated("memory.used", "", Verdict::Unknown, format!("not read: {error}"))],
    };
    let used = memory.used_percent();
    let message = format!("{} used, {} of {} available", wording::percent(used), wording::bytes(memory.available), wording::bytes(memory.total));
    let check = Check::measured("memory.used", "", rounded(used), "%", params.memory.above(85.0, 95.0), message);
    let mut checks = vec![with_history(with_hint(check, "ps -eo pid,rss,comm --sort=-rss | head"), context, "memory")];
    if let Some(used) = memory.swap_used_percent() {
        let message = format!("{} used, {} of {} left", wording::percent(used), wording::bytes(memory.swap_free), wording::bytes(memory.swap_total));
        let check = Check::measured("swap.used", "", rounded(used), "%", params.swap.above(50.0, 80.0), message);
        checks.push(with_history(with_hint(check, "vmstat 1 5"), context, "swap"));
    }
    checks
}

fn uptime(context: &Context) -> Check {
    match load::uptime_s(&context.host) {
        Ok(seconds) => Check {
            value: Some(seconds.floor()),
            unit: "s".into(),
            ..Check::stated("uptime", "", Verdict::Ok, format!("up {}", wording::span(Millis((seconds * 1_000.0) as u64))))
        },
        Err(error) => Check::stated("uptime", "", Verdict::Unknown, format!("not read: {error}")),
    }
}

/// Adds the next command where there is something to look into.
fn with_hint(check: Check, hint: &str) -> Check {
    if check.verdict == Verdict::Ok { check } else { check.with_hint(hint) }
}

fn with_history(check: Check, context: &Context, series: &str) -> Check {
    match context.readings.history(series) {
        Some(history) => check.with_history(history.plot()),
        None => check,
    }
}

/// As precise as anybody reads it.
fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods, reason = "tests use real files, sockets and clocks")]
    use std::sync::Arc;

    use mainstay_core::WallTime;
    use serde_json::json;

    use super::super::{ExecuteSettings, Policy, execute};
    use super::*;
    use crate::host::Host;
    use crate::observe::readings::Readings;

    const FILES: &[(&str, &str)] = &[
        ("proc/stat", "cpu  600 0 300 50 50 0 0 0 0 0\ncpu0 1 1 1 1\ncpu1 1 1 1 1\nbtime 1700000000\n"),
        ("proc/meminfo", "MemTotal: 1048576 kB\nMemAvailable: 41943 kB\nSwapTotal: 1024 kB\nSwapFree: 1024 kB\n"),
        ("proc/loadavg", "1.0 9.0 5.0 1/83 8284\n"),
        ("proc/uptime", "7300.5 1.0\n"),
        ("proc/pressure/memory", "some avg10=0 avg60=12.50 avg300=0 total=1\nfull avg10=0 avg60=3.00 avg300=0 total=0\n"),
        ("proc/pressure/io", "some avg10=0 avg60=0.00 avg300=0 total=1\n"),
        ("proc/net/dev", "Inter-|\n face |\n  eth0: 1 1000 4 4 0 0 0 0 1 1000 4 8 0 0 0 0\n  eth1: 1 100000 0 0 0 0 0 0 1 100000 0 0 0 0 0 0\n"),
        (
            "proc/1/mountinfo",
            "27 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n40 27 254:1 / /data ro,relatime - ext4 /dev/vdb ro\n41 27 254:2 / /mnt/scratch rw - ext4 /dev/vdc rw\n",
        ),
        ("etc/fstab", "/dev/vdb /data ext4 defaults 0 0\n"),
        (
            "dev/kmsg",
            "3,1,7200000000,-;Memory cgroup out of memory: Killed process 7 (sh) total-vm:1kB\n3,2,100,-;EXT4-fs (vdb): Remounting filesystem read-only\n",
        ),
    ];

    fn recorded() -> (tempfile::TempDir, Context) {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in FILES {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let host = Arc::new(Host::below(dir.path()).with_wall(WallTime(1_700_000_000_000)));
        let context = Context::new(host, Readings::default(), Arc::new(ExecuteSettings::default()), Arc::new(Policy::default())).unwrap();
        (dir, context)
    }

    async fn run(context: &Context, with: serde_json::Value) -> Report {
        execute("node.resources", with.as_object().unwrap(), context).await.unwrap()
    }

    fn check<'a>(report: &'a Report, id: &str, subject: &str) -> &'a Check {
        report
            .checks
            .iter()
            .find(|check| check.id == id && check.subject == subject)
            .unwrap_or_else(|| panic!("no {id} {subject} in {:#?}", report.checks))
    }

    #[tokio::test]
    async fn a_recorded_machine_is_judged() {
        let (_dir, context) = recorded();
        // What the sampler saw a minute ago, when a tenth of the ticks had passed.
        let earlier = readings::counters(&context.host).unwrap();
        let cpu = crate::observe::cpu::CpuTimes { total: 0, idle: 0, ..earlier.cpu };
        context.readings.record_counters(Counters { at_ms: earlier.at_ms.saturating_sub(60_000), cpu, network: Default::default() });
        for i in 0..40 {
            context.readings.record("memory", i * 10_000, i as f64);
        }
        let report = run(&context, json!({"since": "1h", "excludeMounts": ["/mnt/*"]})).await;

        let seen = |id: &str, subject: &str| {
            let check = check(&report, id, subject);
            (check.value, check.verdict, check.message.as_str())
        };
        assert_eq!(seen("cpu.used", ""), (Some(90.0), Verdict::Warning, "90 % of 2 cores busy over the last 60 s"));
        assert_eq!(seen("load.perCore", ""), (Some(4.5), Verdict::Critical, "4.50 per core over 5 min (1 min 0.50, 15 min 2.50)"));
        assert_eq!(seen("memory.used", ""), (Some(96.0), Verdict::Critical, "96 % used, 41.0 MiB of 1.0 GiB available"));
        assert_eq!(seen("swap.used", ""), (Some(0.0), Verdict::Ok, "0 % used, 1.0 MiB of 1.0 MiB left"));
        assert_eq!(seen("pressure.memory", ""), (Some(12.5), Verdict::Warning, "work waited 13 % of the last minute, all of it 3.0 %"));
        assert_eq!(seen("pressure.io", ""), (Some(0.0), Verdict::Ok, "work waited 0 % of the last minute"));
        assert_eq!(seen("pressure.cpu", "").1, Verdict::Skipped);
        assert_eq!(
            seen("network.errors", "eth0"),
            (Some(0.99), Verdict::Warning, "0.99 % of packets lost since boot: 8 errors, 12 drops, 2,000 packets")
        );
        assert_eq!(seen("network.errors", "eth1").1, Verdict::Ok);
        assert_eq!(seen("disk.readOnly", "/data"), (None, Verdict::Critical, "mounted read-only, and /etc/fstab says it can be written to"));
        assert_eq!(seen("kernel.outOfMemory", "").0, Some(1.0));
        assert_eq!(seen("kernel.outOfMemory", "").1, Verdict::Critical);
        assert_eq!(seen("kernel.readOnly", ""), (Some(0.0), Verdict::Ok, "none in the last 60 min"));
        assert_eq!(seen("uptime", ""), (Some(7_300.0), Verdict::Ok, "up 2 h"));
        assert_eq!(check(&report, "memory.used", "").history.len(), 32);
        assert!(!report.checks.iter().any(|check| check.subject == "/mnt/scratch"));
        assert_eq!(report.outputs["cpuPercent"], 90.0);
    }

    #[tokio::test]
    async fn thresholds_are_the_steps() {
        let (_dir, context) = recorded();
        let report = run(&context, json!({"memory": {"warning": "97%", "critical": 99}, "load": {"critical": 10}})).await;
        assert_eq!(check(&report, "memory.used", "").verdict, Verdict::Ok);
        assert_eq!(check(&report, "load.perCore", "").verdict, Verdict::Warning);
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_unknown() {
        let empty = tempfile::tempdir().unwrap();
        let host = Arc::new(Host::below(empty.path()));
        let context = Context::new(host, Readings::default(), Arc::default(), Arc::default()).unwrap();
        let report = run(&context, json!({})).await;
        for id in ["cpu.used", "load.perCore", "memory.used", "disk.used", "uptime"] {
            assert_eq!(check(&report, id, "").verdict, Verdict::Unknown, "{id}");
        }
        for id in ["pressure.cpu", "kernel.outOfMemory"] {
            assert_eq!(check(&report, id, "").verdict, Verdict::Skipped, "{id}");
        }
    }

    #[tokio::test]
    async fn this_machine_has_every_check() {
        let context = Context::new(Arc::default(), Readings::default(), Arc::default(), Arc::default()).unwrap();
        let report = run(&context, json!({})).await;
        for id in [
            "cpu.used",
            "load.perCore",
            "memory.used",
            "pressure.memory",
            "disk.used",
            "disk.inodes",
            "disk.readOnly",
            "kernel.outOfMemory",
            "uptime",
        ] {
            assert!(report.checks.iter().any(|check| check.id == id), "{id}");
        }
    }
}
