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

fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = vec![FORMAT];
    // Writing to memory cannot fail, and core's types have no map keys or numbers that MessagePack lacks.
    #[allow(clippy::expect_used)]
    rmp_serde::encode::write_named(&mut bytes, value).expect("core's types can be encoded");
    bytes
}

fn decode<T: DeserializeOwned>(what: &'static str, bytes: &[u8]) -> Result<T, CodecError> {
    match bytes.split_first() {
        None => Err(CodecError::Empty(what)),
        Some((&FORMAT, body)) => rmp_serde::from_slice(body).map_err(|source| CodecError::Damaged { what, source }),
        Some((&found, _)) => Err(CodecError::Newer { what, found }),
    }
}
