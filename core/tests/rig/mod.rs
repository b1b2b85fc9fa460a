//! A mesh without any I/O: a state, what its leader has seen, and a clock that a test moves.
//!
//! Each applied entry is checked: every invariant holds after it, a second state that applies the same bytes
//! answers and becomes the same, and what was answered stale or refused has changed nothing that matters.
#![allow(dead_code)] // Each test binary uses its own part of it.

pub mod roots;

use mainstay_core::seen::SeenLink;
use mainstay_core::state::FEATURE_LEVEL;
use mainstay_core::state::agent::{Connection, Hello};
use mainstay_core::state::lease::{Holder, LeaseKind, LeaseSpec};
use mainstay_core::time::Millis;
use mainstay_core::{
    Actor, AgentId, Command, Decision, Entry, Identity, LeaseName, LedgerId, MeshTime, Reply, RequestKey, RunId, Seen, State, Token, WallTime,
    almanac, codec, decide, evaluate, invariant, plan,
};

/// Wall time at mesh time 0: 2026-11-23 20:00 UTC.
const WALL: i64 = 1_795_464_000_000;

pub struct Rig {
    pub state: State,
    pub seen: Seen,
    pub now: MeshTime,
    /// Every how many entries all is checked that must hold of each: a large state takes its time.
    pub check_every: u64,
    /// All that was applied and what came of it, where that is to be kept.
    pub record: Option<Vec<(Entry, Reply)>>,
}

impl Rig {
    /// A mesh that has been formed.
    pub fn new() -> Rig {
        let mut rig = Rig {
            state: State::default(),
            seen: Seen::default(),
            now: MeshTime(1_000),
            check_every: 1,
            record: std::env::var_os("KEEP").map(|_| Vec::new()),
        };
        assert_eq!(rig.mesh(Command::FormMesh { mesh: "test".parse().unwrap(), incarnation: 1 }), Reply::Done);
        assert_eq!(rig.mesh(Command::RaiseFeatureLevel { level: FEATURE_LEVEL }), Reply::Done);
        rig
    }

    pub fn entry(&self, by: Actor, key: Option<&str>, command: Command) -> Entry {
        Entry { at: self.now, wall: WallTime(WALL + self.now.0 as i64), by, key: key.map(|key| RequestKey(key.into())), command }
    }

    /// A command of the leader's own.
    pub fn mesh(&mut self, command: Command) -> Reply {
        let entry = self.entry(Actor::Mesh, None, command);
        self.apply(&entry)
    }

    /// A command of an operator's.
    pub fn operator(&mut self, command: Command) -> Reply {
        let entry = self.entry(Actor::Identity(identity("operator/ana")), None, command);
        self.apply(&entry)
    }

    pub fn apply(&mut self, entry: &Entry) -> Reply {
        let reply =
            if self.state.generation.is_multiple_of(self.check_every) { apply_checked(&mut self.state, entry) } else { self.state.apply(entry) };
        if let Some(record) = &mut self.record {
            record.push((entry.clone(), reply.clone()));
        }
        reply
    }

    pub fn advance(&mut self, by: Millis) {
        self.now = self.now + by;
    }

    /// Decides and applies until nothing more is decided; what was decided, in order.
    pub fn settle(&mut self) -> Vec<Command> {
        let mut all = Vec::new();
        for _ in 0..1_000 {
            let Decision { mut commands, evaluate, .. } = self.decide();
            // What the leader evaluates beside its decisions comes back as commands.
            commands.extend(evaluate.iter().filter_map(|evaluation| evaluate::evaluate(&self.state, evaluation)));
            if commands.is_empty() {
                return all;
            }
            for command in &commands {
                let reply = self.mesh(command.clone());
                assert!(!matches!(reply, Reply::Refused(_)), "{command}: {reply:?}");
            }
            all.extend(commands);
        }
        panic!("decisions without end: {:?}", all.last());
    }

    /// Decides with what the wall clock says now.
    pub fn decide(&self) -> Decision {
        let wall = WallTime(WALL + self.now.0 as i64);
        let seen = Seen { wall, calendar: almanac::openings(&self.state, wall), due: almanac::due(&self.state, wall), ..self.seen.clone() };
        decide(&self.state, &seen, self.now)
    }

    /// Another member leads, which has seen nothing.
    pub fn change_leader(&mut self) {
        self.seen = Seen { leading_since: self.now, ..Seen::default() };
    }

    pub fn connect(&mut self, agent: &str, ledger: &str, kinds: &[&str]) {
        self.connect_with(agent, ledger, kinds, &[]);
    }

    /// With connections, each a name and a kind.
    pub fn connect_with(&mut self, agent: &str, ledger: &str, kinds: &[&str], connections: &[(&str, &str)]) {
        let agent: AgentId = agent.parse().unwrap();
        let connections = connections.iter().map(|(name, kind)| Connection { name: name.parse().unwrap(), kind: (*kind).to_owned() }).collect();
        let hello = Hello { connections, ..hello(ledger, kinds) };
        let Reply::Connected { epoch } = self.mesh(Command::ConnectAgent { agent: agent.clone(), hello }) else { panic!("not connected") };
        self.seen.links.insert(agent, SeenLink { epoch, last_heard: self.now, closed: false });
    }

    /// Every linked agent has just been heard of.
    pub fn hear_all(&mut self) {
        let now = self.now;
        let links =
            self.seen.links.iter().map(|(agent, link)| (agent.clone(), if link.closed { *link } else { SeenLink { last_heard: now, ..*link } }));
        self.seen.links = links.collect();
    }

    pub fn apply_plan(&mut self, text: &str) {
        let plan = Box::new(plan::parse(text).unwrap_or_else(|error| panic!("{error}")));
        assert!(matches!(self.operator(Command::ApplyPlan { plan, bundled: false }), Reply::Applied { .. }));
    }

    pub fn start(&mut self, plan: &str) -> RunId {
        self.start_with(plan, Default::default())
    }

    pub fn start_with(&mut self, plan: &str, inputs: std::collections::BTreeMap<String, serde_json::Value>) -> RunId {
        let reply = self.try_start(plan, inputs);
        let Reply::Started(run) = reply else { panic!("{reply:?}") };
        run
    }

    /// As the API does: connections that are named by an expression are filled in first.
    pub fn try_start(&mut self, plan: &str, inputs: std::collections::BTreeMap<String, serde_json::Value>) -> Reply {
        let plan: mainstay_core::PlanName = plan.parse().unwrap();
        let chosen = self.state.plans.get(&plan).and_then(|history| history.current()).map(|(_, revision)| revision.plan.clone());
        let all = chosen.as_ref().and_then(|chosen| plan::input::resolve(&chosen.inputs, &inputs).ok()).unwrap_or_default();
        let connections = chosen.map(|chosen| evaluate::connections(&chosen, &all).unwrap()).unwrap_or_default();
        self.operator(Command::StartRun { plan, revision: None, inputs, connections, without_calendar: None, object: None })
    }

    /// A command of somebody's.
    pub fn by(&mut self, who: &str, command: Command) -> Reply {
        let entry = self.entry(Actor::Identity(identity(who)), None, command);
        self.apply(&entry)
    }

    pub fn acquire(&mut self, name: &str, holder: &Holder, wait: bool) -> Reply {
        self.mesh(Command::AcquireLease { name: lease(name), spec: None, holder: holder.clone(), wait })
    }

    /// As acquire, of a lease that is defined by it.
    pub fn define(&mut self, name: &str, spec: LeaseSpec, holder: &Holder) -> Reply {
        self.mesh(Command::AcquireLease { name: lease(name), spec: Some(spec), holder: holder.clone(), wait: true })
    }

    /// Who holds the lease, under which tokens, in the order of the grants.
    pub fn held(&self, name: &str) -> Vec<(String, Token)> {
        self.state
            .leases
            .get(&lease(name))
            .map_or_else(Vec::new, |lease| lease.held.iter().map(|held| (held.holder.to_string(), held.token)).collect())
    }

    pub fn waiting(&self, name: &str) -> Vec<String> {
        self.state.leases.get(&lease(name)).map_or_else(Vec::new, |lease| lease.waiting.iter().map(|waiter| waiter.holder.to_string()).collect())
    }
}

/// Applies an entry as a member does, from its bytes, and checks all that must hold of every entry.
pub fn apply_checked(state: &mut State, entry: &Entry) -> Reply {
    let entry = codec::decode_entry(&codec::encode_entry(entry)).unwrap();
    let before = state.clone();
    let reply = state.apply(&entry);
    assert_eq!(invariant::broken(state), [], "after {}: {reply:?}", entry.command);
    let mut other = before.clone();
    assert_eq!(other.apply(&entry), reply, "the same entry on the same state");
    assert_eq!(codec::encode_state(&other), codec::encode_state(state), "after {}", entry.command);
    if matches!(reply, Reply::Stale(_)) {
        let mut expected = before;
        (expected.generation, expected.mesh_time, expected.wall_time) = (state.generation, state.mesh_time, state.wall_time);
        if entry.key.is_none() {
            assert_eq!(&expected, state, "stale, and yet it changed something: {}", entry.command);
        }
    }
    reply
}

pub fn identity(text: &str) -> Identity {
    text.parse().unwrap()
}

pub fn lease(text: &str) -> LeaseName {
    text.parse().unwrap()
}

pub fn token(counter: u64) -> Token {
    format!("1.{counter}").parse().unwrap()
}

/// Process `incarnation` of client `name`.
pub fn holder(name: &str, incarnation: &str) -> Holder {
    Holder { identity: identity(&format!("client/{name}")), incarnation: incarnation.into(), attributes: Default::default(), takes_over: false }
}

pub fn spec(slots: u32, ttl_secs: u64, kind: LeaseKind) -> LeaseSpec {
    LeaseSpec { slots, ttl: Millis::from_secs(ttl_secs), kind }
}

pub fn hello(ledger: &str, kinds: &[&str]) -> Hello {
    Hello {
        ledger: LedgerId(ledger.into()),
        incarnation: format!("{ledger}-process"),
        version: "0.1.0".into(),
        feature_level: 1,
        host: true,
        kinds: kinds.iter().map(|kind| (*kind).to_owned()).collect(),
        boot_id: String::new(),
        connections: Vec::new(),
    }
}
