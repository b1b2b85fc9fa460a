//! How full file systems are, asked with a deadline.
//!
//! A file system of another machine may not answer at all; the thread that asked it then waits in the
//! kernel until it does. So each of those is asked on a thread of its own, the answer is waited for only so
//! long, and it is not asked again while an earlier question is open: one stuck mount costs one thread.

use mainstay_client::work;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::mount::Mount;
use crate::host::Host;

/// For how long an answer is waited for; a healthy file system answers within a millisecond.
const DEADLINE: Duration = Duration::from_secs(2);

/// What a file system said of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    pub bytes: u64,
    /// What a program without privileges can still write.
    pub bytes_left: u64,
    /// What is written, and cannot be had by anybody.
    pub bytes_used: u64,
    /// Zero where the file system makes inodes as it needs them.
    pub inodes: u64,
    pub inodes_left: u64,
}

/// What came of asking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Usage(Usage),
    Failed(String),
    NoAnswer,
}

/// Asks file systems. Cheap to clone; clones share what is still open.
#[derive(Debug, Clone)]
pub struct Prober {
    host: Arc<Host>,
    open: Arc<Mutex<BTreeSet<String>>>,
}

impl Usage {
    /// As `df` counts: what is reserved for the superuser is neither used nor left.
    #[must_use]
    pub fn used_percent(&self) -> f64 {
        percent(self.bytes_used, self.bytes_used.saturating_add(self.bytes_left))
    }

    /// `None` where there is no fixed number of inodes.
    #[must_use]
    pub fn inodes_used_percent(&self) -> Option<f64> {
        (self.inodes > 0).then(|| percent(self.inodes.saturating_sub(self.inodes_left), self.inodes))
    }
}

fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { 100.0 * part as f64 / whole as f64 }
}

impl Prober {
    #[must_use]
    pub fn new(host: Arc<Host>) -> Prober {
        Prober { host, open: Arc::default() }
    }

    /// Asks every mount, all within one deadline. Mounts without any blocks are left out, and so are overlays
    /// that only repeat the numbers of a disk that is there too.
    pub async fn ask(&self, mounts: Vec<Mount>) -> Vec<(Mount, Answer)> {
        let (remote, local): (Vec<Mount>, Vec<Mount>) = mounts.into_iter().partition(Mount::may_hang);
        let batches = std::iter::once(local).chain(remote.into_iter().map(|mount| vec![mount])).filter(|batch| !batch.is_empty());
        let answers = futures::future::join_all(batches.map(|batch| self.ask_batch(batch))).await;
        let mut answers = without_repeats(answers.into_iter().flatten().collect());
        answers.sort_by(|(a, _), (b, _)| a.point.cmp(&b.point));
        answers
    }

    async fn ask_batch(&self, batch: Vec<Mount>) -> Vec<(Mount, Answer)> {
        let key = batch.iter().map(|mount| mount.point.as_str()).collect::<Vec<_>>().join("\n");
        if !self.lock().insert(key.clone()) {
            return batch.into_iter().map(|mount| (mount, Answer::NoAnswer)).collect();
        }
        let (this, points) = (self.clone(), batch.iter().map(|mount| mount.point.clone()).collect::<Vec<_>>());
        let asked = work::blocking(move || {
            let answers: Vec<Answer> = points.iter().map(|point| usage(&this.host, point)).collect();
            this.lock().remove(&key);
            answers
        });
        match tokio::time::timeout(DEADLINE, asked).await {
            Ok(Ok(answers)) => batch.into_iter().zip(answers).collect(),
            Ok(Err(error)) => batch.into_iter().map(|mount| (mount, Answer::Failed(error.to_string()))).collect(),
            Err(_) => batch.into_iter().map(|mount| (mount, Answer::NoAnswer)).collect(),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn usage(host: &Host, point: &str) -> Answer {
    match rustix::fs::statvfs(host.resolve(point)) {
        Ok(stat) => Answer::Usage(Usage {
            bytes: stat.f_blocks.saturating_mul(stat.f_frsize),
            bytes_left: stat.f_bavail.saturating_mul(stat.f_frsize),
            bytes_used: stat.f_blocks.saturating_sub(stat.f_bfree).saturating_mul(stat.f_frsize),
            inodes: stat.f_files,
            inodes_left: stat.f_ffree,
        }),
        Err(error) => Answer::Failed(std::io::Error::from(error).to_string()),
    }
}

fn without_repeats(mut answers: Vec<(Mount, Answer)>) -> Vec<(Mount, Answer)> {
    let size = |answer: &Answer| if let Answer::Usage(usage) = answer { Some((usage.bytes, usage.inodes)) } else { None };
    let is_layer = |mount: &Mount| mount.kind == "overlay" || mount.kind == "aufs";
    // The root comes before other overlays of the same disk, so that a container without mounts still shows one.
    answers.sort_by_key(|(mount, _)| (is_layer(mount), mount.point.len()));
    let mut seen = BTreeSet::new();
    answers.retain(|(mount, answer)| match size(answer) {
        Some((0, _)) => false,
        Some(size) => seen.insert(size) || !is_layer(mount),
        // An overlay of another mount namespace cannot be looked into, and its disk is counted anyway.
        None => !is_layer(mount),
    });
    answers
}

#[cfg(test)]
mod tests {
    #![allow(clippy::panic)]
    use super::*;

    fn mount(point: &str, kind: &str) -> Mount {
        Mount {
            point: point.into(),
            device: point.into(),
            subtree: "/".into(),
            kind: kind.into(),
            source: String::new(),
            read_only: false,
            read_only_everywhere: false,
        }
    }

    fn usage_of(bytes: u64) -> Answer {
        Answer::Usage(Usage { bytes, bytes_left: bytes / 4, bytes_used: bytes / 2, inodes: 1_000, inodes_left: 100 })
    }

    #[test]
    fn shares_are_counted_as_df_does() {
        let Answer::Usage(usage) = usage_of(1_000) else { unreachable!() };
        assert_eq!((usage.used_percent() * 10.0).round(), 667.0);
        assert_eq!(usage.inodes_used_percent(), Some(90.0));
        assert_eq!(Usage { inodes: 0, ..usage }.inodes_used_percent(), None);
    }

    #[test]
    fn overlays_that_repeat_a_disk_are_left_out() {
        let answers = vec![
            (mount("/run/containerd/x", "overlay"), usage_of(1_000)),
            (mount("/", "ext4"), usage_of(1_000)),
            (mount("/other", "ext4"), usage_of(1_000)),
            (mount("/empty", "tmpfs"), usage_of(0)),
        ];
        let points: Vec<String> = without_repeats(answers).into_iter().map(|(mount, _)| mount.point).collect();
        assert_eq!(points, ["/", "/other"]);
        let alone = vec![(mount("/etc/x", "overlay"), usage_of(1_000)), (mount("/", "overlay"), usage_of(1_000))];
        assert_eq!(without_repeats(alone).len(), 1);
    }

    #[tokio::test]
    async fn what_is_still_open_is_not_asked_again() {
        let prober = Prober::new(Arc::new(Host::default()));
        let nfs = mount("/", "nfs");
        assert!(matches!(prober.ask(vec![nfs.clone()]).await[..], [(_, Answer::Usage(_))]));
        prober.lock().insert("/".into());
        assert_eq!(prober.ask(vec![nfs.clone()]).await, [(nfs, Answer::NoAnswer)]);
    }

    #[tokio::test]
    async fn a_mount_that_is_gone_is_a_failure_with_its_cause() {
        let gone = mount("/no/such/mount", "ext4");
        let answers = Prober::new(Arc::new(Host::default())).ask(vec![gone]).await;
        assert!(matches!(&answers[..], [(_, Answer::Failed(cause))] if cause.contains("No such file")), "{answers:?}");
    }
}
