//! Looks through a store: lists it, reads the small records, and has them judged.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};

use crate::judge::{Found, Judged, Ring, judge};
use crate::manifest::{RECORD_MAX, digest, read};
use crate::name::{Beside, Id, Object, Target, beside, owner};
use crate::receipt::Verify;
use crate::store::{Store, StoreError};
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

/// Looks through a store, or at what it has of one target. Whose receipts count, `known` says.
///
/// # Errors
/// When it cannot be listed or read.
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
            records.push((id.clone(), object.clone(), listed.name));
        }
        found.entry(id).or_default().objects.insert(object, listed.bytes);
    }
    let read = stream::iter(records).map(|(id, object, name)| async move {
        let bytes = store.read(&name, RECORD_MAX).await?;
        Ok::<_, StoreError>((id, object, bytes))
    });
    let read: Vec<(Id, Object, Option<bytes::Bytes>)> = read.buffer_unordered(AT_ONCE).try_collect().await?;
    for (id, object, bytes) in read {
        let one = found.entry(id).or_default();
        // One that went away since it was listed is not there.
        let bytes = bytes.map(|bytes| bytes.to_vec());
        match object {
            Object::Begun => one.begun = bytes,
            Object::Manifest => one.manifest = bytes,
            Object::Sealed => one.sealed = bytes,
            Object::Receipt => one.receipt = bytes,
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
    let reading = stream::iter(all).map(|(target, one)| async move {
        let bytes = store.read(&one.of(&target), RECORD_MAX).await?;
        Ok::<_, StoreError>((target, one, bytes))
    });
    let all: Vec<(Target, Beside, Option<bytes::Bytes>)> = reading.buffer_unordered(AT_ONCE).try_collect().await?;
    let (mut keys, mut rings) = (BTreeMap::<(Target, u32), Key>::new(), BTreeMap::<Target, Ring>::new());
    for (target, one, bytes) in all {
        let Some(bytes) = bytes else { continue };
        let ring = rings.entry(target.clone()).or_default();
        let generation = one.generation();
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
