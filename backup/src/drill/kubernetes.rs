//! Objects of Kubernetes, read to the last one and counted. No API server is started for it, and none is asked: that each of them
//! can be made again is not tried.

use serde_json::Value;
use tokio::io::AsyncReadExt;

use super::{DrillError, Rehearsal, Restored, milliseconds};
use crate::pipe::CHUNK;
use crate::source::kubernetes::{CONTENT, Lines, OBJECTS, Tally};

pub(super) async fn rehearse(rehearsal: Rehearsal<'_>) -> Result<Restored, DrillError> {
    let not_restored = |why: std::io::Error| DrillError::NotRestored(why.to_string());
    let mut plain = rehearsal.part(CONTENT).await?;
    let (mut lines, mut is, mut buffer) = (Lines::default(), Tally::default(), vec![0; CHUNK]);
    loop {
        let read = plain.read(&mut buffer).await.map_err(not_restored)?;
        if read == 0 {
            break;
        }
        lines.add(&buffer[..read], |line| is.add(line)).map_err(not_restored)?;
    }
    lines.end().map_err(not_restored)?;
    let restored_ms = milliseconds(&rehearsal.watch);
    let was = Tally::of(rehearsal.counted(OBJECTS).unwrap_or(&Value::Null));
    let compared = format!("{} objects of {} namespaces, each of which can be read", is.count(), is.namespaces().count());
    Ok(Restored { compared, differs: is.differs_from(&was), restored_ms })
}
