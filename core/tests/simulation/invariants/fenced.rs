//! What a store that checks tokens is promised.

use std::collections::BTreeMap;

use mainstay_core::state::lease::Holder;
use mainstay_core::{LeaseName, Token};

use super::{Applied, Deed, Held, Invariant};
use crate::world::World;

/// The grants of each lease in the order in which they were made, and which one the store took last.
#[derive(Default)]
pub struct Fenced {
    granted: BTreeMap<LeaseName, Vec<(Token, Holder)>>,
    stored: BTreeMap<&'static str, usize>,
}

impl Invariant for Fenced {
    fn name(&self) -> &'static str {
        "fenced"
    }

    fn says(&self) -> &'static str {
        "a store that checks tokens takes no write of an earlier grant after one of a later grant"
    }

    fn applied(&mut self, applied: &Applied<'_>, _world: &World) -> Held {
        for (name, lease) in &applied.after.leases {
            if applied.before.leases.get(name).is_some_and(|before| before.held == lease.held) {
                continue;
            }
            let granted = self.granted.entry(name.clone()).or_default();
            for held in &lease.held {
                if !granted.iter().rev().any(|(token, holder)| *token == held.token && holder.is(&held.holder)) {
                    granted.push((held.token, held.holder.clone()));
                }
            }
        }
        Ok(())
    }

    fn did(&mut self, deed: &Deed, _world: &World) -> Held {
        let Deed::Stored { lease, token } = deed else { return Ok(()) };
        let granted = self.granted.get(&lease.parse::<LeaseName>().unwrap());
        let Some(place) = granted.and_then(|granted| granted.iter().rposition(|(own, _)| own == token)) else {
            return Err(format!("{lease} was written under {token}, which nobody was granted"));
        };
        // Two grants under one token cannot be told apart by the store.
        let is_twice = granted.is_some_and(|granted| granted.iter().filter(|(own, _)| own == token).count() > 1);
        let newest = self.stored.entry(lease).or_default();
        if is_twice || place < *newest {
            return Err(format!("{lease} was written under {token}, which a later grant cannot be told from or has overtaken"));
        }
        *newest = place;
        Ok(())
    }
}
