//! A token is given out once.

use std::collections::BTreeSet;

use crate::watch;

pub fn look() {
    let twice = watch::with(|seen| {
        let mut tokens = BTreeSet::new();
        seen.grants.iter().find(|(_, token)| !tokens.insert(*token)).cloned()
    });
    if let Some((lease, token)) = twice {
        watch::broken("tokens", &format!("{lease} was granted under {token}, which had been given out before"));
    }
}
