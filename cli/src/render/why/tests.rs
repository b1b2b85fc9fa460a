#![allow(clippy::expect_used)]
use mainstay_proto::v1::{
    Attempt, AttemptState, AwaitedStep, GateNow, LeftToPerson, Outcome, Since, UndoState, Verdict, Wait, WaitKind, WantedApproval, Work, WorkState,
    outcome,
};

use super::*;
use crate::render::layout::width;

mod ended;

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
        work_done: 36,
        steps: 3,
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
    waits.push(Wait {
        stuck: "nothing in this version opens the gate: enough capacity".into(),
        remedies: vec!["take the gate out of the plan, and end this run".into(), "mainstay run abort reboot-7 --reason \"…\"".into()],
        ..wait(WaitKind::Gate, "drain", &node(14), gate)
    });
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
    WhyResponse { run: Some(reboot()), waits, rollouts, ..WhyResponse::default() }
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
fn the_head_tells_what_its_state_does_not() {
    let found = Run { state: RunState::Completed.into(), verdict: Verdict::Unknown.into(), ended_unix_ms: NOW.0, ..reboot() };
    let text = at(&WhyResponse { run: Some(found), ..WhyResponse::default() }, None);
    assert!(text.starts_with("reboot-7 · ✔ completed · ? unknown · "), "{text}");
    let text = at(&WhyResponse { run: Some(reboot()), replaced_unix_ms: NOW.0 + 60_000, ..WhyResponse::default() }, None);
    assert!(text.contains("▲ the schedule of reboot starts another run ") && text.contains("this one is aborted then"), "{text}");
}

#[test]
fn an_approval_that_nobody_may_give_says_first_whom_it_takes() {
    let approval = WantedApproval { by: "admin".into(), not: "operator/ana".into(), may_not: "you started the run".into(), ..Default::default() };
    let wait = Wait {
        approval: Some(approval),
        stuck: "nobody may: it takes an admin other than operator/ana, and there is none".into(),
        remedies: vec!["mainstay operator add NAME --role admin".into()],
        ..wait(WaitKind::Approval, "drain", &node(1), "approval by an admin")
    };
    let text = at(&WhyResponse { run: Some(reboot()), waits: vec![wait], ..WhyResponse::default() }, None);
    let place = |part: &str| text.find(part).unwrap_or_else(|| panic!("{part} is in\n{text}"));
    assert!(
        ["this does not end by itself", "mainstay operator add", "whoever may then types", "mainstay run approve"].map(place).is_sorted(),
        "{text}"
    );
    assert!(!text.contains("somebody else types"), "{text}");
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
    assert!(text.starts_with("reboot-7 · ‖ paused · 3 steps on several targets: 36 of 120 done\n"), "{text}");
    let words = "  ‖ paused    by operator/jo: looking at node-17; nothing further is begun\n              → mainstay run resume reboot-7\n";
    assert!(text.ends_with(words), "{text}");
}

#[test]
fn a_run_that_only_works_says_so() {
    let text = at(&WhyResponse { run: Some(reboot()), ..WhyResponse::default() }, None);
    assert!(text.ends_with("\n\n  it waits for nothing: its next steps are about to begin\n"), "{text}");
}

/// What is said of what comes after that for which it waits.
#[test]
fn behind_a_gate_it_says_what_comes_next() {
    let gate = |gate: &str, state: &str, evidence: &str| GateNow { gate: gate.into(), state: state.into(), evidence: evidence.into() };
    let ahead = vec![
        gate("approval by an operator, for each wave", "asks", ""),
        gate("enough capacity", "unknown", "unknown: no source of capacity in this version"),
    ];
    let text = "gate: window mon 22:00–06:00 UTC: closed until Mon 22:00 UTC";
    let window = Wait { ahead: ahead.clone(), ..wait(WaitKind::Gate, "drain", &node(1), text) };
    let answer = WhyResponse { run: Some(reboot()), waits: vec![window], ..WhyResponse::default() };
    let text = at(&answer, None);
    let words = "              after that a person is asked: approval by an operator, for each wave\n              \
                 after that a gate of which nobody knows how it stands: enough capacity: no source of capacity in this version\n";
    assert!(text.contains(words), "{text}");
    assert!(text.contains("→ mainstay run abort reboot-7 --reason \"…\"\n              → mainstay run start reboot --override \"…\"\n"), "{text}");
    assert!(first(&answer).is_some_and(|line| line.words.ends_with("; after that approval by an operator, for each wave, enough capacity")));
    // Whoever resumes a run should know that it does not go on then.
    let paused = Wait { ahead, ..wait(WaitKind::Paused, "drain", &node(1), "paused by operator/jo: mainstay run resume reboot-7") };
    let run = Run { paused_by: "operator/jo".into(), ..reboot() };
    let text = at(&WhyResponse { run: Some(run), waits: vec![paused], ..WhyResponse::default() }, None);
    assert!(text.contains(&format!("→ mainstay run resume reboot-7\n{words}")), "{text}");
}

#[test]
fn whoever_may_not_approve_is_told() {
    let approval = WantedApproval {
        step: "ask".into(),
        by: "operator".into(),
        not: "operator/ana".into(),
        may_not: "you (operator/ana) started the run, and it takes another person".into(),
        ..WantedApproval::default()
    };
    let asked = Wait { approval: Some(approval), ..wait(WaitKind::Approval, "ask", "once", "approval by an operator") };
    let answer = WhyResponse { run: Some(reboot()), waits: vec![asked], ..WhyResponse::default() };
    let text = at(&answer, None);
    let words = "not by you: you (operator/ana) started the run, and it takes another person; somebody else types\n              \
                 → mainstay run approve reboot-7 --step ask\n";
    assert!(text.contains(words), "{text}");
    assert!(first(&answer).is_some_and(|line| line.words.contains("not by you")));
}

#[test]
fn a_run_that_goes_on_says_what_has_failed_already() {
    let work = |step: &str, n, state: WorkState| Work {
        step: step.into(),
        kind: "node.exec".into(),
        target: node(n),
        state: state.into(),
        has_undo: step == "mark",
        ..Work::default()
    };
    let check = Work { detail: "exit status 1: not ready".into(), ..work("check", 3, WorkState::Failed) };
    let marks = (1..=4).map(|n| work("mark", n, WorkState::Succeeded));
    let work = marks.chain([check, work("settle", 4, WorkState::Active), work("check", 2, WorkState::Skipped)]).collect();
    let waits = vec![wait(WaitKind::Works, "settle", &node(4), &format!("agent {} works on it", node(4)))];
    let text = at(&WhyResponse { run: Some(Run { work, ..reboot() }), waits, failed: true, ..WhyResponse::default() }, None);
    let words = "  ✖ failed    check on node-03\n              exit status 1: not ready\n  ↺ then      \
                 undo of mark on node-01, node-02, node-03, node-04, when what is under way has ended\n\n  ● works     settle on node-04";
    assert!(text.contains(words), "{text}");
}

#[test]
fn an_unknown_outcome_names_the_machine() {
    let attempt = Attempt { number: 1, agent: "local/a1".into(), state: AttemptState::Ended.into(), ..Attempt::default() };
    let nap = Work {
        step: "nap".into(),
        kind: "node.exec".into(),
        target: "once".into(),
        state: WorkState::Unknown.into(),
        detail: "the agent ended in the middle of it".into(),
        attempts: vec![attempt],
        ..Work::default()
    };
    let then = Work { step: "then".into(), target: "once".into(), state: WorkState::Skipped.into(), ..Work::default() };
    let run = Run { state: RunState::Failed.into(), ended_unix_ms: NOW.0, work: vec![nap, then], ..reboot() };
    let text = at(&WhyResponse { run: Some(run), ..WhyResponse::default() }, None);
    assert!(text.contains("  ? unknown   nap by a1\n"), "{text}");
    assert!(text.contains("→ mainstay run retry reboot-7 --unknown --dry-run\n"), "{text}");
}

#[test]
fn where_it_stopped_is_no_later_than_where_it_was() {
    let rollout = |state| WhyResponse { run: Some(reboot()), rollouts: vec![state], ..WhyResponse::default() };
    let stopped = RolloutState { wave: 1, waves: 3, failed: 1, given_up: 3, targets: 4, ..RolloutState::default() };
    assert!(at(&rollout(stopped), None).starts_with("reboot-7 · ● running · stopped in wave 1 of 3 · 0 of 4 nodes done · 1 node failed · "));
    let back = RolloutState { wave: 2, waves: 2, taken_back: 2, stopped: 2, targets: 4, ..RolloutState::default() };
    let text = at(&rollout(back), None);
    assert!(text.starts_with("reboot-7 · ● running · wave 2 of 2 · of 4 nodes 2 taken back, 2 stopped · "), "{text}");
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
    let cache = Work { step: "cache".into(), target: "once".into(), state: WorkState::Omitted.into(), ..Work::default() };
    let cache = Work { detail: "no connection fits `cac*`".into(), ..cache };
    let run = Run { state: RunState::Completed.into(), ended_unix_ms: NOW.0, work: vec![cache], ..reboot() };
    let text = at(&WhyResponse { run: Some(run), ..WhyResponse::default() }, Some(80));
    assert!(
        text.ends_with(
            "  ✔ done      everything that was to be done went well\n  – omitted   cache\n              no connection fits `cac*`\n\n  → mainstay run show reboot-7\n"
        ),
        "{text}"
    );
}

#[test]
fn the_most_urgent_reason_fits_a_line() {
    let most = first(&busy()).expect("something waits");
    assert_eq!(most.words, "wave 3: 10 nodes: node-21, node-22, node-23 and 7 more, to be approved by an operator other than operator/ana");
    assert_eq!(most.command.as_deref(), Some("mainstay run approve reboot-7 --wave 3"));
    assert_eq!(first(&WhyResponse { run: Some(reboot()), ..WhyResponse::default() }), None);
}

fn all(answers: &[WhyResponse], not_looked_at: usize) -> String {
    any(answers, &[], not_looked_at, Terminal::PIPE, NOW)
}

fn left_over(what: &str, command: &str, lease: &str) -> LeftToPerson {
    LeftToPerson { what: what.into(), command: command.into(), lease: lease.into() }
}

/// What an ended run has left is told without a run too, and where the run is asked about.
#[test]
fn a_run_that_has_ended_says_what_it_left_to_a_person() {
    let release = "mainstay lease release node/prod/node-19 --proof \"…\"";
    let lease = left_over("it still holds lease node/prod/node-19 for reboot on prod/node-19", release, "node/prod/node-19");
    let run =
        Run { ended_unix_ms: NOW.0 - 7_200_000, left: vec![lease, left_over("nobody knows how reboot on prod/node-19 ended", "", "")], ..failed() };
    let text = any(&[], std::slice::from_ref(&run), 0, Terminal::PIPE, NOW);
    assert_eq!(
        text,
        format!(
            "reboot-7 · ✖ failed · ended 2h ago\n  ▲ left      it still holds lease node/prod/node-19 for reboot on prod/node-19\n              \
             when somebody has looked there that it has ended:\n              → {release}\n  ▲ left      nobody knows how reboot on prod/node-19 ended\n  \
             → mainstay why reboot-7\n\n"
        )
    );
    let text = at(&WhyResponse { run: Some(run), ..WhyResponse::default() }, None);
    assert!(text.contains("▲ lease     it still holds lease node/prod/node-19") && text.contains(release), "{text}");
}

/// What was tried before and may still be at it is not forgotten when the run is stopped.
#[test]
fn an_earlier_try_that_may_still_run_is_told() {
    let lost = Outcome { kind: outcome::Kind::Unknown.into(), message: "agent prod/node-01 did not stop it in time".into(), report: None };
    let first = Attempt { number: 1, agent: node(1), outcome: Some(lost), ..Attempt::default() };
    let work = Work { step: "reboot".into(), kind: "node.exec".into(), target: node(1), ..Work::default() };
    let work = |state: WorkState| Work { state: state.into(), attempts: vec![first.clone()], ..work.clone() };
    let told = |state, run| at(&WhyResponse { run: Some(Run { work: vec![work(state)], ..run }), ..WhyResponse::default() }, None);
    let aborted = || Run { state: RunState::Aborted.into(), aborted_by: "operator/jo".into(), ended_unix_ms: NOW.0, ..reboot() };
    let line = "? may run   reboot on node-01\n              try 1: nobody knows whether it has ended (agent prod/node-01 did not stop it in time)\n";
    for state in [WorkState::Cancelled, WorkState::Skipped] {
        let text = told(state, aborted());
        assert!(text.contains(line), "{text}");
    }
    assert!(told(WorkState::Active, reboot()).contains(line));
    assert!(!told(WorkState::Succeeded, Run { state: RunState::Completed.into(), ..aborted() }).contains("may run"));
}

/// An agent that is back says how it ended: nobody has to look.
#[test]
fn what_is_said_since_is_told() {
    let told = |since: Option<Since>| {
        let lost = Outcome { kind: outcome::Kind::Unknown.into(), message: "agent prod/node-01 is gone".into(), report: None };
        let attempt = Attempt { number: 1, agent: node(1), outcome: Some(lost), since, ..Attempt::default() };
        let work = Work {
            step: "reboot".into(),
            kind: "node.exec".into(),
            target: node(1),
            state: WorkState::Unknown.into(),
            attempts: vec![attempt],
            ..Work::default()
        };
        let run = Run { state: RunState::Failed.into(), ended_unix_ms: NOW.0, work: vec![work], ..reboot() };
        at(&WhyResponse { run: Some(run), ..WhyResponse::default() }, None)
    };
    let text = told(None);
    assert!(text.contains("it may still be running") && text.contains("part of it may have been done"), "{text}");
    let said = |kind: outcome::Kind, message: &str| {
        let outcome = Outcome { kind: kind.into(), message: message.into(), report: None };
        told(Some(Since { at_unix_ms: NOW.0, outcome: Some(outcome) }))
    };
    let text = said(outcome::Kind::Succeeded, "");
    assert!(text.contains("since then prod/node-01 has said that it was done\n"), "{text}");
    assert!(text.contains("▲ in place  reboot on node-01\n") && !text.contains("may still be running"), "{text}");
    assert!(text.contains("mainstay run retry reboot-7 --dry-run"), "{text}");
    let text = said(outcome::Kind::Failed, "exit status 1");
    assert!(text.contains("said that it ended without being done: exit status 1") && text.contains("part of it may have been done"), "{text}");
    assert!(text.contains("mainstay run retry reboot-7 --dry-run"), "{text}");
    let text = said(outcome::Kind::Unknown, "its processes may still run");
    assert!(text.contains("said no more: its processes may still run") && text.contains("it may still be running"), "{text}");
}

#[test]
fn without_a_run_only_what_needs_a_person_is_told() {
    let works = wait(WaitKind::Works, "drain", &node(1), "agent prod/node-01 works on it");
    let goes_on = WhyResponse { run: Some(Run { id: "daily-3".into(), ..reboot() }), waits: vec![works], ..WhyResponse::default() };
    let text = all(&[busy(), goes_on.clone()], 0);
    assert!(text.starts_with("reboot-7 · ● running · 3 steps on several targets: 36 of 120 done\n  ▲ approve   wave 3: 10 nodes"), "{text}");
    assert!(text.contains("→ mainstay run approve reboot-7 --wave 3\n") && !text.contains("works") && !text.contains("· later"), "{text}");
    assert!(text.ends_with("\n\ngoing on without a person: daily-3\n"), "{text}");
    assert_eq!(all(std::slice::from_ref(&goes_on), 0), "✔ nothing waits for a person; open, and going on without one: daily-3\n");
    assert_eq!(all(&[], 0), "✔ no run is open: nothing waits for a person\n");
    assert!(all(&[], 7).contains("7 more open runs were not looked at"));
    // What cannot go on after that for which it waits needs somebody as well.
    for (state, evidence, told) in [
        ("unknown", "unknown: no source of capacity", "nobody knows how it stands: enough capacity: no source of capacity"),
        ("nobody", "no connected agent can do node.exec", "after that nobody is there to do it: no connected agent can do node.exec"),
    ] {
        let ahead = vec![GateNow { gate: "enough capacity".into(), state: state.into(), evidence: evidence.into() }];
        let window = Wait { ahead, ..wait(WaitKind::Gate, "drain", &node(1), "gate: window mon 22:00–06:00 UTC: closed until Mon 22:00 UTC") };
        let text = all(&[WhyResponse { run: Some(reboot()), waits: vec![window], ..WhyResponse::default() }], 0);
        assert!(text.contains(told) && !text.contains("nothing waits for a person") && !text.contains("--override"), "{text}");
    }
}

/// Programs read the reasons that the page tells.
#[test]
fn json_of_a_failed_run_has_its_reasons() {
    let answer = WhyResponse { run: Some(failed()), ..WhyResponse::default() };
    let json = serde_json::to_value(Explained::of(&answer)).unwrap_or_default();
    let whats: Vec<&str> = json["reasons"].as_array().into_iter().flatten().filter_map(|reason| reason["what"].as_str()).collect();
    assert_eq!(whats, ["failed", "unknown", "skipped", "undo failed", "may be in place", "may be in place", "in place"], "{json}");
    assert_eq!(json["reasons"][0]["why"], "exit status 1: no kernel 6.12 in /boot");
    assert_eq!(json["run"]["id"], "reboot-7");
}

#[test]
fn whoever_has_the_roots_key_is_told_what_to_type() {
    let reason =
        "an issuer under root a55b4a4976242c73 is to be signed for c1, c2, where the root's key is:  mainstay mesh root issue --root-key FILE";
    let other = wait(WaitKind::Root, "leave", "once", "root 8e9564e4435c883d is still needed by operator/ben (its certificate is of that root)");
    let answer = WhyResponse {
        run: Some(Run { id: "root-rotation-1".into(), plan: "root-rotation".into(), state: RunState::Running.into(), ..Run::default() }),
        waits: vec![other, wait(WaitKind::Signature, "adopt", "once", reason)],
        ..WhyResponse::default()
    };
    let text = why(&answer, Terminal::PIPE, NOW, &TimeZone::UTC);
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let signs = lines.iter().position(|line| line.starts_with("▲ sign")).unwrap();
    assert!(lines[signs + 1].ends_with("is to be signed for c1, c2, where the root's key is"), "{text}");
    assert!(lines[signs + 2].ends_with("mainstay mesh root issue --root-key FILE"), "{text}");
    assert!(lines.iter().position(|line| line.starts_with("‖ root")).is_some_and(|root| root > signs), "{text}");
}

/// A rollout that stands still because of an agent that is away needs somebody, also before its turn has come.
#[test]
fn a_rollout_that_stands_still_needs_a_person() {
    let turn = |n| wait(WaitKind::Unavailable, "drain", &node(n), &format!("at most 1 unavailable at once: 1 not connected ({})", node(10)));
    let stuck = |n| Wait {
        stuck: format!("nothing further begins while {} is not connected, and takes up what may be unavailable", node(10)),
        remedies: vec![
            format!("start the agent of {} again; see:  mainstay node list", node(10)),
            "mainstay run abort reboot-7 --reason \"…\"".into(),
        ],
        ..turn(n)
    };
    let answer = |waits| WhyResponse { run: Some(reboot()), waits, ..WhyResponse::default() };
    let text = all(&[answer(vec![stuck(1), stuck(2)])], 0);
    let words = "  ✖ turn      drain on node-01, node-02 · for 4m12s
              at most 1 unavailable at once: 1 not connected (prod/node-10)
              this does not end by itself: nothing further begins while prod/node-10 is not connected, and takes up what may be unavailable
              start the agent of prod/node-10 again; see
              → mainstay node list
              → mainstay run abort reboot-7 --reason \"…\"
";
    assert!(text.contains(words), "{text}");
    assert!(all(&[answer(vec![turn(1)])], 0).starts_with("✔ nothing waits for a person"));
}

/// What comes later has its gates named, and nobody is needed for them yet.
#[test]
fn what_comes_later_says_behind_what() {
    let asks = GateNow { gate: "approval by an admin".into(), state: "asks".into(), evidence: String::new() };
    let capacity = GateNow { gate: "enough capacity".into(), state: "unknown".into(), evidence: "unknown: no source of capacity".into() };
    let later = Wait { ahead: vec![asks, capacity], ..wait(WaitKind::NeedsStep, "switch", "once", "step drain has not ended") };
    let answer = WhyResponse { run: Some(reboot()), waits: vec![later], ..WhyResponse::default() };
    let text = at(&answer, None);
    assert!(
        text.contains("  · later     switch after drain and then behind: approval by an admin; enough capacity (nobody knows how it stands)\n"),
        "{text}"
    );
    assert!(all(&[answer], 0).starts_with("✔ nothing waits for a person"));
}

#[test]
fn each_of_several_approvals_has_a_command_of_its_own() {
    let asked = |step: &str, wave| {
        let approval = WantedApproval { step: step.into(), wave, by: "operator".into(), ..WantedApproval::default() };
        Wait { approval: Some(approval), ..wait(WaitKind::Approval, "drain", &node(1), "approval by an operator") }
    };
    let commands = |waits: Vec<Wait>| -> Vec<String> {
        let text = at(&WhyResponse { run: Some(reboot()), waits, ..WhyResponse::default() }, None);
        text.lines().filter_map(|line| line.trim().strip_prefix("→ mainstay run approve reboot-7").map(str::to_owned)).collect()
    };
    assert_eq!(commands(vec![asked("", 0), asked("drain", 0)]), [" --plan", " --step drain"]);
    assert_eq!(commands(vec![asked("", 1), asked("drain", 1)]), [" --wave 1 --plan", " --step drain --wave 1"]);
    assert_eq!(commands(vec![asked("", 2)]), [" --wave 2"], "the only one needs no more words");
}
