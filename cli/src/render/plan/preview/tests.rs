#![allow(clippy::unwrap_used)]
use mainstay_proto::v1::{PlanSchedule, PreviewInput, UndoStep};

use super::*;
use crate::render::layout::width;

const NOW: WallTime = WallTime(1_764_590_400_000); // 2025-12-01 12:00:00 UTC

fn gate(gate: &str, state: &str, evidence: &str) -> GateNow {
    GateNow { gate: gate.into(), state: state.into(), evidence: evidence.into() }
}

fn step(name: &str, kind: &str, with: &str, needs: &[&str]) -> PreviewStep {
    PreviewStep {
        name: name.into(),
        kind: kind.into(),
        with: with.into(),
        targets: vec!["once".into()],
        target_count: 1,
        reachable: 1,
        needs: needs.iter().map(|need| (*need).to_owned()).collect(),
        effect: "read".into(),
        idempotent: true,
        undo: "nothing to undo".into(),
        protection: "nothing is changed".into(),
        timeout_ms: 300_000,
        attempts: 1,
        ..PreviewStep::default()
    }
}

fn exec(name: &str, with: &str, needs: &[&str], undo: &str) -> PreviewStep {
    PreviewStep {
        effect: "exec".into(),
        idempotent: false,
        undo: undo.into(),
        protection: "the agent's ledger and `Begin` before the command starts; epoch and ledger id are checked then".into(),
        ..step(name, "node.exec", with, needs)
    }
}

fn remark(severity: Severity, step: &str, message: &str, hint: &str) -> Remark {
    Remark { severity: severity.into(), step: step.into(), message: message.into(), hint: hint.into() }
}

/// A plan with something of everything.
pub(crate) fn deploy() -> Preview {
    let look = step("look", "postgres.check", r#"{"connection":"orders-db","lag":{"warning":"10s","critical":"60s"}}"#, &[]);
    let look = PreviewStep { targets: vec!["connection:orders-db".into()], ..look };
    let redis = PreviewStep {
        reachable: 0,
        omitted: "no connection of kind redis: add to an agent's connections.toml:  [connections.NAME]  kind = \"redis\"  url = …".into(),
        ..step("cache", "redis.check", "{}", &[])
    };
    let ask = step("ask", "approval", r#"{"by":"operator","notAuthor":true,"message":"is the new one good"}"#, &["look"]);
    let drain = PreviewStep {
        description: "Takes a node out of the pool".into(),
        targets: (1..=100).map(|n| format!("prod/node-{n:02}")).collect(),
        target_count: 120,
        reachable: 118,
        strategy:
            "by name, at most 25 % unavailable at once, in waves up to 1, 10 %, then the rest, 5m after each wave, stops at the first that fails and then takes back what was done, in earlier waves too"
                .into(),
        by_policy: true,
        waves: vec![1, 11, 108],
        gates: vec![gate(
            "plan health found nothing bad within the last 10m",
            "unknown",
            "unknown: no run of plan health has ended; start one: mainstay run start health",
        )],
        attempts: 3,
        on_unknown_continue: true,
        ..exec(
            "drain",
            r#"{"command":["/usr/local/bin/pool","drain","--service","shop/web","--note","because it's time"]}"#,
            &["ask"],
            "by node.exec",
        )
    };
    let back = r#"{"command":["/usr/local/bin/pool","back","node-01","${{ steps.drain.outputs.line }}"]}"#;
    let drain = PreviewStep { undo_step: Some(UndoStep { kind: "node.exec".into(), with: back.into(), with_of: "prod/node-01".into() }), ..drain };
    let switch = PreviewStep {
        condition: r#"steps["look"].outputs.lag < 5"#.into(),
        condition_now: "known only later".into(),
        lease: "workload/prod/shop/web".into(),
        point_of_no_return: true,
        ..exec("switch", r#"{"command":["/usr/local/bin/switch","shop/web:2.4.1"],"env":{"MODE":"fast"}}"#, &["drain"], "none given")
    };
    Preview {
        plan: "deploy".into(),
        revision: 4,
        description: "Switches a service over to another version, node by node".into(),
        inputs: vec![
            PreviewInput { name: "image".into(), value: "\"shop/web:2.4.1\"".into(), given: true },
            PreviewInput { name: "batch".into(), value: "5".into(), given: false },
        ],
        // As they are written, which is not the order in which they are begun.
        steps: vec![look, redis, drain, ask, switch],
        gates: vec![gate("window mon, tue, wed, thu 22:00–06:00 Europe/Berlin", "closed", "closed until Mon 1 Dec 22:00")],
        remarks: vec![
            remark(
                Severity::Problem,
                "drain",
                "no connected agent can do it now on prod/node-07, prod/node-19",
                "allow it in the agent's policy:  [policy] allow = [\"node.exec\"]; see `mainstay node list`",
            ),
            remark(Severity::Warning, "switch", "what is done here is not taken back when a later step fails", "give it an `undo`"),
            remark(Severity::Note, "", "run deploy-3 of it has not ended", "mainstay why deploy-3"),
        ],
        notify: vec!["failed, critical → oncall: not sent: no notifier".into()],
        schedules: vec![PlanSchedule {
            cron: "0 3 * * 1".into(),
            zone: "Europe/Berlin".into(),
            next_unix_ms: NOW.0 + 50_400_000,
            next: "Tue 2 Dec 03:00 Europe/Berlin".into(),
            condition: "replaces reboot-7".into(),
            started: 12,
            held: 3,
            ..PlanSchedule::default()
        }],
        ..Preview::default()
    }
}

/// Without anything in the way.
fn daily() -> Preview {
    let nodes = |step: PreviewStep| PreviewStep { targets: vec!["local/a1".into(), "local/a2".into()], target_count: 2, reachable: 2, ..step };
    Preview {
        plan: "daily".into(),
        revision: 1,
        steps: vec![nodes(step("resources", "node.resources", "{}", &[])), nodes(step("logs", "logs.errors", r#"{"since":"24h"}"#, &[]))],
        ..Preview::default()
    }
}

fn at(preview: &Preview, width: Option<usize>) -> String {
    super::preview(preview, &format!("mainstay run start {}", preview.plan), Terminal { width, colour: false }, NOW)
}

#[test]
fn on_a_terminal_of_80_columns() {
    insta::assert_snapshot!(at(&deploy(), Some(80)));
}

#[test]
fn on_a_wide_terminal() {
    insta::assert_snapshot!(at(&deploy(), Some(140)));
}

#[test]
fn in_a_pipe() {
    insta::assert_snapshot!(at(&deploy(), None));
}

#[test]
fn without_anything_in_the_way() {
    insta::assert_snapshot!(at(&daily(), Some(80)));
}

#[test]
fn no_line_is_wider_than_the_terminal() {
    for columns in [60, 80, 100, 160] {
        let text = at(&deploy(), Some(columns));
        let too_wide: Vec<&str> = text.lines().filter(|line| width(line) > columns).collect();
        assert_eq!(too_wide, Vec::<&str>::new(), "at {columns}");
    }
}

#[test]
fn a_step_comes_after_what_it_needs() {
    let text = at(&deploy(), Some(100));
    let place = |name: &str| text.find(name).unwrap_or_else(|| panic!("{name} is in\n{text}"));
    assert!([" 1  look", " 2  cache", " 3  ask", " 4  drain", " 5  switch"].map(place).is_sorted(), "{text}");
}

#[test]
fn what_it_comes_to_is_the_last_thing_said() {
    assert!(
        at(&daily(), None).ends_with("✔ a run could start now, and nothing that the mesh knows of is in its way\n  → mainstay run start daily\n")
    );
    let waits = Preview { gates: vec![gate("freeze", "closed", "frozen until Monday")], ..daily() };
    assert!(at(&waits, None).ends_with("‖ a run could start now, and would wait: 1 gate not open\n  → mainstay run start daily\n"));
    assert!(at(&deploy(), None).ends_with("see the problems above\n"));
    let ask = PreviewApproval { step: "ask".into(), by: "operator".into(), not_author: true, times: 1, ..PreviewApproval::default() };
    let waves = PreviewApproval { by: "admin".into(), times: 3, may_not: "you (operator/jo) are no admin".into(), ..PreviewApproval::default() };
    let asks = Preview { approvals: vec![ask, waves], least_ms: 65_000, ..daily() };
    let words = "▲ a run would wait for a person: ask (an operator other than you); the run (an admin, which you are not), once for each of 3 waves\n  \
                 it takes at least 1m5s, and what its steps and people need besides\n  → mainstay run start daily\n";
    assert!(at(&asks, None).ends_with(words), "{}", at(&asks, None));
    assert!(!at(&asks, None).contains("nothing that the mesh knows of"));
    let mut by_policy = daily();
    by_policy.steps[0].by_policy = true;
    let text = at(&by_policy, None);
    assert!(text.contains("2 nodes: a1, a2 · an agent can try it, if its own policy allows the command\n"), "{text}");
    assert!(
        text.contains("✔ a run could start now, and nothing that the mesh knows of is in its way; the agents' policies decide about its commands\n"),
        "{text}"
    );
}

#[test]
fn what_differs_by_target_is_said_of_each() {
    let nodes = (1..=4).map(|n| format!("local/a{n}")).collect();
    let tidy = PreviewStep {
        targets: nodes,
        target_count: 4,
        reachable: 3,
        condition: "target.node != \"a3\"".into(),
        condition_now: "true".into(),
        left_out: vec!["local/a3".into()],
        left_out_count: 1,
        with_of: "local/a1".into(),
        ..exec("tidy", r#"{"command":["rm","/tmp/a1"]}"#, &[], "none given")
    };
    let text = at(&Preview { steps: vec![tidy], ..daily() }, None);
    assert!(text.contains("3 nodes: a1, a2, a4; omitted on a3 · "), "{text}");
    assert!(text.contains("on a1: rm /tmp/a1\n"), "{text}");
    assert!(text.contains("✔ if       target.node != \"a3\" (false on a3, where it is omitted)\n"), "{text}");
}

/// Whoever reads only the last line reads what stands above it.
#[test]
fn what_it_comes_to_agrees_with_what_is_above() {
    let mut held = daily();
    held.steps[0].lease = "deploy/shop".into();
    held.steps[0].lease_held_by = "client/ci since Mon 23 Nov 20:00 UTC (1 slot, claim)".into();
    let text = at(&held, None);
    assert!(text.contains("‖ lease    deploy/shop, held by the run while it goes; now it is held by client/ci since"), "{text}");
    assert!(text.ends_with("‖ a run could start now, and would wait: 1 lease held by somebody else\n  → mainstay run start daily\n"), "{text}");
    let warned = Preview { remarks: vec![remark(Severity::Warning, "", "it is late", "")], ..daily() };
    let text = at(&warned, None);
    assert!(text.contains("▲ a run could start now, and may not go as expected: see the 1 warning above\n") && !text.contains('✔'), "{text}");
    let ask = PreviewApproval { step: "never".into(), by: "admin".into(), times: 1, only_if: "false".into(), ..PreviewApproval::default() };
    let text = at(&Preview { approvals: vec![ask], ..daily() }, None);
    assert!(text.contains("▲ a run may wait for a person: never (an admin), only if its `if` is true by then\n"), "{text}");
}
