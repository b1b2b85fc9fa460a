//! What a large mesh costs: commands of a pass, passes of a run, bytes of a state.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod rig;

use mainstay_core::decide::COMMANDS_PER_PASS;
use mainstay_core::report::{Check, Report, Verdict};
use mainstay_core::state::run::{Outcome, RunOutcome};
use mainstay_core::{AttemptId, Command, Decision, LedgerId, Reply, bounds, codec, invariant};
use rig::Rig;

const STEPS: usize = 200;
const AGENTS: usize = 50;

/// Fifty chains of four steps, each on every node.
fn large() -> Rig {
    let mut rig = Rig::new();
    for agent in 0..AGENTS {
        rig.connect(&format!("c/n{agent}"), "l1", &["node.resources"]);
    }
    let steps: String = (0..STEPS)
        .map(|i| {
            let needs = if i % 4 == 0 { String::new() } else { format!(", needs: [s{}]", i - 1) };
            format!("    - {{ name: s{i}, uses: node.resources{needs} }}\n")
        })
        .collect();
    rig.apply_plan(&format!("apiVersion: mainstay.dev/v1alpha1\nkind: MaintenancePlan\nmetadata: {{ name: large }}\nspec:\n  steps:\n{steps}"));
    rig
}

fn apply(rig: &mut Rig, command: Command) -> Reply {
    // Without the rig's checks, which look at the whole state after each entry.
    let entry = rig.entry(mainstay_core::Actor::Mesh, None, command);
    rig.state.apply(&entry)
}

#[test]
fn ten_thousand_work_items_go_by_in_bounded_passes() {
    let mut rig = large();
    let run = rig.start("large");
    let mut passes = 0;
    let mut offers = 0;
    while !rig.state.runs[&run].is_ended() {
        let Decision { commands, waits, .. } = rig.decide();
        passes += 1;
        assert!(commands.len() <= COMMANDS_PER_PASS, "{} commands in one pass", commands.len());
        assert!(!commands.is_empty(), "pass {passes} decides nothing, and {} wait", waits.waits.len());
        assert!(passes <= 60, "{offers} offers after {passes} passes");
        for command in commands {
            offers += usize::from(matches!(command, Command::OfferAttempt { .. }));
            assert!(matches!(apply(&mut rig, command), Reply::Done | Reply::Offered(_)));
        }
        let open: Vec<(AttemptId, LedgerId)> =
            rig.state.attempts.values().filter(|attempt| attempt.is_open()).map(|a| (a.id, a.ledger.clone())).collect();
        for (attempt, ledger) in open {
            let checks = vec![Check::stated("cpu.used", "", Verdict::Ok, "idle")];
            let outcome = Outcome::Succeeded(Report { checks, ..Report::default() });
            assert_eq!(apply(&mut rig, Command::EndAttempt { attempt, ledger, outcome }), Reply::Done);
        }
    }
    assert_eq!((offers, rig.state.runs[&run].end().map(|end| end.outcome)), (STEPS * AGENTS, Some(RunOutcome::Completed)));
    assert_eq!(invariant::broken(&rig.state), []);
    // The whole of it goes through a snapshot, and stays well within what a state may have.
    let bytes = codec::encode_state(&rig.state);
    assert!(bytes.len() < bounds::STATE_BYTES / 4, "{} bytes", bytes.len());
    assert!(codec::decode_state(&bytes).unwrap() == rig.state);
}

#[test]
fn one_run_in_trouble_leaves_room_for_the_next_in_the_same_pass() {
    let mut rig = large();
    let first = rig.start("large");
    let second = rig.start("large");
    let decision = rig.decide();
    let of = |run| decision.commands.iter().filter(|command| matches!(command, Command::OfferAttempt { run: r, .. } if r == run)).count();
    assert_eq!((of(&first), of(&second)), (8 * AGENTS, 0), "each agent has its eight");
    assert!(decision.waits.of_run(&second).count() > 0, "and the other run says that they are busy");
}

#[test]
fn bytes_of_another_version_or_none_are_named() {
    let state = large().state;
    let mut bytes = codec::encode_state(&state);
    assert!(codec::decode_state(&bytes).unwrap() == state);
    assert_eq!(codec::decode_state(&[]).unwrap_err().to_string(), "no bytes where a state should be");
    let cut = codec::decode_state(&bytes[..bytes.len() / 2]).unwrap_err().to_string();
    assert!(cut.starts_with("a state cannot be read: "), "{cut}");
    bytes[0] = 2;
    assert_eq!(codec::decode_state(&bytes).unwrap_err().to_string(), "a state has format 2, and this program reads up to 1: start a newer version");
    assert_eq!(codec::decode_entry(&[9]).unwrap_err().to_string(), "a log entry has format 9, and this program reads up to 1: start a newer version");
}

#[test]
fn a_full_state_keeps_verdicts_and_makes_room_by_dropping_the_oldest_runs() {
    let mut rig = Rig::new();
    rig.connect("c/n1", "l1", &["node.resources"]);
    rig.apply_plan(
        "apiVersion: mainstay.dev/v1alpha1\nkind: MaintenancePlan\nmetadata: { name: look }\nspec: { steps: [ { name: a, uses: node.resources } ] }\n",
    );
    let round = |rig: &mut Rig| {
        let run = rig.start("look");
        rig.settle();
        let attempt = rig.state.attempts.values().find(|attempt| attempt.is_open()).map(|attempt| attempt.id).unwrap();
        let mut checks: Vec<Check> = (0..100).map(|i| Check::stated("disk.used", &i.to_string(), Verdict::Ok, "m".repeat(500))).collect();
        checks.push(Check::stated("disk.used", "/", Verdict::Critical, "full"));
        let outcome = Outcome::Succeeded(Report { checks, ..Report::default() });
        assert_eq!(apply(rig, Command::EndAttempt { attempt, ledger: LedgerId("l1".into()), outcome }), Reply::Done);
        rig.advance(mainstay_core::Millis(1));
        (run, attempt)
    };
    let first = round(&mut rig);
    rig.settle();
    let kept = |rig: &Rig, attempt| {
        let mainstay_core::state::attempt::Phase::Ended(Outcome::Succeeded(report)) = &rig.state.attempts[&attempt].phase else { panic!("ended") };
        (report.checks.len(), report.left_out, report.verdict())
    };
    assert_eq!(kept(&rig, first.1), (101, 0, Verdict::Critical));
    // As if others had filled it meanwhile. The invariant on the weight is not asked from here on.
    let weight = rig.state.weight;
    rig.state.weight = bounds::STATE_BYTES as u64 - 100_000;
    let started = apply(&mut rig, Command::start("look".parse().unwrap()));
    let Reply::Started(second) = started else { panic!("{started:?}") };
    rig.state.weight = bounds::STATE_BYTES as u64 - 1_000;
    let offer = rig.decide().commands.remove(0);
    let Reply::Offered(attempt) = apply(&mut rig, offer) else { panic!("offered") };
    let checks = (0..100).map(|i| Check::stated("disk.used", &i.to_string(), Verdict::Warning, "m".repeat(500))).collect();
    let outcome = Outcome::Succeeded(Report { checks, ..Report::default() });
    assert_eq!(apply(&mut rig, Command::EndAttempt { attempt, ledger: LedgerId("l1".into()), outcome }), Reply::Done);
    assert_eq!(kept(&rig, attempt), (1, 100, Verdict::Warning), "the verdict stays");
    assert_eq!(rig.state.findings.open.len(), 100, "and so does what was found");
    let end = rig.decide().commands.remove(0);
    assert_eq!(apply(&mut rig, end), Reply::Done);
    assert_eq!(rig.state.runs.keys().collect::<Vec<_>>(), [&second], "the older run made room");
    assert!(rig.state.weight < bounds::STATE_BYTES as u64 - weight / 2);
}
