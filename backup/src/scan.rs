//! Looks through a store: lists it, reads the small records, and has them judged.

use std::collections::BTreeMap;

use futures::{StreamExt, TryStreamExt, stream};

use crate::judge::{Found, Judged, judge};
use crate::manifest::RECORD_MAX;
use crate::name::{Id, Object, Target, owner};
use crate::receipt::Verify;
use crate::store::{Store, StoreError};

/// Records that are read at a time.
const AT_ONCE: usize = 16;

/// What is in a store.
#[derive(Debug)]
pub struct Scan {
    /// Backups, in the order of targets and time.
    pub backups: Vec<Judged>,
    /// Objects that are part of none.
    pub strays: Vec<String>,
}

/// Looks through a store, or at what it has of one target. Whose receipts count, `known` says.
///
/// # Errors
/// When it cannot be listed or read.
pub async fn scan(store: &Store, target: Option<&Target>, known: &dyn Verify) -> Result<Scan, StoreError> {
    let listed = store.list(&target.map(ToString::to_string).unwrap_or_default()).await?;
    let (mut found, mut strays) = (BTreeMap::<Id, Found>::new(), Vec::new());
    let mut records = Vec::new();
    for listed in listed {
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
    Ok(Scan { backups: judge(&found, known), strays })
}
