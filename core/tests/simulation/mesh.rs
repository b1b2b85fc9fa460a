//! The log, who leads, and the members that apply it.
//!
//! There is one committed log. What a leader proposed and had not committed when it went is committed by the
//! next one before its own first entry, or never. A member that was deposed and does not know it goes on: what
//! it proposes is never committed, what it says to agents is out of date, and nobody confirms that it leads.

use std::collections::{BTreeMap, BTreeSet};

use mainstay_core::state::FEATURE_LEVEL;
use mainstay_core::state::enrolment::OperatorRole;
use mainstay_core::state::member::Member;
use mainstay_core::wait::Reason;
use mainstay_core::{Actor, Command, Entry, MemberId, Reply, RequestKey, State, bounds, codec};

use crate::agent;
use crate::chance::Chance;
use crate::clock::{Monotonic, Wall};
use crate::invariants::{Applied, Deed};
use crate::leader::{Leader, Proposal};
use crate::network::{Place, Way};
use crate::plans;
use crate::world::{Event, From, World};

/// Machines of members.
const MEMBERS: u64 = 3;
/// Longest time that a process stands still without another member being elected.
const ELECTION: u64 = 1_500;

/// A member's machine.
#[derive(Debug)]
pub struct Machine {
    pub monotonic: Monotonic,
    pub wall: Wall,
}

pub struct Mesh {
    /// What the committed log comes to.
    pub state: State,
    pub log: Vec<Entry>,
    /// Of requests that were applied.
    keys: BTreeSet<RequestKey>,
    /// A member that applies the log in lumps, as it comes out of the store, and is restarted from snapshots.
    pub follower: State,
    followed: usize,
    pub leader: Option<Leader>,
    /// A state that somebody still takes for the newest, and until when it is asked instead of the leader.
    former: Option<(State, u64)>,
    pub term: u64,
    pub pending: BTreeMap<u64, Proposal>,
    pub number: u64,
    /// When the newest proposal is committed.
    pub committed_at: u64,
    pub machines: Vec<Machine>,
    /// Weight that is added to the state before an entry, so that it is full: by the entry's place in the log.
    weights: Vec<(usize, i64)>,
}

impl Mesh {
    pub fn new(chance: &mut Chance) -> Mesh {
        let machines = (0..MEMBERS).map(|_| Machine { monotonic: Monotonic::draw(chance), wall: Wall::draw(chance) }).collect();
        Mesh {
            state: State::default(),
            log: Vec::new(),
            keys: BTreeSet::new(),
            follower: State::default(),
            followed: 0,
            leader: None,
            former: None,
            term: 0,
            pending: BTreeMap::new(),
            number: 0,
            committed_at: 0,
            machines,
            weights: Vec::new(),
        }
    }

    /// Weight that the simulation has added.
    pub fn ballast(&self) -> u64 {
        self.weights.iter().map(|(_, weight)| weight).sum::<i64>() as u64
    }

    /// Whether every run has ended or waits for the calendar alone.
    pub fn nothing_moves(&self) -> bool {
        let Some(leader) = &self.leader else { return false };
        self.pending.is_empty()
            && self.state.runs.values().all(|run| {
                let mut waits = leader.waits.of_run(&run.id).peekable();
                run.is_ended() || (waits.peek().is_some() && waits.all(|wait| matches!(wait.reason, Reason::Gate { .. } | Reason::NeedsStep { .. })))
            })
    }

    fn weigh(state: &mut State, weights: &[(usize, i64)], index: usize) {
        for (_, weight) in weights.iter().filter(|(at, _)| *at == index) {
            state.weight = state.weight.saturating_add_signed(*weight);
        }
    }

    /// The follower applies what has been committed, from its bytes.
    fn follow(&mut self) {
        for (index, entry) in self.log.iter().enumerate().skip(self.followed) {
            Mesh::weigh(&mut self.follower, &self.weights, index);
            self.follower.apply(&codec::decode_entry(&codec::encode_entry(entry)).unwrap());
        }
        self.followed = self.log.len();
    }

    /// The follower's process is another one, which has a snapshot.
    fn restart_follower(&mut self) {
        self.follower = codec::decode_state(&codec::encode_state(&self.follower)).unwrap();
    }
}

impl World {
    pub fn elect(&mut self) {
        if self.mesh.leader.is_some() {
            return;
        }
        self.mesh.term += 1;
        self.trace.line(self.now, || format!("!   term {} begins", self.mesh.term));
        // Each open proposal is in the new leader's log, or it is not.
        for (_, proposal) in std::mem::take(&mut self.mesh.pending) {
            if self.chance.percent(45) {
                self.apply(&proposal.entry);
            } else if proposal.may_come_late() && self.chance.percent(50) {
                let delay = self.chance.between(1, 9_000);
                self.after(delay, Event::Late(Box::new(proposal)));
            }
        }
        let machine = self.chance.place(self.mesh.machines.len());
        let monotonic = self.mesh.machines[machine].monotonic.at(self.now);
        self.mesh.leader = Some(Leader::new(self.mesh.term, machine, monotonic, self.mesh.state.mesh_time));
        if self.mesh.log.is_empty() {
            self.found();
        }
        let entry = self.entry(Actor::Mesh, None, Command::RecordDigest { index: self.mesh.log.len() as u64, digest: [0; 32] });
        self.apply(&entry);
        self.follow();
        self.decide_in(1);
        self.fault_later(self.setting.faults.leaders, Event::LeaderFault, 12_000);
    }

    /// Another member catches up; sometimes it is a new process, which has a snapshot.
    pub fn follow(&mut self) {
        self.mesh.follow();
        if self.chance.percent(30) {
            self.mesh.restart_follower();
        }
        self.did(Deed::Followed);
    }

    fn found(&mut self) {
        let form = Command::FormMesh { mesh: "sim".parse().unwrap(), incarnation: 1 };
        let level = |id| if id == MEMBERS && self.setting.older_until.is_some() { 1 } else { FEATURE_LEVEL };
        let members =
            (1..=MEMBERS).map(|id| Command::PutMember { member: Member { id: MemberId(id), feature_level: level(id), ..Member::default() } });
        let operators = ["ana", "bo"].map(|name| Command::PutOperator { name: name.parse().unwrap(), role: OperatorRole::Admin });
        let mut kinds = self.setting.runs.clone();
        kinds.sort_unstable();
        kinds.dedup();
        let plans = kinds.into_iter().map(|kind| Command::ApplyPlan { plan: Box::new(plans::ALL[kind].clone()), bundled: true });
        for command in std::iter::once(form).chain(members).chain(operators).chain(plans).collect::<Vec<_>>() {
            let entry = self.entry(Actor::Mesh, None, command);
            self.apply(&entry);
        }
        if let Some(room) = self.setting.room {
            let weight = bounds::STATE_BYTES as i64 - self.mesh.state.weight as i64 - room as i64;
            self.mesh.weights.push((self.mesh.log.len(), weight));
        }
    }

    pub fn leader_fault(&mut self) {
        let Some(leader) = &mut self.mesh.leader else { return };
        let kind = self.chance.place(3);
        if kind == 0 {
            leader.paused_until = self.now + self.chance.between(100, ELECTION);
            self.trace.line(self.now, || "!   the leader stands still for a moment".to_owned());
            return self.fault_later(true, Event::LeaderFault, 12_000);
        }
        self.trace.line(self.now, || format!("!   the leader {}", if kind == 1 { "dies" } else { "is cut off and does not know it" }));
        self.mesh.leader = None;
        if kind == 2 {
            self.mesh.former = Some((self.mesh.state.clone(), self.now + self.chance.between(1_000, 15_000)));
        }
        let gap = self.chance.between(100, 4_000);
        self.after(gap, Event::Elect);
    }

    /// Whether a message goes to somebody who leads no more and does not know it.
    pub fn is_in_vain(&mut self) -> bool {
        let is_there = !self.calm() && self.mesh.former.as_ref().is_some_and(|(_, until)| *until > self.now);
        is_there && self.chance.percent(30)
    }

    /// A deposed leader, or a follower that lags, says what it takes for wanted.
    pub fn old_desired(&mut self) {
        if let Some((state, _)) = &self.mesh.former {
            let desired: Vec<_> = (0..self.agents.len()).map(|index| (index, Box::new(state.desired(&agent::id(index))))).collect();
            for (index, desired) in desired {
                self.send(Way::FromMesh(Place::Agent(index)), Event::Desired { index, desired });
            }
        }
        if self.chance.percent(40) {
            let until = self.mesh.former.as_ref().map_or(0, |(_, until)| *until);
            self.mesh.former = Some((self.mesh.state.clone(), until));
        }
        self.fault_later(true, Event::OldDesired, 8_000);
    }

    pub fn clock_jump(&mut self) {
        let machine = self.chance.place(self.mesh.machines.len());
        self.mesh.machines[machine].wall.jump(&mut self.chance);
        self.trace.line(self.now, || format!("!   the wall clock of machine {machine} is set: {:?}", self.mesh.machines[machine].wall));
        if self.chance.percent(60) {
            self.leader_fault();
        }
        self.fault_later(true, Event::ClockJump, 10_000);
    }

    /// A member leaves, another one comes.
    pub fn members_change(&mut self) {
        let id = MemberId(self.chance.between(1, 8));
        let command = if self.mesh.state.members.contains_key(&id) {
            Command::RemoveMember { id }
        } else {
            Command::PutMember { member: Member { id, feature_level: FEATURE_LEVEL, ..Member::default() } }
        };
        if self.mesh.leader.is_some() && (self.mesh.state.members.len() > 1 || matches!(command, Command::PutMember { .. })) {
            self.propose(From::Member, None, command);
        }
        self.fault_later(true, Event::MembersChange, 10_000);
    }

    pub fn upgraded(&mut self) {
        let older = self.mesh.state.members.values().find(|member| member.feature_level < FEATURE_LEVEL).cloned();
        let Some(member) = older else { return };
        if self.mesh.leader.is_some() {
            self.propose(From::Member, None, Command::PutMember { member: Member { feature_level: FEATURE_LEVEL, ..member } });
        }
        // Until it is there.
        self.after(2_000, Event::Upgraded);
    }

    /// Somebody makes room, the clocks are set right, and whoever was deposed knows it.
    pub fn calm_begins(&mut self) {
        let ballast = self.mesh.ballast();
        if ballast > 0 {
            self.mesh.weights.push((self.mesh.log.len(), -(ballast as i64)));
        }
        for machine in &mut self.mesh.machines {
            machine.wall.set_right();
        }
        self.mesh.former = None;
    }

    pub fn entry(&self, by: Actor, key: Option<String>, command: Command) -> Entry {
        let leader = self.mesh.leader.as_ref().unwrap();
        let machine = &self.mesh.machines[leader.machine];
        Entry { at: leader.now(machine.monotonic.at(self.now)), wall: machine.wall.at(self.now), by, key: key.map(RequestKey), command }
    }

    pub fn apply(&mut self, entry: &Entry) -> Reply {
        let index = self.mesh.log.len();
        let before = self.mesh.state.clone();
        Mesh::weigh(&mut self.mesh.state, &self.mesh.weights, index);
        let reply = self.mesh.state.apply(entry);
        let is_repeated = entry.key.as_ref().is_some_and(|key| !self.mesh.keys.insert(key.clone()));
        self.trace.line(self.now, || format!("{index:>4} {} by {}: {reply:?}", entry.command, entry.by));
        self.mesh.log.push(entry.clone());
        let after = self.mesh.state.clone();
        self.applied(&Applied { entry, reply: &reply, is_repeated, before: &before, after: &after, ballast: self.mesh.ballast() });
        reply
    }
}
