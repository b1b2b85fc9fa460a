//! Runs: the list of them, and one with its steps.

use jiff::tz::TimeZone;
use mainstay_core::WallTime;
use mainstay_proto::v1::{Run, Verdict, Work, WorkState};
use mainstay_proto::words::Word;

use super::layout::harmless;
use super::page::Page;
use super::report::recovery;
use super::table::{Entry, Table};
use super::terminal::{Terminal, Tone};
use super::{names, time, units, values, verdict};

/// `mainstay run list`
#[must_use]
pub fn list(runs: &[Run], terminal: Terminal, now: WallTime) -> String {
    if runs.is_empty() {
        return "no such runs; start one with  mainstay run start daily --wait\n".to_owned();
    }
    let mut table = Table::new(terminal, &["run", "state", "verdict", "done", "started", "took", "by"]).wrapping(&[6]).giving_way(&[6, 5, 2, 3]);
    for run in runs {
        table.row(vec![
            run.id.as_str().into(),
            verdict::run(run.state()).into(),
            if run.verdict() == Verdict::Unspecified { "".into() } else { verdict::verdict(run.verdict()).into() },
            format!("{}/{}", run.work_done, run.work_total).into(),
            time::ago(run.started_unix_ms, now).into(),
            took(run, now).into(),
            run.started_by.as_str().into(),
        ]);
    }
    table.render()
}

fn took(run: &Run, now: WallTime) -> String {
    if run.ended_unix_ms == 0 { time::since(run.started_unix_ms, now) } else { units::duration_ms(run.took_ms) }
}

/// Head and steps of one run.
#[must_use]
pub fn show(run: &Run, terminal: Terminal, now: WallTime, zone: &TimeZone) -> String {
    let mark = verdict::run(run.state());
    let mut parts = vec![
        format!("{} revision {}", run.plan, run.revision),
        [Some(mark), verdict::found(run)].into_iter().flatten().map(|mark| terminal.paint(mark.tone, &mark.text())).collect::<Vec<_>>().join(" · "),
        format!("started {} by {}", time::local(run.started_unix_ms, now, zone), harmless(&run.started_by)),
        format!("{} {}", if run.ended_unix_ms == 0 { "for" } else { "took" }, took(run, now)),
    ];
    if !run.abort_reason.is_empty() {
        parts.push(format!("aborted: {}", harmless(&run.abort_reason)));
    }
    parts.extend(recovery::of(run));
    let head = format!("{} · {}\n{}", run.id, parts.join(" · "), said(run, terminal, now));
    let mut table = Table::new(terminal, &["step", "kind", "target", "state", "tries", "took", "why"]).wrapping(&[6]).giving_way(&[1, 5]).indented(2);
    for work in &run.work {
        table.row(row(work));
    }
    format!("{head}\n{}", table.render())
}

/// What people have said about it.
fn said(run: &Run, terminal: Terminal, now: WallTime) -> String {
    let mut page = Page::new(terminal);
    if !run.paused_by.is_empty() {
        let reason = if run.pause_reason.is_empty() { String::new() } else { format!(": {}", run.pause_reason) };
        page.line(2, Tone::Warning, &format!("‖ paused by {}{reason}", run.paused_by));
    }
    if !run.without_calendar.is_empty() {
        page.line(2, Tone::Warning, &format!("▲ windows and freezes do not count for it: {}", run.without_calendar));
    }
    for approval in &run.approvals {
        let (symbol, word) = if approval.denied { ("✖", "denied") } else { ("✔", "approved") };
        let what = match (approval.step.as_str(), approval.wave) {
            ("", 0) => "the run".to_owned(),
            ("", wave) => format!("wave {wave}"),
            (step, 0) => format!("step {step}"),
            (step, wave) => format!("step {step}, wave {wave}"),
        };
        let reason = if approval.reason.is_empty() { String::new() } else { format!(": {}", approval.reason) };
        page.line(2, Tone::Plain, &format!("{symbol} {what} {word} by {} {}{reason}", approval.by, time::ago(approval.unix_ms, now)));
    }
    page.finish()
}

/// What the steps hand on to later ones.
#[must_use]
pub fn outputs(run: &Run, terminal: Terminal) -> String {
    let mut page = Page::new(terminal);
    for work in &run.work {
        let last = work.attempts.iter().filter(|attempt| !attempt.undo).max_by_key(|attempt| attempt.number);
        let Some(report) = last.and_then(|attempt| attempt.outcome.as_ref()?.report.as_ref()).filter(|report| !report.outputs.is_empty()) else {
            continue;
        };
        let outputs: Vec<String> = report.outputs.iter().map(|(name, value)| format!("{name} = {}", values::short_json(value))).collect();
        page.labelled(
            4,
            2,
            (&format!("{} on {}  ", work.step, names::place(&work.kind, &work.target)), Tone::Plain),
            Tone::Plain,
            &outputs.join(" · "),
        );
    }
    let text = page.finish();
    if text.is_empty() { text } else { format!("  outputs\n{text}\n") }
}

/// Where it is done; by whom, where the target does not say.
fn place(work: &Work) -> String {
    let place = names::place(&work.kind, &work.target);
    // Each try of what is done once may be another agent's.
    let mut agents: Vec<&str> = Vec::new();
    for attempt in work.attempts.iter().filter(|attempt| !attempt.agent.is_empty()) {
        if agents.last() != Some(&attempt.agent.as_str()) {
            agents.push(&attempt.agent);
        }
    }
    match agents.as_slice() {
        [] => place.to_owned(),
        [one] if *one == work.target => place.to_owned(),
        several => format!("{place} by {}", several.join(", then ")),
    }
}

fn row(work: &Work) -> Vec<Entry> {
    let tries = work.attempts.iter().filter(|attempt| !attempt.undo).count();
    let took = work.attempts.iter().map(|attempt| attempt.took_ms).sum::<u64>();
    let undo = match work.undo() {
        WorkState::Unspecified => String::new(),
        state if work.undo_detail.is_empty() => format!("undo: {}", state.word()),
        state => format!("undo: {} ({})", state.word(), work.undo_detail),
    };
    let why = [work.detail.as_str(), undo.as_str()].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("; ");
    vec![
        work.step.as_str().into(),
        work.kind.as_str().into(),
        place(work).into(),
        verdict::work(work.state()).into(),
        if tries > 1 { tries.to_string().into() } else { "".into() },
        if took > 0 { units::duration_ms(took).into() } else { "".into() },
        why.into(),
    ]
}

#[cfg(test)]
mod tests {
    use mainstay_proto::v1::RunState;

    use super::super::layout;
    use super::super::report::tests::day;
    use super::*;

    const NOW: WallTime = WallTime(1_764_590_400_000);

    #[test]
    fn a_list_says_how_each_run_went() {
        let open = Run {
            state: RunState::Running.into(),
            ended_unix_ms: 0,
            started_unix_ms: NOW.0 - 4_000,
            verdict: 0,
            work_over: 3,
            work_done: 1,
            started_by: "operator/ana".into(),
            ..day()
        };
        let text = list(&[open], Terminal::PIPE, NOW);
        assert_eq!(text, "RUN      STATE      DONE  STARTED   TOOK   BY\ndaily-1  ● running  1/4   just now  4.0 s  operator/ana\n");
        assert_eq!(list(&[], Terminal::PIPE, NOW), "no such runs; start one with  mainstay run start daily --wait\n");
    }

    #[test]
    fn outputs_are_shown_as_they_are_read() {
        let report = mainstay_proto::v1::Report {
            outputs: [("lag".to_owned(), "3".to_owned()), ("version".to_owned(), "\"16.4\"".to_owned())].into(),
            ..Default::default()
        };
        let outcome = mainstay_proto::v1::Outcome { report: Some(report), ..Default::default() };
        let attempt = mainstay_proto::v1::Attempt { outcome: Some(outcome), ..Default::default() };
        let work = Work {
            step: "look".into(),
            kind: "postgres.check".into(),
            target: "connection:orders-db".into(),
            attempts: vec![attempt],
            ..Work::default()
        };
        assert_eq!(
            outputs(&Run { work: vec![work], ..Run::default() }, Terminal::PIPE),
            "  outputs\n    look on orders-db  lag = 3 · version = \"16.4\"\n\n"
        );
        assert_eq!(outputs(&Run::default(), Terminal::PIPE), "");
    }

    #[test]
    fn tries_of_several_agents_name_each() {
        let attempt = |agent: &str| mainstay_proto::v1::Attempt { agent: agent.into(), ..Default::default() };
        let of = |target: &str, agents: &[&str]| {
            let attempts = agents.iter().map(|agent| attempt(agent)).collect();
            place(&Work { kind: "wait".into(), target: target.into(), attempts, ..Work::default() })
        };
        assert_eq!(of("once", &["prod/a1", "prod/a1", "prod/a2"]), "once by prod/a1, then prod/a2");
        assert_eq!(of("prod/a1", &["prod/a1", "prod/a1"]), "prod/a1");
    }

    #[test]
    fn what_people_said_is_shown_with_the_run() {
        let approval = mainstay_proto::v1::Approval {
            step: "switch".into(),
            by: "operator/jo".into(),
            unix_ms: NOW.0 - 240_000,
            reason: "OPS-12".into(),
            ..Default::default()
        };
        let run = Run { approvals: vec![approval], paused_by: "operator/ana".into(), ..day() };
        let text = show(&run, Terminal::PIPE, NOW, &TimeZone::UTC);
        assert!(text.contains("\n  ‖ paused by operator/ana\n  ✔ step switch approved by operator/jo 4m ago: OPS-12\n\n"), "{text}");
    }

    #[test]
    fn a_run_fits_the_terminal() {
        for columns in [60, 80, 120] {
            let text = show(&day(), Terminal { width: Some(columns), colour: false }, NOW, &TimeZone::UTC);
            assert!(text.lines().skip(1).all(|line| layout::width(line) <= columns), "{text}");
        }
    }
}
