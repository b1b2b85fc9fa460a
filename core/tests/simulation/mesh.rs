//! The log, and the leaders that decide what goes into it.

use std::collections::{BTreeMap, BTreeSet};

use mainstay_core::invariant::INVARIANTS;
use mainstay_core::reconcile::DesiredAttempt;
use mainstay_core::seen::SeenLink;
use mainstay_core::state::lease::Holder;
use mainstay_core::state::member::Member;
use mainstay_core::time::Millis;
use mainstay_core::{
    Actor, AgentId, Command, Decision, Entry, LeaseName, MemberId, MeshTime, Reply, RequestKey, Seen, State, Token, WallTime, codec, decide, plan,
};

use crate::agent;
use crate::client;
use crate::world::{Event, From, World};

const PLANS: [&str; 3] = [
    "\
apiVersion: mainstay.dev/v1alpha1
kind: MaintenancePlan
metadata: { name: change }
spec:
  steps:
    - { name: look, uses: node.resources, timeout: 10s, retry: { attempts: 5, backoff: 1s } }
    - { name: a, uses: node.exec, with: { command: [a] }, runOn: node, needs: [look], timeout: 12s, retry: { attempts: 3, backoff: 1s }, undo: { uses: node.exec, with: { command: [un-a] }, timeout: 12s, retry: { attempts: 5, backoff: 1s } } }
    - { name: b, uses: node.exec, with: { command: [b] }, runOn: node, needs: [a], timeout: 12s, undo: { uses: node.exec, with: { command: [un-b] }, timeout: 12s, retry: { attempts: 5, backoff: 1s } } }
    - { name: c, uses: wait, with: { for: 1s }, needs: [b], timeout: 10s, retry: { attempts: 5, backoff: 1s } }
",
    "\
apiVersion: mainstay.dev/v1alpha1
kind: MaintenancePlan
metadata: { name: look }
spec:
  steps:
    - { name: a, uses: node.resources, timeout: 10s, retry: { attempts: 4, backoff: 1s } }
    - { name: b, uses: node.exec, with: { command: [b] }, runOn: node, timeout: 8s, onUnknown: continue }
    - { name: c, uses: wait, with: { for: 1s }, needs: [a, b], timeout: 10s, retry: { attempts: 4, backoff: 1s } }
",
    "\
apiVersion: mainstay.dev/v1alpha1
kind: MaintenancePlan
metadata: { name: once }
spec:
  steps:
    - { name: a, uses: node.exec, with: { command: [a] }, timeout: 10s, retry: { attempts: 3, backoff: 1s }, undo: { uses: node.exec, with: { command: [un-a] }, timeout: 10s, retry: { attempts: 5, backoff: 1s } } }
    - { name: b, uses: node.exec, with: { command: [b] }, needs: [a], timeout: 10s }
",
];

/// A command on its way into the log.
#[derive(Debug, Clone)]
pub struct Proposal {
    from: From,
    entry: Entry,
}

/// What only the leader has, and what dies with it.
pub struct Leader {
    pub term: u64,
    /// Real time at which it began, and mesh time then.
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
}

pub struct Mesh {
    pub state: State,
    pub log: Vec<Entry>,
    pub leader: Option<Leader>,
    term: u64,
    pending: BTreeMap<u64, Proposal>,
    number: u64,
    /// Keys under which runs were started.
    keys: BTreeSet<String>,
}

impl Leader {
    fn now(&self, real: u64) -> MeshTime {
        self.base + Millis(real - self.since)
    }
}

impl Mesh {
    pub fn new() -> Mesh {
        Mesh { state: State::default(), log: Vec::new(), leader: None, term: 0, pending: BTreeMap::new(), number: 0, keys: BTreeSet::new() }
    }

    pub fn all_runs_ended(&self) -> bool {
        self.state.runs.len() as u64 == 9 && self.state.runs.values().all(mainstay_core::state::run::Run::is_ended)
    }

    pub fn everything_ended(&self, now: u64) {
        let open: Vec<String> = self.state.runs.values().filter(|run| !run.is_ended()).map(|run| format!("{}: {:?}", run.id, run.phase)).collect();
        assert!(open.is_empty(), "not ended at {now} ms: {open:?}");
        assert_eq!(self.state.runs.len(), self.keys.len(), "one run for each key, however often it was asked for");
        assert!(self.state.open_attempts.is_empty());
    }

    /// Any member that applies the log comes to the same state.
    pub fn replays_to_the_same(&self) {
        let mut state = State::default();
        for entry in &self.log {
            state.apply(&codec::decode_entry(&codec::encode_entry(entry)).unwrap());
        }
        assert_eq!(codec::encode_state(&state), codec::encode_state(&self.state));
        assert_eq!(mainstay_core::invariant::broken(&self.state), []);
    }
}

impl World {
    pub fn elect(&mut self) {
        self.mesh.term += 1;
        // Each open proposal is in the new leader's log, or it is not.
        for (_, proposal) in std::mem::take(&mut self.mesh.pending) {
            let ends_a_lease = matches!(proposal.entry.command, Command::ExpireLease { .. } | Command::ExpireWaiter { .. });
            if self.chance.percent(45) {
                self.apply(&proposal.entry);
            } else if proposal.from == From::Leader && !ends_a_lease && self.chance.percent(60) {
                let delay = self.chance.between(1, 9_000);
                self.after(delay, Event::Late(Box::new(proposal)));
            }
        }
        let (term, base) = (self.mesh.term, self.mesh.state.mesh_time);
        let seen = Seen { leading_since: base, ..Seen::default() };
        self.mesh.leader =
            Some(Leader { term, since: self.now, base, seen, ending: BTreeSet::new(), open: 0, wake: u64::MAX, told: BTreeMap::new() });
        if term == 1 {
            self.found();
        }
        let entry = self.entry(Actor::Mesh, None, Command::RecordDigest { index: self.mesh.log.len() as u64, digest: [0; 32] });
        self.apply(&entry);
        self.decide_in(1);
        self.fault_later(Event::Depose, 20_000);
    }

    fn found(&mut self) {
        let form = Command::FormMesh { mesh: "sim".parse().unwrap(), incarnation: 1 };
        let plans = PLANS.map(|text| Command::ApplyPlan { plan: Box::new(plan::parse(text).unwrap()), bundled: true });
        let member = Command::PutMember { member: Member { id: MemberId(1), ..Member::default() } };
        for command in [form, member].into_iter().chain(plans) {
            let entry = self.entry(Actor::Mesh, None, command);
            self.apply(&entry);
        }
    }

    pub fn depose(&mut self) {
        if self.mesh.leader.take().is_some() {
            let gap = self.chance.between(100, 4_000);
            self.after(gap, Event::Elect);
        }
    }

    fn entry(&self, by: Actor, key: Option<String>, command: Command) -> Entry {
        let at = self.mesh.leader.as_ref().unwrap().now(self.now);
        // The wall clocks of the members differ by some seconds, in either direction.
        let wall = WallTime(1_795_464_000_000 + self.now as i64 + (self.mesh.term as i64 % 5 - 2) * 3_000);
        Entry { at, wall, by, key: key.map(RequestKey), command }
    }

    fn apply(&mut self, entry: &Entry) -> Reply {
        let time = self.mesh.state.mesh_time;
        let reply = self.mesh.state.apply(entry);
        if self.trace {
            println!("{:>8} {:>6} {}: {reply:?}", self.now, self.mesh.log.len(), entry.command);
        }
        self.mesh.log.push(entry.clone());
        if let (Some(RequestKey(key)), Reply::Started(_)) = (&entry.key, &reply) {
            self.mesh.keys.insert(key.clone());
        }
        assert!(self.mesh.state.mesh_time >= time, "mesh time goes back");
        // The audit chain is walked once, at the end: it grows with every entry.
        for invariant in INVARIANTS.iter().filter(|invariant| invariant.name != "audit") {
            assert_eq!((invariant.broken)(&self.mesh.state), None, "{} after {}", invariant.says, entry.command);
        }
        // Room for files runs out; everything else that the mesh or an agent asks for is possible.
        let may_be_refused = entry.by != Actor::Mesh || matches!(entry.command, Command::RecordArtifact { .. });
        assert!(may_be_refused || !matches!(reply, Reply::Refused(_)), "{}: {reply:?}", entry.command);
        reply
    }

    pub fn arrive(&mut self, from: From, key: Option<String>, command: Command) {
        // Without a leader the request is lost, and whoever asked asks again.
        if self.mesh.leader.is_some() {
            self.propose(from, key, command);
        }
    }

    fn propose(&mut self, from: From, key: Option<String>, command: Command) {
        let by = match &from {
            From::Operator => Actor::Identity("operator/ana".parse().unwrap()),
            From::Client { index, .. } => Actor::Identity(self.clients[*index].holder().identity),
            From::Agent { .. } | From::Leader => Actor::Mesh,
        };
        let entry = self.entry(by, key, command);
        self.mesh.number += 1;
        self.mesh.pending.insert(self.mesh.number, Proposal { from, entry });
        let delay = if self.calm() { self.chance.between(1, 5) } else { self.chance.between(1, 60) };
        self.after(delay, Event::Commit(self.mesh.number));
    }

    /// The proposal is applied, unless the leader went before it was decided.
    pub fn commit(&mut self, number: u64) {
        if self.mesh.leader.is_none() {
            return;
        }
        let Some(Proposal { from, entry }) = self.mesh.pending.remove(&number) else { return };
        let reply = self.apply(&entry);
        match from {
            From::Leader => self.pass_goes_on(&entry.command),
            From::Agent { index, boot, about } => self.answer_agent(index, boot, about, reply),
            From::Client { index, session, sent } => self.answer_client(index, session, sent, &entry.command, &reply),
            From::Operator => {}
        }
        self.decide_in(1);
        self.tell_agents(false);
    }

    pub fn late(&mut self, proposal: Proposal) {
        if self.mesh.leader.is_some() {
            self.apply(&proposal.entry);
            self.tell_agents(false);
        }
    }

    fn pass_goes_on(&mut self, command: &Command) {
        let Some(leader) = &mut self.mesh.leader else { return };
        leader.open -= 1;
        if let Command::ExpireLease { name, token } = command {
            leader.ending.remove(&(name.clone(), *token));
        }
    }

    fn decide_in(&mut self, delay: u64) {
        let at = self.now + delay;
        if let Some(leader) = self.mesh.leader.as_mut().filter(|leader| at < leader.wake) {
            leader.wake = at;
            let term = leader.term;
            self.after(delay, Event::Decide { term });
        }
    }

    pub fn decide(&mut self, term: u64) {
        let real = self.now;
        let Some(leader) = self.mesh.leader.as_mut().filter(|leader| leader.term == term && leader.wake == real) else { return };
        leader.wake = u64::MAX;
        if leader.open > 0 {
            // The last outcome of the pass wakes it again.
            return;
        }
        let now = leader.now(self.now);
        let Decision { mut commands, waits, wake_at, evaluate } = decide(&self.mesh.state, &leader.seen, now);
        commands.extend(evaluate.iter().filter_map(|evaluation| mainstay_core::evaluate::evaluate(&self.mesh.state, evaluation)));
        for run in self.mesh.state.runs.values().filter(|run| !run.is_ended()) {
            assert!(!commands.is_empty() || waits.of_run(&run.id).next().is_some(), "{} waits and does not say for what", run.id);
        }
        leader.open = commands.len();
        leader.ending.extend(
            commands
                .iter()
                .filter_map(|command| if let Command::ExpireLease { name, token } = command { Some((name.clone(), *token)) } else { None }),
        );
        self.chance.shuffle(&mut commands);
        for command in commands {
            self.propose(From::Leader, None, command);
        }
        let wake = wake_at.map_or(1_000, |at| at.since(now).0.clamp(1, 1_000));
        self.decide_in(wake);
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
            self.send(Event::Desired { index, desired });
        }
    }

    fn answer_agent(&mut self, index: usize, boot: u64, about: Option<mainstay_core::AttemptId>, reply: Reply) {
        let Some(leader) = &mut self.mesh.leader else { return };
        if let Reply::Connected { epoch } = reply {
            let link = SeenLink { epoch, last_heard: leader.now(self.now), closed: false };
            leader.seen.links.insert(agent::id(index), link);
            leader.told.remove(&agent::id(index));
        }
        let term = leader.term;
        self.send(Event::AgentAnswer { index, boot, about, reply: Box::new(reply), term });
    }

    pub fn heard(&mut self, index: usize, epoch: u64, closed: bool) {
        let Some(leader) = &mut self.mesh.leader else { return };
        let now = leader.now(self.now);
        if let Some(link) = leader.seen.links.get_mut(&agent::id(index)).filter(|link| link.epoch == epoch) {
            *link = SeenLink { epoch, last_heard: now, closed };
        }
    }

    fn answer_client(&mut self, index: usize, session: (u64, u64), sent: u64, command: &Command, reply: &Reply) {
        let Some(leader) = &mut self.mesh.leader else { return };
        let now = leader.now(self.now);
        let (Command::AcquireLease { name, holder, .. }, lease) = (command, self.clients[index].lease) else { return };
        let answer = match reply {
            Reply::Granted(grant) => {
                // Asked for again, it is renewed by that; an end that is on its way comes first.
                let key = (name.clone(), grant.token);
                if leader.ending.contains(&key) {
                    return;
                }
                leader.seen.renewals.insert(key, now);
                client::Answer::Granted(grant.token)
            }
            Reply::Queued { .. } => {
                leader.seen.waiters.insert((name.clone(), holder.identity.clone(), holder.incarnation.clone()), now);
                return;
            }
            other => panic!("{lease}: {other:?}"),
        };
        self.send(Event::ClientAnswer { index, session, sent, answer });
    }

    fn is_held(&self, lease: &str, token: Token, holder: &Holder) -> bool {
        self.mesh
            .state
            .leases
            .get(&lease.parse::<LeaseName>().unwrap())
            .is_some_and(|lease| lease.held.iter().any(|held| held.token == token && held.holder.is(holder)))
    }

    pub fn renew(&mut self, from: From, lease: &'static str, token: Token) {
        let (Some(leader), From::Client { index, session, sent }) = (&self.mesh.leader, from) else { return };
        let term = leader.term;
        if !self.is_held(lease, token, &self.clients[index].holder_of(session)) {
            return self.send(Event::ClientAnswer { index, session, sent, answer: client::Answer::NotHeld(token) });
        }
        let delay = self.chance.between(1, 30);
        self.after(delay, Event::Confirmed { term, from: From::Client { index, session, sent }, lease, token });
    }

    /// A majority has said that whoever led when the renewal came still leads.
    pub fn confirmed(&mut self, term: u64, from: &From, lease: &'static str, token: Token) {
        let &From::Client { index, session, sent } = from else { return };
        let held = self.is_held(lease, token, &self.clients[index].holder_of(session));
        let Some(leader) = self.mesh.leader.as_mut().filter(|leader| leader.term == term) else { return };
        let key = (lease.parse().unwrap(), token);
        if leader.ending.contains(&key) || !held {
            return;
        }
        leader.seen.renewals.insert(key, leader.now(self.now));
        self.send(Event::ClientAnswer { index, session, sent, answer: client::Answer::Renewed(token) });
    }
}
