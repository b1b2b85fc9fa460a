//! What a holder is promised.

use std::collections::BTreeSet;

use mainstay_core::{Command, Reply, Token};

use super::{Applied, Deed, Held, Invariant};
use crate::world::World;

/// In the calm, a holder that had the lease before may still feel what happened in the last faults.
const AFTERWARDS: u64 = 15_000;

#[derive(Default)]
pub struct Renewed {
    /// Grants that were had in the calm, when nothing stood in the way of renewing them.
    calm: BTreeSet<Token>,
}

impl Invariant for Renewed {
    fn name(&self) -> &'static str {
        "renewed"
    }

    fn says(&self) -> &'static str {
        "no lease ends by time while its holder is sure of it, and none is lost in the calm"
    }

    fn applied(&mut self, applied: &Applied<'_>, world: &World) -> Held {
        let (Command::ExpireLease { name, token }, Reply::Done) = (&applied.entry.command, applied.reply) else { return Ok(()) };
        match world.clients.iter().find(|client| client.believes(world.now) == Some(*token)) {
            Some(client) => Err(format!("{name} was ended under {token}, in which {} believes", client.name)),
            None => Ok(()),
        }
    }

    fn did(&mut self, deed: &Deed, world: &World) -> Held {
        match deed {
            Deed::LeaseHad { token, .. } if world.now > world.setting.faults_until + AFTERWARDS => {
                self.calm.insert(*token);
                Ok(())
            }
            Deed::LeaseLost { client, token } if self.calm.contains(token) => {
                Err(format!("{} lost what it held under {token}, and nothing failed", world.clients[*client].name))
            }
            _ => Ok(()),
        }
    }
}
