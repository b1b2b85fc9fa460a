//! Whoever leads: what it has seen, what it decides, whom it answers. As the coordinator does it: a renewal
//! counts only when a majority confirms after it came, and not while the end of that grant is on its way; a
//! pass waits for all outcomes of the one before it; the calendar is asked once a second.

use std::collections::{BTreeMap, BTreeSet};

use mainstay_core::plan::Gate;
use mainstay_core::reconcile::DesiredAttempt;
use mainstay_core::seen::{Due, Opening, SeenLink};
use mainstay_core::state::lease::{Holder, LeaseKind};
use mainstay_core::time::Millis;
use mainstay_core::{
    Actor, AgentId, AttemptId, Command, Decision, Entry, LeaseName, MeshTime, Reply, Seen, Token, Waits, WallTime, almanac, decide, evaluate,
};

use crate::agent;
use crate::client::Answer;
use crate::invariants::Decided;
use crate::network::{Place, Way};
use crate::world::{Event, From, World};

/// A process that stood still for longer than this notices.
const NOTICED: u64 = 750;

/// A command on its way into the log.
#[derive(Debug, Clone)]
pub struct Proposal {
    pub from: From,
    pub entry: Entry,
}

impl Proposal {
    /// What was decided about leases, and whose turn it is in a rollout, is committed before the next leader
    /// decides anything, or never. Nothing may depend on that for the rest.
    pub fn may_come_late(&self) -> bool {
        let rests_on_order = matches!(
            self.entry.command,
            Command::ExpireLease { .. }
                | Command::ExpireWaiter { .. }
                | Command::AcquireLease { .. }
                | Command::ReleaseLease { .. }
                | Command::OfferAttempt { .. }
        );
        self.from == From::Leader && !rests_on_order
    }
}

/// What only the leader has, and what dies with it.
pub struct Leader {
    pub term: u64,
    /// Whose clocks it reads.
    pub machine: usize,
    /// Its monotonic clock when it began, and mesh time then.
    since: u64,
    base: MeshTime,
    seen: Seen,
    /// Grants whose end may be on its way.
    ending: BTreeSet<(LeaseName, Token)>,
    /// Decisions of the current pass that have no outcome yet.
    open: usize,
    /// When it decides next.
    wake: u64,
    /// What each linked agent was told last.
    told: BTreeMap<AgentId, Vec<DesiredAttempt>>,
    calendar: Option<Calendar>,
    pub waits: Waits,
    /// It stands still until then.
    pub paused_until: u64,
    paused: Option<u64>,
}

/// What the calendar said.
struct Calendar {
    asked: WallTime,
    /// How many runs there were: a new one may have gates of its own.
    runs: usize,
    openings: BTreeMap<Gate, Opening>,
    due: Vec<Due>,
}

impl Leader {
    pub fn new(term: u64, machine: usize, monotonic: u64, base: MeshTime) -> Leader {
        Leader {
            term,
            machine,
            since: monotonic,
            base,
            seen: Seen { leading_since: base, ..Seen::default() },
            ending: BTreeSet::new(),
            open: 0,
            wake: u64::MAX,
            told: BTreeMap::new(),
            calendar: None,
            waits: Waits::default(),
            paused_until: 0,
            paused: None,
        }
    }

    pub fn now(&self, monotonic: u64) -> MeshTime {
        self.base + Millis(monotonic - self.since)
    }
}

impl World {
    /// Mesh time by whoever leads.
    fn mesh_now(&self) -> MeshTime {
        self.mesh.leader.as_ref().map_or(self.mesh.state.mesh_time, |leader| leader.now(self.mesh.machines[leader.machine].monotonic.at(self.now)))
    }

    /// Whether the leader is there for what happens now; if it stands still, that happens later.
    fn leads(&mut self, event: impl FnOnce() -> Event) -> bool {
        let now = self.now;
        let mesh_now = self.mesh_now();
        let Some(leader) = &mut self.mesh.leader else { return false };
        if leader.paused_until > now {
            leader.paused.get_or_insert(now);
            let wait = leader.paused_until - now;
            self.after(wait, event());
            return false;
        }
        if let Some(since) = leader.paused.take()
            && now - since > NOTICED
        {
            leader.seen.leading_since = leader.seen.leading_since.max(mesh_now);
        }
        true
    }

    pub fn arrive(&mut self, from: From, key: Option<String>, command: Command) {
        // A connection ends with its process.
        if let (From::Agent { index, boot, .. }, Command::ConnectAgent { .. }) = (&from, &command)
            && !self.is_process_of(*index, *boot)
        {
            return;
        }
        // Without a leader the request is lost, and whoever asked asks again.
        let again = (from.clone(), key.clone(), command.clone());
        if !self.is_in_vain() && self.leads(|| Event::Arrive { from: again.0, key: again.1, command: Box::new(again.2) }) {
            self.propose(from, key, command);
        }
    }

    pub fn propose(&mut self, from: From, key: Option<String>, command: Command) {
        let by = match &from {
            From::Operator(ask) => Actor::Identity(self.operator.identity(*ask)),
            From::Client { index, .. } => Actor::Identity(self.clients[*index].holder().identity),
            From::Agent { .. } | From::Leader | From::Member => Actor::Mesh,
        };
        if let Some(refusal) = self.mesh.state.too_early(&command) {
            return self.answer(from, &command, Reply::Refused(refusal));
        }
        let entry = self.entry(by, key, command);
        self.mesh.number += 1;
        self.mesh.pending.insert(self.mesh.number, Proposal { from, entry });
        // In the order in which they were proposed.
        let delay = if self.calm() { self.chance.between(1, 5) } else { self.chance.between(1, 60) };
        self.mesh.committed_at = self.mesh.committed_at.max(self.now + delay);
        self.after(self.mesh.committed_at - self.now, Event::Commit(self.mesh.number));
    }

    /// The proposal is applied, unless the leader went before it was decided.
    pub fn commit(&mut self, number: u64) {
        if !self.leads(|| Event::Commit(number)) {
            return;
        }
        let Some(Proposal { from, entry }) = self.mesh.pending.remove(&number) else { return };
        let reply = self.apply(&entry);
        self.answer(from, &entry.command, reply);
        self.decide_in(1);
        self.tell_agents(false);
    }

    pub fn late(&mut self, proposal: Proposal) {
        if self.mesh.leader.is_some() {
            self.apply(&proposal.entry);
            self.tell_agents(false);
        }
    }

    fn answer(&mut self, from: From, command: &Command, reply: Reply) {
        match from {
            From::Leader => self.pass_goes_on(command),
            From::Agent { index, boot, about } => self.answer_agent(index, boot, about, command, reply),
            From::Client { index, session, sent } => self.answer_client(index, session, sent, command, &reply),
            From::Operator(ask) => self.send(Way::FromMesh(Place::Operator), Event::OperatorAnswer { ask, reply: Box::new(reply) }),
            From::Member => {}
        }
    }

    fn pass_goes_on(&mut self, command: &Command) {
        let Some(leader) = &mut self.mesh.leader else { return };
        leader.open -= 1;
        if let Command::ExpireLease { name, token } = command {
            leader.ending.remove(&(name.clone(), *token));
        }
    }

    pub fn decide_in(&mut self, delay: u64) {
        let at = self.now + delay;
        if let Some(leader) = self.mesh.leader.as_mut().filter(|leader| at < leader.wake) {
            leader.wake = at;
            let term = leader.term;
            self.after(delay, Event::Decide { term });
        }
    }

    pub fn decide(&mut self, term: u64) {
        let is_meant = self.mesh.leader.as_ref().is_some_and(|leader| leader.term == term && leader.wake <= self.now);
        if !is_meant || !self.leads(|| Event::Decide { term }) {
            return;
        }
        let now = self.mesh_now();
        let wall = self.look_at_calendar();
        let Some(leader) = &mut self.mesh.leader else { return };
        leader.wake = u64::MAX;
        if leader.open > 0 {
            // The last outcome of the pass wakes it again.
            return;
        }
        let Decision { mut commands, waits, wake_at, evaluate } = decide(&self.mesh.state, &leader.seen, now);
        commands.extend(evaluate.iter().filter_map(|evaluation| evaluate::evaluate(&self.mesh.state, evaluation)));
        leader.open = commands.len();
        leader.ending.extend(
            commands
                .iter()
                .filter_map(|command| if let Command::ExpireLease { name, token } = command { Some((name.clone(), *token)) } else { None }),
        );
        leader.waits = waits.clone();
        let state = self.mesh.state.clone();
        self.decided(&Decided { state: &state, commands: &commands, waits: &waits, wall });
        self.chance.shuffle(&mut commands);
        for command in commands {
            self.propose(From::Leader, None, command);
        }
        let wake = wake_at.map_or(1_000, |at| at.since(now).0.clamp(1, 1_000));
        self.decide_in(wake);
    }

    /// The calendar by the leader's wall clock; when that was.
    fn look_at_calendar(&mut self) -> WallTime {
        let Some(leader) = &mut self.mesh.leader else { return WallTime::default() };
        let wall = self.mesh.machines[leader.machine].wall.at(self.now);
        let (state, runs) = (&self.mesh.state, self.mesh.state.runs.len());
        let same = |known: &Calendar| known.asked.0 / 1_000 == wall.0 / 1_000 && known.runs == runs && known.due.is_empty();
        let known = leader.calendar.take().filter(same).unwrap_or_else(|| Calendar {
            asked: wall,
            runs,
            openings: almanac::openings(state, wall),
            due: almanac::due(state, wall),
        });
        leader.seen.calendar.clone_from(&known.openings);
        leader.seen.due.clone_from(&known.due);
        let asked = known.asked;
        leader.calendar = Some(known);
        asked
    }

    /// Tells linked agents what is wanted of them, where that has changed, or all of them again.
    pub fn tell_agents(&mut self, again: bool) {
        let Some(leader) = &mut self.mesh.leader else { return };
        let mut news = Vec::new();
        for agent in leader.seen.links.keys() {
            let desired = self.mesh.state.desired(agent);
            if again || leader.told.get(agent).is_none_or(|told| *told != desired.attempts) {
                leader.told.insert(agent.clone(), desired.attempts.clone());
                news.push((agent::index_of(agent), Box::new(desired)));
            }
        }
        for (index, desired) in news {
            self.send(Way::FromMesh(Place::Agent(index)), Event::Desired { index, desired });
        }
    }

    fn answer_agent(&mut self, index: usize, boot: u64, about: Option<AttemptId>, command: &Command, reply: Reply) {
        let now = self.mesh_now();
        let Some(leader) = &mut self.mesh.leader else { return };
        if let Reply::Connected { epoch } = reply {
            leader.seen.links.insert(agent::id(index), SeenLink { epoch, last_heard: now, closed: false });
            leader.told.remove(&agent::id(index));
        }
        let term = leader.term;
        let answer = Event::AgentAnswer { index, boot, about, command: Box::new(command.clone()), reply: Box::new(reply), term };
        self.send(Way::FromMesh(Place::Agent(index)), answer);
    }

    pub fn heard(&mut self, index: usize, epoch: u64, closed: bool) {
        let event = move || if closed { Event::Unlinked { index, epoch } } else { Event::Heartbeat { index, epoch } };
        if self.is_in_vain() || !self.leads(event) {
            return;
        }
        let now = self.mesh_now();
        let Some(leader) = &mut self.mesh.leader else { return };
        if let Some(link) = leader.seen.links.get_mut(&agent::id(index)).filter(|link| link.epoch == epoch) {
            *link = SeenLink { epoch, last_heard: now, closed };
        }
        let is_open = self.mesh.state.agents.get(&agent::id(index)).is_some_and(|agent| agent.epoch == epoch && agent.is_up());
        if !is_open && !closed {
            self.send(Way::FromMesh(Place::Agent(index)), Event::LinkEnded { index, epoch });
        }
    }

    fn answer_client(&mut self, index: usize, session: (u64, u64), sent: u64, command: &Command, reply: &Reply) {
        let now = self.mesh_now();
        let Some(leader) = &mut self.mesh.leader else { return };
        let Command::AcquireLease { name, holder, .. } = command else { return };
        let answer = match reply {
            Reply::Granted(grant) => {
                // Asked for again, it is renewed by that; an end that is on its way comes first.
                let key = (name.clone(), grant.token);
                if leader.ending.contains(&key) {
                    return;
                }
                leader.seen.renewals.insert(key.1, now);
                let ttl = (grant.spec.kind == LeaseKind::Ttl).then_some(grant.spec.ttl.0);
                Answer::Granted { token: grant.token, ttl }
            }
            Reply::Queued { .. } => {
                leader.seen.waiters.insert((name.clone(), holder.identity.clone(), holder.incarnation.clone()), now);
                return;
            }
            // No room, or defined otherwise for now.
            _ => return,
        };
        self.send(Way::FromMesh(Place::Client(index)), Event::ClientAnswer { index, session, sent, answer });
    }

    fn is_held(&self, lease: &str, token: Token, holder: &Holder) -> bool {
        let lease = self.mesh.state.leases.get(&lease.parse::<LeaseName>().unwrap());
        lease.is_some_and(|lease| lease.held.iter().any(|held| held.token == token && held.holder.is(holder)))
    }

    pub fn renew(&mut self, from: From, lease: &'static str, token: Token) {
        let again = from.clone();
        if self.is_in_vain() || !self.leads(|| Event::Renew { from: again, lease, token }) {
            return;
        }
        let (Some(leader), From::Client { index, session, sent }) = (&self.mesh.leader, from) else { return };
        let term = leader.term;
        if !self.is_held(lease, token, &self.clients[index].holder_of(session)) {
            let answer = Event::ClientAnswer { index, session, sent, answer: Answer::NotHeld(token) };
            return self.send(Way::FromMesh(Place::Client(index)), answer);
        }
        let delay = self.chance.between(1, 30);
        self.after(delay, Event::Confirmed { term, from: From::Client { index, session, sent }, lease, token });
    }

    /// A majority has said that whoever led when the renewal came still leads.
    pub fn confirmed(&mut self, term: u64, from: &From, lease: &'static str, token: Token) {
        let &From::Client { index, session, sent } = from else { return };
        if !self.leads(|| Event::Confirmed { term, from: from.clone(), lease, token }) {
            return;
        }
        let (held, now) = (self.is_held(lease, token, &self.clients[index].holder_of(session)), self.mesh_now());
        let Some(leader) = self.mesh.leader.as_mut().filter(|leader| leader.term == term) else { return };
        let key = (lease.parse().unwrap(), token);
        if leader.ending.contains(&key) || !held {
            return;
        }
        leader.seen.renewals.insert(key.1, now);
        self.send(Way::FromMesh(Place::Client(index)), Event::ClientAnswer { index, session, sent, answer: Answer::Renewed(token) });
    }
}
