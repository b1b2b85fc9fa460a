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
        let open: Vec<(AttemptId, LedgerId)> = rig.state.attempts.values().filter(|attempt| attempt.is_open()).map(|a| (a.id, a.ledger.clone())).collect();
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
