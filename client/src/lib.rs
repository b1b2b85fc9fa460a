//! The gRPC client of a Mainstay mesh, for agents, members, the CLI and other people's programs.
//!
//! [`Mesh`] has one typed method per call, follows the leader, puts a deadline on every call and an
//! idempotency key on every change. Around it: [`identity`] (keys, certificates, the embedded CA), [`tls`]
//! (mutual TLS 1.3 on both sides, certificates replaced while running), [`lease`] (holding a lease and
//! knowing when it is lost). [`clock`], [`random`], [`files`], [`network`] and [`work`] are the seams through
//! which all of Mainstay reaches the world.

pub mod channel;
pub mod clock;
pub mod enrol;
pub mod error;
pub mod failpoint;
pub mod files;
pub mod identity;
pub mod lease;
pub mod mesh;
pub mod network;
pub mod random;
pub mod renewal;
pub mod tls;
pub mod work;

pub use error::CallError;
pub use identity::{Bundle, ClientIdentity, JoinToken};
pub use mesh::{Download, Mesh, TransferError};
