//! A snapshot of Redis, as `dump.rdb` in a directory that is empty: a server that is started there loads it. Nothing is loaded
//! into a server that runs, which would save its own data over what is restored.
#![allow(clippy::disallowed_methods, reason = "this module is where a snapshot is put")]

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use tokio::io::{AsyncRead, AsyncReadExt};

use super::whole::Whole;
use super::{PlaceError, files::is_empty};
use crate::encode::Summing;
use crate::manifest::Sum;
use crate::pipe::CHUNK;
use crate::seam;
use crate::source::redis::rdb::Check;

/// The name that a server looks for unless it is told otherwise.
const NAME: &str = "dump.rdb";

/// Writes a snapshot there. It has its name only when all of it is there, was right, and is on the disk.
///
/// # Errors
/// When something is there already, or it could not be written.
pub async fn write(mut from: impl AsyncRead + Unpin, into: &Path) -> Result<PathBuf, PlaceError> {
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

/// Makes a directory one in which a server finds that snapshot, or leaves it as it is. The snapshot belongs to whom the
/// directory belonged. [`Whole::has`] says before whether it may.
///
/// # Errors
/// When the stream or the disk broke off, or something is there meanwhile: then nothing of it is there.
pub async fn restore(from: impl AsyncRead + Unpin, into: &Whole, what: &str) -> Result<(), PlaceError> {
    let room = into.begin()?;
    let put = async {
        let dump = write(from, &room).await?;
        into.settle(room.clone(), what, vec![dump]).await
    };
    let put = put.await;
    if put.is_err() {
        into.throw_away().await;
    }
    put
}

/// Holds the snapshot in a directory against what the source gave: what differs, in words.
///
/// # Errors
/// When it cannot be read.
pub async fn compare(was: &Sum, into: &Path) -> Result<Vec<String>, PlaceError> {
    let dump = into.join(NAME);
    let place = dump.display().to_string();
    let wrong = |said: &dyn std::fmt::Display| PlaceError::new(&place, said);
    let summing = seam::blocking(move || {
        let (mut file, mut sum, mut buffer) = (fs::File::open(dump)?, Summing::default(), vec![0; CHUNK]);
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok::<Sum, io::Error>(sum.sum()),
                read => sum.add(&buffer[..read]),
            }
        }
    });
    let is = summing.await.map_err(|broken| wrong(&broken))?.map_err(|error| wrong(&error))?;
    Ok(if is == *was { Vec::new() } else { vec![format!("{NAME} has {} bytes that are not the {} which were backed up", is.bytes, was.bytes)] })
}
