//! How often a ledger was written, as the [mark](mainstay_client::files::Mark) beside it says.
//!
//! A ledger that lacks its last writes would begin again what was begun. Two phases of a commit make sure that no
//! damage within a page is taken for a write that was cut off; that leaves the one byte that says which of two commits
//! is the newer one.

use std::path::Path;

use mainstay_client::failpoint::Point;
use mainstay_client::files::Mark;
use mainstay_core::id::LedgerId;

use super::LedgerError;
use super::record::Head;

/// Of a ledger's id, in a mark. Ids that are made here are shorter.
const ID_MAX: usize = 100;

/// The count and its mark.
#[derive(Debug)]
pub(super) struct Written {
    pub writes: u64,
    mark: Mark,
}

impl Written {
    /// The mark of a ledger that has been opened: it must not know of more than is there.
    pub fn open(ledger: &Path, head: &Head) -> Result<Written, LedgerError> {
        let path = ledger.with_extension("mark");
        let failed = |error: std::io::Error| LedgerError::of("mark", &path, redb::Error::Io(error));
        let known = Mark::read(&path).map_err(failed)?;
        if let Some((count, id)) = known.as_deref().and_then(|said| said.split_first_chunk())
            && id == bytes(&head.id)
            && u64::from_le_bytes(*count) > head.writes
        {
            let what = format!("it was written {} times, and has only {} of them", u64::from_le_bytes(*count), head.writes);
            return Err(LedgerError::Damaged { path: ledger.to_owned(), what });
        }
        Ok(Written { writes: head.writes, mark: Mark::open(Point::LedgerMark, &path).map_err(failed)? })
    }

    /// One more is on the disk.
    pub fn count(&mut self, head: &Head) {
        self.writes = head.writes;
        // Without a mark, less damage is noticed: no reason to stop.
        if let Err(error) = self.mark.write(&[&head.writes.to_le_bytes(), bytes(&head.id)].concat()) {
            tracing::warn!(%error, "how often the ledger was written cannot be marked");
        }
    }
}

fn bytes(id: &LedgerId) -> &[u8] {
    let bytes = id.0.as_bytes();
    &bytes[..bytes.len().min(ID_MAX)]
}
