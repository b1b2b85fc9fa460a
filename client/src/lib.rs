//! The client side of a Mainstay mesh, and the ground that its processes stand on.
//!
//! ```text
//!  clock · random · files          the seams: the only code that reads a clock, draws a number, touches a disk
//!        │
//!  identity                        X.509: root, issuers, requests, bundles on disk, join tokens, who a peer is
//!        │
//!  tls                             rustls configurations that are swapped while running, the accept loop
//!        │
//!  channel                         a gRPC channel over a verified connection, and words for what went wrong
//! ```
//!
//! Coordinators, agents and the operator's CLI all use this crate; so may any other program that wants to take part
//! in a mesh (a lease, a status). It decides nothing about maintenance: that is `mainstay-core`.

pub mod channel;
pub mod clock;
pub mod files;
pub mod identity;
pub mod random;
pub mod tls;

pub use channel::{ConnectError, Connector, ServerRole, explain};
pub use clock::{Clock, ManualClock, Monotonic, SystemClock};
pub use identity::{Bundle, JoinToken, PeerIdentity};
pub use random::{Random, SeededRandom, SystemRandom};
pub use tls::Credentials;
