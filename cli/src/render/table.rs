//! Tables of things of one kind: fitted to a terminal, or a line each in a pipe.

use comfy_table::{Attribute, Cell, Color, ColumnConstraint, ContentArrangement, Row, Table as Grid, Width, presets};

use super::layout::{harmless, width};
use super::terminal::{Terminal, Tone};

/// Columns between two columns.
const GAP: usize = 2;
/// A longer word than this may be broken where nothing gives way: a digest has no words.
const WORD_MOST: usize = 24;

/// Rows under headings. Cells may be empty; columns in which all are empty are left out.
pub struct Table {
    terminal: Terminal,
    headings: Vec<&'static str>,
    rows: Vec<Vec<Entry>>,
    wrapped: Vec<usize>,
    giving_way: Vec<usize>,
    indent: usize,
}

/// One cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    text: String,
    tone: Tone,
}

impl Entry {
    #[must_use]
    pub fn toned(text: impl Into<String>, tone: Tone) -> Entry {
        Entry { text: harmless(&text.into()), tone }
    }
}

impl From<String> for Entry {
    fn from(text: String) -> Entry {
        Entry::toned(text, Tone::Plain)
    }
}

impl From<&str> for Entry {
    fn from(text: &str) -> Entry {
        Entry::toned(text, Tone::Plain)
    }
}

impl From<super::verdict::Mark> for Entry {
    fn from(mark: super::verdict::Mark) -> Entry {
        Entry::toned(mark.text(), mark.tone)
    }
}

impl Table {
    #[must_use]
    pub fn new(terminal: Terminal, headings: &[&'static str]) -> Table {
        Table { terminal, headings: headings.to_vec(), rows: Vec::new(), wrapped: Vec::new(), giving_way: Vec::new(), indent: 0 }
    }

    /// Columns that give way when the terminal is narrow: their text goes on in further lines. The others
    /// stay as wide as what is in them.
    #[must_use]
    pub fn wrapping(mut self, columns: &[usize]) -> Table {
        self.wrapped = columns.to_vec();
        self
    }

    /// Columns that are left out, the first one first, where the terminal is too narrow for all: a word is never broken
    /// within itself, and what gives way takes no more than two lines.
    #[must_use]
    pub fn giving_way(mut self, columns: &[usize]) -> Table {
        self.giving_way = columns.to_vec();
        self
    }

    #[must_use]
    pub fn indented(mut self, by: usize) -> Table {
        self.indent = by;
        self
    }

    pub fn row(&mut self, cells: Vec<Entry>) {
        self.rows.push(cells);
    }

    /// The table as lines, each with a line break. Without rows: nothing.
    #[must_use]
    pub fn render(&self) -> String {
        if self.rows.is_empty() {
            return String::new();
        }
        let shown = self.shown();
        let mut grid = Grid::new();
        grid.load_style(presets::NOTHING).force_no_tty().style_text_only();
        match self.terminal.width {
            None => grid.set_content_arrangement(ContentArrangement::Disabled),
            Some(width) => grid
                .set_content_arrangement(ContentArrangement::Dynamic)
                .set_width(u16::try_from(width.saturating_sub(self.indent)).unwrap_or(u16::MAX)),
        };
        if self.terminal.colour {
            grid.enforce_styling();
        }
        let heading = |&column: &usize| styled(&Entry::toned(self.headings[column].to_uppercase(), Tone::Quiet));
        grid.set_header(Row::from(shown.iter().map(heading).collect::<Vec<Cell>>()));
        let empty = Entry::from("");
        for row in &self.rows {
            grid.add_row(Row::from(shown.iter().map(|&column| styled(row.get(column).unwrap_or(&empty))).collect::<Vec<Cell>>()));
        }
        for (place, &column) in shown.iter().enumerate() {
            if let Some(shape) = grid.column_mut(place) {
                shape.set_padding((0, if place + 1 == shown.len() { 0 } else { GAP as u16 }));
                if !self.wrapped.contains(&column) && !self.wrapped.is_empty() {
                    shape.set_constraint(ColumnConstraint::ContentWidth);
                } else if self.terminal.width.is_some() {
                    let padding = if place + 1 == shown.len() { 0 } else { GAP };
                    let least = u16::try_from(self.least(column) + padding).unwrap_or(u16::MAX);
                    shape.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(least)));
                }
            }
        }
        let margin = " ".repeat(self.indent);
        grid.lines().map(|line| format!("{margin}{}\n", line.trim_end())).collect()
    }

    /// Columns in which there is something, and for which there is room.
    fn shown(&self) -> Vec<usize> {
        let is_used = |column: &usize| self.rows.iter().any(|row| row.get(*column).is_some_and(|cell| !cell.text.is_empty()));
        let mut shown: Vec<usize> = (0..self.headings.len()).filter(is_used).collect();
        let Some(room) = self.terminal.width.map(|columns| columns.saturating_sub(self.indent)) else { return shown };
        for gives_way in &self.giving_way {
            let needed = shown.iter().map(|column| self.least(*column)).sum::<usize>() + GAP * shown.len().saturating_sub(1);
            if needed <= room {
                break;
            }
            shown.retain(|column| column != gives_way);
        }
        shown
    }

    /// Columns without which a column would break a word.
    fn least(&self, column: usize) -> usize {
        let texts = || self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.text.as_str());
        let heading = width(self.headings.get(column).copied().unwrap_or_default());
        let widest = texts().map(width).max().unwrap_or(0).max(heading);
        if !self.wrapped.contains(&column) {
            return widest;
        }
        let word = texts().flat_map(str::split_whitespace).map(width).max().unwrap_or(0).max(heading);
        if self.giving_way.contains(&column) { word.max(widest.div_ceil(2) + word / 2).min(widest) } else { word.min(WORD_MOST) }
    }
}

fn styled(entry: &Entry) -> Cell {
    let cell = Cell::new(&entry.text);
    match entry.tone {
        Tone::Plain => cell,
        Tone::Strong => cell.add_attribute(Attribute::Bold),
        Tone::Quiet => cell.add_attribute(Attribute::Dim),
        Tone::Good => cell.fg(Color::DarkGreen),
        Tone::Warning => cell.fg(Color::DarkYellow),
        Tone::Bad => cell.fg(Color::DarkRed).add_attribute(Attribute::Bold),
        Tone::Unknown => cell.fg(Color::DarkMagenta),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(terminal: Terminal) -> Table {
        let mut table = Table::new(terminal, &["node", "state", "detail", "nothing"]).wrapping(&[2]);
        table.row(vec![
            "local/a1".into(),
            Entry::toned("✔ up", Tone::Good),
            "a rather long text that has to be broken somewhere when there is little room for it".into(),
            "".into(),
        ]);
        table.row(vec!["local/a2".into(), "✖ lost".into(), "short".into()]);
        table
    }

    #[test]
    fn a_pipe_has_one_line_for_each_row() {
        let text = table(Terminal::PIPE).render();
        assert_eq!(
            text,
            "NODE      STATE   DETAIL\n\
             local/a1  ✔ up    a rather long text that has to be broken somewhere when there is little room for it\n\
             local/a2  ✖ lost  short\n"
        );
    }

    #[test]
    fn a_terminal_gets_lines_that_fit() {
        for columns in [40, 60, 80] {
            let text = table(Terminal { width: Some(columns), colour: false }).render();
            assert!(text.lines().all(|line| width(line) <= columns), "{columns}:\n{text}");
            assert!(text.lines().any(|line| line.starts_with("local/a2  ✖ lost  short")), "{text}");
        }
    }

    #[test]
    fn columns_give_way_and_words_never() {
        let runs = |columns| {
            let terminal = Terminal { width: Some(columns), colour: false };
            let mut table =
                Table::new(terminal, &["run", "state", "verdict", "steps", "started", "took", "by"]).wrapping(&[6]).giving_way(&[6, 5, 2]);
            table.row(["daily-1", "✔ completed", "▲ warning", "12/12", "22m ago", "33.5 s", "operator/local"].map(Entry::from).to_vec());
            table.render()
        };
        assert!(runs(80).contains("operator/local"), "{}", runs(80));
        for (columns, gone) in [(60, "BY"), (50, "TOOK"), (40, "VERDICT")] {
            let text = runs(columns);
            assert_eq!(text.lines().count(), 2, "at {columns} no word is broken:\n{text}");
            assert!(!text.contains(gone) && text.lines().all(|line| width(line) <= columns), "at {columns}:\n{text}");
        }
    }

    #[test]
    fn colour_changes_no_width() {
        let plain = table(Terminal { width: Some(60), colour: false }).render();
        let coloured = table(Terminal { width: Some(60), colour: true }).render();
        assert!(coloured.contains("\u{1b}["));
        assert_eq!(plain.lines().count(), coloured.lines().count());
    }

    #[test]
    fn without_rows_there_is_nothing() {
        assert_eq!(Table::new(Terminal::PIPE, &["node"]).render(), "");
    }
}
