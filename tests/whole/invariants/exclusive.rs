//! Nothing is done to one machine for one step of a run by two attempts at the same time.

use std::collections::BTreeSet;

use crate::watch;

pub fn look() {
    let together = watch::with(|seen| {
        let mut places = BTreeSet::new();
        seen.works.begun.iter().filter(|begun| begun.runs).find(|begun| !places.insert(&begun.place)).cloned()
    });
    if let Some(begun) = together {
        watch::broken("exclusive", &format!("attempt {} of {:?} runs beside another", begun.attempt, begun.place));
    }
}
