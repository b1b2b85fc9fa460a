//! The state itself.

use mainstay_core::invariant::INVARIANTS;
use mainstay_core::{Actor, Command, Refusal, Reply};

use super::{Applied, Held, Invariant};
use crate::world::World;

pub struct Whole;

impl Invariant for Whole {
    fn name(&self) -> &'static str {
        "state"
    }

    fn says(&self) -> &'static str {
        "every invariant of the state holds after every entry, mesh time never goes back, and what the mesh decides is possible"
    }

    fn applied(&mut self, applied: &Applied<'_>, _world: &World) -> Held {
        let Applied { entry, reply, before, after, ballast, .. } = applied;
        if after.mesh_time < before.mesh_time {
            return Err(format!("mesh time goes back from {:?} to {:?}", before.mesh_time, after.mesh_time));
        }
        let mut own = (*after).clone();
        own.weight = own.weight.saturating_sub(*ballast);
        // The audit chain is walked once, at the end: it grows with every entry.
        for invariant in INVARIANTS.iter().filter(|invariant| invariant.name != "audit") {
            if let Some(what) = (invariant.broken)(&own) {
                return Err(format!("{} (\"{}\") after {}: {what}", invariant.name, invariant.says, entry.command));
            }
        }
        match reply {
            Reply::Refused(refusal) if entry.by == Actor::Mesh && !matches!(refusal, Refusal::Bound { .. }) => match entry.command {
                Command::RecordArtifact { .. } => Ok(()),
                _ => Err(format!("{} is refused: {refusal}", entry.command)),
            },
            _ => Ok(()),
        }
    }

    fn ended(&mut self, world: &World) -> Held {
        world.state().audit.first_broken().map_or(Ok(()), |number| Err(format!("record {number} of the audit chain does not fit")))
    }
}
