use mainstay_proto::v1::{Attempt, AttemptState, AwaitedStep, Outcome, UndoState, Wait, WaitKind, WantedApproval, Work, WorkState, outcome};

use super::*;
use crate::render::layout::width;

const NOW: WallTime = WallTime(1_764_590_400_000);

fn wait(kind: WaitKind, step: &str, target: &str, reason: &str) -> Wait {
    Wait { step: step.into(), target: target.into(), reason: reason.into(), kind: kind.into(), waited_ms: 252_000, ..Wait::default() }
}

fn node(n: u32) -> String {
    format!("prod/node-{n:02}")
}

fn reboot() -> Run {
    let work = |n| Work { step: "reboot".into(), kind: "node.exec".into(), target: node(n), ..Work::default() };
    Run {
        id: "reboot-7".into(),
        plan: "reboot".into(),
        revision: 3,
        state: RunState::Running.into(),
        started_by: "operator/ana".into(),
        started_unix_ms: NOW.0 - 1_320_000,
        inputs: [("kernel".to_owned(), "\"6.12\"".to_owned())].into(),
        work_total: 120,
        work_over: 36,
        work: (1..=40).map(work).collect(),
        ..Run::default()
    }
}

/// A night on which everything happened at once.
fn busy() -> WhyResponse {
    let mut waits = Vec::new();
    for n in 21..=30 {
        let approval = WantedApproval {
            wave: 3,
            by: "operator".into(),
            not: "operator/ana".into(),
            targets: (21..=30).map(node).collect(),
            steps: vec![AwaitedStep { name: "drain".into(), ..AwaitedStep::default() }],
            ..WantedApproval::default()
        };
        let text = "approval by an operator other than operator/ana:  mainstay run approve reboot-7 --wave 3";
        waits.push(Wait { approval: Some(approval), ..wait(WaitKind::Approval, "drain", &node(n), text) });
    }
    for n in 31..=40 {
        waits.push(wait(WaitKind::Wave, "drain", &node(n), "wave 3 of 4 has not ended"));
    }
    for n in [17, 18] {
        let away = wait(WaitKind::AgentAway, "drain", &node(n), &format!("agent {} is not connected", node(n)));
        waits.push(Wait { remaining_ms: 90_000 + u64::from(n) * 10_000, then: "then it counts as unreachable".into(), ..away });
    }
    let lost = wait(WaitKind::NotHeardOf, "reboot", &node(19), &format!("agent {} began it and is not connected", node(19)));
    waits.push(Wait { remaining_ms: 348_000, then: "then its outcome counts as unknown".into(), ..lost });
    let works = wait(WaitKind::Works, "drain", &node(16), &format!("agent {} works on it", node(16)));
    waits.push(Wait { remaining_ms: 537_000, then: "then it is stopped".into(), ..works });
    waits.push(wait(WaitKind::Lease, "drain", &node(15), "lease workload/prod/shop/web is held by run/deploy-4"));
    let gate = "gate: enough capacity: unknown: no source of capacity in this version";
    waits.push(wait(WaitKind::Gate, "drain", &node(14), gate));
    waits.push(wait(
        WaitKind::NoConnection,
        "look",
        "connection:orders-db",
        "no connected agent has the connection orders-db: add to its connections.toml:  [connections.orders-db]  kind = \"postgres\"  …",
    ));
    for n in 1..=40 {
        waits.push(wait(WaitKind::NeedsStep, "reboot", &node(n), "step drain has not ended"));
        waits.push(wait(WaitKind::NeedsStep, "uncordon", &node(n), "step reboot has not ended"));
    }
    let rollouts = vec![RolloutState { wave: 2, waves: 4, done: 12, failed: 1, targets: 40, ..RolloutState::default() }];
    WhyResponse { run: Some(reboot()), waits, rollouts }
}

fn at(answer: &WhyResponse, width: Option<usize>) -> String {
    why(answer, Terminal { width, colour: false }, NOW, &TimeZone::UTC)
}

#[test]
fn on_a_terminal_of_80_columns() {
    insta::assert_snapshot!(at(&busy(), Some(80)));
}

#[test]
fn in_a_pipe() {
    insta::assert_snapshot!(at(&busy(), None));
}

#[test]
fn no_line_is_wider_than_the_terminal() {
    for columns in [60, 80, 120] {
        for answer in [busy(), WhyResponse { run: Some(failed()), ..WhyResponse::default() }] {
            let text = at(&answer, Some(columns));
            // A command is copied, so it is never broken.
            let too_wide: Vec<&str> = text.lines().filter(|line| width(line) > columns && !line.contains('→')).collect();
            assert_eq!(too_wide, Vec::<&str>::new(), "at {columns}");
        }
    }
}

#[test]
fn what_needs_a_person_comes_first() {
    let text = at(&busy(), Some(80));
    let place = |part: &str| text.find(part).unwrap_or_else(|| panic!("{part} is in\n{text}"));
    assert!(["▲ approve", "? unknown", "? gate", "✖ missing", "‖ lease", "● works", "  · wave", "  · later"].map(place).is_sorted(), "{text}");
}

#[test]
fn the_same_of_many_targets_is_said_once() {
    let text = at(&busy(), Some(80));
    assert!(text.contains("✖ away      drain on node-17, node-18 · for 4m12s\n              its agent is not connected\n"), "{text}");
    assert!(text.contains("in 4m20s it counts as unreachable, at the earliest"), "{text}");
    assert_eq!(text.matches("its agent is not connected").count(), 1);
}

#[test]
fn a_paused_run_says_who_and_what_to_type() {
    let run = Run { paused_by: "operator/jo".into(), pause_reason: "looking at node-17".into(), ..reboot() };
    let paused = wait(WaitKind::Paused, "drain", &node(1), "paused by operator/jo (looking at node-17): mainstay run resume reboot-7");
    let text = at(&WhyResponse { run: Some(run), waits: vec![paused], ..WhyResponse::default() }, Some(80));
    assert!(text.starts_with("reboot-7 · ‖ paused · 36 of 120 steps done\n"), "{text}");
    let words = "  ‖ paused    by operator/jo: looking at node-17; nothing further is begun\n              → mainstay run resume reboot-7\n";
    assert!(text.ends_with(words), "{text}");
}

#[test]
fn a_run_that_only_works_says_so() {
    let text = at(&WhyResponse { run: Some(reboot()), ..WhyResponse::default() }, None);
    assert!(text.ends_with("\n\n  it waits for nothing: its next steps are about to begin\n"), "{text}");
}

fn failed() -> Run {
    let attempt = |message: &str| Attempt {
        number: 1,
        state: AttemptState::Ended.into(),
        outcome: Some(Outcome { kind: outcome::Kind::Failed.into(), message: message.into(), report: None }),
        ..Attempt::default()
    };
    let work = |step: &str, n: u32, state: WorkState, detail: &str| Work {
        step: step.into(),
        kind: "node.exec".into(),
        target: node(n),
        state: state.into(),
        detail: detail.into(),
        ..Work::default()
    };
    let back = |work: Work, undo: WorkState, detail: &str| Work { undo: undo.into(), undo_detail: detail.into(), has_undo: true, ..work };
    let needs = "it needs reboot, which failed on prod/node-18";
    Run {
        state: RunState::Failed.into(),
        undo: UndoState::Incomplete.into(),
        ended_unix_ms: NOW.0,
        took_ms: 1_320_000,
        work: vec![
            back(work("drain", 17, WorkState::Succeeded, ""), WorkState::Succeeded, ""),
            back(work("drain", 18, WorkState::Succeeded, ""), WorkState::Failed, "exit status 3: no such pool"),
            Work { attempts: vec![attempt("exit status 1: no kernel 6.12 in /boot")], ..work("reboot", 18, WorkState::Failed, "") },
            work("reboot", 19, WorkState::Unknown, "agent prod/node-19 came back with another ledger: what it did before is not known"),
            work("reboot", 17, WorkState::Succeeded, ""),
            work("uncordon", 17, WorkState::Skipped, needs),
            work("uncordon", 18, WorkState::Skipped, needs),
            work("report", 18, WorkState::Skipped, needs),
        ],
        ..reboot()
    }
}

#[test]
fn a_failed_run_says_what_did_not_come_off_and_what_is_left() {
    insta::assert_snapshot!(at(&WhyResponse { run: Some(failed()), ..WhyResponse::default() }, Some(80)));
}

#[test]
fn a_run_that_came_off_says_so() {
    let run = Run { state: RunState::Completed.into(), ended_unix_ms: NOW.0, work: vec![], ..reboot() };
    let text = at(&WhyResponse { run: Some(run), ..WhyResponse::default() }, Some(80));
    assert!(text.ends_with("  ✔ done      everything came off, and it waits for nothing any more\n\n  → mainstay run show reboot-7\n"), "{text}");
}

#[test]
fn the_most_urgent_reason_fits_a_line() {
    assert_eq!(
        first(&busy()).as_deref(),
        Some(
            "wave 3: 10 nodes: node-21, node-22, node-23 and 7 more, to be approved by an operator other than operator/ana:  mainstay run approve reboot-7 --wave 3"
        )
    );
    assert_eq!(first(&WhyResponse { run: Some(reboot()), ..WhyResponse::default() }), None);
}
