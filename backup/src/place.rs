//! Where a backup is put when it is restored. Nothing is put where something is: who wants that removes it first.

pub mod files;
pub mod postgres;
pub mod redis;
pub mod whole;

/// Why it is not there.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {said}")]
pub struct PlaceError {
    place: String,
    said: String,
}

impl PlaceError {
    fn new(place: impl Into<String>, said: impl std::fmt::Display) -> PlaceError {
        PlaceError { place: place.into(), said: said.to_string() }
    }
}
