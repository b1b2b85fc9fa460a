//! Can backups be kept here? Asked before a source is touched.

use serde::Serialize;

use super::{Created, Removed, Store, StoreError};
use crate::seam;

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
        let name = format!("probe/{}.json", seam::token(8).ok_or_else(no_chance)?);
        self.list("probe").await?;
        // Two that differ, so that an answer that was lost is not taken for a refusal.
        self.create(&name, b"1\n").await?;
        let second = self.create(&name, b"2\n").await;
        let there = self.read(&name, 16).await?;
        let removed = self.remove(&name).await?;
        let create_if_absent = match (second?, there.as_deref()) {
            (Created::Exists, Some(b"1\n")) => CreateIfAbsent::Honoured,
            _ => CreateIfAbsent::Ignored,
        };
        let kept = match removed {
            Removed::Gone => None,
            Removed::Locked(why) => Some(why),
        };
        Ok(Probe { create_if_absent, kept })
    }
}
