//! The agent of a mesh: it observes a node and carries out steps on it.
//!
//! [`observe`] reads what the machine says about itself, [`execute`] carries out one attempt of one step
//! with those readings at hand, and [`redact`] keeps credentials out of everything that leaves either.
//! [`host`] is the seam to this machine's clock and files.

pub mod execute;
pub mod host;
pub mod observe;
pub mod redact;
