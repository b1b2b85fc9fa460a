//! A Redis of its own, without a port: it loads the snapshot as it starts.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tokio::net::UnixStream;

use super::{DrillError, Rehearsal, Restored, milliseconds};
use crate::child::find;
use crate::place;
use crate::source::redis::{CONTENT, keys_of};

const PROGRAM: &str = "redis-server";
const LOOK_EVERY: Duration = Duration::from_millis(50);

pub(super) async fn rehearse(rehearsal: Rehearsal<'_>) -> Result<Restored, DrillError> {
    let order = rehearsal.order;
    let not_tried = |why: &dyn std::fmt::Display| DrillError::NotTried(format!("a Redis of its own: {why}"));
    let missing = || not_tried(&format!("there is no {PROGRAM}: install it here"));
    let path = find(PROGRAM, order.programs).or_else(|| find(PROGRAM, None)).ok_or_else(missing)?;
    let data = rehearsal.scratch.make_dir("data").map_err(|error| not_tried(&error))?;
    let socket = rehearsal.scratch.dir().join("redis.sock");
    let plain = rehearsal.part(CONTENT).await?;
    let dump = place::redis::write(plain, &data).await.map_err(|error| DrillError::NotRestored(error.to_string()))?;
    rehearsal.scratch.give(&dump).map_err(|error| not_tried(&error))?;
    let words = [
        "--port".into(),
        "0".into(),
        "--unixsocket".into(),
        OsString::from(&socket),
        "--unixsocketperm".into(),
        "700".into(),
        "--dir".into(),
        data.into_os_string(),
        "--save".into(),
        "".into(),
        "--appendonly".into(),
        "no".into(),
        "--loglevel".into(),
        "warning".into(),
    ];
    let program = rehearsal.scratch.program(path, words.into(), order.deadline).map_err(|why| not_tried(&why))?;
    *rehearsal.server = Some(program.serve().map_err(|error| not_tried(&error))?);
    let is = loop {
        if let Some(server) = rehearsal.server.as_mut()
            && server.has_ended()
        {
            // What it cannot load, it says and ends.
            return Err(DrillError::NotRestored(server.why().await));
        }
        match loaded(&socket).await {
            Some(keys) => break keys,
            None => tokio::time::sleep(LOOK_EVERY).await,
        }
    };
    let restored_ms = milliseconds(&rehearsal.watch);
    let counted = |name| rehearsal.counted(name).and_then(Value::as_object).cloned().unwrap_or_default().into_iter().collect();
    let differs = compare(&counted("keysBefore"), &counted("keysAfter"), &is);
    let total: u64 = is.values().filter_map(Value::as_u64).sum();
    Ok(Restored { compared: format!("{total} keys"), differs, restored_ms })
}

/// The keys of each database, once all of them are there.
async fn loaded(socket: &Path) -> Option<BTreeMap<String, Value>> {
    let stream = UnixStream::connect(socket).await.ok()?;
    keys_of(Box::new(stream)).await.ok()
}

/// Each database has between as many keys as there were before the snapshot and after it. What has an end of its own may have
/// come to it since, and is said too: whoever reads it knows whether that is so.
fn compare(before: &BTreeMap<String, Value>, after: &BTreeMap<String, Value>, is: &BTreeMap<String, Value>) -> Vec<String> {
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).chain(is.keys()).collect();
    let count = |of: &BTreeMap<String, Value>, name: &String| of.get(name).and_then(Value::as_u64).unwrap_or_default();
    let differs = |name: &&String| {
        let (before, after, is) = (count(before, name), count(after, name), count(is, name));
        let (least, most) = (before.min(after), before.max(after));
        let was = if least == most { least.to_string() } else { format!("{least} to {most}") };
        (is < least || is > most).then(|| format!("{name} has {is} keys, and had {was}"))
    };
    names.iter().filter_map(differs).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_keys_as_before_or_after_or_in_between() {
        let keys = |counts: &[(&str, u64)]| counts.iter().map(|(name, count)| ((*name).to_owned(), Value::from(*count))).collect();
        let compared = |is: &[(&str, u64)]| compare(&keys(&[("db0", 10), ("db1", 5)]), &keys(&[("db0", 12), ("db1", 5)]), &keys(is));
        assert_eq!(compared(&[("db0", 11), ("db1", 5)]), Vec::<String>::new());
        assert_eq!(compared(&[("db0", 13), ("db1", 5)]), ["db0 has 13 keys, and had 10 to 12"]);
        assert_eq!(compared(&[("db0", 10)]), ["db1 has 0 keys, and had 5"]);
        assert_eq!(compared(&[("db0", 10), ("db1", 5), ("db2", 1)]), ["db2 has 1 keys, and had 0"]);
    }
}
