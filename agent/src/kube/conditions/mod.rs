//! Conditions of the cluster's nodes: what their agents see is written to the Nodes by the replica that acts, and taken away
//! again.
//!
//! ```text
//!   mesh ─▶ link ─▶ told ─┐
//!                         ├─ core::condition::write ─▶ writer ── server-side apply, at a bounded pace ─▶ Node's status
//!   API server ─▶ nodes ──┘
//! ```
//! Level-triggered: whatever changes of a node, all of it is looked at again, and the Node is the only memory. Which of its
//! conditions are this mesh's the API server says, by the field manager: what another has written is left alone. It
//! touches no other condition, and nothing else of a Node.

mod told;
mod writer;

use std::sync::Arc;

use mainstay_client::clock::Clock;
use mainstay_core::id::MeshName;

pub use told::{Told, Word};
pub(super) use writer::Writer;

/// What the one that acts is to do about conditions. Cheap to clone.
#[derive(Clone)]
pub struct Conditions {
    /// Else what was written before is taken away, and nothing written.
    pub enabled: bool,
    pub told: Told,
    pub clock: Arc<dyn Clock>,
    /// By which the API server knows what this mesh has written.
    pub manager: Arc<str>,
}

/// Two meshes in one cluster are two managers.
#[must_use]
pub fn manager(mesh: &MeshName) -> Arc<str> {
    format!("mainstay-conditions-{mesh}").into()
}
