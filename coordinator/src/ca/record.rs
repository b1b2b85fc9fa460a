//! Which member lives in a directory, remembered beside its disk.
//!
//! The store's disk alone cannot tell that it was deleted; this record can. An id is used for one disk only:
//! once a member has had a disk, an empty one is another member's, with a new id, which takes its place.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use mainstay_client::failpoint::Point;
use mainstay_client::files;
use mainstay_core::MemberId;

/// Largest record.
const FILE_MAX: u64 = 16 << 10;
/// Lost ids that are remembered until their place is taken.
const REPLACES_MAX: usize = 16;

/// The member that has, or had, the disk in this directory, and those before it that may still vote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberRecord {
    pub member: MemberId,
    /// Oldest first. At most one of them is in the group.
    pub replaces: Vec<MemberId>,
}

/// Why the record is not usable.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    #[error("cannot use {path}: {source}", path = path.display())]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{path} is damaged: it should be as it was written, and say `member = \"ID\"`. If the disk beside it is good, its state/store.toml names the id", path = path.display())]
    Damaged { path: PathBuf },
}

impl MemberRecord {
    /// The record of a directory, if a member has ever had a disk there.
    pub fn load(dir: &Path) -> Result<Option<MemberRecord>, RecordError> {
        let path = file(dir);
        let text = match files::read_sealed(&path, FILE_MAX) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => return Err(RecordError::Damaged { path }),
            Err(source) => return Err(RecordError::Io { path, source }),
        };
        parse(&text).map(Some).ok_or(RecordError::Damaged { path })
    }

    /// What the record becomes now that `member` lives on the disk; `set_aside` is whom the store itself has
    /// put aside there.
    #[must_use]
    pub fn after(before: Option<MemberRecord>, member: MemberId, set_aside: Option<MemberId>) -> MemberRecord {
        let (former, mut replaces) = before.map_or((None, Vec::new()), |record| (Some(record.member), record.replaces));
        for old in former.into_iter().chain(set_aside) {
            if old != member && !replaces.contains(&old) {
                replaces.push(old);
            }
        }
        let surplus = replaces.len().saturating_sub(REPLACES_MAX);
        replaces.drain(..surplus);
        MemberRecord { member, replaces }
    }

    pub fn store(&self, dir: &Path) -> Result<(), RecordError> {
        let path = file(dir);
        let mut text = String::from("# Which member has its disk in state/. Not to be changed by hand.\n");
        let replaces: Vec<String> = self.replaces.iter().map(|id| format!("\"{id}\"")).collect();
        // Writing to a string cannot fail.
        let _ = write!(text, "member = \"{}\"\nreplaces = [{}]\n", self.member, replaces.join(", "));
        files::write_sealed(Point::MemberRecord, &path, &text, 0o600).map_err(|source| RecordError::Io { path, source })
    }
}

fn file(dir: &Path) -> PathBuf {
    dir.join("member.toml")
}

fn parse(text: &str) -> Option<MemberRecord> {
    let table: toml::Table = text.parse().ok()?;
    let id = |value: &toml::Value| value.as_str()?.parse::<MemberId>().ok();
    let replaces = match table.get("replaces") {
        None => Vec::new(),
        Some(value) => value.as_array()?.iter().map(id).collect::<Option<_>>()?,
    };
    Some(MemberRecord { member: id(table.get("member")?)?, replaces })
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    const A: MemberId = MemberId(0xa);
    const B: MemberId = MemberId(0xb);
    const C: MemberId = MemberId(0xc);

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let dir = TempDir::new().unwrap();
        assert_eq!(MemberRecord::load(dir.path()).unwrap(), None);
        let record = MemberRecord { member: B, replaces: vec![A] };
        record.store(dir.path()).unwrap();
        assert_eq!(MemberRecord::load(dir.path()).unwrap(), Some(record));
        files::write_atomic(Point::MemberRecord, &file(dir.path()), b"member = 3", 0o600).unwrap();
        assert!(matches!(MemberRecord::load(dir.path()), Err(RecordError::Damaged { .. })));
    }

    #[test]
    fn a_flipped_byte_is_no_other_member() {
        let dir = TempDir::new().unwrap();
        MemberRecord { member: B, replaces: vec![A] }.store(dir.path()).unwrap();
        let whole = files::read_bounded(&file(dir.path()), FILE_MAX).unwrap();
        let record = MemberRecord::load(dir.path()).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            files::write_atomic(Point::MemberRecord, &file(dir.path()), &bytes, 0o600).unwrap();
            if let Ok(found) = MemberRecord::load(dir.path()) {
                assert_eq!(found, record, "byte {at}");
            }
        }
    }

    #[test]
    fn whoever_lost_a_disk_is_replaced() {
        let first = MemberRecord::after(None, A, None);
        assert_eq!(first, MemberRecord { member: A, replaces: vec![] });
        assert_eq!(MemberRecord::after(Some(first.clone()), A, None), first);
        let second = MemberRecord::after(Some(first), B, None);
        assert_eq!(second, MemberRecord { member: B, replaces: vec![A] });
        assert_eq!(MemberRecord::after(Some(second), C, Some(B)), MemberRecord { member: C, replaces: vec![A, B] });
    }
}
