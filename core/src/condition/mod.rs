//! Conditions of a node of Kubernetes that stand beside the kubelet's own: each is True while something is wrong with the
//! node that its agent sees.
//!
//! ```text
//!   node's agent: facts ─ look ─▶ watch: holds for a while ─▶ conditions ─▶ leader ─▶ cluster agent ─ write ─▶ Node
//! ```
//! All of it is decided here: what counts as wrong ([`look`]), when it is said and when it has cleared ([`Watch`]), and what
//! of it is written to a Node, and taken away again ([`write`]). None of them is permanent: what was wrong once counts for
//! a stated time, and what nobody says any more becomes Unknown and goes.

mod look;
mod watch;
pub mod write;

pub use look::{About, Answer, Complaint, DISK_FULL, DISK_WELL, Disk, Facts, KERNEL_COUNTS, KILL_COUNTS, MEMORY_FULL, MEMORY_WELL, Seen, look};
pub use watch::{HOLD, REWORD, Watch};

/// From this level on all members hand conditions on.
pub const CONDITIONS: u32 = 5;
/// Longest reason and longest message of one that is kept: a line each.
const REASON_BYTES: usize = 64;
const MESSAGE_BYTES: usize = 256;

/// What a condition is about. There are no others, so that nobody can say anything of `Ready` by this way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A file system of the node's own disks is full, or cannot be written to.
    Disk,
    /// The node has hardly any memory left, or killed processes for want of it.
    Memory,
    /// The kernel complained: of disks, of file systems, of tasks that hang, of hardware.
    Kernel,
    /// The kubelet does not run, or says that it is not well.
    Kubelet,
    /// The kubelet gets nothing from its container runtime.
    Runtime,
}

impl Kind {
    pub const ALL: [Kind; 5] = [Kind::Disk, Kind::Memory, Kind::Kernel, Kind::Kubelet, Kind::Runtime];

    /// The condition's type.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::Disk => "MainstayDiskTrouble",
            Kind::Memory => "MainstayMemoryTrouble",
            Kind::Kernel => "MainstayKernelTrouble",
            Kind::Kubelet => "MainstayKubeletUnhealthy",
            Kind::Runtime => "MainstayRuntimeUnhealthy",
        }
    }

    /// The kind of that type, if it is one of these.
    #[must_use]
    pub fn of(r#type: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.as_str() == r#type)
    }
}

/// Whether something is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    True,
    False,
    Unknown,
}

impl Status {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Status::True => "True",
            Status::False => "False",
            Status::Unknown => "Unknown",
        }
    }

    /// What is no word of these says nothing.
    #[must_use]
    pub fn of(text: &str) -> Status {
        match text {
            "True" => Status::True,
            "False" => Status::False,
            _ => Status::Unknown,
        }
    }
}

/// One condition, as it is said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    pub kind: Kind,
    pub status: Status,
    /// One word in CamelCase.
    pub reason: String,
    pub message: String,
}

impl Condition {
    /// Within the sizes that are kept, and with a reason that an API server takes.
    #[must_use]
    pub fn bounded(mut self) -> Condition {
        self.reason.retain(|c| c.is_ascii_alphanumeric());
        self.reason.truncate(REASON_BYTES);
        if !self.reason.starts_with(|c: char| c.is_ascii_alphabetic()) {
            "Said".clone_into(&mut self.reason);
        }
        let mut end = MESSAGE_BYTES.min(self.message.len());
        while !self.message.is_char_boundary(end) {
            end -= 1;
        }
        self.message.truncate(end);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_and_words_are_read_as_they_are_written() {
        for kind in Kind::ALL {
            assert_eq!(Kind::of(kind.as_str()), Some(kind));
        }
        assert_eq!(Kind::of("Ready"), None);
        for status in [Status::True, Status::False, Status::Unknown] {
            assert_eq!(Status::of(status.as_str()), status);
        }
        assert_eq!(Status::of("perhaps"), Status::Unknown);
    }

    #[test]
    fn what_an_agent_can_have_written_is_bounded() {
        let said = |reason: &str, message: &str| {
            let condition = Condition { kind: Kind::Disk, status: Status::True, reason: reason.into(), message: message.into() };
            let bounded = condition.bounded();
            (bounded.reason, bounded.message.len())
        };
        assert_eq!(said("DiskFull", "full"), ("DiskFull".to_owned(), 4));
        assert_eq!(said("7 Disks\nFull", ""), ("Said".to_owned(), 0));
        assert_eq!(said("", ""), ("Said".to_owned(), 0));
        let (reason, message) = said(&"A".repeat(1_000), &"€".repeat(1_000));
        assert_eq!((reason.len(), message), (REASON_BYTES, 255), "cut between characters");
    }
}
