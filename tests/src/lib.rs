//! The harness: starts the real binaries as a person would, throw-away directories, free ports, and waits
//! for states with a deadline.
#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a test that cannot go on stops with words"
)]

pub mod builds;
pub mod canary;
pub mod clock;
pub mod faults;
pub mod history;
pub mod kubernetes;
pub mod namespaces;
pub mod process;
pub mod scripts;
pub mod servers;
pub mod up;
pub mod wait;

pub use up::{Options, Up};
pub use wait::{eventually, eventually_within};
