//! Who is given the mesh's own snapshot: an attempt that backs it up, as long as it is at it, and nobody else.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod rig;

use mainstay_core::command::CancelReason;
use mainstay_core::state::attempt::Attempt;
use mainstay_core::state::lease::{ATTEMPT, Holder};
use mainstay_core::state::run::{Direction, Outcome, WorkState};
use mainstay_core::{AttemptId, Command, Identity, LedgerId, Reply, RunId, State, StepName, Token};
use rig::Rig;

const KINDS: &[&str] = &["backup.run", "backup.check", "backup.prune"];

fn plan(steps: &str) -> String {
    format!("apiVersion: mainstay.dev/v1alpha1\nkind: MaintenancePlan\nmetadata: {{ name: p }}\nspec:\n  steps:\n{steps}")
}

/// A mesh with one agent that backs it up, and a run of these steps under way.
fn under_way(steps: &str, connections: &[(&str, &str)]) -> Rig {
    let mut rig = Rig::new();
    rig.connect_with("prod/n1", "l1", KINDS, connections);
    rig.apply_plan(&plan(steps));
    rig.start("p");
    rig.settle();
    rig
}

/// As it is meant to be.
fn meant() -> Rig {
    let mut rig = under_way("    - { name: run, uses: backup.run, with: { connection: mesh, mesh: true } }\n", &[("mesh", "mesh")]);
    hold(&mut rig);
    rig
}

fn attempt(rig: &Rig) -> Attempt {
    rig.state.attempts.values().next().expect("an attempt is offered").clone()
}

fn holder(attempt: &Attempt, incarnation: &str) -> Holder {
    let attributes = [(ATTEMPT.to_owned(), attempt.id.to_string())].into();
    Holder { identity: Identity::of_agent(&attempt.agent), incarnation: incarnation.into(), attributes, takes_over: false }
}

/// The attempt takes the lease of its target.
fn hold(rig: &mut Rig) {
    let holder = holder(&attempt(rig), "p1");
    assert!(matches!(rig.acquire("backup/prod/mesh", &holder, true), Reply::Granted(_)));
}

fn token(rig: &Rig) -> Token {
    rig.held("backup/prod/mesh").first().map_or_else(|| rig::token(1), |(_, token)| *token)
}

/// What the attempt is answered; a command says the same as the question before it, and changes nothing.
fn asked(rig: &mut Rig) -> Reply {
    let (attempt, token) = (attempt(rig), token(rig));
    asked_as(rig, attempt.id, attempt.ledger, token)
}

fn asked_as(rig: &mut Rig, attempt: AttemptId, ledger: LedgerId, token: Token) -> Reply {
    let before = rig.state.clone();
    let expected = rig.state.may_read_mesh(attempt, &ledger, token);
    let reply = rig.by("cluster/prod/node/n1", Command::ReadMesh { attempt, ledger, token });
    assert_eq!(reply, expected);
    let after = &rig.state;
    assert!(after.weight == before.weight && after.attempts == before.attempts && after.leases == before.leases && after.runs == before.runs);
    reply
}

fn says(reply: &Reply, part: &str) {
    let words = match reply {
        Reply::Stale(why) => why.clone(),
        Reply::Refused(refusal) => refusal.to_string(),
        other => panic!("{other:?}, and `{part}` was expected"),
    };
    assert!(words.contains(part), "{words}, and `{part}` was expected");
}

#[test]
fn an_attempt_that_backs_it_up_is_given_it_and_the_audit_has_that() {
    let mut rig = meant();
    assert_eq!(asked(&mut rig), Reply::Done);
    let record = rig.state.audit.records.last().unwrap();
    assert_eq!(record.by, "cluster/prod/node/n1");
    assert!(record.what.starts_with("give the mesh's snapshot to attempt 1.1, which backs it up under token 1."), "{}", record.what);
}

#[test]
fn nobody_is_given_it_without_an_attempt_that_is_under_way() {
    let mut rig = meant();
    let (open, held) = (attempt(&rig), token(&rig));
    let none: AttemptId = "1.99".parse().unwrap();
    says(&asked_as(&mut rig, none, open.ledger.clone(), held), "there is no attempt 1.99");
    says(&asked_as(&mut rig, open.id, LedgerId("l2".into()), held), "belongs to another ledger");
    rig.mesh(Command::CancelAttempt { attempt: open.id, reason: CancelReason::Aborted });
    says(&asked(&mut rig), "is being called off");
    rig.mesh(Command::EndAttempt { attempt: open.id, ledger: open.ledger.clone(), outcome: Outcome::Cancelled { message: String::new() } });
    says(&asked(&mut rig), "is no longer open");
}

#[test]
fn an_attempt_at_something_else_is_not_given_it() {
    const OTHERS: &str = "    - { name: a, uses: backup.run, with: { connection: mesh } }\n";
    for (steps, connections, part) in [
        (OTHERS, [("mesh", "mesh")], "says  mesh: true"),
        ("    - { name: a, uses: backup.check, with: { connection: mesh } }\n", [("mesh", "mesh")], "says  mesh: true"),
        // What the agent has said of the connection when the run began counts no more than what it says now.
        ("    - { name: a, uses: backup.run, with: { connection: mesh, mesh: true } }\n", [("mesh", "files")], "no connection of kind mesh"),
    ] {
        let mut rig = under_way(steps, &connections);
        hold(&mut rig);
        says(&asked(&mut rig), part);
    }
}

#[test]
fn who_has_lost_the_lease_is_not_given_it() {
    let mut rig = under_way("    - { name: run, uses: backup.run, with: { connection: mesh, mesh: true } }\n", &[("mesh", "mesh")]);
    says(&asked(&mut rig), "nobody holds the lease backup/prod/mesh");
    let open = attempt(&rig);
    let other = Attempt { id: "1.99".parse().unwrap(), ..open.clone() };
    rig.acquire("backup/prod/mesh", &holder(&other, "p2"), true);
    says(&asked(&mut rig), "does not hold the lease backup/prod/mesh any more");
    let first = token(&rig);
    rig.mesh(Command::ReleaseLease { name: rig::lease("backup/prod/mesh"), holder: holder(&other, "p2"), token: None });
    hold(&mut rig);
    says(&asked_as(&mut rig, open.id, open.ledger.clone(), first), "comes too late");
    assert_eq!(asked(&mut rig), Reply::Done);
}

#[test]
fn where_two_agents_call_something_so_nobody_has_said_who_is_meant() {
    let mut rig = meant();
    // Whatever kind the other one says: what is there under that name is not one thing.
    rig.connect_with("prod/n2", "l2", KINDS, &[("mesh", "postgres")]);
    says(&asked(&mut rig), "agent prod/n2 has a connection mesh too");
    rig.operator(Command::Revoke { identity: "cluster/prod/node/n2".parse().unwrap(), reason: "stolen".into() });
    assert_eq!(asked(&mut rig), Reply::Done);
}

#[test]
fn a_pattern_does_not_mean_the_mesh() {
    let mut rig = Rig::new();
    rig.connect_with("prod/n1", "l1", KINDS, &[("mesh", "mesh"), ("etc", "files")]);
    rig.apply_plan(&plan(
        "    - { name: run, uses: backup.run }\n    - { name: own, uses: backup.run, with: { connection: \"m*\", mesh: true } }\n    - { name: check, uses: backup.check }\n",
    ));
    let run: RunId = rig.start("p");
    let targets = |step: &str| -> Vec<String> {
        let step: StepName = step.parse().unwrap();
        let work = &rig.state.runs[&run].work[&step];
        work.iter()
            .map(|(target, work)| if let WorkState::Omitted { reason } = work.state(Direction::Do) { reason.clone() } else { target.to_string() })
            .collect()
    };
    assert_eq!(targets("run"), ["connection:etc"]);
    assert_eq!(targets("check"), ["connection:etc", "connection:mesh"], "looking at what is in the store gives nothing away");
    let own = targets("own");
    assert!(own.len() == 1 && own[0].contains("is not left to a pattern"), "{own:?}");
}

#[test]
fn older_members_do_not_get_it_into_their_log() {
    let command = Command::ReadMesh { attempt: "1.1".parse().unwrap(), ledger: LedgerId("l1".into()), token: rig::token(1) };
    let mut state = State::default();
    for (level, is_early) in [(4, true), (5, false)] {
        state.feature_level = level;
        assert_eq!(state.too_early(&command).is_some(), is_early);
    }
}
