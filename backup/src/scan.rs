//! Looks through a store: lists it, reads the small records, and has them judged.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};

use crate::judge::{Found, Judged, Ring, judge};
use crate::manifest::{RECORD_MAX, digest, read};
use crate::name::{Beside, Id, Object, Target, beside, owner};
use crate::receipt::Verify;
use crate::store::{Store, StoreError, Why};
use crate::target_key::KeyRecord;

/// Records that are read at a time.
const AT_ONCE: usize = 16;

/// What is in a store.
#[derive(Debug)]
pub struct Scan {
    /// Backups, in the order of targets and time.
    pub backups: Vec<Judged>,
    /// Keys of targets, in the order of targets and generations.
    pub keys: Vec<Key>,
    /// Objects that are part of none.
    pub strays: Vec<String>,
}

/// What a store has of a target's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Whose.
    pub target: Target,
    /// The how-manieth.
    pub generation: u32,
    /// SHA-256 of its secret half, as it is stored encrypted; nothing where that is gone.
    pub secret: Option<String>,
    /// What is written about it; nothing where that is missing or cannot be read.
    pub record: Option<KeyRecord>,
}

/// What came of reading one record.
enum Record {
    There(bytes::Bytes),
    /// It went away since it was listed.
    Gone,
    /// It is there, and cannot be a record.
    NoRecord(String),
    /// It is there, and the store does not give it.
    NotGiven(StoreError),
}

/// Reads records. One that is none, or that alone is not given, takes nothing from the others; a store that gives none of them,
/// or does not answer, has failed as a whole.
async fn read_all<K>(store: &Store, wanted: Vec<(K, String)>) -> Result<Vec<(K, Record)>, StoreError> {
    let reading = stream::iter(wanted).map(|(key, name)| async move {
        let record = match store.read(&name, RECORD_MAX).await {
            Ok(Some(bytes)) => Record::There(bytes),
            Ok(None) => Record::Gone,
            Err(error) if error.why == Why::Unusable => Record::NoRecord(error.to_string()),
            Err(error) if matches!(error.why, Why::Refused | Why::Broken) => Record::NotGiven(error),
            Err(error) => return Err(error),
        };
        Ok((key, record))
    });
    let mut read: Vec<(K, Record)> = reading.buffer_unordered(AT_ONCE).try_collect().await?;
    let is_given = |record: &Record| !matches!(record, Record::NotGiven(_));
    if !read.iter().any(|(_, record)| is_given(record))
        && let Some((_, Record::NotGiven(error))) = read.pop()
    {
        return Err(error);
    }
    Ok(read)
}

/// Looks through a store, or at what it has of one target. Whose receipts count, `known` says. A record that is none, or is not
/// given, is told by what its backup is worth.
///
/// # Errors
/// When it cannot be listed, does not answer, or gives no record at all.
pub async fn scan(store: &Store, target: Option<&Target>, known: &dyn Verify) -> Result<Scan, StoreError> {
    let listed = store.list(&target.map(ToString::to_string).unwrap_or_default()).await?;
    let (mut found, mut strays) = (BTreeMap::<Id, Found>::new(), Vec::new());
    let (mut records, mut lying_beside) = (Vec::new(), Vec::new());
    for listed in listed {
        if let Some((target, one)) = beside(&listed.name) {
            lying_beside.push((target, one));
            continue;
        }
        let Some((id, object)) = owner(&listed.name) else {
            strays.push(listed.name);
            continue;
        };
        if !matches!(object, Object::Part(_)) {
            records.push(((id.clone(), object.clone()), listed.name));
        }
        found.entry(id).or_default().objects.insert(object, listed.bytes);
    }
    for ((id, object), record) in read_all(store, records).await? {
        let one = found.entry(id).or_default();
        let bytes = match record {
            Record::There(bytes) => bytes.to_vec(),
            Record::Gone => continue,
            Record::NoRecord(what) => {
                one.damaged.push(what);
                continue;
            }
            Record::NotGiven(error) => {
                one.unread.get_or_insert(error.to_string());
                continue;
            }
        };
        match object {
            Object::Begun => one.begun = Some(bytes),
            Object::Manifest => one.manifest = Some(bytes),
            Object::Sealed => one.sealed = Some(bytes),
            Object::Receipt => one.receipt = Some(bytes),
            Object::Part(_) => {}
        }
    }
    let (keys, rings) = keys(store, lying_beside).await?;
    for (id, one) in &mut found {
        if let Some(ring) = rings.get(&id.target) {
            one.ring = Arc::clone(ring);
        }
    }
    Ok(Scan { backups: judge(&found, known), keys, strays })
}

/// Reads what lies beside backups.
async fn keys(store: &Store, all: Vec<(Target, Beside)>) -> Result<(Vec<Key>, BTreeMap<Target, Arc<Ring>>), StoreError> {
    let all = all.into_iter().map(|(target, one)| ((target.clone(), one), one.of(&target))).collect();
    let all = read_all(store, all).await?;
    let (mut keys, mut rings) = (BTreeMap::<(Target, u32), Key>::new(), BTreeMap::<Target, Ring>::new());
    for ((target, one), record) in all {
        let ring = rings.entry(target.clone()).or_default();
        let generation = one.generation();
        // What is none is there all the same: it opens nothing, and says nothing.
        let bytes = match record {
            Record::There(bytes) => bytes,
            Record::Gone => continue,
            Record::NoRecord(_) => bytes::Bytes::new(),
            Record::NotGiven(error) => {
                if matches!(one, Beside::Secret(_)) {
                    ring.unread.insert(generation, error.to_string());
                }
                bytes::Bytes::new()
            }
        };
        if matches!(one, Beside::Erased(_)) {
            ring.erased.insert(generation, bytes.to_vec());
            continue;
        }
        let key = keys.entry((target.clone(), generation));
        let key = key.or_insert(Key { target, generation, secret: None, record: None });
        if matches!(one, Beside::Public(_)) {
            key.record = read(&bytes).ok();
        } else {
            let sum = digest(&bytes);
            ring.secrets.insert(generation, sum.clone());
            key.secret = Some(sum);
        }
    }
    Ok((keys.into_values().collect(), rings.into_iter().map(|(target, ring)| (target, Arc::new(ring))).collect()))
}
