//! What counts as wrong with a node, of what its agent sees.
//!
//! A value has two limits: it is wrong from the one on, well again below the other, and between the two it stays what it
//! was. A message names what is wrong and the limit, not the value, so that it changes only when something else is wrong.
//! What the kernel has said counts for a stated time, since nobody says when it is over.

use super::Kind;
use crate::time::Millis;

/// A file system that is full to this percentage, of bytes or of inodes, is trouble, …
pub const DISK_FULL: f64 = 95.0;
/// … and well again below this one. The kubelet calls a node short of disk at 90 % of two of them.
pub const DISK_WELL: f64 = 90.0;
/// Memory of which this percentage is used, the rest being what a program could still have, …
pub const MEMORY_FULL: f64 = 95.0;
/// … and well again below this one.
pub const MEMORY_WELL: f64 = 90.0;
/// A process that was killed because the node had no memory left counts for so long.
pub const KILL_COUNTS: Millis = Millis::from_secs(600);
/// Any other complaint of the kernel counts for so long. What goes on is complained of again.
pub const KERNEL_COUNTS: Millis = Millis::from_secs(3_600);
/// File systems that a message names.
const NAMED: usize = 3;

/// What an agent sees of its node. Nothing: it does not see it there.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Facts {
    /// File systems of the node's own disks.
    pub disks: Option<Vec<Disk>>,
    pub memory_used_percent: Option<f64>,
    /// What the kernel complained of, newest last.
    pub kernel: Option<Vec<Complaint>>,
    pub kubelet: Option<Answer>,
    pub runtime: Option<Answer>,
}

/// One file system.
#[derive(Debug, Clone, PartialEq)]
pub struct Disk {
    /// The device, and where the agent sees it.
    pub name: String,
    pub used_percent: Option<f64>,
    /// Where there is a fixed number of inodes.
    pub inodes_used_percent: Option<f64>,
    /// It cannot be written to, and is meant to be.
    pub gone_read_only: bool,
}

/// What a kernel message is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// A process was killed because the node had no memory left; not one that was beyond its own limit.
    OutOfMemory,
    DiskError,
    ReadOnly,
    HungTask,
    Hardware,
}

/// One kernel message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    pub about: About,
    pub age: Millis,
    pub text: String,
}

/// What the kubelet says of itself, or of its runtime.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Well,
    /// Nobody listens there.
    Closed,
    /// It says that something is wrong.
    Fault,
    /// It was not asked, did not answer in time, or does not tell us.
    Silent,
}

/// How one thing looks at one time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    Well {
        reason: &'static str,
        message: String,
    },
    /// As it was before.
    Between,
    Wrong {
        reason: &'static str,
        message: String,
        /// It has happened, and is not waited for to last.
        at_once: bool,
    },
    Unknown {
        reason: &'static str,
        message: String,
    },
}

fn well(reason: &'static str, message: &str) -> Seen {
    Seen::Well { reason, message: message.to_owned() }
}

fn wrong(reason: &'static str, message: String) -> Seen {
    Seen::Wrong { reason, message, at_once: false }
}

fn unknown(reason: &'static str, message: &str) -> Seen {
    Seen::Unknown { reason, message: message.to_owned() }
}

/// How one thing looks; nothing where the agent does not see it.
#[must_use]
pub fn look(kind: Kind, facts: &Facts) -> Option<Seen> {
    match kind {
        Kind::Disk => facts.disks.as_deref().map(disks),
        Kind::Memory => memory(facts),
        Kind::Kernel => facts.kernel.as_deref().map(kernel),
        Kind::Kubelet => facts.kubelet.as_ref().map(kubelet),
        Kind::Runtime => facts.runtime.as_ref().map(runtime),
    }
}

fn disks(disks: &[Disk]) -> Seen {
    let at_least = |value: Option<f64>, limit: f64| value.is_some_and(|value| value >= limit);
    let named = |which: &dyn Fn(&Disk) -> bool| -> Vec<&str> { disks.iter().filter(|disk| which(disk)).map(|disk| disk.name.as_str()).collect() };
    let read_only = named(&|disk| disk.gone_read_only);
    if !read_only.is_empty() {
        return wrong("FileSystemReadOnly", format!("cannot be written to: {}", list(&read_only)));
    }
    let full = named(&|disk| at_least(disk.used_percent, DISK_FULL));
    if !full.is_empty() {
        return wrong("FileSystemFull", format!("{DISK_FULL} % full or more: {}", list(&full)));
    }
    let full = named(&|disk| at_least(disk.inodes_used_percent, DISK_FULL));
    if !full.is_empty() {
        return wrong("InodesFull", format!("{DISK_FULL} % of the inodes used or more: {}", list(&full)));
    }
    if disks.iter().any(|disk| at_least(disk.used_percent, DISK_WELL) || at_least(disk.inodes_used_percent, DISK_WELL)) {
        return Seen::Between;
    }
    well("DisksWell", "the node's file systems can be written to and have room")
}

fn list(names: &[&str]) -> String {
    let mut text = names.iter().take(NAMED).copied().collect::<Vec<_>>().join(", ");
    if names.len() > NAMED {
        text += &format!(" and {} more", names.len() - NAMED);
    }
    text
}

fn memory(facts: &Facts) -> Option<Seen> {
    let kill = facts.kernel.iter().flatten().rev().find(|complaint| complaint.about == About::OutOfMemory && complaint.age <= KILL_COUNTS);
    if let Some(kill) = kill {
        let message = format!("within {KILL_COUNTS}: {}", kill.text);
        return Some(Seen::Wrong { reason: "OutOfMemory", message, at_once: true });
    }
    Some(match facts.memory_used_percent? {
        used if used >= MEMORY_FULL => wrong("MemoryLow", format!("less than {} % of the node's memory is available", 100.0 - MEMORY_FULL)),
        used if used >= MEMORY_WELL => Seen::Between,
        _ => well("MemoryWell", "the node has memory left"),
    })
}

fn kernel(complaints: &[Complaint]) -> Seen {
    let counts = |about: About| complaints.iter().rev().find(move |complaint| complaint.about == about && complaint.age <= KERNEL_COUNTS);
    // The worst first.
    let all = [
        (About::ReadOnly, "FileSystemReadOnly"),
        (About::DiskError, "DiskErrors"),
        (About::Hardware, "HardwareErrors"),
        (About::HungTask, "TasksHang"),
    ];
    match all.into_iter().find_map(|(about, reason)| Some((reason, counts(about)?))) {
        Some((reason, last)) => Seen::Wrong { reason, message: format!("within {KERNEL_COUNTS}: {}", last.text), at_once: true },
        None => well("KernelQuiet", "the kernel has complained of nothing lately"),
    }
}

fn kubelet(answer: &Answer) -> Seen {
    match answer {
        Answer::Well => well("KubeletWell", "the kubelet says that it is well"),
        Answer::Closed => wrong("KubeletNotListening", "the kubelet does not run, or does not listen".to_owned()),
        Answer::Fault => wrong("KubeletNotWell", "the kubelet says that it is not well".to_owned()),
        Answer::Silent => unknown("KubeletSilent", "the kubelet does not answer the node's agent, or does not tell it"),
    }
}

fn runtime(answer: &Answer) -> Seen {
    match answer {
        Answer::Well => well("RuntimeWell", "the kubelet has its containers' numbers from the runtime"),
        Answer::Fault => wrong("RuntimeNotAnswering", "the kubelet gets no numbers of containers from the runtime".to_owned()),
        Answer::Closed | Answer::Silent => unknown("KubeletSilent", "the kubelet does not say how its runtime is"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(name: &str, used: f64, inodes: Option<f64>, gone_read_only: bool) -> Disk {
        Disk { name: name.into(), used_percent: Some(used), inodes_used_percent: inodes, gone_read_only }
    }

    fn said(kind: Kind, facts: &Facts) -> (&'static str, String) {
        match look(kind, facts) {
            None => ("-", String::new()),
            Some(Seen::Well { reason, .. }) => ("well", reason.to_owned()),
            Some(Seen::Between) => ("between", String::new()),
            Some(Seen::Wrong { reason, message, at_once }) => (if at_once { "at once" } else { "wrong" }, format!("{reason}: {message}")),
            Some(Seen::Unknown { reason, .. }) => ("unknown", reason.to_owned()),
        }
    }

    #[test]
    fn a_disk_is_wrong_from_one_limit_on_and_well_below_another() {
        let of = |disks: Vec<Disk>| said(Kind::Disk, &Facts { disks: Some(disks), ..Facts::default() });
        assert_eq!(of(vec![]), ("well", "DisksWell".into()));
        assert_eq!(of(vec![disk("a", 89.9, Some(89.9), false)]).0, "well");
        for (used, inodes) in [(90.0, None), (94.9, None), (10.0, Some(90.0)), (10.0, Some(94.9))] {
            assert_eq!(of(vec![disk("a", used, inodes, false)]).0, "between", "{used} {inodes:?}");
        }
        assert_eq!(of(vec![disk("a", 95.0, None, false), disk("b", 1.0, None, false)]), ("wrong", "FileSystemFull: 95 % full or more: a".into()));
        assert_eq!(of(vec![disk("a", 1.0, Some(95.0), false)]), ("wrong", "InodesFull: 95 % of the inodes used or more: a".into()));
        assert_eq!(
            of(vec![disk("a", 99.0, None, false), disk("b", 1.0, None, true)]),
            ("wrong", "FileSystemReadOnly: cannot be written to: b".into()),
            "what is worse is said"
        );
        let many = ["a", "b", "c", "d", "e"].map(|name| disk(name, 100.0, None, false)).to_vec();
        assert_eq!(of(many).1, "FileSystemFull: 95 % full or more: a, b, c and 2 more");
        let unread = Disk { used_percent: None, ..disk("a", 0.0, None, false) };
        assert_eq!(of(vec![unread]).0, "well");
    }

    fn complaint(about: About, seconds: u64) -> Complaint {
        Complaint { about, age: Millis::from_secs(seconds), text: format!("{about:?}") }
    }

    #[test]
    fn memory_is_wrong_while_little_is_left_and_for_a_while_after_a_kill() {
        let of =
            |used: Option<f64>, kernel: Option<Vec<Complaint>>| said(Kind::Memory, &Facts { memory_used_percent: used, kernel, ..Facts::default() });
        assert_eq!([of(Some(89.9), None).0, of(Some(90.0), None).0, of(Some(94.9), None).0], ["well", "between", "between"]);
        assert_eq!(of(Some(95.0), None), ("wrong", "MemoryLow: less than 5 % of the node's memory is available".into()));
        let killed = |seconds| of(Some(10.0), Some(vec![complaint(About::OutOfMemory, seconds), complaint(About::DiskError, 0)]));
        assert_eq!(killed(600), ("at once", "OutOfMemory: within 10m: OutOfMemory".into()));
        assert_eq!(killed(601).0, "well");
        assert_eq!(of(None, Some(vec![])).0, "-");
    }

    #[test]
    fn what_the_kernel_said_counts_for_an_hour() {
        let of = |kernel: Vec<Complaint>| said(Kind::Kernel, &Facts { kernel: Some(kernel), ..Facts::default() });
        assert_eq!(of(vec![]), ("well", "KernelQuiet".into()));
        for (about, reason) in [
            (About::ReadOnly, "FileSystemReadOnly"),
            (About::DiskError, "DiskErrors"),
            (About::Hardware, "HardwareErrors"),
            (About::HungTask, "TasksHang"),
        ] {
            assert_eq!(of(vec![complaint(about, 3_600)]), ("at once", format!("{reason}: within 1h: {about:?}")));
            assert_eq!(of(vec![complaint(about, 3_601)]).0, "well", "{about:?}");
        }
        assert_eq!(of(vec![complaint(About::OutOfMemory, 0)]).0, "well", "memory is said elsewhere");
        assert!(of(vec![complaint(About::DiskError, 9), complaint(About::HungTask, 0)]).1.starts_with("DiskErrors"), "the worst");
    }

    #[test]
    fn a_kubelet_that_is_not_heard_is_not_called_wrong() {
        let of = |answer: Answer| {
            let facts = Facts { kubelet: Some(answer.clone()), runtime: Some(answer), ..Facts::default() };
            (said(Kind::Kubelet, &facts).0, said(Kind::Runtime, &facts).0)
        };
        assert_eq!(of(Answer::Well), ("well", "well"));
        assert_eq!(of(Answer::Closed), ("wrong", "unknown"));
        assert_eq!(of(Answer::Fault), ("wrong", "wrong"));
        assert_eq!(of(Answer::Silent), ("unknown", "unknown"));
    }

    #[test]
    fn what_is_not_seen_is_not_said() {
        for kind in Kind::ALL {
            assert_eq!(look(kind, &Facts::default()), None);
        }
    }
}
