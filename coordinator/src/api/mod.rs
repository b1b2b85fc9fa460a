//! gRPC in: the services of `mainstay.v1`, with health and reflection beside them.
//!
//! A call is authorized by the table in core, with the state as it is at that call. What decides goes through
//! the leader: another member answers `UNAVAILABLE` with the leader's address in its metadata, and the client
//! follows. Audit records come from applying the commands, not from here.

mod admission;
mod agents;
mod artifacts;
mod backups;
mod conditions;
mod copies;
mod credentials;
mod enrolment;
mod front;
mod identities;
mod lease_watch;
mod leases;
mod link;
mod members;
mod mesh;
mod objects;
mod objects_watch;
mod overview;
mod plans;
mod raft;
mod roots;
mod rules;
mod run_watch;
mod runs;
mod seen;
mod server;
mod snapshot;
mod status;

pub use credentials::{Credentials, found_roots};
pub use front::{Front, SNAPSHOTS};
pub use rules::{RULES, rule};
pub use seen::Seen;
pub use server::{ApiError, Listeners, serve};
