//! What a mesh costs when it has nothing to do.

use std::time::{Duration, Instant};

use mainstay_tests::{Options, Up, process};

use crate::results::Row;

/// After the start, before anything is read: caches and start-up work have settled.
const SETTLE: Duration = Duration::from_secs(180);
/// For so long CPU time is counted.
const WATCH: Duration = Duration::from_secs(60);
const MIB: f64 = (1 << 20) as f64;

/// Memory and CPU of the largest agent and coordinator, three minutes after the start.
pub async fn measure() -> Vec<Row> {
    let up = Up::start(Options::default()).await;
    tokio::time::sleep(SETTLE).await;
    let agents: Vec<_> = ["a1", "a2", "a3"].iter().filter_map(|name| up.pid(name)).collect();
    let coordinators: Vec<_> = ["c1", "c2", "c3"].iter().filter_map(|name| up.pid(name)).collect();
    let cpu = |pids: &[rustix::process::Pid]| pids.iter().map(|pid| process::cpu_seconds(*pid)).collect::<Vec<_>>();
    let (before, begun) = ((cpu(&agents), cpu(&coordinators)), Instant::now());
    tokio::time::sleep(WATCH).await;
    let elapsed = begun.elapsed().as_secs_f64();
    let share =
        |before: &[f64], after: &[f64]| before.iter().zip(after).map(|(before, after)| (after - before) / elapsed * 100.0).fold(0.0, f64::max);
    let largest = |pids: &[rustix::process::Pid]| pids.iter().map(|pid| process::resident_bytes(*pid) as f64 / MIB).fold(0.0, f64::max);
    let settings = "3 members, 3 agents, daily has run once, 3 min after the start; the largest of three";
    vec![
        Row::below("agent.idle_memory", "MiB", largest(&agents), 20.0, &format!("resident; {settings}")),
        Row::below("agent.idle_cpu", "%", share(&before.0, &cpu(&agents)), 0.5, &format!("of one core, over 60 s; {settings}")),
        Row::below("mesh.coordinator_idle_memory", "MiB", largest(&coordinators), 40.0, &format!("resident; {settings}")),
        Row::below("mesh.coordinator_idle_cpu", "%", share(&before.1, &cpu(&coordinators)), 0.0, &format!("of one core, over 60 s; {settings}"))
            .informs(),
    ]
}
