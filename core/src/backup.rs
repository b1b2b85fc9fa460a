//! What there is to know of backups without having them: of what, when, under which token, where, and what somebody
//! found who looked. The backups themselves are in stores, and say the same of themselves.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::bounds;
use crate::id::{ClusterName, ConnectionName, LeaseName, NameError, Token};
use crate::report::Verdict;
use crate::time::{Millis, WallTime};

/// What is backed up, again and again. Written `CLUSTER/CONNECTION`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BackupTarget {
    pub cluster: ClusterName,
    pub connection: ConnectionName,
}

impl BackupTarget {
    /// The lease of whoever writes its backups, or removes them.
    #[must_use]
    pub fn lease(&self) -> LeaseName {
        LeaseName::backup(&self.cluster, &self.connection)
    }
}

impl fmt::Display for BackupTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.cluster, self.connection)
    }
}

impl FromStr for BackupTarget {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let (cluster, connection) = text.split_once('/').ok_or_else(|| not("target of backups", text, "written CLUSTER/CONNECTION"))?;
        Ok(BackupTarget { cluster: cluster.parse()?, connection: connection.parse()? })
    }
}

/// Name of a backup among those of its target. Written `TIME-TOKEN`, `20261130T020000Z-3.42`. Ordered by token, which is
/// the order in which they were begun.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BackupName {
    /// Of the lease under which it was made.
    pub token: Token,
    /// When it was begun, in UTC, as the store spells it.
    time: String,
}

impl fmt::Display for BackupName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.time, self.token)
    }
}

impl FromStr for BackupName {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let wrong = || not("name of a backup", text, "written TIME-TOKEN, for example 20261130T020000Z-3.42");
        let (time, token) = text.split_once('-').ok_or_else(wrong)?;
        let digits = |part: Option<&str>| part.is_some_and(|part| part.bytes().all(|byte| byte.is_ascii_digit()));
        let is_time = time.len() == 16 && digits(time.get(..8)) && time.get(8..9) == Some("T") && digits(time.get(9..15)) && time.ends_with('Z');
        if !is_time {
            return Err(wrong());
        }
        Ok(BackupName { token: token.parse().map_err(|_| wrong())?, time: time.to_owned() })
    }
}

/// One backup among all. Written `CLUSTER/CONNECTION/TIME-TOKEN`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BackupId {
    pub target: BackupTarget,
    pub name: BackupName,
}

impl fmt::Display for BackupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.target, self.name)
    }
}

impl FromStr for BackupId {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let (target, name) = text.rsplit_once('/').ok_or_else(|| not("backup", text, "written CLUSTER/CONNECTION/TIME-TOKEN"))?;
        Ok(BackupId { target: target.parse()?, name: name.parse()? })
    }
}

macro_rules! as_text {
    ($($type:ident),*) => {
        $(
            impl TryFrom<String> for $type {
                type Error = NameError;
                fn try_from(text: String) -> Result<Self, NameError> {
                    text.parse()
                }
            }

            impl From<$type> for String {
                fn from(name: $type) -> String {
                    name.to_string()
                }
            }
        )*
    };
}

as_text!(BackupTarget, BackupName, BackupId);

fn not(what: &'static str, text: &str, rule: &'static str) -> NameError {
    NameError { what, text: text.chars().take(80).collect(), rule }
}

/// A backup that came to its end, as whoever wrote it or read a store says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedBackup {
    pub name: BackupName,
    /// When it was begun, by the clock of whoever wrote it.
    pub begun: WallTime,
    /// What it takes in the store, in bytes.
    pub stored_bytes: u64,
    /// SHA-256 of its manifest, in hexadecimal; empty where that cannot be read.
    pub checksum: String,
    /// Whether somebody whose word counts has signed it.
    pub counts: bool,
    /// What came of reading it; nothing where it was not read. Critical is one that is not as it was written.
    pub read: Option<Verdict>,
}

/// Why a list of backups is none that could be noted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotNoted(String);

/// What an agent tells the catalogue of the backups of one target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum BackupNote {
    /// One is written to its end in this store, and was read back. It counts from when that is signed.
    Made { store: ConnectionName, backup: ListedBackup },
    /// That it counts has been signed.
    Confirmed { backup: BackupName },
    /// What a store has: its newest ones that came to their ends. `missing`: those that the catalogue had before the look,
    /// and the store has not. `removals` is what [`crate::state::backup::TargetBackups::removals`] was before the look.
    Found { store: ConnectionName, backups: Vec<ListedBackup>, missing: Vec<BackupName>, removals: u64 },
    /// These are being removed, because no rule keeps them, or are removed.
    Removed { backups: Vec<BackupName> },
    /// A rehearsed restore has ended.
    Drilled { drill: Drill },
}

/// What came of a rehearsed restore.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drill {
    /// What was restored; nothing where there was no good backup.
    pub backup: Option<BackupName>,
    /// Whether it was restored, and is what it was.
    pub proven: bool,
    /// Time until all of it was there to be used.
    pub rto: Option<Millis>,
    /// How old it was.
    pub rpo: Option<Millis>,
}

impl BackupNote {
    /// Whether only the holder of the target's lease may say it.
    #[must_use]
    pub fn is_fenced(&self) -> bool {
        matches!(self, BackupNote::Made { .. } | BackupNote::Confirmed { .. } | BackupNote::Removed { .. })
    }

    /// Whether it keeps to its bounds.
    ///
    /// # Errors
    /// In words, which of them it does not keep to.
    pub fn check(&self) -> Result<(), NotNoted> {
        let listed: &[ListedBackup] = match self {
            BackupNote::Made { backup, .. } => std::slice::from_ref(backup),
            BackupNote::Found { backups, .. } => backups,
            _ => &[],
        };
        let names: &[BackupName] = match self {
            BackupNote::Found { missing, .. } => missing,
            BackupNote::Removed { backups } => backups,
            _ => &[],
        };
        let most = bounds::TARGET_BACKUPS;
        if listed.len() > most || names.len() > most {
            return Err(NotNoted(format!("a note names at most {most} backups")));
        }
        let is_digest = |text: &str| text.is_empty() || text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        match listed.iter().find(|backup| !is_digest(&backup.checksum)) {
            Some(backup) => {
                Err(NotNoted(format!("backup {}: `{}` is no SHA-256", backup.name, backup.checksum.chars().take(80).collect::<String>())))
            }
            None => Ok(()),
        }
    }
}

/// In a few words, for traces.
impl fmt::Display for BackupNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BackupNote::Made { store, backup } => write!(f, "{} is written to {store}", backup.name),
            BackupNote::Confirmed { backup } => write!(f, "{backup} counts"),
            BackupNote::Found { store, backups, missing, .. } => write!(f, "{store} has {}, {} are missing", backups.len(), missing.len()),
            BackupNote::Removed { backups } => write!(f, "{} are removed", backups.len()),
            BackupNote::Drilled { drill } if drill.proven => f.write_str("restored in a drill"),
            BackupNote::Drilled { .. } => f.write_str("not restored in a drill"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        let id: BackupId = "prod/orders-db/20261130T020000Z-3.42".parse().unwrap();
        assert_eq!(id.to_string(), "prod/orders-db/20261130T020000Z-3.42");
        assert_eq!(id.target.lease().as_str(), "backup/prod/orders-db");
        let name = |text: &str| text.parse::<BackupName>().unwrap();
        assert!(name("20261130T020000Z-3.42") < name("20261129T020000Z-3.43"), "a clock may have gone back; a token never does");
        for bad in ["", "20261130T020000Z", "20261130T020000-3.42", "2026113T020000Z-3.42", "20261130T020000Z-42", "ä0261130T02000Z-3.4"] {
            assert!(bad.parse::<BackupName>().is_err(), "{bad}");
        }
        for bad in ["orders-db", "prod/a/b", "Prod/a", "/a", "prod/"] {
            assert!(bad.parse::<BackupTarget>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_note_keeps_to_its_bounds() {
        let listed = |checksum: &str| ListedBackup {
            name: "20261130T020000Z-3.42".parse().unwrap(),
            begun: WallTime(0),
            stored_bytes: 1,
            checksum: checksum.into(),
            counts: true,
            read: None,
        };
        let store: ConnectionName = "backups".parse().unwrap();
        let found = |backups| BackupNote::Found { store: store.clone(), backups, missing: Vec::new(), removals: 0 };
        let good = listed(&"ab".repeat(32));
        assert!(found(vec![good.clone(); bounds::TARGET_BACKUPS]).check().is_ok());
        assert!(found(vec![good; bounds::TARGET_BACKUPS + 1]).check().is_err());
        assert!(found(vec![listed("ab")]).check().is_err());
    }
}
