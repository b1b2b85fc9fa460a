//! Files, into a directory that is empty.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use bytes::BytesMut;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt};

use super::PlaceError;
use super::some::Paths;
use super::whole::Whole;
use crate::pipe::{self, CHUNK, Mouth};
use crate::seam;

/// What is below a directory.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    /// Everything else.
    pub files: u64,
    /// Directories, without the one that was counted.
    pub directories: u64,
    /// Symbolic links.
    pub links: u64,
    /// In the files.
    pub bytes: u64,
}

/// Makes a directory what the one was that was backed up, or leaves it as it is; of several that were backed up at once each
/// is in it under its own name. [`Whole::has`] says before whether it may. Where only some paths are wanted, what was packed
/// of them is answered.
///
/// # Errors
/// When the stream or the disk broke off, or something is there meanwhile: then nothing of it is there.
pub async fn restore(from: impl AsyncRead + Unpin, into: &Whole, what: &str, paths: Option<&Paths>) -> Result<Option<Counted>, PlaceError> {
    let room = into.begin()?;
    let put = async {
        let counted = match paths {
            None => unpack(from, &room).await.map(|()| None)?,
            Some(paths) => Some(unpack_some(from, &room, paths).await?),
        };
        into.settle(only_dir(&room).unwrap_or_else(|| room.clone()), what, Vec::new()).await.map(|()| counted)
    };
    let put = put.await;
    if put.is_err() {
        into.throw_away().await;
    }
    put
}

/// The directory which is all that a directory has.
fn only_dir(within: &Path) -> Option<PathBuf> {
    let mut all = fs::read_dir(within).ok()?;
    let first = all.next()?.ok()?;
    (all.next().is_none() && first.file_type().ok()?.is_dir()).then(|| first.path())
}

/// Holds a directory that was restored against what its source had counted: what it has, and what differs, in words.
///
/// # Errors
/// When it cannot be looked at.
pub async fn compare(was: &BTreeMap<String, Value>, into: &Path) -> Result<(Counted, Vec<String>), PlaceError> {
    let dir = into.to_owned();
    let counting = seam::blocking(move || count(&dir));
    let wrong = |said: &dyn std::fmt::Display| PlaceError::new(into.display().to_string(), said);
    let is = counting.await.map_err(|broken| wrong(&broken))?.map_err(|error| wrong(&error))?;
    Ok((is, differs(was, &is, true)))
}

/// What is not as it was counted. A source counts the directories that it was told to pack too; where one took the place of
/// another (`is_itself`), it is not within itself.
pub(crate) fn differs(was: &BTreeMap<String, Value>, is: &Counted, is_itself: bool) -> Vec<String> {
    let each = [("files", is.files), ("directories", is.directories), ("links", is.links), ("bytes", is.bytes)];
    let differs = |(name, is): (&str, u64)| {
        let was = was.get(name).and_then(Value::as_u64)?;
        let same = is == was || (is_itself && name == "directories" && is + 1 == was);
        (!same).then(|| format!("it has {is} {name}, and had {was}"))
    };
    each.into_iter().filter_map(differs).collect()
}

/// What is below a directory. As deep as it was when it was packed, which is bounded there.
pub(crate) fn count(dir: &Path) -> io::Result<Counted> {
    let mut counted = Counted::default();
    add(dir, &mut counted)?;
    Ok(counted)
}

fn add(dir: &Path, counted: &mut Counted) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        if metadata.is_dir() {
            counted.directories += 1;
            add(&entry.path(), counted)?;
        } else if metadata.is_symlink() {
            counted.links += 1;
        } else {
            counted.files += 1;
            counted.bytes += metadata.len();
        }
    }
    Ok(())
}

/// Unpacks a tar stream into an empty directory, which is made where it is missing. Nothing is put outside of it.
///
/// # Errors
/// When something is there already, or the stream or the disk broke off: the directory is to be thrown away then.
pub async fn unpack(reader: impl AsyncRead + Unpin, into: &Path) -> Result<(), PlaceError> {
    let place = into.display().to_string();
    let wrong = |said: &dyn std::fmt::Display| PlaceError::new(&place, said);
    is_empty(into).map_err(|error| wrong(&error))?;
    let (mouth, mut from) = pipe::to_thread();
    let dir = into.to_owned();
    let unpacking = seam::blocking(move || {
        let mut archive = tar::Archive::new(&mut from);
        archive.set_preserve_permissions(true);
        archive.set_overwrite(false);
        archive.unpack(&dir)?;
        // What is held back until the checksums are known to be right comes last.
        io::copy(&mut from, &mut io::sink()).map(drop)
    });
    pass_on(reader, mouth).await;
    unpacking.await.map_err(|broken| wrong(&broken))?.map_err(|error| wrong(&said(&error)))
}

/// As [`unpack`], of some paths only; what was packed of them.
///
/// # Errors
/// As there, and when one of them is not in the stream.
pub async fn unpack_some(reader: impl AsyncRead + Unpin, into: &Path, paths: &Paths) -> Result<Counted, PlaceError> {
    let place = into.display().to_string();
    let wrong = |said: &dyn std::fmt::Display| PlaceError::new(&place, said);
    is_empty(into).map_err(|error| wrong(&error))?;
    let (mouth, mut from) = pipe::to_thread();
    let (dir, wanted) = (into.to_owned(), paths.clone());
    let unpacking = seam::blocking(move || {
        let counted = take(&mut from, &dir, &wanted)?;
        // What is held back until the checksums are known to be right comes last.
        io::copy(&mut from, &mut io::sink()).map(|_| counted)
    });
    pass_on(reader, mouth).await;
    unpacking.await.map_err(|broken| wrong(&broken))?.map_err(|error| wrong(&said(&error)))
}

fn take(from: &mut impl io::Read, into: &Path, paths: &Paths) -> io::Result<Counted> {
    let mut archive = tar::Archive::new(from);
    archive.set_preserve_permissions(true);
    archive.set_overwrite(false);
    let (mut counted, mut found, mut dirs) = (Counted::default(), BTreeSet::new(), Vec::new());
    for entry in archive.entries()? {
        let mut entry = entry?;
        let packed = entry.path()?.into_owned();
        let Some(path) = paths.wants(&packed) else { continue };
        found.insert(path.to_owned());
        let kind = entry.header().entry_type();
        if kind.is_dir() {
            counted.directories += 1;
            // With their own modes when all that is in them is there.
            dirs.push(entry);
            continue;
        }
        if kind.is_symlink() {
            counted.links += 1;
        } else {
            counted.files += 1;
            counted.bytes += entry.size();
        }
        entry.unpack_in(into)?;
    }
    for mut dir in dirs.into_iter().rev() {
        dir.unpack_in(into)?;
    }
    match paths.missing(&found).as_slice() {
        [] => Ok(counted),
        missing => Err(io::Error::new(io::ErrorKind::NotFound, format!("it has no {}", missing.join(", ")))),
    }
}

/// From the task that reads to the thread that unpacks.
async fn pass_on(mut from: impl AsyncRead + Unpin, into: Mouth) {
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(CHUNK);
        match from.read_buf(&mut buffer).await {
            Ok(0) => return into.end(Ok(())).await,
            // A thread that has ended has said why.
            Ok(_) if into.send(buffer.split().freeze()).await.is_err() => return,
            Ok(_) => {}
            Err(error) => return into.end(Err(error)).await,
        }
    }
}

pub(super) fn is_empty(dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    match fs::read_dir(dir)?.next() {
        None => Ok(()),
        Some(_) => Err(io::Error::other("it is not empty; nothing was touched: name a directory that is, or a new one")),
    }
}

/// With what it came from: the outer one only says at which file.
fn said(error: &io::Error) -> String {
    let mut said = error.to_string();
    let mut next = error.get_ref().and_then(|inner| inner.source());
    while let Some(inner) = next {
        said = format!("{said}: {inner}");
        next = inner.source();
    }
    said
}
