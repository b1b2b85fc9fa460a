//! `mainstay mesh`: the mesh's own state, written down and begun again from.
//!
//! `snapshot` asks the mesh and writes a file. `recover` asks nobody: it reads such a file, or a backup of the mesh out of a
//! store, and makes the directory of a new first coordinator.

mod account;
mod bucket;
mod place;
mod recover;
mod snapshot;

pub use recover::recover;
pub use snapshot::snapshot;
