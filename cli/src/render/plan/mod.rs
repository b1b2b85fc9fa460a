//! Plans: the list of them, their revisions, what a run of one would do, and what differs between two.

pub mod changes;
pub mod diff;
pub mod list;
pub mod preview;
mod steps;

pub use steps::{undo, undo_words};
