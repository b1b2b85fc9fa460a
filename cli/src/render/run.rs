//! Runs: the list of them, one with its steps, and for what one waits.

use jiff::tz::TimeZone;
use mainstay_core::WallTime;
use mainstay_proto::v1::{Run, RunState, Verdict, Wait, WhyResponse, Work, WorkState};
use mainstay_proto::words::Word;

use super::layout::{harmless, pad, width, wrap};
use super::table::{Entry, Table};
use super::terminal::{Terminal, Tone};
use super::{time, units, verdict};

/// `mainstay run list`
#[must_use]
pub fn list(runs: &[Run], terminal: Terminal, now: WallTime) -> String {
    if runs.is_empty() {
        return "no such runs; start one with  mainstay run start daily --wait\n".to_owned();
    }
    let mut table = Table::new(terminal, &["run", "state", "verdict", "steps", "started", "took", "by"]).wrapping(&[6]);
    for run in runs {
        table.row(vec![
            run.id.as_str().into(),
            verdict::run(run.state()).into(),
            if run.verdict() == Verdict::Unspecified { "".into() } else { verdict::verdict(run.verdict()).into() },
            format!("{}/{}", run.work_over, run.work_total).into(),
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
        terminal.paint(mark.tone, &mark.text()),
        format!("started {} by {}", time::local(run.started_unix_ms, now, zone), harmless(&run.started_by)),
        format!("{} {}", if run.ended_unix_ms == 0 { "for" } else { "took" }, took(run, now)),
    ];
    if !run.abort_reason.is_empty() {
        parts.push(format!("aborted: {}", harmless(&run.abort_reason)));
    }
    let head = format!("{} · {}", run.id, parts.join(" · "));
    let mut table = Table::new(terminal, &["step", "kind", "target", "state", "tries", "took", "why"]).wrapping(&[6]).indented(2);
    for work in &run.work {
        table.row(row(work));
    }
    format!("{head}\n\n{}", table.render())
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
        work.target.as_str().into(),
        verdict::work(work.state()).into(),
        if tries > 1 { tries.to_string().into() } else { "".into() },
        if took > 0 { units::duration_ms(took).into() } else { "".into() },
        why.into(),
    ]
}

/// `mainstay why RUN`: who waits, how long already, for what, and what happens then.
#[must_use]
pub fn why(answer: &WhyResponse, terminal: Terminal, now: WallTime, zone: &TimeZone) -> String {
    let Some(run) = &answer.run else { return "the mesh gave no run\n".to_owned() };
    let started = format!("started {} by {}", time::local(run.started_unix_ms, now, zone), harmless(&run.started_by));
    let head = format!("{} · {} of {} steps done · {started}", terminal.paint(Tone::Strong, &run.id), run.work_over, run.work_total);
    if !matches!(run.state(), RunState::Running | RunState::Undoing) {
        let mark = verdict::run(run.state());
        return format!("{head} · {}\n\n  it waits for nothing: it has ended\n", terminal.paint(mark.tone, &mark.text()));
    }
    if answer.waits.is_empty() {
        return format!("{head}\n\n  it waits for nothing: its steps are being carried out\n");
    }
    let names: Vec<String> = answer.waits.iter().map(name).collect();
    let most = names.iter().map(|name| width(name)).max().unwrap_or(0);
    let mut text = format!("{head}\n\n");
    for (wait, name) in answer.waits.iter().zip(&names) {
        let waited = format!("waiting {}", units::duration_ms(wait.waited_ms));
        let margin = most + 4;
        let lines = wrap(&harmless(&wait.reason), terminal.width.map(|width| width.saturating_sub(margin + 18)));
        for (i, line) in lines.iter().enumerate() {
            let front = if i == 0 { format!("  {}  {}", pad(name, most), pad(&waited, 16)) } else { " ".repeat(margin + 16) };
            text += &format!("{front}  {line}\n");
        }
        if let Some(then) = then(wait) {
            let lines = wrap(&harmless(&then), terminal.width.map(|width| width.saturating_sub(margin + 18)));
            text.extend(lines.iter().map(|line| format!("{}{}\n", " ".repeat(margin + 18), terminal.paint(Tone::Quiet, line))));
        }
    }
    text
}

fn name(wait: &Wait) -> String {
    format!("{}{} on {}", if wait.undo { "undo of " } else { "" }, wait.step, wait.target)
}

fn then(wait: &Wait) -> Option<String> {
    let then = wait.then.strip_prefix("then ").unwrap_or(&wait.then);
    match (wait.remaining_ms, then) {
        (0, "") => None,
        (0, then) => Some(format!("then {then}")),
        (left, "") => Some(format!("at most {} more", units::duration_ms(left))),
        (left, then) => Some(format!("at most {} more, then {then}", units::duration_ms(left))),
    }
}

#[cfg(test)]
mod tests {
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
            work_over: 1,
            started_by: "operator/ana".into(),
            ..day()
        };
        let text = list(&[open], Terminal::PIPE, NOW);
        assert_eq!(text, "RUN      STATE      STEPS  STARTED   TOOK   BY\ndaily-1  ● running  1/4    just now  4.0 s  operator/ana\n");
        assert_eq!(list(&[], Terminal::PIPE, NOW), "no such runs; start one with  mainstay run start daily --wait\n");
    }

    #[test]
    fn why_says_for_what_and_what_happens_then() {
        let wait = Wait {
            step: "drain".into(),
            target: "local/a2".into(),
            reason: "local/a2 is not linked".into(),
            waited_ms: 252_000,
            remaining_ms: 348_000,
            then: "then it counts as unreachable".into(),
            ..Wait::default()
        };
        let run = Run { state: RunState::Running.into(), started_unix_ms: NOW.0, started_by: "operator/ana".into(), work_over: 1, ..day() };
        let answer = WhyResponse { run: Some(run), waits: vec![wait] };
        let text = why(&answer, Terminal { width: Some(100), colour: false }, NOW, &TimeZone::UTC);
        assert_eq!(
            text,
            "daily-1 · 1 of 4 steps done · started 12:00:00 by operator/ana\n\n  \
             drain on local/a2  waiting 4m12s     local/a2 is not linked\n                                       \
             at most 5m48s more, then it counts as unreachable\n"
        );
    }

    #[test]
    fn a_run_fits_the_terminal() {
        for columns in [60, 80, 120] {
            let text = show(&day(), Terminal { width: Some(columns), colour: false }, NOW, &TimeZone::UTC);
            assert!(text.lines().skip(1).all(|line| layout::width(line) <= columns), "{text}");
        }
    }
}
