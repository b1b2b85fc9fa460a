//! How a record becomes bytes: a byte of format, four of checksum (CRC-32, little end first), then
//! MessagePack with field names.
//!
//! Names make additions harmless; a changed meaning raises the format. A newer format is never guessed at.

use mainstay_core::id::LedgerId;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Version;

/// The format this program writes, and the newest that it reads.
pub const FORMAT: u8 = 1;
/// Format and checksum.
const HEADER: usize = 5;

/// What the ledger says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    pub id: LedgerId,
    pub incarnation: u64,
    pub generation: u64,
    /// How often it was written. A ledger of a version that did not count has 0.
    #[serde(default)]
    pub writes: u64,
}

/// Why bytes are no record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    #[error("format {found}, and this program reads up to {known}")]
    Newer { found: u8, known: u8 },
    #[error("{0}")]
    Damaged(String),
}

impl Head {
    pub fn seen(&self) -> Version {
        Version { incarnation: self.incarnation, generation: self.generation }
    }
}

/// # Errors
/// When the value is none that MessagePack can hold, which core's types never are.
pub fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, RecordError> {
    let body = rmp_serde::to_vec_named(value).map_err(|error| RecordError::Damaged(error.to_string()))?;
    let mut bytes = Vec::with_capacity(HEADER + body.len());
    bytes.push(FORMAT);
    bytes.extend(crc32fast::hash(&body).to_le_bytes());
    bytes.extend(body);
    Ok(bytes)
}

/// # Errors
/// When the format is newer, the checksum does not fit, or the value has another shape.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, RecordError> {
    let (format, rest) = bytes.split_first().ok_or_else(|| RecordError::Damaged("it is empty".into()))?;
    match *format {
        FORMAT => {}
        0 => return Err(RecordError::Damaged("it names no format".into())),
        found => return Err(RecordError::Newer { found, known: FORMAT }),
    }
    let (checksum, body) = rest.split_at_checked(HEADER - 1).ok_or_else(|| RecordError::Damaged("it is cut off".into()))?;
    if checksum != crc32fast::hash(body).to_le_bytes() {
        return Err(RecordError::Damaged("its checksum does not fit".into()));
    }
    rmp_serde::from_slice(body).map_err(|error| RecordError::Damaged(error.to_string()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use mainstay_core::reconcile::LedgerState;
    use mainstay_core::report::{Check, Report, Verdict};
    use mainstay_core::state::run::Outcome;

    use super::*;

    #[test]
    fn states_survive_their_bytes() {
        let report = Report {
            checks: vec![Check::stated("a", "b", Verdict::Warning, "c")],
            outputs: [("x".to_owned(), serde_json::json!({"y": [1, null]}))].into(),
            ..Report::default()
        };
        for state in [LedgerState::Accepted, LedgerState::Begun, LedgerState::Ended(Outcome::Failed { message: "m".into(), report: Some(report) })] {
            assert_eq!(decode::<LedgerState>(&encode(&state).unwrap()), Ok(state));
        }
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let bytes = encode(&LedgerState::Ended(Outcome::Unknown { reason: "nobody knows".into() })).unwrap();
        for at in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[at / 8] ^= 1 << (at % 8);
            assert!(decode::<LedgerState>(&flipped).is_err(), "bit {at}");
        }
        for length in 0..bytes.len() {
            assert!(decode::<LedgerState>(&bytes[..length]).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn a_newer_format_is_named() {
        let mut bytes = encode(&LedgerState::Begun).unwrap();
        bytes[0] = FORMAT + 1;
        assert_eq!(decode::<LedgerState>(&bytes), Err(RecordError::Newer { found: 2, known: 1 }));
    }
}
