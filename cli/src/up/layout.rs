//! Where everything of a mesh on this machine lies.
//!
//! ```text
//! up.toml              members, agents, ports        lock       held while `up` lives
//! ca/                  root.pem, root.key            operator/  identity.pem of operator/local
//! c1/ c2/ …            one coordinator each          a1/ a2/ …  one agent each
//! agent-policy.toml    what agents may do            logs/      NAME.log, NAME.log.1
//! ```

use std::path::{Path, PathBuf};

use mainstay_client::files::{self, LockError};

/// Paths within a state directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    dir: PathBuf,
}

impl Layout {
    #[must_use]
    pub fn new(dir: &Path) -> Layout {
        Layout { dir: dir.to_owned() }
    }

    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    #[must_use]
    pub fn record(&self) -> PathBuf {
        self.dir.join("up.toml")
    }

    #[must_use]
    pub fn lock(&self) -> PathBuf {
        self.dir.join("lock")
    }

    #[must_use]
    pub fn ca(&self) -> PathBuf {
        self.dir.join("ca")
    }

    #[must_use]
    pub fn operator(&self) -> PathBuf {
        self.dir.join("operator")
    }

    #[must_use]
    pub fn policy(&self) -> PathBuf {
        self.dir.join("agent-policy.toml")
    }

    /// Directory of a coordinator or an agent.
    #[must_use]
    pub fn part(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    #[must_use]
    pub fn join_token(&self, agent: &str) -> PathBuf {
        self.part(agent).join("join-token")
    }

    #[must_use]
    pub fn logs(&self) -> PathBuf {
        self.dir.join("logs")
    }

    #[must_use]
    pub fn log(&self, name: &str) -> PathBuf {
        self.logs().join(format!("{name}.log"))
    }

    /// Whether `up` runs there: it holds the lock as long as it lives, and the kernel gives it back when it dies.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        files::exists(&self.record()) && matches!(files::lock_exclusive(&self.lock()), Err(LockError::Held(_)))
    }
}
