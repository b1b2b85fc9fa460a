//! Why a ledger cannot be used.

use std::path::{Path, PathBuf};

use super::record::RecordError;

/// What an operator meets; each says what to do next.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    #[error(
        "the ledger {} is damaged ({what}): stop this agent and move the file away; what was open in it will count as unknown",
        path.display()
    )]
    Damaged { path: PathBuf, what: String },
    #[error("the ledger {} has format {found}, and this program reads up to {known}: start a newer version of the agent", path.display())]
    Newer { path: PathBuf, found: u8, known: u8 },
    #[error("the ledger {} is in use by another process: stop that one first, or use another state directory", path.display())]
    InUse { path: PathBuf },
    #[error("cannot {doing} the ledger {}: {source}", path.display())]
    Disk {
        doing: &'static str,
        path: PathBuf,
        #[source]
        source: Box<redb::Error>,
    },
    #[error("a write to the ledger did not come to its end: {0}")]
    Stopped(String),
}

impl LedgerError {
    /// From an error of the store: damage is told apart from a disk that does not work.
    pub(super) fn of(doing: &'static str, path: &Path, source: impl Into<redb::Error>) -> LedgerError {
        use std::io::ErrorKind;
        let path = path.to_owned();
        match source.into() {
            redb::Error::DatabaseAlreadyOpen => LedgerError::InUse { path },
            redb::Error::Corrupted(what) => LedgerError::Damaged { path, what },
            redb::Error::Io(error) if matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof) => {
                LedgerError::Damaged { path, what: error.to_string() }
            }
            error @ (redb::Error::TableTypeMismatch { .. }
            | redb::Error::TableIsMultimap(_)
            | redb::Error::TypeDefinitionChanged { .. }
            | redb::Error::UpgradeRequired(_)) => LedgerError::Damaged { path, what: error.to_string() },
            source => LedgerError::Disk { doing, path, source: Box::new(source) },
        }
    }

    pub(super) fn of_record(path: &Path, what: &str, error: RecordError) -> LedgerError {
        let path = path.to_owned();
        match error {
            RecordError::Newer { found, known } => LedgerError::Newer { path, found, known },
            RecordError::Damaged(why) => LedgerError::Damaged { path, what: format!("{what}: {why}") },
        }
    }
}
