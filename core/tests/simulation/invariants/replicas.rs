//! Members that apply the same log.

use mainstay_core::codec;

use super::{Deed, Held, Invariant};
use crate::world::World;

pub struct Replicas;

impl Invariant for Replicas {
    fn name(&self) -> &'static str {
        "replicas"
    }

    fn says(&self) -> &'static str {
        "a member that applied the log from its bytes, or went on from a snapshot, has the same state"
    }

    fn did(&mut self, deed: &Deed, world: &World) -> Held {
        let Deed::Followed = deed else { return Ok(()) };
        let (own, other) = (world.state(), &world.mesh.follower);
        // What is not in the bytes counts too: a member that has it decides otherwise than one that has lost it.
        if own != other {
            return Err(format!("after {} entries the states differ", world.mesh.log.len()));
        }
        if codec::encode_state(own) != codec::encode_state(other) {
            return Err(format!("after {} entries the bytes of the states differ", world.mesh.log.len()));
        }
        Ok(())
    }
}
