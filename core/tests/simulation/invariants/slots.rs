//! The promise of a lease.

use super::{Held, Invariant};
use crate::client::LEASES;
use crate::world::World;

pub struct Slots;

impl Invariant for Slots {
    fn name(&self) -> &'static str {
        "slots"
    }

    fn says(&self) -> &'static str {
        "never more processes believe in a lease than it has slots, each by its own clock"
    }

    fn looked(&mut self, world: &World) -> Held {
        for lease in &LEASES {
            let believes = |client: &&crate::client::Client| client.wanted.name == lease.name && client.believes(world.now).is_some();
            let believers = world.clients.iter().filter(believes);
            if believers.clone().count() > lease.slots as usize {
                let names: Vec<&str> = believers.map(|client| client.name.as_str()).collect();
                return Err(format!("{names:?} hold {}, which has {} slots", lease.name, lease.slots));
            }
        }
        Ok(())
    }
}
