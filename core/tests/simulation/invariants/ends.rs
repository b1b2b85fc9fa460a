//! Liveness.

use super::{Decided, Held, Invariant};
use crate::client::Client;
use crate::world::World;

pub struct Ends;

impl Invariant for Ends {
    fn name(&self) -> &'static str {
        "ends"
    }

    fn says(&self) -> &'static str {
        "a run that does not move says for what it waits; in the calm every run ends or waits for the calendar, and every client gets its lease"
    }

    fn decided(&mut self, decided: &Decided<'_>) -> Held {
        let silent =
            |run: &&mainstay_core::state::run::Run| !run.is_ended() && decided.commands.is_empty() && decided.waits.of_run(&run.id).next().is_none();
        match decided.state.runs.values().find(silent) {
            Some(run) => Err(format!("{} waits and does not say for what", run.id)),
            None => Ok(()),
        }
    }

    fn ended(&mut self, world: &World) -> Held {
        if !world.mesh.nothing_moves() {
            let open = world.state().runs.values().filter(|run| !run.is_ended());
            let waits = world.mesh.leader.iter().flat_map(|leader| &leader.waits.waits).map(|wait| wait.reason.to_string()).collect::<Vec<_>>();
            return Err(format!("{:?} have not ended; {waits:?}", open.map(|run| run.id.to_string()).collect::<Vec<_>>()));
        }
        match world.clients.iter().find(|client| !Client::has_had_it(client)) {
            Some(client) => Err(format!("{} did not get {}", client.name, client.wanted.name)),
            None => Ok(()),
        }
    }
}
