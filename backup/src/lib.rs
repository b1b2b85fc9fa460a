//! Backups that are proven.
//!
//! source → SHA-256 → zstd → age → SHA-256 → object store, streamed, in bounded memory and without a temporary file.
//!
//! [`write()`] makes one: it says that it has begun, shuts the door on those before it, streams each part, and writes the
//! manifest last. [`check()`] reads it back. A signed [`receipt`] says that whoever keeps the catalogue counts it.
//! [`scan()`] lists a store and [`judge`] says what each backup there is worth; [`retention`] which of them go. [`open()`]
//! gives back what was written, [`place`] puts it somewhere, and [`drill()`] rehearses that. What is backed up is a [`source`].
//! A [`worker`] writes for somebody else. Each target has a key of its own, [`target_key`]: who destroys it has erased what it opens, [`mod@erase`].
//!
//! It knows neither the mesh nor a cluster: agents and the CLI bring the order, the credentials and the signature. It sees
//! none of the other crates, so that what restores a backup needs nothing that may be lost with the mesh. Its own
//! seams to clock, threads and randomness are in [`seam`].

pub mod check;
mod child;
pub mod decode;
pub mod drill;
mod encode;
pub mod erase;
pub mod judge;
pub mod keys;
pub mod manifest;
pub mod name;
mod pipe;
pub mod place;
pub mod progress;
pub mod prune;
pub mod receipt;
pub mod retention;
pub mod scan;
pub mod seam;
pub mod source;
pub mod store;
pub mod target_key;
pub mod worker;
pub mod write;

pub use check::check;
pub use decode::open;
pub use drill::drill;
pub use name::{Id, Target, Token};
pub use scan::scan;
pub use store::Store;
pub use write::write;
