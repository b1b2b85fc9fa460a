//! What people have to agree to begins only after somebody has.

use crate::watch;
use crate::works::Place;

/// A step begins on a machine.
pub fn begins((run, step, machine): &Place) {
    let waits = run.starts_with("approved") && step == "go";
    if waits && !watch::with(|seen| seen.approved.contains(run)) {
        watch::broken("approved", &format!("{step} of {run} begins on {machine} before anybody has agreed"));
    }
}
