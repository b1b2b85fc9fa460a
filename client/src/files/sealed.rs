//! Text files of Mainstay's own, with a checksum in their first line: a flipped byte in a key, an id or a port would
//! otherwise be another key, id or port.
//!
//! ```text
//! # checksum 0123456789abcdef
//! ```
//! TOML and PEM take such a line for a comment. A file without it is one that a person or another program wrote, and
//! is read as it is.

use std::fmt::Write as _;
use std::io;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::{read_text, write_atomic};
use crate::failpoint::Point;

const BEGINS: &str = "# checksum ";

/// Replaces a file as a whole, with its checksum.
pub fn write_sealed(point: Point, path: &Path, text: &str, mode: u32) -> io::Result<()> {
    write_atomic(point, path, sealed(text).as_bytes(), mode)
}

/// A text with its checksum.
#[must_use]
pub fn sealed(text: &str) -> String {
    format!("{BEGINS}{}\n{text}", checksum(text))
}

/// Reads such a file, of at most `max` bytes, without the line.
///
/// # Errors
/// As [`read_text`], and of kind `InvalidData`, with what to do, when it is not what was written.
pub fn read_sealed(path: &Path, max: u64) -> io::Result<String> {
    unsealed(path, read_text(path, max)?)
}

/// The text without its checksum. `path` is where it was read.
///
/// # Errors
/// As [`read_sealed`].
pub fn unsealed(path: &Path, text: String) -> io::Result<String> {
    match text.strip_prefix(BEGINS).map(|rest| rest.split_once('\n')) {
        Some(Some((sum, text))) if sum == checksum(text) => Ok(text.to_owned()),
        // Cut off within that line, or empty, it is nobody's.
        None if !BEGINS.starts_with(&text) => Ok(text),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!(
                "{} is damaged: its checksum is wrong. Put back a good copy; if somebody has changed it on purpose, take out its first line",
                path.display()
            ),
        )),
    }
}

/// 64 bits of SHA-256 are plenty against chance.
fn checksum(text: &str) -> String {
    Sha256::digest(text)[..8].iter().fold(String::new(), |mut sum, byte| {
        // Writing to a string cannot fail.
        let _ = write!(sum, "{byte:02x}");
        sum
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "member = \"000000000000000a\"\n";

    #[test]
    fn every_flipped_bit_is_told_or_makes_no_difference() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file.toml");
        write_sealed(Point::MemberRecord, &path, TEXT, 0o600).unwrap();
        let whole = std::fs::read(&path).unwrap();
        assert_eq!(read_sealed(&path, 1_000).unwrap(), TEXT);
        for bit in 0..whole.len() * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, &bytes).unwrap();
            match read_sealed(&path, 1_000) {
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::InvalidData, "bit {bit}: {error}"),
                // The line is none any more, and what it stood for is whole.
                Ok(text) => assert!(bit / 8 < BEGINS.len() && text.ends_with(TEXT), "bit {bit}: {text}"),
            }
        }
    }

    #[test]
    fn every_file_that_was_cut_off_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file.toml");
        write_sealed(Point::MemberRecord, &path, TEXT, 0o600).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for length in 0..whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            let error = read_sealed(&path, 1_000).unwrap_err().to_string();
            assert!(error.contains("file.toml is damaged") && error.contains("Put back a good copy"), "{length}: {error}");
        }
    }

    #[test]
    fn what_somebody_else_wrote_is_read_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file.toml");
        write_atomic(Point::Settings, &path, TEXT.as_bytes(), 0o600).unwrap();
        assert_eq!(read_sealed(&path, 1_000).unwrap(), TEXT);
    }
}
