//! A lease is not lost that was renewed: the mesh does not say that one is gone whose holder may still believe in it.

use crate::watch;

/// A holder's own program is told that a lease is gone.
pub fn told_gone(machine: &str, lease: &str) {
    let believes =
        watch::with(|seen| seen.held.get(machine).filter(|held| held.name() == lease && !held.is_lost()).map(|held| held.token().to_owned()));
    if let Some(token) = believes {
        watch::broken("renewed", &format!("{machine} is told that it has lost {lease} under {token}, which it had renewed in time"));
    }
}
