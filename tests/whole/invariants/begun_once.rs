//! A command, which is not to be done twice, is begun once for an attempt, whoever dies in between.

use std::collections::BTreeSet;

use crate::watch;

pub fn look() {
    let twice = watch::with(|seen| {
        let mut attempts = BTreeSet::new();
        seen.works.begun.iter().find(|begun| !attempts.insert(&begun.attempt)).cloned()
    });
    if let Some(begun) = twice {
        watch::broken("begun-once", &format!("attempt {} begins again: {:?}", begun.attempt, begun.place));
    }
}
