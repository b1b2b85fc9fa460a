//! Files, unpacked into a directory of their own and counted.

use super::{DrillError, Rehearsal, Restored, milliseconds};
use crate::place::files::{count, differs, unpack};
use crate::seam;
use crate::source::files::CONTENT;

pub(super) async fn rehearse(rehearsal: Rehearsal<'_>) -> Result<Restored, DrillError> {
    let not_restored = |why: &dyn std::fmt::Display| DrillError::NotRestored(why.to_string());
    let into = rehearsal.scratch.dir().join("files");
    let plain = rehearsal.part(CONTENT).await?;
    unpack(plain, &into).await.map_err(|error| not_restored(&error))?;
    let restored_ms = milliseconds(&rehearsal.watch);
    let counting = seam::blocking(move || count(&into));
    let is = counting.await.map_err(|broken| not_restored(&broken))?.map_err(|error| not_restored(&error))?;
    let compared = format!("{} files, {} bytes", is.files, is.bytes);
    Ok(Restored { compared, differs: differs(&rehearsal.order.manifest.source.counted, &is, false), restored_ms })
}
