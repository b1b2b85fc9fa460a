//! What the pods of this node use, beside what they may and what they asked for.

use std::time::Duration;

use mainstay_core::report::{Check, Thresholds, Verdict};
use mainstay_core::{Millis, bounds};
use mainstay_proto::v1::{ContainerFact, PodFact};

use super::rounded;
use crate::execute::{Context, wording};
use crate::observe::cgroup::{self, Usage};

/// CPU use is told over this.
const WINDOW: Duration = Duration::from_secs(1);
/// Containers near their limit that are told one by one, the nearest first.
const NEAR: usize = 32;
/// Of a container's memory limit. Beyond it the kernel kills it.
const MEMORY: Thresholds = Thresholds { warning: Some(90.0), critical: Some(97.0), below: false };

/// One container that runs.
struct Running<'a> {
    pod: &'a PodFact,
    container: &'a ContainerFact,
    usage: Usage,
    cpus: f64,
}

impl Running<'_> {
    fn name(&self) -> String {
        format!("{}/{}/{}", self.pod.namespace, self.pod.name, self.container.name)
    }

    /// What the kernel holds it to; else what the cluster says.
    fn limit(&self) -> Option<u64> {
        self.usage.memory_limit.or(Some(self.container.memory_limit_bytes)).filter(|limit| *limit > 0)
    }

    fn of_limit(&self) -> Option<f64> {
        self.limit().map(|limit| self.usage.memory as f64 / limit as f64 * 100.0)
    }

    fn line(&self) -> String {
        let limit = self.limit().map_or("no limit".to_owned(), |limit| format!("limit {}", wording::bytes(limit)));
        let asked = match self.container.memory_request_bytes {
            0 => "none requested".to_owned(),
            bytes => format!("{} requested", wording::bytes(bytes)),
        };
        let whose = if self.pod.workload.is_empty() { String::new() } else { format!(" of {}/{}", self.pod.workload_kind, self.pod.workload) };
        format!("{}{whose}: {} of memory ({asked}, {limit}), {} CPUs", self.name(), wording::bytes(self.usage.memory), rounded(self.cpus))
    }
}

/// Nothing on a node of which no cluster agent has told its pods.
pub(super) async fn checks(context: &Context) -> Vec<Check> {
    let Some(told) = context.pods.told() else { return Vec::new() };
    let (first, began) = (cgroup::read(&context.host), context.host.monotonic());
    tokio::time::sleep(WINDOW).await;
    let elapsed = context.host.monotonic().saturating_sub(began).as_secs_f64();
    let (before, now) = match (first, cgroup::read(&context.host)) {
        (Ok(before), Ok(now)) => (before, now),
        (Err(error), _) | (_, Err(error)) => {
            let check = Check::stated("pods.used", "", Verdict::Unknown, format!("/sys/fs/cgroup not read: {error}"));
            return vec![check.with_hint("in a pod, the agent needs the host's /sys/fs/cgroup mounted read-only")];
        }
    };
    let mut running = Vec::new();
    for pod in told.pods.iter() {
        for (container, usage) in pod.containers.iter().filter_map(|container| Some((container, now.get(&pod.uid)?.get(&container.id)?))) {
            let earlier = before.get(&pod.uid).and_then(|of_pod| of_pod.get(&container.id)).map_or(usage.cpu_ns, |usage| usage.cpu_ns);
            let cpus = usage.cpu_ns.saturating_sub(earlier) as f64 / 1e9 / elapsed.max(0.001);
            running.push(Running { pod, container, usage: *usage, cpus });
        }
    }
    let unknown = now.keys().filter(|uid| !told.pods.iter().any(|pod| pod.uid == **uid)).count();
    let age = Millis(u64::try_from(context.host.wall().0.saturating_sub(told.at.0)).unwrap_or(0));
    let mut checks = vec![total(&mut running, &told.pods, unknown, age)];
    let mut near: Vec<(f64, &Running)> = running.iter().filter_map(|one| Some((one.of_limit()?, one))).collect();
    near.retain(|(percent, _)| MEMORY.warning.is_some_and(|warning| *percent >= warning));
    near.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    checks.extend(near.into_iter().take(NEAR).map(|(percent, one)| {
        let message = format!("{} of its limit: {}", wording::percent(percent), one.line());
        let check = Check::measured("pods.memory", &one.name(), rounded(percent), "%", MEMORY, message);
        check.with_hint(format!("kubectl top pod --containers --namespace {} {}", one.pod.namespace, one.pod.name))
    }));
    checks
}

fn total(running: &mut [Running], pods: &[PodFact], unknown: usize, age: Millis) -> Check {
    running.sort_by_key(|one| std::cmp::Reverse(one.usage.memory));
    let (memory, cpus) = running.iter().fold((0, 0.0), |(memory, cpus), one| (memory + one.usage.memory, cpus + one.cpus));
    let mut message = format!(
        "{} in {}: {} of memory, {} CPUs",
        wording::count(running.len() as u64, "container", "containers"),
        wording::count(pods.len() as u64, "pod", "pods"),
        wording::bytes(memory),
        rounded(cpus)
    );
    if unknown > 0 {
        let pods = wording::count(unknown as u64, "pod has", "pods have");
        message += &format!("; {pods} a cgroup and {} not known, as of {} ago", if unknown == 1 { "is" } else { "are" }, wording::span(age));
    }
    let check = Check::measured("pods.used", "", memory as f64, "B", Thresholds::default(), message);
    check.with_details(running.iter().take(bounds::CHECK_DETAILS).map(Running::line))
}
