//! Can backups be kept here? Asked before a source is touched.

use serde::Serialize;

use super::{Created, Removed, Store, StoreError};
use crate::seam;

/// Names that probes write under. A store that removes nothing keeps no more of them than this, however often it is looked at;
/// and more agents than this do not look at the same instant.
pub(super) const NAMES: usize = 256;

/// Does the store create an object only if it is not there?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum CreateIfAbsent {
    /// The second one was refused.
    Honoured,
    /// The second one replaced the first: a writer that was paused can overwrite what says that it is void. Scans take that
    /// into account; two writers at the same instant cannot be told apart.
    Ignored,
}

/// What a store was seen to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Probe {
    /// Tried by doing it twice.
    pub create_if_absent: CreateIfAbsent,
    /// What was written could be removed; else why not, in the store's words.
    pub kept: Option<String>,
}

impl Store {
    /// Writes twice under one name, reads it, and removes it.
    ///
    /// # Errors
    /// When it cannot be written, read or listed.
    pub async fn probe(&self) -> Result<Probe, StoreError> {
        let no_chance = || StoreError::new(super::Why::Unusable, self.place(), "its probe", "the system gave no random numbers");
        let own = seam::token(8).ok_or_else(no_chance)?;
        // Two that differ, and from those of others, so that an answer that was lost is not taken for a refusal.
        let [one, two] = [1, 2].map(|number| format!("{own} {number}\n").into_bytes());
        let taken = self.list("probe").await?;
        let name = |number: usize| format!("probe/{}.json", number % NAMES);
        let first = usize::from_str_radix(own.get(..4).unwrap_or_default(), 16).unwrap_or_default();
        let free = (first..first + NAMES).map(name).find(|name| taken.iter().all(|listed| listed.name != *name));
        let name = match free {
            Some(free) => free,
            None => match self.remove(&name(first)).await? {
                Removed::Gone => name(first),
                // Nothing more is left there. That it is refused shows that it is only created where it is missing.
                Removed::Locked(why) => {
                    let create_if_absent = match self.create(&name(first), &one).await? {
                        Created::Exists => CreateIfAbsent::Honoured,
                        Created::New => CreateIfAbsent::Ignored,
                    };
                    return Ok(Probe { create_if_absent, kept: Some(why) });
                }
            },
        };
        if self.create(&name, &one).await? == Created::Exists {
            // Somebody else looks at the same instant, and was not written over.
            return Ok(Probe { create_if_absent: CreateIfAbsent::Honoured, kept: None });
        }
        let second = self.create(&name, &two).await;
        let there = self.read(&name, 64).await?;
        let removed = self.remove(&name).await?;
        let create_if_absent = match (second?, there) {
            (Created::Exists, Some(there)) if there == one => CreateIfAbsent::Honoured,
            _ => CreateIfAbsent::Ignored,
        };
        let kept = match removed {
            Removed::Gone => None,
            Removed::Locked(why) => Some(why),
        };
        Ok(Probe { create_if_absent, kept })
    }
}
