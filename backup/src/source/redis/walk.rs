//! Counts the keys of a snapshot as it passes: by database and type, and how many of them have an end. What they hold is
//! skipped. The names of keys are not looked at.

use std::collections::BTreeMap;
use std::io::{self, BufRead};

use serde::{Deserialize, Serialize};

/// Magic and version.
const HEAD: u64 = 9;
/// Of an entry's name within a stream, and in the lists of what was delivered and not acknowledged.
const STREAM_ID: u64 = 16;

/// Keys of one type in one database.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keys {
    /// All of them.
    pub keys: u64,
    /// Those that have an end of their own.
    pub expiring: u64,
}

/// Keys by database (`db0`) and by type, as `TYPE` calls it; all types of modules are `module`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Tally(pub BTreeMap<String, BTreeMap<String, Keys>>);

impl Tally {
    /// More keys.
    pub fn add(&mut self, database: &str, kind: &str, more: Keys) {
        let kinds = self.0.entry(database.to_owned()).or_default();
        let keys = kinds.entry(kind.to_owned()).or_default();
        keys.keys += more.keys;
        keys.expiring += more.expiring;
    }

    /// What another one has, too.
    pub fn merge(&mut self, other: &Tally) {
        for (database, kinds) in &other.0 {
            kinds.iter().for_each(|(kind, keys)| self.add(database, kind, *keys));
        }
    }

    /// All keys of a database.
    #[must_use]
    pub fn of(&self, database: &str) -> Keys {
        let kinds = self.0.get(database).into_iter().flat_map(BTreeMap::values);
        kinds.fold(Keys::default(), |all, keys| Keys { keys: all.keys + keys.keys, expiring: all.expiring + keys.expiring })
    }
}

/// Reads a snapshot up to its end.
///
/// # Errors
/// When it breaks off, or has something in it that is not known here: of a newer Redis.
pub fn count(from: impl BufRead) -> io::Result<Tally> {
    let mut walker = Walker { from };
    walker.skip(HEAD)?;
    let mut counts: BTreeMap<u64, BTreeMap<&'static str, Keys>> = BTreeMap::new();
    let (mut database, mut ends) = (0, 0);
    loop {
        match walker.byte()? {
            0xff => break,
            0xfe => database = walker.number()?,
            0xfd => {
                walker.skip(4)?;
                ends = 1;
            }
            0xfc => {
                walker.skip(8)?;
                ends = 1;
            }
            // How large the tables are to be, or what is in a slot.
            0xfb => walker.numbers(2)?,
            0xf4 => walker.numbers(3)?,
            0xfa => walker.strings(2)?,
            // When it was used.
            0xf9 => walker.skip(1)?,
            0xf8 => walker.numbers(1)?,
            // What a module says beside keys: of which one, and when it is to be loaded.
            0xf7 => {
                walker.numbers(2)?;
                walker.module()?;
            }
            // A library of functions.
            0xf5 => walker.strings(1)?,
            kind => {
                walker.strings(1)?;
                let keys = counts.entry(database).or_default().entry(walker.value(kind)?).or_default();
                keys.keys += 1;
                keys.expiring += std::mem::take(&mut ends);
            }
        }
    }
    let mut tally = Tally::default();
    for (database, kinds) in counts {
        kinds.into_iter().for_each(|(kind, keys)| tally.add(&format!("db{database}"), kind, keys));
    }
    Ok(tally)
}

fn unknown(what: &str, which: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the snapshot has {what} {which}, which is not known here"))
}

enum Length {
    Of(u64),
    /// A string is written in another way.
    As(u8),
}

struct Walker<R> {
    from: R,
}

impl<R: BufRead> Walker<R> {
    fn byte(&mut self) -> io::Result<u8> {
        self.bytes::<1>().map(|[byte]| byte)
    }

    fn bytes<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.from.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn skip(&mut self, bytes: u64) -> io::Result<()> {
        let mut left = bytes;
        while left > 0 {
            let there = self.from.fill_buf()?.len();
            if there == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let taken = usize::try_from(left).map_or(there, |left| left.min(there));
            self.from.consume(taken);
            left -= taken as u64;
        }
        Ok(())
    }

    fn length(&mut self) -> io::Result<Length> {
        let first = self.byte()?;
        let low = u64::from(first & 0x3f);
        Ok(match (first >> 6, first) {
            (0, _) => Length::Of(low),
            (1, _) => Length::Of((low << 8) | u64::from(self.byte()?)),
            (2, 0x80) => Length::Of(u32::from_be_bytes(self.bytes()?).into()),
            (2, 0x81) => Length::Of(u64::from_be_bytes(self.bytes()?)),
            (2, _) => return Err(unknown("a length", first)),
            _ => Length::As(first & 0x3f),
        })
    }

    fn number(&mut self) -> io::Result<u64> {
        match self.length()? {
            Length::Of(number) => Ok(number),
            Length::As(how) => Err(unknown("a number of the form", how)),
        }
    }

    fn numbers(&mut self, count: u64) -> io::Result<()> {
        (0..count).try_for_each(|_| self.number().map(drop))
    }

    fn string(&mut self) -> io::Result<()> {
        match self.length()? {
            Length::Of(bytes) => self.skip(bytes),
            // A small number.
            Length::As(how @ 0..=2) => self.skip(1 << how),
            // Compressed: how long it is, and how long it was.
            Length::As(3) => {
                let bytes = self.number()?;
                self.number()?;
                self.skip(bytes)
            }
            Length::As(how) => Err(unknown("a string of the form", how)),
        }
    }

    fn strings(&mut self, count: u64) -> io::Result<()> {
        (0..count).try_for_each(|_| self.string())
    }

    /// As many as it says, each read by `one`.
    fn each(&mut self, mut one: impl FnMut(&mut Self) -> io::Result<()>) -> io::Result<()> {
        let count = self.number()?;
        (0..count).try_for_each(|_| one(self))
    }

    /// Skips a value; what `TYPE` calls it.
    fn value(&mut self, kind: u8) -> io::Result<&'static str> {
        Ok(match kind {
            0 => self.string().map(|()| "string")?,
            1 | 14 => self.each(Self::string).map(|()| "list")?,
            2 => self.each(Self::string).map(|()| "set")?,
            3 => self.each(Self::scored_in_words).map(|()| "zset")?,
            4 => self.each(|walker| walker.strings(2)).map(|()| "hash")?,
            5 => self.each(|walker| walker.string().and_then(|()| walker.skip(8))).map(|()| "zset")?,
            7 => self.module().map(|()| "module")?,
            10 => self.string().map(|()| "list")?,
            9 | 13 | 16 => self.string().map(|()| "hash")?,
            11 | 20 => self.string().map(|()| "set")?,
            12 | 17 => self.string().map(|()| "zset")?,
            15 | 19 | 21 => self.stream(kind).map(|()| "stream")?,
            18 => self.each(|walker| walker.number().and_then(|_| walker.string())).map(|()| "list")?,
            // Hashes whose fields have ends of their own, after the earliest of them.
            24 => {
                self.skip(8)?;
                self.each(|walker| walker.number().and_then(|_| walker.strings(2))).map(|()| "hash")?
            }
            25 => {
                self.skip(8)?;
                self.string().map(|()| "hash")?
            }
            _ => return Err(unknown("a value of type", kind)),
        })
    }

    /// A member, and its score as text; 253 to 255 are what has no text: not a number, and the infinities.
    fn scored_in_words(&mut self) -> io::Result<()> {
        self.string()?;
        match self.byte()? {
            253..=255 => Ok(()),
            bytes => self.skip(bytes.into()),
        }
    }

    /// What a module wrote: each thing with its form before it, up to an end.
    fn module(&mut self) -> io::Result<()> {
        self.number()?;
        loop {
            match self.number()? {
                0 => return Ok(()),
                1 | 2 => self.numbers(1)?,
                3 => self.skip(4)?,
                4 => self.skip(8)?,
                5 => self.string()?,
                form => return Err(unknown("of a module the form", form)),
            }
        }
    }

    /// Later types say more: from 19 on counts, from 21 on when a consumer was active.
    fn stream(&mut self, kind: u8) -> io::Result<()> {
        self.each(|walker| walker.strings(2))?;
        self.numbers(if kind >= 19 { 8 } else { 3 })?;
        // Groups: what is pending, and their consumers with what is pending with each.
        self.each(|walker| {
            walker.string()?;
            walker.numbers(if kind >= 19 { 3 } else { 2 })?;
            walker.each(|walker| walker.skip(STREAM_ID + 8).and_then(|()| walker.numbers(1)))?;
            walker.each(|walker| {
                walker.string()?;
                walker.skip(if kind >= 21 { 16 } else { 8 })?;
                walker.each(|walker| walker.skip(STREAM_ID))
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_counted_and_what_they_hold_is_skipped() {
        let mut rdb = b"REDIS0010\xfa\x04abcd\xc0\x01\xfe\x00\xfb\x03\x01".to_vec();
        // A string, one with an end that is compressed, a set that is a small number, and in another database a hash.
        rdb.extend_from_slice(b"\x00\x01k\x05value");
        rdb.extend_from_slice(b"\xfc12345678\x00\x01l\xc3\x02\x40\x50zz");
        rdb.extend_from_slice(b"\x02\x01m\x01\xc1\x01\x02");
        rdb.extend_from_slice(b"\xfe\x03\x04\x01n\x01\x01f\x01v\xff12345678");
        let tally = count(rdb.as_slice()).unwrap();
        let said = serde_json::to_value(&tally).unwrap();
        let expected = serde_json::json!({
            "db0": { "string": { "keys": 2, "expiring": 1 }, "set": { "keys": 1, "expiring": 0 } },
            "db3": { "hash": { "keys": 1, "expiring": 0 } },
        });
        assert_eq!(said, expected);
        assert_eq!(tally.of("db0"), Keys { keys: 3, expiring: 1 });
        for length in 0..rdb.len() - 9 {
            assert!(count(&rdb[..length]).is_err(), "{length} bytes");
        }
        let newer = count(b"REDIS0099\x63\x01k".as_slice()).unwrap_err().to_string();
        assert!(newer.contains("a value of type 99"), "{newer}");
    }
}
