//! A directory that is thrown away, of a user that owns nothing else where the program is root: servers refuse to run as root,
//! and what is restored may be anything.
#![allow(clippy::disallowed_methods, reason = "this module is where a rehearsal takes place")]

use std::ffi::OsString;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::child::{Program, find};
use crate::seam;

/// What its name begins with, so that somebody who finds one knows whose it was.
const NAME: &str = "mainstay-drill-";
/// Random bytes in its name. It is short: the path of a socket has 107 bytes.
const RANDOM: usize = 6;
/// Times that it is removed, while processes that were ended still put files there.
const TRIES: u32 = 50;
const PAUSE: Duration = Duration::from_millis(50);
const NOBODY: &str = "nobody";

pub(super) struct Scratch {
    dir: PathBuf,
    owner: Option<(u32, u32)>,
}

impl Scratch {
    /// Makes one, which nobody else can look into.
    pub fn make(within: &Path) -> io::Result<Scratch> {
        let token = seam::token(RANDOM).ok_or_else(|| io::Error::other("the system gave no random numbers"))?;
        let scratch = Scratch { dir: within.join(format!("{NAME}{token}")), owner: owner()? };
        DirBuilder::new().mode(0o700).create(&scratch.dir)?;
        scratch.give(&scratch.dir)?;
        Ok(scratch)
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A further directory in it.
    pub fn make_dir(&self, name: &str) -> io::Result<PathBuf> {
        let dir = self.dir.join(name);
        DirBuilder::new().mode(0o700).create(&dir)?;
        self.give(&dir)?;
        Ok(dir)
    }

    /// Removes such a directory, when nobody uses it any more.
    pub fn remove_dir(&self, name: &str) -> io::Result<()> {
        fs::remove_dir_all(self.dir.join(name))
    }

    /// Gives a file or directory to whom servers run as.
    pub fn give(&self, path: &Path) -> io::Result<()> {
        match self.owner {
            Some((user, group)) => chown(path, Some(user), Some(group)),
            None => Ok(()),
        }
    }

    /// A program that runs here, as a user without rights, and that the kernel ends with the thread that started it where
    /// the system can do that: a process that is killed leaves no server behind.
    pub fn program(&self, path: PathBuf, arguments: Vec<OsString>, deadline: Duration) -> Result<Program, String> {
        let within = Some(self.dir.clone());
        let Some(setpriv) = find("setpriv", None) else {
            if self.owner.is_some() {
                return Err("servers are not started as root, and there is no setpriv: install util-linux here".to_owned());
            }
            return Ok(Program { path, arguments, environment: Vec::new(), within, deadline });
        };
        let mut all: Vec<OsString> = Vec::new();
        if let Some((user, group)) = self.owner {
            all.extend([format!("--reuid={user}"), format!("--regid={group}"), "--clear-groups".to_owned()].map(OsString::from));
        }
        all.extend(["--pdeathsig".into(), "KILL".into(), "--".into(), path.into_os_string()]);
        all.extend(arguments);
        Ok(Program { path: setpriv, arguments: all, environment: Vec::new(), within, deadline })
    }

    /// Removes all of it.
    pub async fn remove(self) {
        for _ in 0..TRIES {
            let dir = self.dir.clone();
            let removed = seam::blocking(move || fs::remove_dir_all(dir)).await;
            match removed {
                Ok(Err(error)) if error.kind() != io::ErrorKind::NotFound => tokio::time::sleep(PAUSE).await,
                _ => return,
            }
        }
        tracing::warn!(dir = %self.dir.display(), "what a rehearsal has left could not be removed: remove it");
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Where nobody waited for its end. It may be gone already.
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Whom servers run as where the program is root.
fn owner() -> io::Result<Option<(u32, u32)>> {
    if fs::metadata("/proc/self")?.uid() != 0 {
        return Ok(None);
    }
    let users = fs::read_to_string("/etc/passwd")?;
    let of = |line: &str| {
        let fields: Vec<&str> = line.split(':').collect();
        (fields.first() == Some(&NOBODY)).then_some(())?;
        Some((fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?))
    };
    users.lines().find_map(of).map(Some).ok_or_else(|| io::Error::other("servers are not started as root, and there is no user nobody"))
}
