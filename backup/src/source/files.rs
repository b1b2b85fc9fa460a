//! Directories, as one tar stream. Symbolic links are kept as links, other special files are counted and left out. A file that
//! becomes shorter while it is read is an error: its end would be invented.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::Value;

use super::{Source, SourceError, Stream};
use crate::pipe::{self, CHUNK, Mouth};
use crate::seam;

/// What its part is.
pub const CONTENT: &str = "application/x-tar";
/// Directories within directories that are gone into.
const DEPTH_MAX: usize = 200;

/// Directories that are backed up.
#[derive(Debug)]
pub struct Files {
    dirs: Vec<PathBuf>,
    given: bool,
    counted: Arc<Mutex<Counted>>,
}

#[derive(Debug, Default, Clone)]
struct Counted {
    files: u64,
    dirs: u64,
    links: u64,
    left_out: u64,
    bytes: u64,
}

impl Files {
    /// These. Each is in the stream under its own name.
    #[must_use]
    pub fn new(dirs: Vec<PathBuf>) -> Files {
        Files { dirs, given: false, counted: Arc::default() }
    }

    fn checked(&self) -> Result<(), SourceError> {
        if self.dirs.is_empty() {
            return Err(SourceError::new("files", "no directory is named"));
        }
        for dir in &self.dirs {
            let said = |said: String| SourceError::new(dir.display().to_string(), said);
            let metadata = fs::metadata(dir).map_err(|error| said(error.to_string()))?;
            if !metadata.is_dir() {
                return Err(said("it is no directory".to_owned()));
            }
            if dir.file_name().is_none() {
                return Err(said("it has no name of its own: name directories within it".to_owned()));
            }
            if self.dirs.iter().filter(|other| other.file_name() == dir.file_name()).count() > 1 {
                return Err(said("another directory has the same name: back them up as two targets".to_owned()));
            }
        }
        Ok(())
    }
}

impl Source for Files {
    fn kind(&self) -> &'static str {
        "files"
    }

    fn look(&mut self) -> BoxFuture<'_, Result<BTreeMap<String, String>, SourceError>> {
        async { self.checked().map(|()| BTreeMap::new()) }.boxed()
    }

    fn next(&mut self) -> BoxFuture<'_, Result<Option<Stream>, SourceError>> {
        async {
            if std::mem::replace(&mut self.given, true) {
                return Ok(None);
            }
            let (mouth, flow) = pipe::to_task();
            let (dirs, counted) = (self.dirs.clone(), Arc::clone(&self.counted));
            seam::blocking(move || {
                let outcome = pack(&dirs, &mouth).map(|count| *counted.lock().unwrap_or_else(PoisonError::into_inner) = count);
                mouth.put_end(outcome);
            });
            Ok(Some(Stream { name: "files".to_owned(), content: CONTENT, reader: Box::new(flow) }))
        }
        .boxed()
    }

    fn end(&mut self) -> BoxFuture<'_, Result<BTreeMap<String, Value>, SourceError>> {
        let counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Counted { files, dirs, links, left_out, bytes } = counted;
        let counts = [("files", files), ("directories", dirs), ("links", links), ("leftOut", left_out), ("bytes", bytes)];
        let counts = counts.into_iter().map(|(name, count)| (name.to_owned(), Value::from(count))).collect();
        async { Ok(counts) }.boxed()
    }
}

fn pack(dirs: &[PathBuf], mouth: &Mouth) -> io::Result<Counted> {
    let mut tar = tar::Builder::new(io::BufWriter::with_capacity(CHUNK, Into(mouth)));
    tar.follow_symlinks(false);
    let mut counted = Counted::default();
    for dir in dirs {
        let name = dir.file_name().map(PathBuf::from).unwrap_or_default();
        put(&mut tar, dir, &name, &mut counted, 0).map_err(|error| io::Error::new(error.kind(), error.to_string()))?;
    }
    tar.into_inner()?.into_inner().map_err(io::IntoInnerError::into_error)?;
    Ok(counted)
}

fn put<W: Write>(tar: &mut tar::Builder<W>, path: &Path, name: &Path, counted: &mut Counted, depth: usize) -> io::Result<()> {
    let here = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    let metadata = fs::symlink_metadata(path).map_err(here)?;
    let kind = metadata.file_type();
    if kind.is_dir() {
        if depth == DEPTH_MAX {
            return Err(here(io::Error::other("directories within directories without end")));
        }
        tar.append_dir(name, path).map_err(here)?;
        counted.dirs += 1;
        let mut entries: Vec<_> = fs::read_dir(path).map_err(here)?.collect::<Result<_, _>>().map_err(here)?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            match put(tar, &entry.path(), &name.join(entry.file_name()), counted, depth + 1) {
                // What went away since the directory was read had gone before the backup, or might have.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                ended => ended?,
            }
        }
    } else if kind.is_symlink() {
        let mut header = header_of(&metadata);
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        let to = fs::read_link(path).map_err(here)?;
        tar.append_link(&mut header, name, to).map_err(here)?;
        counted.links += 1;
    } else if kind.is_file() {
        let file = fs::OpenOptions::new().read(true).open(path).map_err(here)?;
        let metadata = file.metadata().map_err(here)?;
        let whole = Exactly { file, left: metadata.len() };
        tar.append_data(&mut header_of(&metadata), name, whole).map_err(here)?;
        counted.files += 1;
        counted.bytes += metadata.len();
    } else {
        counted.left_out += 1;
    }
    Ok(())
}

fn header_of(metadata: &Metadata) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_metadata(metadata);
    header
}

/// As much of a file as its header says.
struct Exactly {
    file: fs::File,
    left: u64,
}

impl Read for Exactly {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let most = into.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if most == 0 {
            return Ok(0);
        }
        let read = self.file.read(&mut into[..most])?;
        if read == 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it became shorter while it was read"));
        }
        self.left -= read as u64;
        Ok(read)
    }
}

/// Into the pipe.
struct Into<'m>(&'m Mouth);

impl Write for Into<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.put(Bytes::copy_from_slice(bytes))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
