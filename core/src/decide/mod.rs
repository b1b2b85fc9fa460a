//! The leader's decisions: from what is, and what has been seen, to what is to be done next.
//!
//! `decide` is a pure function and is asked again after every change and every wake-up. It never waits for
//! an event: it reads everything anew, so that a start, a missed event and the normal course are one path.
//! Every command names what it rests on, and `apply` refuses it when that has changed.

mod lease;
mod run;
mod schedule;

pub(crate) use run::{
    AGENT_WAIT, HELD_FOR_STEP, HELD_FOR_TARGET, backup_there, claimed_by_another, healthy, is_on_thing, lease_holders, lease_in_the_way,
    things_of_another,
};

use std::cell::OnceCell;
use std::collections::BTreeSet;

use crate::command::Command;
use crate::evaluate::Evaluation;
use crate::id::AgentId;
use crate::seen::Seen;
use crate::state::State;
use crate::state::agent::Link;
use crate::time::{MeshTime, Millis};
use crate::wait::{Wait, Waits};

/// What one pass comes to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Decision {
    /// At most [`COMMANDS_PER_PASS`]; a further pass has the rest.
    pub commands: Vec<Command>,
    pub waits: Waits,
    /// Steps whose expressions are to be evaluated, off this path; what they come to is a command.
    pub evaluate: Vec<Evaluation>,
    /// When to look again if nothing changes before.
    pub wake_at: Option<MeshTime>,
}

/// Bounds one pass, so that a large run does not hold up the rest.
pub const COMMANDS_PER_PASS: usize = 500;
/// Silence after which an agent counts as lost. Agents send a heartbeat every third of this.
pub const LINK_SILENCE: Millis = Millis(15_000);
/// After its connection ended an agent has this long to come back before it counts as lost.
pub const LINK_GRACE: Millis = Millis(2_000);

/// Looks at everything once.
#[must_use]
pub fn decide(state: &State, seen: &Seen, now: MeshTime) -> Decision {
    let mut pass = Pass { state, seen, now, decision: Decision::default(), circles: OnceCell::new(), leaving: BTreeSet::new() };
    pass.feature_level();
    pass.links();
    pass.leases();
    pass.schedules();
    pass.runs();
    pass.decision
}

struct Pass<'a> {
    state: &'a State,
    seen: &'a Seen,
    now: MeshTime,
    decision: Decision,
    /// Looked for once, when the first item waits for a lease of another run.
    circles: OnceCell<run::Circles<'a>>,
    /// Nodes that this pass takes out of use, or asks for the claim on.
    leaving: BTreeSet<&'a AgentId>,
}

impl Pass<'_> {
    fn command(&mut self, command: Command) {
        if command.level() > self.state.feature_level {
            // A member of an older version would stop at it.
        } else if self.is_full() {
            self.wake(self.now);
        } else {
            self.decision.commands.push(command);
        }
    }

    fn is_full(&self) -> bool {
        self.decision.commands.len() >= COMMANDS_PER_PASS
    }

    fn wait(&mut self, wait: Wait) {
        if let Some((at, _)) = wait.until {
            self.wake(at);
        }
        self.decision.waits.waits.push(wait);
    }

    fn wake(&mut self, at: MeshTime) {
        self.decision.wake_at = Some(self.decision.wake_at.map_or(at, |earlier| earlier.min(at)));
    }

    fn feature_level(&mut self) {
        let level = self.state.members.values().map(|member| member.feature_level).min().unwrap_or(0);
        if level > self.state.feature_level && self.state.mesh.is_some() {
            self.command(Command::RaiseFeatureLevel { level });
        }
    }

    /// An agent that the state calls connected, and that has fallen silent, is lost.
    fn links(&mut self) {
        for (id, agent) in &self.state.agents {
            if !matches!(agent.link, Link::Up { .. }) {
                continue;
            }
            let link = self.seen.links.get(id).filter(|link| link.epoch == agent.epoch);
            let heard = link.map_or(self.seen.leading_since, |link| link.last_heard.max(self.seen.leading_since));
            let patience = if link.is_some_and(|link| link.closed) { LINK_GRACE } else { LINK_SILENCE };
            if self.now >= heard + patience {
                self.command(Command::LoseAgent { agent: id.clone(), epoch: agent.epoch });
            } else {
                self.wake(heard + patience);
            }
        }
    }
}
