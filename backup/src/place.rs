//! Where a backup is put when it is restored. Nothing is put where something is: who wants that removes it first.

use crate::manifest::digest;
use crate::name::Id;

pub mod files;
pub mod kubernetes;
pub mod postgres;
pub mod redis;
pub mod some;
pub mod whole;

/// Why it is not there.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {said}")]
pub struct PlaceError {
    place: String,
    said: String,
}

/// Under which name a place is marked: that of the backup, and of what of it, where that is not all.
#[must_use]
pub fn named(backup: &Id, only: &[String]) -> String {
    if only.is_empty() {
        return backup.to_string();
    }
    let mut sorted = only.to_vec();
    sorted.sort();
    // A mark is short, however many there are.
    let digest: String = digest(sorted.join("\0").as_bytes()).chars().take(12).collect();
    format!("{backup} ({} of it, {digest})", only.len())
}

impl PlaceError {
    fn new(place: impl Into<String>, said: impl std::fmt::Display) -> PlaceError {
        PlaceError { place: place.into(), said: said.to_string() }
    }
}
