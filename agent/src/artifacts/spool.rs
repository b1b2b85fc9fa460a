//! Files that wait to be sent, in the agent's own directory.

use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use mainstay_client::failpoint::Point;
use mainstay_client::files::{self, Content, FileError, Room, RoomError, RoomTaken, Writing};
use mainstay_client::random;

/// Free bytes of the disk that no file takes: the ledger needs them more.
const RESERVE: u64 = 64 << 20;

/// The directory. What is in it is of this process and of no use to the next.
#[derive(Debug)]
pub(super) struct Spool {
    dir: PathBuf,
    room: Room,
}

/// A file that grows.
#[derive(Debug)]
pub(super) struct Spooling {
    writing: Writing,
    path: PathBuf,
    room: RoomTaken,
}

/// A file that waits to be sent; it is removed with the value.
#[derive(Debug)]
pub(super) struct Spooled {
    path: PathBuf,
    content: Content,
    _room: RoomTaken,
}

impl Spool {
    /// Makes the directory, and removes what a process before has left in it.
    pub fn open(dir: &Path) -> io::Result<Spool> {
        files::create_private_dir(Point::AgentDirectory, dir)?;
        for (leftover, _) in files::list(dir)? {
            files::remove(Point::SpoolRemove, &leftover)?;
        }
        Ok(Spool { dir: dir.to_owned(), room: Room::new(dir, RESERVE) })
    }

    /// Begins a file of at most `limit` bytes.
    pub fn begin(&self, limit: u64) -> Result<Spooling, RoomError> {
        let room = self.room.take(limit)?;
        let path = self.dir.join(random::token(8));
        Ok(Spooling { writing: Writing::begin(Point::Spool, path.clone(), limit), path, room })
    }
}

impl Spooling {
    pub async fn write(&mut self, piece: Bytes) -> Result<(), FileError> {
        self.writing.write(piece).await
    }

    pub async fn finish(self) -> Result<Spooled, FileError> {
        let content = self.writing.finish().await?;
        Ok(Spooled { path: self.path, content, _room: self.room })
    }
}

impl Spooled {
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn content(&self) -> Content {
        self.content
    }
}

impl Drop for Spooled {
    fn drop(&mut self) {
        if let Err(error) = files::remove(Point::SpoolRemove, &self.path) {
            tracing::warn!(file = %self.path.display(), %error, "a file that was sent cannot be removed; the next start removes it");
        }
    }
}
