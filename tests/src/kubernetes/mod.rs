//! A real cluster for a suite: started by `tests/kubernetes/keep`, and gone with the process that has started it.
//!
//! ```text
//!  the suite's process ─ stdin ─▶ keep ─▶ namespaces with servers and nodes
//! ```
//! The keeper takes everything away when its input ends, as it does however the suite's process ends.

mod power;
mod program;
mod proxy;
mod replica;
mod space;
pub mod steady;
mod watched;

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

pub use program::Killed;
pub use proxy::{Proxy, Trouble};
pub use replica::{Replica, kubeconfig};
pub use space::Space;
pub use watched::Watched;

/// Names a cluster of `make cluster` that suites use in place of one of their own.
const REUSED: &str = "MAINSTAY_TEST_CLUSTER";
/// Names of clusters that suites start. What a person starts is named from `a` on.
const NAMES: std::ops::RangeInclusive<char> = 'q'..='z';
/// How often objects are applied again that somebody else has made in between.
const APPLIED_AGAIN: usize = 3;
/// Simulated nodes of the cluster that the tests of one executable share.
pub const SIMULATED: usize = 3;

/// A cluster that answers, with all its nodes ready.
pub struct Cluster {
    name: char,
    programs: PathBuf,
    keeper: Option<Keeper>,
}

struct Keeper {
    process: Child,
    _output: BufReader<ChildStdout>,
}

impl Cluster {
    /// The one that all tests of this executable share.
    pub fn shared() -> &'static Cluster {
        static SHARED: OnceLock<Cluster> = OnceLock::new();
        SHARED.get_or_init(|| match std::env::var(REUSED) {
            Ok(name) => Cluster::of(name.chars().next().expect("a letter"), None),
            Err(_) => Cluster::start(SIMULATED),
        })
    }

    /// Starts one with so many simulated nodes, under a name that is free, and waits until it is ready.
    pub fn start(simulated: usize) -> Cluster {
        let found = NAMES.into_iter().find_map(|name| Cluster::named(name, simulated));
        found.unwrap_or_else(|| panic!("clusters {NAMES:?} are all there: who holds them?"))
    }

    /// As [`Cluster::start`]; nothing where the name is taken.
    ///
    /// # Panics
    /// Where it does not become ready.
    pub fn named(name: char, simulated: usize) -> Option<Cluster> {
        let mut keeper = Command::new(script("keep"))
            .args([&name.to_string(), &simulated.to_string(), "--input"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("tests/kubernetes/keep runs");
        // Held as long as the keeper is: who writes where nobody reads is killed.
        let mut output = BufReader::new(keeper.stdout.take().expect("its output"));
        let mut said = String::new();
        while !said.ends_with("\nready\n") && output.read_line(&mut said).expect("its output") > 0 {}
        if said.ends_with("\nready\n") {
            return Some(Cluster::of(name, Some(Keeper { process: keeper, _output: output })));
        }
        let ended = keeper.wait().expect("its end");
        assert_eq!(ended.code(), Some(3), "cluster {name} has not become ready:\n{said}");
        None
    }

    fn of(name: char, keeper: Option<Keeper>) -> Cluster {
        Cluster { name, programs: programs(), keeper }
    }

    fn state_of(name: char) -> PathBuf {
        PathBuf::from(format!("/var/lib/mainstay-test/cluster-{name}"))
    }

    pub fn name(&self) -> char {
        self.name
    }

    /// Where this machine is reached from within it: `tests/kubernetes/settings` has the plan of addresses.
    pub fn machine(&self) -> String {
        format!("10.{}.0.254", 200 + u32::from(self.name) - u32::from('a') + 1)
    }

    /// Logs, the settings of clients, and what nodes keep.
    pub fn state(&self) -> PathBuf {
        Cluster::state_of(self.name)
    }

    /// kubectl, helm and the rest, of the version that the cluster has.
    pub fn program(&self, name: &str) -> PathBuf {
        self.programs.join(name)
    }

    pub fn kubeconfig(&self) -> PathBuf {
        self.state().join("kubeconfig")
    }

    /// The process that holds it; nothing where a person holds it.
    pub fn keeper(&self) -> Option<u32> {
        self.keeper.as_ref().map(|keeper| keeper.process.id())
    }

    /// What kubectl prints, or what it complains of.
    pub fn kubectl(&self, words: &[&str]) -> Result<String, String> {
        self.kubectl_with(words, "")
    }

    /// As [`Cluster::kubectl`], with something for it to read.
    pub fn kubectl_with(&self, words: &[&str], input: &str) -> Result<String, String> {
        let mut command = Command::new(self.program("kubectl"));
        command.arg("--kubeconfig").arg(self.kubeconfig()).args(words);
        output_of(command, input)
    }

    /// Objects as they are there.
    pub fn json(&self, words: &[&str]) -> Result<Value, String> {
        let text = self.kubectl(&[words, &["-o", "json"]].concat())?;
        serde_json::from_str(&text).map_err(|error| format!("{words:?}: {error}"))
    }

    /// Makes these objects, or changes them.
    pub fn apply(&self, objects: &str) {
        // Of two tests that make the same object at one time, the second is told that it is there: it looks again.
        let is_race = |applied: &Result<String, String>| applied.as_ref().is_err_and(|error| error.contains("AlreadyExists"));
        let mut applied = self.kubectl_with(&["apply", "-f", "-"], objects);
        for _ in 0..APPLIED_AGAIN {
            if is_race(&applied) {
                applied = self.kubectl_with(&["apply", "-f", "-"], objects);
            }
        }
        applied.unwrap_or_else(|error| panic!("{error}\n{objects}"));
    }

    /// A namespace of the test's own.
    pub fn space(&self, name: &str) -> Space<'_> {
        Space::create(self, name)
    }

    /// Runs a program on a node, or on `control`.
    pub fn on(&self, node: &str, words: &[&str]) -> Result<String, String> {
        let mut command = Command::new(script("on"));
        command.args(["-c", &self.name.to_string(), node]).args(words);
        output_of(command, "")
    }

    /// Makes an image of a program that was built here, and gives it to every node.
    pub fn load(&self, image: &str, program: &Path) {
        let place = format!("/usr/bin/{}", program.file_name().expect("a program").display());
        self.load_files(image, &place, &[format!("{}:{place}", program.display())]);
    }

    /// The same of any files, each as SOURCE:PLACE.
    pub fn load_files(&self, image: &str, run: &str, sources: &[String]) {
        let scratch = tempfile::tempdir().expect("a directory");
        let file = scratch.path().join("image.tar");
        let mut make = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/image"));
        make.arg(image).arg(&file).arg(format!("--run={run}")).args(sources);
        output_of(make, "").expect("an image");
        let mut load = Command::new(script("load"));
        load.args(["-c", &self.name.to_string()]).arg(file);
        output_of(load, "").expect("every node has the image");
    }

    /// Ends it, and returns when nothing of it is left.
    pub fn end(mut self) {
        if let Some(mut keeper) = self.keeper.take() {
            drop(keeper.process.stdin.take());
            keeper.process.wait().expect("its keeper ends");
        }
    }
}

/// One of kubectl, helm and the rest, without a cluster.
pub fn program(name: &str) -> PathBuf {
    programs().join(name)
}

fn programs() -> PathBuf {
    let output = Command::new(script("cluster/build")).arg("--where").output().expect("tests/kubernetes/cluster/build runs");
    PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("kubernetes").join(name)
}

fn output_of(mut command: Command, input: &str) -> Result<String, String> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{}: {error}", command.get_program().display()))?;
    let mut stdin = child.stdin.take().expect("its input");
    // It may end without having read all.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    let Output { status, stdout, stderr } = child.wait_with_output().map_err(|error| error.to_string())?;
    let stdout = String::from_utf8_lossy(&stdout).into_owned();
    if status.success() { Ok(stdout) } else { Err(format!("{status}: {stdout}{}", String::from_utf8_lossy(&stderr))) }
}
