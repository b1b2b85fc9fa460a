//! A Redis of its own, without a port: it loads the snapshot as it starts. Of a cluster each shard is loaded by one.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tokio::net::UnixStream;

use super::{DrillError, Rehearsal, Restored, milliseconds};
use crate::child::find;
use crate::manifest::Part;
use crate::place;
use crate::source::redis::walk::{Keys, Tally};
use crate::source::redis::{CONTENT, Inside, KEYS, Loaded};

const PROGRAM: &str = "redis-server";
const LOOK_EVERY: Duration = Duration::from_millis(50);

pub(super) async fn rehearse(rehearsal: Rehearsal<'_>) -> Result<Restored, DrillError> {
    let order = rehearsal.order;
    let not_tried = |why: &dyn std::fmt::Display| DrillError::NotTried(format!("a Redis of its own: {why}"));
    let missing = || not_tried(&format!("there is no {PROGRAM}: install it here"));
    let path = find(PROGRAM, order.programs).or_else(|| find(PROGRAM, None)).ok_or_else(missing)?;
    let was = rehearsal.counted(KEYS).and_then(|counted| serde_json::from_value::<Tally>(counted.clone()).ok());
    let parts: Vec<&Part> = order.manifest.parts.iter().filter(|part| part.content == CONTENT).collect();
    if parts.is_empty() {
        return Err(DrillError::NotRestored(format!("it has no part of {CONTENT}")));
    }
    let (mut is, mut restored_ms, mut counting_ms) = (Inside::default(), 0, 0);
    // The shards of a cluster one after the other: there is room for one of them.
    for (at, part) in parts.iter().enumerate() {
        let data = rehearsal.scratch.make_dir(&format!("data{at}")).map_err(|error| not_tried(&error))?;
        let plain = rehearsal.open(part).await?;
        let dump = place::redis::snapshot(plain, &data).await.map_err(|error| DrillError::NotRestored(error.to_string()))?;
        rehearsal.scratch.give(&dump).map_err(|error| not_tried(&error))?;
        let socket = rehearsal.scratch.dir().join(format!("redis{at}.sock"));
        let program = rehearsal.scratch.program(path.clone(), settings(&socket, data), order.deadline).map_err(|why| not_tried(&why))?;
        *rehearsal.server = Some(program.serve().map_err(|error| not_tried(&error))?);
        let loaded = loop {
            if let Some(server) = rehearsal.server.as_mut()
                && server.has_ended()
            {
                // What it cannot load, it says and ends.
                return Err(DrillError::NotRestored(server.why().await));
            }
            match loaded(&socket).await {
                Some(loaded) => break loaded,
                None => tokio::time::sleep(LOOK_EVERY).await,
            }
        };
        // What is counted between two shards is no part of a recovery.
        let restored = milliseconds(&rehearsal.watch);
        restored_ms = restored.saturating_sub(counting_ms);
        let counted = loaded.count(was.is_some()).await;
        is.merge(&counted.map_err(|why| DrillError::NotRestored(format!("its keys cannot be counted: {why}")))?);
        counting_ms += milliseconds(&rehearsal.watch).saturating_sub(restored);
        if let Some(mut server) = rehearsal.server.take() {
            server.end_now().await;
        }
        rehearsal.scratch.remove_dir(&format!("data{at}")).map_err(|error| not_tried(&error))?;
    }
    let total: u64 = is.all.values().map(|keys| keys.keys).sum();
    let Some(was) = was else {
        let counted = |name| rehearsal.counted(name).and_then(Value::as_object).cloned().unwrap_or_default().into_iter().collect();
        let differs = about(&counted("keysBefore"), &counted("keysAfter"), &is);
        return Ok(Restored { compared: format!("{total} keys"), differs, restored_ms });
    };
    let differs = compare(&was, &is);
    Ok(Restored { compared: format!("{total} keys by type, and whether they have an end"), differs, restored_ms })
}

/// Of a replica that finds no primary: as such it removes nothing whose end has come, so that each key can be accounted for.
fn settings(socket: &Path, data: PathBuf) -> Vec<OsString> {
    let mut words: Vec<OsString> = vec!["--unixsocket".into(), socket.into(), "--dir".into(), data.into_os_string()];
    let rest = "--port 0 --unixsocketperm 700 --appendonly no --loglevel warning --replicaof 127.0.0.1 0 --save";
    words.extend(rest.split(' ').chain([""]).map(OsString::from));
    words
}

/// A server, once all of its keys are there.
async fn loaded(socket: &Path) -> Option<Loaded> {
    let stream = UnixStream::connect(socket).await.ok()?;
    Loaded::of(Box::new(stream)).await.ok()
}

/// Each key that was in the snapshot is there, by type, and has an end or has none. Those whose end has come are there and
/// not shown: they count among those that have one.
fn compare(was: &Tally, is: &Inside) -> Vec<String> {
    let mut differs = Vec::new();
    let databases: BTreeSet<&String> = was.0.keys().chain(is.all.keys()).collect();
    for database in databases {
        let (had, has) = (was.of(database), is.all.get(database).copied().unwrap_or_default());
        if had != has {
            differs.push(format!("{database} has {} keys, {} with an end, and had {} and {}", has.keys, has.expiring, had.keys, had.expiring));
        }
        let none = BTreeMap::new();
        let (had, has) = (was.0.get(database).unwrap_or(&none), is.shown.0.get(database).unwrap_or(&none));
        let kinds: BTreeSet<&String> = had.keys().chain(has.keys()).collect();
        for kind in kinds {
            let of = |kinds: &BTreeMap<String, Keys>| kinds.get(kind).copied().unwrap_or_default();
            let lasting = |keys: Keys| keys.keys.saturating_sub(keys.expiring);
            let (had, has) = (of(had), of(has));
            if lasting(had) != lasting(has) {
                differs.push(format!("{database} has {} keys of type {kind} without an end, and had {}", lasting(has), lasting(had)));
            }
            if has.expiring > had.expiring {
                differs.push(format!("{database} has {} keys of type {kind} with an end, and had {}", has.expiring, had.expiring));
            }
        }
    }
    differs
}

/// What is known of a backup whose keys were not counted by type: each database has between as many as there were before the
/// snapshot and after it.
fn about(before: &BTreeMap<String, Value>, after: &BTreeMap<String, Value>, is: &Inside) -> Vec<String> {
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).chain(is.all.keys()).collect();
    let count = |of: &BTreeMap<String, Value>, name: &String| of.get(name).and_then(Value::as_u64).unwrap_or_default();
    let differs = |name: &&String| {
        let (before, after) = (count(before, name), count(after, name));
        let is = is.all.get(*name).map_or(0, |keys| keys.keys);
        let (least, most) = (before.min(after), before.max(after));
        let was = if least == most { least.to_string() } else { format!("{least} to {most}") };
        (is < least || is > most).then(|| format!("{name} has {is} keys, and had {was}"))
    };
    names.iter().filter_map(differs).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inside(counts: &[(&str, u64, u64)], shown: &[(&str, &str, u64, u64)]) -> Inside {
        let all = counts.iter().map(|(name, keys, expiring)| ((*name).to_owned(), Keys { keys: *keys, expiring: *expiring })).collect();
        Inside { all, shown: tally(shown) }
    }

    fn tally(counts: &[(&str, &str, u64, u64)]) -> Tally {
        let mut tally = Tally::default();
        counts.iter().for_each(|(database, kind, keys, expiring)| tally.add(database, kind, Keys { keys: *keys, expiring: *expiring }));
        tally
    }

    #[test]
    fn as_many_keys_as_before_or_after_or_in_between() {
        let keys = |counts: &[(&str, u64)]| counts.iter().map(|(name, count)| ((*name).to_owned(), Value::from(*count))).collect();
        let compared = |is: &[(&str, u64, u64)]| about(&keys(&[("db0", 10), ("db1", 5)]), &keys(&[("db0", 12), ("db1", 5)]), &inside(is, &[]));
        assert_eq!(compared(&[("db0", 11, 0), ("db1", 5, 0)]), Vec::<String>::new());
        assert_eq!(compared(&[("db0", 13, 0), ("db1", 5, 0)]), ["db0 has 13 keys, and had 10 to 12"]);
        assert_eq!(compared(&[("db0", 10, 0)]), ["db1 has 0 keys, and had 5"]);
        assert_eq!(compared(&[("db0", 10, 0), ("db1", 5, 0), ("db2", 1, 0)]), ["db2 has 1 keys, and had 0"]);
    }

    #[test]
    fn every_key_is_accounted_for_by_type_and_by_whether_it_has_an_end() {
        let was = tally(&[("db0", "string", 10, 4), ("db0", "hash", 3, 0)]);
        let compared = |all: (u64, u64), shown: &[(&str, &str, u64, u64)]| compare(&was, &inside(&[("db0", all.0, all.1)], shown));
        assert_eq!(compared((13, 4), &[("db0", "string", 10, 4), ("db0", "hash", 3, 0)]), Vec::<String>::new());
        // The end of two of them has come.
        assert_eq!(compared((13, 4), &[("db0", "string", 8, 2), ("db0", "hash", 3, 0)]), Vec::<String>::new());
        assert_eq!(
            compared((12, 4), &[("db0", "string", 10, 4), ("db0", "hash", 2, 0)]),
            ["db0 has 12 keys, 4 with an end, and had 13 and 4", "db0 has 2 keys of type hash without an end, and had 3"]
        );
        assert_eq!(
            compared((13, 4), &[("db0", "string", 11, 4), ("db0", "hash", 2, 0)]),
            ["db0 has 2 keys of type hash without an end, and had 3", "db0 has 7 keys of type string without an end, and had 6"]
        );
        assert_eq!(
            compared((13, 5), &[("db0", "string", 10, 4), ("db0", "hash", 3, 1)]),
            [
                "db0 has 13 keys, 5 with an end, and had 13 and 4",
                "db0 has 2 keys of type hash without an end, and had 3",
                "db0 has 1 keys of type hash with an end, and had 0"
            ]
        );
    }
}
