//! Is it a whole snapshot of Redis? Its magic, its version, its end, and the checksum over all of it.

use crc_fast::{CrcAlgorithm, Digest};

/// `REDIS` and four digits.
const HEAD: usize = 9;
/// The end, and the checksum.
const TAIL: usize = 9;
/// What stands before the checksum.
const END: u8 = 0xff;
/// From this version on there is a checksum.
const CHECKSUM_FROM: u32 = 5;

/// What is wrong with a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAnRdb {
    /// It does not begin as one.
    #[error("it does not begin as a snapshot of Redis does")]
    Head,
    /// It does not end as one.
    #[error("it does not end as a snapshot of Redis does: it was cut off")]
    End,
    /// It was changed.
    #[error("its checksum is wrong: it is not what Redis wrote")]
    Checksum,
}

/// What it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Of the format.
    pub version: u32,
    /// Servers can be set to write none.
    pub checksummed: bool,
}

/// Looks at a snapshot as it passes.
pub struct Check {
    head: Vec<u8>,
    /// The last bytes, which are the checksum if nothing follows.
    tail: Vec<u8>,
    /// Of all but the last eight.
    crc: Digest,
}

impl Default for Check {
    fn default() -> Check {
        Check { head: Vec::new(), tail: Vec::new(), crc: Digest::new(CrcAlgorithm::Crc64Redis) }
    }
}

impl Check {
    /// More of it.
    pub fn add(&mut self, bytes: &[u8]) {
        let wanted = HEAD.saturating_sub(self.head.len()).min(bytes.len());
        self.head.extend_from_slice(&bytes[..wanted]);
        // Small pieces are put behind the tail; of a large one only its own tail is copied.
        let keep = TAIL.saturating_sub(bytes.len()).min(self.tail.len());
        let (passed, kept) = self.tail.split_at(self.tail.len() - keep);
        self.crc.update(passed);
        let mut tail = kept.to_vec();
        let from = bytes.len().saturating_sub(TAIL);
        self.crc.update(&bytes[..from]);
        tail.extend_from_slice(&bytes[from..]);
        self.tail = tail;
    }

    /// That was all: is it whole?
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn end(mut self) -> Result<Seen, NotAnRdb> {
        let version = self.head.strip_prefix(b"REDIS").and_then(|version| std::str::from_utf8(version).ok()?.parse::<u32>().ok());
        let version = version.filter(|_| self.head.len() == HEAD).ok_or(NotAnRdb::Head)?;
        let Some((&END, checksum)) = self.tail.split_first().filter(|_| self.tail.len() == TAIL) else { return Err(NotAnRdb::End) };
        let checksum = <[u8; 8]>::try_from(checksum).map(u64::from_le_bytes).map_err(|_| NotAnRdb::End)?;
        if version < CHECKSUM_FROM || checksum == 0 {
            return Ok(Seen { version, checksummed: false });
        }
        self.crc.update(&[END]);
        if self.crc.finalize() == checksum { Ok(Seen { version, checksummed: true }) } else { Err(NotAnRdb::Checksum) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Redis 7 writes for an empty server, without its optional fields.
    fn whole() -> Vec<u8> {
        let mut bytes = b"REDIS0010\xfa\x04abcd\x01x\xff".to_vec();
        let mut crc = Digest::new(CrcAlgorithm::Crc64Redis);
        crc.update(&bytes);
        bytes.extend_from_slice(&crc.finalize().to_le_bytes());
        bytes
    }

    fn check(bytes: &[u8], piece: usize) -> Result<Seen, NotAnRdb> {
        let mut check = Check::default();
        bytes.chunks(piece).for_each(|piece| check.add(piece));
        check.end()
    }

    #[test]
    fn the_checksum_is_the_one_of_redis() {
        // From Redis's own test of its function.
        let mut crc = Digest::new(CrcAlgorithm::Crc64Redis);
        crc.update(b"123456789");
        assert_eq!(crc.finalize(), 0xe9c6_d914_c4b8_d9ca);
    }

    #[test]
    fn a_whole_one_is_whole_in_pieces_of_any_size() {
        for piece in 1..40 {
            assert_eq!(check(&whole(), piece), Ok(Seen { version: 10, checksummed: true }), "{piece}");
        }
    }

    #[test]
    fn one_that_was_cut_off_or_changed_is_not() {
        let whole = whole();
        for length in 0..whole.len() {
            assert!(check(&whole[..length], 7).is_err(), "{length} bytes");
        }
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 0x10;
            assert!(check(&flipped, 7).is_err(), "byte {at}");
        }
    }
}
