//! A snapshot of Redis, as `dump.rdb` in a directory that is empty: a server that is started there loads it. Nothing is loaded
//! into a server that runs, which would save its own data over what is restored.
#![allow(clippy::disallowed_methods, reason = "this module is where a snapshot is put")]

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use tokio::io::{AsyncRead, AsyncReadExt};

use super::{PlaceError, files::is_empty};
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
