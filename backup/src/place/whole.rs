//! A directory that is there as a whole or not at all: what is to be in it is made beside it, and takes its place in one move.
//!
//! Beside a directory `NAME` there are, while it is made, `.NAME.mainstay-restore`, which whoever comes next throws away, and
//! from then on `.NAME.mainstay-restored`, a file that names the backup that was put there. So one that died is told from one
//! that had done it, and neither leaves half a directory under the name.
#![allow(clippy::disallowed_methods, reason = "this module is where a directory is put")]

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::PlaceError;
use crate::seam;

/// A mark has the name of one backup.
const MARK_MAX: u64 = 1 << 10;
/// Times that what is thrown away is removed, while a thread that was ended may still put files there.
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(50);

/// One directory that something is put into.
#[derive(Debug, Clone)]
pub struct Whole {
    into: PathBuf,
    /// Where it is made.
    room: PathBuf,
    mark: PathBuf,
    /// Whoever was called off throws nothing away beside a thread that still puts it there.
    at_it: Arc<Mutex<()>>,
}

impl Whole {
    /// This one, which may be missing as long as the one above it is there.
    ///
    /// # Errors
    /// When it is no directory of its own.
    pub fn of(into: &Path) -> Result<Whole, PlaceError> {
        let wrong = |said: &dyn std::fmt::Display| PlaceError::new(into.display().to_string(), said);
        let (Some(above), Some(name)) = (into.parent(), into.file_name()) else { return Err(wrong(&"it has no name of its own")) };
        if !above.is_dir() {
            return Err(wrong(&format!("{} is no directory: make it, or mount what is to be there", above.display())));
        }
        let beside = |what: &str| above.join(format!(".{}.{what}", name.to_string_lossy()));
        let whole = Whole { into: into.to_owned(), room: beside("mainstay-restore"), mark: beside("mainstay-restored"), at_it: Arc::default() };
        let Some(there) = whole.there().map_err(|error| wrong(&error))? else { return Ok(whole) };
        if !there.is_dir() {
            return Err(wrong(&"it is no directory of its own: name one that is, and no link"));
        }
        if there.dev() != fs::metadata(above).map_err(|error| wrong(&error))?.dev() {
            return Err(wrong(&"something is mounted there, which cannot be put in one move: name a directory below it"));
        }
        Ok(whole)
    }

    /// Whether this was put there by an earlier try, by the name under which it is marked: [`super::named`]. If not, it is
    /// empty or missing.
    ///
    /// # Errors
    /// When something else is there.
    pub fn has(&self, what: &str) -> Result<bool, PlaceError> {
        if self.is_free().map_err(|error| self.wrong(error))? {
            return Ok(false);
        }
        let mark = self.marked().map_err(|error| self.wrong(error))?;
        // What was made and did not take the place is still beside it: then what is there is somebody else's.
        match mark {
            Some(mark) if mark == what && !self.made().exists() => Ok(true),
            Some(mark) if mark != what => {
                Err(self.wrong(format!("it is not empty, {mark} was restored there before; nothing was touched: name an empty directory")))
            }
            _ => Err(self.wrong("it is not empty; nothing was touched: name a directory that is, or a new one")),
        }
    }

    /// An empty directory in which it is made. What an earlier try has left there is thrown away, with what it said of a
    /// directory that is not there any more.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn begin(&self) -> Result<PathBuf, PlaceError> {
        let made = || {
            for removed in [fs::remove_file(&self.mark), fs::remove_dir_all(&self.room)] {
                match removed {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
            DirBuilder::new().mode(0o700).create(&self.room)?;
            let room = self.room.join("content");
            DirBuilder::new().mode(0o700).create(&room)?;
            Ok(room)
        };
        made().map_err(|error| self.wrong(format!("what is to be there is made beside it, and {} cannot be made: {error}", self.room.display())))
    }

    /// Puts `content`, which is within what [`Whole::begin`] gave, under the name. It belongs to whom the empty directory
    /// belonged, and so do the files that are named.
    ///
    /// # Errors
    /// When it could not be put there; the directory is as it was then.
    pub async fn settle(&self, content: PathBuf, what: &str, to_give: Vec<PathBuf>) -> Result<(), PlaceError> {
        let (whole, mark) = (self.clone(), what.to_owned());
        let settled = seam::blocking(move || {
            let _at_it = whole.at_it.lock().unwrap_or_else(PoisonError::into_inner);
            let put = whole.complete(&content, &mark, &to_give).and_then(|()| fs::rename(whole.made(), &whole.into));
            if put.is_err() {
                // It says of a directory that this was put there. Without the move it was not.
                let _ = fs::remove_file(&whole.mark);
                return put;
            }
            // It is there, whatever becomes of this.
            if let Err(error) = whole.tidy() {
                tracing::warn!(dir = %whole.into.display(), %error, "what was restored is there; what was beside it meanwhile could not be removed");
            }
            Ok(())
        });
        settled.await.map_err(|broken| self.wrong(broken))?.map_err(|error| self.wrong(error))
    }

    /// All but the move: on the disk, given to whom it is to belong, and marked. An empty directory is replaced by the move,
    /// and one with something in it is not.
    fn complete(&self, content: &Path, mark: &str, to_give: &[PathBuf]) -> io::Result<()> {
        if let Some(there) = self.there()? {
            let owner = fs::metadata(content)?;
            fs::set_permissions(content, there.permissions())?;
            if (owner.uid(), owner.gid()) != (there.uid(), there.gid()) {
                for path in to_give.iter().map(PathBuf::as_path).chain([content]) {
                    let said = |error| io::Error::other(format!("it cannot be given to whom the directory belongs (user {}): {error}", there.uid()));
                    chown(path, Some(there.uid()), Some(there.gid())).map_err(said)?;
                }
            }
        }
        sync(content)?;
        fs::rename(content, self.made())?;
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(&self.mark)?;
        writeln!(file, "{mark}")?;
        file.sync_all()
    }

    fn tidy(&self) -> io::Result<()> {
        if let Some(above) = self.into.parent() {
            File::open(above)?.sync_all()?;
        }
        fs::remove_dir_all(&self.room)
    }

    /// Throws away what was made and has not taken its place.
    pub async fn throw_away(&self) {
        for _ in 0..TRIES {
            let whole = self.clone();
            let removed = seam::blocking(move || {
                let _at_it = whole.at_it.lock().unwrap_or_else(PoisonError::into_inner);
                fs::remove_dir_all(&whole.room)
            });
            match removed.await {
                Ok(Err(error)) if error.kind() != io::ErrorKind::NotFound => tokio::time::sleep(PAUSE).await,
                _ => return,
            }
        }
        tracing::warn!(dir = %self.room.display(), "what a restore has left could not be removed; the next one there does it");
    }

    fn there(&self) -> io::Result<Option<fs::Metadata>> {
        match fs::symlink_metadata(&self.into) {
            Ok(there) => Ok(Some(there)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn is_free(&self) -> io::Result<bool> {
        Ok(self.there()?.is_none() || fs::read_dir(&self.into)?.next().is_none())
    }

    /// What is complete, and has not taken its place.
    fn made(&self) -> PathBuf {
        self.room.join("whole")
    }

    fn marked(&self) -> io::Result<Option<String>> {
        let file = match File::open(&self.mark) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut text = String::new();
        file.take(MARK_MAX).read_to_string(&mut text)?;
        Ok(Some(text.trim().to_owned()))
    }

    fn wrong(&self, said: impl std::fmt::Display) -> PlaceError {
        PlaceError::new(self.into.display().to_string(), said)
    }
}

/// All of it is on the disk before it has its name: a machine that loses its power leaves no empty files in a directory that
/// looks whole. As deep as what was packed, which is bounded there.
fn sync(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            sync(&entry.path())?;
        } else if kind.is_file() {
            // What nobody may read was written here all the same, and the system has it.
            match File::open(entry.path()) {
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
                file => file?.sync_all()?,
            }
        }
    }
    File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> String {
        format!("prod/etc/{name}")
    }

    fn filled(whole: &Whole) -> PathBuf {
        let room = whole.begin().unwrap();
        fs::write(room.join("app.conf"), "workers = 4\n").unwrap();
        room
    }

    #[tokio::test]
    async fn a_directory_is_put_whole_and_known_again() {
        let dir = tempfile::tempdir().unwrap();
        let into = dir.path().join("etc");
        let whole = Whole::of(&into).unwrap();
        let (first, second) = (id("20261130T020000Z-3.42"), id("20261130T030000Z-3.43"));
        assert!(!whole.has(&first).unwrap());
        whole.settle(filled(&whole), &first, Vec::new()).await.unwrap();
        assert_eq!(fs::read_to_string(into.join("app.conf")).unwrap(), "workers = 4\n");
        assert!(whole.has(&first).unwrap());
        let other = whole.has(&second).unwrap_err().to_string();
        assert!(other.contains("prod/etc/20261130T020000Z-3.42 was restored there before"), "{other}");
        assert!(!whole.room.exists());
    }

    #[tokio::test]
    async fn what_somebody_has_is_not_touched() {
        let dir = tempfile::tempdir().unwrap();
        let into = dir.path().join("etc");
        fs::create_dir(&into).unwrap();
        let (whole, backup) = (Whole::of(&into).unwrap(), id("20261130T020000Z-3.42"));
        // It was empty when it was looked at.
        let room = filled(&whole);
        fs::write(into.join("mine"), "x").unwrap();
        assert!(whole.settle(room, &backup, Vec::new()).await.is_err());
        assert_eq!(fs::read_dir(&into).unwrap().count(), 1);
        assert!(whole.has(&backup).unwrap_err().to_string().contains("it is not empty; nothing was touched"));
        // Also where the one who put it there died right before the move.
        fs::write(&whole.mark, &backup).unwrap();
        assert!(whole.has(&backup).is_err());
        whole.throw_away().await;
        fs::remove_file(into.join("mine")).unwrap();
        whole.settle(filled(&whole), &backup, Vec::new()).await.unwrap();
        assert!(whole.has(&backup).unwrap());
    }

    #[test]
    fn what_was_left_half_is_thrown_away() {
        let dir = tempfile::tempdir().unwrap();
        let whole = Whole::of(&dir.path().join("etc")).unwrap();
        filled(&whole);
        assert_eq!(fs::read_dir(whole.begin().unwrap()).unwrap().count(), 0);
        assert!(Whole::of(&dir.path().join("none/etc")).unwrap_err().to_string().contains("is no directory: make it"));
        std::os::unix::fs::symlink("elsewhere", dir.path().join("link")).unwrap();
        assert!(Whole::of(&dir.path().join("link")).unwrap_err().to_string().contains("no link"));
    }
}
