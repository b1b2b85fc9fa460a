//! All that changes a disk: files that are written, names that come and go. Each says at which [failpoint](crate::failpoint)
//! it stands, and nothing else of Mainstay writes to a disk (`tests/tests/structure.rs`).

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::dir_of;
use crate::failpoint::{ARMABLE, Doing, Point, Step, effects};

/// A file that is being written. What it holds may be lost in a crash until it is synced, and that it is there until
/// its directory is.
#[derive(Debug)]
pub struct Output {
    file: File,
    path: PathBuf,
    doing: Doing,
    appends: bool,
}

/// What to do with a file that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Existing {
    Refuse,
    Empty,
    Keep,
    Append,
}

impl Output {
    /// Makes a file; one that is there is an error.
    pub fn create_new(point: Point, path: &Path, mode: u32) -> io::Result<Output> {
        Output::begin(Doing::of(point), path, mode, Existing::Refuse)
    }

    /// Makes a file, or empties the one that is there. A file keeps the mode that it was made with.
    pub fn create(point: Point, path: &Path, mode: u32) -> io::Result<Output> {
        Output::begin(Doing::of(point), path, mode, Existing::Empty)
    }

    /// Opens a file to change it, and makes one if there is none. The writes count for whatever `doing` says then.
    pub fn open(doing: Doing, path: &Path, mode: u32) -> io::Result<Output> {
        Output::begin(doing, path, mode, Existing::Keep)
    }

    /// Opens a file to add to it, and makes one if there is none.
    pub fn append(point: Point, path: &Path, mode: u32) -> io::Result<Output> {
        Output::begin(Doing::of(point), path, mode, Existing::Append)
    }

    fn begin(doing: Doing, path: &Path, mode: u32, existing: Existing) -> io::Result<Output> {
        doing.reach(Step::Write)?;
        let mut held = effects::hold();
        let is_new = ARMABLE && fs::symlink_metadata(path).is_err();
        let mut options = OpenOptions::new();
        match existing {
            Existing::Refuse => options.write(true).create_new(true),
            // Emptied below, so that a power cut can bring back what was in it.
            Existing::Empty | Existing::Keep => options.read(true).write(true).create(true).truncate(false),
            Existing::Append => options.append(true).create(true),
        };
        let file = options.mode(mode).open(path)?;
        if is_new {
            held.made(path);
        }
        if existing == Existing::Empty {
            held.resized(&file, 0);
            file.set_len(0)?;
        }
        Ok(Output { file, path: path.to_owned(), doing, appends: existing == Existing::Append })
    }

    /// Writes at the end of what was written so far.
    pub fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.doing.reach(Step::Write)?;
        let torn = self.doing.is_torn();
        let bytes = if torn { &bytes[..bytes.len() / 2] } else { bytes };
        let mut held = effects::hold();
        if ARMABLE {
            let at = if self.appends { self.file.metadata()?.len() } else { io::Seek::stream_position(&mut self.file)? };
            held.written(&self.file, at, bytes.len());
        }
        self.file.write_all(bytes)?;
        drop(held);
        if torn {
            self.doing.tear();
        }
        Ok(())
    }

    /// Writes at a place.
    pub fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.doing.reach(Step::Write)?;
        let torn = self.doing.is_torn();
        let bytes = if torn { &bytes[..bytes.len() / 2] } else { bytes };
        let mut held = effects::hold();
        held.written(&self.file, offset, bytes.len());
        self.file.write_all_at(bytes, offset)?;
        drop(held);
        if torn {
            self.doing.tear();
        }
        Ok(())
    }

    /// Makes the file longer, with zeros, or shorter.
    pub fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.doing.reach(Step::Write)?;
        let mut held = effects::hold();
        held.resized(&self.file, bytes);
        self.file.set_len(bytes)
    }

    /// Waits until what is in the file is on the disk.
    pub fn sync(&self) -> io::Result<()> {
        sync(&self.doing, &self.file)
    }

    /// As [`Output::sync`], without times and the like.
    pub fn sync_data(&self) -> io::Result<()> {
        self.doing.reach(Step::Sync)?;
        self.file.sync_data()?;
        effects::hold().synced(&self.file);
        self.doing.reach(Step::Synced)?;
        Ok(())
    }

    /// Gives the file its name, for good: file and name are on the disk afterwards.
    pub fn put_in_place(&self, point: Point, path: &Path) -> io::Result<()> {
        put_in_place(point, &self.file, &self.path, path)
    }

    /// The file itself, to look at it.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// The file itself, of which nothing is written any more.
    #[must_use]
    pub fn into_file(self) -> File {
        self.file
    }
}

fn sync(doing: &Doing, file: &File) -> io::Result<()> {
    doing.reach(Step::Sync)?;
    file.sync_all()?;
    effects::hold().synced(file);
    doing.reach(Step::Synced)?;
    Ok(())
}

/// Gives a finished file its name, for good: file and name are on the disk afterwards.
pub fn put_in_place(point: Point, file: &File, temporary: &Path, path: &Path) -> io::Result<()> {
    sync(&Doing::of(point), file)?;
    rename(point, temporary, path)
}

/// Replaces a file as a whole: after a crash there is the old content or the new, nothing between.
pub fn write_atomic(point: Point, path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let fresh = dir_of(path).join(name);
    // What a crash left there may have another mode, and a file keeps the mode it was made with.
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let written = Output::create_new(point, &fresh, mode).and_then(|mut output| {
        output.write_all(bytes)?;
        output.put_in_place(point, path)
    });
    if written.is_err() {
        // The first error is the one to report; a left-over file harms nothing.
        let _ = fs::remove_file(&fresh);
    }
    written
}

/// Removes a file for good: it is not there again after a power cut. One that is not there is no error.
pub fn remove(point: Point, path: &Path) -> io::Result<()> {
    let doing = Doing::of(point);
    doing.reach(Step::Name)?;
    let mut held = effects::hold();
    held.removed(path);
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        removed => removed?,
    }
    drop(held);
    doing.reach(Step::Named)?;
    sync_dir(point, dir_of(path))
}

/// Removes a directory with all that another program has put into it. One that is not there is no error. Nobody waits for
/// that to be on the disk: what comes back after a power cut is removed later.
pub fn remove_tree(point: Point, path: &Path) -> io::Result<()> {
    Doing::of(point).reach(Step::Name)?;
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Gives a file or directory of the same file system another name, in the place of whatever had it, for good.
pub fn rename(point: Point, from: &Path, to: &Path) -> io::Result<()> {
    let doing = Doing::of(point);
    doing.reach(Step::Name)?;
    let mut held = effects::hold();
    held.renamed(from, to);
    fs::rename(from, to)?;
    drop(held);
    doing.reach(Step::Named)?;
    if dir_of(from) != dir_of(to) {
        // The new name first: with neither, it would be lost.
        File::open(dir_of(to))?.sync_all()?;
        effects::hold().dir_synced(dir_of(to));
        return sync_dir(point, dir_of(from));
    }
    sync_dir(point, dir_of(to))
}

/// Waits until the names in a directory are on the disk.
pub fn sync_dir(point: Point, dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()?;
    effects::hold().dir_synced(dir);
    Doing::of(point).reach(Step::Done)
}

/// Makes a directory, and those above it, that only its owner can enter. They are there also after a power cut: what is
/// put into a directory is only as safe as the directory.
pub fn create_private_dir(point: Point, path: &Path) -> io::Result<()> {
    make_dir(point, path, 0o700)
}

/// Makes a directory that everybody may look into, and those above it, in the same way.
pub fn create_public_dir(point: Point, path: &Path) -> io::Result<()> {
    make_dir(point, path, 0o755)
}

fn make_dir(point: Point, path: &Path, mode: u32) -> io::Result<()> {
    if path.as_os_str().is_empty() || path.is_dir() {
        return Ok(());
    }
    make_dir(point, dir_of(path), mode)?;
    let doing = Doing::of(point);
    doing.reach(Step::Name)?;
    let mut held = effects::hold();
    match DirBuilder::new().mode(mode).create(path) {
        // Somebody else was quicker.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
        made => {
            made?;
            held.made(path);
        }
    }
    drop(held);
    doing.reach(Step::Named)?;
    sync_dir(point, dir_of(path))
}
