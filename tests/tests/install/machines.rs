//! Directories that stand for machines, and what is typed on them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use mainstay_tests::servers::free_port;
use mainstay_tests::up::binaries;
use mainstay_tests::{eventually, process};
use rustix::process::{Pid, Signal};
use serde_json::Value;
use tempfile::TempDir;

use super::page;

/// Directories of a machine that the page names.
const DIRECTORIES: [&str; 4] = ["/root/", "/var/lib/", "/etc/mainstay/", "/backup/"];

/// One machine: its directory, its ports, and what runs on it.
struct Machine {
    place: PathBuf,
    /// In the place of 7400, 7401, 7402 and 7412.
    ports: [(u16, u16); 4],
    programs: BTreeMap<String, Program>,
}

struct Program {
    child: Child,
    log: PathBuf,
}

impl Drop for Program {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("== {}\n{}", self.log.display(), fs::read_to_string(&self.log).unwrap_or_default());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub struct Machines {
    all: BTreeMap<String, Machine>,
    /// Removed with the value, after all that runs in it.
    _place: TempDir,
}

impl Machines {
    pub fn new(names: &[&str]) -> Machines {
        let place = tempfile::Builder::new().prefix("machines-").tempdir().expect("a directory");
        let machine = |name: &&str| {
            let place = place.path().join(name);
            for dir in DIRECTORIES.map(|dir| dir.trim_matches('/')).into_iter().chain(["var/lib/mainstay", "root/.config"]) {
                fs::create_dir_all(place.join(dir)).expect("its directories");
            }
            let ports = [7400, 7401, 7402, 7412].map(|port| (port, free_port()));
            ((*name).to_owned(), Machine { place, ports, programs: BTreeMap::new() })
        };
        Machines { all: names.iter().map(machine).collect(), _place: place }
    }

    fn on(&self, name: &str) -> &Machine {
        self.all.get(name).unwrap_or_else(|| panic!("there is no machine {name}"))
    }

    /// A text of the page or of a settings file, with this machine's directories and everybody's ports.
    fn translated(&self, on: &str, text: &str) -> String {
        let machine = self.on(on);
        let mut text = text.to_owned();
        for (name, other) in &self.all {
            for (named, port) in other.ports {
                text = text.replace(&format!("{name}.example:{named}"), &format!("127.0.0.1:{port}"));
            }
        }
        for (named, port) in machine.ports {
            for any in ["0.0.0.0", "127.0.0.1"] {
                text = text.replace(&format!("{any}:{named}"), &format!("127.0.0.1:{port}"));
            }
        }
        for dir in DIRECTORIES {
            for before in [" ", "\""] {
                text = text.replace(&format!("{before}{dir}"), &format!("{before}{}{dir}", machine.place.display()));
            }
        }
        text
    }

    /// Does what a person does who types a line of the page.
    pub async fn carry_out(&mut self, on: &str, command: &str) {
        let words: Vec<&str> = command.split_whitespace().collect();
        match words.as_slice() {
            ["systemctl", "enable", "--now", unit] => self.start(on, unit),
            ["systemctl", "restart", unit] => {
                self.stop(on, unit).await;
                self.start(on, unit);
            }
            ["scp", from, to] => self.copy(on, from, to),
            ["mainstay", "member", "issuer", ..] => {
                // "With the root's key at hand for that moment": somebody has brought it.
                self.copy("server1", "/root/prod-root.pem", &format!("{on}.example:/root/prod-root.pem"));
                self.shell(on, command).await;
            }
            ["mainstay", "init", ..] => {
                let places = " --dir /var/lib/mainstay --config /etc/mainstay/coordinator.toml";
                self.shell(on, &format!("{command}{places}")).await;
                let file = self.on(on).place.join("etc/mainstay/coordinator.toml");
                let settings = fs::read_to_string(&file).expect("init makes the settings file");
                fs::write(&file, self.translated_ports(on, &settings)).expect("this machine's ports");
            }
            ["mainstay", ..] => self.shell(on, command).await,
            _ => panic!("who carries out `{command}`?"),
        }
    }

    /// Ports only: what `init` wrote has this machine's directories already.
    fn translated_ports(&self, on: &str, text: &str) -> String {
        let place = self.on(on).place.display().to_string();
        self.translated(on, &text.replace(&place, "")).replace(&format!("{place}{place}"), &place)
    }

    /// Has a shell do it. Who has just started a coordinator tries again until it answers; that a run finds
    /// something about this machine is no failure of the page.
    async fn shell(&self, on: &str, command: &str) {
        let line = self.translated(on, command);
        let is_run = command.contains(" run start ");
        eventually(command, || async {
            let output = self.command(on, "sh").args(["-c", &line]).output().expect("a shell");
            let done = output.status.success() || (is_run && output.status.code() == Some(1));
            if done { Ok(()) } else { Err(format!("{output:?}")) }
        })
        .await;
    }

    fn command(&self, on: &str, program: &str) -> Command {
        let place = &self.on(on).place;
        let mut command = Command::new(program);
        let path = format!("{}:{}", binaries().display(), std::env::var("PATH").unwrap_or_default());
        command.env("PATH", path).env("HOME", place.join("root")).env_remove("XDG_CONFIG_HOME").env_remove("MAINSTAY_CONTEXT");
        command.current_dir(place.join("root")).stdin(Stdio::null());
        command
    }

    fn copy(&self, on: &str, from: &str, to: &str) {
        let (host, path) = to.split_once(".example:").expect("scp FILE HOST.example:PATH");
        let target = self.on(host).place.join(path.trim_start_matches('/'));
        fs::copy(self.on(on).place.join(from.trim_start_matches('/')), &target).unwrap_or_else(|error| panic!("scp {from} {to}: {error}"));
        fs::set_permissions(&target, fs::Permissions::from_mode(0o600)).expect("mode 0600");
    }

    /// Starts what the unit starts, with the unit's own settings file.
    fn start(&mut self, on: &str, unit: &str) {
        let settings = match unit {
            "mainstay-coordinator" => "coordinator.toml",
            "mainstay-agent" => "agent.toml",
            _ => panic!("there is no unit {unit}"),
        };
        let machine = self.on(on);
        let (file, log) = (machine.place.join("etc/mainstay").join(settings), machine.place.join(format!("{unit}.log")));
        if !file.exists() {
            fs::write(&file, self.filled_in(on, settings)).expect("the settings file");
        }
        let out = File::options().create(true).append(true).open(&log).expect("a log");
        let mut command = protected(&machine.place, &binaries().join(unit));
        command.arg("--config").arg(&file).stdin(Stdio::null()).stdout(out.try_clone().expect("the same log")).stderr(out);
        let child = command.spawn().expect("it starts");
        self.all.get_mut(on).expect("the machine").programs.insert(unit.to_owned(), Program { child, log });
    }

    /// As the page says: the example, with the machine's own names in it.
    fn filled_in(&self, on: &str, settings: &str) -> String {
        let number = on.trim_start_matches("server");
        let example = if settings == "agent.toml" { "agent.toml.example" } else { "coordinator-join.toml.example" };
        let text = fs::read_to_string(page::root().join("deploy/systemd").join(example)).expect("the example");
        let own = text
            .replace("name = \"c2\"", &format!("name = \"c{number}\""))
            .replace("server2.example:7400\"\n# Enrol", &format!("{on}.example:7400\"\n# Enrol"));
        self.translated(on, &own)
    }

    /// Ends it as systemd does.
    pub async fn stop(&mut self, on: &str, unit: &str) {
        let program = self.all.get(on).and_then(|machine| machine.programs.get(unit)).expect("it runs");
        process::signal(Pid::from_child(&program.child), Signal::TERM);
        let (status, log) = self.ends(on, unit).await;
        assert_eq!(status, Some(0), "{unit} on {on}: {log}");
    }

    /// Waits until it has ended; its status and what it has printed.
    pub async fn ends(&mut self, on: &str, unit: &str) -> (Option<i32>, String) {
        let mut program = self.all.get_mut(on).and_then(|machine| machine.programs.remove(unit)).expect("it runs");
        let pid = Pid::from_child(&program.child);
        eventually(&format!("{unit} on {on} ends"), || async { if process::is_alive(pid) { Err("it runs".to_owned()) } else { Ok(()) } }).await;
        let status = program.child.wait().expect("it has ended");
        (status.code(), fs::read_to_string(&program.log).expect("its log"))
    }

    pub fn mainstay(&self, on: &str, args: &[&str]) -> Output {
        self.command(on, "mainstay").args(args).output().expect("the CLI runs")
    }

    /// It ends with 0; what it said.
    pub fn ok(&self, on: &str, args: &[&str]) -> String {
        self.ended(on, args, 0)
    }

    pub fn refused(&self, on: &str, args: &[&str], status: i32) -> String {
        self.ended(on, args, status)
    }

    fn ended(&self, on: &str, args: &[&str], status: i32) -> String {
        let output = self.mainstay(on, args);
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(status), "mainstay {args:?}: {said}");
        said
    }

    pub fn json(&self, on: &str, args: &[&str]) -> Result<Value, String> {
        let output = self.mainstay(on, &[args, &["-o", "json"]].concat());
        serde_json::from_slice(&output.stdout).map_err(|error| format!("{error}: {output:?}"))
    }

    /// Names of the members, in their order.
    pub fn members(&self, on: &str) -> Vec<String> {
        let list = self.json(on, &["member", "list"]).expect("JSON");
        let mut names: Vec<String> =
            list["members"].as_array().into_iter().flatten().filter_map(|member| member["name"].as_str().map(str::to_owned)).collect();
        names.sort();
        names
    }

    pub async fn leader(&self, on: &str) -> String {
        eventually("somebody leads", || async {
            let list = self.json(on, &["member", "list"])?;
            let leader = list["members"].as_array().into_iter().flatten().find(|member| member["leader"] == true);
            leader.and_then(|leader| leader["name"].as_str()).map(str::to_owned).ok_or_else(|| list.to_string())
        })
        .await
    }

    pub fn has(&self, on: &str, file: &str) -> bool {
        self.on(on).place.join(file).exists()
    }

    pub fn mode(&self, on: &str, file: &str) -> u32 {
        let path = self.on(on).place.join(file);
        fs::metadata(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).permissions().mode() & 0o7777
    }
}

/// The program where it may write to its machine's directory alone, as the units' `ProtectSystem=strict` has it. Who
/// may not make such a place starts it as it is.
fn protected(place: &Path, program: &Path) -> Command {
    if !rustix::process::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("unshare");
    let script = "mount --bind \"$0\" \"$0\" && mount -o remount,bind,ro / && exec \"$@\"";
    command.args(["--mount", "--propagation", "private", "sh", "-c", script]).arg(place).arg(program);
    command
}
