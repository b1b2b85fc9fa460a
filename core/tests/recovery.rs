//! A mesh that is begun again from a snapshot: what may have begun is not begun again, what anybody may
//! believe in is not given away, and tokens go on growing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod rig;

use mainstay_core::state::agent::Link;
use mainstay_core::state::attempt::Phase;
use mainstay_core::state::enrolment::{JoinGrant, JoinScope, TokenId};
use mainstay_core::state::lease::LeaseKind;
use mainstay_core::state::member::Member;
use mainstay_core::state::recovery::{Account, Recovery};
use mainstay_core::state::run::{Direction, Outcome, WorkState};
use mainstay_core::time::Millis;
use mainstay_core::wait::Reason;
use mainstay_core::{AttemptId, Command, Identity, LedgerId, MemberId, Reply, RunId, Target, WallTime, codec, invariant};
use rig::{Rig, holder, identity, spec};

const PLAN: &str = "\
apiVersion: mainstay.dev/v1alpha1
kind: MaintenancePlan
metadata: { name: p }
spec:
  steps:
    - { name: exec, uses: node.exec, with: { command: [a] }, runOn: node, timeout: 10s, undo: { uses: node.exec, with: { command: [b] } } }
    - { name: look, uses: node.resources, runOn: node, timeout: 10s, retry: { attempts: 2 } }
    - { name: later, needs: [exec], uses: node.exec, with: { command: [c] }, runOn: once, timeout: 10s }
    - { name: last, needs: [look], uses: wait, with: { for: 1s }, runOn: once, timeout: 10s }
";

const NEW: MemberId = MemberId(0x99);

/// A run of which `exec` has begun on one node and is offered on the other, `look` too, and the rest waits.
fn running() -> Rig {
    let mut rig = Rig::new();
    for node in ["c/n", "c/m"] {
        rig.connect(node, &format!("ledger-{node}"), &["node.exec", "node.resources"]);
    }
    rig.apply_plan(PLAN);
    rig.start("p");
    assert_eq!(rig.settle().len(), 4);
    let begun = rig.state.attempts.values().find(|attempt| attempt.step.as_str() == "exec" && attempt.agent.to_string() == "c/n").unwrap();
    let (attempt, ledger) = (begun.id, begun.ledger.clone());
    assert_eq!(rig.mesh(Command::BeginAttempt { attempt, ledger }), Reply::Done);
    rig
}

/// Another leader, of a mesh that was begun again at `incarnation`.
fn recover(rig: &mut Rig, incarnation: u64) -> Account {
    let recovery = Recovery { incarnation, wall: WallTime(9_000), taken: WallTime(8_000), member: NEW };
    let account = rig.state.recover(&recovery).unwrap();
    assert_eq!(invariant::broken(&rig.state), []);
    rig.state = codec::decode_state(&codec::encode_state(&rig.state)).unwrap();
    rig.change_leader();
    account
}

/// The agents have found the recovered mesh.
fn come_back(rig: &mut Rig) {
    rig.advance(Millis::from_secs(60));
    for node in ["c/n", "c/m"] {
        rig.connect(node, &format!("ledger-{node}"), &["node.exec", "node.resources"]);
    }
}

fn open(rig: &Rig) -> Vec<(AttemptId, LedgerId)> {
    rig.state.attempts.values().filter(|attempt| attempt.is_open()).map(|attempt| (attempt.id, attempt.ledger.clone())).collect()
}

fn run(rig: &Rig) -> &mainstay_core::state::run::Run {
    &rig.state.runs[&"p-1".parse::<RunId>().unwrap()]
}

fn state_of(rig: &Rig, step: &str, target: &str) -> WorkState {
    run(rig).work(&step.parse().unwrap(), &target.parse::<Target>().unwrap()).unwrap().state(Direction::Do).clone()
}

#[test]
fn what_may_have_begun_is_unknown_and_a_run_that_does_something_goes_on_by_a_persons_word() {
    let mut rig = running();
    let account = recover(&mut rig, 7);
    assert_eq!(
        (account.runs_open.as_slice(), account.runs_paused.as_slice()),
        (["p-1".parse().unwrap()].as_slice(), ["p-1".parse().unwrap()].as_slice())
    );
    for node in ["c/n", "c/m"] {
        assert!(matches!(state_of(&rig, "exec", node), WorkState::Unknown { .. }), "begun or offered on {node}: {:?}", state_of(&rig, "exec", node));
    }
    let again: Vec<(String, bool)> = account.attempts.iter().map(|attempt| (attempt.step.to_string(), attempt.again)).collect();
    assert_eq!(again.iter().filter(|(step, again)| step == "exec" && !again).count(), 2);
    assert_eq!(again.iter().filter(|(step, again)| step == "look" && *again).count(), 2, "the plan lets it be tried twice");
    for attempt in &account.attempts {
        assert!(matches!(rig.state.attempts[&attempt.id].phase, Phase::Ended(Outcome::Unknown { .. })));
    }
    assert!(rig.state.open_attempts.is_empty());

    // The agents come back, and nothing of it is begun, however long it takes.
    come_back(&mut rig);
    let decided = rig.settle();
    assert!(!decided.iter().any(|command| matches!(command, Command::OfferAttempt { .. })), "{decided:?}");
    assert!(!run(&rig).is_ended());
    let waits = rig.decide().waits.waits;
    assert!(waits.iter().all(|wait| matches!(wait.reason, Reason::Paused { .. } | Reason::NeedsStep { .. })) && !waits.is_empty(), "{waits:?}");

    // Somebody has looked.
    assert_eq!(rig.operator(Command::ResumeRun { run: "p-1".parse().unwrap() }), Reply::Done);
    let decided = rig.settle();
    let offered: Vec<&str> =
        decided.iter().filter_map(|command| if let Command::OfferAttempt { step, .. } = command { Some(step.as_str()) } else { None }).collect();
    assert_eq!(offered, ["look", "look"], "what is unknown is not begun again, and what needs it is not done");
    assert!(
        rig.state.open_attempts.values().flatten().all(|attempt| attempt.0.incarnation == 7),
        "attempts of the recovered mesh have numbers of their own"
    );
}

#[test]
fn a_run_that_only_looks_goes_on_by_itself() {
    let mut rig = Rig::new();
    rig.connect("c/n", "l", &["node.resources"]);
    rig.apply_plan(
        "\
apiVersion: mainstay.dev/v1alpha1
kind: MaintenancePlan
metadata: { name: p }
spec:
  steps: [{ name: look, uses: node.resources, runOn: node, retry: { attempts: 2 } }]
",
    );
    rig.start("p");
    assert_eq!(rig.settle().len(), 1);
    let account = recover(&mut rig, 7);
    assert_eq!((account.runs_open.len(), account.runs_paused.len(), account.attempts.len()), (1, 0, 1));
    rig.advance(Millis::from_secs(60));
    rig.connect("c/n", "l", &["node.resources"]);
    assert!(rig.settle().iter().any(|command| matches!(command, Command::OfferAttempt { .. })));
}

#[test]
fn instants_that_have_passed_start_nothing() {
    let mut rig = running();
    recover(&mut rig, 7);
    assert!(rig.state.plans.values().all(|history| history.counts_from == WallTime(9_000)));
}

#[test]
fn an_agent_that_reports_what_the_old_mesh_gave_it_changes_nothing() {
    let mut rig = running();
    let before = rig.state.attempts.values().next().unwrap().clone();
    recover(&mut rig, 7);
    let late = Command::EndAttempt { attempt: before.id, ledger: before.ledger, outcome: Outcome::Failed { message: "no".into(), report: None } };
    let given_up = rig.state.runs.clone();
    assert_eq!(rig.mesh(late), Reply::Done, "how it ended is kept for whoever asks");
    assert_eq!(rig.state.attempts[&before.id].since.as_ref().map(|since| since.outcome.summary()), Some("no".to_owned()));
    assert_eq!(rig.state.runs, given_up);
    let unheard = Command::BeginAttempt { attempt: "1.99".parse().unwrap(), ledger: LedgerId("ledger-c/n".into()) };
    assert!(matches!(rig.mesh(unheard), Reply::Stale(_)), "one that was offered after the snapshot");
}

#[test]
fn taking_back_waits_for_a_person_too() {
    let mut rig = running();
    let attempts: Vec<_> = rig.state.attempts.values().filter(|attempt| attempt.step.as_str() == "exec").cloned().collect();
    for attempt in attempts {
        let (id, ledger) = (attempt.id, attempt.ledger);
        rig.mesh(Command::BeginAttempt { attempt: id, ledger: ledger.clone() });
        rig.mesh(Command::EndAttempt { attempt: id, ledger, outcome: Outcome::Succeeded(Default::default()) });
    }
    rig.operator(Command::AbortRun { run: "p-1".parse().unwrap(), reason: "stop".into() });
    for (id, ledger) in open(&rig) {
        rig.mesh(Command::EndAttempt { attempt: id, ledger, outcome: Outcome::Cancelled { message: "stopped".into() } });
    }
    let mut before = Rig { state: rig.state.clone(), seen: rig.seen.clone(), record: None, ..rig };

    // Just before it is taken back.
    recover(&mut before, 2);
    come_back(&mut before);
    assert_eq!(before.settle(), [Command::EndGuard]);
    assert!(matches!(before.decide().waits.waits[0].reason, Reason::Paused { .. }));
    before.operator(Command::ResumeRun { run: "p-1".parse().unwrap() });
    assert!(before.settle().iter().any(|command| matches!(command, Command::BeginUndo { .. })));

    // While it is taken back.
    assert!(rig.settle().iter().any(|command| matches!(command, Command::BeginUndo { .. })));
    let account = recover(&mut rig, 2);
    assert_eq!(account.attempts.iter().map(|attempt| attempt.direction).collect::<Vec<_>>(), [Direction::Undo, Direction::Undo]);
    come_back(&mut rig);
    rig.settle();
    assert!(rig.state.open_attempts.is_empty());
    rig.operator(Command::ResumeRun { run: "p-1".parse().unwrap() });
    rig.settle();
    assert!(run(&rig).end().unwrap().to_string().ends_with("undo incomplete"), "the first undo is unknown: {:?}", run(&rig).phase);
}

#[test]
fn a_lease_is_nobodys_until_nobody_can_believe_in_it_and_then_has_a_greater_token() {
    let mut rig = Rig::new();
    rig.define("deploy", spec(2, 30, LeaseKind::Ttl), &holder("a", "1"));
    rig.acquire("deploy", &holder("b", "1"), true);
    rig.acquire("deploy", &holder("c", "1"), true);
    let before = rig.held("deploy").into_iter().map(|(_, token)| token).max().unwrap();
    let account = recover(&mut rig, 5);
    assert_eq!((account.leases.len(), account.longest_ttl_ms), (1, 30_000));
    assert!(rig.held("deploy").iter().all(|(holder, token)| holder.starts_with("coordinator/") && *token > before), "{:?}", rig.held("deploy"));
    assert_eq!(rig.waiting("deploy"), Vec::<String>::new());

    assert!(matches!(rig.acquire("deploy", &holder("d", "1"), true), Reply::Queued { .. }));
    rig.advance(Millis::from_secs(29));
    rig.seen.waiters.insert((rig::lease("deploy"), identity("client/d"), "1".into()), rig.now);
    assert_eq!(rig.settle(), []);
    rig.advance(Millis::from_secs(1));
    assert_eq!(rig.settle().len(), 3, "both slots end, and what is not known is guarded no longer");
    let held = rig.held("deploy");
    assert!(held.len() == 1 && held[0].0.starts_with("client/d"), "{held:?}");
    assert!(held[0].1 > before);
}

#[test]
fn a_lease_that_is_not_known_is_nobodys_for_the_longest_ttl_that_is() {
    let mut rig = Rig::new();
    rig.define("deploy", spec(1, 40, LeaseKind::Ttl), &holder("a", "1"));
    rig.define("node/c/n", spec(1, 3_600, LeaseKind::Claim), &holder("a", "1"));
    let before = rig.held("deploy")[0].1;
    let account = recover(&mut rig, 5);
    assert_eq!(account.unknown_leases_ms, 40_000, "a claim does not end by time, and does not count");

    // Whoever asks stands in the queue, or is told who is before it, also where there are slots enough.
    let known_by = |rig: &Rig, name: &str| rig.held(name).into_iter().map(|(holder, _)| holder).collect::<Vec<_>>();
    assert!(matches!(rig.define("new", spec(3, 2, LeaseKind::Ttl), &holder("b", "1")), Reply::Queued { place: 1 }));
    assert!(matches!(rig.acquire("new", &holder("c", "1"), true), Reply::Queued { place: 2 }));
    assert!(matches!(rig.acquire("claim", &holder("d", "1"), false), Reply::Held { .. }));
    assert!(known_by(&rig, "new")[0].starts_with("coordinator/") && known_by(&rig, "new").len() == 1);
    assert_eq!(invariant::broken(&rig.state), []);

    // Not its own TTL counts, nor a waiter that goes, nor a leader's change.
    for _ in 0..3 {
        rig.advance(Millis::from_secs(13));
        rig.seen.waiters.insert((rig::lease("new"), identity("client/b"), "1".into()), rig.now);
        rig.settle();
    }
    assert_eq!(rig.waiting("new").len(), 1, "one has not been heard of");
    assert!(rig.state.guard.is_some());
    rig.change_leader();
    rig.advance(Millis::from_secs(39));
    rig.seen.waiters.insert((rig::lease("new"), identity("client/b"), "1".into()), rig.now);
    assert!(!rig.settle().contains(&Command::EndGuard), "counted from the first moment of this leader");
    rig.advance(Millis::from_secs(1));
    assert!(rig.settle().contains(&Command::EndGuard));
    let held = rig.held("new");
    assert!(held.len() == 1 && held[0].0.starts_with("client/b") && held[0].1 > before, "{held:?}");
    assert!(rig.held("claim").is_empty());
    assert!(matches!(rig.acquire("newer", &holder("d", "1"), false), Reply::Granted(_)));
    assert!(matches!(rig.mesh(Command::EndGuard), Reply::Stale(_)), "once");
    assert_eq!(invariant::broken(&rig.state), []);
}

#[test]
fn unknown_leases_are_guarded_within_bounds_and_only_where_all_members_know_of_it() {
    for (ttl, lasts) in [(2, 30_000), (86_400, 600_000)] {
        let mut rig = Rig::new();
        rig.define("deploy", spec(1, ttl, LeaseKind::Ttl), &holder("a", "1"));
        assert_eq!(recover(&mut rig, 5).unknown_leases_ms, lasts);
    }
    let mut rig = Rig::new();
    rig.state.feature_level = 4;
    let account = recover(&mut rig, 5);
    assert_eq!((account.unknown_leases_ms, &rig.state.guard), (0, &None));
    assert!(matches!(rig.acquire("new", &holder("d", "1"), false), Reply::Granted(_)));
}

#[test]
fn a_claim_stays_with_its_holder_until_somebody_says_otherwise() {
    let mut rig = Rig::new();
    rig.define("node/c/n", spec(1, 30, LeaseKind::Claim), &holder("a", "1"));
    rig.acquire("node/c/n", &holder("b", "1"), true);
    let held = rig.held("node/c/n");
    let account = recover(&mut rig, 5);
    assert_eq!((account.claims.len(), account.claims[0].token), (1, held[0].1));
    assert_eq!((rig.held("node/c/n"), rig.waiting("node/c/n").len()), (held.clone(), 1));
    rig.advance(Millis::from_secs(86_400));
    rig.settle();
    assert_eq!(rig.held("node/c/n"), held, "it does not end by time");
    let free = Command::FreeClaim { name: rig::lease("node/c/n"), token: held[0].1, proof: "seen".into() };
    assert_eq!(rig.operator(free), Reply::Done);
}

#[test]
fn members_links_and_join_tokens_are_left_behind_and_the_audit_goes_on() {
    let mut rig = running();
    let member = Member { id: MemberId(1), name: "c1".into(), feature_level: 1, ..Member::default() };
    rig.mesh(Command::PutMember { member });
    let grant = JoinGrant { id: TokenId("ab".into()), scope: JoinScope::Coordinator, expires: WallTime(i64::MAX), uses: 1, root: None };
    rig.operator(Command::GrantJoin { grant });
    let records = rig.state.audit.records.len();
    let generation = rig.state.generation;
    let account = recover(&mut rig, 5);
    assert_eq!((account.members.len(), account.members[0].name.as_str(), account.join_tokens, account.agents), (1, "c1", 1, 2));
    assert!(rig.state.members.is_empty() && rig.state.joins.is_empty());
    assert!(rig.state.revoked.contains_key(&Identity::Coordinator(MemberId(1))));
    assert!(rig.state.agents.values().all(|agent| matches!(agent.link, Link::Lost { .. })));
    assert_eq!(rig.state.audit.records.len(), records + 1);
    assert_eq!(rig.state.audit.first_broken(), None);
    assert!(rig.state.generation > generation);
    // It announces itself, as every member does.
    let member = Member { id: NEW, name: "c1".into(), feature_level: 1, ..Member::default() };
    assert_eq!(rig.mesh(Command::PutMember { member }), Reply::Done);
    assert_eq!(rig.mesh(Command::FormMesh { mesh: "test".parse().unwrap(), incarnation: 5 }), Reply::Done, "it is formed already");
}

#[test]
fn an_incarnation_that_was_there_already_is_refused() {
    let mut rig = running();
    let before = rig.state.clone();
    let recovery = Recovery { incarnation: 1, wall: WallTime(9_000), taken: WallTime(8_000), member: NEW };
    let refusal = rig.state.recover(&recovery).unwrap_err();
    assert!(refusal.to_string().contains("needs an incarnation above 1"), "{refusal}");
    assert_eq!(rig.state, before, "nothing has changed");
}
