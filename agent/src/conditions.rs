//! What the agent of a node of Kubernetes sees of it, watched, so that the cluster's agent can write it to the Node.
//!
//! In: what the sampler has recorded, mounts, the kernel's ring, the kubelet's answers. Out: all conditions, each time that
//! one changes, once there is something to say of each. What they mean is decided in [`mainstay_core::condition`]. A
//! machine that is no node of Kubernetes is not looked at.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mainstay_client::work;
use mainstay_core::Millis;
use mainstay_core::condition::{About, Complaint, Condition, Disk, Facts, Watch};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use crate::execute::{Context, kubelet};
use crate::host::Host;
use crate::observe::kernel::{self, KernelEvent, KernelLog, Trouble};
use crate::observe::memory;
use crate::observe::mount::{self, Mount};

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(15);
/// What costs more is looked at each so many looks: the kernel's ring is read whole, and a kubelet asks its runtime.
const SELDOM: u64 = 4;
/// A recorded value that is older says nothing of now.
const FRESH_MS: u64 = 60_000;
/// A kernel's complaint about a group of processes at its own limit begins so: that is no trouble of the node.
const OWN_LIMIT: &str = "Memory cgroup out of memory";

/// Says what is seen, whenever that changes. Ends with the task that runs it.
pub async fn keep(context: Context, dir: PathBuf, said: watch::Sender<Option<Arc<[Condition]>>>) {
    let mut looks = tokio::time::interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let (mut watch, mut seldom, mut taken) = (Watch::default(), Facts::default(), 0_u64);
    loop {
        looks.tick().await;
        // Whoever tells it of its pods speaks for a cluster of Kubernetes.
        if context.settings.kubelet.is_none() && context.pods.told().is_none() {
            continue;
        }
        if taken.is_multiple_of(SELDOM) {
            seldom = Facts { kernel: kernel(&context).await, runtime: kubelet::runtime(&context).await, ..Facts::default() };
        }
        taken += 1;
        let facts = Facts {
            disks: disks(&context, &dir),
            memory_used_percent: memory::read(&context.host).ok().map(|memory| memory.used_percent()),
            kubelet: kubelet::health(&context).await,
            ..seldom.clone()
        };
        if let Some(conditions) = watch.take(&facts, context.host.monotonic_ms()) {
            said.send_if_modified(|before| {
                let is_new = before.as_deref() != Some(&conditions[..]);
                if is_new {
                    *before = Some(conditions.into());
                }
                is_new
            });
        }
    }
}

/// The file systems of the node's own disks, as this process sees them; nothing where the mounts cannot be read.
fn disks(context: &Context, dir: &Path) -> Option<Vec<Disk>> {
    let mounts = mount::read(&context.host).ok()?;
    let now = context.host.monotonic_ms();
    let value = |series: String| {
        let last = context.readings.history(&series)?.last()?;
        (last.at_ms + FRESH_MS >= now).then_some(last.value)
    };
    let gone = gone_read_only(&context.host, &mounts, dir);
    let mut disks: Vec<Disk> = gone.iter().map(|mount| Disk { gone_read_only: true, ..disk(mount) }).collect();
    for mount in mount::that_fill(&mounts).iter().filter(|mount| is_own(mount)) {
        let (used, inodes) = (value(format!("disk:{}", mount.point)), value(format!("inodes:{}", mount.point)));
        disks.push(Disk { used_percent: used, inodes_used_percent: inodes, ..disk(mount) });
    }
    Some(disks)
}

fn disk(mount: &Mount) -> Disk {
    let name = format!("{} (at {})", mount.source, mount.point);
    Disk { name, used_percent: None, inodes_used_percent: None, gone_read_only: false }
}

/// Neither another machine's, nor memory, nor a volume of a pod, which is full for its workload and not for the node.
fn is_own(mount: &Mount) -> bool {
    let is_volume = mount.point.contains("/volumes/kubernetes.io~") || mount.point.contains("/volumeDevices/kubernetes.io~");
    !mount.may_hang() && !mount.read_only_everywhere && mount.kind != "tmpfs" && !is_volume
}

/// Those that `/etc/fstab` says can be written to; and that of the agent's own directory, whatever else is known here.
fn gone_read_only(host: &Host, mounts: &[Mount], dir: &Path) -> Vec<Mount> {
    let mut gone: Vec<Mount> = mount::gone_read_only(mounts, &host.text("/etc/fstab").unwrap_or_default()).into_iter().cloned().collect();
    let holding = mounts.iter().filter(|mount| dir.starts_with(&mount.point)).max_by_key(|mount| mount.point.len());
    if let Some(own) = holding.filter(|own| own.read_only_everywhere && !gone.contains(own)) {
        gone.push(own.clone());
    }
    gone
}

/// What the kernel complained of; nothing where its ring cannot be read.
async fn kernel(context: &Context) -> Option<Vec<Complaint>> {
    let host = context.host.clone();
    let read = work::blocking(move || kernel::read(&host)).await.ok()?.ok()?;
    let KernelLog::Events(events) = read else { return None };
    let now = context.host.wall().0;
    Some(events.into_iter().filter_map(|event| complaint(event, now)).collect())
}

fn complaint(event: KernelEvent, now_ms: i64) -> Option<Complaint> {
    let about = match event.trouble {
        Trouble::OutOfMemory if event.text.contains(OWN_LIMIT) => return None,
        Trouble::OutOfMemory => About::OutOfMemory,
        Trouble::DiskError => About::DiskError,
        Trouble::ReadOnly => About::ReadOnly,
        Trouble::HungTask => About::HungTask,
        Trouble::Hardware => About::Hardware,
    };
    let age = Millis(u64::try_from(now_ms.saturating_sub(event.at.0)).unwrap_or(0));
    Some(Complaint { about, age, text: event.text })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests use real files, sockets and clocks")]
    use mainstay_core::WallTime;
    use mainstay_core::condition::{Kind, Status};
    use mainstay_proto::v1::PodFact;

    use super::*;
    use crate::observe::readings::Readings;

    const MOUNTS: &str = "27 1 254:0 / / rw - ext4 /dev/vda rw
40 27 254:1 / /data ro - ext4 /dev/vdb ro
41 27 254:2 / /srv rw - ext4 /dev/vdc rw
42 27 254:3 / /var/lib/kubelet/pods/u/volumes/kubernetes.io~csi/pvc/mount rw - ext4 /dev/vdd rw
43 27 0:9 / /run rw - tmpfs tmpfs rw
44 27 0:8 / /home rw - nfs4 nas:/home rw
45 27 254:5 / /var/lib/agent rw - xfs /dev/vde ro
";

    fn recorded(kernel: &str) -> (tempfile::TempDir, Context) {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in [
            ("proc/1/mountinfo", MOUNTS),
            ("proc/meminfo", "MemTotal: 1000 kB\nMemAvailable: 20 kB\n"),
            ("proc/uptime", "100.00 1.0\n"),
            ("etc/fstab", "/dev/vdb /data ext4 defaults 0 0\n"),
            ("dev/kmsg", kernel),
        ] {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let host = Arc::new(Host::below(dir.path()).with_wall(WallTime(1_700_000_000_000)));
        let context = Context::new(host, Readings::default(), Arc::default(), Arc::default()).unwrap();
        (dir, context)
    }

    #[test]
    fn the_nodes_own_disks_count_and_no_others() {
        let (_dir, context) = recorded("");
        let now = context.host.monotonic_ms();
        for point in ["/", "/var/lib/kubelet/pods/u/volumes/kubernetes.io~csi/pvc/mount", "/run", "/home"] {
            context.readings.record(&format!("disk:{point}"), now, 99.0);
        }
        context.readings.record("disk:/srv", now - FRESH_MS - 1, 99.0);
        context.readings.record("inodes:/", now, 7.0);
        let told: Vec<_> = disks(&context, Path::new("/var/lib/agent/state"))
            .unwrap()
            .into_iter()
            .map(|disk| (disk.name, disk.used_percent, disk.inodes_used_percent, disk.gone_read_only))
            .collect();
        let named = |name: &str, used, inodes, gone| (name.to_owned(), used, inodes, gone);
        assert_eq!(
            told,
            [
                named("/dev/vdb (at /data)", None, None, true),
                named("/dev/vde (at /var/lib/agent)", None, None, true),
                named("/dev/vda (at /)", Some(99.0), Some(7.0), false),
                named("/dev/vdc (at /srv)", None, None, false),
            ]
        );
    }

    #[tokio::test]
    async fn a_container_that_is_killed_at_its_own_limit_is_no_trouble_of_the_node() {
        let (_dir, context) = recorded(
            "3,1,40000000,-;Memory cgroup out of memory: Killed process 7 (sh) total-vm:1kB\n3,2,90000000,-;Out of memory: Killed process 8 (db) total-vm:1kB\n4,3,95000000,-;INFO: task x:1 blocked for more than 120 seconds.\n",
        );
        let told: Vec<_> = kernel(&context).await.unwrap().into_iter().map(|complaint| (complaint.about, complaint.age)).collect();
        assert_eq!(told, [(About::OutOfMemory, Millis(10_000)), (About::HungTask, Millis(5_000))]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_machine_that_is_no_node_of_kubernetes_says_nothing() {
        let (_dir, context) = recorded("");
        let (said, mut seen) = watch::channel(None);
        let keeping = tokio::spawn(keep(context.clone(), PathBuf::from("/"), said));
        tokio::time::sleep(10 * LOOK_EVERY).await;
        assert!(!seen.has_changed().unwrap());
        // Time stands still for the host, so that nothing has held yet: what has happened is said at once.
        context.pods.put(vec![PodFact::default()], WallTime(0));
        std::fs::write(context.host.resolve("/proc/meminfo"), "MemTotal: 1000 kB\nMemAvailable: 900 kB\n").unwrap();
        std::fs::write(context.host.resolve("/etc/fstab"), "").unwrap();
        std::fs::write(context.host.resolve("/dev/kmsg"), "3,1,90000000,-;blk_update_request: I/O error, dev sda, sector 1\n").unwrap();
        let said = tokio::time::timeout(Duration::from_secs(120), seen.wait_for(Option::is_some)).await.unwrap().unwrap().clone().unwrap();
        let told: Vec<_> = said.iter().map(|condition| (condition.kind, condition.status)).collect();
        assert_eq!(told, [(Kind::Disk, Status::False), (Kind::Memory, Status::False), (Kind::Kernel, Status::True)]);
        keeping.abort();
    }
}
