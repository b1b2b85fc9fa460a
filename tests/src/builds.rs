//! Programs of two builds in one mesh: each member and each agent starts what its link points to.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::up::binaries;

/// A build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Build {
    /// The one that `tests/last-build` names.
    Last,
    /// The one that is tested.
    This,
}

/// A folder with a program each, of one build or the other.
pub struct Builds {
    dir: TempDir,
    last: PathBuf,
}

impl Builds {
    /// All programs of one build, and a CLI of its own: it starts the programs that lie beside it.
    ///
    /// # Panics
    /// Where `tests/last` has not been run.
    pub fn of(build: Build) -> Builds {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("last");
        let output = Command::new(script).arg("--where").output().expect("tests/last runs");
        let last = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
        assert!(last.join("mainstay-coordinator").is_file(), "tests/last has built {}", last.display());
        let builds = Builds { dir: tempfile::Builder::new().prefix("builds-").tempdir().expect("a folder for programs"), last };
        // It asks where it lies itself: a link would lead it elsewhere. Another process copies it, since a file that is
        // open for writing here is so too in whatever another thread starts meanwhile, and cannot be started then.
        let copied = Command::new("cp").arg(builds.folder(build).join("mainstay")).arg(builds.dir()).status().expect("cp runs");
        assert!(copied.success(), "a copy of the CLI");
        builds.coordinators(build);
        builds.agents(build);
        builds
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// What coordinators are started as from now on.
    pub fn coordinators(&self, build: Build) {
        self.link("mainstay-coordinator", build);
    }

    /// What agents are started as from now on.
    pub fn agents(&self, build: Build) {
        self.link("mainstay-agent", build);
    }

    fn folder(&self, build: Build) -> PathBuf {
        match build {
            Build::Last => self.last.clone(),
            Build::This => binaries(),
        }
    }

    fn link(&self, program: &str, build: Build) {
        let new = self.dir().join(format!("{program}.new"));
        symlink(self.folder(build).join(program), &new).expect("a link to a program");
        fs::rename(new, self.dir().join(program)).expect("a link to a program");
    }
}
