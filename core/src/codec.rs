//! How entries and states become bytes: one byte of format version, then MessagePack with field names.
//!
//! Names make additions harmless (a missing field takes its default); a changed meaning raises the
//! version. A version that is newer than this program is an error of its own: it is never guessed at.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::command::Entry;
use crate::state::State;

/// The version this program writes, and the newest that it reads.
pub const FORMAT: u8 = 1;

/// Why bytes are not what they should be.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    #[error("no bytes where {0} should be")]
    Empty(&'static str),
    #[error("{what} has format {found}, and this program reads up to {FORMAT}: start a newer version")]
    Newer { what: &'static str, found: u8 },
    #[error("{what} cannot be read: {source}")]
    Damaged {
        what: &'static str,
        #[source]
        source: rmp_serde::decode::Error,
    },
}

#[must_use]
pub fn encode_entry(entry: &Entry) -> Vec<u8> {
    encode(entry)
}

pub fn decode_entry(bytes: &[u8]) -> Result<Entry, CodecError> {
    decode("a log entry", bytes)
}

#[must_use]
pub fn encode_state(state: &State) -> Vec<u8> {
    encode(state)
}

pub fn decode_state(bytes: &[u8]) -> Result<State, CodecError> {
    decode("a state", bytes)
}

/// How many bytes a value takes.
pub(crate) fn size<T: Serialize>(value: &T) -> usize {
    struct Count(usize);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    // What cannot be encoded, which no type of core is, takes more than there is room for.
    rmp_serde::encode::write_named(&mut count, value).map_or(usize::MAX, |()| count.0)
}

pub(crate) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = vec![FORMAT];
    // Writing to memory cannot fail, and core's types have no map keys or numbers that MessagePack lacks.
    #[allow(clippy::expect_used)]
    rmp_serde::encode::write_named(&mut bytes, value).expect("core's types can be encoded");
    bytes
}

pub(crate) fn decode<T: DeserializeOwned>(what: &'static str, bytes: &[u8]) -> Result<T, CodecError> {
    match bytes.split_first() {
        None => Err(CodecError::Empty(what)),
        Some((&FORMAT, body)) => rmp_serde::from_slice(body).map_err(|source| CodecError::Damaged { what, source }),
        Some((&found, _)) => Err(CodecError::Newer { what, found }),
    }
}
