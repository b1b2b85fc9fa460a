//! The report of a run: what needs a person first, then what is well, then what was not looked at, then
//! what to do next.

mod ending;
pub mod recovery;
mod rows;

use mainstay_proto::v1::{Run, RunState, UndoState, Verdict};

use super::layout::{harmless, pad, shorten, width, wrap};
use super::spark::spark;
use super::terminal::{Terminal, Tone};
use super::verdict;
use super::{omitted, subject, units, why};
use rows::Row;

/// Rows of one step that are well and shown on a terminal without `--all`.
const WELL_SHOWN: usize = 40;
/// Columns of the small plot.
const PLOT: usize = 8;
/// Columns for the node, the limit and the plot must leave this much to the text.
const TEXT_LEAST: usize = 24;
/// In a pipe, columns behind the text are lined up to this width of it.
const TEXT_IN_PIPE: usize = 72;
/// Columns in front of the text: two spaces, a mark, two spaces.
const MARK: usize = 10;

/// What is shown of a run, and how.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    pub terminal: Terminal,
    /// Messages, hints and details of everything.
    pub all: bool,
}

/// The whole report.
#[must_use]
pub fn report(run: &Run, options: Options) -> String {
    let rows = rows::of(run);
    header(run, &rows, options.terminal) + "\n" + &sections(run, &rows, options)
}

/// The report below a head and a table of steps that somebody else has shown: what its checks say.
#[must_use]
pub fn findings(run: &Run, options: Options) -> String {
    let mut rows = rows::of(run);
    rows.retain(|row| row.check.is_some());
    sections(run, &rows, options)
}

fn sections(run: &Run, rows: &[Row], options: Options) -> String {
    let mut text = attention(rows, options);
    text += &undo(run, options.terminal);
    text += &well(run, rows, options);
    text += &skipped(rows, options);
    text += &ending::next(run, rows, options);
    text
}

/// `daily · run daily-1 · 31 checks · 2.8 s`; of what has restored backups also `RTO 2.8 s · RPO 5h`.
fn header(run: &Run, rows: &[Row], terminal: Terminal) -> String {
    let checks = rows.iter().filter(|row| row.check.is_some()).map(|row| row.checks as u64).sum();
    let size = if checks > 0 { units::count(checks, "check", "checks") } else { units::count(run.work_total.into(), "step", "steps") };
    let mut parts = vec![terminal.paint(Tone::Strong, &run.plan), format!("run {}", run.id), size, units::duration_ms(run.took_ms)];
    // Without checks there is nothing else that says how it went.
    if run.state() != RunState::Completed || checks == 0 {
        let mark = verdict::run(run.state());
        parts.push(terminal.paint(mark.tone, &mark.text()));
    }
    if !run.abort_reason.is_empty() {
        parts.push(harmless(&run.abort_reason));
    }
    parts.extend(recovery::of(run));
    parts.join(" · ") + "\n"
}

/// Widths of the columns right of the text; zero where a column is left out.
struct Columns {
    text: usize,
    node: usize,
    limit: usize,
    plot: usize,
}

impl Columns {
    /// Gives the text what it needs of what is left, and leaves out the plot, then the limit, where that is
    /// too little. In a pipe nothing is left out, and a text that is much longer than others sticks out.
    fn fit<'a>(rows: impl Iterator<Item = &'a Row<'a>> + Clone, before: usize, text: fn(&Row) -> String, options: Options) -> Columns {
        let widest = |text: fn(&Row, Options) -> String| rows.clone().map(|row| width(&text(row, options))).max().unwrap_or(0);
        let longest = rows.clone().map(|row| width(&text(row))).max().unwrap_or(0);
        let (node, mut limit, mut plot) = (widest(|row, _| row.node.clone()), widest(limit), widest(|row, _| plot(row)));
        let Some(columns) = options.terminal.width else {
            return Columns { text: longest.min(TEXT_IN_PIPE), node, limit, plot };
        };
        let room = |node: usize, limit: usize, plot: usize| {
            let gaps = [node, limit, plot].iter().filter(|&&width| width > 0).count() * 2;
            columns.saturating_sub(before + node + limit + plot + gaps)
        };
        if room(node, limit, plot) < TEXT_LEAST {
            plot = 0;
        }
        if room(node, limit, plot) < TEXT_LEAST {
            limit = 0;
        }
        Columns { text: room(node, limit, plot).max(8).min(longest.max(8)), node, limit, plot }
    }

    /// Where the text is to be broken: nowhere in a pipe.
    fn wrapped(&self, terminal: Terminal) -> Option<usize> {
        terminal.width.map(|_| self.text)
    }

    /// The text with node, limit and plot behind it.
    fn line(&self, terminal: Terminal, text: &str, row: &Row, options: Options) -> String {
        let mut line = pad(text, self.text);
        for (to, cell, tone) in
            [(self.node, row.node.clone(), Tone::Plain), (self.limit, limit(row, options), Tone::Quiet), (self.plot, plot(row), Tone::Quiet)]
        {
            if to > 0 {
                line = format!("{line}  {}{}", terminal.paint(tone, &cell), " ".repeat(to.saturating_sub(width(&cell))));
            }
        }
        line.trim_end().to_owned()
    }
}

/// What needs somebody, worst first.
fn attention(rows: &[Row], options: Options) -> String {
    let terminal = options.terminal;
    let mut bad: Vec<&Row> = rows.iter().filter(|row| row.needs_attention()).collect();
    bad.sort_by_key(|row| std::cmp::Reverse(verdict::urgency(row.verdict)));
    let columns = Columns::fit(bad.iter().copied(), MARK + 4, |row| row.sentence(), options);
    let margin = " ".repeat(MARK + 4);
    let below = |line: &str| wrap(&harmless(line), terminal.width.map(|width| width.saturating_sub(MARK + 6)));
    let mut text = String::new();
    for row in &bad {
        let mark = row.mark();
        let sentence = harmless(&row.sentence());
        let mut lines = wrap(&sentence, columns.wrapped(terminal)).into_iter();
        let first = columns.line(terminal, &lines.next().unwrap_or_default(), row, options);
        text += &format!("  {}  {first}\n", terminal.paint(mark.tone, &pad(&mark.text(), MARK)));
        text.extend(lines.map(|line| format!("{margin}{line}\n")));
        for detail in row.details() {
            text.extend(below(detail).iter().enumerate().map(|(i, line)| format!("{margin}{}{line}\n", if i == 0 { "" } else { "  " })));
        }
        if let Some(hint) = row.hint() {
            text.extend(below(&format!("→ {hint}")).iter().map(|line| format!("{margin}{}\n", terminal.paint(Tone::Quiet, line))));
        }
    }
    if text.is_empty() { text } else { text + "\n" }
}

/// A person has to look where something that was done is still in place.
fn undo(run: &Run, terminal: Terminal) -> String {
    match run.undo() {
        UndoState::Incomplete if !why::was_undone(run) && run.work.iter().any(why::can_be_taken_back) => {
            let mark = verdict::verdict(Verdict::Warning);
            let words = "what this run did stays, as its plan says, until somebody takes it back";
            format!(
                "  {}  {words}\n{}→ mainstay run undo {} --dry-run\n\n",
                terminal.paint(mark.tone, &pad("· stays", MARK)),
                " ".repeat(MARK + 4),
                run.id
            )
        }
        UndoState::Incomplete if why::left(run).is_empty() || run.work.iter().any(why::can_be_taken_back) => {
            let mark = verdict::verdict(Verdict::Critical);
            let words = "undo is incomplete: something that this run did is still in place";
            format!("  {}  {words}\n{}→ mainstay why {}\n\n", terminal.paint(mark.tone, &pad("✖ undo", MARK)), " ".repeat(MARK + 4), run.id)
        }
        // What is left has no undo, or was never undone because nobody knows how far it came.
        UndoState::Incomplete | UndoState::Done => {
            let left = why::left(run);
            if left.is_empty() {
                return format!("  {}  everything that this run did has been undone\n\n", pad("↺ undone", MARK));
            }
            let mark = verdict::verdict(Verdict::Warning);
            let words = format!(
                "what had come to its end was taken back where it has an undo; still in place, whole or in part: {}",
                harmless(&left.join(", "))
            );
            let more = format!("{}→ mainstay why {}", " ".repeat(MARK + 4), run.id);
            format!("  {}  {words}\n{more}\n\n", terminal.paint(mark.tone, &pad("▲ undone", MARK)))
        }
        _ => String::new(),
    }
}

/// What is well, a line each, by step and node.
fn well(run: &Run, rows: &[Row], options: Options) -> String {
    let terminal = options.terminal;
    let well: Vec<&Row> = rows.iter().filter(|row| row.check.is_some() && row.verdict == Verdict::Ok).collect();
    if well.is_empty() {
        return String::new();
    }
    let mark = verdict::verdict(Verdict::Ok);
    let count = well.iter().map(|row| row.checks as u64).sum();
    let mut text = format!("  {}  {}\n", terminal.paint(mark.tone, &pad(&mark.text(), MARK)), units::count(count, "check", "checks"));
    for group in well.chunk_by(|a, b| (a.step, &a.node) == (b.step, &b.node)) {
        let node = group.first().map_or("", |row| row.node.as_str());
        let step = group.first().map_or("", |row| row.step);
        text += &format!("    {}\n", terminal.paint(Tone::Quiet, &if node.is_empty() { step.to_owned() } else { format!("{step} · {node}") }));
        let shown = if options.all || !terminal.is_terminal() { group.len() } else { group.len().min(WELL_SHOWN) };
        let names = group.iter().map(|row| width(&row.subject())).max().unwrap_or(0);
        let names = terminal.width.map_or(names, |columns| names.min((columns / 3).max(12)));
        let bare: Vec<Row> = group.iter().take(shown).map(|row| row.without_node()).collect();
        let columns = Columns::fit(bare.iter(), 8 + names, |row| row.message(), options);
        for row in &bare {
            text += &well_line(row, names, &columns, options);
        }
        if shown < group.len() {
            text += &format!("      … and {} more:  mainstay run show {} --all\n", group.len() - shown, run.id);
        }
    }
    text + "\n"
}

fn well_line(row: &Row, names: usize, columns: &Columns, options: Options) -> String {
    let terminal = options.terminal;
    let name = pad(&row.name(terminal.width.map(|_| names)), names);
    let message = harmless(&row.message());
    let margin = " ".repeat(8 + names);
    let mut lines = if options.all {
        wrap(&message, columns.wrapped(terminal))
    } else {
        vec![columns.wrapped(terminal).map_or(message.clone(), |to| shorten(&message, to))]
    }
    .into_iter();
    let first = columns.line(terminal, &lines.next().unwrap_or_default(), row, options);
    let mut text = format!("    {} {name}  {first}\n", terminal.paint(Tone::Good, "✔"));
    text.extend(lines.map(|line| format!("{margin}{line}\n")));
    if options.all {
        for detail in row.details() {
            text.extend(
                wrap(&harmless(detail), terminal.width.map(|width| width.saturating_sub(8 + names))).iter().map(|line| format!("{margin}{line}\n")),
            );
        }
    }
    text
}

/// What was not looked at, and why.
fn skipped(rows: &[Row], options: Options) -> String {
    let terminal = options.terminal;
    let omitted = omitted::of(rows.iter().filter_map(Row::omitted));
    let rows: Vec<&Row> = rows.iter().filter(|row| row.verdict == Verdict::Skipped && row.omitted().is_none()).collect();
    let columns = Columns::fit(rows.iter().copied(), MARK + 4, |row| row.sentence(), options);
    let margin = " ".repeat(MARK + 4);
    let mut text = String::new();
    for row in rows {
        let mark = row.mark();
        let mut lines = wrap(&harmless(&row.sentence()), columns.wrapped(terminal)).into_iter();
        let first = columns.line(terminal, &lines.next().unwrap_or_default(), row, options);
        text += &format!("  {}  {first}\n", terminal.paint(mark.tone, &pad(&mark.text(), MARK)));
        text.extend(lines.map(|line| format!("{margin}{line}\n")));
        if let Some(hint) = row.hint().filter(|_| options.all || row.is_omitted() || !terminal.is_terminal()) {
            let lines = wrap(&harmless(&format!("→ {hint}")), terminal.width.map(|width| width.saturating_sub(MARK + 4)));
            text.extend(lines.iter().map(|line| format!("{margin}{}\n", terminal.paint(Tone::Quiet, line))));
        }
    }
    for omitted in omitted {
        let mark = verdict::verdict(Verdict::Skipped);
        let room = terminal.width.map(|width| width.saturating_sub(MARK + 4));
        let mut lines = wrap(&harmless(&omitted.sentence()), room).into_iter();
        text += &format!("  {}  {}\n", terminal.paint(mark.tone, &pad(&mark.text(), MARK)), lines.next().unwrap_or_default());
        text.extend(lines.map(|line| format!("{margin}{line}\n")));
        if !omitted.hint.is_empty() {
            let lines = wrap(&harmless(&format!("→ {}", omitted.hint)), room);
            text.extend(lines.iter().map(|line| format!("{margin}{}\n", terminal.paint(Tone::Quiet, line))));
        }
    }
    if text.is_empty() { text } else { text + "\n" }
}

/// `limit 90 %`: the threshold that was crossed, or the one that is met first. Both, when all is shown.
fn limit(row: &Row, options: Options) -> String {
    let Some((check, limits)) = row.check.and_then(|check| Some((check, check.thresholds.as_ref()?))) else { return String::new() };
    let words = |value: f64| units::limit(value, &check.unit);
    match (limits.warning, limits.critical) {
        (None, None) => String::new(),
        (Some(one), None) | (None, Some(one)) => format!("limit {}", words(one)),
        (Some(warning), Some(critical)) if options.all || !options.terminal.is_terminal() => {
            format!("limits {} and {}", words(warning), words(critical))
        }
        (Some(_), Some(critical)) if check.verdict() == Verdict::Critical => format!("limit {}", words(critical)),
        (Some(warning), Some(_)) => format!("limit {}", words(warning)),
    }
}

fn plot(row: &Row) -> String {
    row.check.map_or_else(String::new, |check| spark(&check.history, &check.unit, PLOT))
}

#[cfg(test)]
pub(crate) mod tests;
