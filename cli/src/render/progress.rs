//! A run while it goes: on a terminal a bar and what is active now, in a pipe a line for each change.

use std::collections::BTreeMap;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use mainstay_proto::v1::{OutputLine, Run, Verdict, Work, WorkState};

use super::layout::{harmless, shorten, width};
use super::terminal::{Terminal, Tone};
use super::why::First;
use super::{names, omitted, units, verdict};
use crate::host;

/// Active steps shown at once; a run on a thousand nodes does not scroll the screen away.
const ACTIVE_SHOWN: usize = 6;
const TICK: Duration = Duration::from_millis(120);

/// Shows a run's progress on standard error.
pub struct Progress {
    terminal: Terminal,
    drawn: Option<Drawn>,
    states: BTreeMap<(String, String), WorkState>,
}

struct Drawn {
    all: MultiProgress,
    bar: ProgressBar,
    active: BTreeMap<(String, String), ProgressBar>,
    lines: BTreeMap<(String, String), String>,
    waits: Option<ProgressBar>,
}

impl Progress {
    /// `quiet` shows nothing at all.
    #[must_use]
    pub fn new(terminal: Terminal, quiet: bool) -> Progress {
        let drawn = (terminal.is_terminal() && !quiet).then(|| {
            let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10));
            let bar = all.add(ProgressBar::new(0).with_style(style("{msg:.bold}  {bar:24}  {prefix} steps · {elapsed}")));
            bar.enable_steady_tick(TICK);
            Drawn { all, bar, active: BTreeMap::new(), lines: BTreeMap::new(), waits: None }
        });
        Progress { terminal: if quiet { Terminal::PIPE } else { terminal }, drawn, states: BTreeMap::new() }
    }

    /// The run as it is now.
    pub fn update(&mut self, run: &Run) {
        if let Some(drawn) = &mut self.drawn {
            drawn.update(run, self.terminal);
        }
    }

    /// The lines for a pipe: what has changed since the last call.
    #[must_use]
    pub fn changes(&mut self, run: &Run) -> String {
        let mut text = String::new();
        let mut nothing_to_do = Vec::new();
        for work in &run.work {
            let before = self.states.insert(key(work), work.state());
            let telling = !matches!(work.state(), WorkState::Waiting | WorkState::Unspecified);
            match telling && before != Some(work.state()) {
                true if omitted::is_omitted(work) => nothing_to_do.push(work),
                true => text += &(change(work) + "\n"),
                false => {}
            }
        }
        let mark = verdict::work(WorkState::Omitted).text();
        for omitted in omitted::of(nothing_to_do.into_iter()) {
            text += &format!("{}: {mark}: {}\n", omitted.steps.join(", "), harmless(&omitted.why));
        }
        text
    }

    /// For what the run waits, while nothing moves. What to type has lines of its own: a command that is cut cannot be
    /// copied.
    pub fn waits(&mut self, words: &First) {
        if let Some(drawn) = &mut self.drawn {
            let bar = drawn.waits.get_or_insert_with(|| drawn.all.add(ProgressBar::new_spinner().with_style(style("  · {msg}"))));
            bar.set_message(waiting(words, self.terminal.width.unwrap_or(80)));
            bar.tick();
        }
    }

    /// A line that a step printed.
    pub fn line(&mut self, line: &OutputLine) {
        if let Some(drawn) = &mut self.drawn {
            drawn.lines.insert((line.step.clone(), line.target.clone()), harmless(&line.line));
        }
    }

    #[must_use]
    pub fn is_drawn(&self) -> bool {
        self.drawn.is_some()
    }

    /// Takes everything off the screen again.
    pub fn finish(&mut self) {
        if let Some(drawn) = self.drawn.take() {
            for bar in drawn.active.values() {
                bar.finish_and_clear();
            }
            if let Some(bar) = &drawn.waits {
                bar.finish_and_clear();
            }
            drawn.bar.finish_and_clear();
            // The screen is cleared for looks only.
            let _ = drawn.all.clear();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.finish();
    }
}

impl Drawn {
    fn update(&mut self, run: &Run, terminal: Terminal) {
        if let Some(bar) = self.waits.take() {
            bar.finish_and_clear();
        }
        self.bar.set_length(run.work_total.into());
        self.bar.set_position(run.work_over.into());
        // The bar says how far it is; the number, as everywhere, what has come off.
        self.bar.set_prefix(format!("{}/{}", run.work_done, run.work_total));
        self.bar.set_message(run.id.clone());
        let active: Vec<&Work> =
            run.work.iter().filter(|work| matches!(work.state(), WorkState::Active | WorkState::Retrying)).take(ACTIVE_SHOWN).collect();
        self.active.retain(|key, bar| {
            let goes_on = active.iter().any(|work| self::key(work) == *key);
            if !goes_on {
                bar.finish_and_clear();
            }
            goes_on
        });
        for work in active {
            let bar = self.active.entry(key(work)).or_insert_with(|| {
                let bar = self.all.add(ProgressBar::new_spinner().with_style(style("  {spinner} {msg} {elapsed:.dim}")));
                bar.enable_steady_tick(TICK);
                bar
            });
            let newest = self.lines.get(&key(work)).map_or(String::new(), |line| format!("  {line}"));
            let room = terminal.width.unwrap_or(80).saturating_sub(12);
            bar.set_message(shorten(&format!("{} on {}{newest}", work.step, names::place(&work.kind, &work.target)), room));
        }
    }
}

/// The words in one line, the command below them: after its arrow, or from the margin where it is long.
fn waiting(words: &First, columns: usize) -> String {
    let text = shorten(&format!("waits: {}", harmless(&words.words)), columns.saturating_sub(6));
    match words.command.as_deref().map(harmless) {
        Some(command) if width(&command) + 6 <= columns => format!("{text}\n    → {command}"),
        Some(command) => format!("{text}\n{command}"),
        None => text,
    }
}

fn style(template: &str) -> ProgressStyle {
    // A template that does not parse would be seen by the first who runs this; the default bar is no harm.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("█▌ ")
}

fn key(work: &Work) -> (String, String) {
    (work.step.clone(), work.target.clone())
}

/// `resources on local/a1: ✔ succeeded, ▲ warning (0.9 s)`
fn change(work: &Work) -> String {
    let mut text = format!("{} on {}: {}", work.step, names::place(&work.kind, &work.target), verdict::work(work.state()).text());
    if !matches!(work.verdict(), Verdict::Unspecified) && work.state() == WorkState::Succeeded {
        text += &format!(", {}", verdict::verdict(work.verdict()).text());
    }
    if let Some(took) = work.attempts.last().map(|attempt| attempt.took_ms).filter(|took| *took > 0) {
        text += &format!(" ({})", units::duration_ms(took));
    }
    if !work.detail.is_empty() {
        text += &format!(": {}", harmless(&work.detail));
    }
    text
}

/// A spinner with words, while something is waited for; a line in a pipe.
pub struct Waiting {
    bar: Option<ProgressBar>,
}

impl Waiting {
    #[must_use]
    pub fn on(terminal: Terminal, words: &str) -> Waiting {
        if !terminal.is_terminal() {
            return Waiting { bar: None };
        }
        let bar = ProgressBar::new_spinner().with_style(style("{spinner} {msg} {elapsed:.dim}")).with_message(words.to_owned());
        bar.enable_steady_tick(TICK);
        Waiting { bar: Some(bar) }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Prints beside a progress that may be drawn.
pub fn note(terminal: Terminal, words: &str) {
    // Nobody reads standard error any more: the note has no reader.
    let _ = host::print_error(&format!("{}\n", terminal.paint(Tone::Quiet, words)));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn work(state: WorkState) -> Work {
        Work { step: "resources".into(), target: "local/a1".into(), state: state.into(), ..Work::default() }
    }

    #[test]
    fn a_pipe_is_told_each_change_once() {
        let mut progress = Progress::new(Terminal::PIPE, false);
        let run = |work| Run { work: vec![work], ..Run::default() };
        assert_eq!(progress.changes(&run(work(WorkState::Waiting))), "");
        assert_eq!(progress.changes(&run(work(WorkState::Active))), "resources on local/a1: ● active\n");
        assert_eq!(progress.changes(&run(work(WorkState::Active))), "");
        let ended = Work {
            verdict: Verdict::Warning.into(),
            attempts: vec![mainstay_proto::v1::Attempt { took_ms: 900, ..Default::default() }],
            ..work(WorkState::Succeeded)
        };
        assert_eq!(progress.changes(&run(ended)), "resources on local/a1: ✔ succeeded, ▲ warning (900 ms)\n");
        let failed = Work { detail: "no such file".into(), ..work(WorkState::Failed) };
        assert_eq!(progress.changes(&run(failed)), "resources on local/a1: ✖ failed: no such file\n");
    }

    #[test]
    fn a_command_to_copy_is_never_cut() {
        let command = "mainstay run approve rolling-restart-of-everything-12 --step switch-over --wave 12".to_owned();
        let words = First { words: "wave 12: 10 nodes: a1, a2, a3 and 7 more, to be approved by an operator".into(), command: Some(command.clone()) };
        for columns in [60, 80, 100, 120] {
            assert!(waiting(&words, columns).lines().any(|line| line.ends_with(&command)), "at {columns}: {}", waiting(&words, columns));
            assert!(waiting(&words, columns).lines().next().is_some_and(|line| width(line) + 4 <= columns), "at {columns}");
        }
    }
}
