//! What must hold, one a file.

mod approved;
mod begun_once;
mod budgets;
mod exclusive;
pub mod fenced;
pub mod forward;
pub mod renewed;
pub mod replicas;
mod slots;
mod tokens;
pub mod undone;
mod windows;

use mainstay_coordinator::run::RunError;
use mainstay_coordinator::store::StopReason;

use crate::works::Place;
use crate::{trace, watch};

/// Looks at everything that can be looked at from outside, after each moment.
pub fn look() {
    slots::look();
    tokens::look();
    begun_once::look();
    exclusive::look();
    budgets::look();
}

/// A step begins on a machine: what it had to wait for has come.
pub fn begins(place: &Place) {
    approved::begins(place);
    windows::begins(place);
}

/// A member ends by itself for want of a disk, or since another has its place; not because it differs from the others.
pub fn judge_end(name: &str, ended: &Result<(), RunError>) {
    trace::line(name, &format!("ended: {ended:?}"));
    if let Err(RunError::Stopped(StopReason::WriteFailed { .. })) = ended {
        watch::struck("a member stops for want of room");
    }
    if let Err(RunError::Stopped(reason @ (StopReason::Diverged { .. } | StopReason::Unknown { .. } | StopReason::Internal(_)))) = ended {
        watch::broken("replicas", &format!("{name} has stopped: {reason}"));
    }
}
