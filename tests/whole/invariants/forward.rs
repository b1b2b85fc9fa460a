//! An agent acts on what is wanted of it now, never on what was wanted before: what a process of it takes never goes back,
//! by the incarnation of the mesh and the generation. (One that starts again goes on from what its ledger last wrote down.)

use crate::watch;

/// An agent has taken what somebody says is wanted of it.
pub fn taken(machine: &str, incarnation: &str, generation: &str) {
    let (Ok(incarnation), Ok(generation)) = (incarnation.parse(), generation.parse()) else {
        return watch::broken("forward", &format!("{machine} takes what has no version: {incarnation}.{generation}"));
    };
    let before = watch::with(|seen| seen.taken.insert(machine.to_owned(), (incarnation, generation)));
    if let Some(before) = before.filter(|before| (incarnation, generation) < *before) {
        watch::broken("forward", &format!("{machine} takes what was wanted at {incarnation}.{generation} after it had taken {before:?}"));
    }
}

/// A process begins.
pub fn begins(machine: &str) {
    watch::with(|seen| seen.taken.remove(machine));
}
