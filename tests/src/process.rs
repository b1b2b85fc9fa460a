//! Processes of a mesh: found by their command lines, stopped in every way.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Processes whose command line has every one of `words`.
pub fn find(words: &[&str]) -> Vec<Pid> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").expect("/proc can be read").flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        let Ok(line) = fs::read(entry.path().join("cmdline")) else { continue };
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if words.iter().all(|word| line.contains(word)) {
            found.extend(Pid::from_raw(pid));
        }
    }
    found
}

/// The process of a mesh whose directory is `dir/name`, for example `a1`.
pub fn of(dir: &Path, program: &str, name: &str) -> Option<Pid> {
    let own = format!("{}/{name} ", dir.display());
    find(&[program]).into_iter().find(|pid| {
        let line = fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default();
        let words: Vec<String> = line.split(|b| *b == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect();
        words.first().is_some_and(|first| first.ends_with(program)) && (words.join(" ") + " ").contains(&own)
    })
}

pub fn signal(pid: Pid, signal: Signal) {
    // A process that is gone already is what most callers want.
    let _ = kill_process(pid, signal);
}

/// `kill -9`.
pub fn kill(pid: Pid) {
    signal(pid, Signal::KILL);
}

/// Whether any of its threads still runs. After a `kill -9` the first thread may have ended, and with it what the
/// process seems to be, while another one still keeps its files and locks.
pub fn is_alive(pid: Pid) -> bool {
    let Ok(threads) = fs::read_dir(format!("/proc/{}/task", pid.as_raw_nonzero())) else { return false };
    threads.flatten().any(|thread| {
        let stat = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.trim_start().starts_with(['Z', 'X']))
    })
}

/// `kill -9`, and waits until nothing is left of it that could hold a lock or a port.
pub fn kill_and_wait(pids: &[Pid]) {
    for pid in pids {
        kill(*pid);
    }
    let deadline = Instant::now() + Duration::from_secs(20);
    while let Some(pid) = pids.iter().find(|pid| is_alive(**pid)) {
        assert!(Instant::now() < deadline, "process {} outlives a kill by 20 s", pid.as_raw_nonzero());
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Bytes of memory that are the process's own and in RAM.
pub fn resident_bytes(pid: Pid) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0 kB");
    line.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) * 1_024
}

/// CPU time that the process has used so far, user and system, in seconds.
pub fn cpu_seconds(pid: Pid) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
    // Fields 14 and 15 of proc(5), counted from behind the name; 100 ticks a second on every Linux.
    (ticks(11) + ticks(12)) / 100.0
}
