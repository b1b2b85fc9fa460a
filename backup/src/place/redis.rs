//! A snapshot of Redis, as `dump.rdb` in a directory that is empty: a server that is started there loads it. Nothing is loaded
//! into a server that runs, which would save its own data over what is restored.
//!
//! A server with `appendonly yes` looks for its log, and not for `dump.rdb`: it would start empty, and save that. So the
//! snapshot is also the beginning of such a log, by a second name of the same file:
//!
//! ```text
//! dump.rdb                                      appendonly no
//! appendonlydir/appendonly.aof.manifest         appendonly yes: says which files its log is
//!               appendonly.aof.1.base.rdb       the same as dump.rdb; no server writes into either, it makes new ones
//! ```
//!
//! Of a cluster each shard has a directory of its own, called as its part.
#![allow(clippy::disallowed_methods, reason = "this module is where a snapshot is put")]

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use tokio::io::{AsyncRead, AsyncReadExt};

use super::whole::Whole;
use super::{PlaceError, files::is_empty};
use crate::decode;
use crate::encode::Summing;
use crate::keys::Identities;
use crate::manifest::{Manifest, Part, Sum};
use crate::pipe::CHUNK;
use crate::progress::Teller;
use crate::seam;
use crate::source::redis::rdb::Check;
use crate::source::redis::{CONTENT, PART};
use crate::store::Store;

/// The name that a server looks for unless it is told otherwise.
const NAME: &str = "dump.rdb";
/// Where a server looks for its log, and for what says which files that is.
const LOG_DIR: &str = "appendonlydir";
const LOG_MANIFEST: &str = "appendonly.aof.manifest";
const LOG_BASE: &str = "appendonly.aof.1.base.rdb";

/// Writes a snapshot there, for servers with and without a log of their own. It has its name only when all of it is there,
/// was right, and is on the disk.
///
/// # Errors
/// When something is there already, or it could not be written.
pub async fn write(from: impl AsyncRead + Unpin, into: &Path) -> Result<PathBuf, PlaceError> {
    let dump = snapshot(from, into).await?;
    let (dir, file) = (into.to_owned(), dump.clone());
    let wrong = |error: io::Error| PlaceError::new(into.display().to_string(), error);
    seam::blocking(move || log(&dir, &file)).await.map_err(|broken| wrong(io::Error::other(broken)))?.map_err(wrong)?;
    Ok(dump)
}

/// Writes nothing but `dump.rdb`.
pub(crate) async fn snapshot(mut from: impl AsyncRead + Unpin, into: &Path) -> Result<PathBuf, PlaceError> {
    let place = into.display().to_string();
    let wrong = |error: io::Error| PlaceError::new(&place, error);
    is_empty(into).map_err(wrong)?;
    let (unfinished, finished) = (into.join("dump.rdb.unfinished"), into.join(NAME));
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished).map_err(wrong)?;
    let (mut check, mut buffer) = (Check::default(), vec![0; CHUNK]);
    loop {
        let read = from.read(&mut buffer).await.map_err(wrong)?;
        if read == 0 {
            break;
        }
        check.add(&buffer[..read]);
        file.write_all(&buffer[..read]).map_err(wrong)?;
    }
    check.end().map_err(|error| PlaceError::new(&place, error))?;
    let dir = into.to_owned();
    let naming = seam::blocking({
        let finished = finished.clone();
        move || {
            file.sync_all()?;
            fs::rename(&unfinished, &finished)?;
            fs::OpenOptions::new().read(true).open(dir)?.sync_all()
        }
    });
    naming.await.map_err(|broken| PlaceError::new(&place, broken))?.map_err(wrong)?;
    Ok(finished)
}

/// Makes a snapshot the beginning of a log, too.
fn log(into: &Path, dump: &Path) -> io::Result<()> {
    let dir = into.join(LOG_DIR);
    fs::DirBuilder::new().mode(0o700).create(&dir)?;
    // Where there are no second names, a copy does as well.
    let base = dir.join(LOG_BASE);
    if fs::hard_link(dump, &base).is_err() {
        fs::copy(dump, &base)?;
        fs::File::open(&base)?.sync_all()?;
    }
    let mut manifest = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(dir.join(LOG_MANIFEST))?;
    writeln!(manifest, "file {LOG_BASE} seq 1 type b")?;
    manifest.sync_all()?;
    fs::File::open(&dir)?.sync_all()?;
    fs::File::open(into)?.sync_all()
}

/// All that [`write`] puts into a directory.
fn written(into: &Path) -> Vec<PathBuf> {
    let dir = into.join(LOG_DIR);
    vec![into.join(NAME), dir.join(LOG_BASE), dir.join(LOG_MANIFEST), dir]
}

/// The snapshots of a backup, and where in a directory each of them is put: of a cluster each shard in one of its own.
///
/// # Errors
/// When it has none.
fn parts<'m>(manifest: &'m Manifest, into: &Path) -> Result<Vec<(&'m Part, PathBuf)>, PlaceError> {
    let of = |part: &'m Part| (part, if part.name == PART { into.to_owned() } else { into.join(&part.name) });
    let parts: Vec<_> = manifest.parts.iter().filter(|part| part.content == CONTENT).map(of).collect();
    if parts.is_empty() {
        return Err(PlaceError::new(into.display().to_string(), format!("{} has no part of {CONTENT}", manifest.backup)));
    }
    Ok(parts)
}

/// Writes all snapshots of a backup there: one, or those of the shards of a cluster. What it has made.
///
/// # Errors
/// When something is there already, or it could not be opened or written.
pub async fn write_all(store: &Store, manifest: &Manifest, keys: &Identities, progress: &Teller, into: &Path) -> Result<Vec<PathBuf>, PlaceError> {
    let wrong = |said: &dyn std::fmt::Display| PlaceError::new(into.display().to_string(), said);
    is_empty(into).map_err(|error| wrong(&error))?;
    let mut all = Vec::new();
    for (part, dir) in parts(manifest, into)? {
        let plain = decode::open(store, manifest, part, keys, progress).await.map_err(|damage| wrong(&damage))?;
        if dir != into {
            fs::DirBuilder::new().mode(0o700).create(&dir).map_err(|error| wrong(&error))?;
            all.push(dir.clone());
        }
        write(plain, &dir).await?;
        all.extend(written(&dir));
    }
    Ok(all)
}

/// Makes a directory one in which a server finds that snapshot, or, of a cluster, one of such directories; or leaves it as it
/// is. What is put there belongs to whom the directory belonged. [`Whole::has`] says before whether it may.
///
/// # Errors
/// When the store or the disk broke off, or something is there meanwhile: then nothing of it is there.
pub async fn restore(store: &Store, manifest: &Manifest, keys: &Identities, progress: &Teller, into: &Whole, what: &str) -> Result<(), PlaceError> {
    let room = into.begin()?;
    let put = async {
        let all = write_all(store, manifest, keys, progress, &room).await?;
        into.settle(room.clone(), what, all).await
    };
    let put = put.await;
    if put.is_err() {
        into.throw_away().await;
    }
    put
}

/// Holds the snapshots in a directory against what the source gave: what differs, in words.
///
/// # Errors
/// When one cannot be read.
pub async fn compare(manifest: &Manifest, into: &Path) -> Result<Vec<String>, PlaceError> {
    let mut differs = Vec::new();
    for (part, dir) in parts(manifest, into)? {
        let dump = dir.join(NAME);
        let is = sum(dump.clone()).await?;
        let was = &part.plain;
        if is != *was {
            let name = dump.strip_prefix(into).unwrap_or(&dump).display();
            differs.push(format!("{name} has {} bytes that are not the {} which were backed up", is.bytes, was.bytes));
        }
    }
    Ok(differs)
}

async fn sum(file: PathBuf) -> Result<Sum, PlaceError> {
    let place = file.display().to_string();
    let wrong = |said: &dyn std::fmt::Display| PlaceError::new(&place, said);
    let summing = seam::blocking(move || {
        let (mut file, mut sum, mut buffer) = (fs::File::open(file)?, Summing::default(), vec![0; CHUNK]);
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok::<Sum, io::Error>(sum.sum()),
                read => sum.add(&buffer[..read]),
            }
        }
    });
    summing.await.map_err(|broken| wrong(&broken))?.map_err(|error| wrong(&error))
}
