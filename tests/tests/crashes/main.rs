//! Processes that die in the middle of a write, disks that forget, and bytes that flip: real programs, real files.
//!
//! What each store does at each of its steps is tried beside it (`coordinator/src/store/tests/crashes.rs`,
//! `agent/src/ledger/crashes.rs`, `coordinator/src/ca/issuers.rs`, `client/src/failpoint/tests.rs`). Here is the whole.
#![allow(clippy::disallowed_methods, clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test that cannot go on stops with words")]

mod bytes;
mod commands;
mod dying;
