//! `mainstay up` in a throw-away directory, and the CLI beside it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use mainstay_client::{Bundle, ClientIdentity, Mesh};
use rustix::process::{Pid, Signal};
use serde_json::Value;
use tempfile::TempDir;

use crate::wait::PATIENCE;
use crate::{clock, process};

/// What a test's mesh looks like.
#[derive(Debug, Clone)]
pub struct Options {
    pub coordinators: usize,
    pub agents: usize,
    /// The agents' policy file, there before they start; empty leaves the one that `up` makes.
    pub policy: String,
    /// Further settings of the agents, TOML.
    pub settings: String,
    /// How far the wall clock of the mesh and of its CLI is ahead, for example `+73h`; empty for not at all.
    pub ahead: String,
    /// Where the programs are, if not beside the test's own.
    pub programs: Option<PathBuf>,
    /// Variables of `up` and of all that it starts.
    pub environment: Vec<(String, String)>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            coordinators: 3,
            agents: 3,
            policy: String::new(),
            settings: String::new(),
            ahead: String::new(),
            programs: None,
            environment: Vec::new(),
        }
    }
}

/// A mesh that ends with the value.
pub struct Up {
    /// Where the mesh and the test's own files are.
    place: PathBuf,
    /// Removed with the value, where it was made for it.
    _made: Option<TempDir>,
    supervisor: Child,
    ahead: String,
    programs: PathBuf,
}

/// The folder with the built binaries: where the test's own executable lies.
pub fn binaries() -> PathBuf {
    // A measurement takes the release build, a test what was built with it.
    if let Some(dir) = std::env::var_os("MAINSTAY_BINARIES") {
        return dir.into();
    }
    let own = std::env::current_exe().expect("a test knows its own path");
    let dir = own.ancestors().find(|dir| dir.join("mainstay").is_file());
    dir.expect("the binaries are built: cargo build --bins").to_owned()
}

impl Up {
    /// Starts a mesh and waits until it is ready.
    pub async fn start(options: Options) -> Up {
        let made = tempfile::Builder::new().prefix("mesh-").tempdir().expect("a directory for the mesh");
        Up::start_in(made.path().to_owned(), Some(made), options).await
    }

    /// The same within a directory of the test's own.
    pub async fn start_at(place: &Path, options: Options) -> Up {
        Up::start_in(place.to_owned(), None, options).await
    }

    /// Starts it and waits for nothing.
    pub fn begin_at(place: &Path, options: &Options) -> Up {
        Up::begin_in(place.to_owned(), None, options)
    }

    fn begin_in(place: PathBuf, made: Option<TempDir>, options: &Options) -> Up {
        let state = place.join("mesh");
        if !options.policy.is_empty() {
            fs::create_dir_all(&state).expect("the mesh's directory");
            fs::write(state.join("agent-policy.toml"), &options.policy).expect("the agents' policy");
        }
        let supervisor = Up::spawn(&place, options);
        let programs = options.programs.clone().unwrap_or_else(binaries);
        Up { place, _made: made, supervisor, ahead: options.ahead.clone(), programs }
    }

    async fn start_in(place: PathBuf, made: Option<TempDir>, options: Options) -> Up {
        let up = Up::begin_in(place, made, &options);
        up.ready(options.coordinators, options.agents).await;
        // `up` looks at the machine once by itself; a test begins when that is over.
        up.ended("daily-1").await;
        up
    }

    fn spawn(dir: &Path, options: &Options) -> Child {
        let log = File::options().create(true).append(true).open(dir.join("up.log")).expect("a log for `up`");
        let mut command = Command::new(options.programs.clone().unwrap_or_else(binaries).join("mainstay"));
        command.args(["up", "--coordinators", &options.coordinators.to_string(), "--agents", &options.agents.to_string()]);
        command.arg("--dir").arg(dir.join("mesh"));
        if !options.settings.is_empty() {
            let file = dir.join("agents.toml");
            fs::write(&file, &options.settings).expect("the agents' settings");
            command.arg("--connections").arg(file);
        }
        clock::ahead(&mut command, &options.ahead);
        command.envs(options.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("the same log")).stderr(log).spawn().expect("`mainstay up` starts")
    }

    /// Waits until all members vote, one leads, and all agents are linked.
    pub async fn ready(&self, coordinators: usize, agents: usize) {
        crate::eventually("the mesh is ready", || async {
            let status = self.try_json(&["status"])?;
            let members = status["members"].as_array().cloned().unwrap_or_default();
            let voters = members.iter().filter(|member| member["role"] == "voter").count();
            let leads = members.iter().any(|member| member["leader"] == true);
            if leads && voters == coordinators && status["agentsUp"] == agents { Ok(()) } else { Err(status.to_string()) }
        })
        .await;
    }

    /// Waits until the leader has heard of all members lately, and they lack nothing.
    pub async fn whole(&self, coordinators: usize) {
        crate::eventually("all members are there", || async {
            let status = self.try_json(&["status"])?;
            let members = status["members"].as_array().cloned().unwrap_or_default();
            let there = members.iter().filter(|member| member["reachable"] == true && member["behind"].as_u64().unwrap_or_default() == 0).count();
            if there == coordinators && members.len() == coordinators { Ok(()) } else { Err(status.to_string()) }
        })
        .await;
    }

    /// Ends `up` as Ctrl-C does and starts it again on the same directory.
    pub async fn restart(&mut self, options: Options) {
        self.end();
        self.supervisor = Up::spawn(&self.place, &options);
        self.ahead.clone_from(&options.ahead);
        self.ready(options.coordinators, options.agents).await;
    }

    /// Its exit status, if it has ended.
    pub fn has_ended(&mut self) -> Option<std::process::ExitStatus> {
        self.supervisor.try_wait().expect("the state of `up`")
    }

    /// Ends it as Ctrl-C does; its exit status.
    pub fn end(&mut self) -> Option<i32> {
        let pid = self.supervisor_pid();
        process::signal(pid, Signal::CONT);
        process::signal(pid, Signal::INT);
        let begun = Instant::now();
        loop {
            match self.supervisor.try_wait().expect("the state of `up`") {
                Some(status) => return status.code(),
                None if begun.elapsed() > PATIENCE => {
                    let _ = self.supervisor.kill();
                    panic!("`up` did not end within {PATIENCE:?}: {}", self.log());
                }
                None => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    /// Ends all of it as a power cut would: `up` first, so that it starts nobody again.
    pub fn kill_all(&mut self) {
        // Found before: what is dying with the supervisor has no command line any more, and may still have its locks.
        let mut pids = self.processes();
        let _ = self.supervisor.kill();
        let _ = self.supervisor.wait();
        pids.extend(self.processes());
        process::kill_and_wait(&pids);
    }

    fn processes(&self) -> Vec<Pid> {
        process::find(&[&self.dir().display().to_string()])
    }

    /// Starts it on the same directory after it has ended, and waits for nothing.
    pub fn begin_again(&mut self, options: &Options) {
        self.supervisor = Up::spawn(&self.place, options);
    }

    /// Starts it on the same directory after it has ended.
    pub async fn start_again(&mut self, options: Options) {
        self.supervisor = Up::spawn(&self.place, &options);
        self.ready(options.coordinators, options.agents).await;
    }

    pub fn dir(&self) -> PathBuf {
        self.place.join("mesh")
    }

    /// A place for the test's own files.
    pub fn scratch(&self) -> PathBuf {
        let dir = self.place.join("scratch");
        fs::create_dir_all(&dir).expect("a scratch directory");
        dir
    }

    pub fn supervisor_pid(&self) -> Pid {
        Pid::from_child(&self.supervisor)
    }

    /// Process of a coordinator (`c1`) or an agent (`a1`).
    pub fn pid(&self, name: &str) -> Option<Pid> {
        let program = if name.starts_with('c') { "mainstay-coordinator" } else { "mainstay-agent" };
        process::of(&self.dir(), program, name)
    }

    /// What `up` and its children have written, for a message of failure.
    pub fn log(&self) -> String {
        let mut text = fs::read_to_string(self.place.join("up.log")).unwrap_or_default();
        for entry in fs::read_dir(self.dir().join("logs")).into_iter().flatten().flatten() {
            let log = fs::read_to_string(entry.path()).unwrap_or_default();
            let tail: Vec<&str> = log.lines().rev().take(15).collect();
            text += &format!("\n== {}\n{}", entry.path().display(), tail.into_iter().rev().collect::<Vec<_>>().join("\n"));
        }
        text
    }

    /// Runs the CLI against this mesh.
    pub fn cli(&self, args: &[&str]) -> Output {
        self.cli_ahead(&self.ahead, args)
    }

    /// The same on a machine whose wall clock is ahead.
    pub fn cli_ahead(&self, by: &str, args: &[&str]) -> Output {
        let mut command = Command::new(self.programs.join("mainstay"));
        clock::ahead(&mut command, by);
        command.arg("--dir").arg(self.dir()).args(args).stdin(Stdio::null()).output().expect("the CLI runs")
    }

    /// Runs the CLI as a user with such a directory of settings, away from this mesh's own directory.
    pub fn cli_of(&self, config_home: &Path, args: &[&str]) -> Output {
        let mut command = Command::new(self.programs.join("mainstay"));
        clock::ahead(&mut command, &self.ahead);
        command.env("XDG_CONFIG_HOME", config_home).env_remove("MAINSTAY_CONTEXT").current_dir("/");
        command.args(args).stdin(Stdio::null()).output().expect("the CLI runs")
    }

    /// The CLI's JSON answer; what it said where there is none.
    pub fn try_json(&self, args: &[&str]) -> Result<Value, String> {
        let output = self.cli(&[args, &["-o", "json"]].concat());
        serde_json::from_slice(&output.stdout)
            .map_err(|error| format!("{error}: {}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)))
    }

    pub fn json(&self, args: &[&str]) -> Value {
        self.try_json(args).unwrap_or_else(|error| panic!("mainstay {args:?}: {error}\n{}", self.log()))
    }

    /// Applies a plan.
    pub fn apply(&self, name: &str, plan: &str) {
        let file = self.scratch().join(format!("{name}.yaml"));
        fs::write(&file, plan).expect("the plan's file");
        let applied = self.cli(&["plan", "apply", "-f", &file.display().to_string()]);
        assert!(applied.status.success(), "plan apply: {}", String::from_utf8_lossy(&applied.stderr));
    }

    /// Applies a plan and starts a run of it; the run's id.
    pub fn start_run(&self, name: &str, plan: &str) -> String {
        self.apply(name, plan);
        self.json(&["run", "start", name])["run"].as_str().expect("a run's id").to_owned()
    }

    pub fn run(&self, id: &str) -> Value {
        self.json(&["run", "show", id])
    }

    /// Waits until a run has ended.
    pub async fn ended(&self, id: &str) -> Value {
        crate::eventually(&format!("run {id} ends"), || async {
            let run = self.try_json(&["run", "show", id])?;
            if matches!(run["state"].as_str(), Some("completed" | "failed" | "aborted")) {
                return Ok(run);
            }
            Err(String::from_utf8_lossy(&self.cli(&["why", id]).stdout).into_owned())
        })
        .await
    }

    /// Waits until a work item of a run is in one of these states.
    pub async fn work_is(&self, run: &str, step: &str, states: &[&str]) -> Value {
        crate::eventually(&format!("{run}/{step} is {states:?}"), || async {
            let run = self.try_json(&["run", "show", run])?;
            let works: Vec<&Value> = run["work"].as_array().into_iter().flatten().filter(|work| work["step"] == step).collect();
            let found = works.iter().find(|work| states.iter().any(|state| work["state"] == *state));
            found.map(|work| (*work).clone()).ok_or_else(|| run.to_string())
        })
        .await
    }

    /// Name of the member that leads, for example `c2`.
    pub async fn leader(&self) -> String {
        crate::eventually("somebody leads", || async {
            let status = self.try_json(&["status"])?;
            let leader =
                status["members"].as_array().into_iter().flatten().find(|member| member["leader"] == true).and_then(|member| member["name"].as_str());
            leader.map(str::to_owned).ok_or_else(|| status.to_string())
        })
        .await
    }

    /// A gRPC client as the operator that `up` made.
    pub fn client(&self) -> Mesh {
        self.client_of(&self.dir().join("operator"))
    }

    /// The same as whose identity is in that directory.
    pub fn client_of(&self, dir: &Path) -> Mesh {
        mainstay_client::tls::install_provider();
        let bundle = Bundle::load(dir).expect("the identity");
        let status = self.json(&["status"]);
        let endpoints =
            status["members"].as_array().into_iter().flatten().filter_map(|member| member["address"].as_str()).map(str::to_owned).collect();
        Mesh::new(endpoints, ClientIdentity::new(bundle).expect("its certificate"))
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.log());
        }
        if matches!(self.supervisor.try_wait(), Ok(None)) {
            self.end();
        }
        for pid in self.processes() {
            process::kill(pid);
        }
    }
}
