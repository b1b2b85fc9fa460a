//! Attempts: what each phase answers to each command, and what becomes of the work item.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod rig;

use mainstay_core::command::CancelReason;
use mainstay_core::report::{Check, Report, Verdict};
use mainstay_core::state::agent::Hello;
use mainstay_core::state::attempt::{Phase, STOP_GRACE};
use mainstay_core::state::run::{Direction, Outcome, WorkState};
use mainstay_core::time::Millis;
use mainstay_core::{AttemptId, Command, LedgerId, Reply, RunId, Target};
use rig::{Rig, hello};

const PLAN: &str = "\
apiVersion: mainstay.dev/v1alpha1
kind: MaintenancePlan
metadata: { name: p }
spec:
  steps:
    - { name: exec, uses: node.exec, with: { command: [a] }, runOn: node, timeout: 10s }
    - { name: look, uses: node.resources, timeout: 10s }
";

/// A run of which `exec` (attempt 1.1) and `look` (attempt 1.2) have been offered to one node.
fn offered() -> Rig {
    let mut rig = Rig::new();
    rig.connect("c/n", "l1", &["node.exec", "node.resources"]);
    rig.apply_plan(PLAN);
    rig.start("p");
    assert_eq!(rig.settle().len(), 2);
    rig
}

const EXEC: &str = "1.1";
const LOOK: &str = "1.2";

fn id(text: &str) -> AttemptId {
    text.parse().unwrap()
}

fn begin(rig: &mut Rig, attempt: &str, ledger: &str) -> Reply {
    rig.mesh(Command::BeginAttempt { attempt: id(attempt), ledger: LedgerId(ledger.into()) })
}

fn end(rig: &mut Rig, attempt: &str, ledger: &str, outcome: Outcome) -> Reply {
    rig.mesh(Command::EndAttempt { attempt: id(attempt), ledger: LedgerId(ledger.into()), outcome })
}

fn ok() -> Outcome {
    Outcome::Succeeded(Report { checks: vec![Check::stated("x", "", Verdict::Ok, "fine")], ..Report::default() })
}

fn failed() -> Outcome {
    Outcome::Failed { message: "no".into(), report: None }
}

fn stale(reply: &Reply) -> &str {
    if let Reply::Stale(why) = reply { why } else { panic!("{reply:?}") }
}

fn work(rig: &Rig, step: &str) -> WorkState {
    let run: RunId = "p-1".parse().unwrap();
    rig.state.runs[&run].work(&step.parse().unwrap(), &"c/n".parse::<Target>().unwrap()).unwrap().state(Direction::Do).clone()
}

#[test]
fn only_the_ledger_it_was_offered_to_may_speak_of_it() {
    let mut rig = offered();
    assert_eq!(stale(&begin(&mut rig, EXEC, "l2")), "attempt 1.1 belongs to another ledger");
    assert_eq!(begin(&mut rig, EXEC, "l1"), Reply::Done);
    assert_eq!(stale(&begin(&mut rig, EXEC, "l2")), "attempt 1.1 belongs to another ledger", "also when it has begun");
    assert_eq!(stale(&end(&mut rig, EXEC, "l2", ok())), "attempt 1.1 belongs to another ledger");
    assert_eq!(stale(&begin(&mut rig, "1.9", "l1")), "there is no attempt 1.9");
    assert_eq!(work(&rig, "exec"), WorkState::Active { attempt: id(EXEC) });
}

#[test]
fn beginning_twice_is_beginning_once() {
    let mut rig = offered();
    assert_eq!(begin(&mut rig, EXEC, "l1"), Reply::Done);
    let begun = rig.state.attempts[&id(EXEC)].clone();
    rig.advance(Millis(5_000));
    assert_eq!(begin(&mut rig, EXEC, "l1"), Reply::Done, "the first answer was lost");
    assert_eq!(rig.state.attempts[&id(EXEC)], begun, "and its time goes on from the first");
}

#[test]
fn the_timeout_counts_from_the_begin() {
    let mut rig = offered();
    let offered_at = rig.now;
    assert_eq!(rig.state.attempts[&id(EXEC)].deadline, offered_at + Millis(10_000));
    rig.advance(Millis(4_000));
    begin(&mut rig, EXEC, "l1");
    assert_eq!(rig.state.attempts[&id(EXEC)].deadline, rig.now + Millis(10_000));
    assert_eq!(rig.state.attempts[&id(EXEC)].phase, Phase::Begun { offered: offered_at, at: rig.now });
}

#[test]
fn what_is_not_idempotent_cannot_have_gone_well_without_a_begin() {
    let mut rig = offered();
    assert_eq!(stale(&end(&mut rig, EXEC, "l1", ok())), "attempt 1.1 was never begun");
    assert_eq!(end(&mut rig, LOOK, "l1", ok()), Reply::Done, "looking needs none");
    assert_eq!(end(&mut rig, EXEC, "l1", failed()), Reply::Done, "that it could not be begun may be said");
    assert_eq!(work(&rig, "exec"), WorkState::Failed { message: "no".into() });
}

#[test]
fn an_end_is_reported_until_it_is_heard_and_never_changes() {
    let mut rig = offered();
    begin(&mut rig, EXEC, "l1");
    // Longer than what is kept: cut down alike each time.
    let long = Outcome::Failed { message: "é".repeat(5_000), report: None };
    assert_eq!([end(&mut rig, EXEC, "l1", long.clone()), end(&mut rig, EXEC, "l1", long)], [Reply::Done, Reply::Done]);
    assert_eq!(stale(&end(&mut rig, EXEC, "l1", ok())), "attempt 1.1 is no longer open");
    assert_eq!(stale(&begin(&mut rig, EXEC, "l1")), "attempt 1.1 is no longer open");
    assert!(matches!(work(&rig, "exec"), WorkState::Failed { .. }));
}

#[test]
fn what_is_said_late_is_kept_and_changes_nothing() {
    let mut rig = offered();
    begin(&mut rig, EXEC, "l1");
    rig.mesh(Command::LoseAttempt { attempt: id(EXEC), reason: "gone".into() });
    let given_up = work(&rig, "exec");
    assert!(matches!(given_up, WorkState::Unknown { .. }));
    assert_eq!(stale(&end(&mut rig, EXEC, "l2", ok())), "attempt 1.1 belongs to another ledger");
    assert_eq!([end(&mut rig, EXEC, "l1", ok()), end(&mut rig, EXEC, "l1", ok())], [Reply::Done, Reply::Done]);
    assert_eq!(stale(&end(&mut rig, EXEC, "l1", failed())), "attempt 1.1 is no longer open", "what was said first stays");
    let since = rig.state.attempts[&id(EXEC)].since.clone().unwrap();
    assert_eq!(since.outcome, ok());
    assert_eq!(work(&rig, "exec"), given_up);
}

/// Members of before keep nothing of it.
#[test]
fn what_is_said_late_needs_a_level() {
    let mut rig = offered();
    begin(&mut rig, EXEC, "l1");
    rig.mesh(Command::LoseAttempt { attempt: id(EXEC), reason: "gone".into() });
    rig.state.feature_level = 4;
    assert_eq!(stale(&end(&mut rig, EXEC, "l1", ok())), "attempt 1.1 is no longer open");
}

#[test]
fn what_is_no_number_does_not_make_an_end_another_one() {
    let mut rig = offered();
    let check = Check::measured("x", "", f64::NAN, "%", mainstay_core::report::Thresholds::above(f64::INFINITY, 1.0), "no idea");
    let outcome = Outcome::Succeeded(Report { checks: vec![Check { history: vec![1.0, f64::NAN], ..check }], ..Report::default() });
    assert_eq!([end(&mut rig, LOOK, "l1", outcome.clone()), end(&mut rig, LOOK, "l1", outcome)], [Reply::Done, Reply::Done]);
    assert_eq!(work(&rig, "look"), WorkState::Succeeded { verdict: Verdict::Unknown });
}

#[test]
fn withdrawn_is_what_has_not_begun_and_lost_what_has() {
    let mut rig = offered();
    let withdraw = |attempt: &str| Command::WithdrawAttempt { attempt: id(attempt), reason: "gone".into() };
    let lose = |attempt: &str| Command::LoseAttempt { attempt: id(attempt), reason: "gone".into() };
    assert_eq!(stale(&rig.mesh(lose(EXEC))), "attempt 1.1 is not begun and open");
    begin(&mut rig, EXEC, "l1");
    assert_eq!(stale(&rig.mesh(withdraw(EXEC))), "attempt 1.1 is not merely offered");
    assert_eq!(rig.mesh(lose(EXEC)), Reply::Done);
    assert_eq!(work(&rig, "exec"), WorkState::Unknown { reason: "gone".into() });
    assert_eq!(stale(&rig.mesh(lose(EXEC))), "attempt 1.1 is not begun and open");
    assert_eq!(rig.mesh(withdraw(LOOK)), Reply::Done);
    assert_eq!((work(&rig, "look"), rig.state.attempts.contains_key(&id(LOOK))), (WorkState::Waiting, false));
    assert_eq!(stale(&begin(&mut rig, LOOK, "l1")), "there is no attempt 1.2");
}

#[test]
fn what_is_cancelled_does_not_begin_any_more() {
    let mut rig = offered();
    let cancel = |attempt: &str| Command::CancelAttempt { attempt: id(attempt), reason: CancelReason::TimedOut };
    assert_eq!(rig.mesh(cancel(EXEC)), Reply::Done);
    assert_eq!(stale(&begin(&mut rig, EXEC, "l1")), "attempt 1.1 is cancelled");
    assert_eq!(stale(&rig.mesh(cancel(EXEC))), "attempt 1.1 is not open, or cancelled already");
    assert_eq!(rig.state.attempts[&id(EXEC)].deadline, rig.now + STOP_GRACE);
    assert_eq!(end(&mut rig, EXEC, "l1", Outcome::Cancelled { message: "never begun".into() }), Reply::Done);
    assert_eq!(work(&rig, "exec"), WorkState::Failed { message: "took too long: never begun".into() }, "it is the mesh that knows why");
}

#[test]
fn an_offer_rests_on_the_link_and_the_number_that_were_seen() {
    let mut rig = offered();
    rig.mesh(Command::WithdrawAttempt { attempt: id(EXEC), reason: "again".into() });
    let Command::OfferAttempt { run, step, target, direction, number, agent, ledger, epoch } = rig.decide().commands.remove(0) else {
        panic!("an offer")
    };
    let offer = |number, ledger: &LedgerId, epoch| Command::OfferAttempt {
        run: run.clone(),
        step: step.clone(),
        target: target.clone(),
        direction,
        number,
        agent: agent.clone(),
        ledger: ledger.clone(),
        epoch,
    };
    assert_eq!(number, 1, "a withdrawn offer was no attempt");
    let changed = "agent c/n is no longer connected as it was";
    assert_eq!(stale(&rig.mesh(offer(1, &ledger, epoch - 1))), changed);
    assert_eq!(stale(&rig.mesh(offer(1, &LedgerId("l2".into()), epoch))), changed);
    assert_eq!(stale(&rig.mesh(offer(2, &ledger, epoch))), "p-1/exec on c/n is no longer waiting for attempt 2");
    assert_eq!(rig.mesh(offer(1, &ledger, epoch)), Reply::Offered(id("1.3")));
    assert_eq!(stale(&rig.mesh(offer(1, &ledger, epoch))), "p-1/exec on c/n is no longer waiting for attempt 1");
    rig.mesh(Command::WithdrawAttempt { attempt: id("1.3"), reason: "again".into() });
    rig.mesh(Command::LoseAgent { agent: agent.clone(), epoch });
    assert_eq!(stale(&rig.mesh(offer(1, &ledger, epoch))), changed);
    rig.connect("c/n", "l1", &["node.exec"]);
    rig.operator(Command::AbortRun { run: run.clone(), reason: "enough".into() });
    let epoch = rig.state.agents[&agent].epoch;
    assert_eq!(stale(&rig.mesh(offer(1, &ledger, epoch))), "run p-1 does not go that way now");
}

#[test]
fn an_agent_is_told_of_what_is_open_and_of_nothing_else() {
    let mut rig = offered();
    let agent = "c/n".parse().unwrap();
    begin(&mut rig, EXEC, "l1");
    end(&mut rig, LOOK, "l1", ok());
    rig.operator(Command::AbortRun { run: "p-1".parse().unwrap(), reason: "enough".into() });
    rig.settle();
    let desired = rig.state.desired(&agent);
    assert_eq!((desired.incarnation, desired.generation), (1, rig.state.generation));
    let [only] = desired.attempts.as_slice() else { panic!("{:?}", desired.attempts) };
    assert_eq!((only.id, only.kind.as_str(), only.begun, only.cancel), (id(EXEC), "node.exec", true, Some(CancelReason::Aborted)));
    assert_eq!((only.with["command"].clone(), only.timeout), (serde_json::json!(["a"]), Millis(10_000)));
    end(&mut rig, EXEC, "l1", Outcome::Cancelled { message: "stopped".into() });
    assert_eq!(rig.state.desired(&agent).attempts, []);
    assert!(rig.state.open_attempts.is_empty());
}

#[test]
fn an_agent_may_be_forgotten_when_it_has_nothing_and_is_gone() {
    let mut rig = offered();
    let forget = Command::ForgetAgent { agent: "c/n".parse().unwrap() };
    let says = |reply: Reply| if let Reply::Refused(refusal) = reply { refusal.to_string() } else { panic!("{reply:?}") };
    assert_eq!(says(rig.operator(forget.clone())), "node c/n is connected: stop its agent or revoke it first");
    let epoch = rig.state.agents.values().next().unwrap().epoch;
    rig.mesh(Command::LoseAgent { agent: "c/n".parse().unwrap(), epoch });
    assert_eq!(says(rig.operator(forget.clone())), "node c/n may still carry out a step: abort its run or wait for its deadline first");
    rig.seen.links.clear();
    rig.settle();
    assert_eq!(rig.operator(forget), Reply::Done);
}

/// What was decided before somebody held the run up, and comes after it, begins nothing.
#[test]
fn a_paused_run_is_given_nothing_out() {
    let mut rig = Rig::new();
    rig.connect("c/n", "l1", &["node.exec", "node.resources"]);
    rig.apply_plan(PLAN);
    let run = rig.start("p");
    let offers = rig.decide().commands;
    assert_eq!(offers.len(), 2);
    assert_eq!(rig.operator(Command::PauseRun { run: run.clone(), reason: String::new() }), Reply::Done);
    for offer in offers.clone() {
        assert_eq!(stale(&rig.mesh(offer)), "run p-1 is paused");
    }
    assert_eq!(rig.operator(Command::ResumeRun { run }), Reply::Done);
    assert_eq!(rig.decide().commands, offers, "it goes on where it was held up");
}

/// The ledger of an agent is put back to what it was before it began: its next process asks to begin again.
#[test]
fn a_process_that_does_not_know_what_the_one_before_it_did_does_not_begin_again() {
    let mut rig = offered();
    assert_eq!(begin(&mut rig, EXEC, "l1"), Reply::Done);
    assert_eq!(begin(&mut rig, LOOK, "l1"), Reply::Done);
    assert_eq!(begin(&mut rig, EXEC, "l1"), Reply::Done, "the same process, whose answer was lost");
    let next = Hello { incarnation: "another process".into(), ..hello("l1", &["node.exec", "node.resources"]) };
    assert!(matches!(rig.mesh(Command::ConnectAgent { agent: "c/n".parse().unwrap(), hello: next }), Reply::Connected { .. }));
    assert_eq!(begin(&mut rig, LOOK, "l1"), Reply::Done, "to look twice does no harm");
    let why = "attempt 1.1 was begun by an earlier process of its agent, which may have done it";
    assert_eq!(stale(&begin(&mut rig, EXEC, "l1")), why);
    rig.mesh(Command::CancelAttempt { attempt: id(EXEC), reason: CancelReason::TimedOut });
    assert_eq!(end(&mut rig, EXEC, "l1", Outcome::Cancelled { message: "stopped before it began".into() }), Reply::Done);
    let state = work(&rig, "exec");
    assert!(matches!(&state, WorkState::Unknown { reason } if reason.contains("does not say what it did")), "{state:?}");
}
