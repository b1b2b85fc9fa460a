//! One running server: its process, its log, and how it is ended.

use std::fs::{self, File};
use std::future::Future;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use super::place::Place;
use crate::{eventually_within, process};

/// A server that has not come up by then will not.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// After this a server that was asked to end is made to.
const ENDS_WITHIN: Duration = Duration::from_secs(10);
/// Lines of a log that a failure shows.
const TAIL: usize = 20;

/// The process of a server, in a process group of its own.
pub struct Program {
    name: String,
    child: Child,
    log: PathBuf,
    ends_on: Signal,
}

impl Program {
    /// Starts it, with all that it prints in `NAME.log` of its place.
    pub fn start(name: &str, place: &Place, mut command: Command, ends_on: Signal) -> Program {
        let log = place.path().join(format!("{name}.log"));
        let file = File::options().create(true).append(true).open(&log).expect("a log for the server");
        command.process_group(0).stdout(file.try_clone().expect("the same log")).stderr(file).stdin(Stdio::null());
        let child = command.spawn().unwrap_or_else(|error| panic!("{name} does not start: {error}; tests/packages installs it"));
        Program { name: name.to_owned(), child, log, ends_on }
    }

    /// Waits until `probe` answers. A server that has ended meanwhile is not waited for.
    pub async fn ready<F, Fut>(&mut self, probe: F)
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = Result<(), String>>,
    {
        self.ready_within(READY_WITHIN, probe).await;
    }

    /// The same for one that takes its time.
    pub async fn ready_within<F, Fut>(&mut self, within: Duration, mut probe: F)
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = Result<(), String>>,
    {
        let what = format!("{} is ready", self.name);
        let (child, log) = (std::cell::RefCell::new(&mut self.child), self.log.clone());
        eventually_within(within, &what, || {
            if let Ok(Some(status)) = child.borrow_mut().try_wait() {
                panic!("{what}: it has ended with {status}\n{}", tail(&log));
            }
            let asked = probe();
            let log = &log;
            async move { asked.await.map_err(|why| format!("{why}\n{}", tail(log))) }
        })
        .await;
    }

    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// The last that it has written.
    pub fn log_tail(&self) -> String {
        tail(&self.log)
    }

    fn end(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        process::signal(self.pid(), self.ends_on);
        let begun = Instant::now();
        while begun.elapsed() < ENDS_WITHIN {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        // What is left of its group goes with it.
        let _ = kill_process_group(self.pid(), Signal::KILL);
        let _ = self.child.wait();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("== {}\n{}", self.name, self.log_tail());
        }
        self.end();
    }
}

fn tail(log: &PathBuf) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL)..].join("\n")
}
