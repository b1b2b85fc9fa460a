#![allow(clippy::unwrap_used)]
use mainstay_proto::v1::{Attempt, Check, Outcome, Report, Thresholds, Work, WorkState, outcome};

use super::*;

fn check(id: &str, of: &str, verdict: Verdict, message: &str) -> Check {
    Check { id: id.into(), subject: of.into(), verdict: verdict.into(), message: message.into(), ..Check::default() }
}

fn measured(check: Check, value: f64, unit: &str, limits: (f64, f64), history: &[f64]) -> Check {
    let thresholds = Some(Thresholds { warning: Some(limits.0), critical: Some(limits.1), below: unit == "d" });
    Check { value: Some(value), unit: unit.into(), thresholds, history: history.to_vec(), ..check }
}

fn work(step: &str, target: &str, state: WorkState, checks: Vec<Check>) -> Work {
    let report = Report { checks, ..Report::default() };
    let outcome = Outcome { kind: outcome::Kind::Succeeded.into(), report: Some(report), ..Outcome::default() };
    let attempt = Attempt { number: 1, state: mainstay_proto::v1::AttemptState::Ended.into(), outcome: Some(outcome), ..Attempt::default() };
    Work { step: step.into(), kind: "node.resources".into(), target: target.into(), state: state.into(), attempts: vec![attempt], ..Work::default() }
}

/// A day on which something of everything happened.
pub(crate) fn day() -> Run {
    let resources = vec![
        measured(check("cpu.used", "", Verdict::Ok, "4 % of 2 cores busy over the last 60 s"), 4.0, "%", (85.0, 95.0), &[3.0, 4.0]),
        measured(check("disk.used", "/", Verdict::Ok, "41 % full, 31 GiB left"), 41.0, "%", (80.0, 90.0), &[]),
        measured(
            check("disk.used", "/var", Verdict::Critical, "96 % full, 1.1 GiB left, full in about 9 h"),
            96.0,
            "%",
            (80.0, 90.0),
            &[50.0, 60.0, 70.0, 85.0, 96.0],
        ),
        Check { hint: "boot with psi=1".into(), ..check("pressure.io", "", Verdict::Skipped, "this kernel does not measure it") },
    ];
    let certificate = check("tls.daysLeft", "/etc/ssl/private/site.pem", Verdict::Warning, "ends in 12 days, on 2026-01-01 (site.example)");
    let certificates = vec![Check { hint: "renew it, and reload what serves it".into(), ..measured(certificate, 12.0, "d", (30.0, 7.0), &[]) }];
    let logs = check("logs.errors", "/var/log/nginx/error.log", Verdict::Warning, "214 error lines in the last 24h, 3 signatures");
    let logs = vec![Check {
        details: vec!["×198  connect() failed (…: Connection refused) while connecting to upstream".into()],
        ..measured(logs, 214.0, "", (1.0, 1e9), &[1.0, 1.0, 9.0])
    }];
    let unreachable =
        Work { detail: "local/a3 is not linked".into(), attempts: vec![], ..work("certificates", "local/a3", WorkState::Unreachable, vec![]) };
    Run {
        id: "daily-1".into(),
        plan: "daily".into(),
        state: RunState::Completed.into(),
        verdict: Verdict::Critical.into(),
        took_ms: 2_840,
        work_total: 4,
        work_over: 4,
        work_done: 4,
        steps: 4,
        work: vec![
            work("resources", "local/a1", WorkState::Succeeded, resources),
            work("certificates", "local/a1", WorkState::Succeeded, certificates),
            unreachable,
            work("logs", "local/a1", WorkState::Succeeded, logs),
        ],
        ..Run::default()
    }
}

fn at(width: Option<usize>, all: bool) -> String {
    report(&day(), Options { terminal: Terminal { width, colour: false }, all })
}

#[test]
fn on_a_terminal_of_80_columns() {
    insta::assert_snapshot!(at(Some(80), false));
}

#[test]
fn on_a_wide_terminal_with_everything() {
    insta::assert_snapshot!(at(Some(140), true));
}

#[test]
fn in_a_pipe() {
    insta::assert_snapshot!(at(None, false));
}

#[test]
fn no_line_is_wider_than_the_terminal() {
    for columns in [40, 50, 60, 80, 100, 200] {
        for all in [false, true] {
            let text = at(Some(columns), all);
            // A path and a command are not torn apart where they alone are wider.
            let too_wide: Vec<&str> = text.lines().filter(|line| width(line) > columns).collect();
            assert_eq!(too_wide, Vec::<&str>::new(), "at {columns}");
        }
    }
}

#[test]
fn what_needs_a_person_comes_first_and_worst_first() {
    let text = at(Some(100), false);
    let place = |part: &str| text.find(part).unwrap_or_else(|| panic!("{part} is in\n{text}"));
    let order = ["✖ critical", "? unknown", "▲ warning", "✔ ok", "– skipped", "next: "].map(place);
    assert!(order.is_sorted(), "{text}");
    assert!(text.starts_with("daily · run daily-1 · 6 checks · 2.8 s\n"), "{text}");
}

#[test]
fn colour_says_nothing_of_its_own() {
    let coloured = report(&day(), Options { terminal: Terminal { width: Some(80), colour: true }, all: false });
    let mut plain = String::new();
    let mut rest = coloured.as_str();
    while let Some(at) = rest.find("\u{1b}[") {
        plain += &rest[..at];
        rest = &rest[at..];
        rest = &rest[rest.find('m').unwrap() + 1..];
    }
    plain += rest;
    assert_eq!(plain.lines().map(str::trim_end).collect::<Vec<_>>(), at(Some(80), false).lines().collect::<Vec<_>>());
}

#[test]
fn an_undo_that_is_incomplete_is_said() {
    let run = Run { state: RunState::Failed.into(), undo: UndoState::Incomplete.into(), ..day() };
    let text = report(&run, Options { terminal: Terminal::PIPE, all: false });
    assert!(text.starts_with("daily · run daily-1 · 6 checks · 2.8 s · ✖ failed\n"), "{text}");
    assert!(text.contains("undo is incomplete: something that this run did is still in place"), "{text}");
}

#[test]
fn what_is_the_same_on_several_nodes_is_said_once() {
    let none = || vec![check("tls.daysLeft", "", Verdict::Skipped, "no certificate files in the usual places")];
    let on = |node: &str| work("certificates", &format!("local/{node}"), WorkState::Succeeded, none());
    let run = |nodes: &[&str]| Run { work: nodes.iter().map(|node| on(node)).collect(), ..day() };
    let text = report(&run(&["a1", "a2", "a3"]), Options { terminal: Terminal::PIPE, all: false });
    assert!(text.starts_with("daily · run daily-1 · 3 checks · 2.8 s\n"), "{text}");
    assert!(text.contains("\n  – skipped   certificates: no certificate files in the usual places  a1, a2, a3\n\n"), "{text}");
    let text = report(&run(&["a1", "a2", "a3", "a4"]), Options { terminal: Terminal::PIPE, all: false });
    assert!(text.contains("usual places  4 nodes\n"), "{text}");
}

#[test]
fn what_had_nothing_to_do_says_what_to_add() {
    let reason = "no connection of kind redis: add to an agent's connections.toml:  [connections.NAME]  kind = \"redis\"  url = …";
    let cache = Work { detail: reason.into(), attempts: vec![], kind: "redis.check".into(), ..work("cache", "once", WorkState::Omitted, vec![]) };
    let never = Work { detail: "its `if` is false: inputs.deep".into(), attempts: vec![], ..work("deep", "local/a1", WorkState::Omitted, vec![]) };
    let text = report(&Run { work: vec![cache, never], ..day() }, Options { terminal: Terminal { width: Some(80), colour: false }, all: false });
    assert!(
        text.contains(
            "  – skipped   cache: no connection of kind redis\n              → add to an agent's connections.toml:  [connections.NAME]  kind =\n              \"redis\"  url = …\n"
        ),
        "{text}"
    );
    assert!(text.contains("  – skipped   deep: its `if` is false: inputs.deep  a1\n"), "{text}");
}

#[test]
fn a_connection_is_named_as_it_is() {
    let lag = check("postgres.lag", "", Verdict::Critical, "42 s behind");
    let text = report(
        &Run { work: vec![work("databases", "connection:orders-db", WorkState::Succeeded, vec![lag])], ..day() },
        Options { terminal: Terminal::PIPE, all: false },
    );
    assert!(text.contains("42 s behind  orders-db\n"), "{text}");
}
