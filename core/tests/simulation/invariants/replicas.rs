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
        let (one, other) = (codec::encode_state(world.state()), codec::encode_state(&world.mesh.follower));
        if one == other { Ok(()) } else { Err(format!("{} and {} bytes of state differ", one.len(), other.len())) }
    }
}
