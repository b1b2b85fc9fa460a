//! `mainstay doctor`: what is wrong here, and what to do about it.
//!
//! ```text
//!  look (asks this machine, each member, the leader) ─▶ Facts ─▶ diagnose (pure) ─▶ Diagnosis, worst first
//! ```
//! Looking never fails as a whole: what could not be had is a fact too.

pub mod diagnosis;
pub mod facts;
mod local;
pub mod look;
mod mesh;
#[cfg(test)]
mod tests;
