//! What the output goes to: a terminal of some width, or a pipe.

use std::io::{IsTerminal, stderr, stdout};

use owo_colors::{OwoColorize, Style};
use rustix::termios::tcgetwinsize;

use crate::host;

/// Narrower than this, tables stop shrinking: there would be nothing left to read.
const WIDTH_LEAST: usize = 40;
/// Where the terminal does not say.
const WIDTH_USUAL: usize = 80;

/// Width and colour of an output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terminal {
    /// Columns; `None` for a pipe or a file, where a line is as long as it is.
    pub width: Option<usize>,
    pub colour: bool,
}

/// What a colour stands for. It never says more than the words and symbols beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    Plain,
    Strong,
    Quiet,
    Good,
    Warning,
    Bad,
    Unknown,
}

impl Terminal {
    /// A pipe.
    pub const PIPE: Terminal = Terminal { width: None, colour: false };

    #[must_use]
    pub fn of_stdout(no_color: bool) -> Terminal {
        Terminal::of(stdout().is_terminal(), no_color, || tcgetwinsize(stdout()).ok().map(|size| size.ws_col.into()))
    }

    #[must_use]
    pub fn of_stderr(no_color: bool) -> Terminal {
        Terminal::of(stderr().is_terminal(), no_color, || tcgetwinsize(stderr()).ok().map(|size| size.ws_col.into()))
    }

    fn of(is_terminal: bool, no_color: bool, width: impl FnOnce() -> Option<usize>) -> Terminal {
        if !is_terminal {
            return Terminal::PIPE;
        }
        let dumb = host::variable("TERM").is_none_or(|term| term == "dumb");
        let width = width().filter(|width| *width > 0).unwrap_or(WIDTH_USUAL).max(WIDTH_LEAST);
        Terminal { width: Some(width), colour: !no_color && !dumb && host::variable("NO_COLOR").is_none() }
    }

    #[must_use]
    pub fn is_terminal(self) -> bool {
        self.width.is_some()
    }

    /// The text in a tone, where there is colour.
    #[must_use]
    pub fn paint(self, tone: Tone, text: &str) -> String {
        if !self.colour || tone == Tone::Plain || text.is_empty() {
            return text.to_owned();
        }
        text.style(tone.style()).to_string()
    }
}

impl Tone {
    fn style(self) -> Style {
        match self {
            Tone::Plain => Style::new(),
            Tone::Strong => Style::new().bold(),
            Tone::Quiet => Style::new().dimmed(),
            Tone::Good => Style::new().green(),
            Tone::Warning => Style::new().yellow(),
            Tone::Bad => Style::new().red().bold(),
            Tone::Unknown => Style::new().magenta(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_has_neither_width_nor_colour() {
        assert_eq!(Terminal::of(false, false, || Some(200)), Terminal::PIPE);
        assert_eq!(Terminal::PIPE.paint(Tone::Bad, "critical"), "critical");
    }

    #[test]
    fn colour_is_left_out_on_request() {
        let terminal = Terminal::of(true, true, || Some(100));
        assert_eq!(terminal, Terminal { width: Some(100), colour: false });
        assert_eq!(Terminal { width: None, colour: true }.paint(Tone::Good, "ok"), "\u{1b}[32mok\u{1b}[0m");
    }

    #[test]
    fn a_width_is_always_usable() {
        assert_eq!(Terminal::of(true, true, || None).width, Some(80));
        assert_eq!(Terminal::of(true, true, || Some(0)).width, Some(80));
        assert_eq!(Terminal::of(true, true, || Some(10)).width, Some(40));
    }
}
