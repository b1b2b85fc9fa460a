//! The mesh's own snapshot as one file: what `mainstay mesh snapshot` writes and `mainstay mesh recover`
//! starts a mesh from.
//!
//! ```text
//! MAINMESH | u32 length of header | header | SHA-256 of the header | state
//! ```
//! In: a state and what its leader knows about it. Out: bytes, and from bytes the same again. The header is
//! readable without the state, and says how long that is and which checksum it has. Header and state are
//! [`crate::codec`]'s encodings, each with a version of its own; fields are only ever added.
//!
//! No secret is in it: of join tokens the state keeps digests, of certificates nothing, of credentials the
//! names of connections.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::bounds;
use crate::codec::{self, CodecError};
use crate::id::{MemberId, MeshName};
use crate::state::{FEATURE_LEVEL, State};
use crate::time::WallTime;

pub mod facts;

const MAGIC: &[u8; 8] = b"MAINMESH";
/// A name, a few numbers, and the hashes of a handful of roots.
const HEADER_MAX: usize = 64 << 10;
/// The bound of a state counts what weighs in it, not how it is encoded: leave room.
pub const BYTES_MAX: u64 = 4 * bounds::STATE_BYTES as u64 + HEADER_MAX as u64;

/// The file in an empty coordinator's directory from which it begins a recovered mesh.
pub const SEED_FILE: &str = "recovered.snapshot";

/// What a snapshot says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    pub mesh: MeshName,
    pub incarnation: u64,
    /// The last entry of the log that is in it.
    pub applied: u64,
    pub feature_level: u32,
    /// By the leader's clock.
    pub taken: WallTime,
    /// Of the program that wrote it.
    #[serde(default)]
    pub version: String,
    /// SHA-256 of the roots that the mesh trusts, in hexadecimal.
    #[serde(default)]
    pub roots: Vec<String>,
    /// Nothing: a leader's, with all that had been acknowledged by then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub survivor: Option<Survivor>,
    pub state_bytes: u64,
    pub state_sha256: [u8; 32],
}

/// One member, from whose disk alone a snapshot was read: what only others had is not in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Survivor {
    pub member: MemberId,
    /// For people: `c2`.
    pub name: String,
    /// The last entry that it knew to be agreed on. The ones after it, as far as it had them, count too.
    pub agreed: u64,
}

/// What the taker of a snapshot adds to the state.
#[derive(Debug, Clone)]
pub struct Taken {
    pub applied: u64,
    pub wall: WallTime,
    pub version: String,
    pub roots: Vec<String>,
    pub survivor: Option<Survivor>,
}

/// Why a file is not a snapshot that can be used.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error("it is not a snapshot of a mesh: `mainstay mesh snapshot` makes one")]
    NotASnapshot,
    #[error("it has {found} bytes, and should have {expected}: it was cut short, or something was added")]
    Length { found: u64, expected: u64 },
    #[error("the checksum of its {0} is wrong: use another copy")]
    Checksum(&'static str),
    #[error("{0}")]
    Codec(#[from] CodecError),
    #[error("it is of feature level {found}, and this program knows {FEATURE_LEVEL}: use a newer version, of {version} at least")]
    NewerLevel { found: u32, version: String },
    #[error("the state has no mesh in it: there is nothing to take a snapshot of yet")]
    NoMesh,
}

/// The file, as its beginning and its state: the two in this order are all of it.
pub fn encode(state: &State, taken: Taken) -> Result<[Vec<u8>; 2], SnapshotError> {
    let mesh = state.mesh.clone().ok_or(SnapshotError::NoMesh)?;
    let encoded = codec::encode_state(state);
    let about = About {
        mesh,
        incarnation: state.incarnation,
        applied: taken.applied,
        feature_level: state.feature_level,
        taken: taken.wall,
        version: taken.version,
        roots: taken.roots,
        survivor: taken.survivor,
        state_bytes: encoded.len() as u64,
        state_sha256: Sha256::digest(&encoded).into(),
    };
    let header = codec::encode(&about);
    let mut start = MAGIC.to_vec();
    // Bounded by the number of roots, a handful; what is longer would be refused when it is read.
    start.extend(u32::try_from(header.len()).unwrap_or(u32::MAX).to_le_bytes());
    start.extend(&header);
    start.extend(Sha256::digest(&header));
    Ok([start, encoded])
}

/// What a whole file says of itself, after every checksum has been found right.
pub fn about(bytes: &[u8]) -> Result<About, SnapshotError> {
    split(bytes).map(|(about, _)| about)
}

/// The state in a file, and what the file says of itself.
pub fn decode(bytes: &[u8]) -> Result<(About, State), SnapshotError> {
    let (about, state) = split(bytes)?;
    if about.feature_level > FEATURE_LEVEL {
        return Err(SnapshotError::NewerLevel { found: about.feature_level, version: about.version });
    }
    Ok((about, codec::decode_state(state)?))
}

fn split(bytes: &[u8]) -> Result<(About, &[u8]), SnapshotError> {
    let rest = bytes.strip_prefix(MAGIC).ok_or(SnapshotError::NotASnapshot)?;
    let short = |expected: usize| SnapshotError::Length { found: bytes.len() as u64, expected: expected as u64 };
    let (length, rest) = rest.split_first_chunk::<4>().ok_or_else(|| short(MAGIC.len() + 4))?;
    let length = u32::from_le_bytes(*length) as usize;
    if length > HEADER_MAX {
        return Err(SnapshotError::Checksum("header"));
    }
    let start = MAGIC.len() + 4 + length + 32;
    let (header, rest) = rest.split_at_checked(length).ok_or_else(|| short(start))?;
    let (checksum, state) = rest.split_first_chunk::<32>().ok_or_else(|| short(start))?;
    if Sha256::digest(header)[..] != checksum[..] {
        return Err(SnapshotError::Checksum("header"));
    }
    let about: About = codec::decode("the header of a snapshot", header)?;
    let expected = about.state_bytes.saturating_add(start as u64);
    if bytes.len() as u64 != expected {
        return Err(SnapshotError::Length { found: bytes.len() as u64, expected });
    }
    if Sha256::digest(state)[..] != about.state_sha256[..] {
        return Err(SnapshotError::Checksum("state"));
    }
    Ok((about, state))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{Actor, Command, Entry};
    use crate::time::MeshTime;

    pub(super) fn state() -> State {
        let mut state = State::default();
        let command = Command::FormMesh { mesh: "prod".parse().unwrap(), incarnation: 3 };
        state.apply(&Entry { at: MeshTime(5), wall: WallTime(6), by: Actor::Mesh, key: None, command });
        state
    }

    pub(super) fn file(state: &State) -> Vec<u8> {
        let taken = Taken { applied: 77, wall: WallTime(8), version: "0.1.0".into(), roots: vec!["ab".into()], survivor: None };
        encode(state, taken).unwrap().concat()
    }

    #[test]
    fn a_snapshot_is_read_as_it_was_written_and_says_what_it_is() {
        let (state, bytes) = (state(), file(&state()));
        let (about, read) = decode(&bytes).unwrap();
        assert_eq!(read, state);
        assert_eq!((about.mesh.to_string().as_str(), about.incarnation, about.applied, about.taken), ("prod", 3, 77, WallTime(8)));
        assert_eq!(super::about(&bytes).unwrap(), about);
    }

    #[test]
    fn every_damaged_byte_shows() {
        let bytes = file(&state());
        for place in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[place] ^= 1;
            assert!(decode(&damaged).is_err(), "byte {place}");
        }
    }

    #[test]
    fn every_cut_shows() {
        let bytes = file(&state());
        for length in 0..bytes.len() {
            assert!(about(&bytes[..length]).is_err(), "{length} bytes");
        }
        assert!(matches!(about(&[bytes, vec![0]].concat()), Err(SnapshotError::Length { .. })));
    }

    #[test]
    fn what_a_newer_program_wrote_is_not_guessed_at() {
        let mut newer = state();
        newer.feature_level = FEATURE_LEVEL + 1;
        let error = decode(&file(&newer)).unwrap_err();
        assert!(matches!(error, SnapshotError::NewerLevel { .. }), "{error}");
        assert!(about(&file(&newer)).is_ok(), "what it says of itself can still be shown");
        assert!(matches!(
            encode(&State::default(), Taken { applied: 0, wall: WallTime(0), version: String::new(), roots: vec![], survivor: None }),
            Err(SnapshotError::NoMesh)
        ));
    }

    /// The bytes that format 1 had when it was new: every later program reads them.
    #[test]
    fn a_snapshot_of_the_first_version_is_still_read() {
        let (about, state) = decode(include_bytes!("../tests/fixtures/mesh-format-1.snapshot")).unwrap();
        assert_eq!((about.mesh.to_string().as_str(), about.incarnation, about.applied), ("test", 1, 41));
        assert_eq!((state.runs.len(), state.attempts.len(), state.leases.len(), state.agents.len()), (1, 2, 2, 2));
    }
}
