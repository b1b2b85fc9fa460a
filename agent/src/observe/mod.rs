//! What the machine says about itself: one collector a file.
//!
//! A collector is a pure function over the text of a kernel file, and a thin reader that fetches that text
//! from the [`crate::host::Host`]. None of them judges: thresholds and words are the steps' in
//! [`crate::execute`]. [`readings`] keeps what they saw over time.

pub mod cgroup;
pub mod cpu;
pub mod disk;
pub mod history;
pub mod kernel;
pub mod load;
pub mod memory;
pub mod mount;
pub mod network;
pub mod pods;
pub mod pressure;
pub mod readings;
pub mod service;
pub mod systemd;
