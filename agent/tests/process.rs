//! The real process, without a mesh: how it starts, refuses to start, and ends.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// How long anything may take that should happen.
const DEADLINE: Duration = Duration::from_secs(20);

/// A process that is killed when it is dropped.
struct Agent {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Agent {
    fn start(dir: &Path, flags: &[&str]) -> Agent {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mainstay-agent"));
        command.args([
            "--cluster",
            "local",
            "--node",
            "n1",
            "--coordinators",
            "127.0.0.1:1",
            "--enrol",
            "127.0.0.1:1",
            "--http-listen",
            "127.0.0.1:0",
        ]);
        command.arg("--dir").arg(dir).arg("--join-token-file").arg(dir.join("no-token-yet")).args(flags);
        let mut child = command.env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = mpsc::channel();
        let stderr = child.stderr.take().unwrap();
        std::thread::spawn(move || BufReader::new(stderr).lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Agent { child, lines }
    }

    /// Waits for a line of its log.
    fn until(&self, part: &str) -> String {
        let mut seen = Vec::new();
        loop {
            let line = self.lines.recv_timeout(DEADLINE).unwrap_or_else(|_| panic!("never: {part}; it said {seen:#?}"));
            if line.contains(part) {
                return line;
            }
            seen.push(line);
        }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for its end; answers with what it still said.
    fn ended(mut self) -> (ExitStatus, String) {
        // Its standard error is closed when it ends; who does not end in time says nothing more either.
        let mut said = String::new();
        while let Ok(line) = self.lines.recv_timeout(DEADLINE) {
            said.push_str(&line);
            said.push('\n');
        }
        let ended = self.child.try_wait().unwrap().or_else(|| self.child.wait().ok());
        (ended.unwrap(), said)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn it_waits_for_its_mesh_and_leaves_when_it_is_asked_to() {
    for signal in [Signal::TERM, Signal::INT] {
        let dir = tempfile::tempdir().unwrap();
        let agent = Agent::start(dir.path(), &[]);
        assert!(agent.until("serving metrics and health").contains("127.0.0.1:"));
        assert!(agent.until("cannot enrol yet").contains("no-token-yet"));
        agent.signal(signal);
        let (status, _) = agent.ended();
        assert_eq!(status.code(), Some(0));
    }
}

#[test]
fn a_second_process_on_its_directory_ends_with_a_clear_error() {
    let dir = tempfile::tempdir().unwrap();
    let first = Agent::start(dir.path(), &[]);
    first.until("serving metrics and health");
    let (status, said) = Agent::start(dir.path(), &[]).ended();
    assert_eq!(status.code(), Some(1));
    assert!(said.contains("is in use by another process"), "{said}");
}

#[test]
fn bad_settings_end_it_with_status_2_and_all_of_them_named() {
    let dir = tempfile::tempdir().unwrap();
    let (status, said) = Agent::start(dir.path(), &["--log-format", "xml", "--http-root-path", "x"]).ended();
    assert_eq!(status.code(), Some(2));
    assert!(said.contains("log_format: `xml`") && said.contains("http_root_path: `x`"), "{said}");
}

#[test]
fn a_port_in_use_is_named() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let first = Agent::start(other.path(), &[]);
    let line = first.until("serving metrics and health");
    let address = line.rsplit_once("address=").unwrap().1.trim();
    let mut command = Command::new(env!("CARGO_BIN_EXE_mainstay-agent"));
    command.args(["--cluster", "local", "--node", "n1", "--coordinators", "127.0.0.1:1", "--http-listen", address]).arg("--dir").arg(dir.path());
    let output = command.env_clear().output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains(&format!("cannot listen on {address}")) && said.contains("--http-listen"), "{said}");
}

#[test]
fn a_ledger_that_is_damaged_or_newer_stops_it_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("ledger.redb"), vec![0x5a; 8_192]).unwrap();
    let (status, said) = Agent::start(dir.path(), &[]).ended();
    assert_eq!(status.code(), Some(1));
    assert!(said.contains("is damaged") && said.contains("move the file away"), "{said}");
    let mut left = Vec::new();
    std::fs::File::open(dir.path().join("ledger.redb")).unwrap().read_to_end(&mut left).unwrap();
    assert_eq!(left, vec![0x5a; 8_192], "it is left as it was");
}

#[test]
fn a_token_on_the_command_line_is_no_flag() {
    let dir = tempfile::tempdir().unwrap();
    let (status, said) = Agent::start(dir.path(), &["--join-token", "mst1.secret"]).ended();
    assert_eq!(status.code(), Some(2));
    assert!(said.contains("--join-token"), "{said}");
}

#[test]
fn it_becomes_a_program_in_a_root_or_says_why_not() {
    let dir = tempfile::tempdir().unwrap();
    for folder in ["bin", "srv"] {
        std::fs::create_dir(dir.path().join(folder)).unwrap();
    }
    std::fs::copy("/bin/busybox", dir.path().join("bin/busybox")).expect("a program without libraries: Debian's busybox-static");
    let become_it = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mainstay-agent"));
        let output = command.arg("--become-in-root").arg(dir.path()).args(words).env_clear().output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    if !rustix::process::geteuid().is_root() {
        let (status, _, said) = become_it(&["/", "/bin/busybox", "true"]);
        assert!(status == Some(126) && said.contains("it takes the capability SYS_CHROOT"), "{said}");
        return;
    }
    let script = "pwd; echo *; echo new > mark; exit 3";
    assert_eq!(become_it(&["/srv", "/bin/busybox", "sh", "-c", script]), (Some(3), "/srv\n*".to_owned(), String::new()));
    assert_eq!(std::fs::read_to_string(dir.path().join("srv/mark")).unwrap(), "new\n");
    let (status, root, _) = become_it(&["/../..", "/bin/busybox", "sh", "-c", "cd ../..; echo *"]);
    assert_eq!((status, root.as_str()), (Some(0), "bin srv"), "what is above the root cannot be reached");
    for (words, said) in [
        (&["/srv", "/bin/none"][..], "mainstay-agent: /bin/none cannot be started in /srv of the host: No such file or directory"),
        (&["/none", "/bin/busybox"], "mainstay-agent: the host's folder /none cannot be entered: No such file or directory"),
        (&["/srv"], "mainstay-agent: a root, a folder and a program are to be named"),
    ] {
        let (status, _, error) = become_it(words);
        assert!(status == Some(126) && error.starts_with(said), "{words:?}: {error}");
    }
}
