//! The client against real sockets, real TLS 1.3 and a small tonic server, all over loopback.
//!
//! `stand` is the server side: a certificate authority, members that answer as told, and a register of what they were
//! asked. Nothing in here waits for time to pass: a test waits for a state, with a deadline.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::disallowed_methods, reason = "tests open listeners and raw connections of their own")]

mod enrolment;
mod identity;
mod lease;
mod limits;
mod mesh;
mod refusals;
mod rotation;
mod stand;
