//! Members that have applied the same entries have the same state.

use std::collections::BTreeMap;
use std::path::PathBuf;

use mainstay_coordinator::store::Disk;
use mainstay_core::codec;

use crate::trace;

/// Reads the disks of members that have stopped.
pub fn look(members: &[(&'static str, PathBuf)]) -> Result<(), String> {
    // Whatever waits in there waits for nothing that takes time.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
    let mut states: BTreeMap<u64, (&str, Vec<u8>)> = BTreeMap::new();
    for (name, dir) in members {
        let disk = Disk::existing(&dir.join("state")).map_err(|error| format!("[replicas] {name}: {error}"))?;
        let salvaged = runtime.block_on(disk.salvage()).map_err(|error| format!("[replicas] {name}: {error}"))?;
        let encoded = codec::encode_state(&salvaged.state);
        trace::line(name, &format!("has applied {} entries: {:016x}", salvaged.applied, trace::hash(&encoded)));
        let (other, theirs) = states.entry(salvaged.applied).or_insert((name, encoded.clone()));
        if *theirs != encoded {
            return Err(format!("[replicas] after {} entries {name} and {other} have different states", salvaged.applied));
        }
    }
    Ok(())
}
