//! Time, who is there, and what happens when.

use std::collections::BTreeMap;

use mainstay_core::reconcile::Desired;
use mainstay_core::{AttemptId, Command, Reply, State, Token};

use crate::agent::Agent;
use crate::chance::Chance;
use crate::client::{self, Client};
use crate::invariants::{Applied, Decided, Deed, Held, Invariant};
use crate::leader::Proposal;
use crate::mesh::Mesh;
use crate::network::{Network, Place, Way};
use crate::operator::Operator;
use crate::setting::{Faults, Setting};
use crate::store::Store;
use crate::trace::Trace;

/// How long after the last fault everything must have ended. Undo waits a quarter of an hour for its agent.
const CALM: u64 = 30 * 60_000;
/// Far more events than a seed has, unless decisions that come to nothing are made again and again.
const EVENTS: u64 = 100_000;

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
    /// One of an operator's requests.
    Operator(usize),
    /// A decision of a leader's.
    Leader,
    /// What a member says of itself.
    Member,
}

#[derive(Debug, Clone)]
pub enum Event {
    /// A command comes to whoever its sender takes for the leader.
    Arrive {
        from: From,
        key: Option<String>,
        command: Box<Command>,
    },
    Commit(u64),
    /// What a former leader had proposed is committed by a later one.
    Late(Box<Proposal>),
    Decide {
        term: u64,
    },
    Elect,
    LeaderFault,
    Desired {
        index: usize,
        desired: Box<Desired>,
    },
    /// Whoever still has an old state sends what it says.
    OldDesired,
    AgentAnswer {
        index: usize,
        boot: u64,
        about: Option<AttemptId>,
        command: Box<Command>,
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
    /// The leader ends a link that the mesh has given up, or that a newer one has replaced.
    LinkEnded {
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
    /// A write that carries the token under which it was meant.
    Write {
        lease: &'static str,
        token: Token,
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
    Partition,
    ClockJump,
    MembersChange,
    /// The last member of an older version is upgraded.
    Upgraded,
    CalmBegins,
    OperatorTick,
    Ask(usize),
    OperatorAnswer {
        ask: usize,
        reply: Box<Reply>,
    },
}

pub struct World {
    pub now: u64,
    queue: BTreeMap<(u64, u64), Event>,
    sequence: u64,
    pub chance: Chance,
    pub setting: Setting,
    pub network: Network,
    pub mesh: Mesh,
    pub agents: Vec<Agent>,
    pub clients: Vec<Client>,
    pub operator: Operator,
    pub store: Store,
    invariants: Vec<Box<dyn Invariant>>,
    pub trace: Trace,
}

impl World {
    pub fn new(seed: u64, trace: Trace) -> World {
        let mut chance = Chance::new(seed);
        let setting = Setting::draw(&mut chance);
        trace.line(0, || format!("{setting:?}"));
        let mut world = World {
            now: 0,
            queue: BTreeMap::new(),
            sequence: 0,
            network: Network::default(),
            mesh: Mesh::new(&mut chance),
            agents: (0..setting.agents).map(Agent::new).collect(),
            clients: client::all(&setting.clients, &mut chance),
            operator: Operator::default(),
            store: Store::default(),
            invariants: crate::invariants::all(),
            chance,
            setting,
            trace,
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        self.after(0, Event::Elect);
        for index in 0..self.agents.len() {
            self.after(1 + index as u64, Event::AgentStart { index });
        }
        for index in 0..self.clients.len() {
            self.after(300, Event::ClientTick { index, session: (0, 0) });
            self.fault_later(self.setting.faults.clients, Event::ClientFault { index }, 12_000);
        }
        self.after(1_000, Event::OperatorTick);
        let (until, faults) = (self.setting.faults_until, self.setting.faults);
        self.after(until, Event::CalmBegins);
        self.after(self.setting.older_until.unwrap_or(0), Event::Upgraded);
        self.fault_later(faults.partitions, Event::Partition, 8_000);
        self.fault_later(faults.clock_jumps, Event::ClockJump, 8_000);
        self.fault_later(faults.members, Event::MembersChange, 10_000);
        self.fault_later(true, Event::OldDesired, 8_000);
        self.begin_operating();
    }

    /// Runs to the end.
    pub fn run(&mut self) {
        while let Some(((at, _), event)) = self.queue.pop_first() {
            if at > self.setting.faults_until + CALM || (at > self.setting.faults_until && self.is_over()) {
                break;
            }
            self.now = at;
            assert!(self.sequence < EVENTS, "at {at} ms something goes round in circles: {event:?}");
            self.happen(event);
            self.hold(|invariant, world| invariant.looked(world));
        }
        self.follow();
        self.hold(|invariant, world| invariant.ended(world));
    }

    fn is_over(&self) -> bool {
        self.operator.is_over(self) && self.mesh.nothing_moves() && self.clients.iter().all(Client::has_had_it)
    }

    /// Asks every invariant; ends the seed at the first that does not hold.
    pub fn hold(&mut self, mut ask: impl FnMut(&mut dyn Invariant, &World) -> Held) {
        let mut invariants = std::mem::take(&mut self.invariants);
        for invariant in &mut invariants {
            if let Err(what) = ask(invariant.as_mut(), self) {
                panic!("[{}] {}: at {:.3} s, {what}", invariant.name(), invariant.says(), self.now as f64 / 1_000.0);
            }
        }
        self.invariants = invariants;
    }

    pub fn did(&mut self, deed: Deed) {
        self.trace.line(self.now, || format!("     {deed}"));
        self.hold(|invariant, world| invariant.did(&deed, world));
    }

    pub fn applied(&mut self, applied: &Applied<'_>) {
        self.hold(|invariant, world| invariant.applied(applied, world));
    }

    pub fn decided(&mut self, decided: &Decided<'_>) {
        self.hold(|invariant, _| invariant.decided(decided));
    }

    pub fn state(&self) -> &State {
        &self.mesh.state
    }

    pub fn calm(&self) -> bool {
        self.now >= self.setting.faults_until
    }

    /// The faults there are now.
    pub fn faults(&self) -> Option<Faults> {
        (!self.calm()).then_some(self.setting.faults)
    }

    /// Whether there are faults of this kind now, and one happens in so many of a hundred.
    pub fn strikes(&mut self, kind: fn(&Faults) -> bool, of_hundred: u64) -> bool {
        self.faults().as_ref().is_some_and(kind) && self.chance.percent(of_hundred)
    }

    pub fn after(&mut self, delay: u64, event: Event) {
        self.sequence += 1;
        self.queue.insert((self.now + delay, self.sequence), event);
    }

    /// A fault at some time within `within`, and never in the calm.
    pub fn fault_later(&mut self, exists: bool, fault: Event, within: u64) {
        let delay = self.chance.between(1, within);
        if exists && self.now + delay < self.setting.faults_until {
            self.after(delay, fault);
        }
    }

    /// Over the network.
    pub fn send(&mut self, way: Way, event: Event) {
        let faults = self.faults();
        let delays = self.network.delays(way, self.now, faults, &mut self.chance);
        for delay in delays {
            self.after(delay, event.clone());
        }
    }

    pub fn ask(&mut self, place: Place, from: From, command: Command) {
        self.send(Way::ToMesh(place), Event::Arrive { from, key: None, command: Box::new(command) });
    }

    fn partition(&mut self) {
        let places = self.agents.len() + self.clients.len() + 1;
        let place = match self.chance.place(places) {
            0 => Place::Operator,
            one if one <= self.agents.len() => Place::Agent(one - 1),
            one => Place::Client(one - 1 - self.agents.len()),
        };
        let until = self.now + self.chance.between(1_000, 20_000);
        self.trace.line(self.now, || format!("!   {place:?} is cut off until {until} ms"));
        self.network.cut(place, &mut self.chance, until);
        self.fault_later(true, Event::Partition, 8_000);
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Arrive { from, key, command } => self.arrive(from, key, *command),
            Event::Commit(number) => self.commit(number),
            Event::Late(proposal) => self.late(*proposal),
            Event::Decide { term } => self.decide(term),
            Event::Elect => self.elect(),
            Event::LeaderFault => self.leader_fault(),
            Event::Desired { index, desired } => self.agent_desired(index, *desired),
            Event::OldDesired => self.old_desired(),
            Event::AgentAnswer { index, boot, about, command, reply, term } => self.agent_answer(index, boot, about, &command, &reply, term),
            Event::AgentStep { index, boot, attempt } => self.agent_step(index, boot, attempt),
            Event::AgentTick { index, boot } => self.agent_tick(index, boot),
            Event::AgentCrash { index } => self.agent_crash(index),
            Event::AgentStart { index } => self.agent_start(index),
            Event::Heartbeat { index, epoch } => self.heard(index, epoch, false),
            Event::LinkEnded { index, epoch } => self.agent_link_ended(index, epoch),
            Event::Unlinked { index, epoch } => self.heard(index, epoch, true),
            Event::ClientAnswer { index, session, sent, answer } => self.client_answer(index, session, sent, &answer),
            Event::ClientTick { index, session } => self.client_tick(index, session),
            Event::ClientFault { index } => self.client_fault(index),
            Event::Write { lease, token } => self.write(lease, token),
            Event::Renew { from, lease, token } => self.renew(from, lease, token),
            Event::Confirmed { term, from, lease, token } => self.confirmed(term, &from, lease, token),
            Event::Partition => self.partition(),
            Event::ClockJump => self.clock_jump(),
            Event::MembersChange => self.members_change(),
            Event::Upgraded => self.upgraded(),
            Event::CalmBegins => self.calm_begins(),
            Event::OperatorTick => self.operator_tick(),
            Event::Ask(ask) => self.operator_ask(ask),
            Event::OperatorAnswer { ask, reply } => self.operator_answer(ask, *reply),
        }
    }
}
