//! Those who may still believe that they hold a lease, by their own monotonic clocks, are never more than its slots.

use crate::client::LEASES;
use crate::watch;

pub fn look() {
    let broken = watch::with(|seen| {
        LEASES.iter().find_map(|(name, slots, _)| {
            let believing: Vec<String> = seen
                .held
                .iter()
                .filter(|(_, held)| held.name() == *name && !held.is_lost())
                .map(|(who, held)| format!("{who} ({})", held.token()))
                .collect();
            (believing.len() > *slots as usize).then(|| format!("{name} has {slots} slots, and is held by {}", believing.join(", ")))
        })
    });
    if let Some(what) = broken {
        watch::broken("slots", &what);
    }
}
