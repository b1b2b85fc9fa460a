//! Consensus and what it keeps on disk: the only code that names openraft.
//!
//! In: commands to be agreed on ([`Consensus::propose`]), calls of other members ([`Consensus::handle`]).
//! Out: the state as it was agreed on ([`Consensus::read`], [`Consensus::state`]), who leads
//! ([`Consensus::leadership`]), calls to other members over a [`Transport`] that somebody else provides.
//! It decides nothing about maintenance and interprets no command: `core::State::apply` does.
//!
//! ```text
//!   propose ─▶ openraft ─▶ LogStore ─▶ queue ─▶ writer thread: one fsync a batch ─▶ log.redb
//!                 │  ▲                             └─ callbacks: the entries are on disk
//!   Transport ◀───┘  └──── handle ◀── calls of other members
//!                 │
//!                 └─▶ Machine: State::apply ─▶ watch(Applied) ─▶ readers, watchers, leader loop
//!                        └─ every so many entries: an O(1) copy ─▶ snapshots/TERM-INDEX.snap
//! ```
//!
//! All bytes on disk and on the wire are of this module's own making ([`encoding`], [`wire`]): an
//! upgrade of openraft cannot change them.

mod consensus;
mod digest;
mod disk;
mod encoding;
mod error;
mod failure;
mod file;
mod follow;
mod host;
mod incoming;
mod leadership;
mod log;
mod machine;
mod membership;
mod metrics;
mod network;
mod plant;
mod propose;
mod raft;
mod reached;
mod salvage;
mod settings;
mod signs;
mod snapshot;
mod space;
mod succession;
mod tail;
mod transfer;
mod transport;
mod upkeep;
mod vigil;
mod wire;
mod writer;

#[cfg(test)]
mod tests;

pub use consensus::Consensus;
pub use disk::Disk;
pub use encoding::EncodingError;
pub use error::{ChangeError, FormError, ProposeError, ReadError, StartError, StopReason, TransferError};
pub use leadership::{Leader, Leadership, Role, Tenure};
pub use machine::Applied;
pub use membership::{Follower, Group, Progress};
pub use metrics::{Gauges, StoreMetrics};
pub use raft::Peer;
pub use salvage::Salvaged;
pub use settings::Settings;
pub use transport::{CallError, CallFuture, CallKind, RaftCall, Transport, TransportError};
