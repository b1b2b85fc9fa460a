//! The plan `rollout` takes nodes one after the other: what is drained has been patched, or put back, before the next is.

use std::collections::{BTreeMap, BTreeSet};

use crate::watch;

pub fn look() {
    let broken = watch::with(|seen| {
        let works = &seen.works;
        let mut away: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for begun in works.begun.iter().filter(|begun| !begun.undoes && begun.place.0.starts_with("rollout") && begun.place.1 == "drain") {
            let (run, _, machine) = &begun.place;
            let at = |step: &str| works.done.get(&(run.clone(), step.to_owned(), machine.clone())).copied().unwrap_or_default();
            if !at("patch").was_done && !at("drain").was_undone {
                away.entry(run).or_default().insert(machine);
            }
        }
        away.into_iter().find(|(_, machines)| machines.len() > 1).map(|(run, machines)| format!("{run} has {machines:?} away, of which one may be"))
    });
    if let Some(what) = broken {
        watch::broken("budgets", &what);
    }
}
