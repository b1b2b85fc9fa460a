//! Time, the network, and what happens when.

use std::collections::BTreeMap;

use mainstay_core::reconcile::Desired;
use mainstay_core::{AttemptId, Command, Reply, Token};

use crate::agent::{Agent, Effects};
use crate::chance::Chance;
use crate::client::{self, Client};
use crate::mesh::{Mesh, Proposal};

/// Faults end here, in milliseconds.
pub const FAULTS_UNTIL: u64 = 90_000;
/// By then everything has ended.
const END: u64 = FAULTS_UNTIL + 40 * 60_000;
/// Far more events than a seed has, unless decisions that come to nothing are made again and again.
const EVENTS: u64 = 150_000;
const AGENTS: usize = 3;
const RUNS: u64 = 9;

/// Who asked, and so who is answered.
#[derive(Debug, Clone, PartialEq)]
pub enum From {
    Agent {
        index: usize,
        boot: u64,
        about: Option<AttemptId>,
    },
    Client {
        index: usize,
        session: (u64, u64),
        sent: u64,
    },
    Operator,
    /// A decision of a leader's.
    Leader,
}

#[derive(Debug, Clone)]
pub enum Event {
    /// A command comes to whoever leads.
    Arrive {
        from: From,
        key: Option<String>,
        command: Box<Command>,
    },
    Commit(u64),
    /// A decision of a leader that is no longer one.
    Late(Box<Proposal>),
    Decide {
        term: u64,
    },
    Elect,
    Depose,
    Desired {
        index: usize,
        desired: Box<Desired>,
    },
    AgentAnswer {
        index: usize,
        boot: u64,
        about: Option<AttemptId>,
        reply: Box<Reply>,
        term: u64,
    },
    AgentStep {
        index: usize,
        boot: u64,
        attempt: AttemptId,
    },
    AgentTick {
        index: usize,
        boot: u64,
    },
    AgentCrash {
        index: usize,
    },
    AgentStart {
        index: usize,
    },
    Heartbeat {
        index: usize,
        epoch: u64,
    },
    /// The leader sees that the connection has ended.
    Unlinked {
        index: usize,
        epoch: u64,
    },
    ClientAnswer {
        index: usize,
        session: (u64, u64),
        sent: u64,
        answer: client::Answer,
    },
    ClientTick {
        index: usize,
        session: (u64, u64),
    },
    ClientFault {
        index: usize,
    },
    Renew {
        from: From,
        lease: &'static str,
        token: Token,
    },
    Confirmed {
        term: u64,
        from: From,
        lease: &'static str,
        token: Token,
    },
    Operate(u64),
}

pub struct World {
    pub now: u64,
    queue: BTreeMap<(u64, u64), Event>,
    sequence: u64,
    pub chance: Chance,
    pub mesh: Mesh,
    pub agents: Vec<Agent>,
    pub clients: Vec<Client>,
    pub effects: Effects,
    pub trace: bool,
}

impl World {
    pub fn new(seed: u64, trace: bool) -> World {
        let mut world = World {
            now: 0,
            queue: BTreeMap::new(),
            sequence: 0,
            chance: Chance::new(seed),
            mesh: Mesh::new(),
            agents: (0..AGENTS).map(Agent::new).collect(),
            clients: client::all(),
            effects: Effects::default(),
            trace,
        };
        world.after(0, Event::Elect);
        for index in 0..AGENTS {
            world.after(1 + index as u64, Event::AgentStart { index });
        }
        for index in 0..world.clients.len() {
            world.after(500, Event::ClientTick { index, session: (0, 0) });
            world.fault_later(Event::ClientFault { index }, 15_000);
        }
        for number in 0..RUNS {
            world.after(3_000 + number * 9_000, Event::Operate(number));
        }
        world
    }

    pub fn run(&mut self) {
        while let Some(((at, _), event)) = self.queue.pop_first() {
            if at > END || (at > FAULTS_UNTIL && self.is_over()) {
                break;
            }
            self.now = at;
            assert!(self.sequence < EVENTS, "at {at} ms something goes round in circles: {event:?}");
            self.happen(event);
            client::at_most_as_many_as_slots(self);
        }
        self.mesh.everything_ended(self.now);
        self.effects.agree_with(&self.mesh.state);
        self.mesh.replays_to_the_same();
        for client in &self.clients {
            assert!(client.calm_grants >= 2, "{} had {} {} times in the calm", client.name, client.lease, client.calm_grants);
        }
    }

    fn is_over(&self) -> bool {
        self.mesh.all_runs_ended() && self.clients.iter().all(|client| client.calm_grants >= 2)
    }

    pub fn calm(&self) -> bool {
        self.now >= FAULTS_UNTIL
    }

    pub fn after(&mut self, delay: u64, event: Event) {
        self.sequence += 1;
        self.queue.insert((self.now + delay, self.sequence), event);
    }

    /// A fault at some time within `within`, and never in the calm.
    pub fn fault_later(&mut self, fault: Event, within: u64) {
        let delay = self.chance.between(1, within);
        if self.now + delay < FAULTS_UNTIL {
            self.after(delay, fault);
        }
    }

    /// Over the network: lost, repeated, late, out of order; in the calm only a little late.
    pub fn send(&mut self, event: Event) {
        if self.calm() {
            let delay = self.chance.between(1, 20);
            return self.after(delay, event);
        }
        if self.chance.percent(6) {
            return;
        }
        let copies = if self.chance.percent(6) { 2 } else { 1 };
        for _ in 0..copies {
            let delay = if self.chance.percent(4) { self.chance.between(1_000, 12_000) } else { self.chance.between(1, 120) };
            self.after(delay, event.clone());
        }
    }

    pub fn ask(&mut self, from: From, command: Command) {
        self.send(Event::Arrive { from, key: None, command: Box::new(command) });
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Arrive { from, key, command } => self.arrive(from, key, *command),
            Event::Commit(number) => self.commit(number),
            Event::Late(proposal) => self.late(*proposal),
            Event::Decide { term } => self.decide(term),
            Event::Elect => self.elect(),
            Event::Depose => self.depose(),
            Event::Desired { index, desired } => self.agent_desired(index, *desired),
            Event::AgentAnswer { index, boot, about, reply, term } => self.agent_answer(index, boot, about, &reply, term),
            Event::AgentStep { index, boot, attempt } => self.agent_step(index, boot, attempt),
            Event::AgentTick { index, boot } => self.agent_tick(index, boot),
            Event::AgentCrash { index } => self.agent_crash(index),
            Event::AgentStart { index } => self.agent_start(index),
            Event::Heartbeat { index, epoch } => self.heard(index, epoch, false),
            Event::Unlinked { index, epoch } => self.heard(index, epoch, true),
            Event::ClientAnswer { index, session, sent, answer } => self.client_answer(index, session, sent, &answer),
            Event::ClientTick { index, session } => self.client_tick(index, session),
            Event::ClientFault { index } => self.client_fault(index),
            Event::Renew { from, lease, token } => self.renew(from, lease, token),
            Event::Confirmed { term, from, lease, token } => self.confirmed(term, &from, lease, token),
            Event::Operate(number) => self.operate(number),
        }
    }

    /// An operator starts a run, asking until it is sure, and sometimes thinks better of it.
    fn operate(&mut self, number: u64) {
        let plan = ["change", "look", "once"][number as usize % 3].parse().unwrap();
        let command = Command::start(plan);
        for repeat in 0..6 {
            let arrive = Event::Arrive { from: From::Operator, key: Some(format!("run-{number}")), command: Box::new(command.clone()) };
            let delay = repeat * 700 + self.chance.between(1, 400);
            self.after(delay, arrive);
        }
        if self.chance.percent(30)
            && let Some(run) = self.mesh.state.runs.values().rfind(|run| !run.is_ended()).map(|run| run.id.clone())
        {
            let delay = self.chance.between(500, 6_000);
            let command = Box::new(Command::AbortRun { run, reason: "thought better of it".into() });
            self.after(delay, Event::Arrive { from: From::Operator, key: None, command });
        }
    }
}
