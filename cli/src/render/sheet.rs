//! A sheet: lines of a name and what there is to say, lists, and headings between, fitted to a terminal.

use super::layout::{harmless, pad, width, wrap};
use super::terminal::{Terminal, Tone};

/// Text under construction.
pub struct Sheet {
    terminal: Terminal,
    names: usize,
    text: String,
}

impl Sheet {
    /// A sheet whose names take `names` columns.
    #[must_use]
    pub fn new(terminal: Terminal, names: usize) -> Sheet {
        Sheet { terminal, names, text: String::new() }
    }

    /// A line of its own.
    pub fn line(&mut self, words: &str) -> &mut Sheet {
        self.fitted("", "", words, Tone::Plain)
    }

    /// A heading, with a blank line before it.
    pub fn heading(&mut self, words: &str) -> &mut Sheet {
        self.text.push('\n');
        let painted = self.terminal.paint(Tone::Strong, &harmless(words));
        self.text += &painted;
        self.text.push('\n');
        self
    }

    /// A name and what belongs to it.
    pub fn fact(&mut self, name: &str, words: &str) -> &mut Sheet {
        let start = format!("  {} ", pad(name, self.names));
        let further = " ".repeat(width(&start));
        self.fitted(&start, &further, words, Tone::Plain)
    }

    /// An item of a list.
    pub fn item(&mut self, words: &str) -> &mut Sheet {
        self.fitted("  – ", "    ", words, Tone::Plain)
    }

    /// Something to type: never broken, so that it can be copied.
    pub fn command(&mut self, words: &str) -> &mut Sheet {
        self.text += &format!("  {}\n", harmless(words));
        self
    }

    fn fitted(&mut self, start: &str, further: &str, words: &str, tone: Tone) -> &mut Sheet {
        let room = self.terminal.width.map(|columns| columns.saturating_sub(width(start)));
        for (number, line) in wrap(&harmless(words), room).into_iter().enumerate() {
            let before = if number == 0 { start } else { further };
            self.text += &format!("{before}{}\n", self.terminal.paint(tone, &line));
        }
        self
    }

    #[must_use]
    pub fn finish(self) -> String {
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sheet_fits_and_is_one_line_each_in_a_pipe() {
        let sheet = |terminal| {
            let mut sheet = Sheet::new(terminal, 7);
            sheet.fact("runs", "one two three four five six").heading("Next:").item("look at what is there").command("mainstay status --very-long");
            sheet.finish()
        };
        assert_eq!(
            sheet(Terminal { width: Some(20), colour: false }),
            "  runs    one two\n          three four\n          five six\n\nNext:\n  – look at what is\n    there\n  mainstay status --very-long\n"
        );
        assert_eq!(sheet(Terminal::PIPE).lines().count(), 5);
    }
}
