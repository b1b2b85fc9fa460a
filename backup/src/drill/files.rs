//! Files, unpacked into a directory of their own and counted.

use std::fs;
use std::io;
use std::path::Path;

use serde_json::Value;

use super::{DrillError, Rehearsal, Restored, milliseconds};
use crate::place;
use crate::seam;
use crate::source::files::CONTENT;

#[derive(Default)]
struct Counted {
    files: u64,
    directories: u64,
    links: u64,
    bytes: u64,
}

pub(super) async fn rehearse(rehearsal: Rehearsal<'_>) -> Result<Restored, DrillError> {
    let not_restored = |why: &dyn std::fmt::Display| DrillError::NotRestored(why.to_string());
    let into = rehearsal.scratch.dir().join("files");
    let plain = rehearsal.part(CONTENT).await?;
    place::files::unpack(plain, &into).await.map_err(|error| not_restored(&error))?;
    let restored_ms = milliseconds(&rehearsal.watch);
    let counting = seam::blocking(move || {
        let mut counted = Counted::default();
        count(&into, &mut counted).map(|()| counted)
    });
    let is = counting.await.map_err(|broken| not_restored(&broken))?.map_err(|error| not_restored(&error))?;
    let each = [("files", is.files), ("directories", is.directories), ("links", is.links), ("bytes", is.bytes)];
    let differs = |(name, is): (&str, u64)| {
        let was = rehearsal.counted(name).and_then(Value::as_u64)?;
        (is != was).then(|| format!("it has {is} {name}, and had {was}"))
    };
    let compared = format!("{} files, {} bytes", each[0].1, each[3].1);
    Ok(Restored { compared, differs: each.into_iter().filter_map(differs).collect(), restored_ms })
}

/// What is below a directory. As deep as it was when it was packed, which is bounded there.
fn count(dir: &Path, counted: &mut Counted) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        if metadata.is_dir() {
            counted.directories += 1;
            count(&entry.path(), counted)?;
        } else if metadata.is_symlink() {
            counted.links += 1;
        } else {
            counted.files += 1;
            counted.bytes += metadata.len();
        }
    }
    Ok(())
}
