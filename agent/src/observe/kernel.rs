//! What the kernel complained about, from /dev/kmsg.
//!
//! In: records of the kernel's ring since the machine started. Out: those that tell of a kill for want of
//! memory, a failing disk, a file system gone read-only, a hung task or broken hardware. It reads what is in
//! the ring now and never waits for more.

use std::io::{self, Read};
use std::sync::LazyLock;

use mainstay_core::WallTime;
use regex::Regex;

use crate::host::Host;
use crate::observe::load;

/// Most complaints kept of one reading, newest last; a disk that fails writes thousands.
const EVENTS_MAX: usize = 2_000;
/// Most that is read of the ring, which is rarely above 1 MiB.
const RING_BYTES: usize = 16 << 20;

/// What a message is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    /// A process was killed because the node, or its memory cgroup, had no memory left.
    OutOfMemory,
    DiskError,
    ReadOnly,
    HungTask,
    Hardware,
}

/// One complaint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelEvent {
    pub trouble: Trouble,
    pub at: WallTime,
    pub text: String,
}

/// What came of a reading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KernelLog {
    Events(Vec<KernelEvent>),
    /// It may not be read here, and why.
    Closed(String),
}

impl Trouble {
    pub const ALL: [Trouble; 5] = [Trouble::OutOfMemory, Trouble::DiskError, Trouble::ReadOnly, Trouble::HungTask, Trouble::Hardware];

    /// What a kernel message is about, if it is a complaint.
    #[must_use]
    pub fn of(message: &str) -> Option<Trouble> {
        static PATTERNS: LazyLock<Vec<(Trouble, Option<Regex>)>> = LazyLock::new(|| {
            [
                (Trouble::OutOfMemory, r"(?-u)(?i)out of memory: kill(?:ed)? process \d+"),
                (
                    Trouble::ReadOnly,
                    r"(?-u)Remounting filesystem read-only|forced readonly|(?i:shutting down filesystem|filesystem has been shut down|Abort(?:ing|ed) journal)",
                ),
                (
                    Trouble::DiskError,
                    r"(?-u)(?i)\bI/O error\b|critical (?:medium|target) error|(?:EXT[234]-fs error|XFS \([a-z0-9-]+\): (?:Corruption|Metadata corruption)|BTRFS (?:error|critical)|unrecovered read error)",
                ),
                (Trouble::HungTask, r"task .{1,64} blocked for more than \d+ seconds|soft lockup|hard LOCKUP|rcu_\w+ (?:self-)?detected stalls?"),
                (Trouble::Hardware, r"\[Hardware Error\]|Machine check events logged|EDAC .*\b[CU]E\b|Uncorrected (?:hardware|memory) "),
            ]
            .into_iter()
            .map(|(trouble, pattern)| (trouble, Regex::new(pattern).ok()))
            .collect()
        });
        // Empty drives answer every question with an error.
        if ["dev fd", "dev sr"].iter().any(|drive| message.contains(drive)) {
            return None;
        }
        PATTERNS.iter().find(|(_, pattern)| pattern.as_ref().is_some_and(|pattern| pattern.is_match(message))).map(|(trouble, _)| *trouble)
    }
}

/// Reads the ring.
pub fn read(host: &Host) -> io::Result<KernelLog> {
    let closed = |why: &str| Ok(KernelLog::Closed(why.to_owned()));
    let mut file = match host.open("/dev/kmsg") {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return closed("there is no /dev/kmsg here"),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return closed("not allowed to read /dev/kmsg; the agent needs CAP_SYSLOG"),
        Err(error) => return Err(error),
    };
    let boot_ms = host.wall().0 - (load::uptime_s(host).unwrap_or(0.0) * 1_000.0) as i64;
    let mut records = Records { boot_ms, ..Records::default() };
    // One read yields one record, which is at most 8 KiB.
    let mut buffer = [0; 8_192];
    let mut read = 0;
    while read < RING_BYTES {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => {
                read += n;
                records.push(&buffer[..n]);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            // Overwritten while it was read: the next read goes on with the oldest record there is.
            Err(error) if error.raw_os_error() == Some(32) || error.kind() == io::ErrorKind::Interrupted => read += 1,
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return closed("not allowed to read /dev/kmsg; the agent needs CAP_SYSLOG");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(KernelLog::Events(records.events))
}

/// Puts records together from the pieces in which they are read.
#[derive(Default)]
struct Records {
    boot_ms: i64,
    pending: Vec<u8>,
    events: Vec<KernelEvent>,
}

impl Records {
    fn push(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
        while let Some(end) = self.pending.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = self.pending.drain(..=end).collect();
            if let Some(event) = parse(&String::from_utf8_lossy(&line), self.boot_ms) {
                if self.events.len() == EVENTS_MAX {
                    self.events.remove(0);
                }
                self.events.push(event);
            }
        }
        // A line without an end is no record.
        if self.pending.len() > 64 << 10 {
            self.pending.clear();
        }
    }
}

/// One record: `priority,sequence,microseconds,flags;message`. Lines that go on with a record's fields start
/// with a space.
fn parse(line: &str, boot_ms: i64) -> Option<KernelEvent> {
    let (head, message) = line.split_once(';')?;
    let micros: i64 = head.split(',').nth(2)?.parse().ok()?;
    let message = message.trim_end();
    let trouble = Trouble::of(message)?;
    Some(KernelEvent { trouble, at: WallTime(boot_ms.saturating_add(micros / 1_000)), text: message.to_owned() })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests use real files, sockets and clocks")]
    use super::*;

    #[test]
    fn complaints_are_told_from_other_messages() {
        for (message, trouble) in [
            ("Out of memory: Killed process 812 (stress) total-vm:1kB", Some(Trouble::OutOfMemory)),
            ("Memory cgroup out of memory: Killed process 4242 (python3) total-vm:9kB, anon-rss:8kB", Some(Trouble::OutOfMemory)),
            ("Out of memory: Kill process 812 (stress) score 912 or sacrifice child", Some(Trouble::OutOfMemory)),
            ("oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),task=python3,pid=4242,uid=0", None),
            ("oom_reaper: reaped process 812 (stress), now anon-rss:0kB", None),
            ("blk_update_request: I/O error, dev sda, sector 1234 op 0x0", Some(Trouble::DiskError)),
            ("Buffer I/O error on dev sdb1, logical block 0, async page read", Some(Trouble::DiskError)),
            ("I/O error, dev fd0, sector 0", None),
            ("critical medium error, dev nvme0n1, sector 99", Some(Trouble::DiskError)),
            ("EXT4-fs error (device sda1): ext4_lookup:1602: inode #2: comm ls: bad entry", Some(Trouble::DiskError)),
            ("EXT4-fs (sda1): Remounting filesystem read-only", Some(Trouble::ReadOnly)),
            ("EXT4-fs (vda): re-mounted 0000 ro. Quota mode: none.", None),
            ("EXT4-fs (vda): mounted filesystem with ordered data mode. Opts: errors=remount-ro", None),
            ("INFO: task jbd2/sda1-8:412 blocked for more than 120 seconds.", Some(Trouble::HungTask)),
            ("mce: [Hardware Error]: CPU 3: Machine Check: 0 Bank 5", Some(Trouble::Hardware)),
            ("usb 1-1: new high-speed USB device", None),
            ("tokio-rt-worker (69): drop_caches: 3", None),
        ] {
            assert_eq!(Trouble::of(message), trouble, "{message}");
        }
    }

    #[test]
    fn records_are_read_from_a_recorded_ring_with_their_times() {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in [
            ("proc/uptime", "100.00 1.0\n"),
            (
                "dev/kmsg",
                "6,1,500000,-;Linux version 6.18\n3,2,40000000,-;Memory cgroup out of memory: Killed process 7 (sh) total-vm:1kB\n SUBSYSTEM=memory\n4,3,50000000,c;half",
            ),
        ] {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let host = Host::below(dir.path()).with_wall(WallTime(1_000_000));
        let event = KernelEvent {
            trouble: Trouble::OutOfMemory,
            at: WallTime(940_000),
            text: "Memory cgroup out of memory: Killed process 7 (sh) total-vm:1kB".into(),
        };
        assert_eq!(read(&host).unwrap(), KernelLog::Events(vec![event]));
    }

    #[test]
    fn a_machine_without_a_ring_says_so() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(&Host::below(dir.path())).unwrap(), KernelLog::Closed("there is no /dev/kmsg here".into()));
    }
}
