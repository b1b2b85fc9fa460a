//! Whether the services named in the agent's settings run, from /proc.
//!
//! In: a service with how to recognise it. Out: running (since when), or not, and why that is known. It
//! connects to nothing and starts nothing.

use std::collections::BTreeMap;
use std::io;

use mainstay_core::WallTime;
use serde::{Deserialize, Serialize};

use super::cpu;
use crate::host::Host;

/// Clock ticks of a second in /proc/PID/stat: fixed at 100 for programs on every Linux of today.
const TICKS_PER_SECOND: i64 = 100;
/// The state of a listening socket in /proc/net/tcp.
const LISTENING: &str = "0A";

/// A service to watch, and how it is recognised. What is given must all hold; one at least is needed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Service {
    pub name: String,
    /// File with the process id in its first line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pidfile: Option<String>,
    /// Name of the program, as in `ps -o comm`, or the last part of its first argument.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<String>,
    /// TCP port on which something listens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
}

/// What was seen of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Liveness {
    /// `since` is known where a process was found.
    Running {
        pid: Option<u32>,
        since: Option<WallTime>,
    },
    Dead {
        why: String,
    },
    /// It cannot be told, and why.
    Unclear {
        why: String,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Process {
    pid: u32,
    name: String,
    program: String,
    started_ticks: i64,
}

/// Looks at every service in one pass over /proc.
#[must_use]
pub fn look(host: &Host, services: &[Service]) -> Vec<Liveness> {
    if services.is_empty() {
        return Vec::new();
    }
    let boot_s = cpu::read(host).map(|times| times.boot_s).unwrap_or_default();
    // Only a service that is named by its process needs all of them.
    let processes =
        if services.iter().any(|service| service.process.is_some() && service.pidfile.is_none()) { processes(host) } else { Ok(BTreeMap::new()) };
    services.iter().map(|service| liveness(host, service, &processes, boot_s)).collect()
}

fn liveness(host: &Host, service: &Service, processes: &io::Result<BTreeMap<u32, Process>>, boot_s: i64) -> Liveness {
    let mut found = None;
    if let Some(pidfile) = &service.pidfile {
        match by_pidfile(host, pidfile, service.process.as_deref()) {
            Ok(process) => found = Some(process),
            Err(seen) => return seen,
        }
    } else if let Some(name) = &service.process {
        match processes {
            Err(error) => return Liveness::Unclear { why: format!("/proc cannot be listed: {error}") },
            Ok(processes) => match processes.values().find(|process| process.is(name)) {
                None => return Liveness::Dead { why: format!("no process `{name}`") },
                Some(process) => found = Some(process.clone()),
            },
        }
    }
    if let Some(port) = service.port {
        match listens(host, port) {
            Err(error) => return Liveness::Unclear { why: format!("/proc/net/tcp: {error}") },
            Ok(false) => return Liveness::Dead { why: format!("nothing listens on port {port}") },
            Ok(true) => {}
        }
    } else if found.is_none() {
        return Liveness::Unclear { why: "its settings name no pidfile, process or port".into() };
    }
    let since = found.as_ref().filter(|_| boot_s > 0).map(|process| WallTime((boot_s + process.started_ticks / TICKS_PER_SECOND) * 1_000));
    Liveness::Running { pid: found.map(|process| process.pid), since }
}

fn by_pidfile(host: &Host, path: &str, name: Option<&str>) -> Result<Process, Liveness> {
    let dead = |why: String| Err(Liveness::Dead { why });
    let text = match host.text(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return dead(format!("no pid file {path}")),
        Err(error) => return Err(Liveness::Unclear { why: format!("{path}: {error}") }),
    };
    let Some(pid) = text.lines().next().and_then(|line| line.trim().parse::<u32>().ok()).filter(|&pid| pid > 0) else {
        return Err(Liveness::Unclear { why: format!("{path} does not start with a process id") });
    };
    match process(host, pid) {
        None => dead(format!("process {pid} of {path} is gone")),
        Some(process) => match name {
            Some(name) if !process.is(name) => dead(format!("process {pid} of {path} is `{}` and not `{name}`", process.name)),
            _ => Ok(process),
        },
    }
}

impl Process {
    /// The kernel cuts a program's name after 15 bytes.
    fn is(&self, name: &str) -> bool {
        self.program == name || self.name.as_bytes() == &name.as_bytes()[..name.len().min(15)]
    }
}

fn processes(host: &Host) -> io::Result<BTreeMap<u32, Process>> {
    let pids = host.names("/proc")?.into_iter().filter_map(|name| name.parse().ok());
    Ok(pids.filter_map(|pid| process(host, pid)).map(|process| (process.pid, process)).collect())
}

/// A process that lives; one that has ended and waits to be collected does not.
fn process(host: &Host, pid: u32) -> Option<Process> {
    let stat = host.text(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in parentheses and may itself hold some.
    let (front, back) = stat.rsplit_once(')')?;
    let (_, name) = front.split_once('(')?;
    let fields: Vec<&str> = back.split_ascii_whitespace().collect();
    if matches!(*fields.first()?, "Z" | "X" | "x") {
        return None;
    }
    let arguments = host.text(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let program = arguments.split('\0').next().unwrap_or_default().rsplit('/').next().unwrap_or_default();
    // Programs that rewrite their arguments write `nginx: master process …` there.
    let program = program.split([':', ' ']).next().unwrap_or_default();
    Some(Process { pid, name: name.to_owned(), program: program.to_owned(), started_ticks: fields.get(19)?.parse().ok()? })
}

fn listens(host: &Host, port: u16) -> io::Result<bool> {
    let net = if host.is_own_root() || !host.exists("/proc/1/net/tcp") { "/proc/net" } else { "/proc/1/net" };
    let four = host.text(format!("{net}/tcp"))?;
    let six = host.text(format!("{net}/tcp6")).unwrap_or_default();
    Ok(four.lines().chain(six.lines()).any(|line| is_listener(line, port)))
}

fn is_listener(line: &str, port: u16) -> bool {
    let mut words = line.split_ascii_whitespace().skip(1);
    let local = words.next().and_then(|address| address.rsplit_once(':')).and_then(|(_, hex)| u16::from_str_radix(hex, 16).ok());
    local == Some(port) && words.nth(1) == Some(LISTENING)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests use real files, sockets and clocks")]
    use super::*;

    fn recorded(files: &[(&str, &str)]) -> (tempfile::TempDir, Host) {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let host = Host::below(dir.path());
        (dir, host)
    }

    fn service(name: &str) -> Service {
        Service { name: name.into(), pidfile: None, process: None, port: None }
    }

    #[test]
    fn services_are_recognised_by_pidfile_process_and_port() {
        let stat = |pid: u32, name: &str, state: &str| format!("{pid} ({name}) {state} 1 1 1 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 6000 1 1\n");
        let (_dir, host) = recorded(&[
            ("proc/stat", "cpu  1 1 1 1\nbtime 1700000000\n"),
            ("proc/7/stat", &stat(7, "a (odd) name", "S")),
            ("proc/7/cmdline", "/usr/sbin/nginx: master process nginx\0"),
            ("proc/8/stat", &stat(8, "dead", "Z")),
            (
                "proc/net/tcp",
                "  sl  local_address rem_address   st\n   0: 0100007F:1538 00000000:0000 0A 0\n   1: 0100007F:0050 0100007F:9999 01 0\n",
            ),
            ("run/web.pid", "7\n"),
            ("run/old.pid", "99\n"),
            ("run/dead.pid", "8\n"),
            ("run/bad.pid", "x\n"),
        ]);
        let running = Liveness::Running { pid: Some(7), since: Some(WallTime(1_700_000_060_000)) };
        let dead = |why: &str| Liveness::Dead { why: why.into() };
        let cases = [
            (Service { process: Some("nginx".into()), ..service("a") }, running.clone()),
            (Service { pidfile: Some("/run/web.pid".into()), ..service("b") }, running.clone()),
            (
                Service { pidfile: Some("/run/web.pid".into()), process: Some("httpd".into()), ..service("c") },
                dead("process 7 of /run/web.pid is `a (odd) name` and not `httpd`"),
            ),
            (Service { pidfile: Some("/run/old.pid".into()), ..service("d") }, dead("process 99 of /run/old.pid is gone")),
            (Service { pidfile: Some("/run/dead.pid".into()), ..service("e") }, dead("process 8 of /run/dead.pid is gone")),
            (Service { pidfile: Some("/run/no.pid".into()), ..service("f") }, dead("no pid file /run/no.pid")),
            (
                Service { pidfile: Some("/run/bad.pid".into()), ..service("g") },
                Liveness::Unclear { why: "/run/bad.pid does not start with a process id".into() },
            ),
            (Service { process: Some("dead".into()), ..service("h") }, dead("no process `dead`")),
            (Service { port: Some(5432), ..service("i") }, Liveness::Running { pid: None, since: None }),
            (Service { port: Some(80), ..service("j") }, dead("nothing listens on port 80")),
            (service("k"), Liveness::Unclear { why: "its settings name no pidfile, process or port".into() }),
        ];
        let services: Vec<Service> = cases.iter().map(|(service, _)| service.clone()).collect();
        for (seen, (service, expected)) in look(&host, &services).into_iter().zip(&cases) {
            assert_eq!(&seen, expected, "{}", service.name);
        }
    }

    #[test]
    fn this_process_is_found_on_this_machine() {
        let name = std::env::args().next().and_then(|path| path.rsplit('/').next().map(str::to_owned)).unwrap();
        let seen = look(&Host::default(), &[Service { process: Some(name), ..service("self") }]);
        assert!(matches!(seen[..], [Liveness::Running { pid: Some(_), since: Some(_) }]), "{seen:?}");
    }
}
