//! The seam to the machine that is observed: its clocks, its files below a root, and who carries out its commands.
//!
//! The root is `/` on a plain machine, the place where the node's file system is mounted when the agent
//! runs in a container, and a recorded tree in tests. Every path handed in is a path *as the host names it*;
//! nothing outside this module joins the root to it. Reads are bounded. Nothing here interprets what it reads.
#![allow(clippy::disallowed_methods, reason = "this module is the seam to the observed machine's files")]

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::future::BoxFuture;
use mainstay_client::clock::{Clock, SystemClock};
use mainstay_core::WallTime;

/// Most that [`Host::text`] reads of one file; files of /proc and settings are far below.
const TEXT_MAX: u64 = 4 << 20;
/// Tries to resolve a path while somebody renames folders of it.
const RESOLVED_TRIES: usize = 8;
/// Most paths that one glob may yield.
const GLOB_MAX: usize = 4_096;

/// The observed machine.
#[derive(Clone)]
pub struct Host {
    root: PathBuf,
    clock: Arc<dyn Clock>,
    commands: Option<Arc<dyn Commands>>,
}

/// Carries out commands, as the system of a machine does.
pub trait Commands: Send + Sync {
    /// Runs a command of an attempt until it ends, with its status, or until it is dropped.
    fn run(&self, command: Vec<String>, attempt: String) -> BoxFuture<'static, io::Result<i32>>;
}

/// What is known of a file without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileFacts {
    pub bytes: u64,
    pub modified: WallTime,
    /// Device and inode: two paths with the same pair are one file.
    pub identity: (u64, u64),
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Host").field(&self.root).finish()
    }
}

impl Default for Host {
    fn default() -> Host {
        Host::below("/")
    }
}

impl Host {
    /// The machine whose file system is mounted at `root`.
    #[must_use]
    pub fn below(root: impl Into<PathBuf>) -> Host {
        Host { root: root.into(), clock: Arc::new(SystemClock), commands: None }
    }

    /// The same machine by another clock.
    #[must_use]
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> Host {
        Host { clock, ..self }
    }

    /// The same machine with another that carries out its commands.
    #[must_use]
    pub fn with_commands(self, commands: Arc<dyn Commands>) -> Host {
        Host { commands: Some(commands), ..self }
    }

    /// Who carries out commands in place of the machine's own system.
    #[must_use]
    pub(crate) fn commands(&self) -> Option<&Arc<dyn Commands>> {
        self.commands.as_ref()
    }

    #[must_use]
    pub fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.clock)
    }

    /// The same machine with clocks that stand still.
    #[cfg(test)]
    pub(crate) fn with_wall(self, wall: WallTime) -> Host {
        struct Still(WallTime);
        impl Clock for Still {
            fn wall(&self) -> WallTime {
                self.0
            }
            fn monotonic(&self) -> std::time::Duration {
                std::time::Duration::from_secs(3_600)
            }
        }
        self.with_clock(Arc::new(Still(wall)))
    }

    /// Whether the agent sees the host's own file system as its own.
    #[must_use]
    pub fn is_own_root(&self) -> bool {
        self.root == Path::new("/")
    }

    /// Wall clock, for people and certificates.
    #[must_use]
    pub fn wall(&self) -> WallTime {
        self.clock.wall()
    }

    /// A clock that never goes back and counts suspend.
    #[must_use]
    pub fn monotonic(&self) -> Duration {
        self.clock.monotonic()
    }

    /// The same in milliseconds.
    #[must_use]
    pub fn monotonic_ms(&self) -> u64 {
        u64::try_from(self.clock.monotonic().as_millis()).unwrap_or(u64::MAX)
    }

    /// Where a path of the host lies for this process. `..` is left out, so that no path leads out of the root.
    #[must_use]
    pub fn resolve(&self, path: impl AsRef<Path>) -> PathBuf {
        let inside = path.as_ref().components().filter(|part| matches!(part, Component::Normal(_)));
        self.root.join(inside.collect::<PathBuf>())
    }

    /// A file's text, at most 4 MiB of it. What is not UTF-8 is replaced.
    pub fn text(&self, path: impl AsRef<Path>) -> io::Result<String> {
        let mut bytes = Vec::new();
        File::open(self.resolve(path))?.take(TEXT_MAX).read_to_end(&mut bytes)?;
        Ok(String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
    }

    /// Opens a file for reading. Reads that would wait (a pipe, the kernel's ring) answer `WouldBlock` instead.
    pub fn open(&self, path: impl AsRef<Path>) -> io::Result<File> {
        let nonblocking = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0);
        File::options().read(true).custom_flags(nonblocking).open(self.resolve(path))
    }

    #[must_use]
    pub fn exists(&self, path: impl AsRef<Path>) -> bool {
        self.resolve(path).exists()
    }

    /// Whether the machine has a file, with symbolic links followed as the machine itself follows them: one to an absolute
    /// path leads from its root, and not from this process's.
    ///
    /// # Errors
    /// When it cannot be told: a folder that may not be searched, links in a circle, a root that is not there.
    pub fn has(&self, path: impl AsRef<Path>) -> io::Result<bool> {
        use rustix::fs::{Mode, OFlags, ResolveFlags, open, openat2};
        use rustix::io::Errno;

        let path = path.as_ref();
        let root = open(&self.root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        for _ in 0..RESOLVED_TRIES {
            match openat2(&root, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), ResolveFlags::IN_ROOT) {
                Ok(_) => return Ok(true),
                Err(Errno::NOENT | Errno::NOTDIR) => return Ok(false),
                // A folder on the way was renamed meanwhile.
                Err(Errno::AGAIN) => {}
                // An old kernel, or a sandbox that does not know the call.
                Err(Errno::NOSYS | Errno::PERM) => return self.has_by_name(path),
                Err(error) => return Err(error.into()),
            }
        }
        Err(Errno::AGAIN.into())
    }

    /// The same where the kernel cannot be asked. Of links to absolute paths it knows one, which most machines have: that
    /// from /var/run to /run.
    fn has_by_name(&self, path: &Path) -> io::Result<bool> {
        let below_run = path.strip_prefix("/var/run").ok().filter(|_| self.resolve("/var/run").is_symlink());
        let path = below_run.map_or_else(|| path.to_owned(), |rest| Path::new("/run").join(rest));
        match self.resolve(path).try_exists() {
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => Ok(false),
            told => told,
        }
    }

    /// Names in a folder, unordered.
    pub fn names(&self, folder: impl AsRef<Path>) -> io::Result<Vec<String>> {
        std::fs::read_dir(self.resolve(folder))?.map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned())).collect()
    }

    /// Where a symbolic link points.
    pub fn link(&self, path: impl AsRef<Path>) -> io::Result<PathBuf> {
        std::fs::read_link(self.resolve(path))
    }

    /// Facts of a regular file; `None` for anything else.
    pub fn file_facts(&self, path: impl AsRef<Path>) -> io::Result<Option<FileFacts>> {
        use std::os::unix::fs::MetadataExt;
        let meta = std::fs::metadata(self.resolve(path))?;
        if !meta.is_file() {
            return Ok(None);
        }
        Ok(Some(FileFacts { bytes: meta.len(), modified: meta.modified().map(wall_of)?, identity: (meta.dev(), meta.ino()) }))
    }

    /// The host's paths that match a glob, sorted, at most 4,096. What cannot be looked into is left out.
    pub fn glob(&self, pattern: &str) -> Result<Vec<PathBuf>, glob::PatternError> {
        let root = self.root.to_string_lossy();
        let full = format!("{}/{}", glob::Pattern::escape(root.trim_end_matches('/')), pattern.trim_start_matches('/'));
        let options = glob::MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: false };
        let found = glob::glob_with(&full, options)?.filter_map(Result::ok).take(GLOB_MAX);
        let mut paths: Vec<PathBuf> = found.map(|path| Path::new("/").join(path.strip_prefix(&self.root).unwrap_or(&path))).collect();
        paths.sort();
        Ok(paths)
    }
}

fn wall_of(time: SystemTime) -> WallTime {
    let millis = |part: Duration| i64::try_from(part.as_millis()).unwrap_or(i64::MAX);
    WallTime(match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => millis(after),
        Err(before) => -millis(before.duration()),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests use real files, sockets and clocks")]
    use super::*;

    #[test]
    fn paths_stay_below_the_root() {
        let host = Host::below("/host");
        assert_eq!(host.resolve("/etc/fstab"), Path::new("/host/etc/fstab"));
        assert_eq!(host.resolve("/../../etc/./shadow"), Path::new("/host/etc/shadow"));
    }

    #[test]
    fn links_lead_from_the_hosts_root() {
        use std::os::unix::fs::symlink;

        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        for folder in ["var", "run", "usr/bin"] {
            std::fs::create_dir_all(root.join(folder)).unwrap();
        }
        // As Debian has it.
        symlink("/run", root.join("var/run")).unwrap();
        symlink("usr/bin", root.join("bin")).unwrap();
        symlink("/proc/version", root.join("elsewhere")).unwrap();
        symlink("/circle", root.join("circle")).unwrap();
        std::fs::write(root.join("usr/bin/apt-get"), "").unwrap();
        let host = Host::below(root);
        let has = |path: &str| (host.has(path).unwrap(), host.has_by_name(Path::new(path)).unwrap());
        assert_eq!(has("/var/run/reboot-required"), (false, false));
        std::fs::write(root.join("run/reboot-required"), "").unwrap();
        assert_eq!(has("/var/run/reboot-required"), (true, true));
        assert_eq!((has("/bin/apt-get"), has("/usr/bin/dnf")), ((true, true), (false, false)));
        assert_eq!(has("/usr/bin/apt-get/of"), (false, false), "no folder");
        assert!(!host.has("/elsewhere").unwrap(), "this process has it, and the machine has not");
        assert!(host.has("/../../run/reboot-required").unwrap(), "nothing leads out of the root");
        assert!(host.has("/circle").is_err());
        assert!(Host::below(root.join("nowhere")).has("/run").is_err(), "a machine that is not there is no machine without the file");
    }

    #[test]
    fn a_glob_yields_the_hosts_own_names() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("odd [name]");
        std::fs::create_dir_all(root.join("var/log/app")).unwrap();
        for name in ["var/log/b.log", "var/log/app/a.log", "var/log/c.txt"] {
            std::fs::write(root.join(name), "x").unwrap();
        }
        let found = Host::below(&root).glob("/var/log/**/*.log").unwrap();
        assert_eq!(found, [Path::new("/var/log/app/a.log"), Path::new("/var/log/b.log")]);
    }
}
