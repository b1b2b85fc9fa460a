//! The directory of one member: its identity, its lock, its format.
//!
//! ```text
//! store.toml        format and member id; an id is random and born with its directory
//! lock              held while a process uses the directory
//! log.redb          log, vote, how far it is committed
//! log.mark          how far the log was on the disk: tells damage at its end from a write that was cut off
//! snapshots/        TERM-INDEX.snap
//! reserve           bytes to give up when the disk is full
//! artifacts/        files of steps: not the store's, but they come and go with the disk
//! distrusted        left by a member that found its own disk wrong: at the next start all the above is set aside
//! ```

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use mainstay_client::failpoint::Point;
use mainstay_client::files::{self, FileLock};
use mainstay_core::MemberId;

use super::error::{StartError, StopReason};
use super::host;

/// The format this program writes, and the newest that it reads.
const FORMAT: u64 = 1;

/// A directory that this process has for itself.
#[derive(Debug, Clone)]
pub struct Disk {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    dir: PathBuf,
    identity: Identity,
    lock: Mutex<Option<FileLock>>,
}

#[derive(Debug, Clone, Copy)]
struct Identity {
    member: MemberId,
    predecessor: Option<MemberId>,
    /// Its log has not been made yet.
    new: bool,
}

impl Disk {
    /// Takes the directory for this process. In an empty one a member is born, with the id `fresh`; in any
    /// other, `fresh` is not used.
    ///
    /// What a member left that found its own disk wrong is set aside, and a new member is born: the old one
    /// might vote for a log that it no longer has.
    pub fn open(dir: &Path, fresh: MemberId) -> Result<Disk, StartError> {
        files::create_private_dir(Point::StoreDirectory, dir).map_err(disk("make the directory", dir))?;
        let lock_file = dir.join("lock");
        let lock = host::lock(&lock_file).map_err(disk("lock", &lock_file))?;
        let Some(lock) = lock else {
            return Err(StartError::InUse { dir: dir.to_owned() });
        };
        let identity = match read_identity(dir)? {
            Some(old) if host::exists(&dir.join("distrusted")) => set_aside(dir, old, fresh)?,
            Some(identity) => identity,
            None => born(dir, fresh, None)?,
        };
        files::create_private_dir(Point::StoreDirectory, &dir.join("snapshots")).map_err(disk("make the directory", &dir.join("snapshots")))?;
        Ok(Disk { inner: Arc::new(Inner { dir: dir.to_owned(), identity, lock: Mutex::new(Some(lock)) }) })
    }

    /// Takes the directory of a member that has lived, as it is: nobody is born, and nothing is set aside.
    pub fn existing(dir: &Path) -> Result<Disk, StartError> {
        let Some(identity) = read_identity(dir)?.filter(|identity| !identity.new) else {
            return Err(StartError::Nobody { dir: dir.to_owned() });
        };
        let lock_file = dir.join("lock");
        let lock = host::lock(&lock_file).map_err(disk("lock", &lock_file))?;
        let Some(lock) = lock else {
            return Err(StartError::InUse { dir: dir.to_owned() });
        };
        let mark = dir.join("distrusted");
        if let Some(why) = host::read(&mark).map_err(disk("read", &mark))? {
            return Err(StartError::Distrusted { dir: dir.to_owned(), why: String::from_utf8_lossy(&why).trim().to_owned() });
        }
        Ok(Disk { inner: Arc::new(Inner { dir: dir.to_owned(), identity, lock: Mutex::new(Some(lock)) }) })
    }

    /// Who lives here.
    #[must_use]
    pub fn member(&self) -> MemberId {
        self.inner.identity.member
    }

    /// Who lived here before and was set aside: the one that this member should replace.
    #[must_use]
    pub fn predecessor(&self) -> Option<MemberId> {
        self.inner.identity.predecessor
    }

    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.inner.dir
    }

    pub(super) fn log_file(&self) -> PathBuf {
        self.inner.dir.join("log.redb")
    }

    pub(super) fn mark_file(&self) -> PathBuf {
        self.inner.dir.join("log.mark")
    }

    pub(super) fn snapshot_dir(&self) -> PathBuf {
        self.inner.dir.join("snapshots")
    }

    pub(super) fn reserve_file(&self) -> PathBuf {
        self.inner.dir.join("reserve")
    }

    /// Whether this member has never had a log. Any other that has none must not vote.
    pub(super) fn is_new(&self) -> bool {
        self.inner.identity.new
    }

    /// From now on there must be a log. Comes before the first vote.
    pub(super) fn has_log(&self) -> Result<(), StartError> {
        match self.inner.identity.new {
            true => write_identity(&self.inner.dir, Identity { new: false, ..self.inner.identity }),
            false => Ok(()),
        }
    }

    /// Says that what is here must not be used again, and why.
    pub(super) fn distrust(&self, reason: &StopReason) {
        let mark = self.inner.dir.join("distrusted");
        if let Err(error) = host::write_whole(Point::StoreDistrust, &mark, format!("{reason}\n").as_bytes()) {
            tracing::error!(file = %mark.display(), %error, "the disk cannot be marked: move the directory away by hand before the next start");
        }
    }

    /// Removes what an interrupted write has left. Only after everything has been found in order.
    pub(super) fn clear_leftovers(&self) {
        for dir in [self.inner.dir.clone(), self.snapshot_dir()] {
            for file in host::list(&dir).unwrap_or_default() {
                if file.extension().is_some_and(|extension| extension == "tmp")
                    && let Err(error) = files::remove(Point::StoreLeftover, &file)
                {
                    tracing::warn!(file = %file.display(), %error, "a leftover cannot be removed");
                }
            }
        }
    }

    /// Lets another process have the directory.
    pub(super) fn release(&self) {
        self.inner.lock.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

/// Makes an error of a path and what was done to it.
pub fn disk(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StartError {
    let path = path.to_owned();
    move |source| StartError::Disk { doing, path, source }
}

fn read_identity(dir: &Path) -> Result<Option<Identity>, StartError> {
    let file = dir.join("store.toml");
    let damaged = |what: &str| StartError::Damaged { file: file.clone(), what: what.to_owned() };
    let Some(bytes) = host::read(&file).map_err(disk("read", &file))? else {
        return match host::exists(&dir.join("log.redb")) {
            true => Err(damaged("it is missing, but there is a log")),
            false => Ok(None),
        };
    };
    let text = String::from_utf8(bytes).map_err(|_| damaged("it is not text"))?;
    let text = files::unsealed(&file, text).map_err(|_| damaged("its checksum is wrong"))?;
    let table: toml::Table = text.parse().map_err(|_| damaged("it is not TOML"))?;
    let format = table.get("format").and_then(toml::Value::as_integer).and_then(|format| u64::try_from(format).ok());
    match format {
        Some(FORMAT) => {}
        None | Some(0) => return Err(damaged("it names no format")),
        Some(found) => return Err(StartError::Newer { file, found, known: FORMAT }),
    }
    let id = |key: &str| table.get(key).and_then(toml::Value::as_str).map(str::parse::<MemberId>);
    let member = id("member").and_then(Result::ok).ok_or_else(|| damaged("it names no member"))?;
    let predecessor = id("predecessor").transpose().map_err(|_| damaged("its predecessor is no member id"))?;
    let new = table.get("new").and_then(toml::Value::as_bool).unwrap_or(false);
    Ok(Some(Identity { member, predecessor, new }))
}

fn born(dir: &Path, member: MemberId, predecessor: Option<MemberId>) -> Result<Identity, StartError> {
    let identity = Identity { member, predecessor, new: true };
    write_identity(dir, identity).map(|()| identity)
}

fn write_identity(dir: &Path, identity: Identity) -> Result<(), StartError> {
    let Identity { member, predecessor, new } = identity;
    let mut text = format!("# Who lives in this directory. Another id is another member.\nformat = {FORMAT}\nmember = \"{member}\"\n");
    if let Some(predecessor) = predecessor {
        text.push_str(&format!("predecessor = \"{predecessor}\"\n"));
    }
    if new {
        text.push_str("new = true\n");
    }
    let file = dir.join("store.toml");
    host::write_whole(Point::StoreIdentity, &file, files::sealed(&text).as_bytes()).map_err(disk("write", &file))
}

/// The mark goes last: when this is interrupted, the next start does the rest, and at no time does the old
/// member's id stand beside an empty log without the mark.
fn set_aside(dir: &Path, old: Identity, fresh: MemberId) -> Result<Identity, StartError> {
    let log = dir.join("log.redb");
    let done_before = old.predecessor.filter(|_| old.new && !host::exists(&log));
    let set_aside = done_before.unwrap_or(old.member);
    let aside = dir.join(format!("set-aside-{set_aside}"));
    let put_aside = |name: &str| {
        let from = dir.join(name);
        host::rename(Point::StoreSetAside, &from, &aside.join(name)).map_err(disk("set aside", &from))
    };
    files::create_private_dir(Point::StoreDirectory, &aside).map_err(disk("make the directory", &aside))?;
    put_aside("log.redb")?;
    put_aside("log.mark")?;
    put_aside("snapshots")?;
    let identity = if done_before.is_some() { old } else { born(dir, fresh, Some(old.member))? };
    put_aside("distrusted")?;
    tracing::warn!(member = %set_aside, aside = %aside.display(), "this member found its own disk wrong: it is set aside, and a new member takes its place");
    Ok(identity)
}
