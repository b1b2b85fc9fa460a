//! A page of lines that are broken at the width of the terminal and go on under their own beginning. In a pipe
//! a line is as long as it is.

use super::layout::{harmless, pad, width, wrap};
use super::terminal::{Terminal, Tone};

/// Narrower than this, a text is not broken any further.
const ROOM_LEAST: usize = 16;

/// Text that grows line by line.
pub struct Page {
    terminal: Terminal,
    text: String,
}

impl Page {
    #[must_use]
    pub fn new(terminal: Terminal) -> Page {
        Page { terminal, text: String::new() }
    }

    #[must_use]
    pub fn finish(self) -> String {
        self.text
    }

    /// An empty line, unless there is one already, or nothing yet.
    pub fn gap(&mut self) {
        if !self.text.is_empty() && !self.text.ends_with("\n\n") {
            self.text.push('\n');
        }
    }

    /// One paragraph, indented.
    pub fn line(&mut self, indent: usize, tone: Tone, words: &str) {
        self.labelled(indent, 0, ("", Tone::Plain), tone, words);
    }

    /// A word or two in a column of its own, and a paragraph beside it. What is too wide for the column moves
    /// the paragraph's first line.
    pub fn labelled(&mut self, indent: usize, column: usize, (label, label_tone): (&str, Tone), tone: Tone, words: &str) {
        let (label, words) = (harmless(label), harmless(words));
        let room = self.terminal.width.map(|columns| columns.saturating_sub(indent + column).max(ROOM_LEAST));
        let sticks_out = width(&label).saturating_sub(column);
        // Room for a label that is too wide is made by words that are taken away again.
        let filler = "\u{2007}".repeat(sticks_out);
        let mut lines = wrap(&format!("{filler}{words}"), room).into_iter();
        let first = lines.next().unwrap_or_default();
        let first = first.strip_prefix(&filler).unwrap_or(&first);
        let front = self.terminal.paint(label_tone, &label) + &" ".repeat(column.saturating_sub(width(&label)));
        let line = format!("{}{front}{}", " ".repeat(indent), self.terminal.paint(tone, first));
        self.text += &format!("{}\n", line.trim_end());
        let margin = " ".repeat(indent + column);
        for line in lines {
            self.text += &format!("{margin}{}\n", self.terminal.paint(tone, &line));
        }
    }

    /// A command to type: it is never broken, since it is copied.
    pub fn command(&mut self, indent: usize, words: &str) {
        self.text += &format!("{}{}\n", " ".repeat(indent), self.terminal.paint(Tone::Strong, &format!("→ {}", harmless(words))));
    }

    /// Parts with a dot between them; a part is broken only where it alone is too wide.
    pub fn parts(&mut self, indent: usize, parts: &[(String, Tone)]) {
        let columns = self.terminal.width.unwrap_or(usize::MAX);
        let mut line = String::new();
        let mut used = indent;
        for (words, tone) in parts.iter().filter(|(words, _)| !words.is_empty()) {
            let words = harmless(words);
            let gap = if line.is_empty() { 0 } else { 3 };
            if gap > 0 && used + gap + width(&words) > columns {
                self.text += &format!("{}{line}\n", " ".repeat(indent));
                (line, used) = (String::new(), indent);
            }
            let gap = if line.is_empty() { "" } else { " · " };
            used += width(gap) + width(&words);
            line += &format!("{gap}{}", self.terminal.paint(*tone, &words));
        }
        if !line.is_empty() {
            self.text += &format!("{}{line}\n", " ".repeat(indent));
        }
    }

    /// Text that is laid out already.
    pub fn raw(&mut self, text: &str) {
        self.text += text;
    }
}

/// Columns that line up: each as wide as its widest text, up to a limit.
#[must_use]
pub fn column<'a>(texts: impl Iterator<Item = &'a str>, most: usize) -> usize {
    texts.map(width).max().unwrap_or(0).min(most)
}

/// A text in a column, with two spaces after it.
#[must_use]
pub fn cell(text: &str, column: usize) -> String {
    format!("{}  ", pad(text, column))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn narrow() -> Page {
        Page::new(Terminal { width: Some(30), colour: false })
    }

    #[test]
    fn a_paragraph_goes_on_under_its_beginning() {
        let mut page = narrow();
        page.labelled(2, 8, ("gate", Tone::Plain), Tone::Plain, "nobody else holds lease deploy/shop");
        page.labelled(2, 4, ("very long", Tone::Plain), Tone::Plain, " and what comes after it is broken");
        assert_eq!(page.finish(), "  gate    nobody else holds\n          lease deploy/shop\n  very long and what comes\n      after it is broken\n");
    }

    #[test]
    fn parts_stay_whole() {
        let mut page = narrow();
        page.parts(
            0,
            &[
                ("daily".into(), Tone::Strong),
                (String::new(), Tone::Plain),
                ("revision 4".into(), Tone::Plain),
                ("nothing is changed".into(), Tone::Plain),
            ],
        );
        assert_eq!(page.finish(), "daily · revision 4\nnothing is changed\n");
    }

    #[test]
    fn a_pipe_has_long_lines_and_no_double_gaps() {
        let mut page = Page::new(Terminal::PIPE);
        page.gap();
        page.line(0, Tone::Bad, "a rather long line that nothing breaks, since a program may read it");
        page.gap();
        page.gap();
        page.command(2, "mainstay why daily-1");
        assert_eq!(page.finish(), "a rather long line that nothing breaks, since a program may read it\n\n  → mainstay why daily-1\n");
    }
}
