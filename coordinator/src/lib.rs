//! A coordinator of a Mainstay mesh: one member of the Raft group that decides, orders and leases.
//!
//! ```text
//!  settings ─▶ run ─▶ store (consensus, disk) ◀─▶ peers (other members)
//!                 ├─▶ api    gRPC in: authorize, propose, read, watch
//!                 ├─▶ leader what runs only while leading
//!                 ├─▶ artifacts files of steps, on the members' disks
//!                 ├─▶ ca     certificates, its own and those it signs
//!                 ├─▶ http   metrics and health
//!                 └─▶ formation: forming a mesh, or joining one, by the word of an installer (founding)
//! ```

pub mod api;
pub mod artifacts;
pub mod ca;
mod enrolment;
pub mod formation;
mod founding;
pub mod http;
pub mod leader;
mod listen;
pub mod peers;
pub mod plans;
pub mod run;
pub mod salvage;
mod seed;
pub mod settings;
pub mod store;
mod watchers;
