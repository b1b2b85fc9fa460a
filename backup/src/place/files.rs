//! Files, into a directory that is empty.

use std::fs;
use std::io;
use std::path::Path;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt};

use super::PlaceError;
use crate::pipe::{self, CHUNK, Mouth};
use crate::seam;

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
