//! A directory that belongs to the user that servers run as, and commands that run as that user.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// Whom servers run as when the suite is root: the user that owns nothing.
const NOBODY: &str = "nobody";

/// Thrown away with the value.
pub struct Place {
    dir: TempDir,
    owner: Option<(u32, u32)>,
}

impl Place {
    pub fn new(name: &str) -> Place {
        // Short: the path of a socket within it has 107 bytes.
        let dir = tempfile::Builder::new().prefix(&format!("{name}-")).tempdir().expect("a directory for the server");
        let owner = rustix::process::geteuid().is_root().then(nobody);
        let place = Place { dir, owner };
        place.give(place.path());
        place
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Writes a file that the server can read and nobody else.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        fs::write(&path, text).expect("a file of the server's");
        fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("its permissions");
        self.give(&path);
        path
    }

    /// Makes a directory that the server owns.
    pub fn make_dir(&self, name: &str) -> PathBuf {
        let path = self.path().join(name);
        fs::create_dir_all(&path).expect("a directory of the server's");
        fs::set_permissions(&path, Permissions::from_mode(0o700)).expect("its permissions");
        self.give(&path);
        path
    }

    /// To whom servers run as.
    pub(super) fn give(&self, path: &Path) {
        if let Some((user, group)) = self.owner {
            chown(path, Some(user), Some(group)).expect("root may give a file away");
        }
    }

    /// A command that runs here as that user, without the suite's environment, and that the kernel ends when
    /// the thread that started it does: a suite that is killed leaves nothing behind.
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new("setpriv");
        if let Some((user, group)) = self.owner {
            command.args(["--reuid", &user.to_string(), "--regid", &group.to_string(), "--clear-groups"]);
        }
        command.args(["--pdeathsig", "KILL", "--"]).arg(program.as_ref());
        command.env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin").env("LANG", "C.UTF-8").env("HOME", self.path());
        command.current_dir(self.path()).stdin(Stdio::null());
        command
    }
}

fn nobody() -> (u32, u32) {
    let users = fs::read_to_string("/etc/passwd").expect("/etc/passwd can be read");
    let fields: Vec<&str> =
        users.lines().map(|line| line.split(':').collect()).find(|fields: &Vec<&str>| fields[0] == NOBODY).expect("there is a user nobody");
    let number = |at: usize| fields.get(at).and_then(|field| field.parse().ok()).expect("/etc/passwd has numbers");
    (number(2), number(3))
}

/// Runs a command to its end; what it printed.
///
/// # Errors
/// What it said when it failed.
pub async fn run(command: Command) -> Result<String, String> {
    let shown = format!("{:?}", command.get_args().skip_while(|word| *word != "--").nth(1).unwrap_or_default());
    let output = tokio::process::Command::from(command).kill_on_drop(true).output().await.map_err(|error| format!("{shown}: {error}"))?;
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() { Ok(said(&output.stdout)) } else { Err(format!("{shown}: {} {}", said(&output.stdout), said(&output.stderr))) }
}
