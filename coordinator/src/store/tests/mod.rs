//! Tests of the store as a whole: openraft's own suite, the disk, and groups of members in one process,
//! in real time, joined by wires that can be cut.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

mod bytes;
mod chaos;
mod crashes;
mod disk;
mod failover;
mod group;
mod mesh;
mod plant;
mod salvage;
mod space;
mod suite;
