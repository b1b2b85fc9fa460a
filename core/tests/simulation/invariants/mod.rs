//! What must hold, one invariant a file. Each looks on: at every entry that is applied, at every decision, at
//! what is done outside the mesh, after every event, and at the end.

mod acknowledged;
mod begun_once;
mod budgets;
mod ends;
mod exclusive;
mod fenced;
mod needed;
mod renewed;
mod replicas;
mod schedules;
mod slots;
mod state;
mod tokens;
mod undone;
mod windows;

use std::fmt;

use mainstay_core::reconcile::DesiredAttempt;
use mainstay_core::state::run::Outcome;
use mainstay_core::{AttemptId, Command, Entry, Reply, State, Token, Waits, WallTime};

use crate::world::World;

/// Whether it held; if not, what broke it.
pub type Held = Result<(), String>;

/// One entry that was applied.
pub struct Applied<'a> {
    pub entry: &'a Entry,
    pub reply: &'a Reply,
    /// Whether a request of this key was applied before: then it changes nothing.
    pub is_repeated: bool,
    pub before: &'a State,
    pub after: &'a State,
    /// Weight of the state that no part of it has.
    pub ballast: u64,
}

/// One decision of a leader's.
pub struct Decided<'a> {
    pub state: &'a State,
    pub commands: &'a [Command],
    pub waits: &'a Waits,
    /// The wall time at which the calendar was asked.
    pub wall: WallTime,
}

/// Something outside of the mesh.
pub enum Deed {
    /// An agent has caused the first effect of an attempt.
    Began {
        attempt: DesiredAttempt,
        idempotent: bool,
    },
    /// It came off.
    Finished(DesiredAttempt),
    /// An agent was answered that its report is taken in.
    EndTaken {
        attempt: AttemptId,
        outcome: Outcome,
    },
    LeaseHad {
        token: Token,
    },
    /// A holder stopped believing without having wanted to.
    LeaseLost {
        client: usize,
        token: Token,
    },
    /// The store that checks tokens took a write.
    Stored {
        lease: &'static str,
        token: Token,
    },
    /// Another member has applied all that there is.
    Followed,
    /// An operator's request was answered, once or again.
    Answered {
        ask: usize,
        command: Command,
        reply: Reply,
    },
}

impl fmt::Display for Deed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let item = |attempt: &DesiredAttempt| {
            format!("{} {}/{} on {}, attempt {}", attempt.direction, attempt.run, attempt.step, attempt.target, attempt.id)
        };
        match self {
            Deed::Began { attempt, .. } => write!(f, "an agent begins: {}", item(attempt)),
            Deed::Finished(attempt) => write!(f, "an agent is done: {}", item(attempt)),
            Deed::EndTaken { attempt, outcome } => write!(f, "an agent hears that {attempt} is taken in as {}", outcome.summary()),
            Deed::LeaseHad { token } => write!(f, "a client holds {token}"),
            Deed::LeaseLost { client, token } => write!(f, "client {client} has lost {token}"),
            Deed::Stored { lease, token } => write!(f, "{lease} is written under {token}"),
            Deed::Followed => f.write_str("a follower has caught up"),
            Deed::Answered { command, reply, .. } => write!(f, "an operator hears of {command}: {reply:?}"),
        }
    }
}

/// Something that must hold.
pub trait Invariant {
    fn name(&self) -> &'static str;
    /// In a sentence.
    fn says(&self) -> &'static str;
    fn applied(&mut self, _applied: &Applied<'_>, _world: &World) -> Held {
        Ok(())
    }
    fn decided(&mut self, _decided: &Decided<'_>) -> Held {
        Ok(())
    }
    fn did(&mut self, _deed: &Deed, _world: &World) -> Held {
        Ok(())
    }
    fn looked(&mut self, _world: &World) -> Held {
        Ok(())
    }
    fn ended(&mut self, _world: &World) -> Held {
        Ok(())
    }
}

/// All of them.
pub fn all() -> Vec<Box<dyn Invariant>> {
    vec![
        Box::new(slots::Slots),
        Box::<tokens::Tokens>::default(),
        Box::<fenced::Fenced>::default(),
        Box::<renewed::Renewed>::default(),
        Box::<begun_once::BegunOnce>::default(),
        Box::new(exclusive::Exclusive),
        Box::<acknowledged::Acknowledged>::default(),
        Box::<undone::Undone>::default(),
        Box::new(budgets::Budgets),
        Box::new(needed::Needed),
        Box::new(windows::Windows),
        Box::<schedules::Schedules>::default(),
        Box::new(state::Whole),
        Box::new(replicas::Replicas),
        Box::new(ends::Ends),
    ]
}
