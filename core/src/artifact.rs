//! What there is to know of an artifact without having it: its name, what it is for, how long it is and what
//! it hashes to. The files themselves are not in the replicated state.

use std::fmt;
use std::str::FromStr;

use imbl::OrdSet;
use serde::{Deserialize, Serialize};

use crate::bounds;
use crate::id::{MemberId, NameError};
use crate::reply::Refusal;
use crate::time::WallTime;

/// Longest name of an artifact.
const NAME_MAX: usize = 100;
/// Bytes that a record weighs in the state, near enough: its name, its digest, who has it.
pub const RECORD_WEIGHT: u64 = 384;

/// Name of an artifact within its attempt: a file name that is harmless everywhere. It has no path in it, and
/// begins with a letter or digit, so that it is neither hidden nor taken for an option.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ArtifactName(String);

impl ArtifactName {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ArtifactName {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
        let begins = text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
        if begins && text.len() <= NAME_MAX && text.bytes().all(inner) {
            return Ok(ArtifactName(text.to_owned()));
        }
        let rule = "1 to 100 letters, digits, `-`, `.` and `_`, beginning with a letter or digit";
        Err(NameError { what: "name of an artifact", text: text.chars().take(80).collect(), rule })
    }
}

impl TryFrom<String> for ArtifactName {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<ArtifactName> for String {
    fn from(name: ArtifactName) -> String {
        name.0
    }
}

impl fmt::Display for ArtifactName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// SHA-256 of a file: what names it on the disks. Written in lower-case hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FileDigest(pub [u8; 32]);

impl fmt::Display for FileDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for FileDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for FileDigest {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let digit = |b: u8| char::from(b).to_digit(16).filter(|_| !b.is_ascii_uppercase()).and_then(|digit| u8::try_from(digit).ok());
        let wrong = || NameError { what: "SHA-256", text: text.chars().take(80).collect(), rule: "64 lower-case hexadecimal digits" };
        let digits: Vec<u8> = text.bytes().map(digit).collect::<Option<_>>().ok_or_else(wrong)?;
        let bytes: Vec<u8> = digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect();
        let whole = digits.len() == 64;
        bytes.try_into().ok().filter(|_| whole).map(FileDigest).ok_or_else(wrong)
    }
}

impl TryFrom<String> for FileDigest {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<FileDigest> for String {
    fn from(digest: FileDigest) -> String {
        digest.to_string()
    }
}

/// What a file is for, which decides who may read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ArtifactKind {
    /// A file that a step made.
    Artifact,
    /// Everything that a step printed. It goes first when there is no room.
    Output,
    /// What a step needs to be taken back: the earlier state, which may hold secrets. Encrypted where it was
    /// made; only the agent that made it reads it.
    Undo,
}

impl fmt::Display for ArtifactKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            ArtifactKind::Artifact => "artifact",
            ArtifactKind::Output => "output",
            ArtifactKind::Undo => "undo",
        })
    }
}

/// A file, as whoever made it announces it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArtifactFile {
    pub name: ArtifactName,
    pub kind: ArtifactKind,
    pub bytes: u64,
    pub sha256: FileDigest,
    /// In the age format, to a key that no coordinator has.
    pub encrypted: bool,
}

impl ArtifactFile {
    /// Whether such a file may be stored at all, whatever else there is. Asked before the first byte is taken.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self) -> Result<(), Refusal> {
        let limit = match self.kind {
            ArtifactKind::Undo => bounds::UNDO_DATA_BYTES,
            ArtifactKind::Artifact | ArtifactKind::Output => bounds::ARTIFACT_BYTES,
        };
        if self.bytes > limit {
            return Err(Refusal::Invalid(format!("{} has {} bytes; of the kind {} at most {limit} are stored", self.name, self.bytes, self.kind)));
        }
        if self.kind == ArtifactKind::Undo && !self.encrypted {
            return Err(Refusal::Invalid(format!("{} is undo data and not encrypted: it is encrypted by the agent that makes it", self.name)));
        }
        Ok(())
    }
}

/// A file that is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    pub file: ArtifactFile,
    /// Members that have it on disk. Nobody, when all of them have lost it.
    pub stored_on: OrdSet<MemberId>,
    pub at: WallTime,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_harmless_file_name() {
        for good in ["output.log", "a", "7", "Report_2026-11.tar.gz", &"a".repeat(NAME_MAX)] {
            assert!(good.parse::<ArtifactName>().is_ok(), "{good}");
        }
        for bad in ["", ".", "..", ".hidden", "-rf", "a/b", "../a", "a\\b", "a b", "a\n", "ü", &"a".repeat(NAME_MAX + 1)] {
            assert!(bad.parse::<ArtifactName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_digest_survives_text() {
        let text = format!("{}0f", "a9".repeat(31));
        assert_eq!(text.parse::<FileDigest>().map(|digest| digest.to_string()), Ok(text.clone()));
        for bad in [&text[1..], &text.to_uppercase(), &format!("{text}0"), &format!("{text}00"), &text.replace('f', "g"), ""] {
            assert!(bad.parse::<FileDigest>().is_err(), "{bad}");
        }
    }

    #[test]
    fn what_can_never_be_stored_is_refused_before_it_is_sent() {
        let file = |kind, bytes, encrypted| ArtifactFile { name: "x".parse().unwrap(), kind, bytes, sha256: FileDigest([0; 32]), encrypted };
        assert_eq!(file(ArtifactKind::Artifact, bounds::ARTIFACT_BYTES, false).check(), Ok(()));
        assert_eq!(file(ArtifactKind::Undo, bounds::UNDO_DATA_BYTES, true).check(), Ok(()));
        for bad in [
            file(ArtifactKind::Output, bounds::ARTIFACT_BYTES + 1, false),
            file(ArtifactKind::Undo, bounds::UNDO_DATA_BYTES + 1, true),
            file(ArtifactKind::Undo, 1, false),
        ] {
            assert!(matches!(bad.check(), Err(Refusal::Invalid(_))), "{bad:?}");
        }
    }
}
