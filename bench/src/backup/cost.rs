//! What a program costs: from its start to its end, of CPU with all the programs that it started and waited for, at most of
//! memory by itself, and at most of files in a directory.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

/// Between two looks. What lies in the directory for a shorter time may be missed; the most of memory is kept by the kernel.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// A program that has not ended by then will not.
const ENDS_WITHIN: Duration = Duration::from_secs(3_600);
/// Of every Linux.
const TICKS_A_SECOND: f64 = 100.0;

/// What it took.
#[derive(Debug, Clone)]
pub struct Cost {
    pub wall: f64,
    pub cpu: f64,
    pub resident_bytes: u64,
    pub temporary_bytes: u64,
    /// What it printed.
    pub printed: String,
}

/// A program to be measured.
pub struct Measured {
    command: Command,
    said: PathBuf,
    temporary: PathBuf,
}

impl Measured {
    /// It runs in `temporary`, which is its home and its place for temporary files too; what it says is kept in `said`.
    /// The kernel ends it when the measurement is ended.
    pub fn new(program: &Path, temporary: &Path, said: &Path) -> Measured {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(program).process_group(0);
        command.env_clear().env("LANG", "C.UTF-8").env("HOME", temporary).env("TMPDIR", temporary).current_dir(temporary);
        Measured { command, said: said.to_owned(), temporary: temporary.to_owned() }
    }

    pub fn args<'a>(&mut self, arguments: impl IntoIterator<Item = &'a str>) -> &mut Measured {
        self.command.args(arguments);
        self
    }

    pub fn env(&mut self, name: &str, value: &str) -> &mut Measured {
        self.command.env(name, value);
        self
    }

    /// Runs it to its end, which has to be a good one.
    pub fn cost(&mut self) -> Cost {
        let (printed, complaints) = (self.said.join("stdout"), self.said.join("stderr"));
        let file = |path: &Path| File::create(path).expect("a file for what it says");
        self.command.stdin(Stdio::null()).stdout(file(&printed)).stderr(file(&complaints));
        let begun = Instant::now();
        let mut child = self.command.spawn().expect("it starts: setpriv is of util-linux");
        let pid = Pid::from_child(&child);
        let (mut resident_bytes, mut temporary_bytes) = (0_u64, 0_u64);
        // It stays where its times can be read until it is waited for.
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        while waitid(WaitId::Pid(pid), options).expect("it is a child").is_none() {
            if begun.elapsed() > ENDS_WITHIN {
                let _ = kill_process_group(pid, Signal::KILL);
            }
            resident_bytes = resident_bytes.max(most_resident(pid));
            temporary_bytes = temporary_bytes.max(bytes_in(&self.temporary));
            std::thread::sleep(LOOK_EVERY);
        }
        let wall = begun.elapsed().as_secs_f64();
        let cpu = cpu_of_all(pid);
        let status = child.wait().expect("it is a child");
        let text = |path: &Path| fs::read_to_string(path).unwrap_or_default();
        assert!(status.success(), "{:?} ended with {status}: {} {}", self.command, text(&printed), text(&complaints));
        Cost { wall, cpu, resident_bytes, temporary_bytes: temporary_bytes.max(bytes_in(&self.temporary)), printed: text(&printed) }
    }
}

/// The most that it has had in RAM; nothing of one that has ended.
fn most_resident(pid: Pid) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) << 10
}

/// Seconds of one that has ended and was not waited for yet, user and system, its own and of all that it waited for.
fn cpu_of_all(pid: Pid) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).expect("it was not waited for");
    // Fields 14 to 17 of proc(5), counted from behind the name.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    fields.skip(11).take(4).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / TICKS_A_SECOND
}

/// Sizes of all files in a directory and below.
fn bytes_in(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| Some((entry.path(), entry.metadata().ok()?)))
        .map(|(path, is)| if is.is_dir() { bytes_in(&path) } else { is.len() })
        .sum()
}
