//! The agent of a mesh: it observes a node and carries out steps on it.
//!
//! [`observe`] reads what the machine says about itself, [`execute`] carries out one attempt of one step
//! with those readings at hand, and [`redact`] keeps credentials out of everything that leaves either.
//! [`host`] is the seam to this machine's clock and files.
//!
//! [`run`] puts the process together: [`enrolment`] gives it an identity, [`link`] brings what the mesh wants,
//! [`attempts`] carries that out by the [`ledger`], [`artifacts`] takes what a step leaves to the mesh, and [`http`] shows metrics and health.

pub mod artifacts;
pub mod attempts;
mod complaint;
pub mod conditions;
pub mod connections;
pub mod enrolment;
pub mod execute;
pub mod hold;
pub mod host;
pub mod http;
pub mod kube;
pub mod ledger;
pub mod link;
pub mod log;
pub mod observe;
pub mod run;
pub mod settings;
pub mod signals;

pub use mainstay_core::redact;
