//! Removes a backup from a store. What goes is decided by [`crate::retention`] or by a person; whoever removes holds the
//! target's lease, so that nobody writes there meanwhile.

use serde::Serialize;

use crate::name::{Id, Object, owner};
use crate::store::{Removed, Store, StoreError};

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", tag = "outcome")]
pub enum Pruned {
    /// Nothing of it is there any more.
    Gone,
    /// The store keeps it, by a lock or a rule of its own: it goes when that has ended.
    Locked {
        /// In the store's words.
        why: String,
    },
}

/// Removes all objects of a backup. It counts no more as soon as the first is gone, and nothing of a half-removed one is taken
/// for good: receipt and manifest go first, what says who began goes last.
///
/// # Errors
/// When the store does not answer; doing it again goes on where it ended.
pub async fn remove(store: &Store, id: &Id) -> Result<Pruned, StoreError> {
    let listed = store.list(&id.to_string()).await?;
    let mut objects: Vec<(u8, String)> = listed
        .into_iter()
        .filter_map(|listed| owner(&listed.name).filter(|(of, _)| of == id).map(|(_, object)| (order(&object), listed.name)))
        .collect();
    objects.sort();
    for (_, name) in objects {
        if let Removed::Locked(why) = store.remove(&name).await? {
            return Ok(Pruned::Locked { why });
        }
    }
    Ok(Pruned::Gone)
}

fn order(object: &Object) -> u8 {
    match object {
        Object::Receipt => 0,
        Object::Manifest => 1,
        Object::Part(_) => 2,
        Object::Sealed => 3,
        Object::Begun => 4,
    }
}
