//! How far a file has been on the disk, kept in a file beside it.
//!
//! A store that repairs itself may take the newest of what it had on the disk for something that a crash cut off, when
//! a byte of it is damaged. The mark tells the two apart: it is written after the sync, so what it names was on the
//! disk. It is not synced itself, which costs nothing and loses it in a power cut at most, when it names less than is
//! there. One that is damaged says nothing.

use std::io;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::{Output, read_bounded};
use crate::failpoint::{Doing, Point};

/// Most that a mark may say.
pub const SAID_MAX: usize = 119;
/// What it takes: always the same, so that a longer one leaves nothing behind in a shorter one, and within one sector,
/// so that it is not torn.
const BODY_BYTES: usize = SAID_MAX + 1;
const CHECKSUM_BYTES: usize = 8;

/// A mark that is written again and again.
#[derive(Debug)]
pub struct Mark {
    output: Output,
}

impl Mark {
    /// What a mark says; nothing where there is none, or a damaged one.
    pub fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
        let bytes = match read_bounded(path, (CHECKSUM_BYTES + BODY_BYTES) as u64) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => Vec::new(),
            read => read?,
        };
        let body = bytes.split_at_checked(CHECKSUM_BYTES).filter(|(sum, body)| *sum == checksum(body)).map(|(_, body)| body);
        let said = body.and_then(|body| body.get(1..1 + usize::from(*body.first()?))).map(<[u8]>::to_vec);
        if said.is_none() && !bytes.is_empty() {
            tracing::warn!(file = %path.display(), "a mark of how far a file was on the disk is damaged: it is made anew");
        }
        Ok(said)
    }

    /// Opens a mark to write it.
    pub fn open(point: Point, path: &Path) -> io::Result<Mark> {
        Ok(Mark { output: Output::open(Doing::of(point), path, 0o600)? })
    }

    /// Says something else, of at most [`SAID_MAX`] bytes.
    pub fn write(&self, said: &[u8]) -> io::Result<()> {
        let mut body = [0; BODY_BYTES];
        let (length, room) = body.split_at_mut(1);
        let room = room.get_mut(..said.len()).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a mark says too much"))?;
        room.copy_from_slice(said);
        length[0] = u8::try_from(said.len()).unwrap_or(0);
        self.output.write_at(0, &[checksum(&body).as_slice(), &body].concat())
    }
}

fn checksum(body: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let digest: [u8; 32] = Sha256::digest(body).into();
    let mut sum = [0; CHECKSUM_BYTES];
    sum.copy_from_slice(&digest[..CHECKSUM_BYTES]);
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_says_what_was_written_last_and_nothing_when_it_is_damaged() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mark");
        assert_eq!(Mark::read(&path).unwrap(), None);
        let mark = Mark::open(Point::LogMark, &path).unwrap();
        assert_eq!(Mark::read(&path).unwrap(), None);
        mark.write(b"three").unwrap();
        mark.write(b"two").unwrap();
        assert_eq!(Mark::read(&path).unwrap().as_deref(), Some(b"two".as_slice()));
        let whole = std::fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            std::fs::write(&path, &bytes).unwrap();
            assert_eq!(Mark::read(&path).unwrap(), None, "byte {at}");
            std::fs::write(&path, &whole[..at]).unwrap();
            assert_eq!(Mark::read(&path).unwrap(), None, "cut at {at}");
        }
        mark.write(&[7; SAID_MAX]).unwrap();
        assert!(mark.write(&[7; SAID_MAX + 1]).is_err());
        std::fs::write(&path, [1; 1_000]).unwrap();
        assert_eq!(Mark::read(&path).unwrap(), None);
    }
}
