//! Any interleaving of what clients ask and what leaders decided, however long ago: nothing that must hold is
//! ever broken.
//!
//! Commands come from small pools, so that they meet. Decisions are computed on the state as it was up to
//! twelve entries before, and applied in part, out of order, or twice.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod rig;

use std::collections::{BTreeMap, BTreeSet};

use mainstay_core::command::CancelReason;
use mainstay_core::report::{Check, Report, Verdict};
use mainstay_core::state::attempt::Phase;
use mainstay_core::state::lease::{Holder, LeaseKind};
use mainstay_core::state::run::{Direction, Outcome};
use mainstay_core::time::Millis;
use mainstay_core::{
    Actor, AgentId, AttemptId, Command, LeaseName, LedgerId, MeshTime, Reply, RequestKey, RunId, Seen, State, StepName, Target, Token, bounds, codec,
    decide, plan,
};
use proptest::prelude::*;
use rig::{Rig, hello, holder, identity, lease, spec};

const AGENTS: [&str; 3] = ["c/n1", "c/n2", "c/n3"];
const LEDGERS: [&str; 2] = ["l1", "l2"];
const LEASES: [&str; 3] = ["demo", "pool", "node/c/n1"];
const CHANGE: &str = "\
apiVersion: mainstay.dev/v1alpha1
kind: MaintenancePlan
metadata: { name: change }
spec:
  steps:
    - { name: a, uses: node.exec, with: { command: [a] }, runOn: node, timeout: 20s, retry: { attempts: 2, backoff: 1s }, undo: { uses: node.exec, with: { command: [b] }, retry: { attempts: 2, backoff: 1s } } }
    - { name: b, uses: node.exec, with: { command: [b] }, needs: [a], timeout: 20s, undo: { uses: wait, with: { for: 1s } } }
    - { name: c, uses: wait, with: { for: 1s }, needs: [b], retry: { attempts: 3, backoff: 1s } }
";
const LOOK: &str = "\
apiVersion: mainstay.dev/v1alpha1
kind: MaintenancePlan
metadata: { name: look }
spec:
  steps:
    - { name: a, uses: node.resources, timeout: 10s, retry: { attempts: 2, backoff: 1s } }
    - { name: b, uses: node.exec, with: { command: [b] }, runOn: node, onUnknown: continue, retry: { attempts: 3, backoff: 1s } }
";

/// One thing that happens. Numbers choose from what there is when it happens.
#[derive(Debug, Clone)]
enum Event {
    Advance(u64),
    Connect {
        agent: usize,
        ledger: usize,
        less: bool,
    },
    Lose {
        agent: usize,
        back: u64,
    },
    Forget {
        agent: usize,
    },
    Apply {
        look: bool,
        comment: u8,
    },
    Start {
        look: bool,
    },
    Abort {
        run: usize,
    },
    Begin {
        attempt: usize,
        ledger: Option<usize>,
    },
    End {
        attempt: usize,
        ledger: Option<usize>,
        outcome: usize,
    },
    Acquire {
        lease: usize,
        holder: usize,
        wait: bool,
        takes_over: bool,
    },
    Release {
        lease: usize,
        holder: usize,
        token: Option<u64>,
    },
    FreeClaim {
        lease: usize,
        token: u64,
    },
    Renew {
        lease: usize,
    },
    Leader,
    /// What was decided `stale` entries ago: every command whose bit in `which` is set, the last one first when `reverse`.
    Decide {
        stale: usize,
        which: u32,
        reverse: bool,
    },
    /// A decision that nobody took: any attempt, any reason.
    Stray {
        attempt: usize,
        which: u8,
    },
}

fn event() -> impl Strategy<Value = Event> {
    let agent = 0..AGENTS.len();
    let ledger = proptest::option::weighted(0.2, 0..LEDGERS.len());
    prop_oneof![
        2 => (0..25_000u64).prop_map(Event::Advance),
        3 => (agent.clone(), 0..LEDGERS.len(), proptest::bool::weighted(0.1)).prop_map(|(agent, ledger, less)| Event::Connect { agent, ledger, less }),
        1 => (agent.clone(), 0..2u64).prop_map(|(agent, back)| Event::Lose { agent, back }),
        1 => agent.prop_map(|agent| Event::Forget { agent }),
        1 => (any::<bool>(), 0..3u8).prop_map(|(look, comment)| Event::Apply { look, comment }),
        2 => any::<bool>().prop_map(|look| Event::Start { look }),
        1 => (0..4usize).prop_map(|run| Event::Abort { run }),
        8 => (0..16usize, ledger.clone()).prop_map(|(attempt, ledger)| Event::Begin { attempt, ledger }),
        8 => (0..16usize, ledger, 0..8usize).prop_map(|(attempt, ledger, outcome)| Event::End { attempt, ledger, outcome }),
        4 => (0..LEASES.len(), 0..6usize, any::<bool>(), any::<bool>()).prop_map(|(lease, holder, wait, takes_over)| Event::Acquire { lease, holder, wait, takes_over }),
        2 => (0..LEASES.len(), 0..6usize, proptest::option::of(1..20u64)).prop_map(|(lease, holder, token)| Event::Release { lease, holder, token }),
        1 => (0..LEASES.len(), 1..20u64).prop_map(|(lease, token)| Event::FreeClaim { lease, token }),
        2 => (0..LEASES.len()).prop_map(|lease| Event::Renew { lease }),
        1 => Just(Event::Leader),
        14 => (prop_oneof![3 => Just(0usize), 2 => 0..12usize], any::<u32>(), proptest::bool::weighted(0.2)).prop_map(|(stale, which, reverse)| Event::Decide { stale, which, reverse }),
        1 => (0..16usize, 0..3u8).prop_map(|(attempt, which)| Event::Stray { attempt, which }),
    ]
}

/// One step of one run on one target, forward or back.
type Item = (RunId, StepName, Target, Direction);

/// What is kept beside the mesh, to check it against.
struct Witness {
    rig: Rig,
    /// The mesh as it was before each entry, the newest last.
    past: Vec<(State, Seen, MeshTime)>,
    /// Greatest token of each lease so far, and of all.
    tokens: BTreeMap<LeaseName, Token>,
    newest_token: Token,
    /// Who was granted what under which token.
    grants: BTreeMap<Token, (LeaseName, String)>,
    /// The last attempt that began, of what is not idempotent.
    begun: BTreeMap<Item, AttemptId>,
    unknown: BTreeSet<Item>,
    replies: BTreeMap<(Actor, RequestKey), (MeshTime, Reply)>,
}

impl Witness {
    fn new() -> Witness {
        let mut rig = Rig::new();
        rig.apply_plan(CHANGE);
        rig.apply_plan(LOOK);
        for agent in AGENTS {
            rig.connect(agent, "l1", &["node.exec", "node.resources", "wait"]);
        }
        Witness {
            rig,
            past: Vec::new(),
            tokens: BTreeMap::new(),
            newest_token: Token::default(),
            grants: BTreeMap::new(),
            begun: BTreeMap::new(),
            unknown: BTreeSet::new(),
            replies: BTreeMap::new(),
        }
    }

    fn apply(&mut self, by: Actor, key: Option<&str>, command: Command) -> Reply {
        self.past.push((self.rig.state.clone(), self.rig.seen.clone(), self.rig.now));
        let entry = self.rig.entry(by, key, command);
        let before = self.rig.state.clone();
        let reply = self.rig.apply(&entry);
        let bytes = codec::encode_state(&self.rig.state);
        assert_eq!(codec::decode_state(&bytes).unwrap(), self.rig.state, "a state survives its bytes");
        if let Command::BeginAttempt { attempt, ledger } | Command::EndAttempt { attempt, ledger, .. } = &entry.command
            && before.attempts.get(attempt).is_none_or(|attempt| attempt.ledger != *ledger)
        {
            assert!(matches!(reply, Reply::Stale(_)), "{} by {ledger}, which does not have it: {reply:?}", entry.command);
        }
        self.check_key(&entry, &reply);
        self.check_tokens();
        self.check_begins(&before);
        reply
    }

    fn check_key(&mut self, entry: &mainstay_core::Entry, reply: &Reply) {
        let Some(key) = &entry.key else { return };
        let at = self.rig.state.mesh_time;
        let kept = self.replies.entry((entry.by.clone(), key.clone())).or_insert_with(|| (at, reply.clone()));
        if at.since(kept.0) < bounds::REPLIES_FOR {
            assert_eq!(*reply, kept.1, "{}: the same key, the same reply", entry.command);
        } else {
            *kept = (at, reply.clone());
        }
    }

    fn check_tokens(&mut self) {
        let mut newest = self.newest_token;
        for (name, lease) in &self.rig.state.leases {
            for held in &lease.held {
                let owner = (name.clone(), held.holder.to_string());
                if let Some(first) = self.grants.get(&held.token) {
                    assert_eq!(*first, owner, "token {} is granted once", held.token);
                    continue;
                }
                assert!(held.token > self.newest_token, "token {} after {}", held.token, self.newest_token);
                assert!(self.tokens.get(name).is_none_or(|last| held.token > *last), "{name}: token {} goes back", held.token);
                self.tokens.insert(name.clone(), held.token);
                self.grants.insert(held.token, owner);
                newest = newest.max(held.token);
            }
        }
        self.newest_token = newest;
    }

    /// What is not idempotent is never begun again once its outcome is unknown, nor while it may still go on.
    fn check_begins(&mut self, before: &State) {
        for attempt in self.rig.state.attempts.values() {
            let run = &self.rig.state.runs[&attempt.run];
            let kind = run.kind_of(&attempt.step, attempt.direction).unwrap();
            if mainstay_core::catalogue::kind(kind).unwrap().idempotent {
                continue;
            }
            let item = (attempt.run.clone(), attempt.step.clone(), attempt.target.clone(), attempt.direction);
            if attempt.has_begun() && self.begun.get(&item) != Some(&attempt.id) {
                assert!(!self.unknown.contains(&item), "{item:?} is begun again after an unknown outcome");
                let earlier =
                    self.begun.insert(item.clone(), attempt.id).map(|earlier| before.attempts.get(&earlier).map(|earlier| earlier.phase.clone()));
                let may_be_begun_again = matches!(earlier, None | Some(Some(Phase::Ended(Outcome::Failed { .. }))));
                assert!(may_be_begun_again, "{item:?} is begun again, and the earlier attempt is {earlier:?}");
            }
            if matches!(attempt.phase, Phase::Ended(Outcome::Unknown { .. })) {
                self.unknown.insert(item);
            }
        }
    }

    fn agent(&self, index: usize) -> AgentId {
        AGENTS[index].parse().unwrap()
    }

    /// One of the newest attempts there were, gone ones included.
    fn attempt(&self, back: usize) -> Option<(AttemptId, LedgerId)> {
        let known: BTreeMap<AttemptId, LedgerId> = self
            .past
            .iter()
            .rev()
            .take(20)
            .flat_map(|(state, _, _)| state.attempts.values())
            .chain(self.rig.state.attempts.values())
            .map(|a| (a.id, a.ledger.clone()))
            .collect();
        let open = self.rig.state.attempts.values().filter(|attempt| attempt.is_open()).map(|attempt| (attempt.id, attempt.ledger.clone())).rev();
        open.chain(known.into_iter().rev()).nth(back)
    }

    fn happen(&mut self, event: &Event, number: usize) {
        let ana = Actor::Identity(identity("operator/ana"));
        let key = ["k1", "k2", "k3"].get(number % 7).copied();
        match *event {
            Event::Advance(by) => {
                self.rig.advance(Millis(by));
                if by % 3 > 0 {
                    self.rig.hear_all();
                }
            }
            Event::Connect { agent, ledger, less } => {
                let id = self.agent(agent);
                let kinds: &[&str] = if less { &["wait"] } else { &["node.exec", "node.resources", "wait"] };
                let reply = self.apply(Actor::Mesh, None, Command::ConnectAgent { agent: id.clone(), hello: hello(LEDGERS[ledger], kinds) });
                let Reply::Connected { epoch } = reply else { panic!("{reply:?}") };
                self.rig.seen.links.insert(id, mainstay_core::seen::SeenLink { epoch, last_heard: self.rig.now, closed: false });
            }
            Event::Lose { agent, back } => {
                let agent = self.agent(agent);
                let epoch = self.rig.state.agents.get(&agent).map_or(0, |agent| agent.epoch.saturating_sub(back));
                self.apply(Actor::Mesh, None, Command::LoseAgent { agent, epoch });
            }
            Event::Forget { agent } => {
                let agent = self.agent(agent);
                self.apply(ana, key, Command::ForgetAgent { agent });
            }
            Event::Apply { look, comment } => {
                let text = format!("# {comment}\n{}", if look { LOOK } else { CHANGE });
                let plan = Box::new(plan::parse(&text).unwrap());
                self.apply(ana, key, Command::ApplyPlan { plan, bundled: comment == 0 });
            }
            Event::Start { look } => {
                let plan = if look { "look" } else { "change" }.parse().unwrap();
                self.apply(ana, key, Command::start(plan));
            }
            Event::Abort { run } => {
                let Some(run) = self.rig.state.runs.keys().nth(run).cloned() else { return };
                self.apply(ana, key, Command::AbortRun { run, reason: "enough".into() });
            }
            Event::Begin { attempt, ledger } => {
                let Some((attempt, own)) = self.attempt(attempt) else { return };
                let ledger = ledger.map_or(own, |index| LedgerId(LEDGERS[index].into()));
                self.apply(Actor::Mesh, None, Command::BeginAttempt { attempt, ledger });
            }
            Event::End { attempt, ledger, outcome } => {
                let Some((attempt, own)) = self.attempt(attempt) else { return };
                let ledger = ledger.map_or(own, |index| LedgerId(LEDGERS[index].into()));
                self.apply(Actor::Mesh, None, Command::EndAttempt { attempt, ledger, outcome: outcome_number(outcome) });
            }
            Event::Acquire { lease: name, holder: index, wait, takes_over } => {
                let definition = [None, Some(spec(2, 20, LeaseKind::Ttl)), Some(spec(1, 20, LeaseKind::Claim))][name];
                let holder = Holder { takes_over, ..process(index) };
                self.apply(
                    Actor::Identity(holder.identity.clone()),
                    key,
                    Command::AcquireLease { name: lease(LEASES[name]), spec: definition, holder, wait },
                );
            }
            Event::Release { lease: name, holder: index, token } => {
                let holder = process(index);
                self.apply(
                    Actor::Identity(holder.identity.clone()),
                    key,
                    Command::ReleaseLease { name: lease(LEASES[name]), holder, token: token.map(rig::token) },
                );
            }
            Event::FreeClaim { lease: name, token } => {
                self.apply(ana, key, Command::FreeClaim { name: lease(LEASES[name]), token: rig::token(token), proof: "gone".into() });
            }
            Event::Renew { lease: name } => {
                for (_, token) in self.rig.held(LEASES[name]) {
                    self.rig.seen.renewals.insert(token, self.rig.now);
                }
            }
            Event::Leader => {
                let links = std::mem::take(&mut self.rig.seen.links);
                self.rig.change_leader();
                self.rig.seen.links = links;
            }
            Event::Decide { stale, which, reverse } => {
                let decision = match self.past.len().checked_sub(stale).filter(|_| stale > 0) {
                    Some(index) => decide(&self.past[index].0, &self.past[index].1, self.past[index].2),
                    None => self.rig.decide(),
                };
                let chosen = decision.commands.into_iter().enumerate().filter(|(i, _)| which & (1 << (i % 32)) != 0).map(|(_, command)| command);
                let mut chosen: Vec<Command> = chosen.collect();
                if reverse {
                    chosen.reverse();
                }
                for command in chosen {
                    self.apply(Actor::Mesh, None, command);
                }
            }
            Event::Stray { attempt, which } => {
                let Some((attempt, _)) = self.attempt(attempt) else { return };
                let reason = "a stray one".to_owned();
                let command = match which {
                    0 => Command::WithdrawAttempt { attempt, reason },
                    1 => Command::LoseAttempt { attempt, reason },
                    _ => Command::CancelAttempt { attempt, reason: CancelReason::TimedOut },
                };
                self.apply(Actor::Mesh, None, command);
            }
        }
    }
}

/// Three identities with two processes each.
fn process(index: usize) -> Holder {
    holder(["a", "b", "c"][index / 2], ["p1", "p2"][index % 2])
}

fn outcome_number(number: usize) -> Outcome {
    let report = |verdict| Report { checks: vec![Check::stated("disk.used", "/", verdict, "m")], ..Report::default() };
    match number {
        0..=2 => Outcome::Succeeded(report(Verdict::Ok)),
        3 => Outcome::Succeeded(report(Verdict::Critical)),
        4 => Outcome::Failed { message: "no".into(), report: Some(report(Verdict::Warning)) },
        5 => Outcome::Cancelled { message: "stopped".into() },
        6 => Outcome::TimedOut { message: "late".into() },
        _ => Outcome::Unknown { reason: "lost".into() },
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, max_shrink_time: 15_000, ..ProptestConfig::default() })]

    #[test]
    fn nothing_that_must_hold_is_broken(events in prop::collection::vec(event(), 1..120)) {
        let mut witness = Witness::new();
        for (number, event) in events.iter().enumerate() {
            witness.happen(event, number);
        }
    }
}
