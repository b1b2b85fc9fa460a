//! How a command gets into the host's own file system, where that is mounted below a root in this agent's container.
//!
//! The agent starts itself anew with the root, the folder and the command; that process goes into the root for good and
//! becomes the command. So the agent itself stays outside, and what runs inside has the host's libraries and paths. It
//! keeps the container's process ids, network and limits.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use tokio::process::Command;

use super::super::Context;
use crate::host::Host;

/// First argument with which this program goes into a root and becomes another one.
pub const BECOME: &str = "--become-in-root";
/// What a command has of the environment there: the container's own says nothing about the host.
pub(super) const ENVIRONMENT: [(&str, &str); 4] = [
    ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
    ("HOME", "/root"),
    ("LANG", "C.UTF-8"),
    // systemctl ignores what it is asked where it takes its root for another than that of the machine.
    ("SYSTEMD_IGNORE_CHROOT", "1"),
];

/// A command in a folder below `root`, as it stands there.
pub(super) fn command(root: &Path, folder: &str, words: &[String]) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg(BECOME).arg(root).arg(folder).args(words).current_dir("/");
    command
}

/// Whether the host has a file, as its own programs find it: by a link to /run, too, that is in its own root.
///
/// # Errors
/// When it cannot be told, which is never taken for no.
pub(crate) fn is_there(context: &Context, file: &str) -> std::io::Result<bool> {
    match &context.settings.host_root {
        Some(root) => Host::below(root).has(file),
        None => context.host.has(file),
    }
}

/// Goes into the root that the arguments name and becomes the program: with [`BECOME`] come the root, the folder to work
/// in, the program and its arguments. Returns only why that did not come off.
pub fn become_in_root(mut words: impl Iterator<Item = OsString>) -> std::io::Error {
    use std::os::unix::process::CommandExt as _;

    let (Some(root), Some(folder), Some(program)) = (words.next().map(PathBuf::from), words.next().map(PathBuf::from), words.next()) else {
        return std::io::Error::other("a root, a folder and a program are to be named");
    };
    let failed = |what: String, error: &dyn std::fmt::Display| std::io::Error::other(format!("{what}: {error}"));
    if let Err(error) = rustix::process::chroot(&root) {
        return failed(format!("the host's root {} cannot be entered (it takes the capability SYS_CHROOT)", root.display()), &error);
    }
    // Whoever is in a root and works outside of it is not in it.
    if let Err(error) = rustix::process::chdir("/").and_then(|()| rustix::process::chdir(&folder)) {
        return failed(format!("the host's folder {} cannot be entered", folder.display()), &error);
    }
    let error = std::process::Command::new::<&OsStr>(program.as_ref()).args(words).exec();
    failed(format!("{} cannot be started in {} of the host", program.to_string_lossy(), folder.display()), &error)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests use real files")]
    use std::fs;
    use std::sync::Arc;

    use super::super::super::{ExecuteSettings, Policy};
    use super::*;
    use crate::observe::readings::Readings;

    #[test]
    fn where_the_host_is_mounted_its_own_links_count() {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["run", "var"] {
            fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        std::os::unix::fs::symlink("/run", dir.path().join("var/run")).unwrap();
        fs::write(dir.path().join("run/of-this-test"), "").unwrap();
        let settings = ExecuteSettings { host_root: Some(dir.path().to_owned()), ..Default::default() };
        let context = Context::new(Arc::default(), Readings::default(), Arc::new(settings), Arc::new(Policy::default())).unwrap();
        let has = |file: &str| is_there(&context, file).unwrap();
        assert_eq!((has("/var/run/of-this-test"), has("/var/run/of-none")), (true, false));
        assert!(!has("/proc/version"), "the container's own files are not the host's");
    }
}
