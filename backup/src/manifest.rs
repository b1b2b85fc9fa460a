//! What is written about a backup beside its parts: JSON with a version, read by people and programs without Mainstay.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::name::{Id, Token};
use crate::seam;

/// The version that is written, and the newest that is read.
pub const VERSION: u32 = 1;
/// A record that is larger is something else. A manifest says something about each table of a database.
pub const RECORD_MAX: usize = 8 << 20;

/// Why a record cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotARecord {
    /// It is of a newer program.
    #[error("it is of version {0}, and this program reads up to {VERSION}: use a newer one")]
    Newer(u32),
    /// It is something else, or was cut off.
    #[error("it is not what it should be: {0}")]
    Broken(String),
}

#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

/// Reads a record of a version that is known.
///
/// # Errors
/// When it is newer, or no such record.
pub fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, NotARecord> {
    let broken = |error: serde_json::Error| NotARecord::Broken(error.to_string());
    let Versioned { version } = serde_json::from_slice(bytes).map_err(broken)?;
    if version > VERSION {
        return Err(NotARecord::Newer(version));
    }
    serde_json::from_slice(bytes).map_err(broken)
}

/// As it is stored.
///
/// # Errors
/// When it cannot be written as JSON.
pub fn bytes_of<T: Serialize>(record: &T) -> Result<Vec<u8>, NotARecord> {
    let mut bytes = serde_json::to_vec_pretty(record).map_err(|error| NotARecord::Broken(error.to_string()))?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// The SHA-256 of bytes, in hexadecimal.
#[must_use]
pub fn digest(bytes: &[u8]) -> String {
    seam::hex(&Sha256::digest(bytes))
}

/// Bytes that were counted and summed up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sum {
    /// How many.
    pub bytes: u64,
    /// Of all of them, in hexadecimal.
    pub sha256: String,
}

/// Who began a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begun {
    /// Of the format.
    pub version: u32,
    /// Which backup.
    pub backup: Id,
    /// Unique for the process and the attempt: a second one with the same order is somebody else.
    pub writer: String,
}

/// One part: a stream of the source as it was, and as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Its object is `NAME.zst.age`.
    pub name: String,
    /// What it is, so that one knows what reads it.
    pub content: String,
    /// As the source gave it.
    pub plain: Sum,
    /// Compressed and encrypted.
    pub stored: Sum,
}

/// Who can open a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CanOpen {
    /// What the key is for.
    pub role: Role,
    /// Its public half.
    pub key: String,
}

/// What a key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Role {
    /// Kept offline, for the day on which everything else is lost.
    BreakGlass,
    /// Held only where drills run.
    Drill,
    /// Of the check right after writing; its secret half is gone with the process that wrote.
    Check,
}

/// The target's key that a backup is encrypted to: its secret half is an object beside the backups.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfKey {
    /// Its object is `key-GENERATION.age`.
    pub generation: u32,
    /// Its public half.
    pub key: String,
    /// SHA-256 of its object: a key that was exchanged is found.
    pub sha256: String,
}

/// What was backed up, with the versions of the programs that took part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfSource {
    /// `postgres.dump`, `redis.dump`, `files`, `kube.export`, `mesh.snapshot`.
    pub kind: String,
    /// By program.
    pub versions: BTreeMap<String, String>,
    /// What the source counted, to compare a restore with.
    pub counted: BTreeMap<String, Value>,
}

/// As of when something was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    /// Nothing of it is older.
    pub from: Timestamp,
    /// Nothing of it is newer.
    pub to: Timestamp,
}

/// What a backup is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Which backup.
    pub backup: Id,
    /// As in `begun.json`.
    pub writer: String,
    /// Those that belong together carry one name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set: Option<String>,
    /// From where.
    pub source: OfSource,
    /// In the order in which they were read.
    pub parts: Vec<Part>,
    /// The target's key; nothing in one that is encrypted to the recipients themselves, as they all were at first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<OfKey>,
    /// Who can open it: those who can open the target's key, and the one who checked it.
    pub recipients: Vec<CanOpen>,
    /// From its beginning until all parts were stored.
    pub took_ms: u64,
    /// As of when it is; not written down in those of before that was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken: Option<Taken>,
}

impl Manifest {
    /// What its parts take in the store.
    #[must_use]
    pub fn stored_bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.stored.bytes).fold(0, u64::saturating_add)
    }

    /// As of when it is: of one that does not say, somewhere between its beginning and its end.
    #[must_use]
    pub fn taken(&self) -> Taken {
        let from = self.backup.time;
        self.taken.unwrap_or_else(|| Taken { from, to: after(from, self.took_ms) })
    }
}

/// So long after an instant, as far as there is time.
#[must_use]
pub(crate) fn after(from: Timestamp, ms: u64) -> Timestamp {
    from.saturating_add(SignedDuration::from_millis(i64::try_from(ms).unwrap_or(i64::MAX))).unwrap_or(Timestamp::MAX)
}

/// That there is no backup under this name, and will not be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Void {
    /// Which backup.
    pub backup: Id,
    /// Who says so: the one who failed, or the holder of a later token.
    pub by: Token,
    /// In words.
    pub why: String,
}

/// What stands in `manifest.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(clippy::large_enum_variant, reason = "a few are in memory at a time, and nearly all of them are manifests")]
enum Stands {
    Manifest(Manifest),
    Void(Void),
}

/// What stands in `manifest.json`: a manifest, or that there is none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Record", into = "Record")]
#[allow(clippy::large_enum_variant, reason = "a few are in memory at a time, and nearly all of them are manifests")]
pub enum Outcome {
    /// It was written to its end.
    Manifest(Manifest),
    /// It was not, and cannot be any more.
    Void(Void),
}

/// With the version outside, where it is looked for.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Record {
    version: u32,
    #[serde(flatten)]
    stands: Stands,
}

impl From<Record> for Outcome {
    fn from(record: Record) -> Outcome {
        match record.stands {
            Stands::Manifest(manifest) => Outcome::Manifest(manifest),
            Stands::Void(void) => Outcome::Void(void),
        }
    }
}

impl From<Outcome> for Record {
    fn from(outcome: Outcome) -> Record {
        let stands = match outcome {
            Outcome::Manifest(manifest) => Stands::Manifest(manifest),
            Outcome::Void(void) => Stands::Void(void),
        };
        Record { version: VERSION, stands }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn void() -> Outcome {
        let backup: Id = "a/b/20261130T020000Z-1.1".parse().unwrap();
        Outcome::Void(Void { backup, by: "1.2".parse().unwrap(), why: "a later one has begun".to_owned() })
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        assert_eq!(read::<Outcome>(&bytes_of(&void()).unwrap()), Ok(void()));
    }

    #[test]
    fn a_newer_record_is_not_guessed_at() {
        let newer = r#"{"version":2,"somethingElse":{}}"#;
        assert_eq!(read::<Outcome>(newer.as_bytes()), Err(NotARecord::Newer(2)));
    }

    #[test]
    fn what_was_cut_off_is_no_record() {
        let bytes = bytes_of(&void()).unwrap();
        // Without its last line break it says the same.
        for length in 0..bytes.len() - 1 {
            assert!(read::<Outcome>(&bytes[..length]).is_err(), "{length} of {} bytes", bytes.len());
        }
    }
}
